"""Every vendor, driven end to end: Ollama's and OpenAI's own Python clients, the running program, and what the vendor
got.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import ollama
import openai
import pytest

from e2e.vendors.conftest import CLOUD, NAMES, OWN_MODELS, Sent, key_of, model_of, path_of, recorded
from support.hosts import Witness, chat, endpoint
from support.program import Program

Last = Callable[[str], Sent]
HI: Any = [{"role": "user", "content": "Will it rain?"}]
BEARER = "authorization"

OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "seed": 7,
    "num_predict": 64,
    "presence_penalty": 0.25,
    "repeat_penalty": 1.5,
    "stop": ["a", "b", "c", "d", "e", "f"],
}
SIX, FIVE, FOUR = (["a", "b", "c", "d", "e", "f"][:count] for count in (6, 5, 4))
USAGE = {"stream_options": {"include_usage": True}}
PLAIN = {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.25}
OPENAI = {**PLAIN, "seed": 7}
ROUTERS = {**OPENAI, "top_k": 40, "repetition_penalty": 1.5}

SAID: dict[str, dict[str, Any]] = {
    "openai": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "azure": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "azure-deployments": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "bedrock": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": SIX},
    "bedrock-mantle": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": SIX},
    "openrouter": {**ROUTERS, **USAGE, "max_tokens": 64, "stop": SIX},
    "groq": {"temperature": 0.5, "top_p": 0.9, "seed": 7, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "mistral": {**PLAIN, "random_seed": 7, "max_tokens": 64, "stop": SIX},
    "deepseek": {**PLAIN, **USAGE, "max_tokens": 64, "stop": SIX},
    "xai": {**OPENAI, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "together": {**ROUTERS, **USAGE, "max_tokens": 64, "stop": SIX},
    "google": {**PLAIN, **USAGE, "max_tokens": 64, "stop": FIVE},
    "perplexity": {**PLAIN, "max_tokens": 64, "stop": SIX},
    "cohere": {**OPENAI, "max_tokens": 64, "stop": FIVE},
    "fireworks": {**ROUTERS, **USAGE, "max_tokens": 64, "stop": FOUR},
    "cerebras": {"temperature": 0.5, "top_p": 0.9, "seed": 7, **USAGE, "max_completion_tokens": 64, "stop": FOUR},
    "anthropic": {"temperature": 0.5, "top_p": 0.9, **USAGE, "max_tokens": 64, "stop": SIX},
    "huggingface": {**OPENAI, **USAGE, "max_tokens": 64, "stop": SIX},
    CLOUD: {"options": OPTIONS},
}
"""What a vendor is told of `OPTIONS`, in its own words."""

KEYS = {"azure": ("api-key", ""), "azure-deployments": ("api-key", "")}
QUERY = {"azure-deployments": "?api-version=2024-10-21"}


@pytest.fixture
def ollama_client(front: Program) -> Iterator[ollama.Client]:
    with closing(ollama.Client(front.url, timeout=20)) as client:
        yield client


@pytest.fixture
def openai_client(front: Program) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="the-clients-own", timeout=20, max_retries=0) as client:
        yield client


def came_with_the_key(sent: Sent, vendor: str) -> None:
    header, prefix = KEYS.get(vendor, (BEARER, "Bearer "))
    assert sent.headers[header] == prefix + key_of(vendor)
    assert header == BEARER or BEARER not in sent.headers
    assert "the-clients-own" not in str(sent.headers)
    assert "x-forwarded-for" not in sent.headers or vendor == CLOUD


def test_everybody_is_here() -> None:
    assert sorted(SAID) == NAMES


@pytest.mark.parametrize("vendor", NAMES)
def test_a_stream_for_ollamas_client(vendor: str, ollama_client: ollama.Client, last: Last) -> None:
    told: Any = OPTIONS
    parts = list(ollama_client.chat(f"{vendor}/{model_of(vendor)}", HI, stream=True, options=told))
    wanted = recorded(vendor, "expected.json")
    assert "".join(part.message.content or "" for part in parts) == wanted["text"]
    assert "".join(part.message.thinking or "" for part in parts) == wanted["thinking"]
    assert (parts[-1].done, parts[-1].done_reason) == (True, "stop")
    assert [parts[-1].prompt_eval_count, parts[-1].eval_count] == wanted["usage"][:2]
    assert parts[-1].model == f"{vendor}/{model_of(vendor)}"
    sent = last(path_of(vendor))
    assert sent.target == path_of(vendor) + QUERY.get(vendor, "")
    came_with_the_key(sent, vendor)
    body = {name: value for name, value in sent.body.items() if value not in ([], {})}
    assert body == {"model": model_of(vendor), "messages": HI, "stream": True, **SAID[vendor]}


@pytest.mark.parametrize("vendor", [name for name in NAMES if name != CLOUD])
def test_an_answer_for_openais_client(vendor: str, openai_client: openai.OpenAI, last: Last) -> None:
    typed = f"{vendor}/{model_of(vendor)}"
    more: Any = {"metadata": {"a": "b"}, "max_tokens": 64, "top_p": 0.9}
    completions = openai_client.chat.completions.with_raw_response
    answer = completions.create(model=typed, messages=HI, extra_body={"novel": [1, 2]}, **more)
    told = recorded(vendor, "chat.json")
    # Azure names the model behind the deployment, as OpenAI names a model's version: not arriero's to hide.
    assert json.loads(answer.text) == {**told, "model": typed if told["model"] == model_of(vendor) else told["model"]}
    assert answer.parse().choices[0].finish_reason in ("stop", "eos")
    sent = last(path_of(vendor))
    assert sent.target == path_of(vendor) + QUERY.get(vendor, "")
    came_with_the_key(sent, vendor)
    assert sent.body == {"model": model_of(vendor), "messages": HI, "novel": [1, 2], **more}


def test_an_answer_of_ollamas_cloud_for_openais_client(openai_client: openai.OpenAI, last: Last) -> None:
    """It speaks OpenAI's API too, at its own path, and is asked there."""
    typed = f"{CLOUD}/{model_of(CLOUD)}"
    answer = openai_client.chat.completions.with_raw_response.create(model=typed, messages=HI, max_tokens=64)
    assert json.loads(answer.text) == {**recorded(CLOUD, "chat-openai.json"), "model": typed}
    sent = last(f"/{CLOUD}/v1/chat/completions")
    came_with_the_key(sent, CLOUD)
    assert sent.body == {"model": model_of(CLOUD), "messages": HI, "max_tokens": 64}


