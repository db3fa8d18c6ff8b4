"""Requests in, what is played and answered out; no sockets."""

import hashlib
import json
from typing import Any

import pytest

from arriero.backends.scripted.desk import Desk
from arriero.backends.scripted.reply import Reply
from arriero.backends.scripted.script import Model, Play, Rule, Script, When

TINY = Script(models=(Model(name="tiny", capabilities=("completion",)),))


def ask(desk: Desk, request: str, body: Any = None, **headers: str) -> Reply:
    """`METHOD /path`, and a body that is written as JSON if it is no bytes."""
    method, _, target = request.partition(" ")
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return desk.answer(method, target, headers, data)[1]


def done(desk: Desk, request: str, body: Any = None) -> Reply:
    """The same, sent to its end."""
    reply = ask(desk, request, body)
    desk.ended(reply)
    return reply


def said(reply: Reply) -> tuple[int, Any]:
    """Status, and what the body says in short."""
    text = b"".join(reply.pieces)
    try:
        found = json.loads(text)
    except ValueError:
        return reply.status, text.decode()
    return reply.status, found.get("error", found)


@pytest.mark.parametrize(
    ("request_line", "body", "answer"),
    [
        ("GET /", None, (200, "Ollama is running")),
        ("GET /api/version", None, (200, {"version": "0.12.3"})),
        ("GET /nowhere", None, (404, "404 page not found")),
        ("GET /api/chat", None, (405, "405 method not allowed")),
        ("GET /api/delete?x=1", None, (405, "405 method not allowed")),
        ("POST /api/chat", b"", (400, "the request body is not a JSON object")),
        ("POST /api/chat", b"[]", (400, "the request body is not a JSON object")),
        ("POST /api/chat", {"model": "no"}, (404, "model 'no' not found")),
        ("POST /api/show", {"name": "no"}, (404, "model 'no' not found")),
        (
            "POST /api/chat",
            {"model": "TINY:latest", "messages": [{}], "tools": [{}]},
            (400, '"TINY:latest" does not support tools'),
        ),
        (
            "POST /api/generate",
            {"model": "tiny", "prompt": "a", "think": True},
            (400, '"tiny" does not support thinking'),
        ),
        (
            "POST /v1/chat/completions",
            {"model": "no"},
            (
                404,
                {
                    "message": "The model `no` does not exist",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "model_not_found",
                },
            ),
        ),
    ],
)
def test_what_an_ordinary_server_says(request_line: str, body: Any, answer: tuple[int, Any]) -> None:
    assert said(ask(Desk(TINY), request_line, body)) == answer


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/chat", "application/x-ndjson"),
        ("/api/generate", "application/x-ndjson"),
        ("/api/embed", "application/json; charset=utf-8"),
        ("/api/embeddings", "application/json; charset=utf-8"),
        ("/api/show", "application/json; charset=utf-8"),
        ("/v1/chat/completions", "application/json"),
        ("/v1/completions", "application/json"),
        ("/v1/embeddings", "application/json"),
    ],
)
def test_inference(path: str, kind: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
    reply = ask(Desk(TINY), f"POST {path}", body)
    assert (reply.status, reply.content_type) == (200, kind)


def test_it_speaks_what_the_script_says() -> None:
    desk = Desk(Script(speaks=("openai",)))
    assert ask(desk, "GET /api/tags").status == 404
    assert ask(desk, "HEAD /api/blobs/sha256:0").status == 404
    assert ask(desk, "GET /v1/models").status == 200
    assert ask(desk, "GET /v1/models/scripted").status == 200
    assert ask(desk, "GET /v1/models/no").status == 404
    assert ask(Desk(Script(speaks=("ollama",))), "GET /v1/models").status == 404
    assert ask(Desk(Script(speaks=("ollama",))), "GET /v1/models/scripted").status == 404


def test_a_key() -> None:
    desk = Desk(Script(key="secret"))
    assert said(ask(desk, "GET /v1/models"))[0] == 401
    assert said(ask(desk, "GET /api/tags", authorization="Bearer wrong")) == (401, "Incorrect API key provided")
    assert ask(desk, "GET /v1/models", authorization="Bearer secret").status == 200


def test_the_first_rule_that_fits_is_played() -> None:
    once = Rule(Play(status=503), When(path="/api/*", call=1))
    desk = Desk(Script(rules=(once, Rule(Play(say="b"), When(contains="b")), Rule(Play(say="c")))))
    asked = [
        ("GET", "/api/tags", b""),
        ("GET", "/api/tags", b""),
        ("POST", "/api/embed", b'{"b":1}'),
        ("GET", "/x", b""),
    ]
    plays = [desk.answer(method, path, {}, body)[0] for method, path, body in asked]
    assert [play.status or play.say for play in plays] == [503, "c", "b", "c"]


@pytest.mark.parametrize(
    ("play", "status", "kind", "body"),
    [
        (
            Play(status=503),
            503,
            "application/json; charset=utf-8",
            b'{"error":"scripted 503"}',
        ),
        (Play(status=429, body={"error": "slow"}), 429, "application/json", b'{"error":"slow"}'),
        (
            Play(status=502, body="<html>Bad Gateway</html>"),
            502,
            "text/html; charset=utf-8",
            b"<html>Bad Gateway</html>",
        ),
        (Play(status=500, body="boom"), 500, "text/plain; charset=utf-8", b"boom"),
        (Play(body='{"a": 1}'), 200, "application/json", b'{"a": 1}'),
        (Play(status=203), 203, "application/json; charset=utf-8", b'{"version":"0.12.3"}'),
    ],
)
def test_an_answer_of_its_own(play: Play, status: int, kind: str, body: bytes) -> None:
    desk = Desk(Script(rules=(Rule(with_header(play)),)))
    reply = ask(desk, "GET /api/version")
    assert reply == Reply(status, kind, (body,), headers={"Retry-After": "7"})


def test_an_error_has_the_form_of_its_api() -> None:
    desk = Desk(Script(rules=(Rule(Play(status=503)),)))
    error = {"message": "scripted 503", "type": "scripted", "code": 503}
    assert said(ask(desk, "GET /v1/models")) == said(ask(desk, "GET /")) == (503, error)


@pytest.mark.parametrize("play", [Play(status=500), Play(body="no"), Play(raw="x", exact=b"x")])
def test_what_is_answered_by_the_script_is_not_done(play: Play) -> None:
    desk = Desk(Script(rules=(Rule(play, When(path=("/api/pull", "/api/delete", "/api/generate"))),)))
    ask(desk, "POST /api/pull", {"model": "new"})
    ask(desk, "DELETE /api/delete", {"model": "scripted"})
    ask(desk, "POST /api/generate", {"model": "scripted", "prompt": "a"})
    assert (names(desk), names(desk, "/api/ps")) == (["scripted:latest"], [])


def with_header(play: Play) -> Play:
    """The same play with a header of its own."""
    return Play(status=play.status, body=play.body, headers={"Retry-After": "7"})


def names(desk: Desk, path: str = "/api/tags") -> list[str]:
    return [model["name"] for model in said(ask(desk, f"GET {path}"))[1]["models"]]


def test_the_library() -> None:
    desk = Desk(TINY)
    assert ask(desk, "POST /api/pull", {"model": "new"}).stream
    assert ask(desk, "POST /api/copy", {"source": "tiny", "destination": "copy:1"}).status == 200
    assert ask(desk, "POST /api/create", {"model": "made", "from": "tiny"}).stream
    assert names(desk) == ["tiny:latest", "new:latest", "copy:1", "made:latest"]
    assert ask(desk, "DELETE /api/delete", {"model": "TINY"}).status == 200
    assert names(desk) == ["new:latest", "copy:1", "made:latest"]
    assert ask(desk, "POST /api/push", {"model": "new"}).stream


@pytest.mark.parametrize(
    ("request_line", "body", "answer"),
    [
        ("POST /api/pull", {}, (400, "invalid model name")),
        ("POST /api/push", {}, (400, "model is required")),
        ("POST /api/create", {}, (400, "invalid model name")),
        ("POST /api/create", {"model": "a"}, (400, "neither 'from' or 'files' was specified")),
        ("POST /api/copy", {"destination": "a"}, (400, 'source "" is invalid')),
        ("POST /api/copy", {"source": "a"}, (400, 'destination "" is invalid')),
        ("POST /api/copy", {"source": "no", "destination": "a"}, (404, 'model "no" not found')),
        ("DELETE /api/delete", {}, (400, "model is required")),
        ("DELETE /api/delete", {"name": "no"}, (404, "model 'no' not found")),
    ],
)
def test_what_the_library_refuses(request_line: str, body: Any, answer: tuple[int, Any]) -> None:
    assert said(ask(Desk(TINY), request_line, body)) == answer


def test_a_failed_pull_brings_no_model() -> None:
    desk = Desk(Script(rules=(Rule(Play(error="no space"), When(path="/api/pull")),)))
    ask(desk, "POST /api/pull", {"model": "new"})
    assert names(desk) == ["scripted:latest"]


def test_blobs() -> None:
    desk, digest = Desk(TINY), f"sha256:{hashlib.sha256(b'data').hexdigest()}"
    assert ask(desk, f"HEAD /api/blobs/{digest}").status == 404
    assert said(ask(desk, "POST /api/blobs/sha256:0", b"data")) == (
        400,
        f'digest mismatch, expected "sha256:0", got "{digest}"',
    )
    assert ask(desk, f"POST /api/blobs/{digest}", b"data").status == 201
    assert ask(desk, f"POST /api/blobs/{digest}", b"data").status == 200
    assert ask(desk, f"HEAD /api/blobs/{digest}").status == 200
    assert ask(desk, f"GET /api/blobs/{digest}").status == 405


def test_commanded_rules_stand_before_the_scripts() -> None:
    desk = Desk(Script(rules=(Rule(Play(status=503), When(call=1)),)))
    rules = (Rule(Play(status=418), When(call=2)), Rule(Play(status=420), When(call=2)))
    desk.command(rules)
    assert desk.commanded == rules
    assert [ask(desk, "GET /").status for _ in range(4)] == [503, 418, 420, 200]
    desk.command(())
    assert (len(desk.commanded), ask(desk, "GET /").status) == (0, 200)


def test_a_name_is_in_what_is_said() -> None:
    body = {"model": "tiny", "stream": False, "prompt": "a"}

    def response(desk: Desk) -> str:
        text: str = json.loads(b"".join(ask(desk, "POST /api/generate", body).pieces))["response"]
        return text

    rules = (Rule(Play(say=("a{", "{name}b")), When(call=1)),)
    assert response(Desk(Script(name="g", models=TINY.models, rules=rules))) == "a{gb"
    assert response(Desk(Script(models=TINY.models, rules=rules))) == "a{{name}b"


class Clock:
    """A clock that is set by hand; at the epoch's first minute."""

    def __init__(self) -> None:
        self.now = 60.0

    def __call__(self) -> float:
        return self.now


def process(desk: Desk) -> list[tuple[str, str]]:
    return [(model["name"], model["expires_at"]) for model in said(ask(desk, "GET /api/ps"))[1]["models"]]


@pytest.mark.parametrize(
    ("path", "more", "end"),
    [
        ("/api/chat", {}, "1970-01-01T00:06:00.000000Z"),
        ("/api/generate", {"keep_alive": "90s"}, "1970-01-01T00:02:30.000000Z"),
        ("/api/generate", {"keep_alive": 0.5}, "1970-01-01T00:01:00.500000Z"),
        ("/api/embed", {"keep_alive": -1}, "2318-01-02T03:04:05Z"),
        ("/api/embeddings", {"keep_alive": 1e15}, "2318-01-02T03:04:05Z"),
        ("/v1/chat/completions", {"keep_alive": "no field of this API"}, "1970-01-01T00:06:00.000000Z"),
    ],
)
def test_a_request_loads_its_model_for_its_keep_alive(path: str, more: dict[str, Any], end: str) -> None:
    desk = Desk(TINY, Clock())
    assert process(desk) == []
    reply = ask(desk, f"POST {path}", {"model": "TINY", "messages": [{}], "prompt": "a", "input": "a", **more})
    assert (reply.status, reply.model, reply.wait_seconds) == (200, "tiny:latest", 0)
    desk.ended(reply)
    assert process(desk) == [("tiny:latest", end)]


def test_a_model_with_no_keep_alive_goes_when_its_answer_ends() -> None:
    desk = Desk(TINY, Clock())
    reply = ask(desk, "POST /api/chat", {"model": "tiny", "messages": [{}], "keep_alive": 0})
    assert process(desk) == [("tiny:latest", "1970-01-01T00:01:00.000000Z")]
    desk.ended(reply)
    assert process(desk) == []


def test_a_cold_start_waits() -> None:
    clock = Clock()
    desk = Desk(Script(models=(Model(name="big", load_ms=2000), Model(name="warm", load_ms=2000, loaded=True))), clock)
    waits = []
    for model in ("warm", "big", "big"):
        waits.append(ask(desk, "POST /api/generate", {"model": model}).wait_seconds)
        clock.now += 0.5
    assert waits == [0, 2, 1.5]
    assert [name for name, _ in process(desk)] == ["warm:latest"]
    clock.now += 1
    assert [name for name, _ in process(desk)] == ["warm:latest", "big:latest"]
    assert ask(desk, "POST /api/generate", {"model": "big"}).wait_seconds == 0


def test_what_does_not_load() -> None:
    desk = Desk(TINY, Clock())
    ask(desk, "POST /api/show", {"model": "tiny"})
    ask(desk, "POST /api/chat", {"model": "tiny", "messages": [{}], "tools": [{}]})
    refused = said(ask(desk, "POST /api/chat", {"model": "tiny", "messages": [{}], "keep_alive": "5"}))
    assert refused == (400, 'time: missing unit in duration "5"')
    assert process(desk) == []


def test_a_deleted_model_is_not_loaded_when_it_comes_back() -> None:
    desk = Desk(TINY)
    ask(desk, "POST /api/generate", {"model": "tiny"})
    ask(desk, "DELETE /api/delete", {"model": "tiny"})
    assert names(desk, "/api/ps") == []
    ask(desk, "POST /api/pull", {"model": "tiny"})
    assert names(desk, "/api/ps") == []


def test_what_is_loaded() -> None:
    desk = Desk(Script(models=(Model(name="a", loaded=True), Model(name="b"))))
    assert names(desk, "/api/ps") == ["a:latest"]
    assert said(done(desk, "POST /api/generate", {"model": "b"}))[1]["done_reason"] == "load"
    assert names(desk, "/api/ps") == ["a:latest", "b:latest"]
    assert said(done(desk, "POST /api/chat", {"model": "a", "keep_alive": 0}))[1]["done_reason"] == "unload"
    assert names(desk, "/api/ps") == ["b:latest"]
    done(desk, "POST /api/chat", {"model": "a", "messages": [{}]})
    assert names(desk, "/api/ps") == ["b:latest", "a:latest"]
