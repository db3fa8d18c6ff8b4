"""Deadlines of many open answers, watched by one timer: a tick looks at all of them, no answer has a timer of its own.

Also drops parked (idle) connections that nobody has taken for too long. No sockets here: what is watched is told of an
expiry and closes itself.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Generic, Protocol, TypeVar

from arriero.backends.http.call import Timeouts

LONGEST_TICK = 1.0
_SHORTEST_TICK = 0.005


class Phase(Enum):
    """What an open answer waits for, hence which deadline runs."""

    HELD = "held"
    """Nothing of the backend: the reader or the request's own source is slow. Only `total` runs."""
    SENDING = "sending"
    """The backend has to take more of the request: `idle` runs."""
    WAITING = "waiting"
    """The request is out, no head has come: `first_byte` runs."""
    ANSWERING = "answering"
    """The head has come: `idle` runs."""


class Watched(Protocol):
    """An open answer. The sweep owns `since`; the answer sets `touched` at a sign of life, without reading a clock."""

    timeouts: Timeouts
    started: float
    since: float
    touched: bool

    def phase(self) -> Phase: ...

    def expire(self, what: str) -> None:
        """The deadline is over; `what` completes a sentence that begins with the backend's name."""


class Parked(Protocol):
    """An idle connection."""

    parked_at: float

    def close(self) -> None: ...


ParkedT = TypeVar("ParkedT", bound=Parked)


class Sweep(Generic[ParkedT]):
    """The set of open answers and the list of parked connections (oldest first) under one tick.

    A tick comes each second, or twice within the smallest timeout that is watched, whichever is shorter. An expiry is
    seen at most two ticks late and never early. Nothing ticks while nothing is watched.
    """

    __slots__ = ("_clock", "_handle", "_idle_seconds", "_tick", "open", "parked")

    def __init__(self, *, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.open: set[Watched] = set()
        self.parked: list[ParkedT] = []
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._tick = LONGEST_TICK
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, answer: Watched, tick: float = LONGEST_TICK) -> None:
        """`tick` is `tick_for(answer.timeouts)`; the caller knows it, since many answers share their timeouts."""
        self.open.add(answer)
        if self._handle is None:
            self._start(tick)
        elif tick < self._tick:
            self._handle.cancel()
            self._start(tick)

    def forget(self, answer: Watched) -> None:
        """The answer has ended. The timer is left to find the set empty by itself: cheaper than a cancel a request."""
        self.open.discard(answer)

    def stop(self) -> None:
        """No tick comes any more until the next `watch`."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def ticking(self) -> bool:
        return self._handle is not None

    def check(self, now: float) -> None:
        """One look at everything. Split from the timer so that time can be given."""
        for answer in tuple(self.open):
            if answer in self.open:  # An expiry before it may have ended others.
                _check(answer, now)
        parked = self.parked
        while parked and now - parked[0].parked_at >= self._idle_seconds:
            parked.pop(0).close()

    def _start(self, tick: float) -> None:
        self._tick = tick
        self._handle = asyncio.get_running_loop().call_later(tick, self._on_tick)

    def _on_tick(self) -> None:
        self._handle = None
        try:
            self.check(self._clock())
        finally:  # A receiver that raises, against its contract, must not stop the clock of all others.
            self._go_on()

    def _go_on(self) -> None:
        ticks = [tick_for(answer.timeouts) for answer in self.open]
        if self.parked:
            ticks.append(max(_SHORTEST_TICK, min(LONGEST_TICK, self._idle_seconds / 2)))
        # An expiry's callback may have watched something new, and so started the timer already.
        if ticks and self._handle is None:
            self._start(min(ticks))


def tick_for(timeouts: Timeouts) -> float:
    """Seconds between ticks that see these timeouts in time."""
    given = [t for t in (timeouts.first_byte, timeouts.idle, timeouts.total) if t is not None]
    return max(_SHORTEST_TICK, min(LONGEST_TICK, min(given) / 2)) if given else LONGEST_TICK


def _check(answer: Watched, now: float) -> None:
    timeouts = answer.timeouts
    total = timeouts.total
    if total is not None and now - answer.started >= total:
        answer.expire(f"did not finish its answer within {total:g} s")
        return
    phase = answer.phase()
    if answer.touched or phase is Phase.HELD:
        answer.touched = False
        answer.since = now
    elif phase is Phase.WAITING:
        limit = timeouts.first_byte
        if limit is not None and now - answer.since >= limit:
            answer.expire(f"did not begin its answer within {limit:g} s")
    else:
        limit = timeouts.idle
        if limit is not None and now - answer.since >= limit:
            verb = "sent nothing" if phase is Phase.ANSWERING else "took nothing of the request"
            answer.expire(f"{verb} for {limit:g} s")
