"""JSON texts as the clients of this field need them: strings in ASCII, float32 values in their shortest form.

ollama-python cuts stream lines like `str.splitlines()`, so a raw U+2028, U+2029 or U+0085 inside a string breaks a
frame; ASCII with escapes is safe everywhere and lets a lone surrogate travel on unharmed.
"""

import json
import struct
from collections.abc import Iterable
from typing import Any

import msgspec

_encode = msgspec.json.encode
_ascii = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode
_pack = struct.Struct("<f")


def json_string(text: str) -> bytes:
    """A JSON string in ASCII."""
    return _encode(text) if text.isascii() else _ascii(text).encode()


def json_text(value: Any) -> bytes:
    """Any value as compact JSON in ASCII: what msgspec encodes, `Raw` included."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        # A lone surrogate somewhere inside: only the standard library writes those.
        return _ascii(msgspec.to_builtins(value)).encode()
    return encoded if encoded.isascii() else _escaped(encoded)


def _escaped(encoded: bytes) -> bytes:
    # Outside of strings JSON has only ASCII, so every other character can be escaped where it stands.
    return "".join(c if c < "\x80" else _ascii(c)[1:-1] for c in encoded.decode()).encode()


def float32_list(values: Iterable[float]) -> bytes:
    """A JSON list with each value as the shortest decimal text that reads back to the same float32."""
    return b"[" + ",".join(map(float32_text, values)).encode() + b"]"


def float32_text(value: float) -> str:
    """The shortest text of a float32: exponent form below 1e-6 and from 1e21 up, as Go writes it."""
    stored: float = _pack.unpack(_pack.pack(value))[0]
    if stored == int(stored) and abs(stored) < 1e15:
        return "-0" if stored == 0 and str(stored)[0] == "-" else str(int(stored))
    for digits in (6, 7, 8):
        text = f"{stored:.{digits}g}"
        if _pack.unpack(_pack.pack(float(text)))[0] == stored:
            break
    else:
        text = f"{stored:.9g}"
    if "e" in text and 1e-6 <= abs(stored) < 1e21:
        text = f"{float(text):.20f}".rstrip("0") if abs(stored) < 1 else str(int(float(text)))
    return text
