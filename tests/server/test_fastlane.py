"""The fast lane on real sockets: limits, pipelining, backpressure, and clients that leave."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from arriero.backends.http.call import Headers
from arriero.gateway.door import Door
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.server.access import PASS, Verdict
from arriero.server.app import App, Limits
from arriero.server.asgi import Receive, Scope, Send
from arriero.server.fastlane import HEAD_FIELDS
from arriero.server.peer import Peers
from arriero.server.routes import Route, Table
from support.gateway import Played, http, stream
from support.raw_backend import Peer
from support.serving import SECONDS, Served, application, fast

HOST = b"Host: localhost\r\n"
WHOLE = http(
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":null}'
)
CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}'
STREAMED = CHAT[:-1] + b',"stream":true}'
PIECE = b'data: {"choices":[],"padding":"' + b"x" * 65_000 + b'"}\n\n'


def post(body: bytes = CHAT, *fields: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + length + b"".join(fields) + b"\r\n" + body


class Client:
    """A connection that is written to and read from by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer with a length."""
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
            return int(head.split()[1]), await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read()


@asynccontextmanager
async def client(served: Served, *, receive_bytes: int | None = None) -> AsyncIterator[Client]:
    """`receive_bytes` is the size of the kernel's buffer: a small one makes a slow reader."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=65536)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0.01)


class Trivial:
    """An application of one hot route that answers with what it got, when `go` is set."""

    def __init__(self, *, max_header_bytes: int = 4096, max_body_bytes: int = 10_000) -> None:
        self.max_header_bytes = max_header_bytes
        self.max_body_bytes = max_body_bytes
        self.seen: list[Inbound] = []
        self.lanes: list[Lane] = []
        self.go = asyncio.Event()
        self.go.set()
        self.table = Table(
            [Route("/hot", ("POST",), self._echo, hot=True), Route("/now", ("POST",), self._echo_now, hot=True)]
        )
        self.access = self
        self.peers = Peers()

    def check(self, method: str, headers: object, local: bool) -> Verdict:
        return PASS

    def request_id(self, headers: Headers, door: Door) -> str:
        return "req1"

    def marked(self, door: Door, request_id: str) -> Headers:
        return ()

    def error(self, error: Exception, path: str, request_id: str | None = None) -> tuple[int, bytes, bytes]:
        return getattr(error, "status", 500), b"text/plain", str(error).encode()

    def begin(self, route: Route, inbound: Inbound, lane: Lane) -> Coroutine[Any, Any, None] | None:
        return route.handler(inbound, lane)

    async def _echo(self, inbound: Inbound, lane: Lane) -> None:
        self.seen.append(inbound)
        self.lanes.append(lane)
        await self.go.wait()
        reply(lane, 200, ((b"content-type", b"text/plain"),), inbound.body)

    def _echo_now(self, inbound: Inbound, lane: Lane) -> None:
        """Answers before it returns: the parser is still in the middle of the read."""
        self.seen.append(inbound)
        reply(lane, 200, (), inbound.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every other path: uvicorn's own way."""
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"404"})


# ---- one request ---------------------------------------------------------------------------------------------------


async def test_a_request_reaches_its_handler_as_it_came() -> None:
    app = Trivial()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"a body", b"X-Mixed: CaSe\r\n", path=b"/hot?a=%20b"))
        assert await peer.answer() == (200, b"a body")
    (inbound,) = app.seen
    assert (inbound.method, inbound.path, inbound.query, inbound.body) == ("POST", "/hot", b"a=%20b", b"a body")
    assert (inbound.get(b"x-mixed"), inbound.client) == (b"CaSe", "127.0.0.1")


@pytest.mark.parametrize("step", [1, 7, 64])
async def test_a_request_may_come_in_any_pieces(step: int) -> None:
    app = Trivial()
    request = post(b"x" * 200, path=b"/hot")
    async with fast(app) as served, client(served) as peer:
        for start in range(0, len(request), step):
            peer.say(request[start : start + step])
            await asyncio.sleep(0)
        assert await peer.answer() == (200, b"x" * 200)


