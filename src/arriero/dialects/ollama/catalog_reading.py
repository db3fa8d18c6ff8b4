"""An Ollama server's own listings, from its bytes to catalog values. Each reader raises `BackendBroken` for nonsense.

What the card has no field for is kept as `native` JSON, so that it reaches clients too. A field of a wrong type counts
as not told: servers in Ollama's clothes leave out, rename and null whatever they like.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from math import inf
from sys import intern
from typing import Any

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.catalog import Capability, LoadedModel, ModelCard, ModelDetail
from arriero.canonical.model_ids import is_id
from arriero.errors import BackendBroken


class _Models(Struct):
    models: list[Raw] | None = None


_models = msgspec.json.Decoder(_Models).decode
_value = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CAPABILITIES = {capability.value: capability for capability in Capability}
_DETAILS = frozenset(
    {
        "parent_model",
        "format",
        "family",
        "families",
        "parameter_size",
        "quantization_level",
        "context_length",
        "embedding_length",
    }
)
_FOREVER_YEAR = 2200
"""Nobody asks for a keep-alive until then: a later time is Ollama's way to say never."""
_MOST = 2**63 - 1
_FIRST_YEAR = 1971
"""Go writes a time that was never set as the year 1."""
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")


def read_tags(body: bytes) -> tuple[ModelCard, ...]:
    """The models of /api/tags."""
    return tuple(card for raw, entry in _entries(body) if (card := _card(entry, _unsaid(raw, entry))) is not None)


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
        licenses=(told,) if (told := _text(shown, "license")) else (),
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
    if name is None or not is_id(name):
        return None
    details = _map(entry, "details")
    modified_at = _text(entry, "modified_at")
    return ModelCard(
        id=intern(name),
        capabilities=_capabilities(entry),
        context_length=_number(details, "context_length") or None,
        embedding_length=_number(details, "embedding_length") or None,
        size_bytes=_number(entry, "size"),
        digest=_word(entry, "digest"),
        modified_at=_time(modified_at) if modified_at else None,
        native=native,
        **_of_details(details),
    )


def _of_details(details: Mapping[str, Any]) -> dict[str, Any]:
    families = details.get("families")
    return {
        "format": _word(details, "format"),
        "family": _word(details, "family"),
        "families": tuple([intern(str(one)) for one in families]) if isinstance(families, list) and families else None,
        "parameter_size": _word(details, "parameter_size"),
        "quantization": _word(details, "quantization_level"),
    }


def _unsaid(raw: Raw, entry: Mapping[str, Any]) -> Raw | None:
    """Of an entry of /api/tags, what a listing could not say again from the card; a fleet holds tens of thousands.

    The time stays, in all its digits.
    """
    said = {"name", "model", "digest"}
    if type(entry.get("size")) is int:
        said.add("size")
    if _is_plain(_map(entry, "details")):
        said.add("details")
    able = entry.get("capabilities")
    if isinstance(able, list) and able and able == [word for word in _CAPABILITIES if word in able]:
        said.add("capabilities")
    rest = {key: value for key, value in _members(raw).items() if key not in said}
    return Raw(msgspec.json.encode(rest)) if rest else None


def _is_plain(details: Mapping[str, Any]) -> bool:
    """Whether all of it stands on the card."""
    families = details.get("families")
    lengths = [details[key] for key in ("context_length", "embedding_length") if key in details]
    return (
        details.keys() <= _DETAILS
        and details.get("parent_model") in (None, "")
        and all(_text(details, key) for key in ("format", "family", "quantization_level"))
        and isinstance(details.get("parameter_size"), str)
        and (families is None or _are_texts(families))
        and all(type(length) is int and length > 0 for length in lengths)
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _capabilities(entry: Mapping[str, Any]) -> frozenset[Capability] | None:
    told = entry.get("capabilities")
    if not isinstance(told, list):
        return None
    return _shared(frozenset([_CAPABILITIES[word] for word in told if isinstance(word, str) and word in _CAPABILITIES]))


@lru_cache(maxsize=256)  # of eight words there are no more sets
def _shared(capabilities: frozenset[Capability]) -> frozenset[Capability] | None:
    """One object for all equal ones; `None` for the empty one."""
    return capabilities or None


# ---- values --------------------------------------------------------------------------------------------------------


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def _word(entry: Mapping[str, Any], key: str) -> str | None:
    """A text that many entries have."""
    found = _text(entry, key)
    return None if found is None else intern(found)


def _number(entry: Mapping[str, Any], key: str) -> int | None:
    """What can be counted: no less than 0, and no more than Go's integers hold."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _MOST else None


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
