"""`/metrics` as JSON: points and statistics of what has been counted, and who gets the text instead."""

import json
from typing import Any

import pytest

from arriero.errors import BackendTimeout, BadRequest, ClientGone
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.server.providers.figures import MAX_TIMES, Figures
from support.lanes import KeptLane
from support.olla_fleet import WALL, Site, fleet
from support.tallied import CHAT, START_NS, good, recorded

UNKNOWN_PERCENTILES = {"p50_duration_ms": None, "p95_duration_ms": None, "p99_duration_ms": None}


async def text(inbound: Inbound, lane: Lane) -> None:
    reply(lane, 200, ((b"content-type", b"text/plain"),), b"up 1\n")


def site(roster: Roster, counts: Tally | None = None) -> Site:
    return Site(*Figures(roster, counts or Tally(), started=WALL - 100, text=text).routes)


async def shown(counts: Tally) -> Any:
    return await site(await fleet(), counts).get("/metrics")


def used() -> Tally:
    """Three good answers, a failure, a refusal and a client that left."""
    return recorded(
        good(backend="alpha", received_bytes=100),
        good(backend="alpha", received_bytes=100),
        good(backend="alpha", received_bytes=100),
        good(backend="alpha", error=BackendTimeout("too late", type="openrouter_error"), status=504),
        good(backend="alpha", error=BadRequest("no"), status=400),
        good(backend="alpha", error=ClientGone("left")),
    )


# ---- the whole -----------------------------------------------------------------------------------------------------


async def test_before_the_first_request() -> None:
    told = await shown(Tally())
    assert (list(told), told["timestamp"]) == (["metrics", "statistics", "timestamp"], WALL)
    assert told["statistics"] == {
        "global": {
            "total_requests": 0,
            "successful_requests": 0,
            "failed_requests": 0,
            "success_rate": None,
            "average_duration_ms": None,
            "min_duration_ms": None,
            "max_duration_ms": None,
            **UNKNOWN_PERCENTILES,
            "requests_per_second": 0.0,
            "total_request_bytes": None,
            "total_response_bytes": 0,
            "error_counts": {},
            "performance_category": None,
        },
        "by_endpoint": {},
    }
    names = {point["name"] for point in told["metrics"]}
    assert names == {"provider_healthy", "provider_request_total", "provider_error_total", "provider_in_flight"}


async def test_statistics_of_everything_and_of_each_path() -> None:
    told = (await shown(used()))["statistics"]
    counted = {
        "total_requests": 6,
        "successful_requests": 4,
        "failed_requests": 1,
        "success_rate": 80.0,
        "average_duration_ms": pytest.approx(100.0),
        "min_duration_ms": pytest.approx(100.0),
        "max_duration_ms": pytest.approx(100.0),
        "requests_per_second": 0.06,
        "total_request_bytes": None,
        "total_response_bytes": 300,
        "performance_category": "critical",
    }
    times = {name: pytest.approx(100.0) for name in UNKNOWN_PERCENTILES}
    assert told == {
        "global": {**counted, **times, "error_counts": {"openrouter_error": 1}},
        "by_endpoint": {"/api/chat": {**counted, **UNKNOWN_PERCENTILES, "error_counts": None}},
    }


async def test_points_of_a_path() -> None:
    told = (await shown(used()))["metrics"]
    points = [point for point in told if "endpoint" in point["labels"]]
    assert [(point["name"], point["type"], point["value"]) for point in points] == [
        ("request_total", "counter", 6),
        ("request_success_total", "counter", 4),
        ("request_error_total", "counter", 1),
        ("request_duration_ms", "gauge", pytest.approx(100.0)),
        ("request_duration_ms", "gauge", pytest.approx(100.0)),
        ("request_duration_ms", "gauge", pytest.approx(100.0)),
    ]
    assert points[0] == {
        "name": "request_total",
        "value": 6,
        "labels": {"endpoint": "/api/chat"},
        "timestamp": WALL,
        "type": "counter",
    }
    assert [point["labels"]["statistic"] for point in points[3:]] == ["average", "min", "max"]


async def test_points_of_the_providers() -> None:
    told = (await shown(used()))["metrics"]
    values = {
        (point["name"], point["labels"]["provider"], point["labels"].get("statistic")): point["value"]
        for point in told
        if "provider" in point["labels"]
    }
    assert {key: value for key, value in values.items() if key[1] == "alpha"} == {
        ("provider_healthy", "alpha", None): 1,
        ("provider_request_total", "alpha", None): 6,
        ("provider_error_total", "alpha", None): 1,
        ("provider_in_flight", "alpha", None): 2,
        ("provider_response_time_ms", "alpha", "average"): pytest.approx(100.0),
        ("provider_response_time_ms", "alpha", "min"): pytest.approx(100.0),
        ("provider_response_time_ms", "alpha", "max"): pytest.approx(100.0),
    }
    assert [values["provider_healthy", name, None] for name in ("beta", "gamma", "delta")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("ms", "word"),
    [(99, "excellent"), (100, "good"), (500, "acceptable"), (1000, "poor"), (4999, "poor"), (5000, "critical")],
)
async def test_a_word_for_how_it_performs(ms: int, word: str) -> None:
    counts = recorded(good(backend="alpha"), ms=ms)
    assert (await shown(counts))["statistics"]["global"]["performance_category"] == word


async def test_percentiles_are_of_the_models_asked_for_last() -> None:
    counts = Tally()
    for number, ms in ((1, 10), (2, 1000)):
        for _ in range(MAX_TIMES // 10):
            counts.record(good(model=f"old-{number}"), CHAT, START_NS + ms * 1_000_000)
    for number in range(20):
        for _ in range(600):
            counts.record(good(model=f"new-{number}"), CHAT, START_NS + 20_000_000_000)
    told = (await shown(counts))["statistics"]["global"]
    assert [told[name] for name in UNKNOWN_PERCENTILES] == [20_000.0, 20_000.0, 20_000.0]


# ---- the form ------------------------------------------------------------------------------------------------------


async def asked(accept: bytes | None) -> KeptLane:
    headers = () if accept is None else ((b"accept", accept),)
    return await site(await fleet()).ask("/metrics", headers=headers)


async def test_json_unless_text_is_preferred() -> None:
    for accept in (None, b"*/*", b"application/json"):
        lane = await asked(accept)
        assert (lane.status, lane.headers) == (200, ((b"content-type", b"application/json"), (b"vary", b"Accept")))
        assert json.loads(lane.body)["timestamp"] == WALL


async def test_text_where_it_is_preferred() -> None:
    lane = await asked(b"text/plain;version=0.0.4;q=0.3,*/*;q=0.1")
    assert (lane.headers, lane.body) == (((b"content-type", b"text/plain"),), b"up 1\n")