async def test_head_and_body_leave_in_one_packet() -> None:
    async with fast(Trivial()) as served, client(served) as peer:
        peer.say(post(b"small", path=b"/hot"))
        async with asyncio.timeout(SECONDS):
            first = await peer.reader.read(65536)
    assert first.endswith(b"\r\n\r\nsmall")


# ---- limits --------------------------------------------------------------------------------------------------------


async def test_a_head_has_as_many_bytes_as_it_may() -> None:
    app = Trivial(max_header_bytes=4096)
    fits = post(b"", b"x: " + b"y" * 3800 + b"\r\n", path=b"/hot")
    too_long = post(b"", b"x: " + b"y" * 4100 + b"\r\n", path=b"/hot")
    async with fast(app) as served:
        async with client(served) as peer:
            peer.say(fits)
            assert (await peer.answer())[0] == 200
            peer.say(too_long)
            assert (await peer.answer())[0] == 431
            assert await peer.rest() == b""
        async with client(served) as peer:
            peer.say(b"POST /hot HTTP/1.1\r\nx: " + b"y" * 5000)  # and it never ends
            assert (await peer.answer())[0] == 431
    assert len(app.seen) == 1


async def test_a_head_has_as_many_fields_as_it_may() -> None:
    async with fast(Trivial()) as served, client(served) as peer:
        peer.say(post(b"", b"a: b\r\n" * (HEAD_FIELDS - 2), path=b"/hot"))
        assert (await peer.answer())[0] == 200
        peer.say(post(b"", b"a: b\r\n" * HEAD_FIELDS, path=b"/hot"))
        assert (await peer.answer())[0] == 431


async def test_a_body_larger_than_a_head_may_be_is_no_head() -> None:
    """In one read with its head, and behind another request."""
    app = Trivial(max_header_bytes=1000)
    async with fast(app) as served, client(served) as peer:
        for _ in range(3):
            peer.say(post(b"x" * 9000, path=b"/hot") * 2)
            assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]


async def test_a_body_over_the_limit_is_not_read() -> None:
    app = Trivial(max_body_bytes=100)
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"x" * 100_000, path=b"/hot"))
        assert (await peer.answer())[0] == 413
        assert await peer.rest() == b""
    assert app.seen == []


async def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    """Neither a part of one, nor a connection that says nothing; but a slow answer has all the time."""
    app = Trivial()
    app.go.clear()
    async with fast(app) as served, client(served) as slow, client(served) as silent, client(served) as busy:
        slow.say(b"POST /hot HT")
        busy.say(post(b"", path=b"/hot"))
        await eventually(lambda: len(served.connections) == 3 and len(app.seen) == 1)
        await asyncio.sleep(0.05)
        now = asyncio.get_running_loop().time()
        for connection in served.connections:
            connection.expire_head(now, 60)
        assert len(served.connections) == 3
        for connection in served.connections:
            connection.expire_head(now + 61, 60)
        status, words = await slow.answer()
        assert (status, await slow.rest()) == (408, b"")
        assert b"60 s" in words
        assert await silent.rest() == b""
        app.go.set()
        assert (await busy.answer())[0] == 200


async def test_no_byte_is_written_behind_the_length_that_was_told() -> None:
    class Chatty(Trivial):
        async def _echo(self, inbound: Inbound, lane: Lane) -> None:
            lane.start(200, (), 2)
            lane.write(b"a")
            lane.write(b"bcd")
            lane.write(b"HTTP/1.1 200 OK")
            lane.finish()

    async with fast(Chatty()) as served, client(served) as peer:
        peer.say(post(b"", path=b"/hot"))
        assert await peer.answer() == (200, b"ab")
        assert await peer.rest() == b""


CHUNKED = b"POST /hot HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


async def test_a_body_of_tiny_chunks_is_one_body() -> None:
    app = Trivial()
    async with fast(app) as served, client(served) as peer:
        peer.say(CHUNKED + b"".join(b"2\r\n%02d\r\n" % (number % 100) for number in range(2000)) + b"0\r\n\r\n")
        expected = b"".join(b"%02d" % (number % 100) for number in range(2000))
        assert await peer.answer() == (200, expected)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
