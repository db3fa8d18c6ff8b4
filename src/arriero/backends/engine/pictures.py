"""What a picture says of itself before it is decoded: its kind and its size. No decoding, no I/O.

llama.cpp decodes four kinds itself, and whole: a picture of some hundred kilobytes may ask for gigabytes.
"""

import base64
import binascii
import struct
from collections.abc import Callable
from typing import Final

from arriero.errors import BadRequest

MOST_PIXELS: Final = 64_000_000
"""More than cameras make; decoded they take 192 MB."""

HEAD_CHARS: Final = 1 << 18
"""How much of the base64 is looked at. A camera's notes stand before the size, and are shorter."""

UNKNOWN: Final = "an image cannot be decoded: send PNG, JPEG, GIF or BMP"

Size = tuple[int, int]


def media_type(data: str) -> str:
    """The media type of a picture in base64. Raises `BadRequest` for anything else, and for one that is too large."""
    try:
        head = base64.b64decode(data[:HEAD_CHARS])
    except (binascii.Error, ValueError):
        raise BadRequest(UNKNOWN) from None
    for first, name, size in _KINDS:
        if head.startswith(first):
            width, height = size(head) or (0, 0)
            if width * height > MOST_PIXELS:
                raise BadRequest(
                    f"an image is too large: {width} by {height} pixels, at most {MOST_PIXELS:,} are decoded"
                )
            return name
    raise BadRequest(UNKNOWN)


def _png(head: bytes) -> Size | None:
    return _pair(">II", head, 16)


def _gif(head: bytes) -> Size | None:
    return _pair("<HH", head, 6)


def _bmp(head: bytes) -> Size | None:
    found = _pair("<ii", head, 18)
    # From top to bottom where the height is negative.
    return found and (abs(found[0]), abs(found[1]))


def _jpeg(head: bytes) -> Size | None:
    """The frame's size, behind segments that each tell their length."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        mark = head[at + 1]
        if mark == 0xFF:
            at += 1
            continue
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            found = _pair(">HH", head, at + 5)
            return found and (found[1], found[0])
        at += 2 if mark == 0x01 or 0xD0 <= mark <= 0xD8 else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _pair(layout: str, head: bytes, at: int) -> Size | None:
    try:
        first, second = struct.unpack_from(layout, head, at)
    except struct.error:
        return None
    return first, second


_KINDS: Final[tuple[tuple[bytes, str, Callable[[bytes], Size | None]], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", _png),
    (b"\xff\xd8\xff", "image/jpeg", _jpeg),
    (b"GIF8", "image/gif", _gif),
    (b"BM", "image/bmp", _bmp),
)
"""First bytes, media type, and where the size stands."""
