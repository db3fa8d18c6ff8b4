"""Rows 14 to 19, 26 and 28 to 30: where a request goes, and what its answer says of that."""

import json
from collections import Counter
from typing import Any

import pytest

from support.hosts import Hosts, chat, endpoint, listed, opened, wait_well
from support.program import Program, until

DOOR = "/olla/ollama"
CHAT = f"{DOOR}/api/chat"
GENERATE = f"{DOOR}/api/generate"
ROUTING = ("x-olla-routing-strategy", "x-olla-routing-decision", "x-olla-routing-reason")


def routing(headers: dict[str, str]) -> tuple[str | None, ...]:
    """Strategy, decision and reason of an answer."""
    return tuple(headers.get(name) for name in ROUTING)


def asked(running: Program, model: str, **headers: str) -> tuple[int, str | None]:
    """Status and endpoint of a short prompt, which names no session."""
    body = {"model": model, "prompt": "hi", "stream": False}
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    status, found, _ = running.ask("POST", GENERATE, body, told)
    return status, found.get("x-olla-endpoint")


# ---- 14 ------------------------------------------------------------------------------------------------------------

_TEXT: dict[str, Any] = {"prompt": "hi", "input": "hi", "messages": [{"role": "user", "content": "hi"}]}
_MODEL_PATHS = (
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
)
_UNKNOWN_PATHS = ("/v1/rerank", "/v1/audio/speech", "/v1/of-tomorrow", "/api/of-tomorrow")


@pytest.mark.parametrize("path", [*_MODEL_PATHS, *_UNKNOWN_PATHS])
def test_row_14_the_model_decides(fleet: Program, hosts: Hosts, path: str) -> None:
    for times in range(3):
        body = {"model": "beta-only:1b", "stream": False, **_TEXT}
        status, headers, _ = fleet.ask("POST", DOOR + path, body)
        assert headers["x-olla-endpoint"] == "beta"
        assert routing(headers) == ("strict", "routed", "model_found")
        assert hosts.beta.came(path) == times + 1
        assert status == (404 if path in _UNKNOWN_PATHS else 200)  # beta's own
    assert hosts.alpha.came(path) == 0


@pytest.mark.parametrize(
    ("name", "host"),
    [("beta-only:1b", "beta"), ("untagged", "beta"), ("Mixed-Case:1B", "alpha"), ("MIXED-case:1b", "alpha")],
)
def test_row_14_any_content_type_tag_and_case(fleet: Program, name: str, host: str) -> None:
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if content_type is None else {"content-type": content_type}
        status, found, answer = fleet.ask("POST", CHAT, chat(name), headers)
        assert (status, found["x-olla-endpoint"], routing(found)) == (200, host, ("strict", "routed", "model_found"))
        assert json.loads(answer)["model"] == name  # as the client wrote it


# ---- 15 ------------------------------------------------------------------------------------------------------------


def test_row_15_an_unknown_model(fleet: Program, hosts: Hosts) -> None:
    paths = (*_MODEL_PATHS, *_UNKNOWN_PATHS)
    for path in paths:
        status, headers, answer = fleet.ask("POST", DOOR + path, {"model": "absent:1b", **_TEXT})
        assert (path, status, routing(headers)) == (path, 404, ("strict", "rejected", "model_not_found"))
        assert "x-olla-endpoint" not in headers
        error = json.loads(answer)["error"]
        assert "absent:1b" in (error["message"] if path.startswith("/v1/") else error)
    assert hosts.alpha.came(*paths) == hosts.beta.came(*paths) == 0


# ---- 16 ------------------------------------------------------------------------------------------------------------


