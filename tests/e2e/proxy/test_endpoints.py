"""ollama-proxy's endpoints on the running program: providers in every condition, words for them, forms and methods."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Host, chat
from support.program import Program, free_port, program, until
from support.proxied import HIDDEN, KEY, MODELS, provider

PAGES = (
    "/health",
    "/health/",
    "/health/detailed",
    "/health/metrics",
    "/health/providers",
    "/health/providers/openrouter",
    "/metrics",
    "/api/providers",
    "/api/providers/openrouter/stats",
    "/api/tags/openrouter",
)
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


def listed(running: Program) -> dict[str, dict[str, Any]]:
    """The providers by name."""
    return {one["name"]: one for one in running.get("/api/providers")["providers"]}


def refused(running: Program, path: str) -> tuple[int, Any]:
    status, headers, body = running.ask("GET", path)
    assert headers["content-type"] == "application/json"
    return status, json.loads(body)


# ---- conditions ----------------------------------------------------------------------------------------------------


def test_each_provider_shows_its_state_and_what_ails_it(troubled: Program) -> None:
    found = listed(troubled)
    assert {name: (one["type"], one["healthy"], one["state"]) for name, one in found.items()} == {
        "router": ("openrouter", True, "healthy"),
        "dead": ("groq", False, "offline"),
        "hanging": ("mistral", False, "offline"),
        "locked": ("openai", False, "config_error"),
        "limited": ("deepseek", False, "rate_limited"),
    }
    errors = {name: one["error"] for name, one in found.items()}
    assert errors["router"] is None
    assert "connection refused" in errors["dead"]
    assert "did not answer its check within 1 s" in errors["hanging"]
    assert "401" in errors["locked"] and "429" in errors["limited"]
    assert "wants to be left alone" in errors["limited"]


def test_the_others_are_unharmed(troubled: Program) -> None:
    status, answer = troubled.post("/api/chat", chat("openai/gpt-4o", "Why is the sky blue?"))
    assert (status, answer["message"]["content"]) == (200, "The sky is blue.")
    names = [model["name"] for model in troubled.get("/api/tags")["models"]]
    assert sorted(names) == sorted(model["name"] for model in troubled.get("/api/tags/router")["models"])
    for name in ("dead", "hanging", "locked", "limited"):
        assert troubled.get(f"/api/tags/{name}") == {"models": []}


def test_health_is_degraded_and_names_them(troubled: Program) -> None:
    told = troubled.get("/health")
    assert told["status"] == "degraded"
    assert {name: (one["status"], one["healthy"]) for name, one in told["providers"].items()} == {
        "router": ("operational", True),
        "dead": ("error", False),
        "hanging": ("timeout", False),
        "locked": ("error", False),
        "limited": ("error", False),
    }


def test_nothing_shows_a_key(troubled: Program, proxy: Program) -> None:
    for running in (troubled, proxy):
        for path in PAGES:
            _, headers, body = running.ask("GET", path)
            assert KEY not in body.decode() and KEY not in str(headers), path


def test_no_provider_is_well(openrouter: Host, troubled: Program) -> None:
    openrouter.play({"path": "*"}, status=500, body={"error": {"message": "down"}})
    try:
        until(lambda: troubled.ask("GET", "/health")[0] == 503)
        told = json.loads(troubled.ask("GET", "/health")[2])
        detail = told.pop("detail")
        assert (told["status"], detail) == ("unhealthy", told)
        status, _, body = troubled.ask("GET", "/health/detailed")
        assert (status, json.loads(body)["status"]) == (200, "unhealthy")
        assert troubled.ask("HEAD", "/health")[0::2] == (503, b"")
    finally:
        openrouter.well()
    until(lambda: troubled.ask("GET", "/health")[0] == 200)


def test_a_failure_is_counted_and_told(openrouter: Host, proxy: Program) -> None:
    before = proxy.get("/api/providers/openrouter/stats")
    refusal = {"error": {"message": "No auth credentials found", "code": 401}}
    openrouter.play({"path": "/v1/chat/completions"}, status=401, body=refusal)
    try:
        assert proxy.post("/api/chat", chat("openai/gpt-4o"))[0] == 502
    finally:
        openrouter.well()
    after = proxy.get("/api/providers/openrouter/stats")
    assert after["request_count"] == before["request_count"] + 1
    assert after["failed_requests"] == before["failed_requests"] + 1
    assert after["error_rate"] == after["error_count"] / after["request_count"]
    assert "401 Unauthorized" in after["last_error"]
    entry = listed(proxy)["openrouter"]
    assert entry["circuit_breaker"]["last_failure_time"] <= proxy.get("/health")["timestamp"]


# ---- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["openrouter", "OpenRouter", "OPENROUTER"])
def test_a_provider_by_its_type(troubled: Program, word: str) -> None:
    assert troubled.get(f"/api/providers/{word}/stats")["providers"] == ["router"]
    assert list(troubled.get(f"/health/providers/{word}")["providers"]) == ["router"]
    assert {model["provider"] for model in troubled.get(f"/api/tags/{word}")["models"]} == {"openrouter"}


WORDS = {"azure": "azure", "aws_bedrock": "bedrock"} | {
    word: word for word in ("openrouter", "openai", "anthropic", "google", "cohere", "huggingface")
}
"""Its words, each with the profile that it means; `ollama` is a kind."""


@pytest.fixture(scope="module")
def everybody(openrouter: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A backend for each word, none of them under that name, and a model that all but the last one have."""
    backends = [
        provider(f"my-{word}", openrouter.url, profile, extra_models=["openai/gpt-4o"])
        for word, profile in WORDS.items()
    ]
    ollama = {"name": "my-ollama", "kind": "ollama", "url": f"http://127.0.0.1:{free_port()}"}
    with program(tmp_path_factory.mktemp("everybody"), [*backends, ollama]) as running:
        until(lambda: all(one["state"] != "unknown" for one in running.get("/api/providers")["providers"]))
        yield running


