"""A machine that has only arriero is a whole Ollama server: everything `ollama` does with models, through its client.

The store, llama.cpp, the registry (Debian's) and the client are real; only the models say nothing of sense.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from arriero.backends.engine.store.store import Store
from support.docker_registry import DockerRegistry, running_docker_registry
from support.engine import needs_engine
from support.gguf import QWEN_TEMPLATE, patched, random_llama, scripted, truncated
from support.program import Program, program, until
from support.store import blobs, check_store, digest, leftovers, models

pytestmark = needs_engine

SENTENCE = "Hello there, traveller."
TEMPLATE = """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}<|im_start|>user
{{ .Prompt }}<|im_end|>
<|im_start|>assistant
"""
FAR = {"num_predict": 1200, "temperature": 0}
PARAMETERS = {"temperature": 0.1, "stop": ["END", "<|x|>"], "num_ctx": 512}


class House:
    """A program whose only backend is the engine, its store, and a client."""

    def __init__(self, running: Program, store: Path) -> None:
        self.running = running
        self.store = store
        self.client = ollama.Client(host=f"http://127.0.0.1:{running.port}", timeout=60)

    def close(self) -> None:
        self.client._client.close()

    def names(self) -> list[str]:
        return [model.model or "" for model in self.client.list().models]

    def say(self, model: str, text: str = "hi") -> str:
        return self.client.chat(model, [{"role": "user", "content": text}]).message.content or ""


@contextmanager
def house(folder: Path, *, store: Path | None = None, **engine: Any) -> Iterator[House]:
    store = store or folder / "models"
    backend = {"name": "local", "kind": "engine", "models_dir": str(store), "demo_model": False, "threads": 1, **engine}
    with program(folder, [backend], wait=False) as running, closing(House(running, store)) as home:
        yield home


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    scripted(folder / "hello.gguf", SENTENCE, template=QWEN_TEMPLATE)
    random_llama(folder / "random.gguf", context_length=8192)
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def home(_home: House) -> Iterator[House]:
    """The program of all tests, with an empty store; what a test leaves is taken away, and then nothing is there."""
    yield _home
    for name in _home.names():
        _home.client.delete(name)
    check_store(_home.store)
    assert models(_home.store) == {}


def created(home: House, file: Path, name: str, **fields: Any) -> list[str]:
    """Create a model of a file, as `ollama create` does; the words of the frames."""
    blob = home.client.create_blob(file)
    stream = home.client.create(model=name, files={file.name: blob}, stream=True, **fields)
    return [frame.status or "" for frame in stream]


def test_the_whole_cycle(home: House, shelf: Path, registry: DockerRegistry) -> None:
    client, blob = home.client, digest((shelf / "hello.gguf").read_bytes())
    # create
    words = created(
        home,
        shelf / "hello.gguf",
        "greeter",
        template=TEMPLATE,
        system="Be short.",
        parameters=PARAMETERS,
        license="MIT",
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    )
    assert words[:2] == ["parsing GGUF", f"using existing layer {blob}"]
    assert [word.partition(" sha256:")[0] for word in words[2:]] == ["creating new layer"] * 5 + [
        "writing manifest",
        "success",
    ]
    # list
    (listed,) = client.list().models
    (manifest,) = (home.store / "manifests").glob("*/*/*/*")
    assert (listed.model, listed.digest) == ("greeter:latest", digest(manifest.read_bytes()).removeprefix("sha256:"))
    assert listed.size == sum(path.stat().st_size for path in (home.store / "blobs").iterdir())
    assert listed.details is not None
    assert (listed.details.family, listed.details.parameter_size, listed.details.quantization_level) == (
        "llama",
        "63K",
        "F16",
    )
    # show
    shown = client.show("greeter")
    assert (shown.template, shown.license, shown.capabilities) == (TEMPLATE, "MIT", ["completion"])
    assert (shown.parameters or "").splitlines() == [
        "num_ctx                        512",
        'stop                           "END"',
        'stop                           "<|x|>"',
        "temperature                    0.1",
    ]
    assert shown.modelinfo is not None and shown.modelinfo["general.architecture"] == "llama"
    assert str(home.store) not in str(shown)
    # run
    assert home.say("greeter") == SENTENCE
    assert client.generate("Greeter", "hi").response == SENTENCE
    assert "".join(part.message.content or "" for part in client.chat(
        "greeter", [{"role": "user", "content": "hi"}], stream=True)) == SENTENCE  # fmt: skip
    # ps
    (running,) = client.ps().models
    assert (running.model, running.context_length, running.digest) == ("greeter:latest", 512, listed.digest)
    # stop
    assert client.generate("greeter", keep_alive=0).done_reason == "unload"
    assert list(client.ps().models) == []
    # cp
    client.copy("greeter", f"{registry.host}/me/greeter:v1")
    assert sorted(home.names()) == [f"{registry.host}/me/greeter:v1", "greeter:latest"]
    # push
    name = f"{registry.host}/me/greeter:v1"
    frames = list(client.push(name, insecure=True, stream=True))
    assert [frames[0].status, frames[-2].status, frames[-1].status] == [
        "retrieving manifest",
        "pushing manifest",
        "success",
    ]
    assert {frame.digest for frame in frames if frame.digest and frame.completed == frame.total} == set(
        models(home.store)["registry.ollama.ai/library/greeter/latest"]
    )
    # rm
    client.delete("greeter")
    client.delete(name)
    assert (home.names(), blobs(home.store), leftovers(home.store)) == ([], [], [])
    # pull
    frames = list(client.pull(name, insecure=True, stream=True))
    said = [frame.status or "" for frame in frames]
    assert said[0] == "pulling manifest"
    assert said[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert f"pulling {blob[7:19]}" in said
    assert home.say(name) == SENTENCE
    assert client.show(name).parameters == shown.parameters
    assert client.pull(name, insecure=True).status == "success"  # once more: all is there
    check_store(home.store)
    client.delete(name)


def test_what_a_model_brings_along_holds(home: House, shelf: Path) -> None:
    """Its parameters count on every API, and the request is stronger."""
    created(home, shelf / "random.gguf", "brief", parameters={"num_predict": 3, "temperature": 0, "num_ctx": 256})
    assert home.client.generate("brief", "once").eval_count == 3
    assert home.client.generate("brief", "once", options={"num_predict": 5}).eval_count == 5
    (running,) = [model for model in home.client.ps().models if model.model == "brief:latest"]
    assert running.context_length == 256
    status, answer = home.running.post(
        "/v1/chat/completions", {"model": "brief", "messages": [{"role": "user", "content": "once"}]}
    )
    assert (status, answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (200, 3, "length")
    home.client.delete("brief")


def test_a_model_is_made_of_another(home: House, shelf: Path) -> None:
    created(home, shelf / "hello.gguf", "base", license="one", system="old")
    words = [
        frame.status or ""
        for frame in home.client.create("derived", from_="base", system="new", license="two", stream=True)
    ]
    assert words[-2:] == ["writing manifest", "success"]
    shown = home.client.show("derived")
    assert (shown.license, "SYSTEM new" in (shown.modelfile or "")) == ("one\ntwo", True)
    home.client.delete("base")
    assert home.say("derived") == SENTENCE
    home.client.delete("derived")
    assert blobs(home.store) == []


def test_deleting_and_overwriting_a_loaded_model_hurts_nobody_who_is_answered(home: House, shelf: Path) -> None:
    created(home, shelf / "random.gguf", "long", parameters={"num_ctx": 4096})
    stream = home.client.generate("long", _endless(home, "long"), stream=True, options=FAR)
    first = next(iter(stream))
    assert first.done is False
    home.client.delete("long")
    assert home.names() == []
    last = None
    for last in stream:  # noqa: B007
        pass
    assert last is not None and (last.done, last.eval_count) == (True, 1200)
    with pytest.raises(ollama.ResponseError) as raised:
        home.client.generate("long", "again")
    assert (raised.value.status_code, raised.value.error) == (404, "model 'long' not found")
    created(home, shelf / "hello.gguf", "long")
    assert home.say("long") == SENTENCE
    home.client.delete("long")


def test_two_creates_of_one_name_at_once(home: House, shelf: Path) -> None:
    blob = home.client.create_blob(shelf / "hello.gguf")
    statuses: list[str | None] = []

    def create(number: int) -> None:
        body = {"model": "same", "files": {"a.gguf": blob}, "system": f"number {number}", "stream": False}
        statuses.append(home.running.post("/api/create", body)[1].get("status"))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == ["success"] * 8
    assert home.say("same") == SENTENCE
    check_store(home.store)
    home.client.delete("same")
    assert blobs(home.store) == []


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_model_of_a_registry(home: House, registry: DockerRegistry, stream: bool) -> None:
    name = f"{registry.host}/me/nope"
    status, lines = _lines(home, "/api/pull", {"model": name, "insecure": True, "stream": stream})
    error = {"error": "pull model manifest: file does not exist"}
    if stream:
        assert (status, lines) == (200, [{"status": "pulling manifest"}, error])
    else:
        assert (status, lines[0]["error"]) == (500, error["error"])


def test_an_unknown_model_cannot_be_pushed(home: House) -> None:
    status, lines = _lines(home, "/api/push", {"model": "me/nope", "insecure": True})
    assert (status, lines[:2]) == (
        200,
        [{"status": "retrieving manifest"}, {"status": "couldn't retrieve manifest"}],
    )
    assert "error" in lines[2] and str(home.store) not in lines[2]["error"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: truncated(path), "truncated"),
        (lambda path: patched(random_llama(path), 0, b"NOPE"), "not in GGUF format"),
        (lambda path: patched(random_llama(path), 8, b"\xff" * 8), "are not believed"),
    ],
    ids=["truncated", "no gguf", "counts"],
)
def test_a_damaged_file_makes_no_model(home: House, tmp_path: Path, make: Any, text: str) -> None:
    blob = home.client.create_blob(make(tmp_path / "bad.gguf"))
    with pytest.raises(ollama.ResponseError) as raised:
        for _ in home.client.create(model="bad", files={"bad.gguf": blob}, stream=True):
            pass
    assert text in raised.value.error
    assert home.names() == []


def test_names_that_are_paths_are_none(home: House) -> None:
    before = sorted(path for path in home.store.rglob("*"))
    for name in ("../x", "/etc/passwd", "a/../../b", "x:..", "..", "a\0b", "C:\\x", "%2e%2e/x"):
        for path, body in (
            ("/api/create", {"model": name, "files": {"a": "sha256:" + "0" * 64}}),
            ("/api/pull", {"model": name}),
            ("/api/copy", {"source": name, "destination": name + "x"}),
            ("/api/push", {"model": name}),
        ):
            status, answer = home.running.post(path, {**body, "stream": False})
            assert status in (400, 404, 500), (path, name, answer)
            assert answer["error"]
    status, _ = home.running.post("/api/create", {"model": "x", "files": {"../../a.gguf": "sha256:" + "0" * 64}})
    assert status == 400
    assert sorted(path for path in home.store.rglob("*")) == before


def test_a_store_that_is_only_read(tmp_path: Path, home: House, shelf: Path) -> None:
    created(home, shelf / "hello.gguf", "kept")
    before = {path: path.stat().st_mtime_ns for path in home.store.rglob("*")}
    with house(tmp_path / "reader", store=home.store, read_only=True) as reader:
        assert reader.names() == ["kept:latest"]
        assert reader.say("kept") == SENTENCE
        status, answer = reader.running.post("/api/pull", {"model": "x", "stream": False})
        assert (status, answer["type"]) == (501, "not_implemented")
        assert "read_only" in answer["error"]
        status, _ = reader.running.ask("DELETE", "/api/delete", {"model": "kept"})[:2]
        assert status == 501
    assert {path: path.stat().st_mtime_ns for path in home.store.rglob("*")} == before
    home.client.delete("kept")


def test_a_model_that_appears_and_vanishes_on_disk_is_seen(home: House, shelf: Path) -> None:
    created(home, shelf / "hello.gguf", "one")
    manifest = home.store / "manifests/registry.ollama.ai/library/one/latest"
    dropped = home.store / "manifests/registry.ollama.ai/library/Dropped/v2"
    dropped.parent.mkdir()
    dropped.write_bytes(manifest.read_bytes())
    until(lambda: "Dropped:v2" in home.names(), 30)
    assert home.say("dropped:V2") == SENTENCE
    dropped.unlink()
    until(lambda: "Dropped:v2" not in home.names(), 30)
    home.client.delete("one")


def test_the_program_is_killed_over_and_over_and_the_store_stays_whole(
    tmp_path: Path, shelf: Path, registry: DockerRegistry
) -> None:
    store = tmp_path / "models"
    kept = digest((shelf / "hello.gguf").read_bytes())
    name = f"{registry.host}/me/big:v1"
    with house(tmp_path / "first", store=store) as home:
        created(home, shelf / "hello.gguf", "kept")
        home.client.create(model=name, from_="kept", license="x" * 100_000)
        home.client.push(name, insecure=True)
    untouched = models(store)["registry.ollama.ai/library/kept/latest"]
    refused: list[str] = []
    for number in range(8):
        with house(tmp_path / f"run{number}", store=store) as home:
            worker = threading.Thread(target=_churn, args=(home, shelf, name, number, refused), daemon=True)
            worker.start()
            time.sleep(0.15 + 0.11 * number)
            os.kill(home.running.pid, signal.SIGKILL)
            worker.join(20)
            assert (worker.is_alive(), refused) == (False, [])
        check_store(store)
        assert models(store)["registry.ollama.ai/library/kept/latest"] == untouched
        assert kept in blobs(store)
    with house(tmp_path / "last", store=store) as home:
        assert home.say("kept") == SENTENCE
        home.client.pull(name, insecure=True)
        assert home.say(name) == SENTENCE
    Store(store).tidy(time.time() + 7200)
    assert leftovers(store) == []


def _endless(home: House, model: str) -> str:
    """A prompt that the random model does not come to an end with."""
    for number in range(40):
        if home.client.generate(model, f"go on {number}", options=FAR).eval_count == FAR["num_predict"]:
            return f"go on {number}"
    raise AssertionError("it always ends")


def _churn(home: House, shelf: Path, name: str, number: int, refused: list[str]) -> None:
    """Create, copy, pull and delete until nobody answers any more. Nothing of it may be refused before."""
    try:
        for turn in range(1000):
            created(home, shelf / "random.gguf", f"new{turn % 3}", system=f"{number} {turn}")
            home.client.copy("kept", f"copy{turn % 2}")
            home.client.pull(name, insecure=True)
            home.client.delete(name)
            home.client.delete(f"copy{turn % 2}")
    except ollama.ResponseError as error:
        refused.append(error.error)
    except (ConnectionError, httpx.TransportError):
        pass  # it has been killed, as it was to be


def _lines(home: House, path: str, body: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    status, _, raw = home.running.ask("POST", path, body)
    return status, [json.loads(line) for line in raw.splitlines()]
