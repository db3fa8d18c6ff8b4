"""The body of an answer, gathered into pieces."""

import asyncio

from arriero.backends.engine.registry.answer import Answer
from arriero.backends.engine.registry.intake import Intake
from arriero.errors import BackendBroken


class Counted(Answer):
    """An answer that writes down what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def abort(self) -> None:
        self.asked.append("abort")


def intake(room: int, piece: int = 4) -> tuple[Intake, Counted]:
    answer = Counted()
    return Intake(answer, room, piece), answer


def is_ready(intake: Intake) -> bool:
    waiting = intake.ready()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    waiting.close()
    return False


async def test_small_bits_become_pieces() -> None:
    body, answer = intake(100)
    body.on_body(b"abc")
    assert (is_ready(body), body.gathered) == (False, 3)
    body.on_body(b"de")
    assert (is_ready(body), body.take(), body.gathered, body.taken) == (True, ([b"abc", b"de"], 5), 0, 5)
    assert (is_ready(body), answer.asked) == (False, [])


async def test_no_more_is_read_while_two_pieces_wait() -> None:
    body, answer = intake(100)
    body.on_body(b"abcd")
    body.on_body(b"efgh")
    assert answer.asked == ["pause"]
    body.take()
    assert answer.asked == ["pause", "resume"]


async def test_the_end_gives_what_is_left() -> None:
    body, answer = intake(100)
    body.on_body(b"a")
    body.on_end()
    assert (is_ready(body), body.take(), body.over, body.error) == (True, ([b"a"], 1), True, None)
    assert (is_ready(body), body.take(), answer.asked) == (True, ([], 0), [])


async def test_an_error_does_not_lose_what_came() -> None:
    body, _ = intake(100)
    body.on_body(b"a")
    error = BackendBroken("cut")
    body.on_error(error)
    assert (is_ready(body), body.take(), body.over, body.error) == (True, ([b"a"], 1), True, error)


async def test_never_more_than_there_is_room_for() -> None:
    body, answer = intake(5)
    body.on_body(b"abc")
    body.on_body(b"defgh")
    assert (is_ready(body), body.take(), body.over, answer.asked) == (True, ([b"abc", b"de"], 5), True, [])
    body.on_body(b"more")
    assert (body.take(), answer.asked) == (([], 0), ["abort"])


async def test_an_error_after_the_last_byte_is_none() -> None:
    body, _ = intake(3)
    body.on_body(b"abc")
    body.on_error(BackendBroken("cut"))
    assert (body.take(), body.error) == (([b"abc"], 3), None)


async def test_whoever_waits_is_woken() -> None:
    body, _ = intake(100)
    asyncio.get_running_loop().call_later(0.01, body.on_end)
    async with asyncio.timeout(5):
        await body.ready()
    assert body.over
