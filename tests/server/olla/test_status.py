"""The pages that dashboards poll: whole bodies over a small fleet, their key sets, and when they count as changed."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

import arriero
from arriero.backends.remote import Ollama, RemoteSettings
from arriero.canonical.catalog import ModelCard
from arriero.dialects.profiles import profile_of
from arriero.errors import BadRequest
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Breaker
from arriero.routing.fleet import State
from arriero.routing.names import Patterns
from arriero.server.olla.formats import endpoint_id
from arriero.server.olla.status import Facts, Status
from support.lanes import KeptLane
from support.olla_fleet import NOW, SEEN, WALL, Clocks, Resting, Site, fleet, tally

ALPHA, BETA, GAMMA, DELTA = (
    endpoint_id(url)
    for url in (
        "http://10.0.0.1:11434",
        "http://10.0.0.2:8000/v1",
        "http://10.0.0.3:11434",
        "https://api.example.com/v1",
    )
)
PAGES = ("/internal/status", "/internal/status/endpoints", "/internal/status/models")


def site(roster: Roster, counts: Tally | None = None) -> Site:
    facts = Facts(policy="least-connections")
    return Site(*Status(roster, counts or Tally(), started=WALL - 9000, facts=facts).routes)


def line(**other: Any) -> dict[str, Any]:
    """A backend in `/internal/status` that nobody has asked anything."""
    return {
        "status": "healthy",
        "breaker": "closed",
        "priority": 100,
        "success_rate": "N/A",
        "avg_latency": "0ms",
        "min_latency_ms": 0,
        "max_latency_ms": 0,
        "traffic": "0 B",
        "connections": 0,
        "requests": 0,
        "last_check": "2s ago",
        "health_check_at": "2027-01-15T07:59:58Z",
        "next_check": "in 3s",
        "next_check_at": "2027-01-15T08:00:03Z",
        "issues": "",
        "models": {"last_updated": "2027-01-15T07:58:00Z", "count": 1},
        **other,
    }


def row(**other: Any) -> dict[str, Any]:
    """A backend in `/internal/status/endpoints` that nobody has asked anything."""
    return {
        "status": "healthy",
        "breaker": "closed",
        "priority": 100,
        "model_count": 1,
        "request_count": 0,
        "success_rate": "N/A",
        "min_latency_ms": 0,
        "max_latency_ms": 0,
        "active_connections": 0,
        "health_check": "2s ago",
        "health_check_at": "2027-01-15T07:59:58Z",
        "response_time": "85ms",
        "next_check_at": "2027-01-15T08:00:03Z",
        "last_model_sync": "2m ago",
        "last_model_sync_at": "2027-01-15T07:58:00Z",
        **other,
    }


# ---- whole bodies --------------------------------------------------------------------------------------------------


async def test_health_says_that_the_process_answers() -> None:
    assert await site(await fleet()).get("/internal/health") == {"status": "healthy"}


async def test_status_is_everything_on_one_page() -> None:
    body = await site(await fleet(), tally()).get("/internal/status")
    assert body == {
        "timestamp": "2027-01-15T08:00:00Z",
        "proxy": {"engine": "arriero", "profile": "auto", "balancer": "least-connections"},
        "endpoints": [
            line(
                id=GAMMA,
                name="gamma",
                url="http://10.0.0.3:11434",
                status="offline",
                priority=200,
                issues="unavailable: gamma refused the connection, 7 checks failed in a row",
                models={"last_updated": "2027-01-15T07:58:00Z", "count": 2},
            ),
            line(
                id=ALPHA,
                name="alpha",
                url="http://10.0.0.1:11434",
                success_rate="95.0%",
                avg_latency="120ms",
                avg_latency_ms=120,
                min_latency_ms=81,
                max_latency_ms=2400,
                traffic="1.50 KB",
                connections=2,
                requests=20,
                models={"last_updated": "2027-01-15T07:58:00Z", "count": 2},
            ),
            line(
                id=BETA,
                name="beta",
                url="http://10.0.0.2:8000/v1",
                breaker="open",
                issues="breaker open, next trial in 12s",
            ),
            line(
                id=DELTA,
                name="delta",
                url="https://api.example.com/v1",
                status="rate_limited",
                priority=50,
                issues="wants to be left alone, next request in 25s",
            ),
        ],
        "security": {"status": "normal", "blocked_ips": 1, "violations": {"rate_limits": 1, "size_limits": 1}},
        "system": {
            "start_time": "2027-01-15T05:30:00Z",
            "status": "critical",
            "endpoints_up": "1/4",
            "success_rate": "95.0%",
            "avg_latency": "120ms",
            "total_traffic": "1.50 KB",
            "uptime": "2h 30m",
            "version": arriero.__version__,
            "commit": None,
            "active_connections": 2,
            "queued_requests": 0,
            "security_violations": 2,
            "total_requests": 20,
            "total_failures": 1,
            "has_traffic": True,
        },
    }


async def test_endpoints_tell_their_states_and_who_is_really_used() -> None:
    body = await site(await fleet(), tally()).get("/internal/status/endpoints")
    gamma = row(
        id=GAMMA,
        name="gamma",
        type="ollama",
        url="http://10.0.0.3:11434",
        status="offline",
        priority=200,
        model_count=2,
        issues="unavailable: gamma refused the connection, 7 checks failed in a row",
    )
    del gamma["response_time"]
    assert body == {
        "timestamp": "2027-01-15T08:00:00Z",
        "total_count": 4,
        "healthy_count": 2,
        "routable_count": 1,
        "endpoints": [
            gamma,
            row(
                id=ALPHA,
                name="alpha",
                type="ollama",
                url="http://10.0.0.1:11434",
                model_count=2,
                request_count=20,
                success_rate="95.0%",
                min_latency_ms=81,
                max_latency_ms=2400,
                avg_latency_ms=120,
                active_connections=2,
            ),
            row(
                id=BETA,
                name="beta",
                type="vllm",
                url="http://10.0.0.2:8000/v1",
                breaker="open",
                issues="breaker open, next trial in 12s",
            ),
            row(
                id=DELTA,
                name="delta",
                type="openai-compatible",
                url="https://api.example.com/v1",
                status="rate_limited",
                priority=50,
                issues="wants to be left alone, next request in 25s",
            ),
        ],
    }


SEEN_TEXTS = {"last_seen": "2m ago", "last_seen_at": "2027-01-15T07:58:00Z"}
BIG = {
    "name": "acme/big",
    "type": "vlm",
    **SEEN_TEXTS,
    "endpoints": ["beta", "delta"],
    "endpoint_ids": [BETA, DELTA],
    "aliases": ["acme/big:latest"],
    "capabilities": ["completion", "vision"],
}
EMBED = {
    "name": "embed:v1",
    "type": "embeddings",
    "family": "bert",
    **SEEN_TEXTS,
    "endpoints": ["alpha"],
    "endpoint_ids": [ALPHA],
    "capabilities": ["embedding"],
}
GONE = {"name": "gone:7b", "family": "llama", **SEEN_TEXTS, "endpoints": ["gamma"], "endpoint_ids": [GAMMA]}
LLAMA = {
    "name": "llama3.2:latest",
    "type": "llm",
    "family": "llama",
    "size": "1.88 GB",
    "params": "3.2B",
    "quant": "Q4_K_M",
    **SEEN_TEXTS,
    "endpoints": ["alpha", "gamma"],
    "endpoint_ids": [ALPHA, GAMMA],
    "aliases": ["fast", "llama3.2"],
    "capabilities": ["completion", "tools"],
}
SHORT = {
    "timestamp": "2027-01-15T08:00:00Z",
    "models_by_family": {"bert": ["embed:v1"], "llama": ["gone:7b", "llama3.2:latest"], "unknown": ["acme/big"]},
    "recent_models": [BIG, EMBED, GONE, LLAMA],
    "total_models": 4,
    "total_families": 3,
    "total_endpoints": 4,
}


async def test_models_stand_by_family() -> None:
    body = await site(await fleet()).get("/internal/status/models")
    assert body == SHORT
    assert list(body["models_by_family"]) == ["bert", "llama", "unknown"]


async def test_models_in_full_when_somebody_asks_for_groups() -> None:
    body = await site(await fleet()).get("/internal/status/models", "detailed=true&group=family")
    assert body == {
        **SHORT,
        "model_groups": [
            {"family": "bert", "models": [EMBED], "endpoints": ["alpha"], "model_count": 1},
            {"family": "llama", "models": [GONE, LLAMA], "endpoints": ["alpha", "gamma"], "model_count": 2},
            {"family": "unknown", "models": [BIG], "endpoints": ["beta", "delta"], "model_count": 1},
        ],
    }


@pytest.mark.parametrize("query", ["detailed=true", "group=family", "detailed=false&group=family"])
async def test_groups_take_both_parameters(query: str) -> None:
    assert await site(await fleet()).get("/internal/status/models", query) == SHORT


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("group=size", "group=size is not understood: group may be family"),
        ("group=family&detailed=much", "detailed=much is not understood: detailed may be true or false"),
    ],
)
async def test_a_parameter_that_makes_no_sense_is_told(query: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as met:
        await site(await fleet()).ask("/internal/status/models", query)
    assert met.value.message == sentence


async def test_the_newest_ten_models_are_recent() -> None:
    old = Resting("old", "ollama", "http://10.0.1.1:11434", *(ModelCard(id=f"old-{n}:1b") for n in range(8)))
    new = Resting("new", "ollama", "http://10.0.1.2:11434", *(ModelCard(id=f"zz-new-{n}:1b") for n in range(8)))
    roster = await fleet([(old, Seat()), (new, Seat())])  # type: ignore[list-item]
    roster.entries["new"].models_at = SEEN + 1
    body = await site(roster).get("/internal/status/models")
    assert [model["name"] for model in body["recent_models"]] == [
        *(f"zz-new-{n}:1b" for n in range(8)),
        "old-0:1b",
        "old-1:1b",
    ]
    assert (body["total_models"], body["total_families"], body["total_endpoints"]) == (16, 1, 2)


async def test_a_fleet_of_nobody_is_critical_and_says_so() -> None:
    asked = site(await fleet([]))
    status = await asked.get("/internal/status")
    assert (status["endpoints"], status["system"]["status"], status["system"]["endpoints_up"]) == (
        [],
        "critical",
        "0/0",
    )
    assert (status["system"]["success_rate"], status["system"]["has_traffic"]) == ("N/A", False)
    assert await asked.get("/internal/status/endpoints") == {
        "timestamp": "2027-01-15T08:00:00Z",
        "total_count": 0,
        "healthy_count": 0,
        "routable_count": 0,
        "endpoints": [],
    }


# ---- key sets ------------------------------------------------------------------------------------------------------

KEYS: Mapping[str, str] = {
    "/internal/status": "timestamp proxy endpoints security system",
    "/internal/status proxy": "engine profile balancer",
    "/internal/status security": "status blocked_ips violations",
    "/internal/status security violations": "rate_limits size_limits",
    "/internal/status system": "start_time status endpoints_up success_rate avg_latency total_traffic uptime version"
    " commit active_connections security_violations total_requests total_failures has_traffic",
    "/internal/status endpoints": "id name url status priority success_rate avg_latency min_latency_ms max_latency_ms"
    " traffic connections requests last_check next_check issues models",
    "/internal/status endpoints models": "last_updated count",
    "/internal/status/endpoints": "timestamp total_count healthy_count routable_count endpoints",
    "/internal/status/endpoints endpoints": "id name type status priority url model_count request_count success_rate"
    " min_latency_ms max_latency_ms active_connections health_check",
    "/internal/status/models": "timestamp models_by_family recent_models total_models total_families total_endpoints",
    "/internal/status/models recent_models": "name last_seen endpoints endpoint_ids",
}
"""What Olla's clients find in every answer."""

