"""Each word of `ROUTING_STRATEGY` and of `FALLBACK_STRATEGY` on the running program, started from variables alone.

Three providers have the same model. OpenRouter is the first by rank, can only chat, and asks for a dollar; the second
one speaks OpenAI's API, can everything, and names no price; Together has no rank, says nothing of what its models can
do, and is the cheapest.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.drop_in import serving
from support.hosts import Asking, Host, chat
from support.program import Program, free_port, until
from support.proxied import entry

MODEL = "acme/model"
FIRST, SECOND, THIRD = "openrouter", "openai", "together"
ALL = frozenset({FIRST, SECOND, THIRD})
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CHAT = "/v1/chat/completions"
LONG = "word " * 40_000


def _able(id: str) -> dict[str, Any]:
    """A model that can everything, as a list in OpenRouter's form has it."""
    return {
        **entry(id),
        "context_length": 200_000,
        "top_provider": {"context_length": 200_000},
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "supported_parameters": ["temperature", "tools", "reasoning", "include_reasoning"],
        "pricing": None,
    }


LISTS: Mapping[str, Any] = {
    FIRST: {"data": [{**entry(MODEL), "supported_parameters": ["temperature"]}, entry("acme/vectors")]},
    SECOND: {"data": [_able(MODEL), {**entry("acme/embedding"), "id": "acme/vectors"}]},
    THIRD: [{"id": MODEL, "type": "chat", "pricing": {"input": 0.1, "output": 0.1}}],
}
KEYS = {FIRST: "OPENROUTER", SECOND: "OPENAI", THIRD: "TOGETHER"}


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Host]]:
    """The three of them; a chat that asks for it is answered slowly."""
    folder = tmp_path_factory.mktemp("providers")
    made = {
        name: Host(
            name,
            folder / name,
            [MODEL, "acme/vectors"],
            speaks=["openai"],
            rules=[
                {"when": {"path": "/v1/models"}, "play": {"body": body}},
                {"when": {"contains": "slowly"}, "play": {"delay_ms": 1500}},
            ],
        )
        for name, body in LISTS.items()
    }
    try:
        for host in made.values():
            host.start()
        yield made
    finally:
        for host in made.values():
            host.kill()


@pytest.fixture(autouse=True)
def _well(providers: Mapping[str, Host]) -> Iterator[None]:
    yield
    for host in providers.values():
        host.well()


@contextmanager
def started(folder: Path, providers: Mapping[str, Host], **variables: str) -> Iterator[Program]:
    """A program that has met all three."""
    port = free_port()
    for name, word in KEYS.items():
        variables |= {f"{word}_API_KEY": "k", f"{word}_BASE_URL": f"{providers[name].url}/v1"}
    flags = ["--port", str(port), "--no-demo-model"]
    with serving(folder, flags, port, {**variables, "HOST": "127.0.0.1", "ARRIERO_DISCOVER": "false"}) as running:
        until(lambda: {one["name"] for one in running.get("/api/providers")["providers"] if one["healthy"]} >= ALL)
        yield running


def who(running: Program, body: object = None, path: str = "/api/chat") -> str:
    """The provider that answers."""
    status, headers, answer = running.ask("POST", path, body or chat(MODEL))
    assert status == 200, answer
    return headers["x-arriero-backend"]


def told(running: Program) -> tuple[str, str]:
    """What the program says of itself, in the same words."""
    page = running.get("/api/providers")
    return page["routing_strategy"], page["fallback_strategy"]


# ---- who gets a request --------------------------------------------------------------------------------------------


def test_strategy_round_robin(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, ROUTING_STRATEGY="round_robin") as running:
        turns = [who(running) for _ in range(6)]
        assert told(running) == ("round_robin", "next_available")
    assert turns[:3] == turns[3:] and set(turns) == ALL


def test_strategy_least_loaded(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, ROUTING_STRATEGY="least_loaded") as running:
        held = Asking(running, "/api/chat", chat(MODEL, "answer slowly"))
        until(lambda: sum(host.in_flight for host in providers.values()) == 1)
        (busy,) = [name for name, host in providers.items() if host.in_flight]
        assert {who(running) for _ in range(6)} == ALL - {busy}
        assert held.result()[0] == 200
        assert told(running)[0] == "least_loaded"


