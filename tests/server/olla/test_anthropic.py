"""The door `/olla/anthropic/`: what goes to a backend as it is, and what is answered here."""

import asyncio
import http.client
import json
from collections.abc import Mapping
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from arriero.compose import DIALECTS
from arriero.gateway.choice import Routing
from arriero.server.app import App, Limits
from arriero.server.catalog import Catalog
from arriero.server.olla.anthropic import DOOR, Anthropic, characters
from arriero.server.rates import RateRule
from support.gateway import Played, stream
from support.gateway import http as http_answer
from support.olla_fleet import fleet
from support.raw_backend import Peer
from support.recordings import load
from support.serving import SECONDS, Answered, Asked, application, fast

PATH = "/olla/anthropic/v1/messages"
HI = [{"role": "user", "content": "hi"}]
ASKED = {"model": "tiny:latest", "max_tokens": 9, "messages": HI}
WHOLE = load("anthropic_messages").response.body
EVENTS = load("anthropic_messages_stream").response.pieces


def ask(body: Any, path: str = PATH, **fields: str) -> Asked:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Asked("POST", path, raw, [(name.replace("_", "-"), value) for name, value in fields.items()])


async def served(app: App, asked: Asked) -> Answered:
    """The answer to the letter, on a socket."""
    async with fast(app) as server, asyncio.timeout(SECONDS):
        return await asyncio.to_thread(_read, server.port, asked)


def _read(port: int, asked: Asked) -> Answered:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(asked.method, asked.path, asked.body, dict(asked.fields))
        answer = connection.getresponse()
        fields = frozenset((name.lower(), value) for name, value in answer.getheaders())
        return Answered(answer.status, fields, answer.read())
    finally:
        connection.close()


def field(answered: Answered, name: str) -> str | None:
    return dict(answered.fields).get(name)


def error(answered: Answered) -> tuple[int, str, str]:
    body = json.loads(answered.body)
    assert field(answered, "content-type") == "application/json"
    assert body.keys() == {"type", "error", "request_id"} and body["type"] == "error"
    assert body["request_id"]
    return answered.status, body["error"]["type"], body["error"]["message"]


# ---- messages ------------------------------------------------------------------------------------------------------


async def test_messages_go_to_a_backend_byte_for_byte() -> None:
    backend = Played("ollama", http_answer(WHOLE, extra="request-id: r7\r\nset-cookie: a=b\r\n"))
    raw = b'{ "model":"tiny:latest" ,"max_tokens":9,"x":1.50,"messages":[{"role":"user","content":"hi"}]}'
    async with application(backend) as app:
        answered = await served(
            app,
            ask(
                raw,
                x_request_id="abc",
                anthropic_version="2023-06-01",
                anthropic_beta="a-1,b-2",
                x_api_key="sk-ant-client",
                authorization="Bearer client",
            ),
        )
        tokens = app.roster.tally.dialects["anthropic"]
        assert (tokens.relayed, tokens.whole, tokens.prompt_tokens, tokens.completion_tokens) == (1, 1, 10, 22)
    line, head, body = backend.seen[0]
    assert (line, body) == ("POST /v1/messages HTTP/1.1", raw)
    assert (head["anthropic-version"], head["anthropic-beta"]) == ("2023-06-01", "a-1,b-2")
    assert not {"x-api-key", "authorization"} & head.keys()
    assert (answered.status, answered.body) == (200, WHOLE)
    told = {name: field(answered, name) for name in ("x-olla-mode", "x-olla-endpoint", "x-olla-backend-type")}
    assert told == {"x-olla-mode": "passthrough", "x-olla-endpoint": "ollama", "x-olla-backend-type": "ollama"}
    assert field(answered, "x-olla-routing-decision") == "routed"
    assert (field(answered, "request-id"), field(answered, "set-cookie")) == ("r7", None)


@pytest.mark.parametrize("typed", ["tiny", "tiny:latest"])
async def test_a_stream_is_relayed_and_its_tokens_are_counted(typed: str) -> None:
    backend = Played("ollama", stream(*EVENTS))
    async with application(backend) as app:
        answered = await served(app, ask({**ASKED, "model": typed, "stream": True}))
        count = app.roster.tally.dialects["anthropic"]
        assert (count.streamed, count.prompt_tokens, count.completion_tokens) == (1, 10, 22)
    assert answered.body == b"".join(EVENTS)
    assert backend.bodies == [{**ASKED, "model": typed, "stream": True}], "an Ollama server knows both spellings"


async def test_a_compressed_body_arrives_plain() -> None:
    backend = Played("ollama", http_answer(WHOLE))
    async with application(backend) as app:
        raw = zstandard.compress(json.dumps(ASKED).encode())
        assert (await served(app, ask(raw, content_encoding="zstd"))).status == 200
    assert backend.bodies == [ASKED]
    assert "content-encoding" not in backend.seen[0][1]


