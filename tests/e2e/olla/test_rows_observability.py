"""Rows 35 to 39: what the house tells of itself, and Anthropic's clients at Olla's door."""

import gzip
import json
import re
from typing import Any

import pytest

from support.hosts import Hosts, chat
from support.program import Program, until

DOOR = "/olla/ollama"
CHAT = f"{DOOR}/api/chat"
OPENAI_CHAT = f"{DOOR}/v1/chat/completions"


# ---- 35 ------------------------------------------------------------------------------------------------------------


def _lacks(found: Any, wanted: str) -> set[str]:
    """Those of Olla's keys that an object has not."""
    return set(wanted.split()) - set(found)


def _used(fleet: Program) -> None:
    for model in ("alpha-only:1b", "beta-only:1b"):
        assert fleet.ask("POST", CHAT, chat(model))[0] == 200


def test_row_35_health_and_version(fleet: Program) -> None:
    assert fleet.ask("GET", "/internal/health")[0::2] == (200, b'{"status":"healthy"}')
    version = fleet.get("/version")
    wanted = (
        "api links build name version edition description capabilities capabilities_experimental supported_backends"
    )
    assert _lacks(version, wanted) == set()
    assert _lacks(version["api"], "endpoints version") == set()
    assert _lacks(version["links"], "homepage documentation releases") == set()
    assert _lacks(version["build"], "commit date go_version platform") == set()


def test_row_35_status(fleet: Program) -> None:
    _used(fleet)
    status = fleet.get("/internal/status")
    assert _lacks(status, "timestamp proxy endpoints security system") == set()
    assert _lacks(status["proxy"], "engine profile balancer") == set()
    assert status["proxy"]["balancer"] == "least-connections"
    assert _lacks(status["security"], "status blocked_ips violations") == set()
    assert _lacks(status["security"]["violations"], "rate_limits size_limits") == set()
    wanted = "start_time status endpoints_up success_rate avg_latency total_traffic uptime version commit"
    wanted += " active_connections security_violations total_requests total_failures has_traffic"
    assert _lacks(status["system"], wanted) == set()
    names = [row["name"] for row in status["endpoints"]]
    assert sorted(names) == sorted(["alpha", "beta", "gamma", "witness", "native", "foreign"])
    wanted = "id name url status priority success_rate avg_latency avg_latency_ms min_latency_ms max_latency_ms traffic"
    wanted += " connections requests last_check health_check_at next_check next_check_at issues models"
    alpha = next(row for row in status["endpoints"] if row["name"] == "alpha")
    assert _lacks(alpha, wanted) == set()
    assert _lacks(alpha["models"], "last_updated count") == set()
    # The human formats.
    assert re.fullmatch(r"\d+(\.\d+)?%", alpha["success_rate"]) and re.fullmatch(r"[\d.]+(ms|s)", alpha["avg_latency"])
    assert re.fullmatch(r"0 B|\d+(\.\d\d)? [KMG]?B", alpha["traffic"])
    assert re.fullmatch(r"\d+[smhd] ago|just now", alpha["last_check"])
    assert re.fullmatch(r"\d+s|\d+m|\d+h \d+m|\d+d \d+h", status["system"]["uptime"])


def test_row_35_status_endpoints_and_models(fleet: Program) -> None:
    _used(fleet)
    page = fleet.get("/internal/status/endpoints")
    assert _lacks(page, "timestamp total_count healthy_count routable_count endpoints") == set()
    assert (page["total_count"], page["healthy_count"], page["routable_count"]) == (6, 6, 6)
    wanted = "id name type status priority url model_count request_count success_rate min_latency_ms max_latency_ms"
    wanted += " avg_latency_ms active_connections health_check health_check_at response_time next_check_at"
    wanted += " last_model_sync last_model_sync_at"
    rows = {row["name"]: row for row in page["endpoints"]}
    assert _lacks(rows["alpha"], wanted) == set()
    assert [rows[name]["type"] for name in ("alpha", "gamma", "foreign")] == ["ollama", "vllm", "openai-compatible"]
    page = fleet.get("/internal/status/models")
    wanted = "timestamp models_by_family recent_models total_models total_families total_endpoints"
    assert _lacks(page, wanted) == set() and "model_groups" not in page
    assert "alpha-only:1b" in page["models_by_family"]["llama"] and len(page["recent_models"]) <= 10
    page = fleet.get("/internal/status/models?detailed=true&group=family")
    llamas = next(group for group in page["model_groups"] if group["family"] == "llama")
    entry = next(model for model in llamas["models"] if model["name"] == "alpha-only:1b")
    wanted = "name type family size params quant last_seen last_seen_at endpoints endpoint_ids capabilities"
    assert _lacks(entry, wanted) == set()
    assert (entry["endpoints"], entry["endpoint_ids"]) == (["alpha"], [rows["alpha"]["id"]])


