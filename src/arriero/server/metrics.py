"""`/internal/metrics`: the counts and the fleet's state as Prometheus reads them, under Olla's names and under our own.

A series exists where its fact is known: a rate before any traffic is absent, not 0. Models become labels only where the
catalog knows them, and no more than `MAX_MODELS` do, so that no client can make the answer grow.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Protocol

import arriero
from arriero.backends.http.call import Headers
from arriero.errors import ArrieroError
from arriero.gateway.counts import BOUNDS, BackendCount, Histogram, ModelCount, percentile
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Phase, phase
from arriero.routing.fleet import State
from arriero.routing.names import Names
from arriero.server.olla.formats import HOUR, security_word, system_word
from arriero.server.routes import Route

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MAX_MODELS = 200
"""Models that have series of their own: those that were asked for most."""

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_GET_HEAD = ("GET", "HEAD")
_SYSTEM = {"healthy": 2, "degraded": 1, "critical": 0}

Rows = Iterable[tuple[Sequence[str], float | None]]
"""Label values and the value; `None` is not known, and leaves no sample."""


class Waiting(Protocol):
    """What is read of the queue."""

    @property
    def waiting(self) -> int: ...


class Fleet(Protocol):
    """What is read of the roster."""

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def names(self) -> Names: ...

    @property
    def queue(self) -> Waiting: ...

    @property
    def wall(self) -> Callable[[], float]: ...

    @property
    def clock(self) -> Callable[[], float]: ...


class Metrics:
    """The handler, and its route. `started` is unix time; `policy` is the word of `routing.policy`."""

    def __init__(self, roster: Fleet, tally: Tally, *, started: float, policy: str) -> None:
        self._roster = roster
        self._tally = tally
        self._started = started
        self._policy = policy
        self.routes: Sequence[Route] = (Route("/internal/metrics", _GET_HEAD, self.metrics),)

    async def metrics(self, inbound: Inbound, lane: Lane) -> None:
        """In OpenMetrics for a client that names it, else in the text format 0.0.4."""
        await asyncio.to_thread(_load)  # at the first scrape it takes as long as a hundred requests
        asked = b"application/openmetrics-text" in (inbound.get(b"accept") or b"").lower()
        families: list[Metric] = []
        for family in self.families():
            families.append(family)
            await asyncio.sleep(0)  # a large fleet takes a while, in which streams want to go on
        body = await asyncio.to_thread(_written, families, openmetrics=asked)
        headers: Headers = ((b"content-type", OPENMETRICS if asked else TEXT), (b"vary", b"Accept"))
        reply(lane, 200, headers, body)

    def families(self) -> Iterator["Metric"]:
        """Everything. Each family is of one moment; what changes between two of them is seen by the later one."""
        tally, entries = self._tally, self._roster.entries
        counts = {name: tally.backends.get(name) or BackendCount() for name in entries}
        counts |= tally.backends  # those that have left the fleet since
        models = self._models()
        now = self._roster.wall()
        yield from self._system(now)
        yield from self._security(now)
        yield from _endpoints(entries, counts)
        yield from _all_models(tally.models.values(), now)
        yield from _each_model(models)
        yield from _of_backends(counts, tally.unplaced, models)
        yield from self._states(entries)

    def _models(self) -> list[tuple[str, ModelCount]]:
        ordered = sorted(self._tally.models.items(), key=lambda item: (-item[1].requests, item[0]))
        return [(_label(name), count) for name, count in islice(filter(self._is_known, ordered), MAX_MODELS)]

    def _is_known(self, item: tuple[str, ModelCount]) -> bool:
        try:
            return bool(self._roster.names.resolve(item[0]))
        except ArrieroError:
            return False

    # ---- Olla's: the whole -----------------------------------------------------------------------------------------

    def _system(self, now: float) -> Iterator["Metric"]:
        total, entries = self._tally.total, self._roster.entries.values()
        healthy = sum(entry.state is State.HEALTHY for entry in entries)
        word = system_word(healthy, len(entries), total.success)
        traffic = sum(count.received_bytes for count in self._tally.backends.values())
        build = (arriero.__version__, "", "arriero", "", self._policy)
        labels = ("version", "commit", "engine", "profile", "balancer")
        yield _gauge("olla_info", "Build and configuration", [(build, 1)], labels)
        yield _gauge("olla_system_status", "2 healthy, 1 degraded, 0 critical", [((), _SYSTEM[word])])
        yield _gauge("olla_endpoints_total", "Backends in the configuration", [((), len(entries))])
        yield _gauge("olla_endpoints_healthy", "Backends whose last check was good", [((), healthy)])
        yield _gauge("olla_success_rate_percent", "Requests that did not fail", [((), _percent(total.success))])
        yield _gauge("olla_avg_latency_ms", "Mean time of a good answer", [((), total.average_ms)])
        yield _gauge("olla_total_traffic_bytes", "Bytes that backends answered", [((), traffic)])
        yield _gauge("olla_uptime_seconds", "Since the start", [((), now - self._started)])
        busy = sum(entry.in_flight for entry in entries)
        yield _gauge("olla_active_connections", "Requests that backends work on", [((), busy)])
        yield _counter("olla_requests_total", "Requests", [((), total.requests)])
        yield _counter("olla_failures_total", "Requests that failed", [((), total.failures)])

    def _security(self, now: float) -> Iterator["Metric"]:
        security = self._tally.security
        addresses = security.addresses(now)
        normal = security_word(security.violations, addresses) == "normal"
        name = "olla_security_"
        yield _counter(f"{name}violations_total", "Requests over a limit", [((), security.violations)])
        yield _gauge(f"{name}blocked_ips", "Addresses over a rate limit in the last hour", [((), addresses)])
        yield _counter(
            f"{name}rate_limit_violations_total", "Requests over a rate limit", [((), security.rate_limited)]
        )
        yield _counter(f"{name}size_limit_violations_total", "Requests that were too large", [((), security.too_large)])
        yield _gauge(f"{name}status", "1 normal, 0 elevated", [((), normal)])

    # ---- ours: what is not a count ---------------------------------------------------------------------------------

    def _states(self, entries: Mapping[str, Entry]) -> Iterator["Metric"]:
        now, pairs = self._roster.clock(), entries.items()
        at = ("backend",)
        yield _gauge(
            "arriero_in_flight", "Leases that are out", [((name,), entry.in_flight) for name, entry in pairs], at
        )
        yield _gauge("arriero_queue_waiting", "Requests that wait for a place", [((), self._roster.queue.waiting)])
        yield _gauge(
            "arriero_breaker_state",
            "1 for the state that the breaker is in",
            [((name, state.value), phase(entry.breaker, now) is state) for name, entry in pairs for state in Phase],
            ("backend", "state"),
        )
        yield _gauge(
            "arriero_backend_state",
            "1 for the state that the backend is in",
            [((name, state.value), entry.state is state) for name, entry in pairs for state in State],
            ("backend", "state"),
        )
        yield _gauge(
            "arriero_models",
            "Models that the backend lists",
            [((name,), len(entry.cards)) for name, entry in pairs],
            at,
        )


# ---- Olla's: endpoints and models ----------------------------------------------------------------------------------


def _endpoints(entries: Mapping[str, Entry], counts: Mapping[str, BackendCount]) -> Iterator["Metric"]:
    pairs = [(name, entry, counts[name]) for name, entry in entries.items()]
    name_of = "olla_endpoint_"
    at = ("endpoint",)
    yield _gauge(
        f"{name_of}up",
        "1 if the last check was good",
        [((name, entry.state.value), entry.state is State.HEALTHY) for name, entry, _ in pairs],
        ("endpoint", "status"),
    )
    yield _counter(
        f"{name_of}requests_total", "Attempts on the backend", [((name,), c.requests) for name, _, c in pairs], at
    )
    yield _gauge(
        f"{name_of}connections",
        "Requests that it works on",
        [((name,), entry.in_flight) for name, entry, _ in pairs],
        at,
    )
    yield _gauge(
        f"{name_of}success_rate_percent",
        "Attempts that did not fail",
        [((name,), _percent(c.success)) for name, _, c in pairs],
        at,
    )
    yield _gauge(
        f"{name_of}avg_latency_ms", "Mean time of a good answer", [((name,), c.average_ms) for name, _, c in pairs], at
    )
    yield _untyped(
        f"{name_of}traffic_bytes", "Bytes that it answered", [((name,), c.received_bytes) for name, _, c in pairs], at
    )
    yield _gauge(f"{name_of}priority", "Its priority", [((name,), entry.seat.priority) for name, entry, _ in pairs], at)
    yield _gauge(
        f"{name_of}models_count", "Models that it lists", [((name,), len(entry.cards)) for name, entry, _ in pairs], at
    )


def _all_models(models: Iterable[ModelCount], now: float) -> Iterator["Metric"]:
    counts = list(models)
    active = sum(count.last_at is not None and count.last_at > now - HOUR for count in counts)
    requests = sum(count.requests for count in counts)
    failures = sum(count.failures for count in counts)
    ended = requests - sum(count.gone for count in counts)
    traffic = sum(count.received_bytes for count in counts)
    success = (ended - failures) / ended if ended else None
    yield _gauge("olla_models_total", "Models that were asked for", [((), len(counts))])
    yield _gauge("olla_models_active", "Models that were asked for in the last hour", [((), active)])
    yield _counter("olla_models_requests_total", "Requests for models", [((), requests)])
    yield _gauge("olla_models_success_rate_percent", "Requests that did not fail", [((), _percent(success))])
    yield _untyped("olla_models_traffic_bytes", "Bytes that backends answered", [((), traffic)])


_Value = Callable[[ModelCount], float | None]

_COUNTED: tuple[tuple[str, str, _Value], ...] = (
    ("requests_total", "Requests", lambda count: count.requests),
    ("successful_requests_total", "Requests that ended as they should", lambda count: count.successes),
    ("failed_requests_total", "Requests that failed", lambda count: count.failures),
    ("routing_hits_total", "Requests that took one attempt", lambda count: count.hits),
    ("routing_misses_total", "Requests that took more, or found no backend", lambda count: count.misses),
    (
        "routing_fallbacks_total",
        "Requests that went to another model or an unlisted one",
        lambda count: count.fallbacks,
    ),
)
_GAUGED: tuple[tuple[str, str, _Value], ...] = (
    ("success_rate_percent", "Requests that did not fail", lambda count: _percent(count.success)),
    ("avg_latency_ms", "Mean time of a good answer", lambda count: count.average_ms),
    ("p95_latency_ms", "Time of 95 in 100 good answers", lambda count: percentile(count.recent_ms, 0.95)),
    ("p99_latency_ms", "Time of 99 in 100 good answers", lambda count: percentile(count.recent_ms, 0.99)),
    ("unique_clients", "Clients that asked for it", lambda count: len(count.clients)),
)


def _each_model(models: Sequence[tuple[str, ModelCount]]) -> Iterator["Metric"]:
    at = ("model",)
    for name, text, value in _COUNTED:
        yield _counter(f"olla_model_{name}", text, [((model,), value(count)) for model, count in models], at)
    for name, text, value in _GAUGED:
        yield _gauge(f"olla_model_{name}", text, [((model,), value(count)) for model, count in models], at)
    traffic = [((model,), count.received_bytes) for model, count in models]
    yield _untyped("olla_model_traffic_bytes", "Bytes that backends answered", traffic, at)
    pairs = [((model, backend), pair) for model, count in models for backend, pair in count.backends.items()]
    both_of = ("model", "endpoint")
    name = "olla_model_endpoint_"
    yield _counter(f"{name}requests_total", "Requests", [(both, pair.requests) for both, pair in pairs], both_of)
    rates = [(both, _percent(pair.success)) for both, pair in pairs]
    yield _gauge(f"{name}success_rate_percent", "Requests that did not fail", rates, both_of)
    means = [(both, pair.average_ms) for both, pair in pairs]
    yield _gauge(f"{name}avg_latency_ms", "Mean time of a good answer", means, both_of)
    in_row = [(both, pair.failures_in_row) for both, pair in pairs]
    yield _gauge(f"{name}consecutive_errors", "Failures since the last success", in_row, both_of)


# ---- ours: counts --------------------------------------------------------------------------------------------------


def _of_backends(
    counts: Mapping[str, BackendCount], unplaced: BackendCount, models: Sequence[tuple[str, ModelCount]]
) -> Iterator["Metric"]:
    pairs = counts.items()
    yield _counter(
        "arriero_requests_total",
        "Requests by the backend that had them last (none: empty) and by what the client was told",
        [((name, word), n) for name, count in (*pairs, ("", unplaced)) for word, n in count.statuses.items()],
        ("backend", "status_class"),
    )
    yield _counter(
        "arriero_attempts_total",
        "Attempts by how they ended",
        [((name, word), n) for name, count in pairs for word, n in count.results.items()],
        ("backend", "result"),
    )
    yield _counter(
        "arriero_tokens_total",
        "Tokens, where the backend told",
        [((name, way), n) for name, count in pairs for way, n in _tokens(count)],
        ("backend", "direction"),
    )
    yield _counter(
        "arriero_model_tokens_total",
        "Tokens, where the backend told",
        [((model, way), n) for model, count in models for way, n in _tokens(count)],
        ("model", "direction"),
    )
    yield _histogram(
        "arriero_first_byte_seconds",
        "From the request's arrival to the first byte of its answer",
        [(name, count.first_byte) for name, count in pairs],
    )
    yield _histogram(
        "arriero_request_seconds",
        "From the request's arrival to the end of its answer",
        [(name, count.seconds) for name, count in pairs],
    )


def _tokens(count: BackendCount | ModelCount) -> tuple[tuple[str, int], ...]:
    return (("input", count.prompt_tokens), ("output", count.completion_tokens))


# ---- the library's shapes ------------------------------------------------------------------------------------------


def _load() -> None:
    import prometheus_client  # noqa: F401


def _gauge(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(name, text, labels=labels), rows, labels, name)


def _counter(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(name, text, labels=labels), rows, labels, name)


def _untyped(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    """Olla's counters whose names do not end in `_total`: OpenMetrics knows none, and the names have to stay."""
    from prometheus_client.core import UnknownMetricFamily

    return _filled(UnknownMetricFamily(name, text, labels=labels), rows, labels, name)


