"""What Olla's `/internal/stats/*` and `/internal/process` tell, from this process's own counts.

The keys are Olla's, to the letter, and so are the texts. Counts are made in `gateway.tally`; here they are only shown.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import UNSET, Struct, UnsetType

from arriero.gateway.counts import AtBackend, Count, DialectCount, ModelCount, percentile, summed
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.tally import Tally
from arriero.routing.sticky import Sessions
from arriero.server.olla.asked import flag, parameters
from arriero.server.olla.formats import HOUR, ago, bytes_text, latency, percent
from arriero.server.olla.process import process
from arriero.server.routes import GET_HEAD, JSON, Route
from arriero.wire.jsontext import json_text


class Fleet(Protocol):
    """What is read of the roster."""

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def sessions(self) -> Sessions | None: ...

    @property
    def wall(self) -> Callable[[], float]: ...

    @property
    def clock(self) -> Callable[[], float]: ...


# ---- the shapes ----------------------------------------------------------------------------------------------------


class Tokens(Struct, frozen=True):
    """Tokens that went in and came out, where backends told."""

    input: int
    output: int
    total: int


class AtEndpoint(Struct, frozen=True):
    """One endpoint's part. `success_rate` is in percent, `None` where no request has ended."""

    endpoint_name: str
    request_count: int
    success_rate: float | None
    average_latency: str
    last_used: str
    consecutive_errors: int


class OfModel(Struct, frozen=True, kw_only=True):
    """One model."""

    name: str
    total_requests: int
    successful_requests: int
    failed_requests: int
    success_rate: str
    total_traffic: str
    average_latency: str
    p95_latency: str
    p99_latency: str
    unique_clients: int
    last_requested: str
    routing_hits: int
    routing_misses: int
    routing_fallbacks: int
    tokens: Tokens | UnsetType = UNSET
    endpoint_breakdown: dict[str, AtEndpoint] | UnsetType = UNSET


class ModelsSummary(Struct, frozen=True, kw_only=True):
    """All models. Those asked for within the hour are active."""

    total_models: int
    active_models: int
    total_requests: int
    overall_success_rate: str
    total_traffic: str
    most_popular_model: str
    least_popular_model: str
    tokens: Tokens | UnsetType = UNSET


class Models(Struct, frozen=True):
    """The answer of `/internal/stats/models`."""

    timestamp: datetime
    models: list[OfModel]
    endpoints: dict[str, AtEndpoint]
    summary: ModelsSummary


class Translator(Struct, frozen=True, kw_only=True):
    """One client dialect. Relayed requests are Olla's "passthrough"."""

    translator_name: str
    total_requests: int
    successful_requests: int
    failed_requests: int
    success_rate: str
    passthrough_requests: int
    translation_requests: int
    passthrough_rate: str
    streaming_requests: int
    non_streaming_requests: int
    fallback_no_compatible_endpoints: int
    fallback_translator_does_not_support_passthrough: int
    fallback_cannot_passthrough: int
    average_latency: str


class TranslatorsSummary(Struct, frozen=True, kw_only=True):
    """All client dialects."""

    total_translators: int
    active_translators: int
    total_requests: int
    overall_success_rate: str
    total_passthrough: int
    total_translations: int
    overall_passthrough_rate: str
    total_streaming: int
    total_non_streaming: int


class Translators(Struct, frozen=True):
    """The answer of `/internal/stats/translators`."""

    timestamp: datetime
    translators: list[Translator]
    summary: TranslatorsSummary


class Sticky(Struct, frozen=True, kw_only=True):
    """The answer of `/internal/stats/sticky` where sessions are kept."""

    enabled: bool
    active_sessions: int
    insertions: int
    hits: int
    misses: int
    evictions: int
    max_sessions: int
    idle_ttl_seconds: float


# ---- the handlers --------------------------------------------------------------------------------------------------


class Stats:
    """The handlers, and their routes. `started` is unix time."""

    def __init__(self, roster: Fleet, tally: Tally, *, started: float) -> None:
        self._roster = roster
        self._tally = tally
        self._started = started
        self.routes: Sequence[Route] = (
            Route("/internal/stats/models", GET_HEAD, self.models),
            Route("/internal/stats/translators", GET_HEAD, self.translators),
            Route("/internal/stats/sticky", GET_HEAD, self.sticky),
            Route("/internal/process", GET_HEAD, self.process),
        )

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """`include_endpoints=true`: each model by endpoint; `include_summary=true`: each endpoint over all models;
        `include_tokens=true`: tokens of each model and of all. Raises `BadRequest` for what is neither yes nor no.
        """
        asked = parameters(inbound)
        tokens, pairs = bool(flag(asked, "include_tokens")), bool(flag(asked, "include_endpoints"))
        sums = bool(flag(asked, "include_summary"))
        now, tally = self._roster.wall(), self._tally
        ordered = sorted(tally.models.items(), key=lambda item: (-item[1].requests, item[0]))
        answer = Models(
            datetime.fromtimestamp(now, UTC),
            [_model(name, count, now, tokens=tokens, pairs=pairs) for name, count in ordered],
            {name: _endpoint(name, count, now) for name, count in tally.backends.items()} if sums else {},
            _models_summary(ordered, now, tokens=tokens),
        )
        _answer(lane, answer)

    async def translators(self, inbound: Inbound, lane: Lane) -> None:
        """Each client dialect that was used: how often its bytes were relayed, and how often said anew."""
        ordered = sorted(self._tally.dialects.items(), key=lambda item: (-item[1].requests, item[0]))
        answer = Translators(
            datetime.fromtimestamp(self._roster.wall(), UTC),
            [_translator(name, count, self._roster.entries) for name, count in ordered],
            _translators_summary([count for _, count in ordered]),
        )
        _answer(lane, answer)

    async def sticky(self, inbound: Inbound, lane: Lane) -> None:
        """The sessions, or that there are none to be kept."""
        sessions = self._roster.sessions
        if sessions is None:
            _answer(lane, {"enabled": False})
            return
        sessions.expire(self._roster.clock())
        answer = Sticky(
            enabled=True,
            active_sessions=len(sessions),
            insertions=sessions.insertions,
            hits=sessions.hits,
            misses=sessions.misses,
            evictions=sessions.evictions,
            max_sessions=sessions.max_sessions,
            idle_ttl_seconds=_plain(sessions.ttl_seconds),
        )
        _answer(lane, answer)

    async def process(self, inbound: Inbound, lane: Lane) -> None:
        """The process itself."""
        _answer(lane, process(self._roster.wall(), self._started))


