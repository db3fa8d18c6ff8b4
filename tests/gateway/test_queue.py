"""Who waits, who is called, who is promised what."""

import asyncio
import time

import pytest

from arriero.errors import BadRequest, Busy
from arriero.gateway.entry import Entry
from arriero.gateway.queue import RANKS, RETRY_SECONDS, Queue, Ticket, rank_of
from support.plain import entry_of, settled

A_AND_B = frozenset({"a", "b"})


class Waiting:
    """Somebody in the queue; `granted` names the promise it came back with."""

    def __init__(
        self,
        queue: Queue,
        *backends: str,
        rank: int = 1,
        ticket: Ticket | None = None,
        seconds: float | None = None,
        look: float | None = None,
    ) -> None:
        self.ticket = ticket or queue.ticket(rank)
        self.granted: str | None = None
        self._queue = queue
        self.task = asyncio.create_task(self._wait(frozenset(backends), seconds, look))

    async def _wait(self, backends: frozenset[str], seconds: float | None, look: float | None) -> None:
        await self._queue.wait(self.ticket, backends, seconds, look=look)
        granted = self._queue.take(self.ticket)
        if granted is not None:
            self.granted = granted.backend.name
            granted.in_flight += 1

    @property
    def back(self) -> bool:
        return self.task.done()


def ended(queue: Queue, entry: Entry) -> None:
    """A request on this backend ends."""
    entry.in_flight -= 1
    queue.freed(entry)


def full(name: str, most: int = 1) -> Entry:
    entry = entry_of(name, most)
    entry.in_flight = most
    return entry


# ---- ranks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "rank"),
    [(None, 1), (b"normal", 1), (b"high", 0), (b"low", 2), (b" High ", 0), (b"LOW", 2)],
)
def test_the_words_of_the_header(told: bytes | None, rank: int) -> None:
    assert rank_of(told) == rank


@pytest.mark.parametrize("told", [b"", b"urgent", b"0", b"high,low", b"\xff"])
def test_another_word_is_an_error_that_names_them(told: bytes) -> None:
    with pytest.raises(BadRequest, match="X-Arriero-Priority must be one of high, normal, low"):
        rank_of(told)


def test_less_goes_first() -> None:
    assert sorted(RANKS, key=lambda word: RANKS[word]) == [b"high", b"normal", b"low"]


# ---- order ---------------------------------------------------------------------------------------------------------


async def test_first_come_first_served() -> None:
    queue, place = Queue(), full("a")
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    assert queue.waiting == 3
    for count in range(1, 4):
        ended(queue, place)
        await settled()
        assert [one.back for one in line] == [True] * count + [False] * (3 - count)
        assert (place.in_flight, place.reserved, queue.waiting) == (1, 0, 3 - count)


async def test_a_higher_rank_goes_first_and_ranks_keep_their_own_order() -> None:
    queue, place = Queue(), full("a")
    ranks = [2, 1, 0, 1, 0, 2]
    line = [Waiting(queue, "a", rank=rank) for rank in ranks]
    await settled()
    order = []
    for _ in ranks:
        ended(queue, place)
        await settled()
        order += [number for number, one in enumerate(line) if one.back and number not in order]
    assert order == [2, 4, 1, 3, 0, 5]


async def test_a_ticket_keeps_its_place_while_it_waits_again() -> None:
    queue, place = Queue(), full("a")
    first = Waiting(queue, "a")
    second = Waiting(queue, "a")
    await settled()
    queue.kick()
    await settled()
    assert (first.back, second.back, queue.waiting) == (True, True, 0)
    again = [Waiting(queue, "a", ticket=second.ticket), Waiting(queue, "a", ticket=first.ticket)]
    await settled()
    ended(queue, place)
    await settled()
    assert [one.back for one in again] == [False, True]
    again[0].task.cancel()


# ---- promises ------------------------------------------------------------------------------------------------------


