"""What a pull and a push tell their client, and what they leave in the store, row by row; the registry is scripted."""

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest

from support.contract import FRAMES, INSTEAD_OF_FRAMES, asked, created, named, registry_beside, said, uploaded, words
from support.engine import needs_engine
from support.gguf import PLAIN_TEMPLATE, scripted
from support.program import Program, program
from support.registry import ScriptedRegistry, digest_of
from support.registry_faults import TokenAuth
from support.store import blobs, check_store, digest, models

pytestmark = needs_engine

PULL, PUSH, COPY, DELETE = "POST /api/pull", "POST /api/push", "POST /api/copy", "DELETE /api/delete"
TEMPLATE = b"{{ .Prompt }}"
CONFIG = b'{"model_format":"gguf","model_family":"llama","rootfs":{"type":"layers","diff_ids":[]}}\n'
SUCCESS = {"status": "success"}


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted(tmp_path_factory.mktemp("files") / "hello.gguf", "Hello.", template=PLAIN_TEMPLATE)


@pytest.fixture(scope="module")
def _registry() -> Iterator[ScriptedRegistry]:
    with registry_beside() as registry:
        yield registry


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "models"


@pytest.fixture(scope="module")
def _running(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backend = {"name": "local", "kind": "engine", "models_dir": str(store), "demo_model": False, "threads": 1}
    with program(tmp_path_factory.mktemp("program"), [backend], wait=False) as running:
        yield running


@pytest.fixture
def running(_running: Program, store: Path) -> Iterator[Program]:
    """With an empty store, before and after."""
    yield _running
    for name in named(_running):
        assert said(_running, DELETE, {"model": name})[0] == 200
    check_store(store)
    assert (models(store), blobs(store)) == ({}, [])


@pytest.fixture
def registry(_registry: ScriptedRegistry, hello: Path) -> Iterator[ScriptedRegistry]:
    """Nothing in it but `me/tiny:v1`, and nothing wrong with it."""
    _registry.manifests.clear()
    _registry.requests.clear()
    _registry.hold("me/tiny:v1", hello, TEMPLATE, config=CONFIG)
    yield _registry
    _registry.well()
    _registry.direct, _registry.auth = None, None


def pulling(data: bytes, **counts: int) -> dict[str, Any]:
    name = digest(data)
    return {"status": f"pulling {name[7:19]}", "digest": name, "total": len(data), **counts}


# ---- pull ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["as it is", "307 elsewhere", "200 with a location"])
def test_the_frames_of_a_pull(running: Program, registry: ScriptedRegistry, hello: Path, store: Path, way: str) -> None:
    registry.direct = 307 if way == "307 elsewhere" else None
    registry.location_with_200 = way == "200 with a location"
    name = f"{registry.host}/me/tiny:v1"
    status, form, lines = asked(running, PULL, {"name": name, "insecure": True})
    registry.location_with_200 = False
    assert (status, form) == (200, FRAMES)
    parts = [hello.read_bytes(), TEMPLATE, CONFIG]
    seen = dict.fromkeys(line["status"] for line in lines)  # counts grow, the order stays
    assert list(seen) == [
        "pulling manifest",
        *(pulling(data)["status"] for data in parts),
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    for data in parts:
        of_blob = [line for line in lines if line.get("digest") == digest(data)]
        assert {line["total"] for line in of_blob} == {len(data)}
        assert of_blob[-1] == pulling(data, completed=len(data))
        assert 0 not in [line.get("completed") for line in of_blob]
    path = store / "manifests" / registry.host / "me/tiny/v1"
    assert path.read_bytes() == registry.manifests["me/tiny:v1"]
    (listed,) = running.get("/api/tags")["models"]
    assert (listed["name"], listed["digest"]) == (name, digest(path.read_bytes()).removeprefix("sha256:"))
    (first, *_) = registry.requests
    assert (first.method, first.path) == ("GET", "/v2/me/tiny/manifests/v1")
    assert first.headers["accept"].startswith("application/vnd.docker.distribution.manifest.v2+json")
    assert re.match(r"ollama/[\d.]+ \(\S+ \S+\) ", first.headers["user-agent"])
    # Once more: one frame for each blob, and no blob is asked for.
    registry.requests.clear()
    assert said(running, PULL, {"model": name, "insecure": True, "username": "a", "password": "b"}) == (
        200,
        [
            {"status": "pulling manifest"},
            *(pulling(data, completed=len(data)) for data in parts),
            {"status": "verifying sha256 digest"},
            {"status": "writing manifest"},
            SUCCESS,
        ],
    )
    assert registry.log == ["GET /v2/me/tiny/manifests/v1"]


@pytest.mark.parametrize("typed", ["{}/me/tiny:v1", " {}/me/tiny:v1 ", "http://{}/me/tiny:v1", "{}/ME/Tiny:V1"])
def test_the_name_is_that_of_the_model_that_is_there(running: Program, registry: ScriptedRegistry, typed: str) -> None:
    name = f"{registry.host}/me/tiny:v1"
    body = {"model": typed.format(registry.host), "insecure": True, "stream": False}
    assert asked(running, PULL, {"model": name, "insecure": True, "stream": False})[0] == 200
    assert asked(running, PULL, body) == (200, INSTEAD_OF_FRAMES, [SUCCESS])
    assert named(running) == [name]


def test_a_pull_of_another_version_removes_what_only_the_old_one_had(
    running: Program, registry: ScriptedRegistry, hello: Path, store: Path
) -> None:
    body = {"model": f"{registry.host}/me/tiny:v1", "insecure": True}
    assert said(running, PULL, body)[1][-1] == SUCCESS
    registry.hold("me/tiny:v1", hello, b"{{ .Prompt }}!", config=CONFIG)
    _, lines = said(running, PULL, body)
    assert words(lines)[-4:] == ["verifying sha256 digest", "writing manifest", "removing unused layers", "success"]
    assert digest(TEMPLATE) not in blobs(store)


DENIED = "pull model manifest: unauthorized: access denied"
"""How it begins; then stands who denies it."""
UNKNOWN = "pull model manifest: file does not exist"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({}, UNKNOWN),
        ({"status": 404, "body": b"<html>"}, UNKNOWN),
        ({"status": 401}, DENIED),
        ({"status": 403, "body": b"no"}, "pull model manifest: 403: no"),
        ({"status": 418, "body": b"tea"}, "pull model manifest: 418: tea"),
    ],
    ids=["unknown", "404", "401", "403", "418"],
)
def test_an_answer_that_is_no_manifest(
    running: Program, registry: ScriptedRegistry, fault: dict[str, Any], error: str
) -> None:
    if fault:
        registry.fault("/manifests/", "GET", times=None, **fault)
    body = {"model": f"{registry.host}/me/nope", "insecure": True}
    status, form, (first, last) = asked(running, PULL, body)
    assert (status, form, first) == (200, FRAMES, {"status": "pulling manifest"})
    assert last["error"] == error or (error == DENIED and last["error"].startswith(f"{DENIED} by {registry.url}"))
    status, form, (whole,) = asked(running, PULL, body | {"stream": False})
    assert (status, form, whole["error"]) == (500, INSTEAD_OF_FRAMES, last["error"])


