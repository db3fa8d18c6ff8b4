"""From a configuration to a running application: the one place where settings meet the parts they set.

The rooms below know no configuration; here each section becomes the frozen values that its room takes.
"""

import asyncio  # noqa: TID251 - backends are built beside the loop that serves
import platform
import time  # noqa: TID251 - the composition root says when it all began
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arriero import __version__
from arriero.backends.base import Backend
from arriero.backends.http.call import Call, Timeouts
from arriero.backends.http.proxy import ProxySettings
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.canonical.requests import FOREVER
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
from arriero.config.members import address_of
from arriero.config.strategies import fallback_of, word_of
from arriero.dialects import ollama, openai
from arriero.dialects.base import Dialect
from arriero.dialects.profiles import profile_of
from arriero.errors import ArrieroError
from arriero.filters import rules
from arriero.gateway.choice import Retrying, Routing
from arriero.gateway.entry import Seat
from arriero.gateway.exchange import Policy
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws, Roster
from arriero.gateway.told import Told
from arriero.routing.breaker import BreakerRule
from arriero.routing.decide import Rules
from arriero.routing.model_filter import EVERYTHING, ModelFilter
from arriero.routing.names import Patterns, key_of
from arriero.routing.sticky import Sessions
from arriero.server import surface
from arriero.server.access import Access, is_loopback, own_names
from arriero.server.app import App, Limits, Settled
from arriero.server.catalog import OLLAMA_VERSION, Catalog
from arriero.server.olla.ui import Audience
from arriero.server.providers.shapes import Terms
from arriero.server.rates import RateRule

if TYPE_CHECKING:
    from arriero.backends.engine.model import ModelFile
    from arriero.backends.engine.registry.session import Registries
    from arriero.pull import Here

DIALECTS: Mapping[str, Dialect] = {"ollama": ollama.DIALECT, "openai": openai.DIALECT}

LOCAL_CHECKS = (5.0, 30.0)
"""Seconds between two looks at a backend of this machine, and how long one may take."""

USER_AGENT = f"arriero/{__version__}"

PULLS_AS = f"ollama/{OLLAMA_VERSION} ({platform.machine()} {platform.system().lower()}) {USER_AGENT}"
"""Some registries look at the version in it, and refuse models to one that is too old for them."""


NOTHING: Mapping[str, str] = {}

STARTED = time.time()
"""When this process began to be an arriero."""

_STRATEGIES = {"reject": "strict", "any": "optimistic", "discover": "discovery"}
"""Olla's words for what becomes of a model that nobody lists."""


def build(config: Config, environ: Mapping[str, str] = NOTHING, filter: ModelFilter = EVERYTHING) -> App:
    """The application of a configuration. Raises `ArrieroError` for a backend that cannot be built.

    `environ` is the process's environment: the engine's children inherit what llama.cpp needs of it, and no key.
    """
    app = App(build_roster(config, environ, filter), DIALECTS)
    settle(app, config)
    return app


async def adopt(
    app: App,
    before: Config,
    after: Config,
    environ: Mapping[str, str] = NOTHING,
    filter: ModelFilter = EVERYTHING,
) -> None:
    """Another configuration for an application that runs. A backend that is made as before stays the same object, and
    keeps its connections and loaded models; open answers of the others run to their end.

    Raises `ArrieroError` for a backend that cannot be built: nothing has changed then, nor where it is cancelled.
    """
    standing = {name: entry.backend for name, entry in app.roster.entries.items()}
    made_of = {backend.name: making(before, backend) for backend in before.backends}
    kept = {
        backend.name: standing[backend.name]
        for backend in after.backends
        if backend.name in standing and made_of.get(backend.name) == making(after, backend)
    }
    made: dict[str, Backend] = {}
    try:
        # In a thread: a TLS context takes a while, and there may be many.
        await asyncio.to_thread(_build_others, after, kept, made, environ)
        seats = [((kept | made)[backend.name], seat(after, backend)) for backend in after.backends]
        await app.roster.adopt(seats, bylaws(after, filter))
    except BaseException:
        await asyncio.gather(*(backend.close() for backend in made.values()))
        raise
    settle(app, after)


def _build_others(
    config: Config, kept: Mapping[str, Backend], made: dict[str, Backend], environ: Mapping[str, str]
) -> None:
    for backend in config.backends:
        if backend.name not in kept:
            made[backend.name] = build_backend(config, backend, environ)


SEATED = frozenset(
    {
        "priority",
        "weight",
        "max_concurrency",
        "check_interval",
        "check_timeout",
        "models_interval",
        "models",
        "extra_models",
        "discover",
    }
)
"""The settings of a backend that are no part of the object: its seat, and what was looked up already."""


def making(config: Config, backend: BackendConfig) -> tuple[object, ...]:
    """All that a backend's object is made of: equal where another one would be no different."""
    own = {name: value for name, value in backend if name not in SEATED | {"timeouts", "proxy"}}
    proxy = config.proxy_of(backend) if isinstance(backend, OllamaConfig | OpenAIConfig) else None
    return type(backend), own, config.timeouts_of(backend), proxy, _names_models(backend)


