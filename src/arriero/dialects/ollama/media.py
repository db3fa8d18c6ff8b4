"""What the bytes in `images` are: pictures, or sounds that travel in the same field."""

import binascii

from arriero.canonical.requests import Audio, Image
from arriero.dialects.ollama.golang import BadBase64, standard_base64
from arriero.errors import BadRequest

# First bytes; where a container is named later, what stands eight bytes in. The first row that fits wins.
_PICTURES = (
    (b"\x89PNG", b"", "image/png"),
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"GIF8", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
    (b"BM", b"", "image/bmp"),
)
_SOUNDS = (
    (b"RIFF", b"WAVE", "wav"),
    (b"ID3", b"", "mp3"),
    (b"\xff\xfb", b"", "mp3"),
    (b"\xff\xf3", b"", "mp3"),
    (b"\xff\xf2", b"", "mp3"),
    (b"fLaC", b"", "flac"),
    (b"OggS", b"", "ogg"),
)
UNKNOWN_PICTURE = "image/jpeg"


def picture_type(data: str) -> str:
    """The media type of base64 `data`, by its first bytes."""
    return _found(_PICTURES, _head(data)) or UNKNOWN_PICTURE


def medium(text: str) -> Image | Audio:
    """An entry of `images`. Raises `BadRequest` with Go's text for what is not standard base64."""
    data = checked(text)
    head = _head(data)
    if sound := _found(_SOUNDS, head):
        return Audio(data, sound)
    return Image(data=data, media_type=_found(_PICTURES, head) or UNKNOWN_PICTURE)


def checked(text: str) -> str:
    """`text` as standard base64 without line ends. Raises `BadRequest`."""
    try:
        return standard_base64(text)
    except BadBase64 as error:
        raise BadRequest(str(error)) from None


def _head(data: str) -> bytes:
    return binascii.a2b_base64(data[:16])


def _found(table: tuple[tuple[bytes, bytes, str], ...], head: bytes) -> str | None:
    for first, later, word in table:
        if head.startswith(first) and head[8:].startswith(later):
            return word
    return None
