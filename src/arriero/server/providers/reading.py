"""What is known of one provider at one moment, or of several as one: plain values, in no page's words.

A provider is a backend; a word that means several is read as their sum. Requests of a provider are attempts on it,
those that another one saved among them. Nothing here asks a backend anything.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from arriero.canonical.catalog import Capability
from arriero.errors import BackendOverloaded, BackendTimeout, BackendUnauthorized, BackendUnreachable
from arriero.gateway.counts import BackendCount
from arriero.gateway.entry import Entry, Failure
from arriero.gateway.providers import type_of
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Phase, phase, remaining
from arriero.routing.names import Names

_TELLING = (BackendUnreachable, BackendTimeout, BackendUnauthorized, BackendOverloaded)
"""Failures whose sentence is about the backend. Others may repeat what somebody has asked, and everybody reads here."""

_MILDEST = (Phase.CLOSED, Phase.HALF_OPEN, Phase.OPEN)


class Reading(Struct, frozen=True, kw_only=True):
    """One provider, or several. Times that end in `_at` are unix time, `None` for never; milliseconds are those of good
    answers, `None` where there was none. `models` are those that clients see.

    `trouble`: why it is not healthy, in a sentence. `failure`: the last attempt that failed, in a sentence. `check_ms`:
    how long its last good check took. `timed_out`: its last check got no answer in time.
    """

    name: str
    type: str
    kind: str
    state: str
    healthy: bool
    timed_out: bool
    trouble: str | None
    trouble_type: str | None
    failure: str | None
    priority: int
    requests: int
    failures: int
    gone: int
    answers: int
    total_ms: float
    min_ms: float | None
    max_ms: float | None
    in_flight: int
    breaker: Phase
    failures_in_row: int
    last_failure_at: float | None
    last_at: float | None
    check_at: float | None
    check_ms: float | None
    models: int

    @property
    def successes(self) -> int:
        """Requests that ended as they should."""
        return self.requests - self.failures - self.gone

    @property
    def error_rate(self) -> float | None:
        """Failures among all requests, between 0 and 1; `None` before the first."""
        return self.failures / self.requests if self.requests else None

    @property
    def average_ms(self) -> float | None:
        """Of the good answers."""
        return self.total_ms / self.answers if self.answers else None


class Readings:
    """Reads a fleet and its counts."""

    def __init__(self, roster: Roster, tally: Tally) -> None:
        self._roster = roster
        self._tally = tally

    def all(self) -> list[Reading]:
        """Every provider, in configuration order."""
        return self.of(self._roster.entries)

    def of(self, names: Iterable[str]) -> list[Reading]:
        """The providers of these names."""
        entries, counts = self._roster.entries, self._tally.backends
        now, wall = self._roster.clock(), self._roster.wall()
        models = _models_of(self._roster.names)
        return [
            _read(entries[name], counts.get(name) or BackendCount(), models.get(name, 0), now, wall) for name in names
        ]

    def together(self, word: str, names: Sequence[str]) -> Reading:
        """Several as one, which the word means; a single one as it is. There has to be one."""
        parts = self.of(names)
        return parts[0] if len(parts) == 1 else _sum(word, parts, _distinct(self._roster.names, frozenset(names)))

    def capabilities(self, names: Sequence[str]) -> frozenset[Capability] | None:
        """What any of their models can do; `None` where nobody told of any of them."""
        meant = frozenset(names)
        told = {
            offer.card.capabilities
            for offers in self._roster.names.models.values()
            for offer in offers
            if offer.backend in meant and offer.card.capabilities is not None
        }
        return frozenset[Capability]().union(*told) if told else None


def _models_of(names: Names) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for offers in names.models.values():
        for offer in offers:
            found[offer.backend] = found.get(offer.backend, 0) + 1
    return found


def _distinct(names: Names, backends: frozenset[str]) -> int:
    return sum(any(offer.backend in backends for offer in offers) for offers in names.models.values())


def _read(entry: Entry, count: BackendCount, models: int, now: float, wall: float) -> Reading:
    healthy = entry.up(now)
    failure, error = entry.last_failure, entry.error
    return Reading(
        name=entry.backend.name,
        type=type_of(entry),
        kind=entry.backend.kind,
        state=entry.state.value,
        healthy=healthy,
        timed_out=not entry.well and isinstance(error, BackendTimeout),
        trouble=None if healthy else _trouble(entry, now),
        trouble_type=None if healthy or entry.well or error is None else error.type,
        failure=None if failure is None else _sentence(failure),
        priority=entry.seat.priority,
        requests=count.requests,
        failures=count.failures,
        gone=count.gone,
        answers=count.answers,
        total_ms=count.total_ms,
        min_ms=count.min_ms,
        max_ms=count.max_ms,
        in_flight=entry.in_flight,
        breaker=phase(entry.breaker, now),
        failures_in_row=entry.breaker.failures,
        last_failure_at=None if failure is None else failure.at,
        last_at=count.last_at,
        check_at=entry.check_at,
        check_ms=None if entry.check_seconds is None else entry.check_seconds * 1e3,
        models=models,
    )


def _trouble(entry: Entry, now: float) -> str | None:
    """Why nobody is sent there now, the worst first; `None` for one that was not asked yet."""
    told: list[str] = []
    if not entry.well:
        told.append(entry.state.value.replace("_", " ") if entry.error is None else entry.error.message)
    if entry.cooling_until > now:
        told.append(f"it wants to be left alone for {entry.cooling_until - now:.0f} s more")
    match phase(entry.breaker, now):
        case Phase.OPEN:
            told.append(f"circuit breaker open for {remaining(entry.breaker, now):.0f} s more")
        case Phase.HALF_OPEN if entry.breaker.trial is not None:
            told.append("circuit breaker half open, its trial under way")
        case _:
            pass
    return "; ".join(told) or None


def _sentence(failure: Failure) -> str:
    if issubclass(failure.kind, _TELLING):
        return failure.message
    return f"{failure.type}, answered to the client with status {failure.status}"


# ---- several -------------------------------------------------------------------------------------------------------


def _sum(word: str, parts: Sequence[Reading], models: int) -> Reading:
    """Counts are added, and what is best of any of them is theirs: one that serves is enough."""
    best = min(parts, key=lambda part: (not part.healthy, -part.priority))
    types = {part.type for part in parts}
    ill = [part for part in parts if part.trouble is not None]
    return Reading(
        name=", ".join(part.name for part in parts),
        type=types.pop() if len(types) == 1 else word,
        kind=parts[0].kind,
        state=best.state,
        healthy=best.healthy,
        timed_out=best.timed_out,
        trouble="; ".join(f"{part.name}: {part.trouble}" for part in ill) or None,
        trouble_type=best.trouble_type,
        failure=max(parts, key=lambda part: part.last_failure_at or 0.0).failure,
        priority=max(part.priority for part in parts),
        requests=sum(part.requests for part in parts),
        failures=sum(part.failures for part in parts),
        gone=sum(part.gone for part in parts),
        answers=sum(part.answers for part in parts),
        total_ms=sum(part.total_ms for part in parts),
        min_ms=_least(part.min_ms for part in parts),
        max_ms=_most(part.max_ms for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        breaker=min((part.breaker for part in parts), key=_MILDEST.index),
        failures_in_row=min(part.failures_in_row for part in parts),
        last_failure_at=_most(part.last_failure_at for part in parts),
        last_at=_most(part.last_at for part in parts),
        check_at=_most(part.check_at for part in parts),
        check_ms=best.check_ms,
        models=models,
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
