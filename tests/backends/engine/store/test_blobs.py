"""Blobs: whole or not there, named for their bytes, and nothing left of those that came to nothing."""

import fcntl
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from arriero.backends.engine.store.blobs import MAX_READ_BYTES, PIECE_BYTES, STALE_SECONDS, Blobs
from arriero.errors import BadRequest, StoreError
from support.store import digest

NOW = 2_000_000_000.0
HELLO = digest(b"hello")


def put(blobs: Blobs, data: bytes) -> str:
    with blobs.incoming() as blob:
        blob.write(data)
        return blob.commit()


def files(blobs: Blobs) -> list[str]:
    return sorted(os.listdir(blobs.directory))


def test_bytes_become_a_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "new" / "models")
    assert blobs.size(HELLO) is None
    with blobs.incoming() as blob:
        blob.write(b"hel")
        blob.write(b"")
        blob.write(memoryview(bytearray(b"lo")))
        assert files(blobs) != [f"sha256-{HELLO[7:]}"], "it is no blob before it is whole"
        assert blob.size == 5
        assert (blob.commit(), blob.is_new) == (HELLO, True)
    assert files(blobs) == [f"sha256-{HELLO[7:]}"]
    assert blobs.path(HELLO).read_bytes() == b"hello"
    assert (blobs.size(HELLO), blobs.read(HELLO, 5)) == (5, b"hello")
    assert (blobs.path(HELLO).stat().st_mode & 0o777) == 0o644
    assert (blobs.directory.stat().st_mode & 0o777) == 0o755


def test_both_halves_of_a_write_may_be_done_by_themselves(tmp_path: Path) -> None:
    blobs, pieces = Blobs(tmp_path), [bytes([number % 251]) * 50_000 for number in range(2000)]
    with blobs.incoming() as blob:
        for some in (pieces[:600], [], [b""], pieces[600:]):
            blob.hash(some)
            blob.append(some)
        assert blob.size == 100_000_000
        assert blob.commit() == digest(b"".join(pieces))
    assert blobs.path(digest(b"".join(pieces))).read_bytes() == b"".join(pieces)


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [PIECE_BYTES - 1, 1, 1],
        [PIECE_BYTES],
        [1, PIECE_BYTES],
        [3, 5 * PIECE_BYTES + 7, 2, PIECE_BYTES - 2],
        [1000] * 3000,
        [64 << 10] * 300,
    ],
)
def test_pieces_of_any_size_are_the_same_bytes(tmp_path: Path, sizes: list[int]) -> None:
    blobs = Blobs(tmp_path)
    data = os.urandom(sum(sizes))
    with blobs.incoming() as blob:
        start = 0
        for size in sizes:
            blob.write(memoryview(data)[start : start + size])
            start += size
        assert blob.commit() == digest(data)
    assert blobs.path(digest(data)).read_bytes() == data