def test_strategy_fastest_response(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    for slow in (FIRST, THIRD):
        providers[slow].play({"path": CHAT}, delay_ms=300)
    with started(tmp_path, providers, ROUTING_STRATEGY="fastest_response") as running:
        assert {who(running) for _ in range(3)} == ALL  # nobody is known before he was asked once
        assert {who(running) for _ in range(4)} == {SECOND}
        assert told(running)[0] == "fastest_response"


def test_strategy_cost_optimized(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, ROUTING_STRATEGY="cost_optimized") as running:
        assert {who(running) for _ in range(3)} == {THIRD}
        assert told(running)[0] == "cost_optimized"


def test_strategy_manual(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, ROUTING_STRATEGY="manual") as running:
        assert [who(running), who(running, chat(MODEL, LONG))] == [FIRST, FIRST]  # whatever it can
        assert told(running)[0] == "manual"
    with started(tmp_path, providers, ROUTING_STRATEGY="manual", OPENROUTER_PRIORITY="3") as running:
        assert who(running) == SECOND


TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
NEEDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "tools": ("/api/chat", chat(MODEL, tools=[TOOL])),
    "images": ("/api/chat", {**chat(MODEL), "messages": [{"role": "user", "content": "what?", "images": [PIXEL]}]}),
    "thinking": ("/api/chat", chat(MODEL, think=True)),
    "context length": ("/api/chat", chat(MODEL, LONG)),
    "embeddings": ("/api/embed", {"model": "acme/vectors", "input": "rain"}),
}


@pytest.fixture(scope="module")
def unsaid(providers: Mapping[str, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that was told no strategy."""
    with started(tmp_path_factory.mktemp("unsaid"), providers) as running:
        yield running


def test_strategy_capability_based(unsaid: Program) -> None:
    """It is the default; who can do it is chosen by rank."""
    assert told(unsaid) == ("capability_based", "next_available")
    assert {who(unsaid) for _ in range(3)} == {FIRST}


@pytest.mark.parametrize("need", NEEDS)
def test_strategy_capability_based_looks_at(unsaid: Program, need: str) -> None:
    path, body = NEEDS[need]
    assert who(unsaid, body, path) == SECOND


# ---- after a failure -----------------------------------------------------------------------------------------------


def test_fallback_none(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, FALLBACK_STRATEGY="none") as running:
        providers[FIRST].fault("error", CHAT)
        came = providers[SECOND].came(CHAT) + providers[THIRD].came(CHAT)
        status, headers, answer = running.ask("POST", "/api/chat", chat(MODEL))
        assert (status, headers["x-arriero-backend"], headers["x-arriero-attempts"]) == (500, FIRST, "1")
        assert json.loads(answer)["type"] == "openrouter_error"
        assert providers[SECOND].came(CHAT) + providers[THIRD].came(CHAT) == came
        assert told(running)[1] == "none"


def test_fallback_next_available(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, FALLBACK_STRATEGY="next_available") as running:
        providers[FIRST].fault("error", CHAT)
        assert who(running) == SECOND
        providers[SECOND].fault("error", CHAT)
        assert who(running) == THIRD
        assert told(running)[1] == "next_available"


def test_fallback_retry_same(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    with started(tmp_path, providers, FALLBACK_STRATEGY="retry_same") as running:
        providers[FIRST].fault("error", CHAT, times=1)
        assert who(running) == FIRST
        providers[FIRST].fault("error", CHAT)
        assert who(running) == SECOND
        assert told(running)[1] == "retry_same"


def test_fallback_best_alternative(tmp_path: Path, providers: Mapping[str, Host]) -> None:
    """The next one by the strategy: the cheapest of those that are left, not the first by rank."""
    strategies = {"ROUTING_STRATEGY": "cost_optimized", "FALLBACK_STRATEGY": "best_alternative"}
    with started(tmp_path, providers, **strategies, OPENROUTER_PRIORITY="5") as running:
        providers[THIRD].fault("error", CHAT)
        assert who(running) == FIRST
