"""Where the first JSON value of a body ends, or what is wrong with it, in the words of Go's `encoding/json`.

People paste these texts into issues, so they are the real server's. Types are not looked at here: see `lenient`.
"""

import re

from arriero.dialects.ollama.golang import quote_byte
from arriero.errors import BadRequest

MAX_DEPTH = 10_000
"""Go's own limit of nesting."""

_SPACES = re.compile(rb"[ \t\r\n]*")
# A possessive group of several branches matches wrongly before CPython 3.11.5 (gh-106052), and an ordinary one keeps a
# state for each turn: so it is bounded, and matched again from where it ended.
_STRING_BODY = re.compile(
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+){0,1000}',
)
_DIGITS = re.compile(rb"[0-9]*")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}

TOO_DEEP = "exceeded max depth"


def first_value(body: bytes) -> bytes:
    """The bytes of the first value in `body`; what follows it is ignored. Raises `BadRequest` with Go's text."""
    start = _space(body, 0)
    if start == len(body):
        raise BadRequest("missing request body")
    return body[start : _value(body, start)]


def _value(body: bytes, at: int) -> int:
    """The end of the value that begins at `at`. Iterative: the nesting is the client's to choose."""
    open_: list[int] = []
    while True:
        at = _space(body, at)
        byte = _at(body, at)
        if byte in b"{[":
            open_.append(byte)
            if len(open_) > MAX_DEPTH:
                raise BadRequest(TOO_DEEP)
            at = _space(body, at + 1)
            if _at(body, at) == byte + 2:  # `}` is two behind `{`, `]` two behind `[`
                open_.pop()
                at += 1
            elif byte == ord("{"):
                at = _key(body, at)
                continue
            else:
                continue
        else:
            at = _scalar(body, at, byte)
        while True:
            if not open_:
                return at
            at = _space(body, at)
            byte = _at(body, at)
            inside = open_[-1]
            at += 1
            if byte == inside + 2:
                open_.pop()
            elif byte == ord(","):
                if inside == ord("{"):
                    at = _key(body, _space(body, at))
                break
            else:
                raise _invalid(byte, "after object key:value pair" if inside == ord("{") else "after array element")


def _key(body: bytes, at: int) -> int:
    byte = _at(body, at)
    if byte != ord('"'):
        raise _invalid(byte, "looking for beginning of object key string")
    at = _space(body, _string(body, at + 1))
    byte = _at(body, at)
    if byte != ord(":"):
        raise _invalid(byte, "after object key")
    return at + 1


def _scalar(body: bytes, at: int, byte: int) -> int:
    if byte == ord('"'):
        return _string(body, at + 1)
    if literal := _LITERALS.get(byte):
        for offset in range(1, len(literal)):
            found = _at(body, at + offset)
            if found != literal[offset]:
                raise _invalid(found, f"in literal {literal.decode()} (expecting '{chr(literal[offset])}')")
        return at + len(literal)
    if byte == ord("-"):
        at += 1
        byte = _at(body, at)
        if not _digit(byte):
            raise _invalid(byte, "in numeric literal")
    if not _digit(byte):
        raise _invalid(byte, "looking for beginning of value")
    at = at + 1 if byte == ord("0") else _digits(body, at)
    if body[at : at + 1] == b".":
        at = _digits(body, at + 1, "after decimal point in numeric literal")
    if body[at : at + 1] in (b"e", b"E"):
        at += 1
        if body[at : at + 1] in (b"+", b"-"):
            at += 1
        at = _digits(body, at, "in exponent of numeric literal")
    return at


def _digits(body: bytes, at: int, place: str = "") -> int:
    end = _end(_DIGITS, body, at)
    if end == at:
        raise _invalid(_at(body, at), place)
    return end


def _string(body: bytes, at: int) -> int:
    while (end := _end(_STRING_BODY, body, at)) > at:
        at = end
    byte = _at(body, at)
    if byte == ord('"'):
        return at + 1
    if byte != ord("\\"):
        raise _invalid(byte, "in string literal")
    byte = _at(body, at + 1)
    if byte != ord("u"):
        raise _invalid(byte, "in string escape code")
    at += 2
    while _at(body, at) in _HEX:
        at += 1
    raise _invalid(body[at], "in \\u hexadecimal character escape")


def _at(body: bytes, at: int) -> int:
    if at >= len(body):
        raise BadRequest("unexpected EOF")
    return body[at]


def _digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39


def _space(body: bytes, at: int) -> int:
    return _end(_SPACES, body, at)


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    assert found is not None, "each of these patterns matches the empty text"
    return found.end()


def _invalid(byte: int, place: str) -> BadRequest:
    return BadRequest(f"invalid character {quote_byte(byte)} {place}")
