"""arriero's own series: one table of names, kinds, labels and meanings, each with where its values come from.

A sample exists where its fact is known: a backend that was never checked has no time of a check, not 0. What strangers
choose is no label: models are those that the catalog knows and no more than `metrics.MAX_MODELS`, types of errors no
more than `tally.MAX_ERRORS`. Olla's names for some of the same facts are the affair of `server/olla/series.py`.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, assert_never

from msgspec import Struct

import arriero
from arriero.gateway.counts import BackendCount, Histogram, ModelCount
from arriero.gateway.entry import Entry
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Phase, phase
from arriero.routing.fleet import State
from arriero.routing.names import Names
from arriero.server.exposition import Rows, Times, counter, gauge, histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Waiting(Protocol):
    """What is read of the queue."""

    @property
    def waiting(self) -> int: ...

    @property
    def most(self) -> int: ...


class Facts(Struct, frozen=True):
    """What the values come from. `counts` has every backend, those that have left the fleet too; `models` those that
    have series, by the text of their label. `now` is on the monotonic clock, `wall` and `started` are unix time;
    `policy` is the word of `routing.policy`.
    """

    entries: Mapping[str, Entry]
    counts: Mapping[str, BackendCount]
    models: Sequence[tuple[str, ModelCount]]
    tally: Tally
    names: Names
    queue: Waiting
    now: float
    wall: float
    started: float
    policy: str


Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


class Series(Struct, frozen=True):
    """One name. `rows` are label values, in the order of `labels`, with their value: a number, or a `Histogram`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    rows: Callable[[Facts], Any]


def families(facts: Facts) -> Iterator["Metric"]:
    """Everything. Each family is of one moment; what changes between two of them is seen by the later one."""
    for one in SERIES:
        rows = one.rows(facts)
        match one.kind:
            case "counter":
                yield counter(one.name, one.meaning, rows, one.labels)
            case "gauge":
                yield gauge(one.name, one.meaning, rows, one.labels)
            case "histogram":
                yield histogram(one.name, one.meaning, rows, one.labels)
            case _:
                assert_never(one.kind)


# ---- where values come from ----------------------------------------------------------------------------------------


def _alone(value: Callable[[Facts], float | None]) -> Callable[[Facts], Rows]:
    """One value, without labels."""
    return lambda facts: [((), value(facts))]


def _by_backend(value: Callable[[BackendCount], float]) -> Callable[[Facts], Rows]:
    """A count of each backend."""
    return lambda facts: [((name,), value(count)) for name, count in facts.counts.items()]


def _times(value: Callable[[BackendCount], Histogram]) -> Callable[[Facts], Times]:
    return lambda facts: [((name,), value(count)) for name, count in facts.counts.items()]


def _now(value: Callable[[Entry], float | None]) -> Callable[[Facts], Rows]:
    """What is so now of each backend of the fleet."""
    return lambda facts: [((name,), value(entry)) for name, entry in facts.entries.items()]


def _requests(facts: Facts) -> Rows:
    placed = (*facts.counts.items(), ("", facts.tally.unplaced))
    return [((name, word), n) for name, count in placed for word, n in count.statuses.items()]


def _attempts(facts: Facts) -> Rows:
    return [((name, word), n) for name, count in facts.counts.items() for word, n in count.results.items()]


def _errors(facts: Facts) -> Rows:
    return list(facts.tally.trouble.errors.items())


def _refused(facts: Facts) -> Rows:
    security = facts.tally.security
    return [(("rate_limited",), security.rate_limited), (("too_large",), security.too_large)]


def _tokens(facts: Facts) -> Rows:
    return [((name, way), n) for name, count in facts.counts.items() for way, n in _both_ways(count)]


def _model_tokens(facts: Facts) -> Rows:
    return [((name, way), n) for name, count in facts.models for way, n in _both_ways(count)]


def _both_ways(count: BackendCount | ModelCount) -> tuple[tuple[str, int], ...]:
    return (("input", count.prompt_tokens), ("output", count.completion_tokens))


def _model_requests(facts: Facts) -> Rows:
    return [
        ((name, word), n)
        for name, count in facts.models
        for word, n in (("ok", count.successes), ("failed", count.failures), ("gone", count.gone))
    ]


def _dialect_requests(facts: Facts) -> Rows:
    found: list[tuple[Sequence[str], float]] = []
    for name, count in facts.tally.dialects.items():
        translated = sum(count.translated.values())
        neither = count.requests - count.relayed - translated
        ways = (("relayed", count.relayed), ("translated", translated), ("neither", neither))
        found += (((name, way), n) for way, n in ways)
    return found


def _dialect_answers(facts: Facts) -> Rows:
    return [
        ((name, form), n)
        for name, count in facts.tally.dialects.items()
        for form, n in (("streamed", count.streamed), ("whole", count.whole))
    ]


def _breakers(facts: Facts) -> Rows:
    return [
        ((name, state.value), phase(entry.breaker, facts.now) is state)
        for name, entry in facts.entries.items()
        for state in Phase
    ]


def _states(facts: Facts) -> Rows:
    return [((name, state.value), entry.state is state) for name, entry in facts.entries.items() for state in State]


