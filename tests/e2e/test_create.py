"""Models made with the `ollama` package, over HTTP, on the real program; and answers of what was made."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import ollama
import pytest

from arriero.dialects.ollama.modelfile import create_fields, read_modelfile
from support.engine import needs_engine
from support.gguf import PLAIN_TEMPLATE, adapter, projector, random_llama, scripted
from support.gguf_split import split
from support.program import Program, program
from support.store import check_store, digest

pytestmark = needs_engine

SENTENCE = "Hello to the world of small llamas."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("create")
    backends = [{"name": "engine", "kind": "engine", "models_dir": folder / "store", "demo_model": True}]
    with program(folder / "program", backends) as running:
        yield running
    check_store(folder / "store")


@pytest.fixture
def client(running: Program) -> Iterator[ollama.Client]:
    with closing(ollama.Client(running.url, timeout=20)) as client:
        yield client


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted(tmp_path_factory.mktemp("files") / "speaker.gguf", SENTENCE, template=PLAIN_TEMPLATE)


def said(client: ollama.Client, model: str) -> str | None:
    return client.chat(model, [{"role": "user", "content": "Say it."}]).message.content


def frames(client: ollama.Client, *arguments: Any, **fields: Any) -> list[str | None]:
    return [frame.status for frame in client.create(*arguments, **fields, stream=True)]


def test_from_a_file_to_an_answer(client: ollama.Client, speaker: Path) -> None:
    weights = client.create_blob(speaker)
    assert weights == digest(speaker.read_bytes())
    told = frames(client, "speaker", files={"speaker.gguf": weights}, system="be kind", parameters={"temperature": 0})
    assert told == [
        "parsing GGUF",
        f"using existing layer {weights}",
        f"creating new layer {digest(b'be kind')}",
        "creating new layer " + digest(b'{"temperature":0}\n'),
        "writing manifest",
        "success",
    ]
    details = {model.model: model.details for model in client.list().models}["speaker:latest"]
    assert details is not None
    assert (details.family, details.quantization_level) == ("llama", "F16")
    assert said(client, "speaker") == SENTENCE
    shown = client.show("speaker")
    assert shown.modelfile is not None and "SYSTEM be kind\nPARAMETER temperature 0\n" in shown.modelfile


def test_a_model_of_a_model_of_a_model(client: ollama.Client, speaker: Path) -> None:
    client.create("one", files={"a": client.create_blob(speaker)}, license="MIT")
    assert client.create("two", from_="one", license=["BSD"], parameters={"stop": ["world"]}).status == "success"
    assert client.create("three", from_="two", template="{{ .Prompt }}").status == "success"
    assert said(client, "one") == SENTENCE
    assert said(client, "two") == "Hello to the "
    shown = client.show("three")
    assert (shown.license, shown.template) == ("MIT\nBSD", "{{ .Prompt }}")
    assert shown.parameters == 'stop                           "world"'


def test_a_model_made_again_from_what_show_prints(client: ollama.Client, running: Program, speaker: Path) -> None:
    client.create("again", files={"a": client.create_blob(speaker)}, system="two\nlines", license='the "MIT" one')
    before = {model.model: model.digest for model in client.list().models}
    fields = create_fields(read_modelfile(client.show("again").modelfile or ""))
    status, answer = running.post("/api/create", {"model": "again", **fields, "stream": False})
    assert (status, answer) == (200, {"status": "success"})
    assert {model.model: model.digest for model in client.list().models} == before


def test_a_model_of_the_demo_model(client: ollama.Client) -> None:
    assert frames(client, "mine", from_="arriero-demo", system="x")[-1] == "success"
    assert "arriero" in (client.generate("mine", "What is arriero?").response or "")


def test_a_split_model_with_eyes_and_an_adapter(client: ollama.Client, tmp_path: Path) -> None:
    parts = split(random_llama(tmp_path / "random.gguf"), tensors=8)
    eyes, lora = projector(tmp_path / "eyes.gguf"), adapter(tmp_path / "lora.gguf")
    files = {path.name: client.create_blob(path) for path in (*parts, eyes)}
    told = frames(client, "seeing", files=files, adapters={"lora.gguf": client.create_blob(lora)})
    assert told[:7] == [*["parsing GGUF"] * 4, *["merging GGUF parts"] * 2, "parsing GGUF"]
    assert told[-1] == "success"
    shown = client.show("seeing")
    assert shown.capabilities == ["completion", "vision"]
    options: Any = {"num_predict": 4, "temperature": 0}
    assert client.generate("seeing", "hi", options=options).eval_count == 4


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "neither 'from' or 'files' was specified"),
        ({"from_": "speaker", "template": "{{ .Prompt"}, 400, "template error: template: :1: unclosed action"),
        ({"from_": "x:cloud"}, 403, "ollama cloud is disabled: remote model is unavailable"),
        ({"files": {"../a.gguf": "sha256:0"}}, 400, "file path must be relative"),
        ({"files": {"a.gguf": "sha256:0"}}, 400, "invalid digest format"),
    ],
)
def test_refusals(client: ollama.Client, fields: dict[str, Any], status: int, message: str) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as raised:
            list(client.create("refused", **fields, stream=stream))
        assert (raised.value.status_code, raised.value.error) == (status, message)


def test_an_error_after_the_first_frame_is_the_last_line(
    running: Program, client: ollama.Client, speaker: Path
) -> None:
    weights = client.create_blob(speaker)
    body = {"model": "refused", "files": {"a": weights}, "quantize": "Q9"}
    message = "unsupported quantization type Q9 - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0"
    status, _, answer = running.ask("POST", "/api/create", body)
    lines = [json.loads(line) for line in answer.splitlines()]
    assert (status, lines[0], lines[-1]["error"]) == (200, {"status": "parsing GGUF"}, message)
    status, told = running.post("/api/create", {**body, "stream": False})
    assert (status, told["error"]) == (500, message)
