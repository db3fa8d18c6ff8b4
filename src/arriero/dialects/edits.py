"""Single knobs changed in a raw request, so that it can still be relayed: where each dialect keeps which knob.

The OpenAI dialect keeps them at the top, under the vendor's names; the Ollama dialect inside `options`. Every byte that
is not said otherwise stays as the client wrote it.
"""

from collections.abc import Collection, Mapping

from arriero.canonical.requests import Sampling
from arriero.dialects.quirks import Profile
from arriero.wire.jsontext import json_text
from arriero.wire.splice import NotAnObject, members, splice

OLLAMA = {"max_tokens": "num_predict"}
"""Ollama's options that have another name than the canonical knob."""

SPELLINGS = {
    "max_tokens": ("max_completion_tokens", "max_tokens"),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
}
"""Knobs that OpenAI clients spell in several ways; readers of a request look at all of them."""

_KNOBS = frozenset(Sampling.__struct_fields__)


def edit(dialect: str, body: bytes, profile: Profile, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    """`body` with the knobs of `put` set and the names of `drop` gone; a knob the vendor has no field for stays out.

    Names in `drop` that are no knobs are top-level fields. Raises `NotAnObject` for a body that cannot be edited.
    """
    if dialect == "ollama":
        return _in_options(body, put, drop)
    return _at_the_top(body, profile, put, drop)


def _in_options(body: bytes, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    values = {OLLAMA.get(name, name): json_text(value) for name, value in put.items()}
    gone = [OLLAMA.get(name, name) for name in drop if name in _KNOBS]
    fields = {name for name in drop if name not in _KNOBS}
    # An Ollama server reads keys whatever their case, and of two it takes the later one.
    listed = members(body)
    gone_fields = [member.key for member in listed if member.key.casefold() in fields]
    found = [member for member in listed if member.key.casefold() == "options"]
    if len(found) > 1:
        raise NotAnObject("the options stand twice in the request")
    key, text = "options", b"{}"
    if found and (given := body[found[0].value_start : found[0].end]) != b"null":
        key, text = found[0].key, given
    elif found:
        key = found[0].key
    options = splice(text, values, gone)
    return splice(body, {key: options} if options != text else {}, gone_fields)


def _at_the_top(body: bytes, profile: Profile, put: Mapping[str, object], drop: Collection[str]) -> bytes:
    present = {member.key for member in members(body)}
    set_: dict[str, bytes] = {}
    gone: set[str] = set()
    for name in drop:
        gone.update(_spellings(name, profile))
    for name, value in put.items():
        spellings = _spellings(name, profile)
        if name == "max_tokens":
            # Whichever of its two names the client used stays.
            fields = [field for field in spellings if field in present] or [profile.max_tokens]
        elif name == "stop":
            fields = ["stop"]
        else:
            fields = [field for field in (profile.sampling.get(name),) if field is not None]
        set_.update(dict.fromkeys(fields, json_text(value)))
        # The client's own word under another spelling would say something else.
        gone.update(field for field in spellings if field not in fields)
    return splice(body, set_, gone)


def _spellings(name: str, profile: Profile) -> tuple[str, ...]:
    return (*SPELLINGS.get(name, (name,)), *((profile.sampling[name],) if name in profile.sampling else ()))