def test_row_35_stats_and_process(fleet: Program, turning: Program) -> None:
    _used(fleet)
    page = fleet.get("/internal/stats/models?include_endpoints=true&include_summary=true")
    assert _lacks(page, "timestamp models endpoints summary") == set()
    wanted = "name total_requests successful_requests failed_requests success_rate total_traffic average_latency"
    wanted += " p95_latency p99_latency unique_clients last_requested routing_hits routing_misses routing_fallbacks"
    wanted += " endpoint_breakdown"
    entry = next(model for model in page["models"] if model["name"] == "alpha-only:1b")
    assert _lacks(entry, wanted) == set() and entry["unique_clients"] == 1
    wanted = "endpoint_name request_count success_rate average_latency last_used consecutive_errors"
    assert _lacks(entry["endpoint_breakdown"]["alpha"], wanted) == set()
    wanted = "total_models active_models total_requests overall_success_rate total_traffic"
    assert _lacks(page["summary"], f"{wanted} most_popular_model least_popular_model") == set()
    assert "endpoint_breakdown" not in fleet.get("/internal/stats/models")["models"][0]
    assert _lacks(fleet.get("/internal/stats/translators"), "timestamp translators summary") == set()
    assert fleet.get("/internal/stats/sticky") == {"enabled": False}
    wanted = "enabled active_sessions insertions hits misses evictions max_sessions idle_ttl_seconds"
    assert _lacks(turning.get("/internal/stats/sticky"), wanted) == set()
    process = fleet.get("/internal/process")
    keys = {
        "memory": "heap_alloc heap_sys heap_inuse heap_released stack_inuse total_alloc memory_pressure",
        "garbage_collection": "last_gc total_gc_time avg_gc_pause gc_cpu_fraction num_gc_cycles",
        "goroutines": "health_status count cgo_calls",
        "runtime": "uptime go_version num_cpu gomaxprocs",
        "allocations": "total_mallocs total_frees net_objects",
    }
    assert _lacks(process, "timestamp") == set()
    assert [(key, lacking) for key, wanted in keys.items() if (lacking := _lacks(process[key], wanted))] == []


def test_row_35_olla_models(fleet: Program) -> None:
    page = fleet.get("/olla/models")
    entries = {model["id"]: model for model in page["data"]}
    assert page["object"] == "list" and {"shared:1b", "gamma-only:1b"} <= set(entries)
    assert _lacks(entries["shared:1b"], "olla id object owned_by created") == set()
    wanted = "max_context_length family variant parameter_size quantization aliases availability capabilities"
    assert _lacks(entries["shared:1b"]["olla"], wanted) == set()
    places = {place["endpoint"]: place["state"] for place in entries["shared:1b"]["olla"]["availability"]}
    assert set(places) == {"alpha", "beta"} and set(places.values()) <= {"loaded", "available"}
    one = fleet.get("/olla/models/quick")
    wanted = "id family variant parameter_size parameter_count quantization format aliases endpoints loaded_endpoints"
    assert _lacks(one, f"{wanted} capabilities max_context_length total_disk_size last_seen") == set()
    assert (one["id"], one["endpoints"]) == ("alpha-only:1b", ["alpha"])
    assert fleet.ask("GET", "/olla/models/absent:1b")[0] == 404
    assert fleet.ask("GET", "/olla/models?format=of-tomorrow")[0] == 400
    assert [m["name"] for m in fleet.get("/olla/models?format=ollama&endpoint=gamma")["models"]] == ["gamma-only:1b"]
    assert [m["id"] for m in fleet.get("/olla/models?format=openai&endpoint=gamma")["data"]] == ["gamma-only:1b"]