async def test_a_promised_place_is_nobody_elses() -> None:
    queue, place = Queue(), full("a")
    one = Waiting(queue, "a")
    await settled()
    ended(queue, place)
    assert (place.in_flight, place.reserved) == (0, 1)  # whoever comes in this very moment finds it full
    await settled()
    assert (one.granted, place.in_flight, place.reserved) == ("a", 1, 0)


async def test_nobody_is_called_for_a_place_he_does_not_wait_for() -> None:
    queue, a, b = Queue(), full("a"), full("b")
    for_a, for_b, for_both = Waiting(queue, "a"), Waiting(queue, "b"), Waiting(queue, "a", "b")
    await settled()
    ended(queue, b)
    await settled()
    assert (for_a.back, for_b.granted, for_both.back) == (False, "b", False)
    ended(queue, b)
    ended(queue, a)
    await settled()
    assert (for_a.granted, for_both.granted, a.reserved, b.reserved) == ("a", "b", 0, 0)


async def test_one_place_is_promised_once() -> None:
    queue, place = Queue(), full("a", 2)
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    ended(queue, place)
    queue.freed(place)
    queue.freed(place)
    await settled()
    assert [one.back for one in line] == [True, False, False]
    line[1].task.cancel()
    line[2].task.cancel()


async def test_two_places_in_one_moment_are_two_promises() -> None:
    queue, place = Queue(), full("a", 2)
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    ended(queue, place)
    ended(queue, place)
    assert place.reserved == 2
    await settled()
    assert [one.granted for one in line] == ["a", "a", None]
    line[2].task.cancel()


async def test_without_a_limit_everybody_is_called() -> None:
    queue, place = Queue(), entry_of("a")
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    queue.freed(place)
    await settled()
    assert ([one.granted for one in line], place.reserved) == (["a"] * 3, 0)


async def test_a_promise_that_is_not_kept_goes_on_to_those_behind() -> None:
    """The one who had it could not use the place: asking him again and again would be a circle."""
    queue, place = Queue(), entry_of("a", 1)
    front, middle, last = (Waiting(queue, "a") for _ in range(3))
    await settled()
    queue.freed(place, behind=middle.ticket)
    await settled()
    assert [one.granted for one in (front, middle, last)] == [None, None, "a"]
    front.task.cancel()
    middle.task.cancel()


async def test_a_promise_that_cannot_be_kept_makes_room_for_another() -> None:
    queue, dies, lives = Queue(), full("a"), full("b")
    first, second = Waiting(queue, "a", "b"), Waiting(queue, "a", "b")
    await settled()
    ended(queue, dies)
    queue.withdraw(dies)
    ended(queue, lives)
    assert (dies.reserved, lives.reserved) == (0, 1)
    await settled()
    assert (first.granted, second.back) == ("b", False)
    second.task.cancel()


# ---- leaving -------------------------------------------------------------------------------------------------------


async def test_who_leaves_with_a_promise_passes_it_on() -> None:
    queue, place = Queue(), full("a")
    leaves, stays = Waiting(queue, "a"), Waiting(queue, "a")
    await settled()
    ended(queue, place)
    leaves.task.cancel()
    await settled()
    assert leaves.task.cancelled()
    assert (stays.granted, place.in_flight, place.reserved, queue.waiting) == ("a", 1, 0, 0)


async def test_who_leaves_without_one_is_forgotten() -> None:
    queue, place = Queue(), full("a")
    leaves, stays = Waiting(queue, "a"), Waiting(queue, "a")
    await settled()
    leaves.task.cancel()
    ended(queue, place)
    await settled()
    assert (leaves.task.cancelled(), stays.granted, place.reserved, queue.waiting) == (True, "a", 0, 0)


async def test_who_leaves_before_he_stood_in_line_was_never_there() -> None:
    queue = Queue()
    gone = Waiting(queue, "a")
    gone.task.cancel()
    await settled()
    assert (gone.task.cancelled(), queue.waiting) == (True, 0)


async def test_when_all_leave_the_place_is_simply_free() -> None:
    queue, place = Queue(), full("a")
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    ended(queue, place)
    for one in line:
        one.task.cancel()
    await settled()
    assert (place.in_flight, place.reserved, queue.waiting) == (0, 0, 0)


