"""`/health` and the pages below it: whole bodies, and the status for each condition of the fleet."""

import json
from typing import Any

import pytest

import arriero
from arriero.backends.engine import DEMO_ID
from arriero.canonical.catalog import ModelCard
from arriero.errors import BackendUnreachable
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.fleet import State
from arriero.routing.names import Patterns
from arriero.server.providers.health import Health
from support.olla_fleet import SEEN, WALL, Clocks, Resting, Site, fleet, tally


def site(roster: Roster, counts: Tally | None = None) -> Site:
    return Site(*Health(roster, counts or Tally(), started=WALL - 9000, environment="production").routes)


def breaker(**other: Any) -> dict[str, Any]:
    return {
        "state": "closed",
        "failure_count": 0,
        "success_count": 0,
        "request_count": 0,
        "last_failure_time": None,
        **other,
    }


def provider(**other: Any) -> dict[str, Any]:
    """The health of a backend that nobody has asked anything."""
    return {
        "healthy": True,
        "status": "operational",
        "state": "healthy",
        "type": "ollama",
        "response_time_ms": 85.3,
        "last_check": WALL - 2,
        "circuit_breaker": breaker(),
        "request_count": 0,
        "error_count": 0,
        "error_rate": None,
        "error": None,
        "error_type": None,
        **other,
    }


ALPHA = provider(
    request_count=20,
    error_count=1,
    error_rate=0.05,
    circuit_breaker=breaker(success_count=19, request_count=20),
)
BETA = provider(
    type="vllm",
    healthy=False,
    status="error",
    error="circuit breaker open for 12 s more",
    circuit_breaker=breaker(state="open", failure_count=5),
)
GAMMA = provider(
    healthy=False,
    status="error",
    state="offline",
    response_time_ms=None,
    error="gamma refused the connection",
    error_type=BackendUnreachable("").type,
)
DELTA = provider(
    type="openai",
    healthy=False,
    status="error",
    state="rate_limited",
    error="rate limited; it wants to be left alone for 25 s more",
)
PROVIDERS = {"alpha": ALPHA, "beta": BETA, "gamma": GAMMA, "delta": DELTA}
METRICS = {
    "total_requests": 20,
    "total_errors": 1,
    "error_rate": 0.05,
    "error_rate_percent": 5.0,
    "active_providers": 4,
    "uptime": 9000.0,
}
WHOLE = {
    "status": "degraded",
    "uptime_seconds": 9000.0,
    "model_count": 4,
    "filtered_model_count": 4,
    "request_count": 20,
    "error_count": 1,
    "error_rate": 0.05,
    "last_model_refresh": SEEN,
    "environment": "production",
    "timestamp": WALL,
    "version": arriero.__version__,
    "uptime": 9000.0,
    "providers": PROVIDERS,
    "metrics": METRICS,
}


async def test_health_has_the_keys_of_the_documentation_and_those_of_the_code() -> None:
    roster = await fleet()
    for path in ("/health", "/health/", "/health/detailed"):
        assert await site(roster, tally()).get(path) == WHOLE, path


async def test_the_parts_have_pages_of_their_own() -> None:
    pages = site(await fleet(), tally())
    assert await pages.get("/health/providers") == PROVIDERS
    assert await pages.get("/health/metrics") == METRICS


async def test_one_provider_by_name() -> None:
    pages = site(await fleet(), tally())
    for name, told in PROVIDERS.items():
        assert await pages.get(f"/health/providers/{name}") == {**told, "providers": {name: told}}


async def test_a_word_that_means_several_is_their_sum_with_its_parts() -> None:
    assert await site(await fleet(), tally()).get("/health/providers/ollama") == {
        **ALPHA,
        "error": "gamma: gamma refused the connection",
        "providers": {"alpha": ALPHA, "gamma": GAMMA},
    }


async def test_a_word_that_means_nobody_here() -> None:
    lane = await site(await fleet()).ask("/health/providers/openrouter")
    told = "Provider openrouter not configured"
    assert (lane.status, json.loads(lane.body)) == (
        404,
        {
            "detail": told,
            "error": told,
            "type": "not_found",
            "healthy": False,
            "status": "not_configured",
            "last_check": None,
        },
    )


