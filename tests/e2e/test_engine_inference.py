"""All that a model can be asked for, through the real program and the real engine: models of a store with eyes and with
adapters, text to fill in, options that reload and options that do not, models that crash or go while they answer.
"""

import base64
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

from arriero.backends.engine.store.manifest import (
    ADAPTER,
    CONFIG_TYPE,
    MODEL,
    PARAMS,
    PROJECTOR,
    TEMPLATE,
    Config,
    Manifest,
    write_config,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from support.engine import needs_engine
from support.gguf import SPECIAL, adapter, projector, random_llama, scripted
from support.pictures import BLUE, RED, png
from support.program import Program, program, until
from support.store import layer, name

pytestmark = needs_engine

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
GREEDY = {"temperature": 0, "num_predict": 6}
ENDLESS = {"num_predict": 100_000}


def put(store: Store, model: str, *layers: tuple[str, bytes]) -> None:
    """A model of the store, from its layers."""
    config = layer(store, write_config(Config(model_format="gguf")), CONFIG_TYPE)
    written = tuple(layer(store, data, media_type) for media_type, data in layers)
    store.write(name(model), write_manifest(Manifest(config, written)))


def engine_of(root: Path, **settings: Any) -> dict[str, Any]:
    return {"name": "local", "kind": "engine", "models_dir": root, "demo_model": False, "threads": 1, **settings}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store: the same weights with and without eyes, adapter, template, parameters; and loose files beside it."""
    folder = tmp_path_factory.mktemp("parts")
    store = Store(tmp_path_factory.mktemp("store"))
    weights = (MODEL, random_llama(folder / "a.gguf").read_bytes())
    put(store, "noise", weights)
    put(store, "terse", weights, (PARAMS, b'{"temperature": 0, "num_predict": 3, "num_ctx": 640}'))
    put(store, "eyes", weights, (PROJECTOR, projector(folder / "eyes.gguf").read_bytes()))
    put(store, "bent", weights, (ADAPTER, adapter(folder / "lora.gguf").read_bytes()))
    fills = b"{{ if .Suffix }}<|im_start|>{{ .Prompt }}<|im_end|>{{ .Suffix }}{{ else }}{{ .Prompt }}{{ end }}"
    put(store, "filler", weights, (TEMPLATE, fills))
    random_llama(store.root / "coder.gguf", special=(*MARKS, *SPECIAL))
    random_llama(store.root / "base.gguf", template=None)
    random_llama(store.root / "embedder.gguf", pooling="mean")
    scripted(store.root / "json.gguf", ['{"answer"', ": 42", "}"])
    return store.root


@pytest.fixture(scope="module")
def engine(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(tmp_path_factory.mktemp("engine"), [engine_of(root, max_loaded=9, context_length=1024)]) as running:
        yield running


def said(running: Program, model: str, prompt: str = "Hello", **fields: Any) -> str:
    """What a model answers to a prompt, without dice."""
    body = {"model": model, "prompt": prompt, "stream": False, "options": GREEDY, **fields}
    status, answer = running.post("/api/generate", body)
    assert status == 200, answer
    text: str = answer["response"]
    return text


def loaded(running: Program) -> Mapping[str, int]:
    """The models in memory and their contexts."""
    return {model["name"]: model["context_length"] for model in running.get("/api/ps")["models"]}


def capabilities(running: Program, model: str) -> list[str]:
    (found,) = (each for each in running.get("/api/tags")["models"] if each["name"] == f"{model}:latest")
    words: list[str] = found["capabilities"]
    return sorted(words)


def unload(running: Program, *models: str) -> None:
    for model in models:
        assert running.post("/api/generate", {"model": model, "keep_alive": 0})[1]["done_reason"] == "unload"


def unload_all(running: Program) -> None:
    unload(running, *loaded(running))
    until(lambda: not running.children())


class Endless:
    """A stream that goes on until the context is full, read by a thread."""

    def __init__(self, running: Program, model: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        body = {"model": model, "prompt": "go", "raw": True, "options": ENDLESS}
        self._connection.request("POST", "/api/generate", json.dumps(body))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: self.lines)

    def _read(self) -> None:
        for line in self._connection.getresponse():
            self.lines.append(json.loads(line))
        self._connection.close()

    def end(self) -> dict[str, Any]:
        """Its last line."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.lines[-1]


# ---- text to fill in -------------------------------------------------------------------------------------------------


def test_a_suffix_by_the_marks_of_the_vocabulary(engine: Program) -> None:
    assert capabilities(engine, "coder") == ["completion", "insert"]
    raw = said(engine, "coder", "<|fim_prefix|>def f(<|fim_suffix|>return x<|fim_middle|>", raw=True)
    assert said(engine, "coder", "def f(", suffix="return x") == raw
    assert said(engine, "coder", "def f(") != raw
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="-") as client:
        whole = client.completions.create(
            model="coder", prompt="def f(", suffix="return x", temperature=0, max_tokens=6
        )
        assert whole.choices[0].text == raw
        streamed = client.completions.create(
            model="coder", prompt="def f(", suffix="return x", temperature=0, max_tokens=6, stream=True
        )
        assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == raw


