"""What a decision sees of a backend."""

import asyncio

import pytest

from arriero.errors import BackendUnreachable
from arriero.gateway.entry import Entry, Seat
from arriero.routing.breaker import Breaker
from arriero.routing.fleet import Member, Speed, State
from support.plain import Plain, seated


def entry(**seat: object) -> Entry:
    return Entry(*seated(Plain("one"), seat=Seat(**seat))[0])  # type: ignore[arg-type]


def test_a_new_one_is_unknown_and_free() -> None:
    new = entry()
    assert new.member("m", 50.0) == Member("one", "openai", 100, 1.0, None, 0, State.UNKNOWN, False, 0.0, 0.0, None)
    assert (new.well, new.is_asked, new.cards, new.error) == (True, False, (), None)
    assert (new.check_at, new.check_seconds, new.next_check_at, new.models_at) == (None, None, None, None)


def test_the_picture_of_one_that_is_known() -> None:
    known = entry(priority=7, weight=2.5, max_concurrency=4)
    known.state, known.in_flight, known.reserved = State.BUSY, 2, 1
    known.loaded, known.speed = frozenset({"m"}), Speed(0.5, 20.0, 40.0)
    known.turns = {"m": (3, 1.5)}
    assert known.member("m", 50.0) == Member(
        "one", "openai", 7, 2.5, 4, 3, State.BUSY, False, 0.0, 0.0, frozenset({"m"}), Speed(0.5, 20.0, 40.0), 3, 1.5
    )
    other = known.member("other", 50.0)
    assert (other.turn, other.stride) == (0, 0.0)


def test_places_that_are_promised_count() -> None:
    promised = entry(max_concurrency=2)
    promised.in_flight = 1
    assert promised.member("m", 0.0).full is False
    promised.reserved = 1
    assert promised.member("m", 0.0).full is True


@pytest.mark.parametrize(
    ("now", "open", "open_s"), [(50.0, True, 10.0), (59.9, True, 0.1), (60.0, False, 0.0), (90.0, False, 0.0)]
)
def test_an_open_breaker_and_for_how_long(now: float, open: bool, open_s: float) -> None:
    broken = entry()
    broken.breaker = Breaker(5, 30.0, 60.0, None, 30.0)
    member = broken.member("m", now)
    assert (member.open, round(member.open_s, 6)) == (open, open_s)


@pytest.mark.parametrize(("now", "cooling_s"), [(50.0, 10.0), (60.0, 0.0), (61.0, 0.0)])
def test_for_how_long_it_wants_to_be_left_alone(now: float, cooling_s: float) -> None:
    cooling = entry()
    cooling.cooling_until = 60.0
    assert cooling.member("m", now).cooling_s == cooling_s


@pytest.mark.parametrize("state", list(State))
def test_which_states_are_well(state: State) -> None:
    one = entry()
    one.state, one.error = state, BackendUnreachable("refused")
    assert one.well is (state in {State.UNKNOWN, State.HEALTHY, State.BUSY})


async def test_whether_a_question_is_on_its_way() -> None:
    one, answered = entry(), asyncio.Event()

    async def question() -> None:
        await answered.wait()

    one.asking = asyncio.create_task(question())
    assert one.is_asked
    answered.set()
    await one.asking
    assert not one.is_asked
