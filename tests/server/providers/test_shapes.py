"""A provider in ollama-proxy's keys: the whole of each shape, and what a word in a path means."""

import json
from datetime import UTC, datetime

import pytest

from arriero.canonical.catalog import Capability
from arriero.errors import BadRequest, NotFound
from arriero.routing.breaker import Phase
from arriero.server.providers.reading import Reading
from arriero.server.providers.shapes import answer, checked, counted, listed, meant, moment, refuse
from support.lanes import KeptLane
from support.olla_fleet import WALL, fleet

USED = Reading(
    name="router",
    type="openrouter",
    kind="openai",
    state="healthy",
    healthy=True,
    timed_out=False,
    trouble=None,
    trouble_type=None,
    failure="OpenRouter API error: 429 Too Many Requests",
    priority=99,
    requests=8,
    failures=2,
    gone=1,
    answers=5,
    total_ms=500.0,
    min_ms=50.0,
    max_ms=150.0,
    in_flight=1,
    breaker=Phase.CLOSED,
    failures_in_row=1,
    last_failure_at=WALL - 30,
    last_at=WALL - 5,
    check_at=WALL - 2,
    check_ms=85.5,
    models=3,
)
BREAKER = {
    "state": "closed",
    "failure_count": 1,
    "success_count": 5,
    "request_count": 8,
    "last_failure_time": WALL - 30,
}
NOBODY = Reading(
    name="idle",
    type="ollama",
    kind="ollama",
    state="unknown",
    healthy=False,
    timed_out=False,
    trouble=None,
    trouble_type=None,
    failure=None,
    priority=100,
    requests=0,
    failures=0,
    gone=0,
    answers=0,
    total_ms=0.0,
    min_ms=None,
    max_ms=None,
    in_flight=0,
    breaker=Phase.CLOSED,
    failures_in_row=0,
    last_failure_at=None,
    last_at=None,
    check_at=None,
    check_ms=None,
    models=0,
)


def test_the_entry_of_a_list() -> None:
    assert listed(USED) == {
        "type": "openrouter",
        "enabled": True,
        "healthy": True,
        "priority": 1,
        "request_count": 8,
        "error_count": 2,
        "error_rate": 0.25,
        "avg_response_time_ms": 100.0,
        "current_load": 1,
        "avg_response_time": 100.0,
        "last_used": WALL - 5,
        "circuit_breaker": BREAKER,
        "name": "router",
        "kind": "openai",
        "state": "healthy",
        "error": None,
        "last_error": "OpenRouter API error: 429 Too Many Requests",
        "last_health_check": moment(WALL - 2),
        "models_available": 3,
    }


def test_the_counts() -> None:
    told = frozenset({Capability.TOOLS, Capability.COMPLETION, Capability.EMBEDDING})
    assert counted(USED, ("router",), told) == {
        "provider_type": "openrouter",
        "enabled": True,
        "healthy": True,
        "priority": 1,
        "request_count": 8,
        "successful_requests": 5,
        "failed_requests": 2,
        "cancelled_requests": 1,
        "error_rate": 0.25,
        "avg_response_time_ms": 100.0,
        "min_response_time_ms": 50.0,
        "max_response_time_ms": 150.0,
        "circuit_breaker_state": "closed",
        "last_health_check": moment(WALL - 2),
        "models_available": 3,
        "error_count": 2,
        "capabilities": ["chat_completion", "text_completion", "streaming", "function_calling", "embeddings"],
        "current_load": 1,
        "last_used": WALL - 5,
        "state": "healthy",
        "error": None,
        "last_error": "OpenRouter API error: 429 Too Many Requests",
        "providers": ("router",),
    }


def test_the_health() -> None:
    assert checked(USED) == {
        "healthy": True,
        "status": "operational",
        "state": "healthy",
        "type": "openrouter",
        "response_time_ms": 85.5,
        "last_check": WALL - 2,
        "circuit_breaker": BREAKER,
        "request_count": 8,
        "error_count": 2,
        "error_rate": 0.25,
        "error": None,
        "error_type": None,
    }


def test_what_is_not_known_is_null_everywhere() -> None:
    entry = listed(NOBODY)
    unknown = [key for key, value in entry.items() if value is None]
    assert unknown == [
        "error_rate",
        "avg_response_time_ms",
        "avg_response_time",
        "last_used",
        "error",
        "last_error",
        "last_health_check",
    ]
    stats = counted(NOBODY, ("idle",), None)
    unknown = [key for key, value in stats.items() if value is None]
    assert unknown == [
        "error_rate",
        "avg_response_time_ms",
        "min_response_time_ms",
        "max_response_time_ms",
        "last_health_check",
        "capabilities",
        "last_used",
        "error",
        "last_error",
    ]
    health = checked(NOBODY)
    assert [key for key, value in health.items() if value is None] == [
        "response_time_ms",
        "last_check",
        "error_rate",
        "error",
        "error_type",
    ]
    assert health["status"] == "unknown"


def test_times_are_iso_8601_in_utc() -> None:
    assert (moment(WALL), moment(None)) == (datetime(2027, 1, 15, 8, tzinfo=UTC), None)
    lane = KeptLane()
    answer(lane, {"at": moment(WALL)})
    assert (lane.status, lane.body) == (200, b'{"at":"2027-01-15T08:00:00Z"}')


# ---- words ---------------------------------------------------------------------------------------------------------


async def test_a_word_means_a_name_a_kind_a_profile_or_an_old_type() -> None:
    entries = (await fleet()).entries
    assert meant("alpha", entries) == ("alpha",)
    assert meant("ALPHA", entries) == ("alpha",)
    assert meant("vllm", entries) == ("beta",)
    assert meant("ollama", entries) == ("alpha", "gamma")


@pytest.mark.parametrize("word", ["openrouter", "azure", "aws_bedrock", "google", "huggingface", "Anthropic"])
async def test_a_known_word_that_nobody_has_is_not_configured(word: str) -> None:
    entries = (await fleet()).entries
    with pytest.raises(NotFound) as caught:
        meant(word, entries)
    assert (caught.value.status, caught.value.message) == (404, f"Provider {word} not configured")


@pytest.mark.parametrize("word", ["x", "gpt-4o", "", "a/b", "openrouter2"])
async def test_an_unknown_word_is_invalid(word: str) -> None:
    entries = (await fleet()).entries
    with pytest.raises(BadRequest) as caught:
        meant(word, entries)
    assert (caught.value.status, caught.value.message) == (400, f"Invalid provider type: {word}")


def test_a_refusal_has_the_keys_of_both() -> None:
    lane = KeptLane()
    refuse(lane, BadRequest("Invalid provider type: x"))
    assert (lane.status, json.loads(lane.body)) == (
        400,
        {"detail": "Invalid provider type: x", "error": "Invalid provider type: x", "type": "validation_error"},
    )
