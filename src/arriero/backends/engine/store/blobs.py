"""The files that models are made of, each named for the SHA-256 of its bytes. Which are needed is not known here.

A blob appears whole or not at all: it is written beside the others under a temporary name, synced, then renamed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from arriero.backends.engine.store.faults import reading, writing
from arriero.backends.engine.store.layout import (
    BLOBS,
    TEMPORARY,
    blob_digest,
    blob_file,
    check_digest,
    download,
    is_partial,
    is_stray,
    old_blob_file,
)
from arriero.errors import BadRequest, StoreError

PIECE_BYTES: Final = 1 << 20
_BEGIN_BYTES: Final = 8 * PIECE_BYTES
MAX_PIECES: Final = 512
"""Of one write; the kernel takes 1024."""
MAX_READ_BYTES: Final = 16 << 20
STALE_SECONDS: Final = 3600.0
"""What nobody names and nobody touched for so long is left over."""


class Blobs:
    """The `blobs/` directory of a store. Nothing here takes the store's lock."""

    def __init__(self, root: Path) -> None:
        self.directory = root / BLOBS
        self._expected: dict[str, float] = {}
        self._turn = threading.Lock()

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be. Raises `BadRequest` for what is no digest."""
        digest = check_digest(digest)
        path = self.directory / blob_file(digest)
        old = self.directory / old_blob_file(digest)
        return old if not os.path.lexists(path) and os.path.lexists(old) else path

    def size(self, digest: str) -> int | None:
        """In bytes; `None` if there is no such file. Raises `BadRequest`, `StoreError`."""
        path = self.path(digest)
        with reading():
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, digest: str, size: int) -> bytes:
        """A small blob of a known size, whole. Raises `StoreError` if it is not there, too large or of another size."""
        if size > MAX_READ_BYTES:
            raise StoreError(f"the blob {digest} is too large for what it is said to hold: {size} bytes")
        with reading():
            try:
                file = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                raise StoreError(f"the blob {digest} is missing: pull or create the model again") from None
            with os.fdopen(file, "rb") as source:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    raise StoreError(f"the blob {digest} is no file: pull or create the model again")
                data = source.read(size + 1) if found.st_size == size else b""
        if len(data) != size:
            text = f"it has {found.st_size} bytes, not {size}; pull or create the model again"
            raise StoreError(f"the blob {digest} is damaged: {text}")
        return data

    def incoming(self) -> "Incoming":
        """A new blob on its way. Raises `StoreError`."""
        with writing():
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            return Incoming(self)

    def adopt(self, file: Path, digest: str) -> bool:
        """Make a finished, checked file on the same disk the blob of that digest; whether it is a new one.

        Raises `StoreError`.
        """
        path = self.path(digest)
        with writing():
            sync_file(file)
            with self._turn:
                self._expect(digest)
                new = self.size(digest) != file.stat().st_size
                if new:
                    os.replace(file, path)
                else:
                    file.unlink()
            if new:
                sync_directory(self.directory)
        return new

    def expect(self, digests: Iterable[str]) -> None:
        """A manifest is about to name these: for an hour, `remove` leaves them where they are."""
        with self._turn:
            for digest in digests:
                self._expect(digest)

    def settled(self, digests: Iterable[str]) -> None:
        """A manifest names these now."""
        with self._turn:
            for digest in digests:
                self._expected.pop(digest, None)

    def remove(self, digest: str) -> bool:
        """Whether a blob went: it may not be there, or have just come anew for a manifest to name it.

        Raises `OSError`.
        """
        with self._turn:
            if digest in self._expected and self._expected[digest] > time.monotonic() - STALE_SECONDS:
                return False
            try:
                self.path(digest).unlink()
            except FileNotFoundError:
                return False
        return True

    def _expect(self, digest: str) -> None:
        now = time.monotonic()
        for each in [each for each, came in self._expected.items() if came < now - STALE_SECONDS]:
            del self._expected[each]
        self._expected[check_digest(digest)] = now

    def rename_old(self) -> None:
        """Give blobs with old file names today's. Raises `OSError`."""
        for file in self._files():
            digest = blob_digest(file)
            if digest is None or file == blob_file(digest):
                continue
            old, path = self.directory / file, self.directory / blob_file(digest)
            if path.exists():
                old.unlink()
            else:
                old.rename(path)

    def remove_leftovers(self, now: float) -> None:
        """Remove what cut uploads and downloads left here more than an hour before `now`. Raises `OSError`."""
        # The parts of a download grow old one by one: it is given up when none of them is touched any more.
        groups: dict[str, list[str]] = {}
        for file in self._files():
            if is_stray(file):
                groups.setdefault(download(file) if is_partial(file) else file, []).append(file)
        for group in groups.values():
            if not all(self._stale(file, now) for file in group):
                continue
            # The shortest name, without a number, is the file that the process at work has locked.
            group.sort(key=len, reverse=True)
            with idle(self.directory / group[-1]) as is_idle:
                for file in group if is_idle else ():
                    _unlink(self.directory / file)

    def remove_unnamed(self, named: set[str], now: float) -> None:
        """Remove blobs that are not among `named` and older than an hour. Raises `OSError`.

        While anything is on its way here none goes: the first layers of a long download, by another process, are old.
        """
        files = self._files()
        if any(is_stray(file) and not self._stale(file, now) for file in files):
            return
        for file in files:
            digest = blob_digest(file)
            if digest is not None and digest not in named and self._stale(file, now):
                _unlink(self.directory / file)

    def _files(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []

    def _stale(self, file: str, now: float) -> bool:
        try:
            found = os.lstat(self.directory / file)
        except FileNotFoundError:
            return False
        return not stat.S_ISDIR(found.st_mode) and found.st_mtime < now - STALE_SECONDS


class Incoming:
    """A blob on its way to disk: `write`, then `commit`, or nothing is left. Not for several threads at a time.

    Its file is locked for as long as it lives, so that no other process takes a slow upload for a leftover.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._path = blobs.directory / temporary_name()
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self._file: int | None = create(self._path)
        self._written = 0
        self._begun = 0
        self.size = 0
        self.is_new = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes that come next, any number of them. Raises `StoreError`, and then nothing is left of it."""
        self._check_open()
        with memoryview(data) as view, view.cast("B") as rest:
            self.size += len(rest)
            start = min(PIECE_BYTES - len(self._waiting), len(rest)) if self._waiting else 0
            self._waiting += rest[:start]
            if len(self._waiting) == PIECE_BYTES:
                self._flush()
            while len(rest) - start >= PIECE_BYTES:
                self._put(rest[start : start + PIECE_BYTES])
                start += PIECE_BYTES
            self._waiting += rest[start:]

    def hash(self, pieces: Sequence[bytes]) -> None:
        """The half of `write` that counts the bytes into the digest, for who has a thread for each half: what is hashed
        has to be appended as well, in the same order.
        """
        for piece in pieces:
            self._hash.update(piece)

    def append(self, pieces: Sequence[bytes]) -> None:
        """The other half: onto the disk, in as few calls as there can be. Raises as `write`."""
        self._check_open()
        size = sum(map(len, pieces))
        self.size += size
        self._guarded(lambda file: write_each(file, pieces), size)

    def commit(self, expected: str | None = None, *, must_match: bool = True) -> str:
        """Make it a blob and say its true digest.

        Where that is not the expected one it is thrown away and `BadRequest` raised, or kept all the same if it need
        not match. Raises `StoreError`.
        """
        self._check_open()
        expected = None if expected is None else check_digest(expected)
        self._flush()
        digest = f"sha256:{self._hash.hexdigest()}"
        if must_match and expected is not None and digest != expected:
            self.abort()
            raise BadRequest(f'digest mismatch, expected "{expected}", got "{digest}"')
        try:
            self.is_new = self._blobs.adopt(self._path, digest)
        finally:
            self.abort()
        return digest

    def abort(self) -> None:
        """Leave nothing behind. Does nothing after `commit`."""
        if self._file is None:
            return
        # The name goes first: once the file is closed, another process may take it for a leftover.
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file = None

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _check_open(self) -> int:
        if self._file is None:
            raise StoreError("the blob has been given up: send it again")
        return self._file

    def _flush(self) -> None:
        if self._waiting:
            self._put(self._waiting)
            self._waiting = bytearray()

    def _put(self, piece: bytes | bytearray | memoryview) -> None:
        self._hash.update(piece)
        self._guarded(lambda file: write_all(file, piece), len(piece))

    def _guarded(self, write: Callable[[int], None], size: int) -> None:
        """Write so many bytes; whatever goes wrong, nothing is left of the file."""
        try:
            with writing():
                write(self._check_open())
                self._written += size
                if self._written - self._begun >= _BEGIN_BYTES:
                    _begin_writing(self._check_open(), self._begun, self._written - self._begun)
                    self._begun = self._written
        except BaseException:
            self.abort()
            raise


def temporary_name() -> str:
    """A name that nobody has yet, for a file on its way."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def create(path: Path) -> int:
    """A new, locked file. Raises `OSError`."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    # See `idle` for where there are no locks.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


@contextlib.contextmanager
def idle(path: Path) -> Iterator[bool]:
    """Whether nobody is writing this file any more, and nobody begins to as long as this goes on."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        yield True
        return
    try:
        free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError:
            # Some network file systems know no locks; there the hour of age has to do.
            pass
        yield free
    finally:
        os.close(file)


def write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte. Raises `OSError`."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(file, view[done:])


def _begin_writing(file: int, start: int, length: int) -> None:
    # Linux takes this as the word to bring dirty pages to the disk, so that the disk works while the hash is made and
    # the sync at the end has little left to do: 1.2 times as fast, and the pages stay in memory.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


def write_each(file: int, pieces: Sequence[bytes]) -> None:
    """Write every byte of each, in order. Raises `OSError`."""
    left = [memoryview(piece) for piece in pieces if piece]
    while left:
        done = os.writev(file, left[:MAX_PIECES])
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]


def sync_file(path: Path) -> None:
    """Have the bytes of a file on the disk. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk, where the file system can. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