KEYS_MORE: Mapping[str, str] = {
    "/internal/status system": "queued_requests",
    "/internal/status endpoints": "breaker",
    "/internal/status/endpoints endpoints": "breaker",
}
"""What is ours."""


@pytest.mark.parametrize("place", KEYS)
async def test_no_key_is_missing_where_nothing_is_known(place: str) -> None:
    """A backend that was never asked, and that listed one bare model."""
    roster = await fleet([(Resting("new", "ollama", "http://10.0.1.1:11434", ModelCard(id="a:1b")), Seat())])  # type: ignore[list-item]
    entry = roster.entries["new"]
    entry.state = State.UNKNOWN
    entry.check_at = entry.next_check_at = entry.models_at = entry.check_seconds = None
    page, *path = place.split()
    value = await site(roster).get(page)
    for key in path:
        value = value[key]
        value = value[0] if isinstance(value, list) else value
    assert set(value) == {*KEYS[place].split(), *KEYS_MORE.get(place, "").split()}


async def test_what_is_not_known_is_said_so() -> None:
    roster = await fleet([(Resting("new", "ollama", "http://10.0.1.1:11434"), Seat())])  # type: ignore[list-item]
    entry = roster.entries["new"]
    entry.state = State.UNKNOWN
    entry.check_at = entry.next_check_at = entry.models_at = entry.check_seconds = None
    shown = (await site(roster).get("/internal/status"))["endpoints"][0]
    assert {key: shown[key] for key in ("status", "last_check", "next_check", "success_rate", "models")} == {
        "status": "unknown",
        "last_check": "never",
        "next_check": "unknown",
        "success_rate": "N/A",
        "models": {"last_updated": None, "count": 0},
    }


