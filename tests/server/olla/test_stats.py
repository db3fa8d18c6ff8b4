"""Olla's `/internal/stats/*` and `/internal/process`: a scripted tally in, whole answers out."""

from typing import Any

import pytest
from msgspec.structs import replace

from arriero.canonical.events import Usage
from arriero.errors import BackendRefused, BackendTimeout, BackendUnreachable, BadRequest, ClientGone, ModelNotFound
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import Tally
from arriero.routing.sticky import Key, Sessions
from arriero.server.olla.stats import Stats
from support.lanes import inbound
from support.olla_fleet import NOW, WALL, Clocks, Site, fleet

STAMP = "2027-01-15T08:00:00Z"


def said(
    tally: Tally,
    outcome: Outcome,
    *,
    ms: int = 100,
    ago: int = 10,
    client: str = "10.0.0.9",
    path: str = "/api/chat",
    streamed: bool | None = None,
) -> None:
    """One exchange that ended `ago` seconds before the question."""
    ended_ns = (int(WALL) - ago) * 1_000_000_000
    request = replace(inbound("POST", path), client=client, received_ns=ended_ns - ms * 1_000_000)
    tally.record(outcome, request, ended_ns, streamed=streamed)


def scripted() -> Tally:
    """Two models: one that was saved from `gamma` and refused once, one long ago; and a name that nobody has."""
    tally = Tally()
    tally.attempt("gamma", BackendUnreachable("refused"))
    tally.attempt("alpha", None)
    saved = Outcome(model="llama3.2", backend="alpha", attempts=2, relayed=True, usage=Usage(10, 20))
    said(tally, replace(saved, received_bytes=2048), ms=400, streamed=True)
    tally.attempt("alpha", None)
    said(
        tally,
        Outcome(model="llama3.2:latest", backend="alpha", attempts=1, relayed=False),
        client="::1",
        streamed=False,
    )
    tally.attempt("alpha", BackendRefused("no tools"))
    refused = Outcome(model="llama3.2", backend="alpha", attempts=1, error=BackendRefused("no tools"))
    said(tally, refused, ago=5)
    tally.attempt("beta", BackendTimeout("idle"))
    late = Outcome(model="acme/big", backend="beta", attempts=1, relayed=False, error=BackendTimeout("idle"))
    said(tally, late, ago=7200, path="/v1/messages", streamed=True)
    said(tally, Outcome(model="nope", error=ModelNotFound("nope"), status=404), ago=3)
    return tally


async def site(tally: Tally, *, sessions: Sessions | None = None) -> Site:
    clocks = Clocks()
    roster = await fleet(clocks=clocks)
    roster.sessions = sessions
    return Site(*Stats(roster, tally, started=WALL - 9000).routes)


LLAMA: dict[str, Any] = {
    "name": "llama3.2",
    "total_requests": 3,
    "successful_requests": 3,
    "failed_requests": 0,
    "success_rate": "100%",
    "total_traffic": "2.00 KB",
    "average_latency": "250ms",
    "p95_latency": "400ms",
    "p99_latency": "400ms",
    "unique_clients": 2,
    "last_requested": "5s ago",
    "routing_hits": 2,
    "routing_misses": 1,
    "routing_fallbacks": 0,
}
BIG: dict[str, Any] = {
    "name": "acme/big",
    "total_requests": 1,
    "successful_requests": 0,
    "failed_requests": 1,
    "success_rate": "0%",
    "total_traffic": "0 B",
    "average_latency": "0ms",
    "p95_latency": "0ms",
    "p99_latency": "0ms",
    "unique_clients": 1,
    "last_requested": "2h ago",
    "routing_hits": 1,
    "routing_misses": 0,
    "routing_fallbacks": 0,
}
NOBODY: dict[str, Any] = {
    **BIG,
    "name": "unknown",
    "successful_requests": 1,
    "failed_requests": 0,
    "success_rate": "100%",
    "last_requested": "3s ago",
    "routing_hits": 0,
    "routing_misses": 1,
}
SUMMARY = {
    "total_models": 3,
    "active_models": 2,
    "total_requests": 5,
    "overall_success_rate": "80.0%",
    "total_traffic": "2.00 KB",
    "most_popular_model": "llama3.2",
    "least_popular_model": "unknown",
}


async def test_models_the_most_used_first() -> None:
    told = await (await site(scripted())).get("/internal/stats/models")
    assert told == {"timestamp": STAMP, "models": [LLAMA, BIG, NOBODY], "endpoints": {}, "summary": SUMMARY}
    assert list(told["models"][0]) == list(LLAMA)


def at(name: str, requests: int, rate: float, latency: str, used: str, errors: int) -> dict[str, Any]:
    return {
        "endpoint_name": name,
        "request_count": requests,
        "success_rate": rate,
        "average_latency": latency,
        "last_used": used,
        "consecutive_errors": errors,
    }


async def test_models_by_endpoint() -> None:
    told = await (await site(scripted())).get("/internal/stats/models", "include_endpoints=true")
    assert told["models"] == [
        {**LLAMA, "endpoint_breakdown": {"alpha": at("alpha", 3, 100.0, "250ms", "5s ago", 0)}},
        {**BIG, "endpoint_breakdown": {"beta": at("beta", 1, 0.0, "0ms", "2h ago", 1)}},
        {**NOBODY, "endpoint_breakdown": {}},
    ]
    assert told["endpoints"] == {}