def test_plain_http_is_spoken_only_when_it_is_asked_for(running: Program, registry: ScriptedRegistry) -> None:
    for typed in (f"{registry.host}/me/tiny:v1", f"http://{registry.host}/me/tiny:v1"):
        _, (first, error) = said(running, PULL, {"model": typed})
        assert first == {"status": "pulling manifest"}
        assert error.startswith(f"pull model manifest: cannot reach https://{registry.host}: ")
        assert "`insecure: true`" in error
    assert registry.requests == []


def test_a_blob_with_other_bytes_is_thrown_away(
    running: Program, registry: ScriptedRegistry, hello: Path, store: Path
) -> None:
    registry.fault(f"/blobs/{digest_of(TEMPLATE)}", "GET", times=None, wrong=True)
    _, lines = said(running, PULL, {"model": f"{registry.host}/me/tiny:v1", "insecure": True})
    assert "verifying sha256 digest" in words(lines)
    assert lines[-1].startswith(
        f"digest mismatch, file must be downloaded again: want {digest_of(TEMPLATE)}, got sha256:"
    )
    assert digest_of(TEMPLATE) not in blobs(store)
    assert named(running) == []
    registry.well()
    assert said(running, PULL, {"model": f"{registry.host}/me/tiny:v1", "insecure": True})[1][-1] == SUCCESS


