"""A loaded configuration as rows for people: name, value, origin. Secrets are never in a row."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, SecretStr

from arriero.config.environment import DEFAULT, LAYERS, Origin
from arriero.config.named import PROXY
from arriero.config.providers import RANKED, rank_of
from arriero.config.sources import Loaded


class Row(NamedTuple):
    """One setting. `value` is text to print; `origin` is a flag, a variable, a place in the file, or `default`."""

    name: str
    value: str
    origin: str


def rows(loaded: Loaded) -> list[Row]:
    """Every setting in the order of the file's sections; backends under their names."""
    listed: list[Row] = []
    for name, value in _leaves("", loaded.config):
        origin = loaded.origins.get(name, DEFAULT)
        text = _text(value)
        if _is_secret(value) and origin != DEFAULT:
            text = f"{text} (from {origin})"
        listed.append(Row(name, text, str(origin)))
    return listed


class Fact(NamedTuple):
    """One thing that was understood of a provider."""

    provider: str
    what: str
    value: str
    origin: str


_SHOWN = ("url", "profile", "api_key", "query", "extra_models", "priority", "max_concurrency", "check_interval")
"""Settings of a provider's backend that people look for, in this order; of those that are lists, only what is there."""


def facts(loaded: Loaded) -> list[Fact]:
    """What was understood of the providers: those of ollama-proxy, and of the others the ones that have a backend or
    were switched off by name. For each that is on, its settings; for each that is off, why; those that nobody has said
    anything of are one line, the last."""
    backends = {backend.name: backend for backend in loaded.config.backends}
    listed: list[Fact] = []
    unnamed: list[str] = []
    for provider, off, origin, refused, is_unnamed in loaded.providers:
        if off is not None:
            if is_unnamed and provider in RANKED:
                unnamed.append(provider.name)
            elif provider in RANKED or refused:
                listed.append(Fact(provider.name, "enabled", f"no: {off}", "-" if origin == DEFAULT else str(origin)))
            continue
        backend = backends[provider.name]
        listed.append(Fact(provider.name, "enabled", "yes", str(origin)))
        prefix = f"backends.{provider.name}"
        for name in _SHOWN:
            value = getattr(backend, name, None)
            if value is not None and value != () and value != {}:
                set_by = loaded.origins.get(f"{prefix}.{name}", DEFAULT)
                shown = _fact(provider.name, name, value, set_by)
                if name == "priority" and (set_by == PROXY or set_by.kind in LAYERS):
                    # The variable counts the other way round: whoever wrote 1 looks for it.
                    shown = shown._replace(value=f"{value} (rank {rank_of(value)})")
                listed.append(shown)
            elif name == "api_key":
                listed.append(Fact(provider.name, name, "not set", str(DEFAULT)))
        timeouts = loaded.config.timeouts_of(backend)
        for name in ("first_byte", "idle"):
            own = loaded.origins.get(f"{prefix}.timeouts.{name}") or loaded.origin(f"timeouts.{name}")
            listed.append(_fact(provider.name, f"timeout {name}", getattr(timeouts, name), own))
    if unnamed:
        listed.append(Fact("others", "enabled", f"no: nothing is set for {', '.join(unnamed)}", "-"))
    return listed


def _fact(provider: str, what: str, value: object, origin: Origin) -> Fact:
    return Fact(provider, what, _text(value), str(origin))


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _leaves(f"{prefix}.{field}" if prefix else field, getattr(value, field))
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for position, item in enumerate(value):
            yield from _leaves(f"{prefix}.{getattr(item, 'name', position)}", item)
    else:
        yield prefix, value


def _is_secret(value: object) -> bool:
    return isinstance(value, SecretStr) or (
        isinstance(value, dict) and any(_is_secret(item) for item in value.values())
    )


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case SecretStr():
            return "set"
        case bool():
            return "true" if value else "false"
        case float():
            return "for ever" if value == float("inf") else f"{value:g}"
        case dict():
            return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "-"
        case tuple() | list():
            return ", ".join(_text(item) for item in value) or "-"
        case Path():
            return str(value)
        case BaseModel():
            return _text(value.model_dump(exclude_none=True))
        case _:
            return str(getattr(value, "value", value))
