"""Reading and changing single top-level fields of a JSON text, with every other byte left as it was.

A request that is relayed is the client's own bytes; what arriero must change (the model's name, a clamped parameter) is
cut out and put in, so that key order, number formats and unknown fields survive. The law: only the named bytes move.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

# Strings, brackets, colons and commas are all that matter for finding the members of an object. The quantifiers are
# possessive: with ordinary ones the matcher keeps a state for each character, a gigabyte for a string of ten megabytes.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]:,]', re.DOTALL)
_SPACE = b" \t\r\n"


class NotAnObject(ValueError):
    """The text is not one complete JSON object."""


class Peek(Struct, frozen=True, gc=False):
    """The two fields that routing needs, read without decoding the rest."""

    model: str | None = None
    stream: bool | None = None


class _Loose(Struct, frozen=True):
    """The same two, whatever they are."""

    model: Raw = Raw()
    stream: Raw = Raw()


_peek = msgspec.json.Decoder(Peek).decode
_loose = msgspec.json.Decoder(_Loose).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode
_BOOLEANS = {b"true": True, b"false": False}


def peek(body: bytes) -> tuple[str | None, bool | None]:
    """The model's name and the stream flag; `None` where absent, null, or not a string or boolean.

    Raises `NotAnObject` for a body that is not a JSON object. The types of other values are checked by the dialect.
    """
    try:
        found = _peek(body)
        return found.model, found.stream
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnObject(str(error)) from None
    try:
        loose = _loose(body)
        model = _text(loose.model) if bytes(loose.model)[:1] == b'"' else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnObject(str(error)) from None
    return model, _BOOLEANS.get(bytes(loose.stream))


class _Others(Struct, frozen=True):
    models: Any = None


_others = msgspec.json.Decoder(_Others).decode


def other_models(body: bytes) -> tuple[str, ...]:
    """The names in a top-level list `models`, by which some vendors are told who may answer as well; none where there
    is no such list.
    """
    try:
        named = _others(body).models
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def has_other_case(body: bytes, *keys: bytes) -> bool:
    """Whether one of these quoted keys (in lower case) stands somewhere in another letter case.

    A reader that folds case may take such a member for the one that `peek` has read.
    """
    folded = body.lower()
    return any(folded.count(key) != body.count(key) for key in keys)


class Member(Struct, frozen=True, gc=False):
    """One member of the top-level object: its key, and where the member and its value lie (`start:end` offsets)."""

    key: str
    start: int
    value_start: int
    end: int


def members(body: bytes) -> list[Member]:
    """Every top-level member, in order; a key that stands twice is listed twice. Raises `NotAnObject`."""
    found: list[Member] = []
    depth = 0
    key: str | None = None
    start = value_start = -1
    for token in _TOKEN.finditer(body):
        char = body[token.start()]
        if char in b"{[":
            if depth == 0 and (char != ord("{") or body[: token.start()].strip(_SPACE)):
                raise NotAnObject("not a JSON object")
            depth += 1
        elif char in b"}]":
            depth -= 1
            if depth == 0:
                if key is not None:
                    found.append(Member(key, start, value_start, _trimmed(body, value_start, token.start())))
                return found
        elif depth != 1:
            continue
        elif char == ord(":"):
            if value_start < 0:
                value_start = _skipped(body, token.end())
        elif char == ord(","):
            if key is not None:
                found.append(Member(key, start, value_start, _trimmed(body, value_start, token.start())))
            key, value_start = None, -1
        elif key is None:
            try:
                key = _text(token.group())
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise NotAnObject(str(error)) from None
            start = token.start()
    raise NotAnObject("the object does not end")


def splice(body: bytes, put: Mapping[str, bytes], drop: Iterable[str] = ()) -> bytes:
    """`body` with the values of `put` in place of what stood there, and the members of `drop` cut out.

    The values of `put` are JSON texts. A key that is absent is added as the first member. Nothing else moves.
    """
    dropped = frozenset(drop)
    missing = dict(put)
    pieces: list[bytes] = []
    at = 0
    listed = members(body)
    for index, member in enumerate(listed):
        if member.key in dropped:
            # The comma goes with the member: the one behind it, or for the last one those before it.
            if index + 1 < len(listed):
                pieces.append(body[at : member.start])
                at = listed[index + 1].start
            else:
                pieces.append(body[at : member.start])
                at = member.end
                joined = b"".join(pieces).rstrip(_SPACE)
                pieces = [joined[:-1] if joined.endswith(b",") else joined]
        elif member.key in put:
            pieces.append(body[at : member.value_start])
            pieces.append(put[member.key])
            at = member.end
            missing.pop(member.key, None)
    pieces.append(body[at:])
    spliced = b"".join(pieces)
    if missing:
        added = b",".join(_encode(key) + b":" + value for key, value in missing.items())
        brace = spliced.index(b"{") + 1
        comma = b"" if spliced[brace:].lstrip(_SPACE).startswith(b"}") else b","
        spliced = spliced[:brace] + added + comma + spliced[brace:]
    return spliced


def splice_model(body: bytes, old: str, new: str) -> bytes:
    """`body` with another model name. Costs three scans where the name stands once, which is nearly always."""
    if old == new:
        return body
    value = _encode(old)
    # Once as a member, and the key nowhere else, not even with escaped letters: no nested object can be meant.
    if body.count(b'"model"') == 1 and b"\\u00" not in body:
        for pattern in (b'"model":' + value, b'"model": ' + value):
            if pattern in body:
                return body.replace(pattern, pattern[: -len(value)] + _encode(new), 1)
    return splice(body, {"model": _encode(new)})


def _skipped(body: bytes, at: int) -> int:
    while at < len(body) and body[at] in _SPACE:
        at += 1
    return at


def _trimmed(body: bytes, start: int, end: int) -> int:
    while end > start and body[end - 1] in _SPACE:
        end -= 1
    return end