@pytest.mark.parametrize("page", ["/internal/status", "/internal/status/endpoints", "/internal/status/models"])
def test_row_35_polling(fleet: Program, page: str) -> None:
    _status, headers, plain = fleet.ask("GET", page)
    assert re.fullmatch(r'W/"[0-9a-z]+"', headers["etag"])
    assert (headers["cache-control"], headers["vary"]) == ("private, no-cache", "Accept-Encoding")
    _, headers, packed = fleet.ask("GET", page, headers={"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip" and len(packed) < len(plain)
    assert set(json.loads(gzip.decompress(packed))) == set(json.loads(plain))

    def unchanged() -> bool:
        # A check that is made in between changes the page.
        tag = fleet.ask("GET", page)[1]["etag"]
        status, headers, body = fleet.ask("GET", page, headers={"If-None-Match": tag})
        return (status, body, headers["etag"]) == (304, b"", tag)

    until(unchanged)


# ---- 36 ------------------------------------------------------------------------------------------------------------


def _metrics(fleet: Program) -> tuple[dict[str, str], dict[str, float]]:
    """The headers of the metrics, and each series."""
    status, headers, body = fleet.ask("GET", "/internal/metrics")
    assert status == 200
    lines = [line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#")]
    return headers, {name: float(value) for name, _, value in lines}


def test_row_36_metrics(fleet: Program) -> None:
    _used(fleet)
    assert fleet.ask("POST", CHAT, chat("alpha-only:1b", stream=True))[0] == 200
    headers, series = _metrics(fleet)
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    whole = "system_status endpoints_total endpoints_healthy success_rate_percent avg_latency_ms total_traffic_bytes"
    whole += " uptime_seconds active_connections requests_total failures_total security_violations_total"
    whole += " security_blocked_ips security_rate_limit_violations_total security_size_limit_violations_total"
    whole += " security_status models_total models_active models_requests_total models_success_rate_percent"
    whole += " models_traffic_bytes"
    assert _lacks(series, " ".join(f"olla_{name}" for name in whole.split())) == set()
    each = "requests_total connections success_rate_percent avg_latency_ms traffic_bytes priority models_count"
    assert _lacks(series, " ".join(f'olla_endpoint_{name}{{endpoint="alpha"}}' for name in each.split())) == set()
    each = "requests_total successful_requests_total failed_requests_total success_rate_percent avg_latency_ms"
    each += " p95_latency_ms p99_latency_ms unique_clients traffic_bytes"
    each += " routing_hits_total routing_misses_total routing_fallbacks_total"
    assert _lacks(series, " ".join(f'olla_model_{name}{{model="alpha-only:1b"}}' for name in each.split())) == set()
    each = "requests_total success_rate_percent avg_latency_ms consecutive_errors"
    pair = 'endpoint="alpha",model="alpha-only:1b"'
    names = {re.sub(r"\{(.*)\}", lambda m: "{" + ",".join(sorted(m[1].split(","))) + "}", name) for name in series}
    assert _lacks(names, " ".join(f"olla_model_endpoint_{name}{{{pair}}}" for name in each.split())) == set()
    families = {name.partition("{")[0] for name in series}
    assert _lacks(families, "olla_info olla_endpoint_up") == set()
    assert series['olla_endpoint_up{endpoint="alpha",status="healthy"}'] == 1.0
    # Better than Olla.
    wanted = "arriero_tokens_total arriero_model_tokens_total arriero_first_byte_seconds_bucket"
    wanted += " arriero_request_seconds_bucket arriero_queue_waiting arriero_breaker_state arriero_attempts_total"
    assert _lacks(families, wanted) == set()
    assert series['arriero_breaker_state{backend="alpha",state="closed"}'] == 1.0
    assert series['arriero_first_byte_seconds_count{backend="alpha"}'] >= 1


def test_row_36_each_request_counts_once(fleet: Program) -> None:
    _used(fleet)
    before = _metrics(fleet)[1]
    assert fleet.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 200
    places = ("endpoint_requests_total", "endpoint", "alpha"), ("model_requests_total", "model", "alpha-only:1b")
    names = ["olla_requests_total", *(f'olla_{name}{{{label}="{value}"}}' for name, label, value in places)]
    until(lambda: [_metrics(fleet)[1][name] - before[name] for name in names] == [1, 1, 1])


# ---- 37 ------------------------------------------------------------------------------------------------------------


def _tokens(fleet: Program, model: str) -> dict[str, int]:
    page = fleet.get("/internal/stats/models?include_tokens=true")
    found = [entry["tokens"] for entry in page["models"] if entry["name"] == model]
    return found[0] if found else {"input": 0, "output": 0, "total": 0}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/chat", {"stream": False}),
        ("/api/chat", {"stream": True}),
        ("/v1/chat/completions", {"stream": False}),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}),
    ],
)
def test_row_37_token_usage(fleet: Program, hosts: Hosts, path: str, more: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    hosts.alpha.play({"path": path}, say=["a ", "b ", "c"], usage=usage)
    _used(fleet)
    before, series = _tokens(fleet, "alpha-only:1b"), _metrics(fleet)[1]
    assert fleet.ask("POST", DOOR + path, {**chat("alpha-only:1b"), **more})[0] == 200

    def grown() -> list[int]:
        now = _tokens(fleet, "alpha-only:1b")
        return [now[way] - before[way] for way in ("input", "output", "total")]

    until(lambda: grown() == [11, 5, 16])
    now = _metrics(fleet)[1]
    names = [f'arriero_tokens_total{{backend="alpha",direction="{way}"}}' for way in ("input", "output")]
    assert [now[name] - series[name] for name in names] == [11, 5]


# ---- 38 ------------------------------------------------------------------------------------------------------------


UI = "/internal/ui/"


def test_row_38_dashboard(fleet: Program) -> None:
    status, headers, page = fleet.ask("GET", UI)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert b"<html" in page.lower() and headers["x-content-type-options"] == "nosniff"
    assert fleet.ask("GET", UI, headers={"Host": f"localhost:{fleet.port}"})[0] == 200
    status, headers, _ = fleet.ask("POST", UI)
    assert status == 405 and {"GET", "HEAD"} <= {method.strip() for method in headers["allow"].split(",")}


@pytest.mark.parametrize(
    ("field", "value", "setting"),
    [
        ("Host", "arriero.example.com", b"server.dashboard.allowed_hosts"),
        ("Host", "box.local", b"server.dashboard.allowed_hosts"),
        ("X-Forwarded-For", "203.0.113.38", b"server.dashboard.allowed_networks"),
    ],
)
def test_row_38_whoever_is_not_let_in_is_told_what_to_change(
    fleet: Program, field: str, value: str, setting: bytes
) -> None:
    status, _, told = fleet.ask("GET", UI, headers={field: value})
    assert (status, setting in told) == (403, True), told


# ---- 39 ------------------------------------------------------------------------------------------------------------


def _message(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}


def test_row_39_anthropic(fleet: Program, hosts: Hosts) -> None:
    version = {"anthropic-version": "2023-06-01"}
    status, headers, answer = fleet.ask("POST", "/olla/anthropic/v1/messages", _message("native:1b"), version)
    assert (status, headers["x-olla-mode"], headers["x-olla-endpoint"]) == (200, "passthrough", "native")
    assert json.loads(answer)["content"] == [{"type": "text", "text": "Hello."}]
    assert json.loads(hosts.witness.requests("/native/v1/messages")[-1].body) == _message("native:1b")
    counted = {name: value for name, value in _message("native:1b").items() if name != "max_tokens"}
    status, _, answer = fleet.ask("POST", "/olla/anthropic/v1/messages/count_tokens", counted, version)
    assert status == 200 and json.loads(answer)["input_tokens"] >= 1
    page = fleet.get("/olla/anthropic/v1/models")
    assert _lacks(page, "data has_more first_id last_id") == set()
    assert _lacks(page["data"][0], "type id display_name created_at") == set()
    assert "native:1b" in [model["id"] for model in page["data"]]
    # Errors are Anthropic's.
    for model, wanted, kind in (("absent:1b", 404, "not_found_error"), ("foreign:1b", 501, "not_implemented")):
        status, headers, answer = fleet.ask("POST", "/olla/anthropic/v1/messages", _message(model), version)
        told = json.loads(answer)
        assert (status, told["type"], told["error"]["type"]) == (wanted, "error", kind)
        assert told["error"]["message"] and headers["x-olla-request-id"]
        assert "x-olla-mode" not in headers
