"""Every field that ollama-proxy's documentation or code has in an answer, each with a test of its own name.

Four requests have been made when the pages are read: two good ones, one for which the vendor refused the gateway's key,
and one for a model that nobody has, which is the client's error and nobody else's. What is asserted follows from them,
or from what the vendor lists.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from support.hosts import Host, chat
from support.program import program
from support.proxied import HIDDEN, MODELS, entry, provider

Check = Callable[[Any], bool]

ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
NAME = "google/gemini-pro:latest"
ANSWERED, REFUSED = 2, 1
ASKED = ANSWERED + REFUSED
"""Of the provider; the request for a model that nobody has reached none."""
CAPABILITIES = {"chat_completion", "text_completion", "streaming", "function_calling", "embeddings"}


def isa(*types: type) -> Check:
    return lambda found: type(found) in types


def equals(value: object) -> Check:
    return lambda found: found == value and type(found) is type(value)


def time_text(found: Any) -> bool:
    return isinstance(found, str) and ISO_8601.fullmatch(found) is not None


def just_now(found: Any) -> bool:
    """Unix seconds of the last minutes."""
    return isinstance(found, float) and 0 <= time.time() - found < 600


def milliseconds(found: Any) -> bool:
    """A measured time of an answer on loopback."""
    return isinstance(found, float) and 0 < found < 20_000


def share(part: int, whole: int) -> Check:
    return lambda found: isinstance(found, float) and abs(found - part / whole) < 1e-9


def matches(pattern: str) -> Check:
    return lambda found: isinstance(found, str) and re.fullmatch(pattern, found) is not None


def a_point(found: Any) -> bool:
    return {key: type(value) for key, value in found[0].items()} == {
        "name": str,
        "value": int,
        "labels": dict,
        "timestamp": float,
        "type": str,
    }


BREAKER: Mapping[str, Check] = {
    "circuit_breaker.state": equals("closed"),
    "circuit_breaker.failure_count": equals(0),
    "circuit_breaker.success_count": isa(int),
    "circuit_breaker.request_count": equals(ASKED),
    "circuit_breaker.last_failure_time": just_now,
}
METRICS: Mapping[str, Check] = {
    "total_requests": equals(ASKED + 1),
    "total_errors": equals(REFUSED),
    "error_rate": share(REFUSED, ASKED + 1),
    "active_providers": equals(1),
    "uptime": isa(float),
}
HEALTH: Mapping[str, Check] = {
    # the documentation
    "status": equals("healthy"),
    "uptime_seconds": isa(float),
    "model_count": equals(len(MODELS) + 1),
    "filtered_model_count": equals(len(MODELS)),
    "request_count": equals(ASKED + 1),
    "error_count": equals(REFUSED),
    "error_rate": share(REFUSED, ASKED + 1),
    "last_model_refresh": just_now,
    "environment": equals("staging"),
    # the code
    "timestamp": just_now,
    "version": matches(r"\d+\.\d+\.\d+.*"),
    "uptime": isa(float),
    "providers": lambda found: list(found) == ["openrouter"],
    "metrics": lambda found: METRICS.keys() <= found.keys(),
    **{f"metrics.{key}": check for key, check in METRICS.items()},
}
ONE_HEALTH: Mapping[str, Check] = {"healthy": equals(True), "status": equals("operational"), **BREAKER}
DETAILS: Mapping[str, Check] = {
    "details.format": isa(str),
    "details.family": equals("gemini"),
    "details.families": equals(["gemini"]),
    "details.parameter_size": isa(str),
    "details.quantization_level": matches("[Uu]nknown"),
}
STATISTICS: Mapping[str, Check] = {
    "total_duration": isa(int),
    "load_duration": isa(int),
    "prompt_eval_count": equals(9),
    "prompt_eval_duration": isa(int),
    "eval_count": equals(5),
    "eval_duration": isa(int),
}
SAID = "The sky is blue."

FIELDS: Mapping[str, Mapping[str, Check]] = {
    "GET /api/version": {"version": matches(r"\d+\.\d+\.\d+")},
    "GET /health": HEALTH,
    "GET /health/detailed": HEALTH,
    "GET /health/metrics": METRICS,
    "GET /health/providers": {f"openrouter.{key}": check for key, check in ONE_HEALTH.items()},
    "GET /health/providers/openrouter": ONE_HEALTH,
    "GET /metrics": {
        "metrics": a_point,
        "statistics": lambda found: found["global"]["total_requests"] == ASKED + 1,
        "timestamp": just_now,
    },
    "GET /api/tags": {
        "models.name": equals(NAME),
        "models.model": equals(NAME),
        "models.modified_at": time_text,
        "models.size": isa(int),
        "models.digest": matches("[0-9a-f]{64}"),
        **{f"models.{key}": check for key, check in DETAILS.items()},
    },
    "GET /api/tags/openrouter": {
        "models.name": equals(NAME),
        "models.provider": equals("openrouter"),
        "models.modified_at": equals("2023-12-12T14:00:00Z"),
        "models.size": equals(0),
        "models.digest": matches("sha256:[0-9a-f]{64}"),
        **{f"models.{key}": check for key, check in DETAILS.items()},
        "models.details.format": equals("api"),
        "models.details.parameter_size": equals("Unknown"),
    },
    "POST /api/show": {
        "license": isa(str),
        "modelfile": isa(str),
        "parameters": isa(str),
        "template": isa(str),
        "details.parent_model": equals(""),
        **DETAILS,
        "model_info": lambda found: found["general.basename"] == NAME,
    },
    "POST /api/chat": {
        "model": equals(NAME),
        "created_at": time_text,
        "message.role": equals("assistant"),
        "message.content": equals(SAID),
        "done": equals(True),
        **STATISTICS,
    },
    "POST /api/generate": {
        "model": equals(NAME),
        "created_at": time_text,
        "response": equals(SAID),
        "done": equals(True),
        **STATISTICS,
    },
    "POST /api/embed": {"embeddings": lambda found: len(found) == 1 and all(type(one) is float for one in found[0])},
    "POST /api/embeddings": {"embedding": lambda found: found and all(type(one) is float for one in found)},
    # A cloud has no memory to ask: what was used counts as loaded for its `keep_alive`.
    "GET /api/ps": {"models": lambda found: [one["name"] for one in found] == [NAME], "created_at": time_text},
    "GET /api/providers": {
        # the documentation
        "providers.type": equals("openrouter"),
        "providers.enabled": equals(True),
        "providers.healthy": equals(True),
        "providers.priority": equals(1),
        "providers.request_count": equals(ASKED),
        "providers.error_count": equals(REFUSED),
        "providers.error_rate": share(REFUSED, ASKED),
        "providers.avg_response_time_ms": milliseconds,
        # the code
        "providers.current_load": equals(0),
        "providers.avg_response_time": milliseconds,
        "providers.last_used": just_now,
        **{f"providers.{key}": check for key, check in BREAKER.items()},
        "routing_strategy": equals("capability_based"),
        "fallback_strategy": equals("next_available"),
        "load_balancing_enabled": equals(True),
    },
    "GET /api/providers/openrouter/stats": {
        # the documentation
        "provider_type": equals("openrouter"),
        "enabled": equals(True),
        "healthy": equals(True),
        "priority": equals(1),
        "request_count": equals(ASKED),
        "successful_requests": equals(ANSWERED),
        "failed_requests": equals(REFUSED),
        "error_rate": share(REFUSED, ASKED),
        "avg_response_time_ms": milliseconds,
        "min_response_time_ms": milliseconds,
        "max_response_time_ms": milliseconds,
        "circuit_breaker_state": equals("closed"),
        "last_health_check": time_text,
        "models_available": equals(len(MODELS)),
        # the code
        "error_count": equals(REFUSED),
        "capabilities": lambda found: set(found) == CAPABILITIES,
    },
}
"""Path -> field -> what holds of it. A dot leads into an object; of a list it is the first one."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """What a method and a path answer, read once, after the four requests."""
    folder = tmp_path_factory.mktemp("fields")
    listed = {"data": [entry(id) for id in (*MODELS, HIDDEN)]}
    rules = [
        {"when": {"path": "/v1/models"}, "play": {"body": listed}},
        {"when": {"contains": "be refused"}, "play": {"status": 401, "body": {"error": {"message": "no"}}}},
        {
            "when": {"path": "/v1/*completions"},
            "play": {"say": [SAID], "usage": {"prompt_tokens": 9, "completion_tokens": 5}},
        },
    ]
    host = Host("openrouter", folder / "host", [*MODELS, HIDDEN], speaks=["openai"], rules=rules)
    host.start()
    answers: dict[str, Any] = {}
    try:
        with program(
            folder / "program",
            [provider("openrouter", host.url, "openrouter", priority=99)],
            server={"environment": "staging"},
            models={"exclude": ["secret/*"]},
            routing={"policy": "capability"},
        ) as running:
            answers["POST /api/chat"] = running.post("/api/chat", chat(NAME))
            answers["POST /api/generate"] = running.post("/api/generate", {**chat(NAME), "prompt": "hi"})
            assert running.post("/api/chat", chat(NAME, "be refused"))[0] == 502
            assert running.post("/api/chat", chat("nonexistent-model"))[0] == 404
            for path in FIELDS:  # before anything else is counted
                if path.startswith("GET "):
                    answers[path] = 200, running.get(path.removeprefix("GET "))
            answers["POST /api/show"] = running.post("/api/show", {"model": NAME})
            embedder = {"model": "text-embedding-ada-002", "input": "rain", "prompt": "rain"}
            for path in ("/api/embed", "/api/embeddings"):
                answers[f"POST {path}"] = running.post(path, embedder)

            def found(path: str) -> Any:
                status, answer = answers[path]
                assert status == 200, answer
                return answer

            yield found
    finally:
        host.kill()


@pytest.mark.parametrize(
    ("path", "field"),
    [pytest.param(path, field, id=f"{path} {field}") for path, fields in FIELDS.items() for field in fields],
)
def test_field(pages: Callable[[str], Any], path: str, field: str) -> None:
    found = pages(path)
    for key in field.split("."):
        found = (found[0] if isinstance(found, list) else found)[key]
    assert FIELDS[path][field](found), found
