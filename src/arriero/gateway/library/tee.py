"""One upload for several backends: each piece is read once and handed to all, and no more than one is ever held.

The slowest rules: the next piece is read when every branch has asked for it. A branch that leaves holds nobody up.
"""

import asyncio
from collections.abc import AsyncIterator


class Tee:
    """`branches` are the copies, to be iterated each by one reader; every one of them has to end, or to `leave`.

    What the source raises, every branch raises. When all have left, the source is closed.
    """

    def __init__(self, source: AsyncIterator[bytes], count: int) -> None:
        self._source = source
        self._asking: dict[Branch, asyncio.Future[bytes | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self.branches = tuple(Branch(self) for _ in range(count))
        self._living = set(self.branches)

    def ask(self, branch: "Branch") -> "asyncio.Future[bytes | None]":
        """The next piece for one branch; `None` at the end, and where it has left."""
        asked: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if branch in self._living:
            self._asking[branch] = asked
            self._go_on()
        else:
            asked.set_result(None)
        return asked

    def leave(self, branch: "Branch") -> None:
        """One branch wants no more."""
        if branch not in self._living:
            return
        self._living.discard(branch)
        self._asking.pop(branch, None)
        if self._living:
            self._go_on()
            return
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()  # inside of the source, whose own `finally` runs by that

    async def close(self) -> None:
        """Every branch leaves, and the source is closed."""
        reading = self._reading
        for branch in self.branches:
            self.leave(branch)
        if reading is not None:
            await asyncio.gather(reading, return_exceptions=True)
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    def _go_on(self) -> None:
        # A task of its own: a reader that is cancelled must not end the source for the others.
        if self._reading is None and len(self._asking) == len(self._living):
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        piece: bytes | None = None
        failure: Exception | None = None
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            pass
        except Exception as error:
            failure = error
        self._reading = None
        asking, self._asking = self._asking, {}
        for future in asking.values():
            if future.done():
                continue
            if failure is None:
                future.set_result(piece)
            else:
                future.set_exception(failure)


class Branch:
    """One copy of an upload."""

    __slots__ = ("_tee",)

    def __init__(self, tee: Tee) -> None:
        self._tee = tee

    def __aiter__(self) -> "Branch":
        return self

    async def __anext__(self) -> bytes:
        piece = await self._tee.ask(self)
        if piece is None:
            self.leave()
            raise StopAsyncIteration
        return piece

    def leave(self) -> None:
        """Want no more. Idempotent."""
        self._tee.leave(self)

    async def aclose(self) -> None:
        """The same, as the transport calls it when a call has ended."""
        self.leave()
