"""An Ollama server's own listings, from its bytes to catalog values. Each reader raises `BackendBroken` for nonsense.

Every entry keeps its JSON as `native`, so that what the card has no field for reaches clients too. A field of a wrong
type counts as not told: servers in Ollama's clothes leave out, rename and null whatever they like.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from math import inf
from typing import Any

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.catalog import Capability, LoadedModel, ModelCard, ModelDetail
from arriero.errors import BackendBroken


class _Models(Struct):
    models: list[Raw] | None = None


_models = msgspec.json.Decoder(_Models).decode
_value = msgspec.json.Decoder().decode

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CAPABILITIES = {capability.value: capability for capability in Capability}
_FOREVER_YEAR = 2200
"""Nobody asks for a keep-alive until then: a later time is Ollama's way to say never."""
_FIRST_YEAR = 1971
"""Go writes a time that was never set as the year 1."""
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")


def read_tags(body: bytes) -> tuple[ModelCard, ...]:
    """The models of /api/tags."""
    return tuple(card for raw, entry in _entries(body) if (card := _card(entry, raw)) is not None)


def read_ps(body: bytes) -> tuple[LoadedModel, ...]:
    """The models of /api/ps."""
    loaded = []
    for raw, entry in _entries(body):
        card = _card(entry, None)
        if card is not None:
            expires_at = _text(entry, "expires_at")
            loaded.append(
                LoadedModel(
                    card=card,
                    size_bytes=_number(entry, "size"),
                    vram_bytes=_number(entry, "size_vram"),
                    expires_at=_time(expires_at) if expires_at else None,
                    context_length=_number(entry, "context_length") or None,
                    native=raw,
                )
            )
    return tuple(loaded)


def read_show(body: bytes, model: str) -> ModelDetail:
    """The answer of /api/show for `model`, the backend's own name of it."""
    shown = _object(body)
    info = _map(shown, "model_info")
    architecture = info.get("general.architecture")
    details = _map(shown, "details")
    modified_at = _text(shown, "modified_at")
    card = ModelCard(
        id=model,
        capabilities=_capabilities(shown),
        context_length=_number(info, f"{architecture}.context_length") or _number(details, "context_length"),
        embedding_length=_number(info, f"{architecture}.embedding_length") or _number(details, "embedding_length"),
        parameter_count=_number(info, "general.parameter_count"),
        modified_at=_time(modified_at) if modified_at else None,
        native=Raw(body.strip()),
        **_of_details(details),
    )
    return ModelDetail(
        card=card,
        info={key: None if isinstance(value, list) else value for key, value in info.items()},
        template=_text(shown, "template"),
        system=_text(shown, "system"),
        parameters=_parameters(_text(shown, "parameters") or ""),
        license=_text(shown, "license"),
    )


def read_version(body: bytes) -> str | None:
    """The version of the server, if it says one."""
    return _text(_object(body), "version")


# ---- entries -------------------------------------------------------------------------------------------------------


def _entries(body: bytes) -> list[tuple[Raw, dict[str, Any]]]:
    try:
        listed = _models(body).models or []
        return [(raw, entry) for raw in listed if isinstance(entry := _value(raw), dict)]
    except _FAULTS as error:
        raise BackendBroken(f"the backend sent a model list that cannot be read: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = _value(body)
    except _FAULTS as error:
        raise BackendBroken(f"the backend sent a description that cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BackendBroken("the backend sent a description that is not an object")
    return found


def _card(entry: Mapping[str, Any], native: Raw | None) -> ModelCard | None:
    name = _text(entry, "model") or _text(entry, "name")
    if name is None:
        return None
    details = _map(entry, "details")
    modified_at = _text(entry, "modified_at")
    return ModelCard(
        id=name,
        capabilities=_capabilities(entry),
        context_length=_number(details, "context_length") or None,
        embedding_length=_number(details, "embedding_length") or None,
        size_bytes=_number(entry, "size"),
        digest=_text(entry, "digest"),
        modified_at=_time(modified_at) if modified_at else None,
        native=native,
        **_of_details(details),
    )


def _of_details(details: Mapping[str, Any]) -> dict[str, Any]:
    families = details.get("families")
    return {
        "format": _text(details, "format"),
        "family": _text(details, "family"),
        "families": tuple(map(str, families)) if isinstance(families, list) and families else None,
        "parameter_size": _text(details, "parameter_size"),
        "quantization": _text(details, "quantization_level"),
    }


def _capabilities(entry: Mapping[str, Any]) -> frozenset[Capability] | None:
    told = entry.get("capabilities")
    if not isinstance(told, list):
        return None
    return frozenset(_CAPABILITIES[word] for word in told if isinstance(word, str) and word in _CAPABILITIES) or None


# ---- values --------------------------------------------------------------------------------------------------------


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def _number(entry: Mapping[str, Any], key: str) -> int | None:
    value = entry.get(key)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _map(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def _time(text: str) -> float | None:
    """Unix seconds of an RFC 3339 time; infinity for one that means never."""
    try:
        moment = datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", text))
    except ValueError:
        return None
    if moment.year < _FIRST_YEAR:
        return None
    return inf if moment.year >= _FOREVER_YEAR else moment.timestamp()


def _parameters(text: str) -> dict[str, object]:
    """The lines of `parameters`: a name, blanks, and a number, a word or a text in quotes; `stop` is always a list."""
    found: dict[str, object] = {}
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        value = _parameter(rest.strip())
        before = found.get(name)
        if isinstance(before, list):
            before.append(value)
        elif name == "stop":
            found[name] = [value]
        elif name in found:
            found[name] = [before, value]
        elif name:
            found[name] = value
    return found


def _parameter(text: str) -> object:
    try:
        value = _value(text.encode())
    except msgspec.DecodeError:
        return text.strip('"')
    return int(value) if isinstance(value, float) and value == int(value) and abs(value) >= 1e6 else value
