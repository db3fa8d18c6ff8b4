"""One blob on its way to a registry: in parts, resumed where the registry tells how far it is, or in one piece.

An upload is an address that changes with every answer. Its parts follow one another; a registry that sends them to
addresses of their own (307) gets several at a time. What breaks is tried again after 1, 2, 4, ... seconds: from where
the registry says it is, or from the first byte where it has lost the upload. A registry that takes no parts gets the
blob in one piece.

The file is read by a thread, piece by piece, only as fast as the registry takes them. Frames, models and manifests are
`push`'s affair.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from arriero.backends.engine.lasting import Threads
from arriero.backends.engine.registry.address import Place
from arriero.backends.engine.registry.asking import LONGEST, TRIES, Asking, Passing, Sleep, pause_after
from arriero.backends.engine.registry.outgoing import Blob, Outgoing, Part, parts_of
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.refusals import codes_of
from arriero.backends.http.call import Head, Headers, Timeouts
from arriero.errors import RegistryError, StoreError

AT_ONCE = 16
"""So many parts that have addresses of their own go out at a time."""

SLOWEST = 10_000_000
"""Bytes a second at which a registry stores and checks what it was sent, before it answers."""

_DONE = frozenset({200, 201, 204})
_TAKEN = frozenset({200, 201, 202, 204})
_SENT_ELSEWHERE = frozenset({307, 308})
_NO_SUCH_METHOD = frozenset({405, 501})
_ADDRESS_IS_OLD = frozenset({400, 401, 403, 404, 410})
_RANGE = re.compile(rb"(?:bytes=)?0-(\d{1,18})")
_OCTETS = (b"content-type", b"application/octet-stream")


class _NotInParts(Exception):
    """The registry takes no parts."""


class Upload:
    """One blob's upload, to be `run` once. `completed` are the bytes that the registry has or that are on their way."""

    def __init__(self, asking: Asking, blob: Blob, *, threads: Threads, sizes: Sizes, sleep: Sleep) -> None:
        self._asking = asking
        self._blob = blob
        self._threads = threads
        self._sleep = sleep
        self._outgoing = Outgoing(blob, parts_of(blob.size, sizes), threads)
        self._at: Place | None = None
        self._offset = 0
        self._furthest = 0
        self._not_taken_at = 0
        self._finishing = False
        self._resumed = False
        self._elsewhere: list[asyncio.Task[None]] = []
        self._free = asyncio.Semaphore(AT_ONCE)

    @property
    def completed(self) -> int:
        return self._outgoing.completed

    async def run(self) -> None:
        """Returns when the registry has the blob. Raises RegistryError, StoreError."""
        try:
            await self._insist(self._in_parts)
        except _NotInParts:
            self._outgoing = Outgoing(self._blob, (Part(0, 0, self._blob.size),), self._threads)
            await self._insist(self._in_one_piece)
        finally:
            await self._drop_tasks()
        self._outgoing.arrive()

    async def _insist(self, work: Callable[[bool], Awaitable[None]]) -> None:
        """`work(False)`, then `work(True)` until it succeeds. Failures are counted from where it last got further."""
        failures = seen = 0
        while True:
            try:
                return await work(failures > 0)
            except Passing as passing:
                if self._furthest > seen:
                    failures, seen = 0, self._furthest
                failures += 1
                if failures >= TRIES:
                    raise RegistryError(f"max retries exceeded: {passing.error.message}") from passing
                await self._sleep(pause_after(failures, passing.pause))

    # ---- the two ways ----------------------------------------------------------------------------------------------

    async def _in_parts(self, again: bool) -> None:
        if again and await self._is_there():
            return
        if again and self._at is not None:
            await self._look()
        if self._at is None:
            self._at = await self._begin()
            if self._at is None:
                return
        for part in self._outgoing.parts:
            if part.end > self._offset:
                await self._send(part)
        await asyncio.gather(*self._elsewhere)
        await self._finish()

    async def _in_one_piece(self, again: bool) -> None:
        if again and await self._is_there():
            return
        at = await self._begin()
        if at is None:
            return
        self._finishing = True
        place = _with_query(at, digest=self._blob.digest)
        part = self._outgoing.parts[0]
        headers = (_OCTETS, _length(self._blob.size))
        head, body = await self._bytes("PUT", place, headers, part, 0, doing="take a blob in one piece")
        if head.status not in _DONE:
            raise self._refused(head, body, "take a blob in one piece")

    # ---- the steps -------------------------------------------------------------------------------------------------

    async def _is_there(self) -> bool:
        """Whether the answer that was lost was a good one."""
        if not self._finishing:
            return False
        head, _ = await self._asking.once("HEAD", f"blobs/{self._blob.digest}", doing="tell whether it has a blob")
        return head.status == 200

    async def _begin(self) -> Place | None:
        """The address of a new upload; None if there is nothing to send, because the registry has the blob."""
        await self._drop_tasks()
        self._offset = 0
        self._outgoing.rewind()
        query = f"?{urlencode({'mount': self._blob.digest, 'from': self._blob.mount})}" if self._blob.mount else ""
        place = self._asking.home.join(f"blobs/uploads/{query}")
        head, body = await self._asking.once("POST", place.url, doing="take a blob")
        if head.status == 201:
            return None
        if head.status not in _TAKEN:
            raise self._asking.refused("take a blob", head, body)
        location = _next(head)
        if location is None:
            raise RegistryError(f"{self._asking.address} does not say where to send a blob: look at its address")
        return place.join(location)

    async def _look(self) -> None:
        """Where the registry is; no address any more where it does not tell."""
        assert self._at is not None
        if self._elsewhere:
            return  # It does not see those parts either.
        self._resumed = True
        head, _ = await self._asking.once("GET", self._at.url, doing="tell how far an upload is")
        found = _RANGE.fullmatch(head.get(b"range") or b"") if head.status in _TAKEN else None
        there = int(found[1]) + 1 if found else 0
        # `0-0` is said of one byte and of none.
        if 1 < there <= self._outgoing.read_to:
            self._go_on(there, _next(head))
        else:
            self._at = None

    async def _send(self, part: Part) -> None:
        """One part, or what is left of it. Raises _NotInParts where the registry takes none."""
        assert self._at is not None
        async with self._free:
            pass  # An address that has to wait for its turn may grow old.
        for task in self._elsewhere:
            if task.done():
                task.result()
        start = max(part.start, self._offset)
        head, body = await self._patch(part, start)
        status = head.status
        if status in _TAKEN:
            self._go_on(part.end, _next(head))
        elif status in _SENT_ELSEWHERE and (location := _field(head, b"location")) is not None:
            place = self._at.join(location)
            self._go_on(part.end, _field(head, b"docker-upload-location"))
            await self._free.acquire()
            task = asyncio.create_task(self._send_elsewhere(part, place))
            task.add_done_callback(lambda _: self._free.release())
            self._elsewhere.append(task)
        elif status in _NO_SUCH_METHOD or (status == 404 and start == 0):
            raise _NotInParts
        elif status == 404:
            self._at = None
            raise Passing(self._asking.refused("take the rest of a blob", head, body))
        elif status == 416:
            # It is somewhere else than this side believes, or it takes no second part at all.
            if start == self._not_taken_at:
                raise _NotInParts
            self._not_taken_at = start
            raise Passing(self._asking.refused("take a part of a blob", head, body))
        else:
            raise self._asking.refused("take a part of a blob", head, body)

    async def _patch(self, part: Part, start: int) -> tuple[Head, bytes]:
        assert self._at is not None
        headers = (
            _OCTETS,
            (b"content-range", b"%d-%d" % (start, part.end - 1)),
            _length(part.end - start),
            (b"x-redirect-uploads", b"1"),
        )
        return await self._bytes("PATCH", self._at, headers, part, start, doing="take a part of a blob")

    async def _send_elsewhere(self, part: Part, place: Place) -> None:
        """A whole part to an address of its own, which is asked for anew where it has grown old."""
        doing = "take a part of a blob where it sends it"
        failures = 0
        while True:
            try:
                headers = (_OCTETS, _length(part.end - part.start))
                head, body = await self._bytes("PUT", place, headers, part, part.start, doing=doing, anonymous=True)
                if head.status in _DONE:
                    return
                if head.status not in _ADDRESS_IS_OLD:
                    raise self._asking.refused(doing, head, body)
                raise Passing(self._asking.refused(doing, head, body))
            except Passing as passing:
                failures += 1
                if failures >= TRIES:
                    raise RegistryError(f"max retries exceeded: {passing.error.message}") from passing
                await self._sleep(pause_after(failures, passing.pause))
                place = await self._renewed(part, place)

    async def _renewed(self, part: Part, old: Place) -> Place:
        """Another address for a part; the old one if the registry gives none."""
        assert self._at is not None
        try:
            head, _ = await self._patch(part, part.start)
        except Passing:
            return old
        location = _field(head, b"location")
        return self._at.join(location) if head.status in _SENT_ELSEWHERE and location else old

    async def _finish(self) -> None:
        assert self._at is not None
        self._finishing = True
        place = _with_query(self._at, digest=self._blob.digest, etag=self._outgoing.etag)
        doing = "finish a blob"
        head, body = await self._asking.once(
            "PUT", place.url, (_OCTETS,), doing=doing, timeouts=_time_for(self._blob.size)
        )
        if head.status in _DONE:
            return
        if head.status == 404 or (self._resumed and "DIGEST_INVALID" in codes_of(body)):
            self._at = None
            self._resumed = False
            raise Passing(self._asking.refused(doing, head, body))
        raise self._refused(head, body, doing)

    # ---- parts of steps --------------------------------------------------------------------------------------------

    def _go_on(self, offset: int, location: str | None) -> None:
        assert self._at is not None
        self._offset = offset
        self._furthest = max(self._furthest, offset)
        if location is not None:
            self._at = self._at.join(location)

    def _refused(self, head: Head, body: bytes, doing: str) -> RegistryError | StoreError:
        if "DIGEST_INVALID" in codes_of(body):
            return StoreError(
                f"the registry finds that the bytes of {self._blob.digest} are other ones than its digest says: "
                "it is damaged, pull or create the model again"
            )
        return self._asking.refused(doing, head, body)

    async def _bytes(
        self,
        method: str,
        place: Place,
        headers: Headers,
        part: Part,
        start: int,
        *,
        doing: str,
        anonymous: bool = False,
    ) -> tuple[Head, bytes]:
        """The answer to the part's bytes from `start`. Raises the store's error where they cannot be read."""
        try:
            return await self._asking.once(
                method,
                place.url,
                headers,
                lambda: self._outgoing.pieces(part, start),
                doing=doing,
                timeouts=_time_for(part.end - start),
                anonymous=anonymous,
            )
        except (Passing, RegistryError):
            if self._outgoing.broken is not None:
                raise self._outgoing.broken from None
            raise

    async def _drop_tasks(self) -> None:
        tasks, self._elsewhere = self._elsewhere, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _field(head: Head, name: bytes) -> str | None:
    value = head.get(name)
    return value.decode("latin-1") if value else None


def _next(head: Head) -> str | None:
    """Where an upload goes on."""
    return _field(head, b"docker-upload-location") or _field(head, b"location")


def _length(size: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % size)


def _with_query(place: Place, **parameters: str) -> Place:
    """Parameters behind those that the address has."""
    separator = "&" if "?" in place.target else "?"
    return Place(place.origin, f"{place.target}{separator}{urlencode(parameters)}")


def _time_for(size: int) -> Timeouts:
    """How long to wait for an answer to so many bytes."""
    return Timeouts(connect=15.0, first_byte=LONGEST + size / SLOWEST, idle=LONGEST)