def test_a_suffix_by_the_template_of_the_store(engine: Program) -> None:
    assert capabilities(engine, "filler") == ["completion", "insert"]
    raw = said(engine, "filler", "<|im_start|>a<|im_end|>b", raw=True)
    assert said(engine, "filler", "a", suffix="b") == raw


def test_a_suffix_longer_than_the_context_is_cut(engine: Program) -> None:
    long = {"model": "coder", "prompt": "a" * 3000, "suffix": "b" * 3000, "stream": False, "options": GREEDY}
    status, answer = engine.post("/api/generate", long)
    assert (status, answer["eval_count"]) == (200, 6)
    assert 600 < answer["prompt_eval_count"] < 1024
    status, answer = engine.post("/api/generate", {**long, "truncate": False})
    assert status == 400
    assert answer["error"].startswith("the prompt is longer than the context length")


def test_a_model_without_marks_refuses_a_suffix(engine: Program) -> None:
    status, answer = engine.post("/api/generate", {"model": "noise", "prompt": "a", "suffix": "b"})
    assert (status, answer["error"]) == (400, "registry.ollama.ai/library/noise:latest does not support insert")
    status, answer = engine.post("/v1/completions", {"model": "noise", "prompt": "a", "suffix": "b"})
    assert (status, answer["error"]["message"]) == (400, '"noise" does not support insert')


# ---- pictures --------------------------------------------------------------------------------------------------------