# ---- asked again ---------------------------------------------------------------------------------------------------


async def again(asked: Site, page: str, before: KeptLane) -> int | None:
    tag = before.field(b"etag")
    assert tag is not None
    return (await asked.ask(page, headers=((b"if-none-match", tag),))).status


@pytest.mark.parametrize("page", PAGES)
async def test_a_poller_gets_304_while_only_the_clock_moves(page: str) -> None:
    clocks = Clocks()
    asked = site(await fleet(clocks=clocks), tally())
    first = await asked.ask(page)
    clocks.passed = 5.0  # every "2s ago", "in 3s", "next trial in 12s" reads differently now
    second = await asked.ask(page)
    assert await again(asked, page, first) == 304
    assert first.body != second.body
    assert first.field(b"etag") == second.field(b"etag")


async def test_time_alone_half_opens_a_breaker_and_that_is_news() -> None:
    clocks = Clocks()
    asked = site(await fleet(clocks=clocks))
    first = await asked.ask("/internal/status")
    clocks.passed = 12.0
    second = await asked.ask("/internal/status", headers=((b"if-none-match", first.field(b"etag") or b""),))
    beta = json.loads(second.body)["endpoints"][2]
    assert (second.status, beta["breaker"], beta["issues"]) == (200, "half_open", "breaker half open, trial due")