async def test_trailers_mean_nothing(end: bytes) -> None:
    app = Trivial()
    async with fast(app) as served, client(served) as peer:
        peer.say(CHUNKED + b"2\r\nhi\r\n0\r\nHost: evil\r\nX-Title: late\r\n")
        await asyncio.sleep(0.02)
        peer.say(b"\r\n" + end)
        assert await peer.answer() == (200, b"hi")
    (inbound,) = app.seen
    assert inbound.headers == ((b"host", b"localhost"), (b"transfer-encoding", b"chunked"))


@pytest.mark.parametrize("path", [b"/hot", b"/cold"])
@pytest.mark.parametrize("piece", [b"x: y\r\n" * 100, b"x" * 600])
async def test_trailers_without_end_are_refused(path: bytes, piece: bytes) -> None:
    app = Trivial()
    app.go.clear()
    async with fast(app) as served, client(served) as peer:
        peer.say(CHUNKED.replace(b"/hot", path) + b"2\r\nhi\r\n0\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                peer.say(piece)
                await asyncio.sleep(0.005)
        assert b"HTTP/1.1 431 " in await peer.rest()
    assert app.seen == []


# ---- one connection, many requests ---------------------------------------------------------------------------------


async def test_pipelined_requests_wait_for_their_turn() -> None:
    app = Trivial()
    app.go.clear()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"1", path=b"/hot") + post(b"2", path=b"/cold") + post(b"3", path=b"/hot"))
        await eventually(lambda: len(app.seen) == 1)
        await asyncio.sleep(0.05)
        assert len(app.seen) == 1, "one at a time"
        app.go.set()
        assert [await peer.answer() for _ in range(3)] == [(200, b"1"), (404, b"404"), (200, b"3")]


async def test_an_answer_that_is_there_at_once() -> None:
    """Between others, in one read, and behind one that is slow."""
    app = Trivial()
    async with fast(app) as served, client(served) as peer:
        peer.say(b"".join(post(b"%d" % number, path=b"/now") for number in range(50)))
        assert [await peer.answer() for _ in range(50)] == [(200, b"%d" % number) for number in range(50)]
        app.go.clear()
        peer.say(post(b"slow", path=b"/hot") + post(b"1", path=b"/now") + post(b"2", path=b"/now"))
        await eventually(lambda: len(app.seen) == 51)
        app.go.set()
        assert [await peer.answer() for _ in range(3)] == [(200, b"slow"), (200, b"1"), (200, b"2")]
        peer.say(post(b"last", b"Connection: close\r\n", path=b"/now") + post(b"too late", path=b"/now"))
        assert await peer.answer() == (200, b"last")
        assert await peer.rest() == b""
    assert len(app.seen) == 54


async def test_many_answers_that_wait_behind_a_slow_one_are_not_nested() -> None:
    app = Trivial()
    app.go.clear()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"slow", path=b"/hot") + post(b"1", path=b"/now") * 600)
        await eventually(lambda: len(app.seen) == 1)
        app.go.set()
        assert [await peer.answer() for _ in range(601)] == [(200, b"slow")] + [(200, b"1")] * 600


@pytest.mark.parametrize(
    "bad", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"], ids=["nonsense", "fields"]
)
async def test_nonsense_behind_a_request_closes_the_connection_behind_its_answer(bad: bytes) -> None:
    app = Trivial()
    app.go.clear()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"1", path=b"/hot") + bad)
        await eventually(lambda: len(app.seen) == 1)
        await asyncio.sleep(0.02)
        app.go.set()
        assert await peer.answer() == (200, b"1")
        assert await peer.rest() == b""
    assert len(app.seen) == 1, "the handler runs once"


