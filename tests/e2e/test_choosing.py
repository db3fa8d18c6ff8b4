"""Where a request goes that says more than its model: model servers, the program and its clients are processes."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import ollama
import openai
import pytest

from support.hosts import Host, listed
from support.program import Program, program, until

HI: list[Any] = [{"role": "user", "content": "hi"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MODELS: Mapping[str, list[dict[str, Any]]] = {
    "text": [
        {"name": "small-text", "capabilities": ["completion", "tools"], "context_length": 8192},
        {"name": "gpt-4o", "capabilities": ["completion"]},
    ],
    "eyes": [{"name": "big-vision", "capabilities": ["completion", "vision"], "context_length": 65536}],
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Host]]:
    """Two Ollama servers, and a vendor that says nothing of what its models can do."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        made = {name: Host(name, folder / name, []) for name in MODELS}
        for name, models in MODELS.items():
            (folder / name / "script.json").write_text(json.dumps({"models": models}))
        made["router"] = Host("router", folder / "router", ["openai/gpt-4o", "other/thing"])
        for host in made.values():
            stack.callback(host.kill)
            host.start()
        yield made


@pytest.fixture(scope="module")
def gate(fleet: Mapping[str, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program with the policy `capability`, and with a failure tried again on the same backend."""
    backends = [
        {"name": "text", "kind": "ollama", "url": fleet["text"].url},
        {"name": "eyes", "kind": "ollama", "url": fleet["eyes"].url},
        {"name": "router", "kind": "openai", "url": f"{fleet['router'].url}/v1", "profile": "openrouter"},
    ]
    routing = {
        "policy": "capability",
        "retry": {"where": "same"},
        "aliases": {"either": ["small-text", "big-vision"], "any": ["gpt-4o", "openai/gpt-4o"]},
    }
    with program(tmp_path_factory.mktemp("gate"), backends, routing=routing) as running:
        until(lambda: {"big-vision:latest", "gpt-4o:latest", "openai/gpt-4o:latest"} <= {*listed(running, "")})
        yield running


def told(running: Program, body: Mapping[str, Any], path: str = "/api/chat", **headers: str) -> tuple[str, ...]:
    """Who answered, with which model, why, and with which attempt."""
    status, fields, answer = running.ask("POST", path, {"stream": False, **body}, headers)
    assert status == 200, answer
    return tuple(fields[f"x-arriero-{name}"] for name in ("backend", "model", "reason", "attempts"))


def test_the_model_of_an_alias_is_the_one_that_can(gate: Program) -> None:
    looks = [{**HI[0], "images": [PIXEL]}]
    with closing(ollama.Client(gate.url)) as client:
        assert client.chat("either", HI).message.content
        assert client.chat("either", looks).message.content
    assert told(gate, {"model": "either", "messages": HI}) == ("text", "small-text:latest", "only", "1")
    assert told(gate, {"model": "either", "messages": looks}) == ("eyes", "big-vision:latest", "capability", "1")
    # A prompt for which the first one's context is too short, by the least that it can come to.
    long = [{"role": "user", "content": "word " * 7000}]
    assert told(gate, {"model": "either", "messages": long})[:3] == ("eyes", "big-vision:latest", "capability")


def test_the_openai_client_meets_the_same(gate: Program) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    tool: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    with closing(openai.OpenAI(base_url=f"{gate.url}/v1", api_key="x")) as client:
        answer = client.chat.completions.with_raw_response.create(model="either", messages=HI, tools=[tool])
        assert answer.headers["x-arriero-backend"] == "text"
        looks: list[Any] = [{"role": "user", "content": [image]}]
        answer = client.chat.completions.with_raw_response.create(model="either", messages=looks)
        assert answer.headers["x-arriero-backend"] == "eyes"


def test_explain_says_the_same_and_sends_nothing(gate: Program, fleet: Mapping[str, Host]) -> None:
    before = [host.came("/api/chat") for host in fleet.values()]
    answer = gate.get("/arriero/api/explain?model=either&needs=vision")
    assert (answer["reason"], answer["policy"]) == ("capability", "capability")
    assert [(one["backend"], one["able"], one["chosen"], one["out"]) for one in answer["candidates"]] == [
        ("text", False, False, "it cannot do vision"),
        ("eyes", True, True, None),
    ]
    assert [host.came("/api/chat") for host in fleet.values()] == before


def test_the_provider_that_a_client_prefers(gate: Program) -> None:
    chat = {"model": "gpt-4o", "messages": HI}
    assert told(gate, chat) == ("text", "gpt-4o:latest", "only", "1")
    for word in ("openrouter", "Router"):
        assert told(gate, chat, **{"X-Provider": word}) == ("router", "openai/gpt-4o", "provider", "1")
    for word in ("azure", "nobody"):
        assert told(gate, chat, **{"X-Provider": word})[:2] == ("text", "gpt-4o:latest")
    assert told(gate, {"model": "thing", "messages": HI}, **{"X-Provider": "ollama"})[:2] == ("router", "other/thing")
    with closing(ollama.Client(gate.url, headers={"X-Provider": "openrouter"})) as client:
        assert client.chat("gpt-4o", HI).message.content
        assert client.show("gpt-4o").capabilities


def test_the_same_backend_again(gate: Program, fleet: Mapping[str, Host]) -> None:
    text = fleet["text"]
    text.fault("error", "/api/chat", times=1)
    begun = time.monotonic()
    assert told(gate, {"model": "any", "messages": HI}) == ("text", "gpt-4o:latest", "same again", "2")
    assert time.monotonic() - begun >= 0.25


def test_the_last_attempt_is_anothers(gate: Program, fleet: Mapping[str, Host]) -> None:
    text = fleet["text"]
    text.fault("error", "/api/chat", times=2)
    backend, _, reason, attempts = told(gate, {"model": "any", "messages": HI})
    assert (backend, reason, attempts) == ("router", "only one left", "3")
    text.well()
    assert told(gate, {"model": "small-text", "messages": HI})[0] == "text"  # its breaker counts failures in a row


def test_where_there_is_no_other_the_error_of_the_last_attempt_is_told(
    gate: Program, fleet: Mapping[str, Host]
) -> None:
    text = fleet["text"]
    text.fault("error", "/api/chat", times=3)
    body = {"model": "small-text", "messages": HI, "stream": False}
    status, fields, answer = gate.ask("POST", "/api/chat", body)
    assert (status, fields["x-arriero-backend"], fields["x-arriero-attempts"]) == (500, "text", "3")
    assert "scripted 500" in json.loads(answer)["error"]
    text.well()


def test_a_client_that_leaves_in_the_pause_is_the_last_of_it(gate: Program, fleet: Mapping[str, Host]) -> None:
    text = fleet["text"]
    text.fault("error", "/api/chat", times=1)
    came = text.came("/api/chat")
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    connection.request("POST", "/api/chat", json.dumps({"model": "small-text", "messages": HI}))
    until(lambda: text.came("/api/chat") == came + 1)
    connection.close()
    until(lambda: "client_gone" in gate.log)
    assert text.came("/api/chat") == came + 1
    text.well()
    assert told(gate, {"model": "small-text", "messages": HI})[3] == "1"
