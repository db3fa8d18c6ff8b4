from pathlib import Path

import pytest

from arriero.telling import duration, place, printable, size


def test_control_characters_do_not_get_through() -> None:
    assert printable("a\x1b[2Jb\r\n\x07 \u202e é") == "a\ufffd[2Jb\ufffd\ufffd\ufffd \ufffd é"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (99_900, "99.9 KB"),
        (99_960, "100 KB"),
        (130_720, "131 KB"),
        (999_400, "999 KB"),
        (999_600, "1.0 MB"),
        (4_683_073_184, "4.7 GB"),
        (2_000_000_000_000_000, "2000 TB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


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
