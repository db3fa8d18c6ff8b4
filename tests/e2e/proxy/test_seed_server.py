"""The API reference of ollama-proxy, endpoint by endpoint: the server, its models, its providers, its errors.

Every object of the reference is here with the types of its fields; a test is named after each endpoint, and after each
error. Where a test says `Ollama`, the Ollama API proper has another shape there, and its clients come first.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from support.hosts import Host, chat
from support.program import Program
from support.proxied import HIDDEN, MODELS

NUMBER = (int, float)
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
NONE = type(None)


def fits(found: Mapping[str, Any], **types: type | tuple[type, ...]) -> list[str]:
    """The fields that are missing or of another type."""
    return [key for key, type in types.items() if key not in found or not isinstance(found[key], type)]


# ---- Health & Monitoring -------------------------------------------------------------------------------------------


def test_get_root(proxy: Program) -> None:
    assert proxy.ask("GET", "/")[0::2] == (200, b"Ollama is running")


def test_head_root(proxy: Program) -> None:
    assert proxy.ask("HEAD", "/")[0::2] == (200, b"")


def test_get_api_version(proxy: Program) -> None:
    """Ollama: digits and dots only, for clients compare it; the reference has `0.1.0-openrouter`."""
    told = proxy.get("/api/version")
    assert list(told) == ["version"] and re.fullmatch(r"\d+\.\d+\.\d+", told["version"])


def test_get_health(proxy: Program) -> None:
    told = proxy.get("/health")
    assert not fits(
        told,
        status=str,
        uptime_seconds=float,
        model_count=int,
        filtered_model_count=int,
        request_count=int,
        error_count=int,
        error_rate=(float, NONE),
        last_model_refresh=float,
        environment=str,
    )
    assert (told["status"], told["environment"]) == ("healthy", "production")
    assert (told["model_count"], told["filtered_model_count"]) == (len(MODELS) + 1, len(MODELS))
    assert told["last_model_refresh"] <= told["timestamp"]


def test_get_health_counts_requests(proxy: Program) -> None:
    before = proxy.get("/health")
    assert proxy.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
    after = proxy.get("/health")
    assert after["request_count"] == before["request_count"] + 1
    assert after["error_count"] == before["error_count"]
    assert after["uptime_seconds"] > before["uptime_seconds"]
    assert after["error_rate"] == after["error_count"] / after["request_count"]


def test_get_metrics(proxy: Program) -> None:
    assert proxy.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
    told = proxy.get("/metrics")
    assert not fits(told, metrics=list, statistics=dict, timestamp=float)
    for point in told["metrics"]:
        assert not fits(point, name=str, value=NUMBER, labels=dict, timestamp=float, type=str), point
    assert {"global", "by_endpoint"} == set(told["statistics"])
    assert told["statistics"]["by_endpoint"]["/api/chat"]["total_requests"] >= 1


# ---- Model Management ----------------------------------------------------------------------------------------------


def test_get_api_tags(proxy: Program) -> None:
    """Ollama: a digest is 64 digits without `sha256:`."""
    models = {model["name"]: model for model in proxy.get("/api/tags")["models"]}
    assert set(models) == {
        "google/gemini-pro:latest",
        "openai/gpt-4o:latest",
        "meta-llama/llama-3-8b:free",
        "openai/text-embedding-ada-002:latest",
    }
    for model in models.values():
        assert not fits(model, name=str, model=str, modified_at=str, size=int, digest=str, details=dict)
        assert ISO_8601.fullmatch(model["modified_at"]) and re.fullmatch("[0-9a-f]{64}", model["digest"])
        details = model["details"]
        assert not fits(details, format=str, family=str, families=list, parameter_size=str, quantization_level=str), (
            details
        )


@pytest.mark.parametrize("field", ["name", "model"])
@pytest.mark.parametrize("name", ["google/gemini-pro:latest", "google/gemini-pro", "gemini-pro"])
def test_post_api_show(proxy: Program, field: str, name: str) -> None:
    """Ollama: `tensors` is there only where tensors are known."""
    status, told = proxy.post("/api/show", {field: name})
    assert status == 200
    assert not fits(told, license=str, modelfile=str, parameters=str, template=str, details=dict, model_info=dict)
    assert not fits(
        told["details"],
        parent_model=str,
        format=str,
        family=str,
        families=list,
        parameter_size=str,
        quantization_level=str,
    )


def test_post_api_show_with_both_fields(proxy: Program) -> None:
    """Ollama: `model` counts before the older `name`; ollama-proxy had it the other way round."""
    told = proxy.post("/api/show", {"name": "openai/gpt-4o", "model": "google/gemini-pro"})[1]
    assert told["model_info"]["general.basename"] == "google/gemini-pro:latest"


# ---- Process Management --------------------------------------------------------------------------------------------


def test_get_api_ps(proxy: Program) -> None:
    told = proxy.get("/api/ps")
    assert not fits(told, models=list, created_at=str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["created_at"])


# ---- Multi-Provider Endpoints --------------------------------------------------------------------------------------


def test_get_api_providers(proxy: Program) -> None:
    assert proxy.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
    (one,) = proxy.get("/api/providers")["providers"]
    assert not fits(
        one,
        type=str,
        enabled=bool,
        healthy=bool,
        priority=int,
        request_count=int,
        error_count=int,
        error_rate=float,
        avg_response_time_ms=float,
    )
    assert (one["type"], one["enabled"], one["healthy"], one["priority"]) == ("openrouter", True, True, 1)
    assert one["avg_response_time_ms"] > 0


def test_get_api_providers_provider_stats(proxy: Program) -> None:
    assert proxy.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
    told = proxy.get("/api/providers/openrouter/stats")
    assert not fits(
        told,
        provider_type=str,
        enabled=bool,
        healthy=bool,
        priority=int,
        request_count=int,
        successful_requests=int,
        failed_requests=int,
        error_rate=float,
        avg_response_time_ms=float,
        min_response_time_ms=float,
        max_response_time_ms=float,
        circuit_breaker_state=str,
        last_health_check=str,
        models_available=int,
    )
    assert (told["provider_type"], told["circuit_breaker_state"]) == ("openrouter", "closed")
    assert told["models_available"] == len(MODELS)
    assert told["min_response_time_ms"] <= told["avg_response_time_ms"] <= told["max_response_time_ms"]
    counted = told["successful_requests"] + told["failed_requests"] + told["cancelled_requests"]
    assert counted == told["request_count"]
    assert ISO_8601.fullmatch(told["last_health_check"])


def test_get_api_tags_provider(proxy: Program) -> None:
    models = {model["name"]: model for model in proxy.get("/api/tags/openrouter")["models"]}
    model = models["openai/gpt-4o:latest"]
    assert not fits(model, name=str, provider=str, modified_at=str, size=int, digest=str, details=dict)
    assert (model["provider"], model["size"], model["model"]) == ("openrouter", 0, "openai/gpt-4o:latest")
    assert re.fullmatch("sha256:[0-9a-f]{64}", model["digest"])
    assert model["modified_at"] == "2023-12-12T14:00:00Z"
    assert model["details"] == {
        "format": "api",
        "family": "gpt",
        "families": ["gpt"],
        "parameter_size": "Unknown",
        "quantization_level": "Unknown",
    }


# ---- Error Responses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"])
def test_model_not_found(proxy: Program, path: str) -> None:
    """Ollama: each route has its own words, which its clients match."""
    status, told = proxy.post(path, {"model": "nonexistent-model", "messages": [], "input": "x", "prompt": "x"})
    assert (status, told["type"]) == (404, "model_not_found")
    assert re.fullmatch(r"model ['\"]nonexistent-model(:latest)?['\"] not found.*", told["error"])


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"])
def test_model_forbidden(proxy: Program, path: str) -> None:
    body = {"model": HIDDEN, "messages": [{"role": "user", "content": "x"}], "input": "x", "prompt": "x"}
    assert proxy.post(path, body) == (
        403,
        {"error": f"Model '{HIDDEN}' is not allowed by the filter", "type": "model_forbidden"},
    )


def test_openrouter_error(openrouter: Host, proxy: Program) -> None:
    refusal = {"error": {"message": "No auth credentials found", "code": 401}}
    openrouter.play({"path": "/v1/chat/completions"}, status=401, body=refusal)
    try:
        status, told = proxy.post("/api/chat", chat("openai/gpt-4o"))
    finally:
        openrouter.well()
    assert (status, told["type"]) == (502, "openrouter_error")
    assert told["error"].startswith("OpenRouter API error: 401 Unauthorized")


def test_validation_error(proxy: Program) -> None:
    status, _, body = proxy.ask("POST", "/api/chat", b"{not json")
    assert (status, json.loads(body)["type"]) == (400, "validation_error")


# ---- Unsupported Endpoints -----------------------------------------------------------------------------------------

UNSUPPORTED: Mapping[str, object] = {
    "POST /api/create": {"model": "x", "from": "y"},
    "POST /api/copy": {"source": "openai/gpt-4o", "destination": "y"},
    "DELETE /api/delete": {"model": "openai/gpt-4o"},
    "POST /api/pull": {"model": "x"},
    "POST /api/push": {"model": "openai/gpt-4o"},
    f"POST /api/blobs/sha256:{'0' * 64}": None,
}


@pytest.mark.parametrize("asked", UNSUPPORTED)
def test_model_management_is_not_implemented(proxy: Program, asked: str) -> None:
    method, path = asked.split()
    status, _, answer = proxy.ask(method, path, UNSUPPORTED[asked])
    told = json.loads(answer)
    assert (status, list(told), told["type"]) == (501, ["error", "type"], "not_implemented")
    assert "no configured backend manages models" in told["error"]


def test_head_api_blobs_digest(proxy: Program) -> None:
    assert proxy.ask("HEAD", "/api/blobs/sha256:" + "0" * 64)[0::2] == (501, b"")
