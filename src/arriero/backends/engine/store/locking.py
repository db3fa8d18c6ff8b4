"""One writer at a time, between threads and between processes: an exclusive lock on a file in the store's root.

It is held for commits alone, never while bytes come in from a network or a hash is made.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from arriero.backends.engine.store.layout import LOCK
from arriero.errors import StoreError

WAIT_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


class StoreLock:
    """The lock of one store. Two of them on one root exclude each other as two processes do."""

    def __init__(self, root: Path, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._path = root / LOCK
        self._wait_seconds = wait_seconds
        self._threads = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Nobody waits any more: who does not have the lock gets none."""
        self._closing.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits for its turn. Raises `StoreError` when it does not come, `OSError` when there can be no lock file."""
        end = time.monotonic() + self._wait_seconds
        if not self._threads.acquire(timeout=self._wait_seconds):
            raise _busy()
        try:
            file = self._open()
            try:
                self._take(file, end)
                yield
            finally:
                os.close(file)
        finally:
            self._threads.release()

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            return os.open(self._path, flags | os.O_RDWR, 0o644)
        except PermissionError:
            # Another user made it, and the directories may be the group's all the same.
            return os.open(self._path, flags | os.O_RDONLY, 0o644)

    def _take(self, file: int, end: float) -> None:
        # Polling, because a blocking flock has no time limit and a stopped process would stop all others.
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end or self._closing.wait(pause):
                    raise _busy() from None
            pause = min(2 * pause, _LONGEST_PAUSE)


def _busy() -> StoreError:
    return StoreError("the model store is busy: another process has been changing it for too long; try again")
