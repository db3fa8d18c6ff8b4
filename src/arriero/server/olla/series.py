"""The counts and the fleet's state under the names of Olla's series: dashboards that read Olla go on with them.

The names are Olla's and stay, though a linter has complaints: times in milliseconds, gauges that end in `_total` or
`_count`. What is told beyond them has names of its own, in `server/series.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import arriero
from arriero.gateway.counts import BackendCount, ModelCount, percentile, summed
from arriero.gateway.entry import Entry
from arriero.gateway.tally import Tally
from arriero.routing.fleet import State
from arriero.server.exposition import counter, gauge, untyped
from arriero.server.olla.formats import HOUR, security_word, system_word
from arriero.server.series import Facts

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_SYSTEM = {"healthy": 2, "degraded": 1, "critical": 0}


def families(facts: Facts) -> Iterator["Metric"]:
    """Everything. Each family is of one moment; what changes between two of them is seen by the later one."""
    yield from _system(facts)
    yield from _security(facts.tally, facts.wall)
    yield from _endpoints(facts.entries, facts.counts)
    yield from _all_models(facts.tally.models.values(), facts.wall)
    yield from _each_model(facts.models)


# ---- the whole -----------------------------------------------------------------------------------------------------


def _system(facts: Facts) -> Iterator["Metric"]:
    total, entries = facts.tally.total, facts.entries.values()
    healthy = sum(entry.state is State.HEALTHY for entry in entries)
    word = system_word(healthy, len(entries), total.success)
    traffic = sum(count.received_bytes for count in facts.tally.backends.values())
    build = (arriero.__version__, "", "arriero", "", facts.policy)
    labels = ("version", "commit", "engine", "profile", "balancer")
    yield gauge("olla_info", "Build and configuration", [(build, 1)], labels)
    yield gauge("olla_system_status", "2 healthy, 1 degraded, 0 critical", [((), _SYSTEM[word])])
    yield gauge("olla_endpoints_total", "Backends in the configuration", [((), len(entries))])
    yield gauge("olla_endpoints_healthy", "Backends whose last check was good", [((), healthy)])
    yield gauge("olla_success_rate_percent", "Requests that did not fail", [((), _percent(total.success))])
    yield gauge("olla_avg_latency_ms", "Mean time of a good answer", [((), total.average_ms)])
    yield gauge("olla_total_traffic_bytes", "Bytes that backends answered", [((), traffic)])
    yield gauge("olla_uptime_seconds", "Since the start", [((), facts.wall - facts.started)])
    busy = sum(entry.in_flight for entry in entries)
    yield gauge("olla_active_connections", "Requests that backends work on", [((), busy)])
    yield counter("olla_requests_total", "Requests", [((), total.requests)])
    yield counter("olla_failures_total", "Requests that failed", [((), total.failures)])


def _security(tally: Tally, now: float) -> Iterator["Metric"]:
    security = tally.security
    addresses = security.addresses(now)
    normal = security_word(security.violations, addresses) == "normal"
    name = "olla_security_"
    yield counter(f"{name}violations_total", "Requests over a limit", [((), security.violations)])
    yield gauge(f"{name}blocked_ips", "Addresses over a rate limit in the last hour", [((), addresses)])
    yield counter(f"{name}rate_limit_violations_total", "Requests over a rate limit", [((), security.rate_limited)])
    yield counter(f"{name}size_limit_violations_total", "Requests that were too large", [((), security.too_large)])
    yield gauge(f"{name}status", "1 normal, 0 elevated", [((), normal)])


# ---- endpoints and models ------------------------------------------------------------------------------------------


def _endpoints(entries: Mapping[str, Entry], counts: Mapping[str, BackendCount]) -> Iterator["Metric"]:
    pairs = [(name, entry, counts[name]) for name, entry in entries.items()]
    name_of = "olla_endpoint_"
    at = ("endpoint",)
    yield gauge(
        f"{name_of}up",
        "1 if the last check was good",
        [((name, entry.state.value), entry.state is State.HEALTHY) for name, entry, _ in pairs],
        ("endpoint", "status"),
    )
    yield counter(
        f"{name_of}requests_total", "Attempts on the backend", [((name,), c.requests) for name, _, c in pairs], at
    )
    yield gauge(
        f"{name_of}connections",
        "Requests that it works on",
        [((name,), entry.in_flight) for name, entry, _ in pairs],
        at,
    )
    yield gauge(
        f"{name_of}success_rate_percent",
        "Attempts that did not fail",
        [((name,), _percent(c.success)) for name, _, c in pairs],
        at,
    )
    yield gauge(
        f"{name_of}avg_latency_ms", "Mean time of a good answer", [((name,), c.average_ms) for name, _, c in pairs], at
    )
    yield untyped(
        f"{name_of}traffic_bytes", "Bytes that it answered", [((name,), c.received_bytes) for name, _, c in pairs], at
    )
    yield gauge(f"{name_of}priority", "Its priority", [((name,), entry.seat.priority) for name, entry, _ in pairs], at)
    yield gauge(
        f"{name_of}models_count", "Models that it lists", [((name,), len(entry.cards)) for name, entry, _ in pairs], at
    )


def _all_models(models: Iterable[ModelCount], now: float) -> Iterator["Metric"]:
    counts = list(models)
    whole = summed(counts)
    active = sum(count.last_at is not None and count.last_at > now - HOUR for count in counts)
    yield gauge("olla_models_total", "Models that were asked for", [((), len(counts))])
    yield gauge("olla_models_active", "Models that were asked for in the last hour", [((), active)])
    yield counter("olla_models_requests_total", "Requests for models", [((), whole.requests)])
    yield gauge("olla_models_success_rate_percent", "Requests that did not fail", [((), _percent(whole.success))])
    yield untyped("olla_models_traffic_bytes", "Bytes that backends answered", [((), whole.received_bytes)])


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
        yield counter(f"olla_model_{name}", text, [((model,), value(count)) for model, count in models], at)
    for name, text, value in _GAUGED:
        yield gauge(f"olla_model_{name}", text, [((model,), value(count)) for model, count in models], at)
    traffic = [((model,), count.received_bytes) for model, count in models]
    yield untyped("olla_model_traffic_bytes", "Bytes that backends answered", traffic, at)
    pairs = [((model, backend), pair) for model, count in models for backend, pair in count.backends.items()]
    both_of = ("model", "endpoint")
    name = "olla_model_endpoint_"
    yield counter(f"{name}requests_total", "Requests", [(both, pair.requests) for both, pair in pairs], both_of)
    rates = [(both, _percent(pair.success)) for both, pair in pairs]
    yield gauge(f"{name}success_rate_percent", "Requests that did not fail", rates, both_of)
    means = [(both, pair.average_ms) for both, pair in pairs]
    yield gauge(f"{name}avg_latency_ms", "Mean time of a good answer", means, both_of)
    in_row = [(both, pair.failures_in_row) for both, pair in pairs]
    yield gauge(f"{name}consecutive_errors", "Failures since the last success", in_row, both_of)


def _percent(ratio: float | None) -> float | None:
    """A share between 0 and 1 as Olla's clients read it."""
    return None if ratio is None else ratio * 100
