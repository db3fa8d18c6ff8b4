"""The environment variables arriero knows, as tables: name, other spellings, and the settings they set.

To add a variable is to add a row. Names are matched without regard to case; a variable that is empty is not set. The
variables themselves are handed in: `Variables` is made from a mapping and the text of `.env`.
"""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from arriero.config import providers
from arriero.config.strategies import BALANCING_VARIABLE, STRATEGY_VARIABLE, read_fallback
from arriero.config.values import parse_list, parse_ollama_host, parse_truth

ENVIRONMENT, DOTENV = "environment", ".env"
LAYERS = (ENVIRONMENT, DOTENV)
"""Where variables come from, the stronger first."""


class Origin(NamedTuple):
    """Where a value comes from. `kind` is flag, environment, .env, file or default; `name` the flag or variable."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{DOTENV}: {self.name}" if self.kind == DOTENV else self.name or self.kind


DEFAULT = Origin("default")


class Found(NamedTuple):
    """A variable that is set. `name` is as it is spelled there."""

    name: str
    value: str
    origin: Origin


class Variables:
    """The process's environment over the variables of `.env`. `faulty_lines` of the latter could not be read."""

    def __init__(self, environ: Mapping[str, str], dotenv: str = "") -> None:
        self.faulty_lines: tuple[int, ...] = ()
        values = self._parse(dotenv, environ) if dotenv.strip() else {}
        self.exact: dict[str, str] = {**values, **environ}
        """All variables by their exact names, for `${NAME}` in the file."""
        self._layers = {ENVIRONMENT: _folded(environ), DOTENV: _folded(values)}

    def _parse(self, text: str, environ: Mapping[str, str]) -> dict[str, str]:
        # Only a process with a .env pays for the import. The library's own expansion reads the process's environment.
        from dotenv.parser import parse_stream
        from dotenv.variables import parse_variables

        values: dict[str, str] = {}
        faulty: list[int] = []
        for binding in parse_stream(io.StringIO(text)):
            if binding.error:
                faulty.append(binding.original.line)
            elif binding.key is not None and binding.value is not None:
                known = {**values, **environ}
                values[binding.key] = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
        self.faulty_lines = tuple(faulty)
        return values

    def find(self, *names: str, layers: tuple[str, ...] = LAYERS) -> Found | None:
        """The first of these (upper-case) names that is set, in the first of the layers that has one."""
        for layer in layers:
            for name in names:
                spelled, value = self._layers[layer].get(name, ("", ""))
                if value.strip():
                    return Found(spelled, value.strip(), Origin(layer, spelled))
        return None


