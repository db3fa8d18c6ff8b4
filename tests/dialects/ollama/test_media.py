"""What the bytes in `images` are."""

import base64

import pytest

from arriero.canonical.requests import Audio, Image
from arriero.dialects.ollama.media import medium, picture_type
from arriero.errors import BadRequest


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n1234", "image/png"),
        (b"\xff\xd8\xff\xe0abcdefgh", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"who knows", "image/jpeg"),
        (b"", "image/jpeg"),
    ],
)
def test_a_picture(head: bytes, media_type: str) -> None:
    assert medium(b64(head)) == Image(data=b64(head), media_type=media_type)
    assert picture_type(b64(head)) == media_type


@pytest.mark.parametrize(
    ("head", "format"),
    [(b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"), (b"ID3\x04", "mp3"), (b"\xff\xfb\x90\x00", "mp3"), (b"fLaC", "flac")],
)
def test_a_sound(head: bytes, format: str) -> None:
    assert medium(b64(head)) == Audio(b64(head), format)


def test_wrapped_base64_is_unwrapped() -> None:
    data = b"\x89PNG" + b"x" * 100
    assert medium(base64.encodebytes(data).decode()) == Image(data=b64(data), media_type="image/png")


def test_a_data_url_is_not_base64() -> None:
    with pytest.raises(BadRequest) as caught:
        medium("data:image/png;base64,aGk=")
    assert caught.value.message == "illegal base64 data at input byte 4"
