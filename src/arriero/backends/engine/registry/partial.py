"""The file of a blob on its way: `<blob>-partial`, of full size and sparse, and a hash that follows what is written.

Everything here blocks and belongs in threads. One process has the file at a time, by a lock on it.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from arriero.backends.engine.registry.parts import Part, Sizes, plan, read_states, remove_states, write_state
from arriero.backends.engine.store.blobs import MAX_PIECES, sync_directory
from arriero.backends.engine.store.faults import writing
from arriero.backends.engine.store.layout import partial_path

HASHED_BYTES = 1 << 20


class Partial:
    """A blob on its way, locked. `fresh`: nothing of an earlier download is in it. All raise StoreError."""

    def __init__(self, path: Path, blob: Path, descriptor: int, total: int, sizes: Sizes) -> None:
        self.path = path
        self.blob = blob
        self.total = total
        self._descriptor = descriptor
        self._saving = threading.Lock()
        found = read_states(path, total) if os.fstat(descriptor).st_size == total else None
        self.fresh = found is None
        self.parts: list[Part] = found or []
        if found is None:
            self.replan(plan(total, sizes))

    @classmethod
    def take(cls, blob: Path, total: int, sizes: Sizes) -> "Partial | None":
        """The file for `blob`, made or found; `None` while another process has it."""
        path = partial_path(blob)
        with writing():
            blob.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
                try:
                    if not _lock(descriptor):
                        os.close(descriptor)
                        return None
                    if _is_at(path, descriptor):
                        return cls(path, blob, descriptor, total, sizes)
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)  # Another process has renamed or removed it while we waited at its door.

    def replan(self, parts: list[Part]) -> None:
        """Begin anew, with these parts."""
        with writing(), self._saving:
            # States go before the bytes they claim, and come after them: a kill in between leaves less, never more.
            remove_states(self.path)
            os.ftruncate(self._descriptor, 0)
            os.ftruncate(self._descriptor, self.total)
            self.parts = parts
            for part in parts:
                write_state(self.path, part, 0)

    def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        """All the pieces, one behind the other."""
        with writing():
            for i in range(0, len(pieces), MAX_PIECES):
                some = pieces[i : i + MAX_PIECES]
                size = sum(map(len, some))
                done = os.pwritev(self._descriptor, some, offset)
                if done < size:
                    rest = memoryview(b"".join(some))
                    while done < size:
                        done += os.pwrite(self._descriptor, rest[done:], offset + done)
                offset += size

    def save(self) -> None:
        """What is written until now goes to the disk, then into the state files."""
        with writing(), self._saving:
            news = [(part, part.completed) for part in self.parts if part.completed != part.saved]
            if news:
                os.fdatasync(self._descriptor)
            for part, completed in news:
                write_state(self.path, part, completed)
                part.saved = completed

    def follower(self) -> "Follower":
        return Follower(self._descriptor, self.total)

    def finish(self) -> None:
        """It is whole and checked: make it the blob."""
        with writing():
            os.fsync(self._descriptor)
            os.rename(self.path, self.blob)
            sync_directory(self.blob.parent)
            remove_states(self.path)

    def drop(self) -> None:
        """Nothing of it is of use."""
        with writing():
            remove_states(self.path)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Another process may have it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Follower:
    """Hashes a file behind the place up to which it has no gaps: what was just written is still in the page cache."""

    def __init__(self, descriptor: int, total: int) -> None:
        self._descriptor = descriptor
        self._total = total
        self._front = 0
        self._round = 0
        self._stopped = False
        self._changed = threading.Condition()

    def advance(self, front: int) -> None:
        """There are no gaps before `front`. Does not wait."""
        if front != self._front:
            with self._changed:
                self._front = front
                self._changed.notify()

    def rewind(self, front: int) -> None:
        """Bytes that were there are written anew."""
        with self._changed:
            self._front = front
            self._round += 1
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> str | None:
        """The digest of the whole file, hex; `None` if it was stopped. Raises StoreError."""
        buffer = memoryview(bytearray(HASHED_BYTES))
        at, turn, digest = 0, -1, hashlib.sha256()
        while True:
            with self._changed:
                self._changed.wait_for(self._something(at, turn))
                if self._stopped:
                    return None
                if self._round != turn:
                    at, turn, digest = 0, self._round, hashlib.sha256()
                front = self._front
            if at >= self._total:
                return digest.hexdigest()
            if at < front:
                with writing():
                    count = os.preadv(self._descriptor, [buffer[: min(HASHED_BYTES, front - at)]], at)
                    if not count:
                        raise OSError("the file was cut while it was written")
                digest.update(buffer[:count])
                at += count

    def _something(self, at: int, turn: int) -> Callable[[], bool]:
        # A small step behind is not worth a turn of the thread: it waits for a megabyte, or the end.
        return lambda: (
            self._stopped or self._round != turn or self._front - at >= HASHED_BYTES or (self._front >= self._total)
        )


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # Some network file systems know no locks.
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
