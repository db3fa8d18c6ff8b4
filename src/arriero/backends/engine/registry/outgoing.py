"""The bytes of a blob on their way out: read by a thread, piece by piece, only as fast as they are taken, and summed.

Nothing here knows of requests; `upload` says which part goes when.
"""

import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from arriero.backends.engine.lasting import Threads
from arriero.backends.engine.registry.parts import Sizes, plan
from arriero.errors import StoreError

PIECE_BYTES = 256 * 1024
"""So much is read from the disk at a time."""


class Part(Struct, frozen=True):
    """The bytes from `start` up to, not including, `end`."""

    number: int
    start: int
    end: int


class Blob(Struct, frozen=True):
    """What goes up: its digest, size and file; `mount` is a `namespace/model` in which the registry may have it."""

    digest: str
    size: int
    path: Path
    mount: str = ""


def parts_of(size: int, sizes: Sizes) -> tuple[Part, ...]:
    """The parts of a blob of so many bytes, the same as those of a download; an empty one has none."""
    return tuple(Part(part.number, part.offset, part.offset + part.size) for part in plan(size, sizes))


class Outgoing:
    """One blob, cut into parts. `broken` is why its file could not be read, `read_to` the furthest byte that was."""

    def __init__(self, blob: Blob, parts: tuple[Part, ...], threads: Threads) -> None:
        self.parts = parts
        self.broken: StoreError | None = None
        self.read_to = 0
        self._blob = blob
        self._threads = threads
        self._reached = [0] * len(parts)
        self._sums = [_Sum() for _ in parts]

    @property
    def completed(self) -> int:
        """Bytes that were taken, of all parts."""
        return sum(self._reached)

    @property
    def etag(self) -> str:
        """The MD5 sum of the parts' MD5 sums, and how many there are."""
        whole = hashlib.md5(b"".join(total.digest() for total in self._sums), usedforsecurity=False)
        return f"{whole.hexdigest()}-{len(self._sums)}"

    def rewind(self) -> None:
        """Nothing counts as taken any more."""
        self._reached = [0] * len(self.parts)

    def arrive(self) -> None:
        """Everything counts as taken."""
        self._reached = [part.end - part.start for part in self.parts]

    async def pieces(self, part: Part, start: int) -> AsyncIterator[bytes]:
        """A part from byte `start` of the blob on. Raises StoreError, and keeps it as `broken`."""
        position = start
        self._reached[part.number] = position - part.start
        while position < part.end:
            try:
                data = await self._threads.run(self._read, part, position)
            except StoreError as error:
                self.broken = error
                raise
            position += len(data)
            self.read_to = max(self.read_to, position)
            yield data
            self._reached[part.number] = position - part.start

    def _read(self, part: Part, position: int) -> bytes:
        """The next piece of a part. Blocks."""
        wanted = min(PIECE_BYTES, part.end - position)
        try:
            # Opened for each piece: a thread that outlives its request holds nothing that others close.
            with self._blob.path.open("rb", buffering=0) as file:
                file.seek(position)
                data = file.read(wanted)
        except FileNotFoundError:
            raise StoreError(f"the blob {self._blob.digest} was deleted while it was pushed") from None
        except OSError as error:
            raise StoreError(f"the blob {self._blob.digest} cannot be read: {error.strerror or error}") from error
        if len(data) != wanted:
            raise StoreError(f"the blob {self._blob.digest} is cut short: pull or create the model again")
        self._sums[part.number].add(position - part.start, data)
        return data


class _Sum:
    """The MD5 sum of a part whose bytes may be read more than once, by threads that may outlive each other."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)
        self._done = 0
        self._lock = threading.Lock()

    def add(self, position: int, data: bytes) -> None:
        """Bytes of the part from `position`, of which those that were already added count for nothing."""
        with self._lock:
            known = self._done - position
            if 0 <= known < len(data):
                self._hash.update(memoryview(data)[known:])
                self._done += len(data) - known

    def digest(self) -> bytes:
        return self._hash.digest()