def _folded(values: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    folded: dict[str, tuple[str, str]] = {}
    for name, value in values.items():
        if name.upper() not in folded or name.isupper():
            folded[name.upper()] = (name, value)
    return folded


Settings = Mapping[str, Any]
"""Dotted setting to raw value; `engine.x` is the field `x` of every engine backend."""


class Variable(NamedTuple):
    """One row: the first of `names` is the one to use. `read` may raise `ValueError`."""

    names: tuple[str, ...]
    sets: tuple[str, ...]
    meaning: str
    read: Callable[[str], Settings]


class NotUsed(ValueError):
    """The value, or a part of it, means nothing here: a warning, no error. Its text goes on from the variable's name.
    `settings` is what the rest of the value says.
    """

    def __init__(self, message: str, settings: Settings = MappingProxyType({})) -> None:
        super().__init__(message)
        self.settings = settings


def _as(*settings: str, read: Callable[[str], Any] = str) -> Callable[[str], Settings]:
    return lambda text: dict.fromkeys(settings, read(text))


def _listening(text: str) -> Settings:
    parsed = parse_ollama_host(text)
    settings = {"server.host": parsed.host} | ({} if parsed.port is None else {"server.port": parsed.port})
    if parsed.bad_port:
        raise NotUsed("has a port that is not a number from 0 to 65535: not used", settings)
    return settings


def _list(setting: str) -> Callable[[str], Settings]:
    return _as(setting, read=parse_list)


def _proxy(setting: str) -> Callable[[str], Settings]:
    def read(text: str) -> Settings:
        scheme, mark, _ = text.partition("://")
        if mark and scheme.lower() not in ("http", "https"):
            raise NotUsed("is not an HTTP proxy: not used")
        return {setting: text}

    return read


def _num_parallel(text: str) -> Settings:
    """Ollama reads 0 as "decide yourself"."""
    return {} if text == "0" else {"engine.num_parallel": text}


def _no_prune(text: str) -> Settings:
    return {"engine.prune": not _truth(text)}


def _watched(text: str) -> Settings:
    """ollama-proxy's `RELOAD=false` is about its source code, and its sample `.env` has it: no reason to stop looking
    at the configuration and the filter file."""
    return {"server.watch": True} if _truth(text) else {}


def _debugging(text: str) -> Settings:
    return {"logging.level": "debug"} if _truth(text) else {}


def _truth(text: str) -> bool:
    # These names are anybody's (`DEBUG=*`): what is not for arriero does not stop it.
    try:
        return parse_truth(text)
    except ValueError:
        raise NotUsed("is neither true nor false: not used") from None


FORMATS = {"auto": "auto", "console": "text", "text": "text", "plain": "text", "pretty": "text", "json": "json"}
"""Spellings of `LOG_FORMAT`, in any case."""


def _log_format(text: str) -> Settings:
    if (known := FORMATS.get(text.lower())) is None:
        raise NotUsed(f"is not one of {', '.join(FORMATS)}: not used")
    return {"logging.format": known}


PLACES = {
    "development": ("development", "dev", "local"),
    "staging": ("staging", "stage", "test", "testing"),
    "production": ("production", "prod", "live"),
}
"""What an installation is for, in each of its spellings."""


def read_environment(text: str) -> str:
    """What `ENVIRONMENT` says, in any case; anything that is not known is development, as for ollama-proxy."""
    folded = text.strip().lower()
    return next((place for place, spellings in PLACES.items() if folded in spellings), "development")


def _place(text: str) -> Settings:
    return {"server.environment": read_environment(text)}


def _row(names: str, sets: str, meaning: str, read: Callable[[str], Settings] | None = None) -> Variable:
    settings = tuple(sets.split())
    return Variable(tuple(names.split()), settings, meaning, read or _as(*settings))


# Rows further down win: the ones that only arriero reads come last.
SETTINGS: tuple[Variable, ...] = (
    _row("HOST", "server.host", "address to listen on"),
    _row("PORT", "server.port", "port to listen on"),
    _row("OLLAMA_HOST", "server.host server.port", "address to listen on, in every form Ollama reads", _listening),
    _row("OLLAMA_ORIGINS", "server.cors_origins", "browser origins, parted by commas", _list("server.cors_origins")),
    _row("OLLAMA_MODELS", "engine.models_dir", "model store of the engine"),
    _row("OLLAMA_KEEP_ALIVE", "engine.keep_alive", "time a model stays loaded: `5m`, seconds, negative for ever"),
    _row("OLLAMA_NUM_PARALLEL", "engine.num_parallel", "requests that one model answers at once", _num_parallel),
    _row("OLLAMA_MAX_LOADED_MODELS", "engine.max_loaded", "models in memory at most; 0 decides by memory"),
    _row("OLLAMA_CONTEXT_LENGTH", "engine.context_length", "context length in tokens; 0 decides by memory"),
    _row("OLLAMA_MAX_QUEUE", "engine.max_queue routing.queue.max_waiting", "requests that wait at most"),
    _row("OLLAMA_LOAD_TIMEOUT", "engine.load_timeout", "time that loading a model may take: `5m`, seconds"),
    _row("OLLAMA_NOPRUNE", "engine.prune", "`true` keeps files of the store that no model uses", _no_prune),
    _row("HTTP_PROXY", "proxy.http", "proxy for backends with http://", _proxy("proxy.http")),
    _row("HTTPS_PROXY", "proxy.https", "proxy for backends with https://", _proxy("proxy.https")),
    _row("ALL_PROXY", "proxy.all", "proxy where no other is set", _proxy("proxy.all")),
    _row("NO_PROXY", "proxy.no_proxy", "hosts without proxy, parted by commas", _list("proxy.no_proxy")),
    _row("LOG_LEVEL", "logging.level", "least weight of a log line"),
    _row("DEBUG", "logging.level", "`true` is the level `debug`", _debugging),
    _row("LOG_FORMAT", "logging.format", "form of a log line: console, text, json, auto", _log_format),
    _row("ENVIRONMENT", "server.environment", "what this installation is for", _place),
    _row("RELOAD", "server.watch", "`true` takes up changes of the file at once; `false` changes nothing", _watched),
    _row("MODELS_FILTER_PATH MODELS_FILTER", "models.filter_file", "file of the models that are shown"),
    _row("MAX_QUEUE_SIZE", "routing.queue.max_waiting", "requests that wait at most"),
    _row("FALLBACK_STRATEGY", "routing.retry.attempts routing.retry.where", "what follows a failure", read_fallback),
    _row("ARRIERO_HOST", "server.host", "address to listen on"),
    _row("ARRIERO_PORT", "server.port", "port to listen on"),
    _row("ARRIERO_MODELS_DIR", "engine.models_dir", "model store of the engine"),
    _row("ARRIERO_READ_ONLY", "engine.read_only", "whether the model store is only read"),
    _row("ARRIERO_DISCOVER", "server.discover", "whether local servers are looked for"),
    _row("ARRIERO_DEMO_MODEL", "engine.demo_model", "whether the demo model is offered"),
    _row("ARRIERO_LOG_LEVEL", "logging.level", "least weight of a log line"),
    _row("ARRIERO_LOG_FORMAT", "logging.format", "form of a log line: auto, text, json"),
)  # fmt: skip

CONFIG_VARIABLE = "ARRIERO_CONFIG"


def every_name() -> list[str]:
    """Every variable that means something, for the documentation."""
    names = [name for row in SETTINGS for name in row.names]
    return [*names, STRATEGY_VARIABLE, BALANCING_VARIABLE, *providers.every_name(), CONFIG_VARIABLE]