@pytest.mark.parametrize("vendor", NAMES)
def test_a_refusal_for_ollamas_client(vendor: str, ollama_client: ollama.Client) -> None:
    wanted = recorded(vendor, "expected.json")["error"]
    refused: Any = [{"role": "user", "content": "be refused"}]
    with pytest.raises(ollama.ResponseError) as caught:
        ollama_client.chat(f"{vendor}/{model_of(vendor)}", refused)
    assert caught.value.status_code == wanted["told"]
    assert wanted["words"] in caught.value.error


@pytest.mark.parametrize("vendor", NAMES)
def test_its_models_are_listed(vendor: str, front: Program) -> None:
    ids = {model["id"] for model in front.get("/v1/models")["data"]}
    assert {model_of(vendor), *recorded(vendor, "expected.json")["ids"]} <= ids


# ---- what only some of them do -------------------------------------------------------------------------------------


def test_pages_are_followed(front: Program, vendors: Witness) -> None:
    ids = {model["id"] for model in front.get("/v1/models")["data"]}
    assert {"acme/embedder", "claude-opus-4-6"} <= ids
    assert {request.path for request in vendors.requests("/openrouter/api/v1/models")} == {
        "/openrouter/api/v1/models?output_modalities=all",
        "/openrouter/api/v1/models?output_modalities=all&offset=1&limit=1",
    }
    assert [request.path for request in vendors.requests("/anthropic/v1/models")][:2] == [
        "/anthropic/v1/models?limit=1000",
        "/anthropic/v1/models?limit=1000&after_id=claude-haiku-4-5",
    ]
    assert vendors.requests("/v1/models")[0].path == "/v1/models?page_size=1000"


def test_anthropics_list_has_another_field_for_the_key(vendors: Witness, front: Program) -> None:
    asked = vendors.requests("/anthropic/v1/models")[0].headers
    assert (asked["x-api-key"], asked["anthropic-version"]) == (key_of("anthropic"), "2023-06-01")
    assert BEARER not in asked


def test_openrouter_learns_the_application_and_the_operators_word_is_stronger(
    front: Program, ollama_client: ollama.Client, last: Last
) -> None:
    ollama_client.chat(f"openrouter/{model_of('openrouter')}", HI)
    told = last(path_of("openrouter")).headers
    assert (told["http-referer"], told["x-title"]) == ("http://localhost:11434", "arriero")
    ollama_client.chat(f"own-title/{model_of('openrouter')}", HI)
    told = last(path_of("openrouter")).headers
    assert (told["http-referer"], told["x-title"]) == ("http://localhost:11434", "My Lab")


def test_openrouters_own_fields_travel_from_an_ollama_client(front: Program, last: Last) -> None:
    own = {
        "provider": {"order": ["acme"], "allow_fallbacks": False},
        "models": ["acme/thinker:free", "acme/other"],
        "transforms": ["middle-out"],
        "route": "fallback",
        "plugins": [{"id": "web"}],
        "reasoning": {"max_tokens": 2000},
        "usage": {"include": True},
    }
    body = {**chat(f"openrouter/{model_of('openrouter')}"), **own, "think": True, "novel": 1}
    status, headers, _ = front.ask("POST", "/api/chat", body)
    assert (status, headers["x-arriero-dropped"]) == (200, "novel")
    sent = last(path_of("openrouter")).body
    assert {name: sent[name] for name in own} == own
    assert sent["model"] == "acme/thinker:free"
    assert "novel" not in sent and "think" not in sent


