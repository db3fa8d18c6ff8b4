"""JSON texts as the clients of this field need them: strings in ASCII, float32 values in their shortest form.

ollama-python cuts stream lines like `str.splitlines()`, so a raw U+2028, U+2029 or U+0085 inside a string breaks a
frame; ASCII with escapes is safe everywhere and lets a lone surrogate travel on unharmed.
"""

import json
import re
import struct
from collections.abc import Sequence
from decimal import Decimal
from math import copysign, isfinite
from typing import Any

import msgspec
from msgspec import Raw

_encode = msgspec.json.encode
_ascii = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode
_pack = struct.Struct("<f")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SMALLEST_NORMAL = 2.0**-126
# The bounds of the exponent form, as float32 has them.
_SMALL, _LARGE = (_pack.unpack(_pack.pack(bound))[0] for bound in (1e-6, 1e21))


def json_string(text: str) -> bytes:
    """A JSON string in ASCII."""
    return _encode(text) if text.isascii() else _ascii(text).encode()


def json_forms(text: str) -> tuple[bytes, ...]:
    """The JSON strings that other writers make of a text: in ASCII first, and in UTF-8 where that is another one."""
    ascii_form = json_string(text)
    utf8_form = _encode(text) if not text.isascii() else ascii_form
    return (ascii_form,) if utf8_form == ascii_form else (ascii_form, utf8_form)


def json_text(value: Any) -> bytes:
    """Any value as compact JSON in ASCII: what msgspec encodes, `Raw` included. Invalid UTF-8 becomes U+FFFD."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        # A lone surrogate somewhere inside: msgspec does not write those.
        return _written(msgspec.to_builtins(value, builtin_types=(Raw,), str_keys=True)).encode()
    return encoded if encoded.isascii() else _escaped(encoded).encode()


def _escaped(encoded: bytes) -> str:
    # Outside of strings JSON has only ASCII, so every other character can be escaped where it stands.
    text = encoded.decode(errors="replace")
    return _NOT_ASCII.sub(lambda run: _ascii(run.group())[1:-1], text)


def _written(value: Any) -> str:
    match value:
        case Raw():
            return _escaped(bytes(value))
        case dict():
            return "{" + ",".join(f"{_ascii(key)}:{_written(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_written, value)) + "]"
        case str():
            return _ascii(value)
        case _:
            return _encode(value).decode()


def float32_list(values: Sequence[float]) -> bytes:
    """A JSON list with each value as the shortest decimal text that reads back to the same float32.

    A vector has hundreds of values, so they are packed and compared all at once; only the odd ones (exponents, what is
    no float32 at all) go through `float32_text` one by one. Raises ValueError as it does.
    """
    layout = struct.Struct(f"<{len(values)}f")
    try:
        stored: tuple[float, ...] = layout.unpack(layout.pack(*values))
    except OverflowError:
        return b"[" + ",".join(map(float32_text, values)).encode() + b"]"
    texts = [f"{value:.7g}" for value in stored]
    for digits in (8, 9):
        read = layout.unpack(layout.pack(*map(float, texts)))
        if read == stored:
            break
        for at, value in enumerate(stored):
            if read[at] != value:
                texts[at] = f"{value:.{digits}g}"
    for at, text in enumerate(texts):
        if not text.lstrip("-").replace(".", "", 1).isdigit():
            texts[at] = float32_text(values[at])
    return b"[" + ",".join(texts).encode() + b"]"


def float32_text(value: float) -> str:
    """The shortest text of a float32: exponent form below 1e-6 and from 1e21 up, as Go writes it.

    Raises `ValueError` for what JSON cannot hold: NaN, infinities and what is beyond float32.
    """
    try:
        stored: float = _pack.unpack(_pack.pack(value))[0]
    except OverflowError:
        raise ValueError(f"{value} is not a float32") from None
    if not isfinite(stored):
        raise ValueError(f"JSON has no {value}")
    if abs(stored) < 2**24 and stored == int(stored):
        return "-0" if stored == 0 and copysign(1, stored) < 0 else str(int(stored))
    # Nine digits always read back; six always hold a normal value's short text, since trailing zeros fall off.
    for digits in range(6 if abs(stored) >= _SMALLEST_NORMAL else 1, 9):
        text = f"{stored:.{digits}g}"
        if _pack.unpack(_pack.pack(float(text)))[0] == stored:
            break
    else:
        text = f"{stored:.9g}"
    if "e" in text and _SMALL <= abs(stored) < _LARGE:
        text = format(Decimal(text), "f")
    return text
