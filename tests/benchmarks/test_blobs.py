"""Blobs are uploaded and pulled through the running program; how fast it goes is for people to judge."""

from pathlib import Path

import pytest

from benchmarks import blobs, rig
from benchmarks.cases import Wrong

LACKING = [*rig.missing(), *blobs.missing()]


@pytest.mark.skipif(bool(LACKING), reason=f"this machine lacks {', '.join(LACKING)}")
def test_both_ways_are_measured() -> None:
    rig.RUN.mkdir(parents=True, exist_ok=True)
    try:
        up, down = blobs.run(rig.RUN, 24, 1)
        left = {path.name for path in rig.RUN.iterdir()}
    finally:
        rig.clear()
    for moved in (up, down):
        assert min(moved.ours, moved.theirs, moved.hashed) > 0
        assert 0 <= moved.grown_mib < 200
    assert not left & {"store", "registry", "source", "copy"}


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="cat ends with 1"):
        blobs._timed(["cat", str(tmp_path / "none")])
