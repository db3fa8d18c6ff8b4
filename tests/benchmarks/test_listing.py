"""Long lists are measured over the running program; how long they take is for people to judge."""

from pathlib import Path

from benchmarks import listing, rig


def test_both_lists_are_measured_at_first_and_again(tmp_path: Path) -> None:
    rig.RUN.mkdir(parents=True, exist_ok=True)
    try:
        found = listing.run(tmp_path, 1, 3)
    finally:
        rig.clear()
    assert [one.path for one in found] == ["/api/tags", "/v1/models"]
    tags = found[0]
    assert tags.first_ms > tags.again_ms >= 0, "a list is written once"