@pytest.mark.parametrize("word", [*WORDS, "ollama"])
def test_a_word_for_a_provider(everybody: Program, word: str) -> None:
    told = everybody.get(f"/api/providers/{word}/stats")
    assert (told["provider_type"], told["providers"]) == (word, [f"my-{word}"])
    assert [*everybody.get(f"/health/providers/{word}")["providers"]] == [f"my-{word}"]
    models = everybody.get(f"/api/tags/{word}")["models"]
    answered = everybody.ask("POST", "/api/chat", chat("openai/gpt-4o"), {"X-Provider": word})[1]["x-arriero-backend"]
    if word == "ollama":
        assert models == [] and answered != "my-ollama"  # it is away, and a preference is no pin
    else:
        assert {(model["backend"], model["provider"]) for model in models} == {(f"my-{word}", word)}
        assert answered == f"my-{word}"


def test_a_provider_by_its_name(troubled: Program) -> None:
    assert troubled.get("/api/providers/router/stats")["provider_type"] == "openrouter"


def test_a_vendor_is_meant_alone_where_others_speak_its_wire(troubled: Program) -> None:
    assert troubled.get("/api/providers/openai/stats")["providers"] == ["locked"]


PROVIDER_PAGES = ("/api/providers/{}/stats", "/api/tags/{}", "/health/providers/{}")


@pytest.mark.parametrize("page", PROVIDER_PAGES)
@pytest.mark.parametrize("word", ["x", "open router", "%2e%2e"])
def test_an_unknown_word_is_400(proxy: Program, page: str, word: str) -> None:
    told = f"Invalid provider type: {word.replace('%2e', '.')}"
    assert refused(proxy, page.format(word.replace(" ", "%20"))) == (
        400,
        {"detail": told, "error": told, "type": "validation_error"},
    )


@pytest.mark.parametrize("page", PROVIDER_PAGES)
@pytest.mark.parametrize(
    "word", ["openai", "anthropic", "google", "azure", "aws_bedrock", "ollama", "cohere", "huggingface"]
)
def test_a_provider_that_is_not_configured_is_404(proxy: Program, page: str, word: str) -> None:
    status, told = refused(proxy, page.format(word))
    wanted = f"Provider {word} not configured"
    assert (status, told["detail"], told["error"], told["type"]) == (404, wanted, wanted, "not_found")


# ---- forms and methods ---------------------------------------------------------------------------------------------


def test_every_page_answers_get_and_head(proxy: Program) -> None:
    for path in PAGES:
        status, headers, body = proxy.ask("GET", path)
        assert (status, headers["content-type"], json.loads(body) is not None) == (200, "application/json", True), path
        head, fields, nothing = proxy.ask("HEAD", path)
        assert (head, fields["content-type"], nothing) == (200, "application/json", b""), path
        status, headers, _ = proxy.ask("POST", path)
        assert (status, headers["allow"]) == (405, "GET, HEAD"), path


def test_scrapers_get_text(proxy: Program) -> None:
    status, headers, body = proxy.ask("GET", "/metrics", headers={"accept": PROMETHEUS})
    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/openmetrics-text")
    status, headers, body = proxy.ask("GET", "/metrics", headers={"accept": "text/plain"})
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert b"\narriero_requests_total" in body


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xml;q=0.9,*/*;q=0.8", "application/json"])
def test_people_and_programs_get_json(proxy: Program, accept: str) -> None:
    status, headers, body = proxy.ask("GET", "/metrics", headers={"accept": accept})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert set(json.loads(body)) == {"metrics", "statistics", "timestamp"}


# ---- what is listed ------------------------------------------------------------------------------------------------


def test_a_providers_models_are_those_that_clients_see(proxy: Program) -> None:
    found = {model["name"] for model in proxy.get("/api/tags/openrouter")["models"]}
    assert found == {model["name"] for model in proxy.get("/api/tags")["models"]}
    assert not any(name.startswith(HIDDEN) for name in found) and len(found) == len(MODELS)


def test_digests_are_distinct_and_the_same_after_a_restart(proxy: Program, openrouter: Host, tmp_path: Path) -> None:
    def digests(running: Program, path: str) -> dict[str, str]:
        return {model["name"]: model["digest"] for model in running.get(path)["models"]}

    backends = [provider("openrouter", openrouter.url, "openrouter")]
    with program(tmp_path, backends, models={"exclude": ["secret/*"]}) as again:
        for path in ("/api/tags", "/api/tags/openrouter"):
            first = digests(proxy, path)
            assert digests(again, path) == first
            assert len(set(first.values())) == len(first) == len(MODELS)
