"""The choice where nothing can be had at once: all are full, or offline, or the fleet changes meanwhile."""

import asyncio
from typing import Any

import pytest

from arriero.errors import (
    BackendFailed,
    BackendOverloaded,
    BackendUnreachable,
    BadRequest,
    Busy,
    ModelNotFound,
    NoBackend,
)
from arriero.gateway.choice import Routing
from arriero.gateway.entry import Seat
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws
from arriero.routing.breaker import Breaker
from arriero.routing.fleet import State
from support.choosing import Asked, Clock, fleet, loads
from support.plain import Plain, seated, settled

REFUSED = BackendUnreachable("refused")


# ---- waiting -------------------------------------------------------------------------------------------------------


async def test_who_finds_all_full_waits_and_is_served_in_order() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    holder = await Asked(roster).find("m")
    holder.take()
    line = [await Asked(roster).find("m") for _ in range(3)]
    tasks = [one.waits() for one in line]
    await settled()
    assert (roster.queue.waiting, loads(roster)) == (3, [(1, 0)])
    with pytest.raises(Busy):
        (await Asked(roster).find("m")).take()
    holder.end()
    with pytest.raises(Busy):
        (await Asked(roster).find("m")).take()  # in the same step: the place is promised already
    for one, task in zip(line, tasks, strict=True):
        await settled()
        assert task.result() == "one/m: only"
        one.end()
    assert loads(roster) == [(0, 0)]


async def test_a_place_that_one_cannot_use_goes_to_the_next_at_once() -> None:
    """The first in line has failed there already; the second must not wait until the first is served."""
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), most=1)
    failed, holder = await Asked(roster).find("m"), await Asked(roster).find("m")
    failed.take()
    holder.take()
    assert failed.fails(BackendFailed("no", status=500))
    again = failed.waits()
    other = await Asked(roster).find("m")
    assert other.take().startswith("one/m")
    third = await Asked(roster).find("m")
    last = third.waits()
    await settled()
    other.end()
    await settled()
    assert (again.done(), last.done() and last.result()) == (False, "one/m: only one free")
    holder.end()
    await settled()
    assert again.result() == "two/m: only one left"
    third.end()
    failed.end()
    assert loads(roster) == [(0, 0), (0, 0)]


async def test_who_leaves_while_he_waits_takes_nothing_along() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    holder = await Asked(roster).find("m")
    holder.take()
    leaves = (await Asked(roster).find("m")).waits()
    await settled()
    holder.end()
    leaves.cancel()
    await settled()
    assert (leaves.cancelled(), loads(roster), roster.queue.waiting) == (True, [(0, 0)], 0)


async def test_a_full_queue_and_a_wait_that_ends() -> None:
    for queue in (Queue(most=0), Queue(seconds=0.01)):
        roster = await fleet(Plain("one", "m"), most=1, queue=queue)
        holder = await Asked(roster).find("m")
        holder.take()
        async with asyncio.timeout(5):
            with pytest.raises(Busy):
                await (await Asked(roster).find("m")).wait()
        holder.end()
        assert loads(roster) == [(0, 0)]


async def test_the_time_of_an_attempt_is_no_waiting_time() -> None:
    clock = Clock()
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), most=1, queue=Queue(seconds=60), clock=clock)
    holder, request = await Asked(roster).find("m"), await Asked(roster).find("m")
    assert (holder.take()[:3], request.take()[:3]) == ("one", "two")
    clock.now += 500
    assert request.fails(BackendFailed("no", status=500))
    waits = request.waits()
    await settled()
    assert not waits.done()
    holder.end()
    assert (await waits) == "one/m: only one left"
    request.end()


async def test_who_waits_for_one_that_is_left_alone_looks_again_when_it_no_longer_is() -> None:
    """Nobody calls when a cooling time is over."""
    clock = Clock()
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), most=1, clock=clock)
    holder = await Asked(roster).find("m")
    holder.take()
    roster.entries["two"].cooling_until = clock.now + 0.05
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    assert (waits.done(), roster.queue.waiting) == (False, 1)
    clock.now += 1
    async with asyncio.timeout(5):
        assert await waits == "two/m: only one free"


async def test_who_waits_for_an_open_breaker_looks_again_when_it_lets_one_through() -> None:
    clock = Clock()
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), most=1, clock=clock)
    (await Asked(roster).find("m")).take()
    roster.entries["two"].breaker = Breaker(5, clock.now, clock.now + 0.05, None, 30.0)
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    assert not waits.done()
    clock.now += 1
    async with asyncio.timeout(5):
        assert await waits == "two/m: only one free"


async def test_a_backend_that_comes_back_takes_those_who_wait() -> None:
    one, two = Plain("one", "m"), Plain("two", "m")
    roster = await fleet(one, two, most=1)
    (await Asked(roster).find("m")).take()
    dies = await Asked(roster).find("m")
    dies.take()
    dies.end(REFUSED)
    assert roster.entries["two"].state is State.OFFLINE
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    assert not waits.done()
    await roster.refresh()
    await settled()
    assert waits.result() == "two/m: only one free"


async def test_when_the_last_one_dies_those_who_wait_are_told() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    holder = await Asked(roster).find("m")
    holder.take()
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    holder.end(REFUSED)
    with pytest.raises(NoBackend, match="one: offline"):
        await waits
    assert loads(roster) == [(0, 0)]


@pytest.mark.parametrize("told", [b"urgent", b""])
async def test_a_wrong_word_for_the_priority_is_told(told: bytes) -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    (await Asked(roster).find("m")).take()
    with pytest.raises(BadRequest, match="high, normal, low"):
        await (await Asked(roster, headers=((b"x-arriero-priority", told),)).find("m")).wait()
    assert roster.queue.waiting == 0


