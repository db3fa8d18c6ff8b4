"""Where a failure is tried again on the same backend: how long after, and when not."""

import asyncio
import time

import pytest

from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    BadRequest,
    ContextExceeded,
    EngineCrashed,
    EngineMissing,
    ModelBroken,
    ModelMissing,
    ModelTooLarge,
    NoBackend,
)
from arriero.gateway.choice import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, Retrying, Routing, pause_before
from arriero.gateway.entry import CLOSED, Seat
from arriero.gateway.roster import Bylaws
from arriero.routing.breaker import BreakerRule
from arriero.routing.fleet import State
from support.choosing import Asked, Clock, fleet, loads
from support.plain import Plain, settled
from support.raw_backend import eventually

SAME = Routing(retrying=Retrying(same=True))
BOOM = BackendFailed("boom", status=500)
REFUSED = BackendUnreachable("refused")


@pytest.mark.parametrize(
    ("attempts", "retry_after", "seconds"),
    [
        (1, None, 0.25),
        (2, None, 0.5),
        (3, None, 1.0),
        (5, None, 4.0),
        (6, None, LONGEST_PAUSE_SECONDS),
        (100_000, None, LONGEST_PAUSE_SECONDS),
        # A backend that says when is believed, as long as a client can wait for it.
        (1, 0.0, 0.25),
        (1, 2.0, 2.0),
        (4, 1.0, 2.0),
        (1, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
        (1, LONGEST_PAUSE_SECONDS + 0.1, None),
        (9, 3600.0, None),
    ],
)
def test_how_long_it_is_left_alone(attempts: int, retry_after: float | None, seconds: float | None) -> None:
    assert pause_before(attempts, retry_after) == seconds


async def test_the_same_one_is_asked_again_after_a_pause_and_at_last_another() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"))
    request = await Asked(roster, SAME).find("m")
    assert request.take() == "one/m: least-connections"
    begun = time.monotonic()
    assert request.fails(BOOM)
    assert await request.wait() == "one/m: same again"
    assert time.monotonic() - begun >= PAUSE_SECONDS
    assert request.fails(BOOM)
    assert await request.wait() == "two/m: only one left"
    assert not request.fails(BOOM)  # three attempts in all
    assert loads(roster) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("error", "next_one"),
    [
        *(
            (error, "one/m: same again")
            for error in (
                BOOM,
                REFUSED,
                BackendTimeout("late"),
                BackendBroken("cut"),
                EngineCrashed("gone"),
                BackendOverloaded("slow down", status=429),
            )
        ),
        # What the same backend would say again, another may do better; and so where it wants to be left alone for long.
        *(
            (error, "two/m: only one left")
            for error in (
                BackendUnauthorized("key"),
                ModelMissing("not here"),
                ModelBroken("damaged"),
                ModelTooLarge("big"),
                EngineMissing("no engine"),
                BackendOverloaded("slow down", status=429, retry_after=6.0),
            )
        ),
        # What is about the request stays as it is.
        *(
            (error, None)
            for error in (
                BackendRefused("bad temperature", status=400),
                BackendFailed("no", status=501),
                ContextExceeded("too long"),
                BadRequest("what?"),
            )
        ),
    ],
)
async def test_who_is_next_after_which_errors(error: ArrieroError, next_one: str | None) -> None:
    request = await Asked(await fleet(Plain("one", "m"), Plain("two", "m")), SAME).find("m")
    request.take()
    assert request.fails(error) is (next_one is not None)
    if next_one is not None:
        assert await request.wait() == next_one


async def test_a_refused_connection_makes_it_offline_and_it_is_asked_all_the_same() -> None:
    roster = await fleet(Plain("one", "m"))
    request = await Asked(roster, SAME).find("m")
    request.take()
    assert request.fails(REFUSED)
    assert roster.entries["one"].state is State.OFFLINE
    assert await request.wait() == "one/m: same again"


async def test_when_it_has_asked_for_a_pause_it_gets_it() -> None:
    clock = Clock()
    roster = await fleet(Plain("one", "m"), clock=clock)
    slow = BackendOverloaded("slow down", status=503, retry_after=0.3)
    request = await Asked(roster, SAME).find("m")
    request.take()
    assert request.fails(slow)
    waits = request.waits()
    clock.now += 0.3
    assert await waits == "one/m: same again"
    assert request.fails(slow)
    with pytest.raises(NoBackend):
        await request.wait()  # the clock has not moved: it still wants to be left alone