async def test_a_word_that_means_nothing() -> None:
    lane = await site(await fleet()).ask("/health/providers/x")
    told = "Invalid provider type: x"
    assert (lane.status, json.loads(lane.body)) == (400, {"detail": told, "error": told, "type": "validation_error"})


# ---- the status ----------------------------------------------------------------------------------------------------


async def test_where_all_are_well_it_is_healthy() -> None:
    one = Resting("one", "ollama", "http://10.0.0.1:11434", ModelCard(id="tiny:latest"))
    told = await site(await fleet([(one, Seat())])).get("/health")  # type: ignore[list-item]
    assert (told["status"], told["error_rate"], told["metrics"]["error_rate_percent"]) == ("healthy", None, None)


async def test_where_none_is_well_it_is_503_with_everything_twice() -> None:
    roster = await fleet()
    del roster.entries["alpha"]
    pages = site(roster)
    lane = await pages.ask("/health")
    told = json.loads(lane.body)
    detail = told.pop("detail")
    assert (lane.status, told["status"], detail) == (503, "unhealthy", told)
    assert await pages.get("/health/detailed") == told


def engine(*ids: str) -> Resting:
    return Resting("local", "engine", "this machine", *(ModelCard(id=id) for id in ids), profile="engine")


@pytest.mark.parametrize(
    ("ids", "status", "active"),
    [((DEMO_ID,), "unhealthy", 1), ((), "unhealthy", 1), ((DEMO_ID, "qwen3:latest"), "degraded", 2)],
)
async def test_an_engine_with_the_demo_model_alone_is_nobody_beside_others(
    ids: tuple[str, ...], status: str, active: int
) -> None:
    router = Resting("router", "openai", "https://api.example.com/v1", profile="openrouter")
    roster = await fleet([(router, Seat()), (engine(*ids), Seat())])  # type: ignore[list-item]
    pages = site(roster)
    told = await pages.get("/health")
    assert (told["status"], told["metrics"]["active_providers"]) == ("healthy", active)
    roster.entries["router"].state = State.OFFLINE
    told = await pages.get("/health/detailed")
    assert (told["status"], (await pages.get("/health/metrics"))["active_providers"]) == (status, active)
    assert {name: one["healthy"] for name, one in told["providers"].items()} == {"router": False, "local": True}
    assert (await pages.ask("/health")).status == (503 if status == "unhealthy" else 200)


async def test_an_engine_alone_is_the_provider() -> None:
    told = await site(await fleet([(engine(DEMO_ID), Seat())])).get("/health")  # type: ignore[list-item]
    assert (told["status"], told["metrics"]["active_providers"]) == ("healthy", 1)


async def test_without_any_provider_it_is_503() -> None:
    lane = await site(await fleet([])).ask("/health")
    told = json.loads(lane.body)
    assert (lane.status, told["status"], told["providers"], told["last_model_refresh"]) == (503, "unhealthy", {}, None)


# ---- the counts of models ------------------------------------------------------------------------------------------


async def test_models_are_counted_once_and_hidden_ones_apart() -> None:
    shown, hidden = ModelCard(id="a/shown"), ModelCard(id="b/hidden")
    one = Resting("one", "openai", "http://10.0.0.1/v1", shown, hidden, profile="generic")
    two = Resting("two", "openai", "http://10.0.0.2/v1", shown, profile="generic")
    seat = Seat(patterns=Patterns(exclude=("b/*",)))
    told = await site(await fleet([(one, seat), (two, seat)])).get("/health")  # type: ignore[list-item]
    assert (told["model_count"], told["filtered_model_count"]) == (2, 1)


async def test_time_goes_on() -> None:
    clocks = Clocks()
    pages = site(await fleet(clocks=clocks))
    clocks.passed = 20.0
    told = await pages.get("/health")
    assert (told["uptime_seconds"], told["timestamp"]) == (9020.0, WALL + 20)
    assert told["providers"]["beta"]["circuit_breaker"]["state"] == "half_open"
    assert told["providers"]["beta"]["healthy"] is True
