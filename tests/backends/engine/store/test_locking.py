"""One at a time, and nobody waits for ever."""

import os
import threading
from pathlib import Path

import pytest

from arriero.backends.engine.store.locking import StoreLock
from arriero.errors import StoreError

BUSY = "the model store is busy: another process has been changing it for too long; try again"


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    said: list[str] = []
    inside = threading.Event()

    def second(lock: StoreLock) -> None:
        inside.wait()
        with lock.held():
            said.append("second")

    first = StoreLock(tmp_path)
    others = [threading.Thread(target=second, args=(lock,)) for lock in (first, StoreLock(tmp_path))]
    for other in others:
        other.start()
    with first.held():
        inside.set()
        for other in others:
            other.join(0.1)
        said.append("first")
    for other in others:
        other.join()
    assert said == ["first", "second", "second"]


@pytest.mark.parametrize("same", [True, False], ids=["a thread", "a process"])
def test_who_waits_too_long_is_told(tmp_path: Path, same: bool) -> None:
    lock = StoreLock(tmp_path, wait_seconds=0.05)
    with (
        lock.held(),
        pytest.raises(StoreError) as raised,
        (lock if same else StoreLock(tmp_path, wait_seconds=0.05)).held(),
    ):
        pass
    assert raised.value.message == BUSY
    with lock.held():
        pass


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    lock = StoreLock(tmp_path, wait_seconds=0.05)
    with pytest.raises(KeyError), lock.held():
        raise KeyError
    with lock.held(), pytest.raises(OSError, match="No such file"), StoreLock(tmp_path / "absent").held():
        pass


def test_no_file_is_left_open(tmp_path: Path) -> None:
    lock = StoreLock(tmp_path)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with lock.held():
            pass
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_at_the_end_nobody_waits(tmp_path: Path) -> None:
    lock, told = StoreLock(tmp_path), list[str]()

    def wait() -> None:
        with pytest.raises(StoreError) as raised, lock.held():
            raise AssertionError("it is another's")
        told.append(raised.value.message)

    with StoreLock(tmp_path).held():
        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for each in waiting:
            each.start()
        waiting[0].join(0.05)
        assert told == []
        lock.close()
        for each in waiting:
            each.join(2)
    assert told == [BUSY] * 3