def _answer(lane: Lane, value: object) -> None:
    reply(lane, 200, JSON, json_text(value))


def _plain(seconds: float) -> float:
    """Whole seconds without a fraction: Olla's is a whole number, and strict readers expect one."""
    return int(seconds) if seconds == int(seconds) else seconds


# ---- models --------------------------------------------------------------------------------------------------------


def _model(name: str, count: ModelCount, now: float, *, tokens: bool, pairs: bool) -> OfModel:
    return OfModel(
        name=name,
        total_requests=count.requests,
        successful_requests=count.successes,
        failed_requests=count.failures,
        success_rate=percent(count.success),
        total_traffic=bytes_text(count.received_bytes),
        average_latency=latency(count.average_ms),
        p95_latency=latency(percentile(count.recent_ms, 0.95)),
        p99_latency=latency(percentile(count.recent_ms, 0.99)),
        unique_clients=len(count.clients),
        last_requested=ago(count.last_at, now),
        routing_hits=count.hits,
        routing_misses=count.misses,
        routing_fallbacks=count.fallbacks,
        tokens=_tokens(count) if tokens else UNSET,
        endpoint_breakdown={backend: _endpoint(backend, pair, now) for backend, pair in count.backends.items()}
        if pairs
        else UNSET,
    )


def _endpoint(name: str, count: AtBackend, now: float) -> AtEndpoint:
    success = count.success
    return AtEndpoint(
        name,
        count.requests,
        None if success is None else round(success * 100, 2),
        latency(count.average_ms),
        ago(count.last_at, now),
        count.failures_in_row,
    )


def _models_summary(ordered: Sequence[tuple[str, ModelCount]], now: float, *, tokens: bool) -> ModelsSummary:
    counts = [count for _, count in ordered]
    whole = summed(counts)
    return ModelsSummary(
        total_models=len(counts),
        active_models=sum(count.last_at is not None and count.last_at > now - HOUR for count in counts),
        total_requests=whole.requests,
        overall_success_rate=percent(whole.success),
        total_traffic=bytes_text(whole.received_bytes),
        most_popular_model=ordered[0][0] if ordered else "",
        least_popular_model=ordered[-1][0] if ordered else "",
        tokens=_tokens(whole) if tokens else UNSET,
    )


def _tokens(count: Count) -> Tokens:
    return Tokens(count.prompt_tokens, count.completion_tokens, count.prompt_tokens + count.completion_tokens)


# ---- translators ---------------------------------------------------------------------------------------------------


def _translator(name: str, count: DialectCount, entries: Mapping[str, Entry]) -> Translator:
    translated = sum(count.translated.values())
    # A backend that speaks the dialect was not relayed to because the request had to be read or changed on its way.
    spoken = sum(
        times
        for backend, times in count.translated.items()
        if (entry := entries.get(backend)) and name in entry.backend.roots
    )
    return Translator(
        translator_name=name,
        total_requests=count.requests,
        successful_requests=count.successes,
        failed_requests=count.failures,
        success_rate=percent(count.success),
        passthrough_requests=count.relayed,
        translation_requests=translated,
        passthrough_rate=percent(_rate(count.relayed, translated)),
        streaming_requests=count.streamed,
        non_streaming_requests=count.whole,
        fallback_no_compatible_endpoints=translated - spoken,
        fallback_translator_does_not_support_passthrough=0,  # every dialect can be relayed
        fallback_cannot_passthrough=spoken,
        average_latency=latency(count.average_ms),
    )


def _translators_summary(counts: Sequence[DialectCount]) -> TranslatorsSummary:
    whole = summed(counts)
    relayed = sum(count.relayed for count in counts)
    translated = sum(sum(count.translated.values()) for count in counts)
    return TranslatorsSummary(
        total_translators=len(counts),
        active_translators=sum(count.requests > 0 for count in counts),
        total_requests=whole.requests,
        overall_success_rate=percent(whole.success),
        total_passthrough=relayed,
        total_translations=translated,
        overall_passthrough_rate=percent(_rate(relayed, translated)),
        total_streaming=sum(count.streamed for count in counts),
        total_non_streaming=sum(count.whole for count in counts),
    )


def _rate(relayed: int, translated: int) -> float | None:
    return relayed / (relayed + translated) if relayed + translated else None
