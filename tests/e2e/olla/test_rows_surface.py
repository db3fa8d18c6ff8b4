"""Rows 1 to 8: the Ollama API behind the door `/olla/ollama`, as Ollama's own client and plain HTTP meet it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import ollama
import openai
import pytest

from support.drop_in import FRONT_PORT, DropIn, Finished
from support.hosts import Host, Hosts, chat, listed, opened
from support.program import Program, until

DOOR = "/olla/ollama"
HI = [{"role": "user", "content": "hi"}]
SENTENCE = "Hello from {}! This is a scripted answer: no model has read your question."


@pytest.fixture
def client(fleet: Program) -> Iterator[ollama.Client]:
    """Ollama's own client, at the door."""
    with closing(ollama.Client(fleet.url + DOOR, timeout=20)) as client:
        yield client


# ---- 1 -------------------------------------------------------------------------------------------------------------


def test_row_01_port_and_prefix(drop_in: DropIn, hosts: Hosts, checked: Finished) -> None:
    program = drop_in.program
    shown = [line.split() for line in checked.stdout.splitlines() if line.startswith("server.port ")]
    assert (checked.returncode, shown) == (0, [["server.port", str(FRONT_PORT), "Olla's", "default"]]), checked.stderr
    # Unless somebody else had the port when the program started.
    assert program.port == FRONT_PORT or not drop_in.port_is_default
    with closing(ollama.Client(program.url + DOOR, timeout=20)) as client:
        assert "alpha-only:1b" in [model.model for model in client.list().models]
        assert client.chat("alpha-only:1b", HI).message.content == SENTENCE.format("alpha")
        pieces = [piece.message.content or "" for piece in client.chat("beta-only:1b", HI, stream=True)]
        assert len(pieces) > 2 and "".join(pieces) == SENTENCE.format("beta")
        assert client.generate("alpha-only:1b", "hi").response == SENTENCE.format("alpha")
        assert len(client.embed("alpha-only:1b", ["a", "b"]).embeddings) == 2
        assert len(client.embeddings("alpha-only:1b", "a").embedding) == 8
        assert client.show("alpha-only:1b").capabilities
    status, _, _ = program.ask("POST", f"{DOOR}/api/chat?trace=a%20b&n=1", chat("alpha-only:1b"))
    assert status == 200
    assert hosts.alpha.requests("/api/chat")[-1]["path"] == "/api/chat?trace=a%20b&n=1"
    assert program.ask("GET", f"{DOOR}/")[0::2] == (200, b"Ollama is running")
    status, headers, _ = program.ask("GET", DOOR)
    assert (status, headers["location"]) == (301, f"{DOOR}/")
    # Better than Olla: the paths without a prefix, too.
    assert program.post("/api/chat", chat("alpha-only:1b"))[1]["message"]["content"] == SENTENCE.format("alpha")
    with openai.OpenAI(base_url=f"{program.url}/v1", api_key="any", timeout=20, max_retries=0) as spoken:
        answer = spoken.chat.completions.create(model="beta-only:1b", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == SENTENCE.format("beta")


# ---- 2 -------------------------------------------------------------------------------------------------------------

_DOCUMENT = b'{ "model":"alpha-only:1b",  "unheard_of" : [1.0, 1e3,null], "message":{"role":"assistant",\
"content":"h\\u00e9 \xc3\xa9"},"done" :true }\r\n'
_LINES = b'{"message":{"role":"assistant","content":"a"}, "x":1,"done":false}\n\n{"done":true , "done_reason":"odd"}'
_EVENTS = b': a comment\r\n\r\nid: 7\r\ndata: {"choices":[{"index":0,"delta":{"content":"a"}}],"x":1}\r\n\r\n\
data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
_SOUND = bytes(range(256)) * 40 + b"\r\n{"
_REFUSAL = b'{"error":"a word of its own" , "code": 7}'


@pytest.mark.parametrize(
    ("path", "stream", "status", "content_type", "body"),
    [
        pytest.param("/api/chat", False, 200, "application/json; charset=utf-8", _DOCUMENT, id="json"),
        pytest.param("/api/chat", True, 200, "application/x-ndjson", _LINES, id="ndjson"),
        pytest.param("/v1/chat/completions", True, 200, "text/event-stream; charset=utf-8", _EVENTS, id="sse"),
        pytest.param("/v1/audio/speech", False, 203, "audio/mpeg", _SOUND, id="binary"),
        pytest.param("/api/chat", False, 422, "application/json", _REFUSAL, id="an error"),
        pytest.param("/api/of-tomorrow", False, 418, "text/x-tea; v=2", b"short and stout\n", id="an unknown path"),
    ],
)
def test_row_02_verbatim_proxy(
    fleet: Program, hosts: Hosts, path: str, stream: bool, status: int, content_type: str, body: bytes
) -> None:
    head = (
        f"HTTP/1.1 {status} Such\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nx-own: a b\r\n\r\n"
    )
    (hosts.alpha.folder / "answer").write_bytes(head.encode() + body)
    hosts.alpha.play({"path": path}, bytes="answer")
    found, headers, got = fleet.ask("POST", DOOR + path, chat("alpha-only:1b", stream=stream))
    assert (found, headers["content-type"], headers["x-own"], got) == (status, content_type, "a b", body)
    assert headers["x-olla-endpoint"] == "alpha"


# ---- 3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "word"), [("/api/chat", b'"one "'), ("/v1/chat/completions", b'"delta"')])
def test_row_03_streaming(fleet: Program, hosts: Hosts, path: str, word: bytes) -> None:
    """The backend sends half of its stream, and then nothing: what it has sent is here."""
    hosts.alpha.play({"path": path}, say=["one ", "two "], fault="hang_stream")
    with opened(fleet, DOOR + path, chat("alpha-only:1b", stream=True)) as answer:
        line = answer.readline()
    assert answer.status == 200 and word in line


# ---- 4 -------------------------------------------------------------------------------------------------------------


def _tag(name: str, digest: str, modified: str = "2025-05-04T03:02:01.5Z") -> dict[str, Any]:
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M",
    }
    return {
        "name": name,
        "model": name,
        "modified_at": modified,
        "size": 4_920_753_328,
        "digest": digest,
        "details": details,
    }


