"""Events in, the breaker and its phase out. `b` is a breaker that opens after three failures, for ten seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.routing.breaker import Breaker, BreakerRule, Event, Phase, admits, let_out, phase, remaining, step

RULE = BreakerRule(failures=3, open_seconds=10.0)


def failed(breaker: Breaker, *spans: tuple[float, float], rule: BreakerRule = RULE) -> Breaker:
    """One failure for each `(started, known)`."""
    for started, known in spans:
        breaker = step(breaker, Event.FAILURE, rule, started, known)
    return breaker


OPENED = failed(Breaker(), (0, 1), (2, 3), (4, 5))
"""Open from 5 to 15."""

SOME = failed(Breaker(), (0, 1), (2, 3))
"""Closed, and one failure short of opening."""


def test_the_default_is_closed_and_the_rule_that_of_the_configuration() -> None:
    assert phase(Breaker(), 0.0) is Phase.CLOSED
    assert BreakerRule() == BreakerRule(failures=5, open_seconds=30.0)
    assert [each.value for each in Phase] == ["closed", "open", "half_open"]


def test_it_opens_at_the_last_failure_of_the_rule() -> None:
    assert Breaker(failures=2, counted_at=3.0) == SOME
    assert phase(SOME, 3.0) is Phase.CLOSED
    assert Breaker(failures=3, counted_at=5.0, admits_at=15.0, open_seconds=10.0) == OPENED
    assert phase(OPENED, 5.0) is Phase.OPEN


def test_a_rule_of_one_failure_opens_at_the_first() -> None:
    assert phase(failed(Breaker(), (0, 1), rule=BreakerRule(failures=1)), 1.0) is Phase.OPEN


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (5.0, (Phase.OPEN, False, 10.0)),
        (14.5, (Phase.OPEN, False, 0.5)),
        (15.0, (Phase.HALF_OPEN, True, 0.0)),
        (1000.0, (Phase.HALF_OPEN, True, 0.0)),
    ],
)
def test_open_becomes_half_open_by_time(now: float, expected: tuple[Phase, bool, float]) -> None:
    assert (phase(OPENED, now), admits(OPENED, now), remaining(OPENED, now)) == expected


def test_a_closed_breaker_admits_and_has_nothing_to_wait_for() -> None:
    assert (admits(SOME, 3.0), remaining(SOME, 3.0)) == (True, 0.0)


def test_half_open_lets_one_trial_out() -> None:
    out = let_out(OPENED, 15.0)
    assert phase(out, 15.0) is Phase.HALF_OPEN
    assert not admits(out, 15.0)
    assert remaining(out, 15.0) == 10.0
    assert let_out(out, 16.0) is out


def test_a_trial_of_which_nothing_is_heard_is_forgotten() -> None:
    out = let_out(OPENED, 15.0)
    assert not admits(out, 24.5)
    assert phase(out, 25.0) is Phase.HALF_OPEN
    assert admits(out, 25.0)
    again = let_out(out, 26.0)
    assert (admits(again, 35.5), admits(again, 36.0)) == (False, True)


def test_an_attempt_on_a_closed_breaker_leaves_it_as_it_is() -> None:
    assert let_out(SOME, 4.0) is SOME


def test_an_attempt_in_spite_of_an_open_breaker_is_no_trial() -> None:
    assert let_out(OPENED, 6.0) is OPENED


def test_the_trial_decides() -> None:
    out = let_out(OPENED, 20.0)
    assert phase(step(out, Event.SUCCESS, RULE, 20.0, 21.0), 21.0) is Phase.CLOSED
    again = step(out, Event.FAILURE, RULE, 20.0, 21.0)
    assert again == Breaker(failures=4, counted_at=21.0, admits_at=31.0, open_seconds=10.0)
    assert phase(again, 21.0) is Phase.OPEN


def test_a_trial_whose_client_left_is_taken_back() -> None:
    out = let_out(OPENED, 20.0)
    back = step(out, Event.NEUTRAL, RULE, 20.0, 21.0)
    assert phase(back, 21.0) is Phase.HALF_OPEN
    assert admits(back, 21.0)


def test_the_end_of_an_older_attempt_says_nothing_about_the_trial() -> None:
    out = let_out(OPENED, 20.0)
    assert step(out, Event.NEUTRAL, RULE, 4.0, 21.0) is out
    assert step(out, Event.FAILURE, RULE, 4.0, 21.0) is out
    first_forgotten = let_out(out, 30.0)
    assert step(first_forgotten, Event.NEUTRAL, RULE, 20.0, 31.0) is first_forgotten


def test_a_success_in_between_starts_the_count_again() -> None:
    closed = step(SOME, Event.SUCCESS, RULE, 3.5, 4.0)
    assert closed.failures == 0
    assert phase(failed(closed, (5, 6), (6.5, 7)), 7.0) is Phase.CLOSED
    assert phase(failed(closed, (5, 6), (6.5, 7), (7.5, 8)), 8.0) is Phase.OPEN


def test_a_success_costs_nothing_where_there_is_nothing_to_forget() -> None:
    for breaker in (Breaker(), step(SOME, Event.SUCCESS, RULE, 3.5, 4.0)):
        assert step(breaker, Event.SUCCESS, RULE, 5.0, 6.0) is breaker


def test_a_recovered_backend_is_asked_again_at_once() -> None:
    for breaker in (SOME, OPENED, let_out(OPENED, 15.0)):
        assert step(breaker, Event.RECOVERED, RULE, 15.5, 16.0).failures == 0
        assert admits(step(breaker, Event.RECOVERED, RULE, 15.5, 16.0), 16.0)
    fresh = Breaker()
    assert step(fresh, Event.RECOVERED, RULE, 1.0, 2.0) is fresh


def test_a_process_that_dies_is_one_failure_however_many_attempts_it_took_along() -> None:
    died = failed(Breaker(), *((started, 10.0 + started / 100) for started in range(10)))
    assert died == Breaker(failures=1, counted_at=10.0)


def test_what_died_together_stays_one_failure_with_a_success_in_between() -> None:
    closed = step(failed(Breaker(), (0, 10)), Event.SUCCESS, RULE, 1.0, 10.5)
    assert failed(closed, (2, 11), (3, 11), (4, 11)) is closed


def test_a_failure_while_open_makes_it_no_longer() -> None:
    assert failed(OPENED, (4, 6), (6, 7)) is OPENED


# A history is a list of (seconds that passed, what happened). Attempts start only where the breaker admits them.

ACTIONS = st.sampled_from(["start", *Event])
HISTORIES = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 3.0, 9.5, 10.0, 40.0]), ACTIONS, st.integers(0, 50)))
RULES = st.builds(BreakerRule, failures=st.integers(1, 4), open_seconds=st.sampled_from([0.5, 10.0, 30.0]))


@given(HISTORIES, RULES)
def test_any_history(history: list[tuple[float, "str | Event", int]], rule: BreakerRule) -> None:
    breaker, now = Breaker(), 0.0
    running: list[float] = []
    for passed, action, which in history:
        now += passed
        before = phase(breaker, now)
        assert admits(breaker, now) is (remaining(breaker, now) == 0.0)
        if before is not Phase.HALF_OPEN:
            assert admits(breaker, now) is (before is Phase.CLOSED)
        if action == "start":
            if admits(breaker, now):
                breaker = let_out(breaker, now)
                running.append(now)
                if before is Phase.HALF_OPEN:
                    # No second one beside it, for as long as it is not forgotten.
                    assert not admits(breaker, now)
                    assert not admits(breaker, now + rule.open_seconds * 0.99)
                    assert admits(breaker, now + rule.open_seconds)
            assert phase(breaker, now) is before
            continue
        assert isinstance(action, Event)
        started = running.pop(which % len(running)) if running else now
        counted = breaker.counted_at
        breaker = step(breaker, action, rule, started, now)
        after = phase(breaker, now)
        if action in (Event.SUCCESS, Event.RECOVERED):
            assert (after, breaker.failures) == (Phase.CLOSED, 0)
        elif action is Event.NEUTRAL:
            assert after is before
        elif before is Phase.HALF_OPEN and started > counted:
            assert after is Phase.OPEN
        elif after is not before:
            assert (before, after, breaker.failures) == (Phase.CLOSED, Phase.OPEN, rule.failures)


@given(
    st.floats(0, 100),
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.lists(st.sampled_from([Event.SUCCESS, Event.NEUTRAL]), max_size=3),
)
def test_failures_of_attempts_that_started_together_count_once(
    start: float, ends: list[float], between: list[Event]
) -> None:
    breaker = Breaker()
    for index, known in enumerate(sorted(start + end for end in ends)):
        breaker = step(breaker, Event.FAILURE, RULE, start, known)
        assert breaker.failures == (1 if index == 0 or Event.SUCCESS not in between else 0)
        for event in between:
            breaker = step(breaker, event, RULE, start, known)


@given(st.integers(1, 8))
def test_failures_one_after_another_count_each(count: int) -> None:
    rule = BreakerRule(failures=10)
    assert failed(Breaker(), *((at, at + 0.5) for at in range(count)), rule=rule).failures == count
