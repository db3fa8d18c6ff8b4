"""The lane law: one table of requests, asked over the fast lane and over plain ASGI, gives equal answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import zstandard

from arriero.errors import BackendUnreachable
from arriero.gateway.door import FRONT
from arriero.gateway.lane import Inbound, Lane
from arriero.server.app import App, Limits
from arriero.server.routes import Route, Table
from arriero.server.surface import HOUSE
from support.gateway import Answer, Played, http, stream
from support.raw_backend import Peer
from support.serving import Answered, Asked, Served, application, fast, over_asgi, over_fast_lane

pytestmark = pytest.mark.asyncio(loop_scope="module")

HI = [{"role": "user", "content": "hi"}]
LIMIT = 100_000


def sse(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


WORDS = (sse(role="assistant", content=""), sse(content="Hel"), sse(content="lo"))
DONE = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)
WHOLE = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2}}'
)
VECTORS = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,0.8]}],"usage":{"prompt_tokens":1}}'
)
FRAMES = stream(
    b'{"model":"tiny","message":{"role":"assistant","content":"a"},"done":false}\n',
    b'{"model":"tiny","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n',
    type="application/x-ndjson",
)


async def cut(peer: Peer) -> None:
    """Ends before the length that it told."""
    await peer.say(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"id":')


BACKENDS: dict[str, Answer] = {
    "streams": stream(*WORDS, DONE),
    "whole": http(WHOLE),
    "vectors": http(VECTORS),
    "dies": stream(*WORDS, end=False),
    "breaks": http(b'{"error":{"message":"out of memory"}}', status="500 X", extra="retry-after: 3\r\n"),
    "refuses": http(b'{"error":{"message":"temperature must be <= 2","param":"temperature"}}', status="400 X"),
    "cut": cut,
}


def ask(path: str, model: str, **fields: Any) -> Asked:
    return Asked("POST", path, json.dumps({"model": model, **fields}).encode())


def chat(model: str, **fields: Any) -> Asked:
    return ask("/api/chat", model, messages=HI, **fields)


def v1(model: str, **fields: Any) -> Asked:
    return ask("/v1/chat/completions", model, messages=HI, **fields)


TABLE: dict[str, tuple[Asked, int]] = {
    "chat, transcoded in a stream": (chat("streams"), 200),
    "chat, transcoded whole": (chat("whole", stream=False), 200),
    "chat, folded": (chat("streams", stream=False), 200),
    "chat, unfolded": (chat("whole"), 200),
    "chat, relayed": (chat("tiny"), 200),
    "chat, with the slash of nobody": (Asked("POST", "/api/chat/"), 307),
    "chat, with a query": (Asked("POST", "/api/chat", chat("whole", stream=False).body, query="?a=b"), 200),
    "chat, that dies in mid-stream": (chat("dies"), 200),
    "chat, of a backend that breaks": (chat("breaks"), 500),
    "chat, that is refused": (chat("refuses"), 400),
    "chat, of an unknown model": (chat("nope"), 404),
    "chat, without a body": (Asked("POST", "/api/chat"), 400),
    "chat, of broken JSON": (Asked("POST", "/api/chat", b'{"model":'), 400),
    "chat, over the limit": (Asked("POST", "/api/chat", b"x" * (LIMIT + 1)), 413),
    "chat, of a large body": (chat("whole", stream=False, options={"x": "y" * 60_000}), 200),
    "chat, loading": (ask("/api/chat", "whole"), 200),
    "chat, unloading": (ask("/api/generate", "whole", keep_alive=0), 200),
    "embed": (ask("/api/embed", "vectors", input="a"), 200),
    "embed, of nothing": (ask("/api/embed", "vectors", input=[]), 200),
    "embeddings": (ask("/api/embeddings", "vectors", prompt="a"), 200),
    "v1, relayed in a stream": (v1("streams", stream=True), 200),
    "v1, relayed whole": (v1("whole"), 200),
    "v1, under another name": (v1("Whole:latest"), 200),
    "v1, transcoded": (v1("tiny", stream=True), 200),
    "v1, that dies in mid-stream": (v1("dies", stream=True), 200),
    "v1, that is cut": (v1("cut"), 502),
    "v1, that is refused": (v1("refuses"), 400),
    "v1, of an unknown model": (v1("nope"), 404),
    "v1, without a body": (Asked("POST", "/v1/chat/completions"), 400),
    "v1, compressed": (
        Asked(
            "POST",
            "/v1/chat/completions",
            zstandard.compress(v1("whole").body),
            (("content-encoding", "zstd"),),
        ),
        200,
    ),
    "v1, compressed in a way nobody knows": (
        Asked("POST", "/v1/chat/completions", b"..", (("content-encoding", "br"),)),
        400,
    ),
    "v1 embeddings": (ask("/v1/embeddings", "vectors", input="a"), 200),
    "the banner": (Asked("GET", "/"), 200),
    "the banner's head": (Asked("HEAD", "/"), 200),
    "tags": (Asked("GET", "/api/tags"), 200),
    "tags' head": (Asked("HEAD", "/api/tags"), 200),
    "ps": (Asked("GET", "/api/ps"), 200),
    "show": (ask("/api/show", "whole"), 200),
    "show, over the limit": (Asked("POST", "/api/show", b"x" * (LIMIT + 1)), 413),
    "v1 models": (Asked("GET", "/v1/models"), 200),
    "v1 model": (Asked("GET", "/v1/models/whole"), 200),
    "v1 model, unknown": (Asked("GET", "/v1/models/a/b"), 404),
    "an unknown path": (Asked("GET", "/nope"), 404),
    "a wrong method on a hot path": (Asked("GET", "/api/chat"), 405),
    "a wrong method": (Asked("PUT", "/api/tags"), 405),
    "a local page": (Asked("POST", "/api/chat", chat("streams").body, (("origin", "http://localhost:3000"),)), 200),
    "a local page's error": (Asked("POST", "/api/chat", b"{", (("origin", "http://localhost:3000"),)), 400),
    "a foreign page": (Asked("POST", "/api/chat", chat("streams").body, (("origin", "https://evil.example"),)), 403),
    "a foreign host": (Asked("POST", "/api/chat", chat("streams").body, (("host", "evil.example"),)), 403),
    "a preflight": (
        Asked(
            "OPTIONS",
            "/api/chat",
            fields=(("origin", "http://localhost:3000"), ("access-control-request-method", "POST")),
        ),
        204,
    ),
    "a fault of arriero": (Asked("POST", "/faulty", b"{}"), 500),
    "a fault of arriero on a hot path": (Asked("POST", "/hot/faulty", b"{}"), 500),
    "ready": (Asked("GET", "/readyz"), 200),
    "alive": (Asked("GET", "/healthz"), 200),
    "who am I": (Asked("POST", "/api/me"), 401),
    "copy of nothing": (ask("/api/copy", "x"), 400),
    "Olla's prefix": (ask("/olla/ollama/api/chat", "tiny"), 200),
    "Olla's prefix, another kind": (ask("/olla/vllm/api/chat", "tiny"), 404),
    "the house": (Asked("GET", "/internal/health"), 200),
}


class Both(NamedTuple):
    app: App
    served: Served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[Both]:
    played = [
        Played("openai", answer, name=name, models=json.dumps({"data": [{"id": name}]}).encode())
        for name, answer in BACKENDS.items()
    ]
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(
            application(*played, Played("ollama", FRAMES), limits=Limits(max_body_bytes=LIMIT))
        )
        app.table = _with_faults(app.table)
        yield Both(app, await stack.enter_async_context(fast(app)))


def _with_faults(table: Table) -> Table:
    async def faulty(inbound: Inbound, lane: Lane) -> None:
        raise ZeroDivisionError("sk-secret")

    more = [Route("/faulty", ("POST",), faulty), Route("/hot/faulty", ("POST",), faulty, hot=True)]
    known = [route for routes in table._exact.values() for route in routes] + [route for _, route in table._below]
    return Table([*known, *more])


@pytest.mark.parametrize("name", TABLE)
async def test_both_lanes_answer_alike(both: Both, name: str) -> None:
    asked, status = TABLE[name]
    on_socket = await over_fast_lane(both.served, asked)
    plain = await over_asgi(both.app, asked)
    assert on_socket.status == status, on_socket
    assert _comparable(on_socket) == _comparable(plain)
    assert "secret" not in on_socket.body.decode()


def _comparable(answer: Answered) -> Answered:
    """A fault is told with the number under which the log has it."""
    if b"fault of its own" in answer.body:
        return answer._replace(body=answer.body[:40])
    if not answer.whole:
        # How much of a cut answer was on the wire is nobody's promise.
        return answer._replace(body=b"", fields=frozenset())
    return answer


async def test_an_empty_answer_has_no_body_on_either_lane(both: Both) -> None:
    for name in ("the banner's head", "tags' head", "a foreign page", "a preflight"):
        asked, _ = TABLE[name]
        assert (await over_fast_lane(both.served, asked)).body == b""


async def test_every_request_has_an_id_of_its_own(both: Both) -> None:
    assert len({both.app.request_id((), FRONT) for _ in range(1000)}) == 1000
    assert len({both.app.request_id((), HOUSE) for _ in range(1000)}) == 1000


async def test_what_is_not_http_is_refused(both: Both) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(Exception, match="HTTP"):
        await both.app({"type": "websocket"}, never, never)


async def test_the_lifespan_asks_the_backends_and_closes_them() -> None:
    said: list[str] = []
    incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def send(message: Any) -> None:
        said.append(message["type"])

    async with application(Played("openai", http(WHOLE))) as app:
        async with asyncio.timeout(5):
            task = asyncio.create_task(app({"type": "lifespan"}, incoming.get, send))
            await incoming.put({"type": "lifespan.startup"})
            while not said:  # noqa: ASYNC110 - `send` is the application's
                await asyncio.sleep(0.01)
            await incoming.put({"type": "lifespan.shutdown"})
            await task
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert logging.getLogger("asyncio").level == logging.NOTSET


@asynccontextmanager
async def hanging(raw: bytes) -> AsyncIterator[asyncio.Event]:
    """A request to a backend that says nothing, of a client that leaves; what tells that the backend has seen it."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def hang(peer: Peer) -> None:
        came.set()
        await peer.gone()
        gone.set()

    async with application(Played("ollama", hang)) as app, fast(app) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(raw)
        async with asyncio.timeout(5):
            await came.wait()
            writer.transport.abort()
            yield gone


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("POST /api/show", b'{"model":"tiny"}'),
        ("POST /api/pull", b'{"model":"x"}'),
        (f"POST /api/blobs/sha256:{'a' * 64}", b"GGUF"),
        (f"HEAD /api/blobs/sha256:{'a' * 64}", b""),
    ],
)
async def test_a_client_that_leaves_is_noticed_on_every_route(line: str, body: bytes) -> None:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    async with hanging(f"{line} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode() + body) as gone:
        await gone.wait()


async def test_a_backend_that_cannot_be_reached_is_a_502_behind_ollas_doors(both: Both) -> None:
    error = BackendUnreachable("gpu1 refused")
    paths = ("/api/show", "/v1/models/x", "/olla/ollama/api/show", "/olla/anthropic/v1/messages")
    assert [both.app.error(error, path)[0] for path in paths] == [503, 503, 502, 502]
