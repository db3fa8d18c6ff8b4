"""One source, several readers: everybody gets everything, and nobody is ahead."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from arriero.errors import ClientGone
from arriero.gateway.library.tee import Branch, Tee

SECONDS = 5.0


class Source:
    """Counts what is read of it. `gate` holds the piece of that number back."""

    def __init__(self, *pieces: bytes, error: Exception | None = None, gate: int | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self._gate = gate
        self.read = 0
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                if self.read == self._gate:
                    await asyncio.get_running_loop().create_future()
                self.read += 1
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            self.ended = True


async def all_of(branch: Branch) -> list[bytes]:
    async with asyncio.timeout(SECONDS):
        return [piece async for piece in branch]


async def next_of(branch: Branch) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await anext(branch)


async def test_everybody_gets_everything() -> None:
    source = Source(b"a", b"bc", b"d")
    tee = Tee(aiter(source), 3)
    assert await asyncio.gather(*map(all_of, tee.branches)) == [[b"a", b"bc", b"d"]] * 3
    await tee.close()
    assert source.ended


async def test_the_slowest_rules() -> None:
    source = Source(b"a", b"b", b"c")
    tee = Tee(aiter(source), 2)
    fast, slow = tee.branches
    reading = asyncio.create_task(all_of(fast))
    for number in (1, 2, 3):
        await next_of(slow)
        for _ in range(5):
            await asyncio.sleep(0)  # as far as the fast one comes
        assert source.read == number
    slow.leave()
    assert await reading == [b"a", b"b", b"c"]


async def test_who_leaves_holds_nobody_up() -> None:
    source = Source(b"a", b"b", b"c")
    tee = Tee(aiter(source), 3)
    one, two, three = tee.branches
    reading = asyncio.create_task(all_of(one))
    await asyncio.gather(next_of(two), next_of(three))
    two.leave()
    two.leave()
    await three.aclose()
    assert await reading == [b"a", b"b", b"c"]


async def test_a_reader_that_is_cancelled_does_not_end_the_source() -> None:
    source = Source(b"a", b"b")
    tee = Tee(aiter(source), 2)
    one, two = tee.branches
    first, second = asyncio.create_task(next_of(one)), asyncio.create_task(all_of(two))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    one.leave()
    assert await second == [b"a", b"b"]


async def test_what_the_source_raises_everybody_raises() -> None:
    tee = Tee(aiter(Source(b"a", error=ClientGone("left"))), 2)
    found = await asyncio.gather(*map(all_of, tee.branches), return_exceptions=True)
    assert [(type(error), str(error)) for error in found if isinstance(error, Exception)] == [(ClientGone, "left")] * 2


async def test_when_all_have_left_the_source_is_closed() -> None:
    source = Source(b"a", b"b", gate=1)
    tee = Tee(aiter(source), 2)
    await asyncio.gather(*map(next_of, tee.branches))
    waiting = [asyncio.create_task(next_of(branch)) for branch in tee.branches]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await tee.close()
    assert (source.read, source.ended) == (1, True)


async def test_a_source_that_nobody_has_read_is_closed_all_the_same() -> None:
    tee = Tee(aiter(Source(b"a")), 2)
    await tee.close()
    assert await asyncio.gather(*map(all_of, tee.branches), return_exceptions=True) == [[], []]
