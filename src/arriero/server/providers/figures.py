"""`/metrics` as ollama-proxy documents it: a list of points, statistics, and the time, as JSON.

A point is a number of this moment, not a sample of one request: by path of the API, and by provider. Percentiles are of
the latest good answers of the models that were asked for last; `requests_per_second` is the mean since the start;
`error_counts` is of failed requests, by the type of their error. The sizes of requests are not counted, and `null`. Who
gets the text form instead stands in `accept`, and what that holds in the module of `/internal/metrics`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

from arriero.errors import Blame
from arriero.gateway.counts import Count, percentile
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.server.accept import wants_text
from arriero.server.providers.reading import Reading, Readings
from arriero.server.providers.shapes import Shape, answer
from arriero.server.routes import GET_HEAD, Handler, Route

MAX_TIMES = 10_000
"""Response times of which percentiles are made."""

_FAILURES = frozenset({Blame.GATEWAY.value, Blame.BACKEND.value})
"""Whose errors make a request a failed one."""

_CATEGORIES = (("excellent", 100.0, 99.0), ("good", 500.0, 95.0), ("acceptable", 1000.0, 90.0), ("poor", 5000.0, 80.0))
"""The code's words: below so many milliseconds on average, and above this percentage of successes."""

WORST = "critical"


class Figures:
    """The handler, and its route. `text` answers those who want Prometheus's text; `started` is unix time."""

    def __init__(self, roster: Roster, tally: Tally, *, started: float, text: Handler) -> None:
        self._roster = roster
        self._tally = tally
        self._started = started
        self._text = text
        self._readings = Readings(roster, tally)
        self.routes: Sequence[Route] = (Route("/metrics", GET_HEAD, self.metrics),)

    async def metrics(self, inbound: Inbound, lane: Lane) -> None:
        """JSON, or the text where the client prefers it."""
        if wants_text(inbound.get(b"accept")):
            rest = self._text(inbound, lane)
            if rest is not None:
                await rest
            return
        now = self._roster.wall()
        told = {"metrics": list(self._points(now)), "statistics": self._statistics(now), "timestamp": now}
        answer(lane, told, more=((b"vary", b"Accept"),))

    def _points(self, now: float) -> Iterable[Shape]:
        for path, count in self._tally.paths.items():
            yield from _of_path(path, count, now)
        for one in self._readings.all():
            yield from _of_provider(one, now)

    def _statistics(self, now: float) -> Shape:
        seconds = now - self._started
        times = self._times()
        errors: dict[str, int] = {}
        for (type, blame), n in self._tally.trouble.errors.items():
            if blame in _FAILURES:
                errors[type] = errors.get(type, 0) + n
        return {
            "global": {**_statistics(self._tally.total, seconds), **_percentiles(times), "error_counts": errors},
            "by_endpoint": {path: _statistics(count, seconds) for path, count in self._tally.paths.items()},
        }

    def _times(self) -> Sequence[float]:
        """Of the models that were asked for last, as many as are looked at."""
        latest = sorted(self._tally.models.values(), key=lambda count: -(count.last_at or 0.0))
        return list(islice(chain.from_iterable(count.recent_ms for count in latest), MAX_TIMES))


def _of_path(path: str, count: Count, now: float) -> Iterable[Shape]:
    labels = {"endpoint": path}
    yield _point("request_total", count.requests, labels, now, "counter")
    yield _point("request_success_total", count.successes, labels, now, "counter")
    yield _point("request_error_total", count.failures, labels, now, "counter")
    yield from _times_of("request_duration_ms", count.average_ms, count.min_ms, count.max_ms, labels, now)


def _of_provider(one: Reading, now: float) -> Iterable[Shape]:
    labels = {"provider": one.name, "type": one.type}
    yield _point("provider_healthy", int(one.healthy), labels, now, "gauge")
    yield _point("provider_request_total", one.requests, labels, now, "counter")
    yield _point("provider_error_total", one.failures, labels, now, "counter")
    yield _point("provider_in_flight", one.in_flight, labels, now, "gauge")
    yield from _times_of("provider_response_time_ms", one.average_ms, one.min_ms, one.max_ms, labels, now)


def _times_of(
    name: str, average: float | None, least: float | None, most: float | None, labels: Mapping[str, str], now: float
) -> Iterable[Shape]:
    """Three points, none before the first good answer."""
    for word, value in (("average", average), ("min", least), ("max", most)):
        if value is not None:
            yield _point(name, value, {**labels, "statistic": word}, now, "gauge")


def _point(name: str, value: float, labels: Mapping[str, str], now: float, type: str) -> Shape:
    return {"name": name, "value": value, "labels": labels, "timestamp": now, "type": type}


def _statistics(count: Count, seconds: float) -> Shape:
    rate = None if count.success is None else count.success * 100
    return {
        "total_requests": count.requests,
        "successful_requests": count.successes,
        "failed_requests": count.failures,
        "success_rate": rate,
        "average_duration_ms": count.average_ms,
        "min_duration_ms": count.min_ms,
        "max_duration_ms": count.max_ms,
        **_percentiles(()),
        "requests_per_second": count.requests / seconds if seconds > 0 else None,
        "total_request_bytes": None,
        "total_response_bytes": count.received_bytes,
        "error_counts": None,
        "performance_category": _category(count.average_ms, rate),
    }


def _percentiles(times: Sequence[float]) -> Shape:
    """In a single path's statistics they are not known."""
    return {f"p{share}_duration_ms": percentile(times, share / 100) for share in (50, 95, 99)}


def _category(average_ms: float | None, success: float | None) -> str | None:
    if average_ms is None or success is None:
        return None
    return next((word for word, most, least in _CATEGORIES if average_ms < most and success > least), WORST)
