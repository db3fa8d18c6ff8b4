"""Olla's series for a scripted tally over a known fleet: every sample, as Prometheus reads it."""

import arriero
from arriero.gateway.tally import Tally
from support.scraped import kinds, names, per, read, scrape, scripted


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


async def test_what_is_not_known_yet_is_absent() -> None:
    told = read(await scrape(Tally()), "olla_")
    assert [name for name in told if "success_rate" in name or "latency" in name] == []
    assert told["requests_total"] == 0


async def test_kinds() -> None:
    told = {name: kind for name, kind in kinds(await scrape(scripted())).items() if name.startswith("olla_")}
    assert names(told, "histogram") == set()
    assert names(told, "untyped") == {
        "olla_endpoint_traffic_bytes",
        "olla_model_traffic_bytes",
        "olla_models_traffic_bytes",
    }
    gauges_like_counters = {"olla_endpoints_total", "olla_models_total"}  # Olla's names for how many there are
    assert names(told, "counter") == {name for name in told if name.endswith("_total")} - gauges_like_counters


async def test_a_backend_that_has_left_is_no_endpoint() -> None:
    tally = Tally()
    tally.attempt("former", None)
    assert [name for name in read(await scrape(tally), "olla_endpoint_") if "former" in name] == []