def test_row_16_the_hosts_of_a_model_are_down(fleet: Program, hosts: Hosts) -> None:
    hosts.alpha.kill()
    until(lambda: endpoint(fleet, "alpha")["status"] == "offline")
    for path in ("/api/chat", "/v1/chat/completions", "/api/embed"):
        status, headers, answer = fleet.ask("POST", DOOR + path, {"model": "alpha-only:1b", **_TEXT})
        assert (status, routing(headers)) == (503, ("strict", "rejected", "model_unavailable"))
        assert int(headers["retry-after"]) >= 1
        assert json.loads(answer)["error"]
    assert asked(fleet, "shared:1b") == (200, "beta")


# ---- 17 ------------------------------------------------------------------------------------------------------------


def test_row_17_unknown_models_to_anybody(ranked: Program, hosts: Hosts) -> None:
    hosts.alpha.play({"path": "/api/chat"}, status=200, body={"done": True})
    status, headers, answer = ranked.ask("POST", CHAT, chat("unheard-of:1b"))
    assert (status, answer, headers["x-olla-endpoint"]) == (200, b'{"done":true}', "alpha")
    assert routing(headers) == ("optimistic", "fallback", "model_not_found_fallback")
    status, headers, _ = ranked.ask("POST", CHAT, chat("alpha-only:1b"))
    assert (status, routing(headers)) == (200, ("optimistic", "routed", "model_found"))


# ---- 18 ------------------------------------------------------------------------------------------------------------


def test_row_18_discovery_reads_the_lists_again(worn: Program, hosts: Hosts) -> None:
    """This program reads lists once an hour, or when somebody asks for what it does not know."""
    status, headers, _ = worn.ask("POST", CHAT, chat("of-today:1b"))
    assert (status, routing(headers)) == (404, ("discovery", "rejected", "model_not_found"))
    hosts.beta.add("of-today:1b")

    def found() -> bool:
        # Lists that were read a moment ago are not read again: a client must not make arriero knock without end.
        return worn.ask("POST", CHAT, chat("of-today:1b"))[0] == 200

    until(found)
    status, headers, _ = worn.ask("POST", CHAT, chat("of-today:1b"))
    assert (status, headers["x-olla-endpoint"]) == (200, "beta")
    assert routing(headers)[:2] == ("discovery", "routed")
    assert "of-today:1b" in listed(worn, DOOR)


# ---- 19 ------------------------------------------------------------------------------------------------------------


def test_row_19_no_ollama_host_is_up(worn: Program, hosts: Hosts) -> None:
    """`gamma` is up, and none of Ollama: nothing crosses over to it."""
    hosts.alpha.kill()
    hosts.beta.kill()
    until(lambda: all(endpoint(worn, name)["status"] == "offline" for name in ("alpha", "beta")))
    assert worn.ask("GET", f"{DOOR}/api/tags")[0::2] == (200, b'{"models":[]}')
    assert worn.get(f"{DOOR}/v1/models") == {"object": "list", "data": []}
    for model in ("absent:1b", "gamma-only:1b"):
        status, headers, answer = worn.ask("POST", CHAT, chat(model))
        assert (status, routing(headers)[1:]) == (404, ("rejected", "model_not_found"))
        assert json.loads(answer)["error"]
    status, headers, answer = worn.ask("POST", CHAT, chat("shared:1b"))
    assert (status, routing(headers)[1:]) == (503, ("rejected", "model_unavailable"))
    assert int(headers["retry-after"]) >= 1 and json.loads(answer)["error"]
    status, headers, answer = worn.ask("GET", f"{DOOR}/api/of-tomorrow")
    assert status == 503 and int(headers["retry-after"]) >= 1 and json.loads(answer)["error"]
    assert worn.ask("POST", "/olla/openai/v1/chat/completions", chat("gamma-only:1b"))[0] == 200


def test_row_19_a_door_without_any_backend(worn: Program) -> None:
    """Nobody of this type was ever configured: known doors say so, unknown ones are not there."""
    assert worn.get("/olla/sglang/v1/models") == {"object": "list", "data": []}
    assert worn.ask("POST", "/olla/sglang/v1/chat/completions", chat("gamma-only:1b"))[0] == 404
    assert worn.ask("GET", "/olla/sglang/v1/of-tomorrow")[0] == 503
    assert worn.ask("GET", "/olla/unheard-of/v1/models")[0] == 404