def _names(fleet: Program) -> set[str]:
    return set(listed(fleet, DOOR))


def test_row_04_merged_api_tags(fleet: Program, hosts: Hosts, client: ollama.Client) -> None:
    everything = {
        *("shared:1b", "alpha-only:1b", "Mixed-Case:1B", "beta-only:1b", "untagged:latest", "witness:1b"),
        *("quick:latest", "Looking-Glass:latest"),  # aliases
    }
    until(lambda: _names(fleet) == everything)
    assert len(listed(fleet, DOOR)) == len(everything)  # each name once
    assert {model.model for model in client.list().models} == everything
    # Stable, and with the time and the details that the host tells.
    first, second = (fleet.ask("GET", f"{DOOR}/api/tags")[2] for _ in range(2))
    assert first == second
    tag = next(model for model in json.loads(first)["models"] if model["name"] == "alpha-only:1b")
    assert datetime.fromisoformat(tag["modified_at"]) == datetime.fromisoformat("2026-01-02T03:04:05.678Z")
    assert {name: tag["details"][name] for name in _tag("", "")["details"]} == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.2B",
        "quantization_level": "Q8_0",
    }
    # Two tags of one digest are two models; one name with two digests is one.
    same, other = "a" * 64, "b" * 64
    tags = [_tag("llama3.1:latest", same), _tag("llama3.1:8b", same), _tag("shared:1b", other)]
    hosts.alpha.play({"path": "/api/tags"}, body={"models": tags})
    until(lambda: {"llama3.1:latest", "llama3.1:8b"} <= _names(fleet))
    assert listed(fleet, DOOR).count("shared:1b") == 1
    tag = next(model for model in fleet.get(f"{DOOR}/api/tags")["models"] if model["name"] == "llama3.1:8b")
    assert (tag["digest"], tag["size"], tag["details"]) == (same, 4_920_753_328, _tag("", "")["details"])
    assert datetime.fromisoformat(tag["modified_at"]) == datetime.fromisoformat("2025-05-04T03:02:01.5Z")
    # What a host has no longer is gone at its next check; what nobody alive has, too.
    hosts.alpha.well()
    until(lambda: _names(fleet) == everything)
    hosts.alpha.remove("Mixed-Case:1B")
    until(lambda: _names(fleet) == everything - {"Mixed-Case:1B"})
    hosts.beta.kill()
    left = {"shared:1b", "alpha-only:1b", "witness:1b", "quick:latest", "Looking-Glass:latest"}
    until(lambda: _names(fleet) == left)
    hosts.alpha.kill()
    hosts.witness.kill()
    try:
        until(lambda: _names(fleet) == set())
        assert fleet.ask("GET", f"{DOOR}/api/tags")[0::2] == (200, b'{"models":[]}')
    finally:
        hosts.witness.revive()


# ---- 5 -------------------------------------------------------------------------------------------------------------


def test_row_05_merged_v1_models(fleet: Program) -> None:
    until(lambda: {"alpha-only:1b", "beta-only:1b"} <= _names(fleet))
    with openai.OpenAI(base_url=f"{fleet.url}{DOOR}/v1", api_key="any", timeout=20, max_retries=0) as spoken:
        lists = [{model.id: model for model in spoken.models.list()} for _ in range(2)]
        one = spoken.models.retrieve("beta-only:1b")
    first, second = lists
    assert first == second  # `created` as well
    assert {"shared:1b", "alpha-only:1b", "beta-only:1b", "witness:1b", "quick", "Looking-Glass"} <= set(first)
    assert not {"gamma-only:1b", "nomic-embed:v1", "nowhere"} & set(first)
    assert {(model.object, model.owned_by) for model in first.values()} == {("model", "olla")}
    assert first["beta-only:1b"].created == int(datetime.fromisoformat("2026-01-02T03:04:05Z").timestamp())
    assert one == first["beta-only:1b"]
    # Other doors list theirs.
    assert [model["id"] for model in fleet.get("/olla/vllm/v1/models")["data"]] == ["gamma-only:1b", "native:1b"]