async def test_a_pipelined_body_over_the_limit_is_told_in_its_turn() -> None:
    app = Trivial(max_body_bytes=100)
    app.go.clear()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"1", path=b"/hot") + post(b"x" * 200, path=b"/hot"))
        await eventually(lambda: len(app.seen) == 1)
        app.go.set()
        assert await peer.answer() == (200, b"1")
        assert (await peer.answer())[0] == 413


async def test_an_offer_of_another_protocol_is_passed_over() -> None:
    offer = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    app = Trivial()
    async with fast(app) as served, client(served) as peer:
        peer.say(post(b"1", offer, path=b"/hot") + post(b"2", offer, path=b"/cold") + post(b"3", path=b"/hot"))
        assert [await peer.answer() for _ in range(3)] == [(200, b"1"), (404, b"404"), (200, b"3")]
        request = post(b"4567", offer, path=b"/hot")
        peer.say(request[:-2])
        await asyncio.sleep(0.02)
        peer.say(request[-2:])
        assert await peer.answer() == (200, b"4567")
    assert [inbound.body for inbound in app.seen] == [b"1", b"3", b"4567"]
    async with fast(Trivial()) as served, client(served) as peer:
        peer.say(b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await peer.answer())[0] == 400


# ---- backpressure and leaving --------------------------------------------------------------------------------------


class Endless:
    """A backend that streams without end, and counts what it could say."""

    def __init__(self) -> None:
        self.said_bytes = 0
        self.closed = asyncio.Event()

    async def play(self, peer: Peer) -> None:
        try:
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await peer.say(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
                self.said_bytes += len(PIECE)
        finally:
            self.closed.set()

    async def stalls(self) -> int:
        """Waits until it can say no more; how much it has said."""
        async with asyncio.timeout(SECONDS):
            while True:
                before = self.said_bytes
                await asyncio.sleep(0.25)
                if before == self.said_bytes > 0:
                    return before
                assert self.said_bytes < 200 * 1024 * 1024, "nobody holds it back"


@asynccontextmanager
async def endless(backend: Endless) -> AsyncIterator[tuple[App, Served]]:
    async with application(Played("openai", backend.play)) as app, fast(app) as served:
        yield app, served


@pytest.mark.parametrize("path", [b"/v1/chat/completions"])
async def test_a_slow_reader_holds_the_backend_back(path: bytes) -> None:
    backend = Endless()
    async with endless(backend) as (_, served), client(served, receive_bytes=4096) as peer:
        peer.say(post(STREAMED, path=path))
        said = await backend.stalls()
        async with asyncio.timeout(SECONDS):
            while backend.said_bytes < said + 1_000_000:
                assert await peer.reader.read(1 << 20)
        await backend.stalls()
        (connection,) = served.connections
        assert connection.transport.get_write_buffer_size() < 2 * 1024 * 1024


async def test_a_reader_that_was_slow_before_holds_the_next_backend_back_too() -> None:
    """A whole answer that is transcoded leaves in one write; the next answer begins on a connection that is full."""
    text = b"x" * 8_000_000
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}]}' % text
    backend = Endless()
    full = Played("openai", http(body), name="full", models=b'{"data":[{"id":"full"}]}')
    first = b'{"model":"full","messages":[{"role":"user","content":"hi"}],"stream":false}'
    async with (
        application(full, Played("openai", backend.play)) as app,
        fast(app) as served,
        client(served, receive_bytes=4096) as peer,
    ):
        peer.say(post(first, path=b"/api/chat") + post(STREAMED))
        await backend.stalls()
        (connection,) = served.connections
        assert connection.transport.get_write_buffer_size() < len(body) + 2 * 1024 * 1024


async def test_answers_to_a_client_that_only_asks_do_not_pile_up() -> None:
    app = Trivial()
    async with fast(app) as served, client(served, receive_bytes=4096) as peer:
        peer.say(post(b"x" * 9000, path=b"/now") * 3000)
        seen = -1
        async with asyncio.timeout(SECONDS):
            while seen != len(app.seen) or not seen:
                seen = len(app.seen)
                await asyncio.sleep(0.2)
        (connection,) = served.connections
        assert seen < 3000
        assert connection.transport.get_write_buffer_size() < 2 * 1024 * 1024
        async with asyncio.timeout(SECONDS):
            for _ in range(3000):
                assert (await peer.answer())[0] == 200


