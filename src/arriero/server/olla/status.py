"""`/internal/health` and the three pages that dashboards poll: the system, its endpoints, its models.

The key sets are Olla's, with a few keys more; what is not known is left out where Olla leaves it out, and `null`
elsewhere. No address shown here holds a credential, and no answer asks a backend anything.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import UNSET, Struct, UnsetType

import arriero
from arriero.gateway.counts import BackendCount
from arriero.gateway.entry import Entry
from arriero.gateway.kinds import type_of
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.fleet import State
from arriero.server.olla import endpoints
from arriero.server.olla.asked import flag, parameters, word
from arriero.server.olla.endpoints import Instant, at, stamp
from arriero.server.olla.formats import ago, bytes_text, latency, percent, security_word, system_word, until, uptime
from arriero.server.olla.models import Model, last_seen, models_of, type_word, words_of
from arriero.server.olla.polled import STILL, answer
from arriero.server.routes import GET_HEAD, JSON, Route
from arriero.wire.jsontext import json_text

RECENT = 10
"""Models that `status/models` shows in full."""

UNKNOWN_FAMILY = "unknown"


class Facts(Struct, frozen=True):
    """What the status says of the gateway as it is configured: Olla's three words for its proxy."""

    policy: str
    engine: str = "arriero"
    profile: str = "auto"


class EndpointLine(Struct, frozen=True, kw_only=True):
    """One backend in `/internal/status`. `breaker` is ours."""

    id: str
    name: str
    url: str
    status: str
    breaker: str
    priority: int
    success_rate: str
    avg_latency: str
    avg_latency_ms: int | UnsetType
    min_latency_ms: int
    max_latency_ms: int
    traffic: str
    connections: int
    requests: int
    last_check: str
    health_check_at: datetime | UnsetType
    next_check: str
    next_check_at: datetime | UnsetType
    issues: str
    models: Mapping[str, Any]


