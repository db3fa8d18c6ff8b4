"""Single knobs changed in a raw request, so that it can still be relayed: where each dialect keeps which knob.

The OpenAI dialect keeps them at the top, under the vendor's names; the Ollama dialect inside `options`.
"""

from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw

from arriero.canonical.requests import Sampling
from arriero.dialects.profiles import Profile
from arriero.wire.jsontext import json_text
from arriero.wire.splice import members, splice

OLLAMA = {"max_tokens": "num_predict"}
"""Ollama's options that have another name than the canonical knob."""

OPENAI = frozenset({"temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"})
"""OpenAI's fields that have the canonical knob's name."""

_LENGTHS = ("max_completion_tokens", "max_tokens")
_KNOBS = frozenset(Sampling.__struct_fields__)
_options = msgspec.json.Decoder(dict[str, Raw]).decode


def edit(dialect: str, body: bytes, profile: Profile, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    """`body` with the knobs of `put` set and the names of `drop` gone; a knob the vendor has no field for stays out.

    Names in `drop` that are no knobs are top-level fields. Raises `NotAnObject` for a body that cannot be edited.
    """
    if dialect == "ollama":
        return _in_options(body, put, drop)
    return _at_the_top(body, profile, put, drop)


def _in_options(body: bytes, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    where = next((member for member in members(body) if member.key == "options"), None)
    text = body[where.value_start : where.end] if where is not None else b"{}"
    options = _options(text) if text != b"null" else {}
    for name in drop:
        options.pop(OLLAMA.get(name, name), None)
    values = {OLLAMA.get(name, name): Raw(json_text(value)) for name, value in put.items()}
    others = [name for name in drop if name not in _KNOBS]
    return splice(body, {"options": json_text({**options, **values})}, others)


def _at_the_top(body: bytes, profile: Profile, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    present = {member.key for member in members(body)}
    set_: dict[str, bytes] = {}
    for name, value in put.items():
        if name == "max_tokens":
            # Whichever of its two names the client used stays.
            field = next((length for length in _LENGTHS if length in present), profile.max_tokens)
        elif name in OPENAI:
            field = name
        elif name in profile.sampling:
            field = profile.sampling[name]
        else:
            continue
        set_[field] = json_text(value)
    gone: list[str] = []
    for name in drop:
        gone += _LENGTHS if name == "max_tokens" else (profile.sampling.get(name, name),)
    return splice(body, set_, gone)