async def test_high_before_low() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    holder = await Asked(roster).find("m")
    holder.take()
    waits = []
    for word in (b"low", b"high"):
        waits.append((await Asked(roster, headers=((b"x-arriero-priority", word),)).find("m")).waits())
        await settled()
    holder.end()
    await settled()
    assert [task.done() for task in waits] == [False, True]
    waits[0].cancel()


# ---- those that are offline ----------------------------------------------------------------------------------------


async def test_those_that_are_offline_are_asked_once_more_before_a_request_is_refused() -> None:
    clock, one = Clock(), Plain("one", "m")
    roster = await fleet(one, clock=clock)
    one.list_answer = REFUSED
    await roster.refresh()
    clock.now += 10
    asked_before = len(one.asked)
    with pytest.raises(NoBackend, match="one: offline"):
        await (await Asked(roster).find("m")).wait()
    assert len(one.asked) == asked_before + 1
    with pytest.raises(NoBackend):
        await (await Asked(roster).find("m")).wait()
    assert len(one.asked) == asked_before + 1  # it said so a moment ago
    one.offers("m")
    clock.now += 10
    assert await (await Asked(roster).find("m")).wait() == "one/m: only"


async def test_after_an_attempt_nobody_is_asked_again() -> None:
    clock, one = Clock(), Plain("one", "m")
    roster = await fleet(one, clock=clock)
    request = await Asked(roster).find("m")
    await request.wait()
    assert request.fails(REFUSED)
    clock.now += 10
    with pytest.raises(NoBackend):
        await request.wait()
    assert one.asked == ["list"]


async def test_one_that_was_left_alone_long_enough_is_asked_again() -> None:
    """Without an interval nobody else would ask it."""
    clock, one = Clock(), Plain("one", "m")
    roster = await fleet(one, clock=clock)
    one.list_answer = BackendOverloaded("slow down", status=429, retry_after=20.0)
    await roster.refresh()
    one.offers("m")
    clock.now += 10
    with pytest.raises(NoBackend) as refused:
        await (await Asked(roster).find("m")).wait()
    assert refused.value.retry_after == 10.0
    clock.now += 10
    assert await (await Asked(roster).find("m")).wait() == "one/m: only"


# ---- a fleet that changes ------------------------------------------------------------------------------------------


async def test_a_backend_that_leaves_while_somebody_waits_for_it() -> None:
    one, two = Plain("one", "m"), Plain("two", "m")
    roster = await fleet(one, two, most=1)
    holders = [await Asked(roster).find("m") for _ in range(2)]
    for holder in holders:
        holder.take()
    request = await Asked(roster).find("m")
    waits = request.waits()
    await settled()
    await roster.adopt(seated(two, seat=Seat(check_interval=0, max_concurrency=1)), Bylaws())
    await settled()
    assert not waits.done()
    holders[0].end()  # a place on the one that has left is no place
    await settled()
    assert not waits.done()
    holders[1].end()
    await settled()
    assert waits.result().startswith("two/m")
    request.end()
    assert loads(roster) == [(0, 0)]
    await roster.close()


async def test_when_all_leave_those_who_wait_are_told() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    holder = await Asked(roster).find("m")
    holder.take()
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    await roster.adopt([], Bylaws())
    with pytest.raises(ModelNotFound):
        await waits
    holder.end()
    await roster.close()


async def test_a_backend_that_leaves_while_it_is_asked_again() -> None:
    clock, one = Clock(), Plain("one", "m")
    roster = await fleet(one, clock=clock)
    one.list_answer = REFUSED
    await roster.refresh()
    clock.now += 10
    released = asyncio.Event()

    async def slow() -> Any:
        await released.wait()
        raise REFUSED

    one.list_answer = slow
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    await roster.adopt([], Bylaws())
    released.set()
    with pytest.raises(NoBackend):
        await waits
    await roster.close()


async def test_a_fallback_that_leaves_while_the_model_is_looked_for() -> None:
    clock, one, two = Clock(), Plain("one", "x"), Plain("two", "small")
    roster = await fleet(one, two, clock=clock)
    clock.now += 10
    released = asyncio.Event()

    async def slow() -> Any:
        await released.wait()
        return ()

    one.list_answer = slow
    request = Asked(roster, Routing(fallback={"big": ["small"]}))
    finding = asyncio.create_task(request.find("big"))
    await settled()
    await roster.adopt(seated(one), Bylaws())
    released.set()
    with pytest.raises(ModelNotFound):
        await finding
    await roster.close()


async def test_a_backend_that_leaves_between_two_attempts() -> None:
    one, two = Plain("one", "m"), Plain("two", "m")
    roster = await fleet(one, two)
    request = await Asked(roster).find("m")
    request.take()
    assert request.fails(BackendFailed("no", status=500))
    await roster.adopt(seated(one), Bylaws())
    with pytest.raises(NoBackend):
        request.take()
    await roster.close()


async def test_a_raised_limit_lets_those_in_who_wait() -> None:
    one = Plain("one", "m")
    roster = await fleet(one, most=1)
    (await Asked(roster).find("m")).take()
    waits = (await Asked(roster).find("m")).waits()
    await settled()
    await roster.adopt(seated(one, seat=Seat(check_interval=0, max_concurrency=2)), Bylaws())
    await settled()
    assert (waits.result(), loads(roster)) == ("one/m: only", [(2, 0)])