async def refuse(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize(
    "first",
    [
        refuse,
        http_answer(b"{}", status="500 X"),
        http_answer(b"{}", status="503 X", extra="retry-after: 5\r\n"),
        http_answer(b"{}", status="429 X"),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        stream(WHOLE[:90], type="application/json", end=False),
    ],
    ids=["reset", "500", "503", "429", "no body", "half a body"],
)
async def test_a_failure_before_the_first_byte_moves_on(first: Any) -> None:
    backends = Played("ollama", first, name="a"), Played("ollama", http_answer(WHOLE), name="b")
    async with application(*backends) as app:
        answered = await served(app, ask(ASKED))
    assert (answered.status, answered.body) == (200, WHOLE)
    assert (field(answered, "x-olla-endpoint"), field(answered, "x-arriero-attempts")) == ("b", "2")


async def test_the_last_failure_is_told_in_the_backends_words() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"too much"}}'
    async with application(Played("ollama", http_answer(body, status="529 X", extra="retry-after: 7\r\n"))) as app:
        answered = await served(app, ask(ASKED))
    assert (answered.status, answered.body, field(answered, "retry-after")) == (529, body, "7")


async def test_a_refusal_of_the_backend_is_relayed_and_is_the_clients_own() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens is required"}}'
    backends = (
        Played("ollama", http_answer(body, status="400 X"), name="a"),
        Played("ollama", http_answer(WHOLE), name="b"),
    )
    async with application(*backends) as app:
        answered = await served(app, ask({"model": "tiny", "messages": HI}))
        assert app.roster.tally.total.failures == 0
    assert (answered.status, answered.body, len(backends[1].seen)) == (400, body, 0)


async def test_a_backend_that_cannot_be_reached_is_told_in_the_doors_words() -> None:
    async with application(Played("ollama", refuse)) as app:
        status, kind, _ = error(await served(app, ask(ASKED)))
    assert (status, kind) == (502, "api_error")


async def test_a_stream_that_breaks_says_so() -> None:
    backend = Played("ollama", stream(EVENTS[0], end=False))
    async with application(backend) as app:
        answered = await served(app, ask({**ASKED, "stream": True}, x_request_id="abc"))
    said, _, last = answered.body.rpartition(b"event: error\ndata: ")
    assert said.startswith(EVENTS[0])
    assert json.loads(last)["error"]["type"] == "api_error"
    assert json.loads(last)["request_id"] == "abc"


async def test_a_model_that_only_others_have_is_not_implemented() -> None:
    backends = Played("ollama", http_answer(WHOLE)), Played("openai", http_answer(b"{}"))
    async with application(*backends) as app:
        answered = await served(app, ask({**ASKED, "model": "gpt-x"}))
        assert error(answered) == (
            501,
            "not_implemented",
            "no backend that has model 'gpt-x' speaks Anthropic's API, and arriero does not translate it yet: "
            "ask for it at /v1/chat/completions or /api/chat",
        )
        assert field(answered, "x-olla-routing-decision") == "rejected"
        assert error(await served(app, ask({**ASKED, "model": "nobody"})))[:2] == (404, "not_found_error")
    assert [backend.seen for backend in backends] == [[], []]


@pytest.mark.parametrize("body", [b"", b"hi", b"[]", b'{"model":', b'{"messages":[]}', b'{"model":7}', b'{"model":""}'])
async def test_a_body_without_a_model_is_refused(body: bytes) -> None:
    async with application(Played("ollama", http_answer(WHOLE))) as app:
        assert error(await served(app, ask(body)))[:2] == (400, "invalid_request_error")


# ---- the rest of the door ------------------------------------------------------------------------------------------


async def test_the_models_behind_the_door_are_listed() -> None:
    backends = Played("ollama", http_answer(WHOLE)), Played("openai", http_answer(b"{}"))
    async with application(*backends) as app:
        answered = await served(app, Asked("GET", "/olla/anthropic/v1/models"))
    page = json.loads(answered.body)
    created = page["data"][0].pop("created_at")
    assert page == {
        "data": [{"type": "model", "id": "tiny:latest", "display_name": "tiny:latest"}],
        "has_more": False,
        "first_id": "tiny:latest",
        "last_id": "tiny:latest",
    }
    assert created.endswith("Z") and created[10] == "T"


