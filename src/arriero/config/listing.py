"""A loaded configuration as rows for people: name, value, origin. Secrets are never in a row."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, SecretStr

from arriero.config.environment import DEFAULT
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