def test_a_blob_that_is_there_is_no_new_one(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    put(blobs, b"hello")
    first = blobs.path(HELLO).stat().st_ino
    with blobs.incoming() as blob:
        blob.write(b"hello")
        assert (blob.commit(), blob.is_new) == (HELLO, False)
    assert blobs.path(HELLO).stat().st_ino == first
    assert files(blobs) == [f"sha256-{HELLO[7:]}"]


def test_a_cut_blob_is_replaced(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    put(blobs, b"hello")
    blobs.path(HELLO).write_bytes(b"hel")
    with blobs.incoming() as blob:
        blob.write(b"hello")
        assert (blob.commit(), blob.is_new) == (HELLO, True)
    assert blobs.read(HELLO, 5) == b"hello"


def test_another_digest_than_was_said(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    said = digest(b"other")
    with blobs.incoming() as blob:
        blob.write(b"hello")
        with pytest.raises(BadRequest) as raised:
            blob.commit(said)
    assert raised.value.message == f'digest mismatch, expected "{said}", got "{HELLO}"'
    assert files(blobs) == []
    with blobs.incoming() as blob:
        blob.write(b"hello")
        assert blob.commit(said, must_match=False) == HELLO
    assert files(blobs) == [f"sha256-{HELLO[7:]}"]
    with blobs.incoming() as blob:
        blob.write(b"hello")
        assert blob.commit(f"sha256-{HELLO[7:].upper()}") == HELLO
    with blobs.incoming() as blob, pytest.raises(BadRequest, match="invalid digest format"):
        blob.commit("sha256:../x")


def test_nothing_is_left_of_what_is_given_up(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    before = os.listdir("/proc/self/fd")
    with blobs.incoming() as blob:
        blob.write(b"x" * 3 * PIECE_BYTES)
    blob.abort()
    with pytest.raises(StoreError) as raised:
        blob.write(b"x" * PIECE_BYTES)
    assert raised.value.message == "the blob has been given up: send it again"
    for _ in range(2):
        with pytest.raises(StoreError, match="given up"):
            blob.commit()
    assert files(blobs) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_memory_is_flat(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    piece = bytes(256 << 10)
    tracemalloc.start()
    try:
        with blobs.incoming() as blob:
            for _ in range(256):
                blob.write(piece)
            blob.commit()
        assert tracemalloc.get_traced_memory()[1] < 4 * PIECE_BYTES
    finally:
        tracemalloc.stop()


def test_old_file_names_are_found_and_renamed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    put(blobs, b"other")
    old = blobs.directory / HELLO
    old.write_bytes(b"hello")
    twice = blobs.directory / digest(b"other")
    twice.write_bytes(b"other")
    assert (blobs.path(HELLO), blobs.size(HELLO), blobs.read(HELLO, 5)) == (old, 5, b"hello")
    blobs.rename_old()
    assert files(blobs) == sorted(f"sha256-{digest(data)[7:]}" for data in (b"hello", b"other"))
    assert blobs.read(HELLO, 5) == b"hello"


def test_a_finished_file_becomes_a_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.directory.mkdir()
    for new in (True, False):
        file = blobs.directory / f"sha256-{HELLO[7:]}-partial"
        file.write_bytes(b"hello")
        assert blobs.adopt(file, HELLO) is new
        assert files(blobs) == [f"sha256-{HELLO[7:]}"]
    with pytest.raises(BadRequest, match="invalid digest format"):
        blobs.adopt(file, "../x")
    with pytest.raises(StoreError, match="something removed its files"):
        blobs.adopt(file, HELLO)


def test_what_has_just_come_is_not_removed_before_a_manifest_names_it(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    put(blobs, b"hello")
    assert blobs.remove(HELLO) is False
    assert blobs.size(HELLO) == 5
    blobs.settled([HELLO])
    assert blobs.remove(HELLO) is True
    assert blobs.remove(HELLO) is False
    assert blobs.size(HELLO) is None


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link"])
def test_what_is_no_file_is_no_blob(tmp_path: Path, kind: str) -> None:
    blobs = Blobs(tmp_path)
    path = blobs.path(HELLO)
    path.parent.mkdir()
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to("/nonexistent")
    assert blobs.size(HELLO) is None
    with pytest.raises(StoreError):
        blobs.read(HELLO, 5)


def test_a_blob_of_another_size_than_its_manifest_says(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    put(blobs, b"hello")
    for size in (4, 6):
        with pytest.raises(StoreError) as raised:
            blobs.read(HELLO, size)
        assert raised.value.message == (
            f"the blob {HELLO} is damaged: it has 5 bytes, not {size}; pull or create the model again"
        )
    with pytest.raises(StoreError, match="is missing: pull or create the model again"):
        blobs.read(digest(b""), 0)
    with pytest.raises(StoreError, match="too large"):
        blobs.read(HELLO, MAX_READ_BYTES + 1)


def aged(path: Path, seconds: float) -> None:
    path.touch()
    os.utime(path, (NOW - seconds, NOW - seconds))


def test_leftovers_go_after_an_hour(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.remove_leftovers(NOW)
    blobs.directory.mkdir()
    old, young = STALE_SECONDS + 1, STALE_SECONDS - 1
    one, two = (f"sha256-{letter * 64}" for letter in "ab")
    for file, age in {
        "arriero-0123456789abcdef": old,
        "arriero-fedcba9876543210": young,
        f"{one}-partial": old,
        f"{one}-partial-0": old,
        f"{two}-partial": old,
        f"{two}-partial-0": old,
        f"{two}-partial-1": young,
        "sha256-1234567": old,
        "notes.txt": old,
        "arriero-notes.txt": old,
        one: old,
    }.items():
        aged(blobs.directory / file, age)
    (blobs.directory / f"sha256-{'c' * 64}-partial-0").mkdir()
    os.utime(blobs.directory / f"sha256-{'c' * 64}-partial-0", (0, 0))
    blobs.remove_leftovers(NOW)
    assert files(blobs) == sorted(
        [
            "arriero-fedcba9876543210",
            "arriero-notes.txt",
            "notes.txt",
            one,
            f"{two}-partial",
            f"{two}-partial-0",
            f"{two}-partial-1",
            f"sha256-{'c' * 64}-partial-0",
        ]
    )


def test_a_slow_upload_is_no_leftover(tmp_path: Path) -> None:
    blobs, elsewhere = Blobs(tmp_path), Blobs(tmp_path)
    with blobs.incoming() as blob:
        blob.write(b"hello")
        (file,) = files(blobs)
        os.utime(blobs.directory / file, (0, 0))
        elsewhere.remove_leftovers(NOW)
        assert blob.commit() == HELLO


def test_a_stalled_download_is_no_leftover(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.directory.mkdir()
    partial = f"sha256-{'a' * 64}-partial"
    for each in (partial, f"{partial}-0"):
        aged(blobs.directory / each, 9999.0)
    with (blobs.directory / partial).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        blobs.remove_leftovers(NOW)
        assert files(blobs) == [partial, f"{partial}-0"]
    blobs.remove_leftovers(NOW)
    assert files(blobs) == []


def test_blobs_that_nobody_names_go_after_an_hour(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for data, age in ((b"named", 9999.0), (b"unnamed", 9999.0), (b"young", 10.0)):
        os.utime(blobs.path(put(blobs, data)), (NOW - age, NOW - age))
    download = blobs.directory / f"sha256-{'a' * 64}-partial"
    aged(download, 10.0)
    blobs.remove_unnamed(set(), NOW)
    assert len(files(blobs)) == 4, "the unnamed ones may be the first layers of what is on its way"
    download.unlink()
    blobs.remove_unnamed({digest(b"named")}, NOW)
    assert files(blobs) == sorted(f"sha256-{hashlib.sha256(data).hexdigest()}" for data in (b"named", b"young"))
