"""Kinds and sizes of pictures, by their first bytes."""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping

import pytest

from arriero.backends.engine.pictures import MOST_PIXELS, media_type
from arriero.errors import BadRequest
from support.pictures import png


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_head(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def jpeg_head(width: int, height: int, frame: int = 0xC0) -> bytes:
    notes = b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)
    tables = b"\xff\xff\xc4" + struct.pack(">H", 4) + b"\xff\xc0"  # looks like a frame, and is not one
    size = struct.pack(">HBHHB", 11, 8, height, width, 1)
    return b"\xff\xd8" + notes + tables + bytes([0xFF, frame]) + size + bytes(9)


HEADS: Mapping[str, Callable[[int, int], bytes]] = {
    "image/png": png_head,
    "image/jpeg": jpeg_head,
    "image/gif": lambda width, height: b"GIF89a" + struct.pack("<HH", width, height),
    "image/bmp": lambda width, height: b"BM" + bytes(16) + struct.pack("<ii", width, -height),
}


@pytest.mark.parametrize("kind", HEADS)
def test_kinds(kind: str) -> None:
    head = HEADS[kind]
    assert media_type(encoded(head(640, 480))) == kind
    # Cut before its size: the engine will say what is wrong with it.
    assert media_type(encoded(head(640, 480)[:8])) == kind


@pytest.mark.parametrize("kind", HEADS)
def test_a_picture_that_would_take_the_memory(kind: str) -> None:
    side = 8000
    assert side * side == MOST_PIXELS
    assert media_type(encoded(HEADS[kind](side, side))) == kind
    with pytest.raises(BadRequest) as raised:
        media_type(encoded(HEADS[kind](side + 1, side)))
    assert raised.value.message == "an image is too large: 8001 by 8000 pixels, at most 64,000,000 are decoded"


def test_every_kind_of_jpeg() -> None:
    for frame in (0xC1, 0xC2, 0xCF):
        with pytest.raises(BadRequest, match="9000 by 8000"):
            media_type(encoded(jpeg_head(9000, 8000, frame)))


@pytest.mark.parametrize("data", ["", "@", "A", encoded(b"hello"), encoded(b"RIFFxxxxWEBPVP8 "), encoded(b"\x89PNG")])
def test_what_is_none(data: str) -> None:
    with pytest.raises(BadRequest, match=r"^an image cannot be decoded: send PNG, JPEG, GIF or BMP$"):
        media_type(data)


def test_a_real_one() -> None:
    assert media_type(png()) == "image/png"
