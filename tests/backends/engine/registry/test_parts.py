"""Parts of a blob and their state files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.engine.registry.parts import (
    Part,
    Sizes,
    front,
    plan,
    read_states,
    remove_states,
    write_state,
)

MB = 1_000_000


@pytest.mark.parametrize(
    ("total", "count", "first", "last"),
    [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (100 * MB, 1, 100 * MB, 100 * MB),
        (250 * MB, 3, 100 * MB, 50 * MB),
        (1600 * MB, 16, 100 * MB, 100 * MB),
        (4000 * MB, 16, 250 * MB, 250 * MB),
        (4000 * MB + 5, 17, 250 * MB, 5),
        (40_000 * MB, 40, 1000 * MB, 1000 * MB),
    ],
)
def test_the_parts_of_a_blob(total: int, count: int, first: int, last: int) -> None:
    parts = plan(total, Sizes())
    assert (len(parts), [part.size for part in parts[:1]], [part.size for part in parts[-1:]]) == (
        count,
        [first] * bool(count),
        [last] * bool(count),
    )


@given(st.integers(0, 5000), st.builds(Sizes, st.integers(1, 20), st.integers(1, 100), st.integers(100, 400)))
def test_parts_cover_the_blob(total: int, sizes: Sizes) -> None:
    end = 0
    for number, part in enumerate(plan(total, sizes)):
        assert (part.number, part.offset, part.size > 0, part.completed) == (number, end, True, 0)
        end += part.size
    assert end == total


def test_how_far_there_are_no_gaps() -> None:
    parts = [Part(0, 0, 10, 10), Part(1, 10, 10, 4), Part(2, 20, 10, 10)]
    assert (front(parts), parts[1].reached, parts[1].left) == (14, 14, 6)
    parts[1].completed = 10
    assert (front(parts), front([])) == (30, 0)


def test_a_state_file_is_as_the_contract_says(tmp_path: Path) -> None:
    partial = tmp_path / "sha256-aa-partial"
    write_state(partial, Part(0, 0, 100_000_000), 52_428_800)
    path = tmp_path / "sha256-aa-partial-0"
    assert path.read_bytes() == b'{"N":0,"Offset":0,"Size":100000000,"Completed":52428800}\n'
    assert path.stat().st_mode & 0o777 == 0o644
    write_state(partial, Part(0, 0, 100_000_000), 7)
    assert path.read_bytes() == b'{"N":0,"Offset":0,"Size":100000000,"Completed":7}\n'


def test_states_are_read_in_the_order_of_the_blob(tmp_path: Path) -> None:
    partial = tmp_path / "p"
    for part in plan(100, Sizes(smallest=8)):
        write_state(partial, part, part.number % 5)
    found = read_states(partial, 100)
    assert found == [Part(n, 8 * n, 8 if n < 12 else 4, n % 5, n % 5) for n in range(13)]
    remove_states(partial)
    assert (list(tmp_path.iterdir()), read_states(partial, 100)) == ([], None)


def test_what_a_kill_between_write_and_cut_leaves_is_read(tmp_path: Path) -> None:
    (tmp_path / "p-0").write_bytes(b'{"N":0,"Offset":0,"Size":9,"Completed":4}\n0}\n')
    assert read_states(tmp_path / "p", 9) == [Part(0, 0, 9, 4, 4)]


@pytest.mark.parametrize(
    "states",
    [
        {},
        {"p-0": '{"N":0,"Offset":0,"Size":9,"Completed":4}'},  # not all of the blob
        {"p-0": '{"N":0,"Offset":0,"Size":11,"Completed":4}'},
        {"p-0": '{"N":0,"Offset":1,"Size":9,"Completed":4}'},
        {"p-0": '{"N":0,"Offset":0,"Size":10,"Completed":11}'},
        {"p-0": '{"N":0,"Offset":0,"Size":10,"Completed":-1}'},
        {"p-0": '{"N":1,"Offset":0,"Size":10,"Completed":1}'},  # written under another name
        {"p-0": '{"N":0,"Offset":0,"Size":10}'},
        {"p-0": ""},
        {"p-0": "[" * 5000},
        {"p-0": '{"N":0,"Offset":0,"Size":10,"Completed":1}', "p-1": "junk"},
        {"p-0": '{"N":0,"Offset":0,"Size":10,"Completed":1}', "p-1": '{"N":1,"Offset":10,"Size":0,"Completed":0}'},
        {"p-0": '{"N":0,"Offset":0,"Size":6,"Completed":1}', "p-1": '{"N":1,"Offset":5,"Size":5,"Completed":0}'},
    ],
)
def test_states_that_do_not_make_up_the_blob_count_for_nothing(tmp_path: Path, states: dict[str, str]) -> None:
    for name, text in states.items():
        (tmp_path / name).write_text(text)
    assert read_states(tmp_path / "p", 10) is None


def test_other_files_are_no_states(tmp_path: Path) -> None:
    for name in ("p-x", "p-0-partial", "q-0", "p-"):
        (tmp_path / name).write_text("")
    write_state(tmp_path / "p", Part(0, 0, 10), 3)
    assert read_states(tmp_path / "p", 10) == [Part(0, 0, 10, 3, 3)]
    remove_states(tmp_path / "p")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-", "p-0-partial", "p-x", "q-0"]