async def test_without_models_the_page_is_empty() -> None:
    models = b'{"data":[{"id":"x","created":99999999999999}]}'
    async with application(Played("openai", http_answer(b"{}"), models=models)) as app:
        answered = await served(app, Asked("GET", "/olla/anthropic/v1/models"))
    assert json.loads(answered.body) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_a_time_that_is_none_is_not_told() -> None:
    models = b'{"models":[{"name":"tiny:latest","modified_at":"9999-12-31T23:59:59.99-23:00"}]}'
    async with application(Played("ollama", http_answer(WHOLE), models=models)) as app:
        answered = await served(app, Asked("GET", "/olla/anthropic/v1/models"))
    assert answered.status == 200


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        (Asked("POST", "/olla/anthropic/v1/chat/completions", b"{}"), 404, "not_found_error"),
        (Asked("GET", "/olla/anthropic/"), 404, "not_found_error"),
        (Asked("GET", "/olla/anthropic/api/tags"), 404, "not_found_error"),
        (Asked("GET", PATH), 405, "invalid_request_error"),
        (Asked("POST", "/olla/anthropic/v1/models", b"{}"), 405, "invalid_request_error"),
        (Asked("POST", PATH, b"x" * 2000), 413, "request_too_large"),
        (Asked("POST", PATH, b"x", [("content-encoding", "br")]), 400, "invalid_request_error"),
    ],
)
async def test_every_error_of_the_door_has_its_envelope(asked: Asked, status: int, kind: str) -> None:
    async with application(Played("ollama", http_answer(WHOLE)), limits=Limits(max_body_bytes=1000)) as app:
        answered = await served(app, asked)
    assert error(answered)[:2] == (status, kind)
    assert (field(answered, "allow") is not None) is (status == 405)
    assert field(answered, "x-olla-request-id") is not None


async def test_too_many_requests_are_refused_in_the_envelope() -> None:
    limits = Limits(rates=RateRule(per_minute=1, burst=1))
    async with application(Played("ollama", http_answer(WHOLE)), limits=limits) as app:
        assert (await served(app, ask(ASKED))).status == 200
        answered = await served(app, ask(ASKED))
        assert error(answered)[:2] == (429, "rate_limit_error")
        assert (await served(app, ask(ASKED, PATH + "/count_tokens"))).status == 200, "counting costs nothing"


# ---- counting ------------------------------------------------------------------------------------------------------

TOOL = {"name": "f", "input_schema": {"type": "object"}}
COUNTED: list[tuple[Mapping[str, Any], int]] = [
    ({}, 0),
    ({"messages": HI}, 2),
    ({"system": "Be é.", "messages": HI}, 7),
    ({"system": [{"type": "text", "text": "Be"}], "messages": []}, 2),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "abc"}, {"type": "text", "text": "de"}]}]}, 5),
    ({"messages": [{"content": [{"type": "image", "source": {"type": "base64", "data": "A" * 999}}]}]}, 0),
    ({"messages": [{"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "ü"}}]}]}, 10),
    ({"messages": [{"content": [{"type": "tool_result", "content": [{"type": "text", "text": "abcd"}]}]}]}, 4),
    ({"messages": [{"content": [{"type": "tool_result", "content": "abcd"}]}]}, 4),
    ({"messages": [{"content": [{"type": "thinking", "thinking": "hm", "signature": "xyz"}]}]}, 2),
    ({"tools": [TOOL]}, len('{"name":"f","input_schema":{"type":"object"}}')),
    ({"messages": 7, "tools": "x", "system": None}, 0),
    ({"messages": [7, {"content": None}, {"content": [{"type": ["x"]}, {"text": "no type"}]}]}, 0),
]


@pytest.mark.parametrize(("request_", "count"), COUNTED)
def test_what_a_model_would_read_is_counted(request_: Mapping[str, Any], count: int) -> None:
    assert characters(request_) == count


@given(text=st.text(max_size=200), more=st.text(max_size=50))
def test_more_text_is_never_less(text: str, more: str) -> None:
    def counted(content: str) -> int:
        return characters({"messages": [{"role": "user", "content": content}]})

    assert counted(text) == len(text)
    assert counted(text + more) >= counted(text)


@pytest.mark.parametrize(("content", "tokens"), [("", 1), ("abc", 1), ("abcdefgh", 2), ("\\ud83d surrogates", 3)])
async def test_four_characters_are_a_token_and_one_is_the_least(content: str, tokens: int) -> None:
    async with application(Played("ollama", http_answer(WHOLE))) as app:
        raw = b'{"model":"whatever","messages":[{"role":"user","content":"%b"}]}' % content.encode()
        answered = await served(app, ask(raw, PATH + "/count_tokens"))
    assert (answered.status, json.loads(answered.body)) == (200, {"input_tokens": tokens})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages":' + b"[" * 100_000, b"\xff"])
async def test_what_cannot_be_read_is_not_counted(body: bytes) -> None:
    async with application(Played("ollama", http_answer(WHOLE))) as app:
        assert error(await served(app, ask(body, PATH + "/count_tokens")))[:2] == (400, "invalid_request_error")


async def test_the_door_has_these_routes() -> None:
    roster = await fleet()
    door = Anthropic(roster, Routing(), Catalog(roster, DIALECTS, tagged=True), strategy="strict", limit=lambda: 1)
    assert [route.behind(DOOR).path for route in door.routes] == [
        "/olla/anthropic/v1/messages",
        "/olla/anthropic/v1/messages/count_tokens",
        "/olla/anthropic/v1/models",
        "/olla/anthropic/",
        "/olla/anthropic/*",
    ]
    await roster.close()
