"""One backend at one moment."""

import pytest

from arriero.routing.fleet import LAST_RESORT, ROUTABLE, Member, State


@pytest.mark.parametrize(
    ("max_concurrency", "in_flight", "full"),
    [
        (None, 0, False),
        (None, 10_000, False),
        (1, 0, False),
        (1, 1, True),
        (4, 3, False),
        (4, 4, True),
        (4, 5, True),  # the limit was lowered under running requests
    ],
)
def test_full(max_concurrency: int | None, in_flight: int, full: bool) -> None:
    assert Member("a", "ollama", max_concurrency=max_concurrency, in_flight=in_flight).full is full


def test_what_nobody_said() -> None:
    assert Member("a", "ollama") == Member("a", "ollama", 100, 1.0, None, 0, State.UNKNOWN, False, 0.0, 0.0, None)


def test_nobody_is_asked_who_cannot_be_reached_or_does_not_want_to_be() -> None:
    assert ROUTABLE.isdisjoint(LAST_RESORT)
    assert set(State) - ROUTABLE - LAST_RESORT == {State.OFFLINE, State.RATE_LIMITED}
