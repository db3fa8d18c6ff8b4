"""`/internal/metrics` for a scripted tally over a known fleet: every sample, as Prometheus reads it."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

import arriero
from arriero.backends.http.call import Headers
from arriero.canonical.events import Usage
from arriero.errors import BackendRefused, BackendUnreachable, ClientGone, ModelNotFound
from arriero.gateway.outcome import Outcome
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.server import metrics as module
from arriero.server.metrics import Metrics
from support.lanes import inbound
from support.olla_fleet import WALL, Site, fleet

ENDED_NS = (int(WALL) - 10) * 1_000_000_000

Samples = dict[str, float]


def said(
    tally: Tally, outcome: Outcome, *, ms: int, client: str = "10.0.0.9", first_byte_ms: int | None = None
) -> None:
    """One exchange that ended ten seconds before the scrape."""
    received_ns = ENDED_NS - ms * 1_000_000
    if first_byte_ms is not None:
        outcome.first_byte_ns = received_ns + first_byte_ms * 1_000_000
    tally.record(outcome, replace(inbound("POST", "/api/chat"), client=client, received_ns=received_ns), ENDED_NS)


def scripted() -> Tally:
    """A request that `alpha` saved from `gamma`, one that `alpha` refused, one whose client left, an unknown name."""
    tally = Tally()
    tally.attempt("gamma", BackendUnreachable("refused"))
    tally.attempt("alpha", None)
    saved = Outcome(model="llama3.2", backend="alpha", attempts=2, status=200, usage=Usage(10, 20), received_bytes=2048)
    said(tally, saved, ms=4000, first_byte_ms=200)
    tally.attempt("alpha", BackendRefused("no tools"))
    refused = Outcome(model="llama3.2", backend="alpha", attempts=1, status=400, error=BackendRefused("no tools"))
    said(tally, refused, ms=30, client="::1")
    tally.attempt("alpha", ClientGone("left"))
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, error=ClientGone("left")), ms=1000)
    said(tally, Outcome(model="nope", error=ModelNotFound("nope"), status=404), ms=1)
    tally.security.limit("10.9.9.9", WALL)
    tally.security.oversize()
    return tally


async def scrape(tally: Tally, *, roster: Roster | None = None, headers: Headers = ()) -> str:
    """The text, from the route."""
    roster = roster or await fleet()
    site = Site(*Metrics(roster, tally, started=WALL - 9000, policy="least-connections").routes)
    lane = await site.ask("/internal/metrics", headers=headers)
    assert lane.status == 200
    return lane.body.decode()


def read(text: str, prefix: str = "") -> Samples:
    """Sample by sample, under its name and labels as they are written, in the order of their names."""
    found: Samples = {}
    for family in families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, "a sample comes once"
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = sample.value
    return found


async def test_the_whole_under_ollas_names() -> None:
    text = await scrape(scripted())
    total = {name: value for name, value in read(text, "olla_").items() if not name.startswith(("endpoint_", "model"))}
    assert total == {
        f"info{{balancer=least-connections,commit=,engine=arriero,profile=,version={arriero.__version__}}}": 1,
        "system_status": 1,
        "endpoints_total": 4,
        "endpoints_healthy": 2,
        "success_rate_percent": 100,
        "avg_latency_ms": 4000,
        "total_traffic_bytes": 2048,
        "uptime_seconds": 9000,
        "active_connections": 2,
        "requests_total": 4,
        "failures_total": 0,
        "security_violations_total": 2,
        "security_blocked_ips": 1,
        "security_rate_limit_violations_total": 1,
        "security_size_limit_violations_total": 1,
        "security_status": 1,
    }


async def test_endpoints_under_ollas_names() -> None:
    told = read(await scrape(scripted()), "olla_endpoint_")
    assert told == {
        "up{endpoint=alpha,status=healthy}": 1,
        "up{endpoint=beta,status=healthy}": 1,
        "up{endpoint=gamma,status=offline}": 0,
        "up{endpoint=delta,status=rate_limited}": 0,
        **per("requests_total", "endpoint", alpha=3, beta=0, gamma=1, delta=0),
        **per("connections", "endpoint", alpha=2, beta=0, gamma=0, delta=0),
        **per("success_rate_percent", "endpoint", alpha=100, gamma=0),
        **per("avg_latency_ms", "endpoint", alpha=4000),
        **per("traffic_bytes", "endpoint", alpha=2048, beta=0, gamma=0, delta=0),
        **per("priority", "endpoint", alpha=100, beta=100, gamma=200, delta=50),
        **per("models_count", "endpoint", alpha=2, beta=1, gamma=2, delta=1),
    }


def per(name: str, label: str, **values: float) -> Samples:
    """A sample for each of these."""
    return {f"{name}{{{label}={one}}}": value for one, value in values.items()}


async def test_models_under_ollas_names() -> None:
    text = await scrape(scripted())
    assert read(text, "olla_models_") == {
        "total": 2,
        "active": 2,
        "requests_total": 4,
        "success_rate_percent": 100,
        "traffic_bytes": 2048,
    }
    llama, alpha = "{model=llama3.2}", "{endpoint=alpha,model=llama3.2}"
    assert read(text, "olla_model_") == {
        f"requests_total{llama}": 3,
        f"successful_requests_total{llama}": 2,
        f"failed_requests_total{llama}": 0,
        f"routing_hits_total{llama}": 2,
        f"routing_misses_total{llama}": 1,
        f"routing_fallbacks_total{llama}": 0,
        f"success_rate_percent{llama}": 100,
        f"avg_latency_ms{llama}": 4000,
        f"p95_latency_ms{llama}": 4000,
        f"p99_latency_ms{llama}": 4000,
        f"unique_clients{llama}": 2,
        f"traffic_bytes{llama}": 2048,
        f"endpoint_requests_total{alpha}": 3,
        f"endpoint_success_rate_percent{alpha}": 100,
        f"endpoint_avg_latency_ms{alpha}": 4000,
        f"endpoint_consecutive_errors{alpha}": 0,
    }


async def test_counts_under_our_names() -> None:
    told = read(await scrape(scripted()), "arriero_")
    counted = {name: value for name, value in told.items() if "_total" in name}
    assert counted == {
        "requests_total{backend=alpha,status_class=2xx}": 1,
        "requests_total{backend=alpha,status_class=4xx}": 1,
        "requests_total{backend=alpha,status_class=gone}": 1,
        "requests_total{backend=,status_class=4xx}": 1,
        "attempts_total{backend=gamma,result=backend_unreachable}": 1,
        "attempts_total{backend=alpha,result=ok}": 1,
        "attempts_total{backend=alpha,result=backend_refused}": 1,
        "attempts_total{backend=alpha,result=client_gone}": 1,
        **tokens(alpha=(10, 20), beta=(0, 0), gamma=(0, 0), delta=(0, 0)),
        "model_tokens_total{direction=input,model=llama3.2}": 10,
        "model_tokens_total{direction=output,model=llama3.2}": 20,
    }


def tokens(**backends: tuple[int, int]) -> Samples:
    """In and out of each."""
    return {
        f"tokens_total{{backend={name},direction={way}}}": n
        for name, pair in backends.items()
        for way, n in zip(("input", "output"), pair, strict=True)
    }


async def test_histograms_count_from_below() -> None:
    text = await scrape(scripted())
    alpha = "backend=alpha"
    told = read(text, "arriero_first_byte_seconds")
    assert {name: value for name, value in told.items() if alpha in name} == {
        **{f"_bucket{{{alpha},le={le}}}": 0 for le in ("0.05", "0.1")},
        **{f"_bucket{{{alpha},le={le}}}": 1 for le in BOUNDS_ABOVE},
        f"_count{{{alpha}}}": 1,
        f"_sum{{{alpha}}}": 0.2,
    }
    told = read(text, "arriero_request_seconds")
    assert {name: value for name, value in told.items() if alpha in name} == {
        **{f"_bucket{{{alpha},le={le}}}": 1 for le in ("0.05", "0.1", "0.25", "0.5")},
        **{f"_bucket{{{alpha},le={le}}}": 2 for le in ("1.0", "2.5")},
        **{f"_bucket{{{alpha},le={le}}}": 3 for le in BOUNDS_ABOVE[4:]},
        f"_count{{{alpha}}}": 3,
        f"_sum{{{alpha}}}": 5.03,
    }
    assert told["_count{backend=beta}"] == 0


BOUNDS_ABOVE = ("0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "20.0", "30.0", "60.0", "120.0", "300.0", "600.0", "+Inf")


async def test_the_state_of_the_fleet() -> None:
    told = read(await scrape(Tally()), "arriero_")
    states = {name: value for name, value in told.items() if "_total" not in name and "_seconds" not in name}
    assert {name for name, value in states.items() if value} == {
        "in_flight{backend=alpha}",
        "breaker_state{backend=alpha,state=closed}",
        "breaker_state{backend=beta,state=open}",
        "breaker_state{backend=gamma,state=closed}",
        "breaker_state{backend=delta,state=closed}",
        "backend_state{backend=alpha,state=healthy}",
        "backend_state{backend=beta,state=healthy}",
        "backend_state{backend=gamma,state=offline}",
        "backend_state{backend=delta,state=rate_limited}",
        *(f"models{{backend={name}}}" for name in ("alpha", "beta", "gamma", "delta")),
    }
    assert (states["in_flight{backend=alpha}"], states["models{backend=alpha}"], states["queue_waiting"]) == (2, 2, 0)
    assert states["breaker_state{backend=beta,state=half_open}"] == 0
    assert len([name for name in states if name.startswith("breaker_state")]) == 4 * 3
    assert len([name for name in states if name.startswith("backend_state")]) == 4 * 7


async def test_what_is_not_known_yet_is_absent() -> None:
    told = read(await scrape(Tally()))
    assert [name for name in told if "success_rate" in name or "latency" in name] == []
    assert told["olla_requests_total"] == 0


async def test_a_backend_that_has_left_keeps_its_counts() -> None:
    tally = Tally()
    tally.attempt("former", None)
    told = read(await scrape(tally))
    assert told["arriero_attempts_total{backend=former,result=ok}"] == 1
    assert [name for name in told if name.startswith("olla_endpoint_") and "former" in name] == []


async def test_models_that_the_catalog_does_not_know_are_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    for model, times in (("gone:7b", 3), ("made-up", 9), ("acme/big", 2), ("llama3.2", 1), ("fast", 5)):
        for _ in range(times):
            said(tally, Outcome(model=model, backend="alpha", attempts=1, loose=model == "made-up"), ms=1)
    monkeypatch.setattr(module, "MAX_MODELS", 3)
    told = read(await scrape(tally), "olla_model_requests_total")
    assert told == {"{model=fast}": 5, "{model=gone:7b}": 3, "{model=acme/big}": 2}


async def test_the_text_names_its_format() -> None:
    roster = await fleet()
    site = Site(*Metrics(roster, Tally(), started=WALL, policy="priority").routes)
    lane = await site.ask("/internal/metrics")
    assert lane.field(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
    assert lane.body.startswith(b"# HELP olla_info Build and configuration\n# TYPE olla_info gauge\nolla_info{")


PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    b"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def test_a_client_that_reads_openmetrics_gets_it() -> None:
    roster = await fleet()
    site = Site(*Metrics(roster, scripted(), started=WALL - 9000, policy="priority").routes)
    lane = await site.ask("/internal/metrics", headers=((b"accept", PROMETHEUS),))
    assert lane.field(b"content-type") == b"application/openmetrics-text; version=1.0.0; charset=utf-8"
    text = lane.body.decode()
    assert text.endswith("# EOF\n")
    told = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in open_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert told["arriero_tokens_total", ("backend", "alpha"), ("direction", "output")] == 20
    assert told["arriero_request_seconds_count", ("backend", "alpha")] == 3
    assert told["olla_endpoint_traffic_bytes", ("endpoint", "alpha")] == 2048


def kinds(text: str) -> dict[str, str]:
    """The kind of each family."""
    return {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}


async def test_kinds() -> None:
    told = kinds(await scrape(scripted()))
    assert {kind: names(told, kind) for kind in ("histogram", "untyped")} == {
        "histogram": {"arriero_first_byte_seconds", "arriero_request_seconds"},
        "untyped": {"olla_endpoint_traffic_bytes", "olla_model_traffic_bytes", "olla_models_traffic_bytes"},
    }
    gauges_like_counters = {"olla_endpoints_total", "olla_models_total"}  # Olla's names for how many there are
    assert names(told, "counter") == {name for name in told if name.endswith("_total")} - gauges_like_counters


def names(told: dict[str, str], kind: str) -> Iterable[str]:
    """The families of one kind."""
    return {name for name, of in told.items() if of == kind}


async def test_odd_names_break_no_line() -> None:
    tally = Tally()
    tally.attempt('a"b\\c\nd', None)
    told = read(await scrape(tally), "arriero_attempts_total")
    assert told == {'{backend=a"b\\c\nd,result=ok}': 1}
