"""From a configuration to a running application: the one place where settings meet the parts they set.

The rooms below know no configuration; here each section becomes the frozen values that its room takes.
"""

from collections.abc import Mapping

from arriero import __version__
from arriero.backends.base import Backend
from arriero.backends.http.call import Timeouts
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.config import (
    BackendModels,
    Config,
    EngineConfig,
    FilterConfig,
    ModelsConfig,
    OllamaConfig,
    OpenAIConfig,
    ScriptedConfig,
)
from arriero.config.backends import BackendConfig
from arriero.dialects import ollama, openai
from arriero.dialects.base import Dialect
from arriero.dialects.profiles import profile_of
from arriero.errors import ArrieroError
from arriero.filters import rules
from arriero.gateway.exchange import Policy
from arriero.gateway.roster import Roster, Seat, Told
from arriero.routing.names import Patterns
from arriero.server.access import Access, is_loopback, own_names
from arriero.server.app import App, Limits
from arriero.server.catalog import Catalog

DIALECTS: Mapping[str, Dialect] = {"ollama": ollama.DIALECT, "openai": openai.DIALECT}

LOCAL_CHECKS = (5.0, 30.0)
"""Seconds between two looks at a backend of this machine, and how long one may take."""

USER_AGENT = f"arriero/{__version__}"


NOTHING: Mapping[str, str] = {}


def build(config: Config, environ: Mapping[str, str] = NOTHING) -> App:
    """The application of a configuration. Raises `ArrieroError` for a backend that cannot be built.

    `environ` is the process's environment: the engine's children inherit what llama.cpp needs of it, and no key.
    """
    roster = build_roster(config, environ)
    local = any(is_loopback(address.host) for address in config.server.addresses)
    return App(
        roster,
        DIALECTS,
        policy=Policy(
            attempts=config.routing.retry.attempts,
            rules=tuple(_rule(filter) for filter in config.filters),
        ),
        access=Access(config.server.cors_origins, checks_host=local, own_names=own_names()),
        limits=Limits(
            max_body_bytes=config.limits.max_body_bytes,
            max_header_bytes=config.limits.max_header_bytes,
        ),
        catalog=Catalog(roster, DIALECTS, tagged=config.models.listing == "tagged"),
    )


def build_roster(config: Config, environ: Mapping[str, str] = NOTHING) -> Roster:
    """The backends of a configuration, each with its seat; nothing is asked yet."""
    return Roster(
        [(build_backend(config, backend, environ), _seat(config, backend)) for backend in config.backends],
        aliases=config.routing.aliases,
        overall=Patterns(config.models.include, config.models.exclude),
        told=_told(config.models),
        unknown_model=config.routing.unknown_model,
    )


def build_backend(config: Config, backend: BackendConfig, environ: Mapping[str, str] = NOTHING) -> Backend:
    """One backend. Raises `ArrieroError` with a sentence that names it."""
    try:
        match backend:
            case OllamaConfig():
                return Ollama(_remote(config, backend))
            case OpenAIConfig():
                return OpenAI(_remote(config, backend))
            case EngineConfig():
                from arriero.backends.engine.backend import EngineBackend  # only who has an engine pays for it

                return EngineBackend(
                    backend.name,
                    models_dir=backend.models_dir.expanduser(),
                    demo_model=backend.demo_model,
                    keep_alive=backend.keep_alive,
                    max_loaded=backend.max_loaded,
                    num_parallel=backend.num_parallel,
                    context_length=backend.context_length,
                    max_queue=backend.max_queue,
                    threads=backend.threads,
                    environment=environ,
                    timeouts=_timeouts(config, backend),
                )
            case ScriptedConfig():
                from arriero.backends.scripted import Scripted

                return Scripted(backend.name, script=backend.script, timeouts=_timeouts(config, backend))
    except ValueError as error:
        raise ArrieroError(f"backend {backend.name}: {error}") from None


def _remote(config: Config, backend: OllamaConfig | OpenAIConfig) -> RemoteSettings:
    return RemoteSettings(
        name=backend.name,
        url=backend.url,
        profile=profile_of(backend.profile if isinstance(backend, OpenAIConfig) else "ollama"),
        api_key=backend.api_key.get_secret_value() if backend.api_key is not None else None,
        headers={name: value.get_secret_value() for name, value in backend.headers.items()},
        timeouts=_timeouts(config, backend),
        verify=backend.tls.verify,
        ca_file=str(backend.tls.ca_file.expanduser()) if backend.tls.ca_file is not None else None,
        proxy=config.proxy_of(backend),
        openai_api=backend.openai_api if isinstance(backend, OllamaConfig) else True,
        user_agent=USER_AGENT,
    )


def _timeouts(config: Config, backend: BackendConfig) -> Timeouts:
    merged = config.timeouts_of(backend)
    return Timeouts(merged.connect, merged.first_byte, merged.idle, merged.total)


def _seat(config: Config, backend: BackendConfig) -> Seat:
    if isinstance(backend, OllamaConfig | OpenAIConfig):
        interval, timeout = backend.check_interval, backend.check_timeout
    else:
        interval, timeout = LOCAL_CHECKS
    return Seat(
        priority=backend.priority,
        weight=backend.weight,
        max_concurrency=backend.max_concurrency,
        check_interval=interval,
        check_timeout=timeout,
        patterns=Patterns(backend.models.include, backend.models.exclude),
        extra_models=backend.extra_models if isinstance(backend, OpenAIConfig) else (),
        told=_told(backend.models),
    )


def _told(section: ModelsConfig | BackendModels) -> Told:
    capabilities = {glob: frozenset(found) for glob, found in section.capabilities.items()}
    return Told(capabilities, section.context_length)


def _rule(filter: FilterConfig) -> rules.Rule:
    return rules.Rule(
        models=filter.models,
        defaults=filter.defaults.given(),
        clamps={name: rules.Clamp(clamp.min, clamp.max) for name, clamp in filter.clamps.items()},
        force=filter.set.given(),
        strip=frozenset(filter.strip),
        think_tags={"true": True, "false": False}.get(filter.think_tags),
    )