def _names_models(backend: BackendConfig) -> bool:
    """Whether the operator names models: then the backend need not have a list of them."""
    return isinstance(backend, OpenAIConfig) and bool(backend.extra_models)


def settle(app: App, config: Config) -> None:
    """Everything of a configuration but its backends, for an application that may be running."""
    policy = _policy(config)
    local = any(is_loopback(address.host) for address in config.server.addresses)
    limits, dashboard = config.limits, config.server.dashboard
    app.roster.queue.most = config.routing.queue.max_waiting
    app.roster.queue.seconds = config.routing.queue.max_wait_seconds
    app.roster.sessions = _sessions(config, app.roster.sessions)
    app.roster.journal.settle(exchanges=config.logging.exchanges, prompts=config.logging.prompts)
    app.settle(
        Settled(
            surface.table(
                app,
                DIALECTS,
                catalog=Catalog(
                    app.roster, DIALECTS, tagged=config.models.listing == "tagged", strategy=policy.strategy
                ),
                policy=policy,
                started=STARTED,
                terms=_terms(config),
                audience=Audience(dashboard.enabled, dashboard.allowed_networks, dashboard.allowed_hosts),
            ),
            Access(
                config.server.cors_origins,
                checks_host=local,
                own_names=(*own_names(), *config.server.dashboard.allowed_hosts),
                credentials=config.server.cors_credentials,
            ),
            Limits(
                max_body_bytes=limits.max_body_bytes,
                max_header_bytes=limits.max_header_bytes,
                rates=RateRule(limits.requests_per_minute, limits.requests_per_minute_per_address, limits.burst),
                trusted_proxies=limits.trusted_proxies,
            ),
            policy,
        )
    )


def _terms(config: Config) -> Terms:
    routing = config.routing
    return Terms(
        environment=config.server.environment,
        routing=word_of(routing.policy),
        fallback=fallback_of(routing.retry.attempts, routing.retry.where),
        balances=routing.policy != "priority",
    )


def _policy(config: Config) -> Policy:
    routing = config.routing
    retry = routing.retry
    return Policy(
        routing=Routing(
            rules=Rules(routing.policy, routing.prefer_loaded),
            retrying=Retrying(
                statuses=frozenset(retry.statuses),
                attempts=retry.attempts,
                budget_seconds=retry.budget_seconds,
                same=retry.where == "same",
            ),
            fallback={key_of(model.strip()): names for model, names in routing.fallback.items()},
            sticky=routing.sticky.keys if routing.sticky.enabled else (),
        ),
        rules=(*_alias_rules(config), *(_rule(filter) for filter in config.filters)),
        strategy=_STRATEGIES[routing.unknown_model],
    )


def _sessions(config: Config, before: Sessions | None) -> Sessions | None:
    sticky = config.routing.sticky
    if not sticky.enabled:
        return None
    sessions = before or Sessions()
    sessions.ttl_seconds, sessions.max_sessions = sticky.ttl_seconds, sticky.max_sessions
    return sessions


def build_roster(config: Config, environ: Mapping[str, str] = NOTHING, filter: ModelFilter = EVERYTHING) -> Roster:
    """The backends of a configuration, each with its seat; nothing is asked yet."""
    return Roster(
        [(build_backend(config, backend, environ), seat(config, backend)) for backend in config.backends],
        bylaws(config, filter),
        queue=Queue(),
        sessions=_sessions(config, None),
    )


