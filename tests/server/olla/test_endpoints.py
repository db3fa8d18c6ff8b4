"""One backend in Olla's words: its short name, whether it is up, what ails it."""

import pytest

from arriero.errors import BackendUnauthorized, BackendUnreachable
from arriero.gateway.counts import Count
from arriero.gateway.entry import Entry, Seat
from arriero.routing.breaker import Breaker
from arriero.routing.fleet import State
from arriero.server.olla import endpoints
from arriero.server.olla.endpoints import Instant
from arriero.server.olla.formats import endpoint_id
from support.olla_fleet import NOW, WALL, Resting

OPEN = Breaker(5, counted_at=NOW - 18, admits_at=NOW + 12, open_seconds=30.0)
HALF_OPEN = Breaker(5, counted_at=NOW - 31, admits_at=NOW - 1, open_seconds=30.0)
ON_TRIAL = Breaker(5, counted_at=NOW - 31, admits_at=NOW + 29, trial=NOW - 1, open_seconds=30.0)

INSTANT = Instant(NOW, WALL, WALL)


def entry(name: str = "alpha", where: str = "http://10.0.0.1:11434", *, priority: int = 100) -> Entry:
    found = Entry(Resting(name, "ollama", where), Seat(priority=priority))  # type: ignore[arg-type]
    found.state = State.HEALTHY
    return found


def test_the_short_name_is_of_the_address() -> None:
    assert endpoints.ids([entry()]) == {"alpha": endpoint_id("http://10.0.0.1:11434")}


def test_backends_at_one_address_are_told_apart() -> None:
    here = "this machine"
    id = endpoint_id(here)
    entries = [entry("one", here), entry("two", "http://10.0.0.2"), entry("three", here), entry("four", here)]
    assert endpoints.ids(entries) == {
        "one": id,
        "two": endpoint_id("http://10.0.0.2"),
        "three": f"{id}-2",
        "four": f"{id}-3",
    }


def test_the_preferred_come_first_and_among_them_the_healthy() -> None:
    sick = entry("a-sick")
    sick.state = State.OFFLINE
    entries = [entry("later"), sick, entry("early"), entry("best", priority=200)]
    assert [one.backend.name for one in endpoints.in_order(entries)] == ["best", "early", "later", "a-sick"]


@pytest.mark.parametrize(
    ("state", "routable", "up", "down"),
    [
        (State.UNKNOWN, True, False, False),
        (State.HEALTHY, True, True, False),
        (State.BUSY, True, True, False),
        (State.RATE_LIMITED, False, False, False),
        (State.CONFIG_ERROR, False, False, True),
        (State.UNHEALTHY, False, False, True),
        (State.OFFLINE, False, False, True),
    ],
)
def test_every_state_is_routable_up_or_down(state: State, routable: bool, up: bool, down: bool) -> None:
    one = entry()
    one.state = state
    assert (one.routable(NOW), one.up(NOW), endpoints.down(one)) == (routable, up, down)


@pytest.mark.parametrize(
    ("breaker", "word", "routable"),
    [
        (Breaker(), "closed", True),
        (Breaker(4, counted_at=NOW), "closed", True),
        (OPEN, "open", False),
        (HALF_OPEN, "half_open", True),
        (ON_TRIAL, "half_open", False),
    ],
)
def test_a_healthy_backend_with_an_open_breaker_is_not_routable(breaker: Breaker, word: str, routable: bool) -> None:
    one = entry()
    one.breaker = breaker
    assert (endpoints.breaker_word(one, NOW), one.routable(NOW), endpoints.down(one)) == (
        word,
        routable,
        False,
    )


def test_who_wants_to_be_left_alone_is_routable_again_when_that_is_over() -> None:
    one = entry()
    one.cooling_until = NOW + 5
    assert [one.routable(now) for now in (NOW, NOW + 4.9, NOW + 5)] == [False, False, True]


def count(requests: int = 0, failures: int = 0, ms: float = 100.0) -> Count:
    made = Count()
    made.requests, made.failures, made.answers = requests, failures, requests - failures
    made.total_ms = ms * made.answers
    return made


def ailing(
    state: State = State.HEALTHY, *, breaker: Breaker | None = None, cooling: float = 0.0, failures: int = 0
) -> Entry:
    one = entry()
    one.state, one.breaker, one.failures = state, breaker or Breaker(), failures
    one.cooling_until = NOW + cooling if cooling else 0.0
    return one


@pytest.mark.parametrize(
    ("ailing_entry", "counted", "issues"),
    [
        (ailing(), count(), ""),
        (ailing(State.UNKNOWN), count(), ""),
        (ailing(State.BUSY), count(), "slow to answer its checks"),
        (ailing(State.OFFLINE), count(), "unavailable"),
        (ailing(State.CONFIG_ERROR), count(), "config error"),
        (ailing(State.RATE_LIMITED), count(), "rate limited"),
        (ailing(State.RATE_LIMITED, cooling=25), count(), "wants to be left alone, next request in 25s"),
        (ailing(cooling=120), count(), "wants to be left alone, next request in 2m"),
        (ailing(breaker=OPEN), count(), "breaker open, next trial in 12s"),
        (ailing(breaker=HALF_OPEN), count(), "breaker half open, trial due"),
        (ailing(breaker=ON_TRIAL), count(), "breaker half open, trial under way"),
        (ailing(failures=3), count(), ""),
        (ailing(State.UNHEALTHY, failures=4), count(), "unhealthy, 4 checks failed in a row"),
        (ailing(), count(10, 10), ""),
        (ailing(), count(11, 2), "low success rate"),
        (ailing(), count(20, 2), ""),
        (ailing(), count(1, ms=5000.0), ""),
        (ailing(), count(1, ms=5000.5), "high latency"),
        (
            ailing(State.OFFLINE, breaker=OPEN, failures=9),
            count(20, 10, ms=6000.0),
            "unavailable, breaker open, next trial in 12s, 9 checks failed in a row, low success rate, high latency",
        ),
    ],
)
def test_what_ails_a_backend_is_said_in_one_line(ailing_entry: Entry, counted: Count, issues: str) -> None:
    assert endpoints.issues(ailing_entry, counted, INSTANT) == issues


def test_the_reason_stands_beside_the_state() -> None:
    one = ailing(State.OFFLINE)
    one.error = BackendUnreachable("alpha refused the connection")
    assert endpoints.issues(one, count(), INSTANT) == "unavailable: alpha refused the connection"
    one.state, one.error = State.CONFIG_ERROR, BackendUnauthorized("alpha refuses the gateway's key")
    assert endpoints.issues(one, count(), INSTANT) == "config error: alpha refuses the gateway's key"


def test_a_text_is_written_for_the_moment_at_which_it_is_told() -> None:
    one = ailing(breaker=OPEN)
    assert endpoints.issues(one, count(), Instant(NOW, WALL, WALL + 100)) == "breaker open, next trial now"