# ---- 26 ------------------------------------------------------------------------------------------------------------


def test_row_26_least_connections(fleet: Program, hosts: Hosts) -> None:
    hosts.alpha.fault("hang_stream", "/api/chat")
    with opened(fleet, CHAT, chat("alpha-only:1b", stream=True)) as busy:
        assert busy.readline()
        assert [asked(fleet, "shared:1b") for _ in range(6)] == [(200, "beta")] * 6
    until(lambda: endpoint(fleet, "alpha")["connections"] == 0)
    hosts.alpha.well()
    assert {asked(fleet, "shared:1b")[1] for _ in range(6)} == {"alpha", "beta"}


def test_row_26_priority(ranked: Program, hosts: Hosts) -> None:
    assert [asked(ranked, "shared:1b") for _ in range(6)] == [(200, "alpha")] * 6
    hosts.alpha.kill()
    assert [asked(ranked, "shared:1b") for _ in range(6)] == [(200, "beta")] * 6
    hosts.alpha.as_new()
    wait_well(ranked)
    assert [asked(ranked, "shared:1b") for _ in range(6)] == [(200, "alpha")] * 6


def test_row_26_round_robin_is_strict(turning: Program) -> None:
    found = [asked(turning, "shared:1b")[1] for _ in range(10)]
    assert {*found[0::2]} | {*found[1::2]} == {"alpha", "beta"}
    assert len({*found[0::2]}) == len({*found[1::2]}) == 1


# ---- 28 ------------------------------------------------------------------------------------------------------------


def _stick(headers: dict[str, str]) -> tuple[str | None, ...]:
    return tuple(headers.get(f"x-olla-{name}") for name in ("sticky-session", "sticky-key-source", "session-id"))


def test_row_28_sticky_sessions(turning: Program, hosts: Hosts) -> None:
    def turn(session: str) -> tuple[str, tuple[str | None, ...]]:
        status, headers, _ = turning.ask("POST", CHAT, chat("shared:1b"), {"X-Olla-Session-ID": session})
        assert status == 200
        return headers["x-olla-endpoint"], _stick(headers)

    before = turning.get("/internal/stats/sticky")
    first, stick = turn("mine")
    assert stick == ("miss", "session_header", "mine")
    turn("another")  # so that the next in turn would be another
    for _ in range(4):
        assert turn("mine") == (first, ("hit", "session_header", "mine"))
    (hosts.alpha if first == "alpha" else hosts.beta).kill()
    second, stick = turn("mine")
    assert (second, stick) == ("beta" if first == "alpha" else "alpha", ("repin", "session_header", "mine"))
    assert turn("mine") == (second, ("hit", "session_header", "mine"))
    after = turning.get("/internal/stats/sticky")
    assert (after["enabled"], after["insertions"] - before["insertions"]) == (True, 2)


def test_row_28_no_key_and_no_sessions(turning: Program, fleet: Program) -> None:
    status, headers, _ = turning.ask("POST", GENERATE, {"model": "shared:1b", "prompt": "hi", "stream": False})
    assert (status, _stick(headers)) == (200, ("disabled", None, None))
    _, headers, _ = turning.ask("POST", GENERATE, {"model": "shared:1b", "prompt": "hi"}, {"Authorization": "Bearer a"})
    assert _stick(headers) == ("miss", "auth_header", None)
    status, headers, _ = fleet.ask("POST", CHAT, chat("shared:1b"), {"X-Olla-Session-ID": "mine"})
    assert (status, _stick(headers)) == (200, (None, None, None))
    assert fleet.get("/internal/stats/sticky") == {"enabled": False}