def bylaws(config: Config, filter: ModelFilter = EVERYTHING) -> Bylaws:
    """What the configuration and the filter file say of the fleet as a whole."""
    routing = config.routing
    return Bylaws(
        aliases={name: alias.models for name, alias in routing.aliases.items()},
        overall=Patterns(config.models.include, config.models.exclude),
        filter=filter,
        told=_told(config.models),
        unknown_model=routing.unknown_model,
        breaker=BreakerRule(routing.breaker.failures, routing.breaker.open_seconds),
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
                # Only who has an engine pays for it.
                from arriero.backends.engine.backend import EngineBackend
                from arriero.backends.engine.store.store import Store

                return EngineBackend(
                    backend.name,
                    store=Store(backend.models_dir.expanduser(), read_only=backend.read_only, prune=backend.prune),
                    demo_model=backend.demo_model,
                    keep_alive=backend.keep_alive,
                    max_loaded=backend.max_loaded,
                    num_parallel=backend.num_parallel,
                    context_length=backend.context_length,
                    max_queue=backend.max_queue,
                    threads=backend.threads,
                    load_seconds=backend.load_timeout or FOREVER,
                    environment=environ,
                    timeouts=_timeouts(config, backend),
                    registries=partial(_registries, config.proxy.settings, environ),
                )
            case ScriptedConfig():
                from arriero.backends.scripted import Scripted

                return Scripted(backend.name, script=backend.script, timeouts=_timeouts(config, backend))
    except ValueError as error:
        raise ArrieroError(f"backend {backend.name}: {error}") from None


def pull_here(config: Config, environ: Mapping[str, str], model: str, insecure: bool) -> "Here":
    """A way to pull a model into the store of the first engine that may be written. Raises `ArrieroError`."""
    from arriero.backends.engine.library.operations import Operations
    from arriero.backends.engine.models import Models
    from arriero.backends.engine.store.store import Store
    from arriero.pull import PULL_PATH, Here

    engine = next((one for one in config.backends if isinstance(one, EngineConfig) and not one.read_only), None)
    if engine is None:
        raise ArrieroError(
            "no backend of kind engine is configured whose store may be written (read_only is its setting)"
        )
    root = engine.models_dir.expanduser()

    async def run(report: Callable[[Mapping[str, Any]], None]) -> None:
        store = Store(root, prune=engine.prune)
        models, reached = Models(store), _registries(config.proxy.settings, environ)

        async def find(name: str) -> "ModelFile | None":
            return (await asyncio.to_thread(models.scan)).find(name)

        body = msgspec.json.encode({"model": model, "insecure": insecure})
        operations = Operations(store, reached, find)
        job = operations.read(Call("POST", PULL_PATH, (), body))
        try:
            await job.run(lambda frame: report(msgspec.to_builtins(frame)))
        finally:
            await operations.close()

    return Here(str(root), run)


def _registries(proxy: ProxySettings, environ: Mapping[str, str]) -> "Registries":
    """The way to model registries, with the key that Ollama keeps in this home, where there is one."""
    from arriero.backends.engine.registry.session import Registries
    from arriero.backends.engine.registry.signing import read_signer

    home = environ.get("HOME")
    signer = read_signer(Path(home) / ".ollama" / "id_ed25519") if home else None
    return Registries(user_agent=PULLS_AS, proxy=proxy, signer=signer)


def _remote(config: Config, backend: OllamaConfig | OpenAIConfig) -> RemoteSettings:
    return RemoteSettings(
        name=backend.name,
        url=backend.url,
        profile=profile_of(backend.profile if isinstance(backend, OpenAIConfig) else "ollama"),
        api_key=backend.api_key.get_secret_value() if backend.api_key is not None else None,
        headers={name: value.get_secret_value() for name, value in backend.headers.items()},
        query=backend.query if isinstance(backend, OpenAIConfig) else {},
        models_named=_names_models(backend),
        timeouts=_timeouts(config, backend),
        verify=backend.tls.verify,
        ca_file=str(backend.tls.ca_file.expanduser()) if backend.tls.ca_file is not None else None,
        proxy=config.proxy_of(backend),
        openai_api=backend.openai_api if isinstance(backend, OllamaConfig) else True,
        user_agent=USER_AGENT,
        check_path=backend.check_path,
        address=address_of(backend),
    )


def _timeouts(config: Config, backend: BackendConfig) -> Timeouts:
    merged = config.timeouts_of(backend)
    return Timeouts(merged.connect, merged.first_byte, merged.idle, merged.total)


def seat(config: Config, backend: BackendConfig) -> Seat:
    """How a backend is placed in the fleet."""
    if isinstance(backend, OllamaConfig | OpenAIConfig):
        interval, timeout, models = backend.check_interval, backend.check_timeout, backend.models_interval
    else:
        (interval, timeout), models = LOCAL_CHECKS, None
    return Seat(
        priority=backend.priority,
        weight=backend.weight,
        max_concurrency=backend.max_concurrency,
        check_interval=interval,
        check_timeout=timeout,
        models_interval=models,
        patterns=Patterns(backend.models.include, backend.models.exclude),
        extra_models=backend.extra_models if isinstance(backend, OpenAIConfig) else (),
        told=_told(backend.models),
    )


def _told(section: ModelsConfig | BackendModels) -> Told:
    capabilities = {glob: frozenset(found) for glob, found in section.capabilities.items()}
    prices = {glob: (price.input, price.output) for glob, price in section.price.items()}
    return Told(capabilities, section.context_length, prices)


def _alias_rules(config: Config) -> list[rules.Rule]:
    """The knobs that an alias has, as rules for those who ask for it by this name."""
    return [
        rules.Rule(models=(name,), defaults=alias.defaults.given(), force=alias.set.given())
        for name, alias in config.routing.aliases.items()
        if alias.defaults.given() or alias.set.given()
    ]


def _rule(filter: FilterConfig) -> rules.Rule:
    return rules.Rule(
        models=filter.models,
        defaults=filter.defaults.given(),
        clamps={name: rules.Clamp(clamp.min, clamp.max) for name, clamp in filter.clamps.items()},
        force=filter.set.given(),
        strip=frozenset(filter.strip),
        think_tags={"true": True, "false": False}.get(filter.think_tags),
    )