def test_another_vendor_gets_none_of_them(front: Program, last: Last) -> None:
    body = {**chat(f"groq/{model_of('groq')}"), "provider": {"order": ["acme"]}, "transforms": []}
    status, headers, _ = front.ask("POST", "/api/chat", body)
    assert (status, headers["x-arriero-dropped"]) == (200, "provider,transforms")
    assert {"provider", "transforms"} & set(last(path_of("groq")).body) == set()


def test_openrouter_fails_after_200(front: Program, ollama_client: ollama.Client) -> None:
    later: Any = [{"role": "user", "content": "fail later"}]
    heard = ""
    with pytest.raises(ollama.ResponseError, match="Provider disconnected"):
        for part in ollama_client.chat(f"openrouter/{model_of('openrouter')}", later, stream=True):
            heard += part.message.content or ""
    assert heard == "It rains"


def test_openrouters_embeddings(front: Program, ollama_client: ollama.Client, last: Last) -> None:
    found = ollama_client.embed("openrouter/acme/embedder", "rain")
    assert len(found.embeddings) == 1 and len(found.embeddings[0]) == 3
    assert last(path_of("openrouter", "/embeddings")).body == {
        "model": "acme/embedder",
        "input": ["rain"],
        "encoding_format": "float",
    }


def test_show_tells_what_openrouter_tells(front: Program, ollama_client: ollama.Client) -> None:
    shown = ollama_client.show("openrouter/acme/thinker:free")
    assert sorted(shown.capabilities or ()) == ["completion", "thinking", "tools", "vision"]
    lengths = [value for key, value in (shown.modelinfo or {}).items() if key.endswith(".context_length")]
    assert lengths == [65536]
    assert ollama_client.show("openrouter/acme/embedder").capabilities == ["embedding"]


def test_an_openai_client_reads_openrouters_own_fields_of_a_model(front: Program) -> None:
    (found,) = [model for model in front.get("/v1/models")["data"] if model["id"] == "acme/thinker:free"]
    told = recorded("openrouter", "models.json")["data"][0]
    assert found == {
        **{name: value for name, value in told.items() if name != "description"},
        "object": "model",
        "owned_by": "library",
    }


def test_too_many_requests_say_when_to_come_again(front: Program) -> None:
    status, headers, answer = front.ask("POST", "/api/chat", chat("limited/acme/busy"))
    assert (status, headers["retry-after"]) == (429, "7")
    assert b"OpenRouter API error: 429 Too Many Requests" in answer


def test_the_operators_query_is_escaped_and_stronger_than_the_profiles(
    front: Program, ollama_client: ollama.Client, last: Last
) -> None:
    ollama_client.chat("other-azure/chat-eu", HI)
    sent = last(path_of("azure-deployments"))
    assert sent.target == path_of("azure-deployments") + "?api-version=2025-03-01%20preview&team=a%26b"
    assert sent.headers["x-team"] == "lab"


def test_a_clients_own_api_version_does_not_stand_beside_the_operators(front: Program, last: Last) -> None:
    path = "/v1/chat/completions?api-version=1999-01-01&beta=true"
    status, _, _ = front.ask("POST", path, chat("azure-deployments/chat-eu"))
    assert status == 200
    target = last(path_of("azure-deployments")).target
    assert target == path_of("azure-deployments") + "?api-version=2024-10-21&beta=true"


@pytest.mark.parametrize("vendor", ["azure", "azure-deployments"])
def test_azure_is_asked_whether_it_takes_the_key(vendor: str, front: Program, vendors: Witness) -> None:
    base = path_of(vendor, "").removesuffix("/deployments/chat-eu")
    asked = vendors.requests(f"{base}/models")[0]
    assert (asked.path, asked.headers["api-key"]) == (f"{base}/models{QUERY.get(vendor, '')}", key_of(vendor))


@pytest.mark.parametrize("vendor", ["bedrock", "perplexity"])
def test_who_has_no_list_is_not_asked_for_one(vendor: str, front: Program, vendors: Witness) -> None:
    assert vendors.requests(path_of(vendor, "/models")) == []
    assert endpoint(front, vendor)["status"] == "healthy"
    assert OWN_MODELS[vendor] in {model["id"] for model in front.get("/v1/models")["data"]}


def test_a_vendor_without_a_list_and_without_named_models_says_what_to_do(front: Program) -> None:
    row = endpoint(front, "nameless")
    assert "Perplexity has no list" in str(row)
    assert "extra_models of the backend nameless" in str(row)
    assert row["status"] not in ("healthy", "busy")