async def test_endpoints_over_all_models() -> None:
    told = await (await site(scripted())).get("/internal/stats/models", "include_summary=true")
    assert told["endpoints"] == {
        "gamma": at("gamma", 1, 0.0, "0ms", "never", 1),
        "alpha": at("alpha", 3, 100.0, "250ms", "5s ago", 0),
        "beta": at("beta", 1, 0.0, "0ms", "2h ago", 1),
    }
    assert told["models"] == [LLAMA, BIG, NOBODY]


async def test_tokens_of_models() -> None:
    told = await (await site(scripted())).get("/internal/stats/models", "include_tokens=true")
    none = {"input": 0, "output": 0, "total": 0}
    some = {"input": 10, "output": 20, "total": 30}
    assert [model["tokens"] for model in told["models"]] == [some, none, none]
    assert told["summary"] == {**SUMMARY, "tokens": some}


async def test_a_question_that_is_not_understood() -> None:
    with pytest.raises(BadRequest, match="include_summary may be true or false"):
        await (await site(scripted())).get("/internal/stats/models", "include_summary=maybe")


async def test_models_before_any_request() -> None:
    told = await (await site(Tally())).get("/internal/stats/models", "include_endpoints=true&include_summary=true")
    assert told == {
        "timestamp": STAMP,
        "models": [],
        "endpoints": {},
        "summary": {
            "total_models": 0,
            "active_models": 0,
            "total_requests": 0,
            "overall_success_rate": "N/A",
            "total_traffic": "0 B",
            "most_popular_model": "",
            "least_popular_model": "",
        },
    }


async def test_a_model_whose_clients_all_left_has_no_rate() -> None:
    tally = Tally()
    tally.attempt("alpha", ClientGone("left"))
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, error=ClientGone("left")))
    told = await (await site(tally)).get("/internal/stats/models", "include_endpoints=true")
    (model,) = told["models"]
    assert [model[name] for name in ("total_requests", "successful_requests", "failed_requests")] == [1, 0, 0]
    assert model["success_rate"] == "N/A"
    assert model["endpoint_breakdown"]["alpha"]["success_rate"] is None


async def test_a_name_that_is_no_text_breaks_nothing() -> None:
    tally = Tally()
    said(tally, Outcome(model="odd\ud800", backend="alpha", attempts=1, loose=True))
    told = await (await site(tally)).get("/internal/stats/models")
    assert [model["name"] for model in told["models"]] == ["odd\ud800"]


async def test_dialects_are_translators() -> None:
    told = await (await site(scripted())).get("/internal/stats/translators")
    assert told == {
        "timestamp": STAMP,
        "translators": [
            {
                "translator_name": "ollama",
                "total_requests": 4,
                "successful_requests": 4,
                "failed_requests": 0,
                "success_rate": "100%",
                "passthrough_requests": 1,
                "translation_requests": 1,
                "passthrough_rate": "50.0%",
                "streaming_requests": 1,
                "non_streaming_requests": 1,
                "fallback_no_compatible_endpoints": 0,
                "fallback_translator_does_not_support_passthrough": 0,
                "fallback_cannot_passthrough": 1,
                "average_latency": "250ms",
            },
            {
                "translator_name": "anthropic",
                "total_requests": 1,
                "successful_requests": 0,
                "failed_requests": 1,
                "success_rate": "0%",
                "passthrough_requests": 0,
                "translation_requests": 1,
                "passthrough_rate": "0%",
                "streaming_requests": 1,
                "non_streaming_requests": 0,
                "fallback_no_compatible_endpoints": 1,
                "fallback_translator_does_not_support_passthrough": 0,
                "fallback_cannot_passthrough": 0,
                "average_latency": "0ms",
            },
        ],
        "summary": {
            "total_translators": 2,
            "active_translators": 2,
            "total_requests": 5,
            "overall_success_rate": "80.0%",
            "total_passthrough": 1,
            "total_translations": 2,
            "overall_passthrough_rate": "33.3%",
            "total_streaming": 2,
            "total_non_streaming": 1,
        },
    }


async def test_no_sessions_are_kept() -> None:
    assert await (await site(Tally())).get("/internal/stats/sticky") == {"enabled": False}


async def test_sessions_that_have_not_timed_out() -> None:
    sessions = Sessions(ttl_seconds=600, max_sessions=2)
    sessions.pin(Key("old", "session_header"), "alpha", NOW - 600)
    sessions.pin(Key("a", "session_header"), "alpha", NOW - 10)
    sessions.pin(Key("b", "session_header"), "beta", NOW - 5)
    assert sessions.find(Key("a", "session_header"), NOW - 1) == "alpha"
    assert sessions.find(Key("new", "session_header"), NOW - 1) is None
    lane = await (await site(Tally(), sessions=sessions)).ask("/internal/stats/sticky")
    assert lane.body == (
        b'{"enabled":true,"active_sessions":2,"insertions":3,"hits":1,"misses":1,"evictions":1,"max_sessions":2,'
        b'"idle_ttl_seconds":600}'
    )


async def test_the_process() -> None:
    told = await (await site(Tally())).get("/internal/process")
    assert list(told) == ["timestamp", "memory", "garbage_collection", "goroutines", "runtime", "allocations"]
    assert (told["timestamp"], told["runtime"]["uptime"]) == (STAMP, "2h 30m")