# ---- bounds --------------------------------------------------------------------------------------------------------


async def test_a_full_queue_turns_away() -> None:
    queue = Queue(most=2)
    line = [Waiting(queue, "a") for _ in range(3)]
    await settled()
    assert queue.waiting == 2
    with pytest.raises(Busy) as turned:
        line[2].task.result()
    assert (turned.value.status, turned.value.retry_after) == (503, RETRY_SECONDS)
    line[0].task.cancel()
    await settled()
    late = Waiting(queue, "a")
    await settled()
    assert (late.back, queue.waiting) == (False, 2)
    line[1].task.cancel()
    late.task.cancel()


async def test_no_queue_at_all() -> None:
    with pytest.raises(Busy):
        await Queue(most=0).wait(Queue().ticket(1), A_AND_B, None)


async def test_a_wait_ends() -> None:
    queue, place = Queue(), full("a")
    with pytest.raises(Busy) as over:
        await queue.wait(queue.ticket(1), A_AND_B, 0.01)
    assert (over.value.status, over.value.retry_after, queue.waiting, place.reserved) == (503, RETRY_SECONDS, 0, 0)


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_no_time_is_left_to_wait(seconds: float) -> None:
    queue = Queue()
    async with asyncio.timeout(5):
        with pytest.raises(Busy):
            await queue.wait(queue.ticket(1), A_AND_B, seconds)
    assert queue.waiting == 0


async def test_a_promise_in_the_moment_in_which_the_wait_ends_is_not_lost() -> None:
    """The timer fires, and before its task runs a place becomes free: it goes on to the next."""
    queue, place = Queue(), full("a")
    over, stays = Waiting(queue, "a"), Waiting(queue, "a")
    await settled()
    over.task.cancel()  # as the timer does
    ended(queue, place)
    assert over.ticket.granted is place
    await settled()
    assert (over.granted, stays.granted, place.in_flight, place.reserved) == (None, "a", 1, 0)


# ---- looking again -------------------------------------------------------------------------------------------------


async def test_a_kick_calls_everybody_in_order() -> None:
    queue, order = Queue(), []
    line = [Waiting(queue, "a", rank=rank) for rank in (2, 1, 0)]
    for number, one in enumerate(line):
        one.task.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    await settled()
    queue.kick()
    await settled()
    assert (order, queue.waiting, [one.granted for one in line]) == ([2, 1, 0], 0, [None] * 3)


async def test_who_is_called_and_has_not_looked_yet_is_not_overtaken() -> None:
    queue, place = Queue(), full("a")
    called, stays = Waiting(queue, "a"), Waiting(queue, "a")
    await settled()
    called.ticket.call()
    ended(queue, place)
    await settled()
    assert (called.granted, stays.back) == ("a", False)
    stays.task.cancel()


async def test_a_promise_in_the_moment_in_which_the_look_is_due_is_kept() -> None:
    queue, place = Queue(), full("a")
    looks, stays = Waiting(queue, "a", look=0.01), Waiting(queue, "a")
    await settled()
    asyncio.get_running_loop().call_soon(ended, queue, place)  # it comes first, then the timer, and then the task
    time.sleep(0.03)  # noqa: ASYNC251 - both are due when the loop looks
    await settled()
    assert (looks.granted, stays.back, place.in_flight, place.reserved) == ("a", False, 1, 0)
    stays.task.cancel()


async def test_a_look_after_a_while_is_no_refusal() -> None:
    queue = Queue()
    async with asyncio.timeout(5):
        await queue.wait(queue.ticket(1), A_AND_B, 60, look=0.01)
        await queue.wait(queue.ticket(1), A_AND_B, None, look=0.01)
        with pytest.raises(Busy):
            await queue.wait(queue.ticket(1), A_AND_B, 0.01, look=60)
    assert queue.waiting == 0


async def test_an_empty_queue_promises_nothing() -> None:
    queue, place = Queue(), entry_of("a", 1)
    queue.freed(place)
    queue.kick()
    assert (place.reserved, queue.waiting) == (0, 0)
