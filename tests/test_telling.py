from pathlib import Path

import pytest

from arriero.telling import duration, place, printable


def test_control_characters_do_not_get_through() -> None:
    assert printable("a\x1b[2Jb\r\n\x07 \u202e é") == "a\ufffd[2Jb\ufffd\ufffd\ufffd \ufffd é"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (245, "4m05s"),
        (3599.7, "1h00m"),
        (7800, "2h10m"),
        (262_800, "3d01h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("path", "home", "text"),
    [
        ("/home/ana/.arriero/models", "/home/ana", "~/.arriero/models"),
        ("/home/ana", "/home/ana", "~"),
        ("/home/anatol/x", "/home/ana", "/home/anatol/x"),
        ("/srv/models", "/", "/srv/models"),
        ("/srv/models", None, "/srv/models"),
    ],
)
def test_places(path: str, home: str | None, text: str) -> None:
    assert place(Path(path), Path(home) if home else None) == text