def test_a_token_is_asked_for_where_one_is_needed(running: Program, registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth()
    body = {"model": f"{registry.host}/me/tiny:v1", "insecure": True, "stream": False}
    assert asked(running, PULL, body) == (200, INSTEAD_OF_FRAMES, [SUCCESS])
    (asks,) = [request for request in registry.requests if "nonce" in request.query]
    assert (asks.query["scope"], asks.query["service"]) == ("repository:me/tiny:pull", "registry.test")
    assert abs(int(asks.query["ts"]) - time.time()) < 60
    assert len(base64.urlsafe_b64decode(asks.query["nonce"] + "==")) == 16
    tokens = {request.headers.get("authorization") for request in registry.requests[2:]}
    assert tokens == {f"Bearer {token}" for token in registry.auth.given}


def test_a_model_is_made_of_one_that_has_to_be_pulled(running: Program, registry: ScriptedRegistry) -> None:
    """Its frames are those of the pull, with its `success`, and then its own. The registry has to speak https here."""
    base = f"{registry.host}/me/tiny:v1"
    _, lines = said(running, "POST /api/create", {"model": "mine", "from": base})
    assert (words(lines)[0], lines[1].startswith("pull model manifest: ")) == ("pulling manifest", True)
    assert named(running) == []
    assert said(running, PULL, {"model": base, "insecure": True})[1][-1] == SUCCESS
    created(running, "mine", **{"from": base.upper()}, system="Be kind.")
    assert sorted(named(running)) == [base, "mine:latest"]


# ---- push ----------------------------------------------------------------------------------------------------------


def test_the_frames_of_a_push(running: Program, registry: ScriptedRegistry, hello: Path, store: Path) -> None:
    name = f"{registry.host}/me/mine:v2"
    created(running, name, files={"hello.gguf": uploaded(running, hello)}, system="Be short.")
    path = store / "manifests" / registry.host / "me/mine/v2"
    manifest = json.loads(path.read_bytes())
    parts = [each["digest"] for each in (*manifest["layers"], manifest["config"])]
    status, form, lines = asked(running, PUSH, {"model": name.upper(), "insecure": True})
    assert (status, form) == (200, FRAMES)
    assert list(dict.fromkeys(line["status"] for line in lines)) == [
        "retrieving manifest",
        *(f"pushing {part[7:19]}" for part in parts),
        "pushing manifest",
        "success",
    ]
    full = {line["digest"] for line in lines if line.get("completed", -1) == line.get("total")}
    assert full == set(parts)
    assert registry.manifests["me/mine:v2"] == path.read_bytes()
    registry.requests.clear()
    assert asked(running, PUSH, {"name": name, "insecure": True, "stream": False}) == (
        200,
        INSTEAD_OF_FRAMES,
        [SUCCESS],
    )
    assert {request.method for request in registry.requests} == {"HEAD", "PUT"}


def test_who_may_not_push_is_told_in_the_words_that_clients_know(
    running: Program, registry: ScriptedRegistry, hello: Path
) -> None:
    name = f"{registry.host}/me/mine"
    created(running, name, files={"hello.gguf": uploaded(running, hello)})
    registry.fault("/blobs/", times=None, status=401)
    _, lines = said(running, PUSH, {"model": name, "insecure": True})
    assert (words(lines)[0], "unauthorized: access denied" in lines[-1]) == ("retrieving manifest", True)


# ---- Ollama's command line, request by request (clients.md, section 2) ---------------------------------------------


def test_run_stop_copy_and_remove_as_the_command_line_asks(running: Program, registry: ScriptedRegistry) -> None:
    name = f"{registry.host}/me/tiny:v1"
    load = {"model": name, "prompt": "", "suffix": "", "system": "", "template": "", "context": None, "options": None}
    for request, body, status, answer in [
        # ollama run
        ("HEAD /", None, 200, None),
        ("POST /api/show", {"model": name, "name": "", "system": "", "options": None}, 404,
         {"error": f"model '{name}' not found"}),
        (PULL, {"model": "", "insecure": True, "name": name}, 200, SUCCESS),
        ("POST /api/show", {"model": name, "name": "", "system": "", "options": None}, 200, None),
        ("POST /api/generate", load, 200, {"done_reason": "load"}),
        ("POST /api/chat", {"model": name, "messages": [{"role": "user", "content": "Hi"}], "format": None}, 200,
         {"done_reason": "stop"}),
        # ollama stop
        ("POST /api/generate", load | {"keep_alive": "0s"}, 200, {"done_reason": "unload"}),
        # ollama cp
        (COPY, {"source": name, "destination": "mine"}, 200, None),
        # ollama rm
        ("POST /api/show", {"model": "mine"}, 200, None),
        ("POST /api/generate", {"model": "mine", "keep_alive": "0s"}, 200, {"done_reason": "unload"}),
        (DELETE, {"model": "", "name": "mine"}, 200, None),
        ("POST /api/show", {"model": "mine"}, 404, {"error": "model 'mine:latest' not found"}),
        ("POST /api/generate", {"model": "mine", "keep_alive": "0s"}, 404, {"error": "model 'mine' not found"}),
        (DELETE, {"model": "", "name": "mine"}, 404, {"error": "model 'mine' not found"}),
        # ollama run nonsense
        (PULL, {"model": f"{name}x", "name": "", "insecure": True}, 200, {"error": UNKNOWN}),
        ("POST /api/show", {"model": f"{name}x:cloud"}, 404, None),
    ]:  # fmt: skip
        got, _, lines = asked(running, request, body)
        assert (request, body, got) == (request, body, status)
        if answer is not None:
            assert lines[-1].items() >= answer.items()


# ---- Ollama's own client -------------------------------------------------------------------------------------------


@contextmanager
def client_of(running: Program) -> Iterator[ollama.Client]:
    with closing(ollama.Client(f"http://127.0.0.1:{running.port}", timeout=30)) as client:
        yield client


def test_the_client_reads_every_frame(running: Program, registry: ScriptedRegistry) -> None:
    name = f"{registry.host}/me/tiny:v1"
    with client_of(running) as client:
        frames = list(client.pull(name, insecure=True, stream=True))
        assert (frames[0].status, frames[-1].status) == ("pulling manifest", "success")
        assert client.pull(name, insecure=True).status == "success"
        client.copy(name, f"{registry.host}/you/tiny")
        assert client.push(f"{registry.host}/you/tiny", insecure=True).status == "success"
        assert client.show(name).template == TEMPLATE.decode()
        assert client.chat(name.upper(), [{"role": "user", "content": "Hi"}]).message.content == "Hello."
        with pytest.raises(ollama.ResponseError) as raised:
            list(client.pull(f"{registry.host}/me/nope", insecure=True, stream=True))
        assert raised.value.error == UNKNOWN
        with pytest.raises(ollama.ResponseError) as raised:
            client.delete("me/nope")
    assert (raised.value.status_code, raised.value.error) == (404, "model 'me/nope' not found")