def _filled(family: "Metric", rows: Rows, labels: Sequence[str], sample: str) -> "Metric":
    for values, value in rows:
        if value is not None:
            family.add_sample(sample, dict(zip(labels, values, strict=True)), float(value))
    return family


def _histogram(name: str, text: str, rows: Iterable[tuple[str, Histogram]]) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=("backend",))
    bounds = [*map(str, BOUNDS), "+Inf"]
    for backend, histogram in rows:
        below = list(zip(bounds, accumulate(histogram.buckets), strict=True))
        family.add_metric((backend,), below, histogram.total)
    return family


def _written(families: Iterable["Metric"], *, openmetrics: bool) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.openmetrics import exposition

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    if openmetrics:
        return bytes(exposition.generate_latest(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Gathered:
    """What was collected on the loop, before a thread writes it."""

    def __init__(self, families: Iterable["Metric"]) -> None:
        self._families = families

    def describe(self) -> Iterable["Metric"]:
        """Nothing: the registry is used once, and no name can meet another."""
        return ()

    def collect(self) -> Iterable["Metric"]:
        """All of it."""
        return self._families


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else ratio * 100


def _label(name: str) -> str:
    """Names that are no text in UTF-8 have to be, here."""
    return name.encode("utf-8", "backslashreplace").decode()