class EndpointRow(Struct, frozen=True, kw_only=True):
    """One backend in `/internal/status/endpoints`. `breaker` is ours."""

    id: str
    name: str
    type: str
    status: str
    breaker: str
    priority: int
    url: str
    model_count: int
    request_count: int
    success_rate: str
    min_latency_ms: int
    max_latency_ms: int
    avg_latency_ms: int | UnsetType
    active_connections: int
    health_check: str
    health_check_at: datetime | UnsetType
    response_time: str | UnsetType
    next_check_at: datetime | UnsetType
    last_model_sync: str | UnsetType
    last_model_sync_at: datetime | UnsetType
    issues: str | UnsetType


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model in `/internal/status/models`."""

    name: str
    type: str | UnsetType
    family: str | UnsetType
    size: str | UnsetType
    params: str | UnsetType
    quant: str | UnsetType
    last_seen: str
    last_seen_at: datetime | UnsetType
    endpoints: Sequence[str]
    endpoint_ids: Sequence[str]
    aliases: Sequence[str] | UnsetType
    capabilities: Sequence[str] | UnsetType


class Status:
    """The handlers, and their routes. `started` is unix time; a reload that changes the policy replaces `facts`."""

    def __init__(self, roster: Roster, tally: Tally, *, started: float, facts: Facts) -> None:
        self.facts = facts
        self._roster = roster
        self._tally = tally
        self._started = started
        self.routes: Sequence[Route] = (
            Route("/internal/health", GET_HEAD, self.health),
            Route("/internal/status", GET_HEAD, self.system),
            Route("/internal/status/endpoints", GET_HEAD, self.endpoints),
            Route("/internal/status/models", GET_HEAD, self.models),
        )

    async def health(self, inbound: Inbound, lane: Lane) -> None:
        """The process answers; of the backends it says nothing."""
        reply(lane, 200, JSON, b'{"status":"healthy"}')

    async def system(self, inbound: Inbound, lane: Lane) -> None:
        """Everything on one page."""
        self._polled(inbound, lane, self._system)

    async def endpoints(self, inbound: Inbound, lane: Lane) -> None:
        """The backends."""
        self._polled(inbound, lane, self._endpoints)

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """The models by family, and the newest. `?detailed=true&group=family` shows all of them in full."""
        asked = parameters(inbound)
        grouped = word(asked, "group", ("family",)) is not None and flag(asked, "detailed") is True

        self._polled(inbound, lane, partial(self._models, grouped=grouped))

    def _polled(self, inbound: Inbound, lane: Lane, page: Callable[[Instant], object]) -> None:
        now, wall = self._roster.clock(), self._roster.wall()
        answer(inbound, lane, json_text(page(Instant(now, wall, wall))), json_text(page(Instant(now, wall, STILL))))

    # ---- the system ------------------------------------------------------------------------------------------------

    def _system(self, instant: Instant) -> object:
        entries = endpoints.in_order(self._roster.entries.values())
        total, security = self._tally.total, self._tally.security
        addresses = security.addresses(instant.wall)
        up = sum(entry.up(instant.now) for entry in entries)
        ids = endpoints.ids(self._roster.entries.values())
        counts = self._model_counts()
        return {
            "timestamp": stamp(instant.told),
            "proxy": {"engine": self.facts.engine, "profile": self.facts.profile, "balancer": self.facts.policy},
            "endpoints": [self._line(entry, ids, counts, instant) for entry in entries],
            "security": {
                "status": security_word(security.violations, addresses),
                "blocked_ips": addresses,
                "violations": {"rate_limits": security.rate_limited, "size_limits": security.too_large},
            },
            "system": {
                "start_time": stamp(self._started),
                "status": system_word(up, len(entries), total.success),
                "endpoints_up": f"{up}/{len(entries)}",
                "success_rate": percent(total.success),
                "avg_latency": latency(total.average_ms),
                "total_traffic": bytes_text(total.received_bytes),
                "uptime": uptime(instant.told - self._started),
                "version": arriero.__version__,
                "commit": None,
                "active_connections": sum(entry.in_flight for entry in entries),
                "queued_requests": self._roster.queue.waiting,
                "security_violations": security.violations,
                "total_requests": total.requests,
                "total_failures": total.failures,
                "has_traffic": total.requests > 0,
            },
        }

    def _line(self, entry: Entry, ids: Mapping[str, str], counts: Mapping[str, int], instant: Instant) -> EndpointLine:
        name = entry.backend.name
        count = self._count(name)
        return EndpointLine(
            id=ids[name],
            name=name,
            url=entry.backend.where,
            status=entry.state.value,
            breaker=endpoints.breaker_word(entry, instant.now),
            priority=entry.seat.priority,
            success_rate=percent(count.success),
            avg_latency=latency(count.average_ms),
            avg_latency_ms=_whole(count.average_ms),
            min_latency_ms=round(count.min_ms or 0),
            max_latency_ms=round(count.max_ms or 0),
            traffic=bytes_text(count.received_bytes),
            connections=entry.in_flight,
            requests=count.requests,
            last_check=ago(entry.check_at, instant.told),
            health_check_at=at(entry.check_at),
            next_check=until(entry.next_check_at, instant.told),
            next_check_at=at(entry.next_check_at),
            issues=endpoints.issues(entry, count, instant),
            models={
                "last_updated": None if entry.models_at is None else stamp(entry.models_at),
                "count": counts.get(name, 0),
            },
        )

    # ---- the endpoints ---------------------------------------------------------------------------------------------

    def _endpoints(self, instant: Instant) -> object:
        entries = endpoints.in_order(self._roster.entries.values())
        ids = endpoints.ids(self._roster.entries.values())
        counts = self._model_counts()
        return {
            "timestamp": stamp(instant.told),
            "total_count": len(entries),
            "healthy_count": sum(entry.state is State.HEALTHY for entry in entries),
            "routable_count": sum(entry.routable(instant.now) for entry in entries),
            "endpoints": [self._row(entry, ids, counts, instant) for entry in entries],
        }

    def _row(self, entry: Entry, ids: Mapping[str, str], counts: Mapping[str, int], instant: Instant) -> EndpointRow:
        name = entry.backend.name
        count = self._count(name)
        return EndpointRow(
            id=ids[name],
            name=name,
            type=type_of(entry.backend),
            status=entry.state.value,
            breaker=endpoints.breaker_word(entry, instant.now),
            priority=entry.seat.priority,
            url=entry.backend.where,
            model_count=counts.get(name, 0),
            request_count=count.requests,
            success_rate=percent(count.success),
            min_latency_ms=round(count.min_ms or 0),
            max_latency_ms=round(count.max_ms or 0),
            avg_latency_ms=_whole(count.average_ms),
            active_connections=entry.in_flight,
            health_check=ago(entry.check_at, instant.told),
            health_check_at=at(entry.check_at),
            response_time=UNSET if entry.check_seconds is None else latency(entry.check_seconds * 1000),
            next_check_at=at(entry.next_check_at),
            last_model_sync=UNSET if entry.models_at is None else ago(entry.models_at, instant.told),
            last_model_sync_at=at(entry.models_at),
            issues=endpoints.issues(entry, count, instant) or UNSET,
        )

    def _count(self, name: str) -> BackendCount:
        return self._tally.backends.get(name) or BackendCount()

    def _model_counts(self) -> Mapping[str, int]:
        """How many models each backend offers, what filters hide not among them."""
        return Counter(offer.backend for offers in self._roster.names.models.values() for offer in offers)

    # ---- the models ------------------------------------------------------------------------------------------------

    def _models(self, instant: Instant, *, grouped: bool) -> object:
        entries = self._roster.entries
        ids = endpoints.ids(entries.values())
        models = sorted(models_of(self._roster.names), key=lambda model: model.name)
        families: dict[str, list[Model]] = defaultdict(list)
        for model in models:
            families[model.card.family or UNKNOWN_FAMILY].append(model)
        recent = sorted(models, key=lambda model: -(last_seen(model, entries) or 0.0))[:RECENT]
        # By name, and what nobody knows the family of at the end.
        order = sorted(families, key=lambda family: (family == UNKNOWN_FAMILY, family))
        body: dict[str, object] = {
            "timestamp": stamp(instant.told),
            "models_by_family": {family: [model.name for model in families[family]] for family in order},
            "recent_models": [_model_row(model, entries, ids, instant.told) for model in recent],
            "total_models": len(models),
            "total_families": len(families),
            "total_endpoints": len(entries),
        }
        if grouped:
            body["model_groups"] = [
                {
                    "family": family,
                    "models": [_model_row(model, entries, ids, instant.told) for model in families[family]],
                    "endpoints": sorted({name for model in families[family] for name in model.backends}),
                    "model_count": len(families[family]),
                }
                for family in order
            ]
        return body


def _model_row(model: Model, entries: Mapping[str, Entry], ids: Mapping[str, str], moment: float) -> ModelRow:
    card, seen = model.card, last_seen(model, entries)
    names = sorted(model.backends)
    return ModelRow(
        name=model.name,
        type=type_word(card.capabilities) or UNSET,
        family=card.family or UNSET,
        size=bytes_text(card.size_bytes) if card.size_bytes else UNSET,
        params=model.params or UNSET,
        quant=card.quantization or UNSET,
        last_seen=ago(seen, moment),
        last_seen_at=at(seen),
        endpoints=names,
        endpoint_ids=[ids[name] for name in names],
        aliases=model.aliases or UNSET,
        capabilities=words_of(card.capabilities) if card.capabilities else UNSET,
    )


def _whole(ms: float | None) -> int | UnsetType:
    return UNSET if ms is None else round(ms)