# ---- 6 -------------------------------------------------------------------------------------------------------------


def _has(host: Host, name: str) -> bool:
    return name in [model["name"] for model in host.get("/api/tags")["models"]]


def test_row_06_management_works_across_the_fleet(fleet: Program, hosts: Hosts, client: ollama.Client) -> None:
    alpha, beta = hosts.alpha, hosts.beta
    # A pull goes home: to the first that manages models.
    steps = [step.status for step in client.pull("pulled:1b", stream=True)]
    assert (steps[0], steps[-1]) == ("pulling manifest", "success")
    assert (_has(alpha, "pulled:1b"), _has(beta, "pulled:1b")) == (True, False)
    until(lambda: "pulled:1b" in _names(fleet))
    assert client.chat("pulled:1b", HI).message.content == SENTENCE.format("alpha")
    # Or to whom the header names.
    status, _, _ = fleet.ask("POST", f"{DOOR}/api/pull", {"model": "there:1b"}, {"x-arriero-backend": "beta"})
    assert status == 200 and (_has(alpha, "there:1b"), _has(beta, "there:1b")) == (False, True)
    # Copy and delete go everywhere that the model is.
    client.copy("shared:1b", "second:1b")
    assert _has(alpha, "second:1b") and _has(beta, "second:1b")
    until(lambda: "second:1b" in _names(fleet))
    client.delete("second:1b")
    assert not _has(alpha, "second:1b") and not _has(beta, "second:1b")
    # Create, its blobs and push.
    blob = b"GGUF, or nearly"
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    assert fleet.ask("POST", f"{DOOR}/api/blobs/{digest}", blob)[0] == 201
    assert fleet.ask("HEAD", f"{DOOR}/api/blobs/{digest}")[0] == 200
    assert client.create("made:1b", from_="shared:1b").status == "success"
    assert (_has(alpha, "made:1b"), _has(beta, "made:1b")) == (True, False)
    assert client.push("beta-only:1b").status == "success" and beta.came("/api/push") == 1
    # Errors are Ollama's; where nobody manages models, that is said in the same form.
    with pytest.raises(ollama.ResponseError) as missing:
        client.delete("absent:1b")
    assert (missing.value.status_code, missing.value.error) == (404, "model 'absent:1b' not found")
    for method, path in (
        ("POST", "pull"),
        ("POST", "create"),
        ("POST", "push"),
        ("POST", "copy"),
        ("DELETE", "delete"),
    ):
        # What is served already need not be pulled.
        model = "nowhere:1b" if path == "pull" else "gamma-only:1b"
        body = {"model": model, "source": "gamma-only:1b", "destination": "other:1b"}
        status, headers, answer = fleet.ask(method, f"/olla/vllm/api/{path}", body)
        assert (status, headers["content-type"].partition(";")[0]) == (501, "application/json"), (path, answer)
        told = json.loads(answer)
        assert told["error"] and told["type"] == "not_implemented"


# ---- 7 -------------------------------------------------------------------------------------------------------------


def test_row_07_show_and_what_ollama_run_does(hosts: Hosts, client: ollama.Client) -> None:
    shown = client.show("beta-only:1b")
    assert shown.details is not None and shown.details.family == "llama"
    assert shown.modelinfo is not None and shown.modelinfo["llama.context_length"] == 8192
    assert shown.capabilities is not None and "completion" in shown.capabilities
    # `ollama run`: look at the model, load it, talk to it.
    assert client.generate("beta-only:1b", "").done_reason == "load"
    assert client.chat("beta-only:1b", HI).message.content == SENTENCE.format("beta")
    assert hosts.alpha.came("/api/show", "/api/generate", "/api/chat") == 0
    with pytest.raises(ollama.ResponseError) as missing:
        client.show("absent:1b")
    assert (missing.value.status_code, missing.value.error) == (404, "model 'absent:1b' not found")


# ---- 8 -------------------------------------------------------------------------------------------------------------


def test_row_08_merged_ps_and_one_version(fleet: Program, hosts: Hosts, client: ollama.Client) -> None:
    for model in ("alpha-only:1b", "beta-only:1b"):
        client.chat(model, HI)
    found = {model.model: model for model in client.ps().models}
    assert {"alpha-only:1b", "beta-only:1b"} <= set(found)
    assert found["beta-only:1b"].size_vram == 1_234_567 and found["beta-only:1b"].expires_at is not None
    versions = {host.get("/api/version")["version"] for host in (hosts.alpha, hosts.beta)}
    assert len(versions) == 2
    assert len({fleet.ask("GET", f"{DOOR}/api/version")[2] for _ in range(10)}) == 1