@pytest.mark.parametrize("page", PAGES[:2])
async def test_whatever_else_changes_is_news(page: str) -> None:
    counts = tally()
    roster = await fleet()
    asked = site(roster, counts)
    alpha = roster.entries["alpha"]

    def check() -> None:
        alpha.check_at = WALL

    def work() -> None:
        alpha.in_flight += 1

    def count() -> None:
        counts.backends["alpha"].requests += 1

    def trip() -> None:
        alpha.breaker = Breaker(5, counted_at=NOW, admits_at=NOW + 30, open_seconds=30.0)

    def die() -> None:
        alpha.state = State.OFFLINE

    for change in (check, work, count, trip, die):
        before = await asked.ask(page)
        change()
        assert await again(asked, page, before) == 200, change.__name__


async def test_a_page_is_compressed_for_who_can_read_that() -> None:
    lane = await site(await fleet()).ask("/internal/status", headers=((b"accept-encoding", b"gzip"),))
    assert (lane.field(b"content-encoding"), lane.field(b"vary")) == (b"gzip", b"Accept-Encoding")
    assert lane.field(b"cache-control") == b"private, no-cache"


# ---- what must not be there, and what must not break it ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
async def test_no_secret_is_shown(page: str) -> None:
    settings = RemoteSettings(
        name="closed",
        url="http://user:s3cret-word@10.0.0.9:11434",
        profile=profile_of("ollama"),
        headers={"X-Team": "s3cret-team"},
    )
    roster = Roster([(Ollama(settings), Seat(extra_models=("a:1b",)))], clock=lambda: NOW, wall=lambda: WALL)
    lane = await site(roster).ask(page)
    assert lane.status == 200 and b"s3cret" not in lane.body
    await roster.close()


async def test_a_name_that_is_not_text_does_not_break_the_page() -> None:
    odd = Resting("odd", "ollama", "http://10.0.1.1:11434", ModelCard(id="\ud800é:1b", family="\ud800"))
    asked = site(await fleet([(odd, Seat())]))  # type: ignore[list-item]
    body = await asked.get("/internal/status/models", "detailed=true&group=family")
    assert body["models_by_family"] == {"\ud800": ["\ud800é:1b"]}


async def test_what_a_filter_hides_is_not_counted() -> None:
    both = Resting("one", "ollama", "http://10.0.1.1:11434", ModelCard(id="a:1b"), ModelCard(id="embed:v1"))
    roster = await fleet([(both, Seat(patterns=Patterns(exclude=("embed*",))))])  # type: ignore[list-item]
    assert (await site(roster).get("/internal/status/endpoints"))["endpoints"][0]["model_count"] == 1


async def test_a_reload_may_change_the_policy() -> None:
    status = Status(await fleet(), Tally(), started=WALL, facts=Facts(policy="priority"))
    status.facts = Facts(policy="round-robin")
    assert (await Site(*status.routes).get("/internal/status"))["proxy"]["balancer"] == "round-robin"
