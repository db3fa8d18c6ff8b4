"""Names of models at the running program: what each spelling means, to both clients, wherever a model is named.

OpenRouter lists what it really lists: two models with one last segment, a beginning that is another model's name, and a
model with its `:free` twin; `:nitro` and `:floor` are in no list, and it takes them behind any id. A second vendor has
one of the models too.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import ollama
import openai
import pytest

from support.hosts import Host, chat
from support.program import Program, program, until
from support.proxied import entry, provider

GPT, MINI, GEMINI = "openai/gpt-4o", "openai/gpt-4o-mini", "google/gemini-pro"
LLAMA, FREE, TWIN = "meta-llama/llama-3", "meta-llama/llama-3:free", "x/gpt-4o"
MIXTRAL = "mistralai/mixtral:8x7b"
IDS = (GPT, MINI, GEMINI, FREE, LLAMA, TWIN, MIXTRAL)
NITRO, FLOOR = f"{GPT}:nitro", f"{FREE}:floor"
LISTED = [id if ":" in id else f"{id}:latest" for id in IDS]
HI: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """OpenRouter, a vendor with one of its models, and aliases."""
    folder = tmp_path_factory.mktemp("names")
    rules = [
        {"when": {"path": "/v1/models", "query": "*modalities*"}, "play": {"body": {"data": [*map(entry, IDS)]}}},
        {"when": {"path": "/v1/models"}, "play": {"body": {"data": [{"id": GEMINI}]}}},
    ]
    host = Host("vendors", folder / "vendors", [*IDS, NITRO, FLOOR], speaks=["openai"], rules=rules)
    host.start()
    backends = [provider("openrouter", host.url, "openrouter"), provider("groq", host.url, "groq")]
    aliases = {"fast": ["nobody", MINI], "gpt-4o-mini:free": [FREE]}
    try:
        with program(folder / "program", backends, routing={"aliases": aliases}) as running:
            until(lambda: {one["models_available"] for one in running.get("/api/providers")["providers"]} == {1, 7})
            yield running
    finally:
        host.kill()


class Rule(NamedTuple):
    """A spelling, and the model that it means; `by` is who alone may answer."""

    text: str
    means: str
    by: str = ""


RULES: Mapping[str, Rule] = {
    "id": Rule("openai/gpt-4o", GPT),
    "id:latest": Rule("openai/gpt-4o:latest", GPT),
    "id in any letter case": Rule("OpenAI/GPT-4o", GPT),
    "tail": Rule("gpt-4o-mini", MINI),
    "tail:latest": Rule("gpt-4o-mini:latest", MINI),
    "unique prefix": Rule("mixtral", MIXTRAL),
    "unique prefix of an id": Rule("mistralai/mixtral", MIXTRAL),
    "alias": Rule("fast", MINI),
    "alias:latest": Rule("fast:latest", MINI),
    "provider/id": Rule("openrouter/openai/gpt-4o", GPT, "openrouter"),
    "provider/id:latest": Rule("groq/google/gemini-pro:latest", GEMINI, "groq"),
    "provider/tail": Rule("groq/gemini-pro", GEMINI, "groq"),
    "id:free": Rule("meta-llama/llama-3:free", FREE),
    "tail:free": Rule("llama-3:free", FREE),
    "tail beside tail:free": Rule("llama-3", LLAMA),
    "tail:latest beside tail:free": Rule("llama-3:latest", LLAMA),
    "id beside id:free": Rule("meta-llama/llama-3", LLAMA),
    "the name that ollama-proxy made of id:free": Rule("llama-3-free:latest", FREE),
    "the same without :latest": Rule("llama-3-free", FREE),
    "the documented google/gemini-pro:latest": Rule("google/gemini-pro:latest", GEMINI),
    "id:nitro, which no list has": Rule("openai/gpt-4o:nitro", NITRO),
    "tail:free:floor": Rule("llama-3:free:floor", FLOOR),
    "an id whose tail is ambiguous": Rule("x/gpt-4o", TWIN),
}


@pytest.mark.parametrize("rule", RULES)
def test_name(gate: Program, rule: str) -> None:
    text, means, by = RULES[rule]
    for path in ("/api/chat", "/api/generate", "/v1/chat/completions"):
        status, headers, answer = gate.ask("POST", path, {**chat(text), "prompt": "hi"})
        told = json.loads(answer)
        assert (status, headers["x-arriero-model"], told["model"]) == (200, means, text), path
        assert by in ("", headers["x-arriero-backend"])
    shown = gate.post("/api/show", {"model": text})[1]
    listed = means if ":" in means else f"{means}:latest"
    assert shown["model_info"]["general.basename"] == listed
    assert gate.post("/api/show", {"name": text}) == (200, shown)


@pytest.mark.parametrize("rule", RULES)
def test_name_to_both_clients(gate: Program, rule: str) -> None:
    """They get the text back that they sent, and the vendor its own id: it would not know another."""
    text = RULES[rule].text
    with closing(ollama.Client(gate.url)) as client:
        assert client.chat(text, HI).model == text
        assert [part.model for part in client.generate(text, "hi", stream=True)][-1] == text
        assert client.show(text).capabilities
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key="x", max_retries=0) as other:
        assert other.chat.completions.create(model=text, messages=HI).model == text
        assert other.models.retrieve(text).object == "model"


AMBIGUOUS = f"model '{{}}' not found: the name is ambiguous, it may mean {GPT}, {TWIN}"
REFUSED: Mapping[str, tuple[str, str]] = {
    "ambiguous tail": ("gpt-4o", AMBIGUOUS),
    "ambiguous tail:latest": ("gpt-4o:latest", AMBIGUOUS),
    "ambiguous provider/tail": ("openrouter/gpt-4o", AMBIGUOUS),
    "a prefix that ends within a word": ("gpt-4o-m", "model '{}' not found"),
    "a tag that nobody lists": ("gpt-4o-mini:v2", "model '{}' not found"),
    "a variant at a vendor that has none": ("groq/google/gemini-pro:nitro", "model '{}' not found"),
    "provider/id that it does not list": ("groq/openai/gpt-4o", "model '{}' not found"),
    "unknown": ("nonexistent-model", "model '{}' not found"),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_no_name(gate: Program, rule: str) -> None:
    text, message = REFUSED[rule]
    error = message.format(text)
    assert gate.post("/api/chat", chat(text)) == (404, {"error": error, "type": "model_not_found"})
    assert gate.post("/v1/chat/completions", chat(text)) == (
        404,
        {"error": {"message": error, "type": "not_found_error", "param": None, "code": "model_not_found"}},
    )
    # Ollama adds the tag there that it would have looked for.
    tagged = text if ":" in text or message is AMBIGUOUS else f"{text}:latest"
    assert gate.post("/api/show", {"model": text}) == (
        404,
        {"error": message.format(tagged), "type": "model_not_found"},
    )
    with closing(ollama.Client(gate.url)) as client, pytest.raises(ollama.ResponseError) as caught:
        client.chat(text, HI)
    assert (caught.value.status_code, caught.value.error) == (404, error)
    with (
        openai.OpenAI(base_url=f"{gate.url}/v1", api_key="x", max_retries=0) as other,
        pytest.raises(openai.NotFoundError) as refused,
    ):
        other.chat.completions.create(model=text, messages=HI)
    assert refused.value.body == {
        "message": error,
        "type": "not_found_error",
        "param": None,
        "code": "model_not_found",
    }


def test_a_variant_is_its_model_wherever_models_are_counted(gate: Program) -> None:
    """No list has it, and still it is no fallback and no stranger."""
    assert gate.post("/api/chat", chat(NITRO))[0] == 200
    text = gate.ask("GET", "/metrics", headers={"accept": "text/plain"})[2].decode()
    assert "\narriero_fallbacks_total 0.0\n" in text
    assert f'arriero_model_requests_total{{model="{NITRO}",result="ok"}}' in text
    assert gate.get(f"/olla/models/{NITRO}")["id"] == gate.get(f"/olla/models/{GPT}")["id"]
    assert gate.get(f"/v1/models/{NITRO}")["id"] == NITRO
    explained = gate.get(f"/arriero/api/explain?model={NITRO}")
    assert [(one["backend"], one["model"]) for one in explained["candidates"]] == [("openrouter", NITRO)]


# ---- X-Provider ----------------------------------------------------------------------------------------------------


def answered(gate: Program, model: str, word: str) -> tuple[str, str]:
    """Who answered with which model."""
    status, headers, answer = gate.ask("POST", "/api/chat", chat(model), {"X-Provider": word})
    assert status == 200, answer
    return headers["x-arriero-backend"], headers["x-arriero-model"]


def test_x_provider_is_who_answers_if_it_can(gate: Program) -> None:
    assert answered(gate, "gemini-pro", "groq") == ("groq", GEMINI)
    assert answered(gate, "gemini-pro", "OpenRouter") == ("openrouter", GEMINI)


@pytest.mark.parametrize("word", ["groq", "azure", "no-such-provider"])
def test_x_provider_is_a_preference_and_no_pin(gate: Program, word: str) -> None:
    assert answered(gate, "openai/gpt-4o", word) == ("openrouter", GPT)


def test_x_provider_does_not_choose_between_two_models_of_one_provider(gate: Program) -> None:
    status, _, answer = gate.ask("POST", "/api/chat", chat("gpt-4o"), {"X-Provider": "openrouter"})
    assert (status, json.loads(answer)["error"]) == (404, AMBIGUOUS.format("gpt-4o"))


# ---- what the listings show ----------------------------------------------------------------------------------------


def test_listed_names(gate: Program) -> None:
    """Each model once, under a name that means it; `:free` stays, and an id without a tag has `:latest` for Ollama."""
    aliases = ["fast", "gpt-4o-mini:free"]
    assert [model["name"] for model in gate.get("/api/tags")["models"]] == [*LISTED, "fast:latest", aliases[1]]
    assert [model["id"] for model in gate.get("/v1/models")["data"]] == [*IDS, *aliases]
    assert [model["name"] for model in gate.get("/api/tags/openrouter")["models"]] == LISTED
    assert [model["name"] for model in gate.get("/api/tags/groq")["models"]] == [f"{GEMINI}:latest"]
    with closing(ollama.Client(gate.url)) as client:
        names = [model.model for model in client.list().models]
        assert all(client.chat(name or "", HI).model == name for name in names)
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key="x") as other:
        assert [model.id for model in other.models.list()] == [*IDS, *aliases]


def test_a_listed_name_wins_over_every_looser_one(gate: Program) -> None:
    """The alias `gpt-4o-mini:free` is the free model, though `gpt-4o-mini` is another one's last segment."""
    status, headers, _ = gate.ask("POST", "/api/chat", chat("gpt-4o-mini:free"))
    assert (status, headers["x-arriero-model"]) == (200, FREE)