async def test_a_client_that_reads_nothing_any_more_is_cut_off() -> None:
    backend = Endless()
    async with endless(backend) as (app, served), client(served, receive_bytes=4096) as peer:
        peer.say(post(STREAMED))
        await backend.stalls()
        (connection,) = served.connections
        now = asyncio.get_running_loop().time()
        connection.expire_unread(now, 300)
        connection.expire_unread(now + 299, 300)
        assert app.roster.entries["openai"].in_flight == 1
        connection.expire_unread(now + 301, 300)
        await eventually(lambda: app.roster.entries["openai"].in_flight == 0 and not served.connections)


async def test_a_client_that_reads_slowly_is_not_cut_off() -> None:
    backend = Endless()
    async with endless(backend) as (_, served), client(served, receive_bytes=4096) as peer:
        peer.say(post(STREAMED))
        await backend.stalls()
        (connection,) = served.connections
        now = asyncio.get_running_loop().time()
        connection.expire_unread(now, 300)
        async with asyncio.timeout(SECONDS):
            said = backend.said_bytes
            while backend.said_bytes < said + 1_000_000:
                assert await peer.reader.read(1 << 20)
        await backend.stalls()
        connection.expire_unread(now + 301, 300)
        assert not connection.transport.is_closing()


async def test_a_client_that_leaves_frees_the_backend_at_once() -> None:
    backend = Endless()
    async with endless(backend) as (app, served):
        async with client(served) as peer:
            peer.say(post(STREAMED))
            async with asyncio.timeout(SECONDS):
                await peer.reader.readuntil(b"padding")
        async with asyncio.timeout(SECONDS):
            await backend.closed.wait()
        await eventually(lambda: app.roster.entries["openai"].in_flight == 0 and not served.state.tasks)


async def test_a_client_that_leaves_before_the_answer_is_noticed() -> None:
    gone = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.gone()
        gone.set()

    played = Played("openai", silent)
    async with application(played) as app, fast(app) as served:
        async with client(served) as peer:
            peer.say(post())
            await eventually(lambda: bool(played.seen))
        async with asyncio.timeout(SECONDS):
            await gone.wait()
        await eventually(lambda: app.roster.entries["openai"].in_flight == 0)


async def test_a_pipelined_request_of_a_client_that_has_left_is_never_run() -> None:
    app = Trivial()
    app.go.clear()
    async with fast(app) as served:
        async with client(served) as peer:
            peer.say(post(b"1", path=b"/hot") + post(b"2", path=b"/hot"))
            await eventually(lambda: len(app.seen) == 1)
        for connection in served.connections:
            connection.transport.abort()
        await eventually(lambda: not served.connections)
        assert app.lanes[0].gone
        app.go.set()
        await eventually(lambda: not served.state.tasks)
    assert len(app.seen) == 1


async def test_an_answer_ends_when_the_server_shuts_down() -> None:
    """What is on its way ends, and the connection with it."""
    held = asyncio.Event()

    async def slow(peer: Peer) -> None:
        whole = stream(b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n")
        await peer.say(whole[:100])
        await held.wait()
        await peer.say(whole[100:])

    async with application(Played("openai", slow)) as app, fast(app) as served, client(served) as peer:
        peer.say(post(STREAMED))
        await eventually(lambda: app.roster.entries["openai"].in_flight == 1)
        for connection in served.connections:
            connection.shutdown()
        held.set()
        assert (await peer.rest()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_limits_are_those_of_the_configuration() -> None:
    async with (
        application(Played("openai", WHOLE), limits=Limits(max_body_bytes=10)) as app,
        fast(app) as served,
        client(served) as peer,
    ):
        peer.say(post())
        status, body = await peer.answer()
    assert (status, json.loads(body)["error"]["code"]) == (413, "payload_too_large")