def test_row_28_the_key_is_stable_and_makes_no_hot_spot(turning: Program) -> None:
    """A short conversation stays where it began; many with one long system prompt do not all meet on one host."""
    system = {"role": "system", "content": "You are a patient guide of small llamas. " * 40}

    def turn(messages: list[dict[str, str]]) -> tuple[str, str | None, str | None]:
        status, headers, _ = turning.ask("POST", CHAT, {"model": "shared:1b", "stream": False, "messages": messages})
        assert status == 200
        return headers["x-olla-endpoint"], headers["x-olla-sticky-session"], headers["x-olla-sticky-key-source"]

    for opening in ([], [system]):
        places = Counter[str]()
        for user in range(6):
            messages = [*opening, {"role": "user", "content": f"hi from {user}"}]
            where, stick, source = turn(messages)
            assert (stick, source) == ("miss", "prefix_hash")
            for word in ("one", "two"):
                messages += [{"role": "assistant", "content": word}, {"role": "user", "content": f"and {word}?"}]
                assert turn(messages) == (where, "hit", "prefix_hash")
            places[where] += 1
        assert set(places) == {"alpha", "beta"}


# ---- 29 ------------------------------------------------------------------------------------------------------------


def test_row_29_aliases(fleet: Program, hosts: Hosts) -> None:
    sent = b'{ "model" : "%s", "x" : [1.50,\t1e3], "stream":false,"messages":[{"content":"h\\u00e9","role":"user"}]}\n'
    for typed in (b"Looking-Glass", b"looking-glass", b"LOOKING-GLASS"):
        status, headers, answer = fleet.ask("POST", CHAT, sent % typed)
        assert (status, headers["x-olla-endpoint"], headers["x-olla-model"]) == (200, "witness", "looking-glass")
        assert headers["x-olla-routing-strategy"] == "alias"
        assert headers["x-olla-routing-decision"] == "routed"
        assert headers["x-olla-routing-reason"] == f'alias "{typed.decode()}" resolved to 1 endpoint(s)'
        assert hosts.witness.requests("/api/chat")[-1].body == sent % b"witness:1b"
        assert json.loads(answer)["model"] == typed.decode()


def test_row_29_the_next_model_of_an_alias(fleet: Program, hosts: Hosts) -> None:
    """The first that is there; another one where that fails, on an error as on a dead host."""
    assert asked(fleet, "quick") == (200, "alpha")
    assert "quick:latest" in listed(fleet, DOOR)
    hosts.alpha.play({"path": "/api/generate", "times": 1}, status=429, body={"error": "slow down"})
    assert asked(fleet, "quick") == (200, "beta")
    hosts.alpha.kill()
    assert asked(fleet, "quick") == (200, "beta")
    assert hosts.beta.command("GET", "seen?last=0")["models"]["beta-only:1b"] == 2
    status, headers, _ = fleet.ask("POST", CHAT, chat("nowhere"))
    assert (status, routing(headers)[1:]) == (404, ("rejected", "model_not_found"))


# ---- 30 ------------------------------------------------------------------------------------------------------------


def test_row_30_filters(fleet: Program, hosts: Hosts) -> None:
    """`beta` has `nomic-embed:v1`, and hides `*embed*`."""
    assert "nomic-embed:v1" in [model["name"] for model in hosts.beta.get("/api/tags")["models"]]
    assert "nomic-embed:v1" not in listed(fleet, DOOR)
    assert "nomic-embed:v1" not in [model["id"] for model in fleet.get("/olla/openai/v1/models")["data"]]
    assert "nomic-embed:v1" not in [model["id"] for model in fleet.get("/olla/models")["data"]]
    for path in ("/api/embed", "/api/embeddings", "/v1/embeddings", "/api/of-tomorrow", "/api/show"):
        assert fleet.ask("POST", DOOR + path, {"model": "nomic-embed:v1", **_TEXT})[0] in (403, 404)
    assert hosts.beta.came("/api/embed", "/api/embeddings", "/v1/embeddings", "/api/of-tomorrow", "/api/show") == 0
