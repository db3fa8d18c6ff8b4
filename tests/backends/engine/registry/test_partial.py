"""The file of a blob on its way, and the hash that follows it."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arriero.backends.engine.registry.partial import HASHED_BYTES, Follower, Partial
from arriero.backends.engine.registry.parts import Part, Sizes
from arriero.backends.engine.store.blobs import MAX_PIECES
from arriero.errors import StoreError

SMALL = Sizes(smallest=4)


def take(folder: Path, total: int = 10) -> Partial:
    partial = Partial.take(folder / "blobs" / "sha256-aa", total, SMALL)
    assert partial is not None
    return partial


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "blobs").iterdir())}


def state(number: int, offset: int, size: int, completed: int) -> bytes:
    return b'{"N":%d,"Offset":%d,"Size":%d,"Completed":%d}\n' % (number, offset, size, completed)


def test_a_new_one_has_its_full_size_and_its_states(tmp_path: Path) -> None:
    partial = take(tmp_path)
    assert (partial.fresh, partial.parts) == (True, [Part(0, 0, 4), Part(1, 4, 4), Part(2, 8, 2)])
    assert files(tmp_path) == {
        "sha256-aa-partial": bytes(10),
        "sha256-aa-partial-0": state(0, 0, 4, 0),
        "sha256-aa-partial-1": state(1, 4, 4, 0),
        "sha256-aa-partial-2": state(2, 8, 2, 0),
    }
    partial.close()


def test_what_was_saved_is_there_again_and_nothing_more(tmp_path: Path) -> None:
    first = take(tmp_path)
    first.write(4, [b"ef", b"g"])
    first.parts[1].completed = 3
    first.save()
    first.write(0, [b"abcd"])
    first.parts[0].completed = 4  # never saved: as after a kill
    first.close()
    again = take(tmp_path)
    assert (again.fresh, again.parts) == (False, [Part(0, 0, 4), Part(1, 4, 4, 3, 3), Part(2, 8, 2)])
    assert files(tmp_path)["sha256-aa-partial"] == b"abcdefg\0\0\0"
    again.close()


def test_a_finished_one_is_the_blob_and_leaves_nothing(tmp_path: Path) -> None:
    partial = take(tmp_path)
    partial.write(0, [b"abcd", b"efgh", b"ij"])
    partial.finish()
    partial.close()
    partial.close()
    assert files(tmp_path) == {"sha256-aa": b"abcdefghij"}


def test_a_dropped_one_leaves_nothing(tmp_path: Path) -> None:
    partial = take(tmp_path)
    partial.drop()
    partial.close()
    assert files(tmp_path) == {}


def test_nobody_has_it_twice(tmp_path: Path) -> None:
    first = take(tmp_path)
    assert Partial.take(tmp_path / "blobs" / "sha256-aa", 10, SMALL) is None
    first.close()
    take(tmp_path).close()


def test_states_without_their_file_count_for_nothing(tmp_path: Path) -> None:
    first = take(tmp_path)
    first.parts[0].completed = 4
    first.save()
    first.close()
    (tmp_path / "blobs" / "sha256-aa-partial").unlink()
    again = take(tmp_path)
    assert (again.fresh, [part.completed for part in again.parts]) == (True, [0, 0, 0])
    again.close()


def test_a_blob_of_another_size_begins_anew(tmp_path: Path) -> None:
    first = take(tmp_path)
    first.write(0, [b"abcd"])
    first.parts[0].completed = 4
    first.save()
    first.close()
    again = take(tmp_path, 5)
    assert (again.fresh, again.parts) == (True, [Part(0, 0, 4), Part(1, 4, 1)])
    assert files(tmp_path) == {
        "sha256-aa-partial": bytes(5),
        "sha256-aa-partial-0": state(0, 0, 4, 0),
        "sha256-aa-partial-1": state(1, 4, 1, 0),
    }
    again.close()


def test_other_parts_begin_anew(tmp_path: Path) -> None:
    partial = take(tmp_path)
    partial.write(0, [b"abcd"])
    partial.replan([Part(0, 0, 10)])
    assert files(tmp_path) == {"sha256-aa-partial": bytes(10), "sha256-aa-partial-0": state(0, 0, 10, 0)}
    partial.close()


def test_an_empty_blob(tmp_path: Path) -> None:
    partial = take(tmp_path, 0)
    assert (partial.parts, partial.follower().run()) == ([], hashlib.sha256().hexdigest())
    partial.finish()
    partial.close()
    assert files(tmp_path) == {"sha256-aa": b""}


def test_more_pieces_than_the_kernel_takes_at_once(tmp_path: Path) -> None:
    data = bytes(n % 251 for n in range(3 * MAX_PIECES + 7))
    partial = take(tmp_path, len(data) + 1)
    partial.write(1, [data[n : n + 1] for n in range(len(data))])
    assert files(tmp_path)["sha256-aa-partial"] == b"\0" + data
    partial.close()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "blobs" / "sha256-aa-partial").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match=r"^the model store cannot be written: "):
        take(tmp_path)
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_full_disk_is_told_so() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(StoreError) as raised:
        partial = object.__new__(Partial)
        partial._descriptor = full.fileno()
        partial.write(0, [b"x"])
    assert raised.value.message.startswith("no room left on the device of the model store: ")


# ---- the follower ----------------------------------------------------------------------------------------------------


def test_it_hashes_behind_the_front(tmp_path: Path) -> None:
    data = bytes(range(256)) * (HASHED_BYTES // 100)
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, ThreadPoolExecutor(1) as threads:
        follower = Follower(file.fileno(), len(data))
        digest = threads.submit(follower.run)
        for front in (10, HASHED_BYTES - 1, HASHED_BYTES, 2 * HASHED_BYTES + 5, len(data)):
            follower.advance(front)
        assert digest.result(5) == hashlib.sha256(data).hexdigest()


def test_bytes_that_are_written_anew_are_hashed_anew(tmp_path: Path) -> None:
    size = 2 * HASHED_BYTES
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(1) as threads:
        follower = Follower(file.fileno(), size)
        digest = threads.submit(follower.run)
        follower.advance(HASHED_BYTES)
        file.write(b"new")
        follower.rewind(3)
        follower.advance(size)
        assert digest.result(5) == hashlib.sha256(b"new" + bytes(size - 3)).hexdigest()


def test_a_stopped_one_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file, ThreadPoolExecutor(1) as threads:
        follower = Follower(file.fileno(), 3)
        digest = threads.submit(follower.run)
        threading.Timer(0.02, follower.stop).start()
        assert digest.result(5) is None


def test_a_file_that_is_cut_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        follower = Follower(file.fileno(), 5)
        follower.advance(5)
        with pytest.raises(StoreError):
            follower.run()
