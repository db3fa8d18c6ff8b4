"""When a backend is left alone after failures, and who may try it again: a value, a table of steps, no clock.

Only what an attempt or a check has shown arrives here; the caller decides which event that was. Times are seconds on
one monotonic clock.
"""

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

FAST_SECONDS = 5.0
"""A 5xx that took longer is the answer of a backend that worked on the request: it is not a `FAILURE`."""


class Phase(Enum):
    """What the breaker lets through now."""

    CLOSED = "closed"  # everything
    OPEN = "open"  # nothing
    HALF_OPEN = "half_open"  # one attempt, the trial


class Event(Enum):
    """What has become known of a backend."""

    SUCCESS = "success"  # it answered as it should
    FAILURE = "failure"  # the transport failed before the answer, or a 5xx came within FAST_SECONDS
    NEUTRAL = "neutral"  # the client left, or the answer says nothing about the backend
    RECOVERED = "recovered"  # it was down and has answered a check again


class BreakerRule(Struct, frozen=True):
    """`failures` in a row open it, for `open_seconds`; then one trial may go, and another if nothing is heard of it for
    as long again.
    """

    failures: int = 5
    open_seconds: float = 30.0


class Breaker(Struct, frozen=True, gc=False):
    """One backend's breaker; the default is closed. `failures` counts those in a row.

    `counted_at`: when the last counted failure became known. `admits_at` `None` is closed; otherwise nothing passes
    before that time. `trial`: when the trial that is out started, `None` for none. `open_seconds` is that of the rule
    by which it opened.
    """

    failures: int = 0
    counted_at: float = float("-inf")
    admits_at: float | None = None
    trial: float | None = None
    open_seconds: float = 0.0


def phase(breaker: Breaker, now: float) -> Phase:
    """Open becomes half open by time alone."""
    if breaker.admits_at is None:
        return Phase.CLOSED
    if breaker.trial is None and now < breaker.admits_at:
        return Phase.OPEN
    return Phase.HALF_OPEN


def admits(breaker: Breaker, now: float) -> bool:
    """Whether an attempt may start: closed always, open never, half open while no trial is out."""
    return breaker.admits_at is None or now >= breaker.admits_at


def remaining(breaker: Breaker, now: float) -> float:
    """Seconds until the next attempt may start if nothing more is heard; 0 exactly where `admits` says yes."""
    return 0.0 if breaker.admits_at is None else max(0.0, breaker.admits_at - now)


def let_out(breaker: Breaker, now: float) -> Breaker:
    """An attempt starts. In half open it is the trial; otherwise, and where one is out already, the same object."""
    if breaker.admits_at is None or now < breaker.admits_at:
        return breaker
    return replace(breaker, trial=now, admits_at=now + breaker.open_seconds)


def step(breaker: Breaker, event: Event, rule: BreakerRule, started: float, now: float) -> Breaker:
    """The breaker after an event; the same object where it changes nothing.

    `started` is when the attempt started: for a trial the `now` that `let_out` was given, for a check its own start.
    """
    if event is Event.SUCCESS and breaker.admits_at is None and not breaker.failures:
        return breaker  # nearly every request ends here
    return _STEPS[phase(breaker, now), event](breaker, rule, started, now)


_Step: TypeAlias = Callable[[Breaker, BreakerRule, float, float], Breaker]


def _same(breaker: Breaker, rule: BreakerRule, started: float, now: float) -> Breaker:
    return breaker


def _close(breaker: Breaker, rule: BreakerRule, started: float, now: float) -> Breaker:
    if breaker.admits_at is None and not breaker.failures:
        return breaker
    # What is still to fail together with the last failure counts for nothing after a success, too.
    return Breaker(counted_at=breaker.counted_at)


def _count(breaker: Breaker, rule: BreakerRule, started: float, now: float) -> Breaker:
    # A process that dies takes all attempts in flight with it: that is one failure, not fifty.
    if started <= breaker.counted_at:
        return breaker
    failures = breaker.failures + 1
    if failures < rule.failures:
        return Breaker(failures, counted_at=now)
    return _opened(failures, rule, now)


def _reopen(breaker: Breaker, rule: BreakerRule, started: float, now: float) -> Breaker:
    if started <= breaker.counted_at:
        return breaker  # it started before the breaker opened, so it is not the trial
    return _opened(breaker.failures + 1, rule, now)


def _take_back(breaker: Breaker, rule: BreakerRule, started: float, now: float) -> Breaker:
    if breaker.trial is None or started < breaker.trial:
        return breaker  # an older attempt's end says nothing about the trial
    return replace(breaker, trial=None, admits_at=breaker.trial)


def _opened(failures: int, rule: BreakerRule, now: float) -> Breaker:
    seconds = rule.open_seconds
    return Breaker(failures, counted_at=now, admits_at=now + seconds, open_seconds=seconds)


_STEPS: dict[tuple[Phase, Event], _Step] = {
    (Phase.CLOSED, Event.SUCCESS): _close,
    (Phase.CLOSED, Event.FAILURE): _count,
    (Phase.CLOSED, Event.NEUTRAL): _same,
    (Phase.CLOSED, Event.RECOVERED): _close,
    (Phase.OPEN, Event.SUCCESS): _close,
    (Phase.OPEN, Event.FAILURE): _same,  # it will not be asked any less
    (Phase.OPEN, Event.NEUTRAL): _same,
    (Phase.OPEN, Event.RECOVERED): _close,
    (Phase.HALF_OPEN, Event.SUCCESS): _close,
    (Phase.HALF_OPEN, Event.FAILURE): _reopen,
    (Phase.HALF_OPEN, Event.NEUTRAL): _take_back,
    (Phase.HALF_OPEN, Event.RECOVERED): _close,
}
