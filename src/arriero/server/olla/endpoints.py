"""What Olla's surface says of one backend, an endpoint in its words: a short name, whether it is up, what ails it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from arriero.gateway.counts import Count
from arriero.gateway.entry import Entry
from arriero.routing.breaker import Phase, phase, remaining
from arriero.routing.fleet import ROUTABLE, State
from arriero.server.olla.formats import endpoint_id, until

_LASTING = frozenset({State.OFFLINE, State.UNHEALTHY, State.CONFIG_ERROR})

MANY_FAILURES = 3
"""Checks that failed in a row: more are worth a word."""

ENOUGH_REQUESTS = 10
"""Fewer requests say nothing about how many succeed."""

LOW_SUCCESS = 0.9
SLOW_MS = 5000.0


class Instant(Struct, frozen=True):
    """When an answer is made: the monotonic clock, and the unix time that it is. Texts are written as they read at
    `told`, unix time.
    """

    now: float
    wall: float
    told: float

    def until(self, moment: float) -> str:
        """When `moment` of the monotonic clock comes, in words."""
        return until(self.wall + moment - self.now, self.told)


def ids(entries: Iterable[Entry]) -> Mapping[str, str]:
    """The short name of each backend, by its name. Backends at one address are told apart by `-2`, `-3`, ..."""
    found: dict[str, str] = {}
    times: dict[str, int] = {}
    for entry in entries:
        id = endpoint_id(entry.backend.where)
        times[id] = times.get(id, 0) + 1
        found[entry.backend.name] = id if times[id] == 1 else f"{id}-{times[id]}"
    return found


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The preferred ones first, among those the healthy ones, then by name."""
    return sorted(
        entries, key=lambda entry: (-entry.seat.priority, entry.state is not State.HEALTHY, entry.backend.name)
    )


def down(entry: Entry) -> bool:
    """Whether it is away for longer than an open breaker or a `Retry-After` lasts."""
    return entry.state in _LASTING


def breaker_word(entry: Entry, now: float) -> str:
    """`closed`, `open` or `half_open`."""
    return phase(entry.breaker, now).value


def issues(entry: Entry, count: Count, instant: Instant) -> str:
    """What an operator has to know, the worst first, in one line; empty where all is well."""
    told = [*_state(entry, instant), *_breaker(entry, instant)]
    if entry.failures > MANY_FAILURES:
        told.append(f"{entry.failures} checks failed in a row")
    share = count.success
    if share is not None and share < LOW_SUCCESS and count.requests > ENOUGH_REQUESTS:
        told.append("low success rate")
    if count.average_ms is not None and count.average_ms > SLOW_MS:
        told.append("high latency")
    return ", ".join(told)


def _state(entry: Entry, instant: Instant) -> Sequence[str]:
    if entry.cooling_until > instant.now:
        return [f"wants to be left alone, next request {instant.until(entry.cooling_until)}"]
    if entry.state not in ROUTABLE:
        word = entry.state.value.replace("_", " ") if entry.state is not State.OFFLINE else "unavailable"
        return [word if entry.error is None else f"{word}: {entry.error.message}"]
    return ["slow to answer its checks"] if entry.state is State.BUSY else []


def _breaker(entry: Entry, instant: Instant) -> Sequence[str]:
    now = instant.now
    match phase(entry.breaker, now):
        case Phase.OPEN:
            return [f"breaker open, next trial {instant.until(now + remaining(entry.breaker, now))}"]
        case Phase.HALF_OPEN:
            return [f"breaker half open, trial {'due' if entry.breaker.trial is None else 'under way'}"]
        case Phase.CLOSED:
            return []


def at(time: float | None) -> datetime | UnsetType:
    """A point in unix time as JSON shows it, left out where it never came."""
    return UNSET if time is None else stamp(time)


def stamp(time: float) -> datetime:
    """A point in unix time as JSON shows it."""
    return datetime.fromtimestamp(time, UTC)
