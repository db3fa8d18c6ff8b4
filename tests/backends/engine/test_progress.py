"""Frames as they go out."""

import msgspec
import pytest

from arriero.backends.engine.progress import Frame


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (Frame("success"), b'{"status":"success"}'),
        (Frame("pulling 3a0c", "sha256:3a0c", 10), b'{"status":"pulling 3a0c","digest":"sha256:3a0c","total":10}'),
        (
            Frame("pulling 3a0c", "sha256:3a0c", 10, 7),
            b'{"status":"pulling 3a0c","digest":"sha256:3a0c","total":10,"completed":7}',
        ),
    ],
)
def test_what_there_is_not_is_left_out(frame: Frame, line: bytes) -> None:
    assert msgspec.json.encode(frame) == line