async def test_a_breaker_that_is_open_ends_it_there_and_another_is_asked() -> None:
    bylaws = Bylaws(breaker=BreakerRule(1, 30.0))
    for others, said in (([Plain("two", "m")], "two/m: only one left"), ([], None)):
        roster = await fleet(Plain("one", "m"), *others, bylaws=bylaws)
        for noted_first in (True, False):  # before the question who is next, or in the pause
            request = await Asked(roster, SAME).find("m")
            request.take()
            if noted_first:
                request.end(BOOM)
                assert request.choice.goes_on(request.lease.offer, BOOM)
            else:
                assert request.fails(BOOM)
            if said is None:
                with pytest.raises(NoBackend, match="no backend is left to try"):
                    await request.wait()
            else:
                assert await request.wait() == said
                request.end()
            roster.entries["one"].breaker = CLOSED


async def test_a_pause_that_would_outlast_the_budget_is_none() -> None:
    for seconds, said in (
        (PAUSE_SECONDS, "two/m: only one left"),
        (PAUSE_SECONDS + 0.1, "one/m: same again"),
        (None, "one/m: same again"),
    ):
        routing = Routing(retrying=Retrying(same=True, budget_seconds=seconds))
        request = await Asked(await fleet(Plain("one", "m"), Plain("two", "m")), routing).find("m")
        request.take()
        assert request.fails(BOOM)
        assert await request.wait() == said


async def test_a_client_that_leaves_in_the_pause_takes_no_place() -> None:
    roster = await fleet(Plain("one", "m"), most=1)
    request = await Asked(roster, SAME).find("m")
    request.take()
    assert request.fails(BOOM)
    waits = request.waits()
    await settled()
    waits.cancel()
    await asyncio.wait([waits])
    assert (waits.cancelled(), loads(roster), roster.queue.waiting) == (True, [(0, 0)], 0)


async def test_where_it_is_full_meanwhile_the_request_waits_for_it_and_not_for_another() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), most=1)
    request, other = await Asked(roster, SAME).find("m"), await Asked(roster).find("m")
    request.take()
    assert request.fails(BOOM)
    assert other.take() == "two/m: least-connections"
    third = await Asked(roster).find("m")
    assert third.take() == "one/m: only one free"
    waits = request.waits()
    await eventually(lambda: roster.queue.waiting == 1)
    other.end()
    await settled()
    assert not waits.done()
    third.end()
    assert await waits == "one/m: same again"
    request.end()
    assert loads(roster) == [(0, 0), (0, 0)]


async def test_full_and_away_nobody_waits_for_it() -> None:
    for others in ([Plain("two", "m")], []):
        roster = await fleet(Plain("one", "m"), *others, seats=[Seat(check_interval=0, max_concurrency=1)] * 2)
        request = await Asked(roster, SAME).find("m")
        request.take()
        assert request.fails(BOOM)
        roster.lease(roster.entries["one"], request.lease.offer, 0.0, rivals=False)
        roster.entries["one"].state = State.OFFLINE
        if others:
            assert await request.wait() == "two/m: only one left"
        else:
            with pytest.raises(NoBackend):
                await request.wait()


async def test_one_that_has_left_the_fleet_is_not_asked_again() -> None:
    for leaves_first in (True, False):
        roster = await fleet(Plain("one", "m"), Plain("two", "m"))
        request = await Asked(roster, SAME).find("m")
        request.take()
        one = roster.entries["one"]
        two = (roster.entries["two"].backend, roster.entries["two"].seat)
        if leaves_first:
            await roster.adopt([two], Bylaws())
        assert request.choice.goes_on(request.lease.offer, BOOM)
        if not leaves_first:
            await roster.adopt([two], Bylaws())
        roster.give_back(one)
        assert await request.wait() == "two/m: only one left"
        request.end()
        await roster.close()


async def test_when_all_begins_again_nobody_is_left_over() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"))
    request = await Asked(roster, SAME).find("m")
    request.take()
    assert request.fails(BOOM)
    request.choice.begin_again()
    assert await request.wait() == "two/m: least-connections"