def _build(facts: Facts) -> Rows:
    return [((arriero.__version__, platform.python_version(), facts.policy), 1)]


_AT = ("backend",)

SERIES: tuple[Series, ...] = (
    # ---- requests
    Series(
        "arriero_requests_total",
        "counter",
        ("backend", "status_class"),
        "Requests by the backend that had them last (none: empty) and by what the client was told",
        _requests,
    ),
    Series("arriero_attempts_total", "counter", ("backend", "result"), "Attempts by how they ended", _attempts),
    Series(
        "arriero_retries_total",
        "counter",
        (),
        "Attempts after the first one of a request",
        _alone(lambda facts: facts.tally.trouble.retries),
    ),
    Series(
        "arriero_fallbacks_total",
        "counter",
        (),
        "Requests that went to another model or to a backend that does not list theirs",
        _alone(lambda facts: sum(count.fallbacks for count in facts.tally.models.values())),
    ),
    Series(
        "arriero_errors_total",
        "counter",
        ("type", "blame"),
        "Requests that ended with an error, by its type and by who has to act",
        _errors,
    ),
    Series(
        "arriero_refused_total",
        "counter",
        ("reason",),
        "Requests refused at the door: over a rate limit, or too large",
        _refused,
    ),
    Series("arriero_tokens_total", "counter", ("backend", "direction"), "Tokens, where the backend told", _tokens),
    Series(
        "arriero_received_bytes_total",
        "counter",
        _AT,
        "Bytes of answers that came from the backend",
        _by_backend(lambda count: count.received_bytes),
    ),
    Series(
        "arriero_first_byte_seconds",
        "histogram",
        _AT,
        "From the request's arrival to the first byte of its answer",
        _times(lambda count: count.first_byte),
    ),
    Series(
        "arriero_request_seconds",
        "histogram",
        _AT,
        "From the request's arrival to the end of its answer",
        _times(lambda count: count.seconds),
    ),
    # ---- dialects and models
    Series(
        "arriero_dialect_requests_total",
        "counter",
        ("dialect", "way"),
        "Requests by the client's dialect, and whether they were relayed, translated or neither",
        _dialect_requests,
    ),
    Series(
        "arriero_dialect_answers_total",
        "counter",
        ("dialect", "form"),
        "Answers by the client's dialect, and whether they were streamed or whole",
        _dialect_answers,
    ),
    Series(
        "arriero_model_requests_total",
        "counter",
        ("model", "result"),
        "Requests by model, and whether they were answered, failed, or their client left",
        _model_requests,
    ),
    Series(
        "arriero_model_tokens_total", "counter", ("model", "direction"), "Tokens, where the backend told", _model_tokens
    ),
    # ---- the fleet now
    Series("arriero_in_flight", "gauge", _AT, "Leases that are out", _now(lambda entry: entry.in_flight)),
    Series(
        "arriero_concurrency_limit",
        "gauge",
        _AT,
        "Requests that the backend takes at once, where max_concurrency says so",
        _now(lambda entry: entry.seat.max_concurrency),
    ),
    Series(
        "arriero_queue_waiting",
        "gauge",
        (),
        "Requests that wait for a place",
        _alone(lambda facts: facts.queue.waiting),
    ),
    Series(
        "arriero_queue_limit", "gauge", (), "Requests that may wait at once", _alone(lambda facts: facts.queue.most)
    ),
    Series(
        "arriero_breaker_state",
        "gauge",
        ("backend", "state"),
        "1 for the state that the breaker is in",
        _breakers,
    ),
    Series("arriero_backend_state", "gauge", ("backend", "state"), "1 for the state that the backend is in", _states),
    Series("arriero_backend_up", "gauge", _AT, "1 if requests may go there", _now(lambda entry: entry.well)),
    Series(
        "arriero_check_timestamp_seconds",
        "gauge",
        _AT,
        "When the backend was asked last, as unix time",
        _now(lambda entry: entry.check_at),
    ),
    Series(
        "arriero_check_seconds",
        "gauge",
        _AT,
        "How long the last good check took",
        _now(lambda entry: entry.check_seconds),
    ),
    Series(
        "arriero_check_failures",
        "gauge",
        _AT,
        "Checks that failed since the last good one",
        _now(lambda entry: entry.failures),
    ),
    # ---- the catalog
    Series("arriero_models", "gauge", _AT, "Models that the backend lists", _now(lambda entry: len(entry.cards))),
    Series(
        "arriero_models_loaded",
        "gauge",
        _AT,
        "Models in the backend's memory, where it tells",
        _now(lambda entry: None if entry.loaded is None else len(entry.loaded)),
    ),
    Series(
        "arriero_models_listed",
        "gauge",
        (),
        "Models that clients see, each once",
        _alone(lambda facts: len(facts.names.models)),
    ),
    Series(
        "arriero_models_hidden",
        "gauge",
        (),
        "Models that a filter hides from clients",
        _alone(lambda facts: len(facts.names.hidden)),
    ),
    # ---- the process
    Series("arriero_build_info", "gauge", ("version", "python", "policy"), "Always 1: what runs here", _build),
    Series(
        "arriero_start_timestamp_seconds",
        "gauge",
        (),
        "When arriero started, as unix time",
        _alone(lambda facts: facts.started),
    ),
)
