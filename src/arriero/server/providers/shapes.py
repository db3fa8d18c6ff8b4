"""Readings in the keys that ollama-proxy's clients read: those of its documentation, and those of its code.

Where both have a key at the same place and mean different things by it, the documentation wins: `error_rate` is a share
between 0 and 1, here and wherever else it stands; its percent stand beside it as `error_rate_percent` on the pages that
only the code had. What is not known is `null`. A `priority` is what `<PROVIDER>_PRIORITY` says: the lower, the more
preferred. `avg_response_time` is in milliseconds, as there.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.canonical.catalog import Capability
from arriero.errors import ArrieroError, BadRequest, NotFound
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Lane, reply
from arriero.gateway.providers import is_known, named
from arriero.server.providers.reading import Reading
from arriero.server.routes import JSON
from arriero.wire.jsontext import json_text

Shape: TypeAlias = dict[str, object]

FIRST_PRIORITY = 100
"""A backend's priority less this is ollama-proxy's, turned around: 99 is its 1."""

_CAPABILITIES: Mapping[Capability, tuple[str, ...]] = {
    Capability.COMPLETION: ("chat_completion", "text_completion", "streaming"),
    Capability.EMBEDDING: ("embeddings",),
    Capability.TOOLS: ("function_calling",),
    Capability.VISION: ("vision",),
    Capability.IMAGE: ("image_generation",),
    Capability.AUDIO: ("speech_to_text",),
    Capability.THINKING: ("thinking",),
    Capability.INSERT: ("insert",),
}
"""Its words for what a provider can do; the last two are ours."""


class Terms(Struct, frozen=True, kw_only=True):
    """What the operator decided, in ollama-proxy's words. `balances`: requests are spread over providers that are as
    good as one another.
    """

    environment: str
    routing: str
    fallback: str
    balances: bool


# ---- what a word means ---------------------------------------------------------------------------------------------


def meant(word: str, entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """The providers that a word in a path means. Raises `BadRequest` for a word that could mean none, and `NotFound`
    for one that means none here.
    """
    names = named(word, entries)
    if names:
        return names
    if is_known(word):
        raise NotFound(f"Provider {word} not configured")
    raise BadRequest(f"Invalid provider type: {word}")


def refuse(lane: Lane, error: ArrieroError, **more: object) -> None:
    """An error with `detail` beside the two keys that every error has: that is where its clients look."""
    told = {"detail": error.message, "error": error.message, "type": error.type, **more}
    reply(lane, error.status, JSON, json_text(told))


def answer(lane: Lane, value: object, status: int = 200, *, more: Headers = ()) -> None:
    """A value as JSON."""
    reply(lane, status, (*JSON, *more), json_text(value))


# ---- one provider --------------------------------------------------------------------------------------------------


def listed(one: Reading) -> Shape:
    """Its entry in `/api/providers`. The third block is ours."""
    return {
        "type": one.type,
        "enabled": True,
        "healthy": one.healthy,
        "priority": FIRST_PRIORITY - one.priority,
        "request_count": one.requests,
        "error_count": one.failures,
        "error_rate": one.error_rate,
        "avg_response_time_ms": one.average_ms,
        "current_load": one.in_flight,
        "avg_response_time": one.average_ms,
        "last_used": one.last_at,
        "circuit_breaker": breaker(one),
        "name": one.name,
        "kind": one.kind,
        "state": one.state,
        "error": one.trouble,
        "last_error": one.failure,
        "last_health_check": moment(one.check_at),
        "models_available": one.models,
    }


def counted(one: Reading, parts: Sequence[str], capabilities: frozenset[Capability] | None) -> Shape:
    """Its page `/api/providers/<word>/stats`. `parts` are those that it is the sum of."""
    return {
        "provider_type": one.type,
        "enabled": True,
        "healthy": one.healthy,
        "priority": FIRST_PRIORITY - one.priority,
        "request_count": one.requests,
        "successful_requests": one.successes,
        "failed_requests": one.failures,
        "cancelled_requests": one.gone,
        "error_rate": one.error_rate,
        "avg_response_time_ms": one.average_ms,
        "min_response_time_ms": one.min_ms,
        "max_response_time_ms": one.max_ms,
        "circuit_breaker_state": one.breaker.value,
        "last_health_check": moment(one.check_at),
        "models_available": one.models,
        "error_count": one.failures,
        "capabilities": None if capabilities is None else _words(capabilities),
        "current_load": one.in_flight,
        "last_used": one.last_at,
        "state": one.state,
        "error": one.trouble,
        "last_error": one.failure,
        "providers": parts,
    }


def checked(one: Reading) -> Shape:
    """Its health. `status` is one of the code's words; `state` is arriero's, which tells more."""
    return {
        "healthy": one.healthy,
        "status": _status(one),
        "state": one.state,
        "type": one.type,
        "response_time_ms": one.check_ms,
        "last_check": one.check_at,
        "circuit_breaker": breaker(one),
        "request_count": one.requests,
        "error_count": one.failures,
        "error_rate": one.error_rate,
        "error": one.trouble,
        "error_type": one.trouble_type,
    }


def breaker(one: Reading) -> Shape:
    """Its breaker. `failure_count` is of failures in a row, the rest since the start."""
    return {
        "state": one.breaker.value,
        "failure_count": one.failures_in_row,
        "success_count": one.successes,
        "request_count": one.requests,
        "last_failure_time": one.last_failure_at,
    }


def _status(one: Reading) -> str:
    if one.healthy:
        return "operational"
    if one.timed_out:
        return "timeout"
    return "unknown" if one.trouble is None else "error"


def _words(capabilities: frozenset[Capability]) -> list[str]:
    return [word for capability in Capability if capability in capabilities for word in _CAPABILITIES[capability]]


def moment(at: float | None) -> datetime | None:
    """A point in unix time, which JSON shows by ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC)
