"""An answer whose body waits until somebody takes it."""

import asyncio

import pytest

from arriero.backends.engine.registry.answer import Answer
from arriero.backends.http.call import Head
from arriero.errors import BackendBroken, BackendTimeout
from support.raw_backend import Hold, Told

HEAD = Head(200, ((b"x", b"1"),))


def begun(*pieces: bytes) -> tuple[Answer, Hold]:
    answer, hold = Answer(), Hold()
    answer.upstream = hold
    answer.on_head(HEAD)
    for piece in pieces:
        answer.on_body(piece)
    return answer, hold


async def test_the_body_waits() -> None:
    answer, hold = begun(b"abc")
    assert (await answer.came, answer.head, hold.asked) == (HEAD, HEAD, ["pause"])
    told = Told()
    told.on_head(answer.head)
    answer.feed(told)
    answer.on_body(b"def")
    answer.on_end()
    assert (told.answer, hold.asked) == ((200, b"abcdef"), ["pause", "resume"])


async def test_an_end_that_came_before_anybody_asked() -> None:
    answer, hold = begun(b"abc")
    answer.on_end()
    assert (await answer.read(10), hold.asked) == (b"abc", ["pause", "abort"])


async def test_an_error_that_came_before_anybody_asked() -> None:
    answer, _ = begun(b"abc")
    answer.on_error(BackendBroken("cut"))
    with pytest.raises(BackendBroken, match=r"^cut$"):
        await answer.read(10)


async def test_an_error_in_place_of_a_head() -> None:
    answer = Answer()
    answer.on_error(BackendTimeout("silent"))
    with pytest.raises(BackendTimeout, match=r"^silent$"):
        await answer.came


async def test_a_body_that_is_too_long_is_not_kept() -> None:
    answer, hold = begun()
    reading = asyncio.create_task(answer.read(5))
    await asyncio.sleep(0)
    for piece in (b"abc", b"def", b"ghi"):
        answer.on_body(piece)
    with pytest.raises(BackendBroken, match=r"^the answer has more than 5 bytes$"):
        await reading
    assert hold.asked == ["resume", "abort"]


async def test_whoever_gives_up_closes_it() -> None:
    answer, hold = begun()
    reading = asyncio.create_task(answer.read(5))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert hold.asked == ["resume", "abort"]
