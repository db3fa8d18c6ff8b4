"""What a model of a store brings along (parameters, system text, messages) in real answers, for clients of each API."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    MESSAGES,
    MODEL,
    PARAMS,
    SYSTEM,
    Config,
    Manifest,
    write_config,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.canonical.requests import Message, Text
from arriero.dialects.ollama.memory import recalled
from e2e.conftest import SENTENCE
from support.gguf import PLAIN_TEMPLATE, scripted
from support.program import Program, program
from support.store import layer, name

HI: Any = [{"role": "user", "content": "hi"}]
PARAMETERS = {"stop": [" world"], "num_ctx": 512, "temperature": 0}
TURNS = [{"role": "user", "content": "who are you"}, {"role": "assistant", "content": "a llama of the mountains"}]
UNTIL_WORLD = "Hello to the"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The engine on a store with one file under three names: as it is, with parameters, and with words of its own;
    and another one, which wants a short context.
    """
    root = tmp_path_factory.mktemp("store")
    files = tmp_path_factory.mktemp("weights")
    weights, others = files / "hello.gguf", files / "plain.gguf"
    scripted(weights, SENTENCE)
    scripted(others, SENTENCE, template=PLAIN_TEMPLATE)
    store = Store(root)
    own: dict[str, dict[str, bytes]] = {
        "bare": {},
        "params": {PARAMS: json.dumps(PARAMETERS).encode()},
        "words": {SYSTEM: b"You live high up.", MESSAGES: json.dumps(TURNS).encode()},
    }
    for model, layers in own.items():
        _put(store, model, weights, layers)
    _put(store, "short", others, {PARAMS: b'{"num_ctx":512}'})
    backend = {"name": "local", "kind": "engine", "models_dir": root, "demo_model": False, "threads": 1}
    with program(tmp_path_factory.mktemp("program"), [{**backend, "context_length": 1024, "max_loaded": 9}]) as found:
        yield found


def _put(store: Store, model: str, weights: Path, layers: dict[str, bytes]) -> None:
    whole = (layer(store, weights.read_bytes(), MODEL), *(layer(store, data, kind) for kind, data in layers.items()))
    config = layer(store, write_config(Config(model_family="llama")), CONFIG_TYPE)
    store.write(name(model), write_manifest(Manifest(config, whole)))


@pytest.fixture
def native(running: Program) -> Iterator[ollama.Client]:
    with closing(ollama.Client(running.url, timeout=20)) as client:
        yield client


@pytest.fixture
def compatible(running: Program) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", timeout=20, max_retries=0) as client:
        yield client


def test_parameters_hold_unless_the_request_says_otherwise(native: ollama.Client) -> None:
    assert native.chat("bare", HI).message.content == SENTENCE
    assert native.chat("params", HI).message.content == UNTIL_WORLD
    assert native.generate("params", "hi").response == UNTIL_WORLD
    assert native.generate("params", "hi", raw=True).response == UNTIL_WORLD
    assert native.chat("params", HI, options={"stop": [" of"]}).message.content == "Hello to the world"
    assert native.chat("params", HI, options={"stop": []}).message.content == SENTENCE


def test_and_for_openais_client(compatible: openai.OpenAI) -> None:
    def said(model: str, **fields: Any) -> str | None:
        answer = compatible.chat.completions.create(model=model, messages=HI, **fields)
        content: str | None = answer.choices[0].message.content
        return content

    assert (said("bare"), said("params"), said("params", stop=" of")) == (SENTENCE, UNTIL_WORLD, "Hello to the world")
    assert compatible.completions.create(model="params", prompt="hi").choices[0].text == UNTIL_WORLD


def test_the_context_is_as_long_as_the_model_wants_it(native: ollama.Client, running: Program) -> None:
    def lengths() -> dict[str | None, int | None]:
        return {model.model: model.context_length for model in native.ps().models}

    native.generate("short", keep_alive=60)
    assert lengths()["short:latest"] == 512
    _, headers, _ = running.ask("POST", "/api/chat", {"model": "short", "messages": HI, "stream": False})
    assert (lengths()["short:latest"], headers.get("x-arriero-dropped")) == (512, None)
    native.chat("short", HI, options={"num_ctx": 640})
    assert lengths()["short:latest"] == 640


def test_its_own_words_come_first(native: ollama.Client, compatible: openai.OpenAI) -> None:
    bare, words = native.chat("bare", HI), native.chat("words", HI)
    told = [Message("system", (Text("You live high up."),))]
    told += [Message(turn["role"], (Text(turn["content"]),)) for turn in TURNS]
    said = [Message("user", (Text("hi"),)), Message("assistant", (Text(SENTENCE),))]
    assert (words.prompt_eval_count or 0) > (bare.prompt_eval_count or 0) + 8
    answer: Any = compatible.chat.completions.create(model="words", messages=HI)
    assert (answer.choices[0].message.content, answer.usage.prompt_tokens) == (SENTENCE, words.prompt_eval_count)
    first = native.generate("words", "hi")
    assert recalled(first.context or ()) == (*told, *said)
    second = native.generate("words", "hi", context=first.context)
    assert recalled(second.context or ()) == (*told, *said, *said)
    assert recalled(native.generate("words", "hi", context=[]).context or ()) == (told[0], *said)