def seen(colour: tuple[int, int, int]) -> dict[str, Any]:
    """The message in OpenAI's words."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(colour)}"}}
    return {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}


def test_a_model_with_eyes_sees(engine: Program) -> None:
    assert capabilities(engine, "eyes") == ["completion", "vision"]
    with closing(ollama.Client(engine.url)) as client:
        answers = [
            client.chat("eyes", [{"role": "user", "content": "What is it?", "images": images}], options=GREEDY)
            for images in ([png(RED)], [png(BLUE)], [])
        ]
    texts = [answer.message.content for answer in answers]
    assert len(set(texts)) == 3
    status, answer = engine.post(
        "/v1/chat/completions",
        {"model": "eyes", "messages": [seen(BLUE)], "temperature": 0, "max_tokens": 6},
    )
    assert (status, answer["choices"][0]["message"]["content"]) == (200, texts[1])
    assert said(engine, "eyes", "What is it?", images=[png(BLUE)]) == texts[1]


def test_nothing_is_fetched_for_a_client(engine: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        for part, text in (
            (
                {"type": "image_url", "image_url": {"url": url}},
                "image URLs are not currently supported, please use base64 encoded data instead",
            ),
            (
                {"type": "video_url", "video_url": {"url": url}},
                "content of type 'video_url' cannot be sent to this model's server",
            ),
        ):
            body = {"model": "eyes", "messages": [{"role": "user", "content": [part]}]}
            status, answer = engine.post("/v1/chat/completions", body)
            assert (status, answer["error"]["message"]) == (400, text)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (b"hello", "an image cannot be decoded: send PNG, JPEG, GIF or BMP"),
        (base64.b64decode(png())[:50], "Failed to load image or audio file"),
    ],
)
def test_what_is_no_picture(picture: bytes, text: str, engine: Program) -> None:
    message = {"role": "user", "content": "?", "images": [base64.b64encode(picture).decode()]}
    status, answer = engine.post("/api/chat", {"model": "eyes", "messages": [message], "stream": False})
    assert (status, answer["error"]) == (400, text)


def test_a_model_without_eyes(engine: Program) -> None:
    message = {"role": "user", "content": "?", "images": [png()]}
    status, answer = engine.post("/api/chat", {"model": "noise", "messages": [message]})
    assert (status, answer["error"]) == (400, "registry.ollama.ai/library/noise:latest does not support vision")
    status, answer = engine.post("/v1/chat/completions", {"model": "noise", "messages": [seen(RED)]})
    assert (status, answer["error"]["message"]) == (400, '"noise" does not support images')


# ---- the parts of a model --------------------------------------------------------------------------------------------


def test_an_adapter_changes_what_is_said(engine: Program) -> None:
    assert said(engine, "bent") != said(engine, "noise")


def test_a_model_without_a_template_continues_the_text(engine: Program) -> None:
    assert said(engine, "base", "Once upon") == said(engine, "base", "Once upon", raw=True)


def test_names_of_the_same_parts_share_a_process(engine: Program) -> None:
    unload_all(engine)
    first = said(engine, "noise")
    (pid,) = engine.children()
    assert said(engine, "terse") == first
    # What a name brings along is its own: three tokens.
    status, answer = engine.post("/api/generate", {"model": "terse", "prompt": "Hello", "stream": False})
    assert (status, answer["eval_count"]) == (200, 3)
    assert engine.children() == [pid]
    assert loaded(engine) == {"noise:latest": 1024}
    unload(engine, "terse")
    until(lambda: not engine.children())
    assert loaded(engine) == {}


# ---- options ---------------------------------------------------------------------------------------------------------


def test_what_reloads_a_model_and_what_does_not(engine: Program) -> None:
    def process_of(**options: Any) -> int:
        body = {"model": "json", "prompt": "?", "stream": False, "options": options}
        status, headers, answer = engine.ask("POST", "/api/generate", body)
        assert (status, json.loads(answer)["response"]) == (200, '{"answer": 42}')
        assert headers.get("x-arriero-dropped", "") == ""
        until(lambda: len(engine.children()) == 1)
        return engine.children()[0]

    unload_all(engine)
    first = process_of(num_ctx=1100)
    # Whoever says nothing gets the default of 1024, and a larger one is as good.
    for options in ({}, {"num_ctx": 1100}, {"num_ctx": 300}, {"num_thread": 1, "num_gpu": 7, "main_gpu": 1}):
        assert process_of(**options) == first
    assert loaded(engine) == {"json:latest": 1100}
    second = process_of(num_ctx=1101)
    assert second != first
    assert loaded(engine) == {"json:latest": 1101}
    third = process_of(num_thread=2, num_batch=64, use_mmap=False)
    assert third != second
    assert process_of(num_batch=64) == third


def test_a_load_takes_the_options_and_the_models_own(engine: Program) -> None:
    unload(engine, "json", "terse")
    assert engine.post("/api/generate", {"model": "json", "options": {"num_ctx": 555}})[1]["done_reason"] == "load"
    assert engine.post("/api/chat", {"model": "terse"})[1]["done_reason"] == "load"
    found = loaded(engine)
    assert (found["json:latest"], found["terse:latest"]) == (555, 640)


def test_variables_of_ollama_reach_the_engine(root: Path, tmp_path: Path) -> None:
    variables = {
        "OLLAMA_NUM_PARALLEL": "1",
        "OLLAMA_MAX_QUEUE": "1",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_CONTEXT_LENGTH": "3000",
        "OLLAMA_KEEP_ALIVE": "-1",
    }
    scripted(root / "long.gguf", "On and on.", endless=True)
    with program(tmp_path, [engine_of(root)], variables=variables) as running:
        stream = Endless(running, "long")
        (model,) = running.get("/api/ps")["models"]
        assert (model["name"], model["context_length"], model["expires_at"] > "2100") == ("long:latest", 3000, True)
        # One answers, one waits, the next ones are told to come again.
        answers: list[tuple[int, Any]] = []
        body = {"model": "json", "prompt": "?", "stream": False}
        others = [
            threading.Thread(target=lambda: answers.append(running.post("/api/generate", body))) for _ in range(3)
        ]
        for other in others:
            other.start()
        until(lambda: len(answers) == 2)
        busy = "server busy, please try again.  maximum pending requests exceeded"
        assert [(status, answer["error"]) for status, answer in answers] == [(503, busy)] * 2
        # The one that waits needs the room of the one that answers, which is let finish.
        assert stream.end()["done_reason"] == "length"
        for other in others:
            other.join(20)
        assert [status for status, _ in answers] == [503, 503, 200]
        assert loaded(running) == {"json:latest": 3000}


def test_a_load_that_takes_too_long(root: Path, tmp_path: Path) -> None:
    with program(tmp_path, [engine_of(root)], variables={"OLLAMA_LOAD_TIMEOUT": "1ms"}) as running:
        status, answer = running.post("/api/generate", {"model": "json", "prompt": "?"})
        assert (status, answer["error"]) == (500, "json:latest was not loaded within 0.001 seconds")
        until(lambda: not running.children())


# ---- raw, logprobs, schemas, embeddings ------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}


@pytest.mark.parametrize("raw", [False, True])
def test_a_schema_and_logprobs(raw: bool, engine: Program) -> None:
    body = {"model": "json", "prompt": "?", "raw": raw, "format": SCHEMA, "logprobs": True, "top_logprobs": 2}
    status, answer = engine.post("/api/generate", {**body, "stream": False})
    assert (status, answer["response"]) == (200, '{"answer": 42}')
    first = answer["logprobs"][0]
    assert (first["token"], bytes(first["bytes"]), len(first["top_logprobs"])) == ('{"answer"', b'{"answer"', 2)
    assert ("context" in answer) is not raw


def test_embeddings_are_cut_in_tokens_and_in_length(engine: Program) -> None:
    text = "a b c " * 1000
    body = {"model": "embedder", "input": [text, "short"], "dimensions": 8, "options": {"num_ctx": 512}}
    status, answer = engine.post("/api/embed", body)
    assert status == 200
    assert [len(vector) for vector in answer["embeddings"]] == [8, 8]
    assert [sum(value * value for value in vector) for vector in answer["embeddings"]] == pytest.approx([1, 1])
    assert answer["prompt_eval_count"] == 512 + len("short")
    status, answer = engine.post("/api/embed", {**body, "truncate": False})
    assert (status, answer["error"]) == (400, "the input length exceeds the context length")
    # The same by tokens, from a client of OpenAI's.
    status, answer = engine.post("/v1/embeddings", {"model": "embedder", "input": list(range(200)) * 10})
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 1024)


# ---- models that go, and processes that die --------------------------------------------------------------------------


def test_a_model_that_is_deleted_or_replaced_while_it_answers(root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    long = scripted(tmp_path / "a.gguf", "On and on.", endless=True).read_bytes()
    put(store, "victim", (MODEL, long))
    with program(tmp_path / "arriero", [engine_of(store.root)]) as running:
        stream = Endless(running, "victim")
        put(store, "victim", (MODEL, scripted(tmp_path / "b.gguf", "I am new here.").read_bytes()))
        assert said(running, "victim", options={}) == "I am new here."
        assert stream.end()["done_reason"] == "length"
        put(store, "victim", (MODEL, long))
        stream = Endless(running, "victim")
        store.delete(name("victim"))
        status, answer = running.post("/api/generate", {"model": "victim", "prompt": "?"})
        assert (status, answer["error"]) == (404, "model 'victim' not found")
        assert stream.end()["done_reason"] == "length"


def test_three_crashes_in_a_minute_and_the_model_is_told_to_be_broken(root: Path, tmp_path: Path) -> None:
    scripted(root / "long.gguf", "On and on.", endless=True)
    with program(tmp_path, [engine_of(root)]) as running:
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            stream = Endless(running, "long")
            for pid in running.children():
                os.kill(pid, number)
            last = stream.end()
            assert "long:latest" in last["error"], last
        status, answer = running.post("/api/generate", {"model": "long", "prompt": "?"})
        assert status == 500
        crashed = "long:latest crashed 3 times in 60 seconds: the engine crashed on long:latest (SIGABRT)"
        assert answer["error"].startswith(crashed)
        assert said(running, "json", options={}) == '{"answer": 42}'
