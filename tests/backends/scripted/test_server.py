"""Each play and fault over a real socket, byte for byte."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from arriero.backends.scripted.desk import Desk
from arriero.backends.scripted.reply import Reply
from arriero.backends.scripted.script import Delay, Fault, Form, Model, Play, Rule, Script, When
from arriero.backends.scripted.server import FILLER_BYTES, ScriptedServer

SECONDS = 5.0
VERSION = b"GET /api/version HTTP/1.1\r\nhost: x\r\n\r\n"
NUMBER = b'{"version":"0.12.3"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nserver: scripted\r\ncontent-type: application/json; charset=utf-8\r\n"
    b"content-length: 20\r\n\r\n" + NUMBER
)
SLOW_CHAT = (Rule(Play(delay_ms=Delay(piece=10_000)), When(path="/api/chat")),)


def playing(play: Play) -> Script:
    return Script(rules=(Rule(play),))


@asynccontextmanager
async def serving(script: Script | None = None) -> AsyncIterator[ScriptedServer]:
    async with asyncio.timeout(SECONDS):
        async with ScriptedServer(script) as server:
            yield server
        assert server.peers == set()


async def dial(server: ScriptedServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(server: ScriptedServer, request: bytes) -> bytes:
    """Everything that comes until the server closes; for a server that does not, the request asks it to."""
    reader, writer = await dial(server)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


def post(path: str, body: object, *fields: str) -> bytes:
    data = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(data)}", *fields, "", ""]
    return "\r\n".join(head).encode() + data


CHAT = post(
    "/v1/chat/completions",
    {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
    "connection: close",
)
TAGS = b"GET /api/tags HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def closed(answer: bytes) -> bytes:
    """The same answer with `connection: close` at the end of its head."""
    return answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)


# ---- a correct server ----------------------------------------------------------------------------------------------


async def test_several_requests_on_one_connection() -> None:
    async with serving() as server:
        reader, writer = await dial(server)
        for _ in range(2):
            writer.write(VERSION)
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.write(VERSION + VERSION)  # pipelined
        assert await reader.readexactly(2 * len(ANSWER)) == ANSWER + ANSWER
        writer.write(VERSION.replace(b"host", b"connection: close\r\nhost"))
        assert await reader.read() == closed(ANSWER)
        writer.close()
        assert (server.connections, len(server.requests)) == (1, 5)


async def test_what_was_received_is_kept() -> None:
    async with serving() as server:
        await exchange(server, post("/api/show?a=1", {"model": "scripted"}, "X-Team: lab", "Connection: close"))
        head = b"DELETE /api/delete HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        await exchange(server, head + b"3\r\n{} \r\n0\r\n\r\n")
        first, second = server.requests
        assert (first.method, first.path, first.body) == ("POST", "/api/show?a=1", b'{"model": "scripted"}')
        assert first.headers == {"host": "x", "content-length": "21", "x-team": "lab", "connection": "close"}
        assert (second.method, second.body) == ("DELETE", b"{} ")
        assert [(received.done, received.gone) for received in server.requests] == [(True, False)] * 2
        assert repr(second) == "<Received DELETE /api/delete 3 bytes>"


async def test_head_and_expect() -> None:
    async with serving() as server:
        head = await exchange(server, b"HEAD /api/version HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert head == closed(ANSWER).removesuffix(NUMBER)
        answer = await exchange(server, post("/api/delete", {}, "expect: 100-continue", "connection: close"))
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 405 Method Not Allowed\r\n")
        assert b"\r\nallow: DELETE\r\n" in answer
        bad = await exchange(server, b"this is not HTTP\r\n\r\n")
        assert bad == b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def ask(address: str, method: str, path: str, body: str | None) -> tuple[int, str | None, bytes]:
    """By a client of somebody else's making."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type"), answer.read()
    finally:
        connection.close()


async def test_an_ordinary_client_reads_it() -> None:
    async with serving(playing(Play(say="Hi there"))) as server:
        body = '{"model": "scripted", "messages": [{}]}'
        status, kind, answer = await asyncio.to_thread(ask, server.address, "POST", "/api/chat", body)
        assert (status, kind) == (200, "application/x-ndjson")
        frames = [json.loads(line) for line in answer.splitlines()]
        assert [frame["message"]["content"] for frame in frames] == ["Hi", " there", ""]
        status, kind, answer = await asyncio.to_thread(ask, server.address, "POST", "/v1/chat/completions", body)
        assert (status, kind) == (200, "application/json")
        assert json.loads(answer)["choices"][0]["message"]["content"] == "Hi there"


async def test_a_unix_socket(tmp_path: Path) -> None:
    server = ScriptedServer()
    assert await server.start(socket_path=tmp_path / "s") == f"unix://{tmp_path}/s"
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(VERSION)
    assert await reader.readexactly(len(ANSWER)) == ANSWER
    await server.close()
    assert await reader.read() == b""
    writer.close()
    assert not (tmp_path / "s").exists()


async def test_many_streams_at_once() -> None:
    async with serving(playing(Play(say="one two three", delay_ms=Delay(piece=10)))) as server:
        answers = await asyncio.gather(*(exchange(server, CHAT) for _ in range(200)))
        assert [answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for answer in answers] == [True] * 200
        assert (server.seen.requests, server.seen.in_flight, server.seen.gone) == (200, 0, 0)


async def test_a_port_can_be_had_again_at_once() -> None:
    async with serving() as server:
        reader, writer = await dial(server)
        port = int(server.address.rpartition(":")[2])
        await server.close()
        assert await server.start(port=port) == f"http://127.0.0.1:{port}"
        assert await exchange(server, VERSION.replace(b"host", b"connection: close\r\nhost")) == closed(ANSWER)
        assert await reader.read() == b""
        writer.close()


async def test_the_last_requests_are_kept() -> None:
    async with asyncio.timeout(SECONDS), ScriptedServer(kept=2) as server:
        for number in range(3):
            await exchange(server, b"GET /%d HTTP/1.1\r\nconnection: close\r\n\r\n" % number)
        assert [received.path for received in server.requests] == ["/1", "/2"]
        assert (server.seen.requests, server.seen.paths) == (3, {"/0": 1, "/1": 1, "/2": 1})


async def test_a_model_is_in_use_until_its_answer_ends_or_its_reader_leaves() -> None:
    async with serving(Script(models=(Model(name="scripted", load_ms=30),), rules=SLOW_CHAT)) as server:
        reader, writer = await dial(server)
        writer.write(post("/api/chat", {"model": "scripted", "messages": [{}], "keep_alive": 0}))
        assert server.desk.memory.loaded() == ()
        await reader.readuntil(b"\r\n\r\n")
        assert [key for key, _ in server.desk.memory.loaded()] == ["scripted:latest"]
        writer.transport.abort()
        async with asyncio.timeout(SECONDS):
            while server.desk.memory.loaded():  # noqa: ASYNC110 - nobody sets an event for it
                await asyncio.sleep(0.002)
        assert (server.seen.in_flight, server.seen.gone) == (0, 1)


# ---- plays ---------------------------------------------------------------------------------------------------------


async def test_status_headers_and_body() -> None:
    play = Play(status=429, headers={"Retry-After": "7"}, body={"error": "slow down"})
    async with serving(playing(play)) as server:
        assert await exchange(server, TAGS) == (
            b"HTTP/1.1 429 Too Many Requests\r\nserver: scripted\r\ncontent-type: application/json\r\n"
            b"content-length: 21\r\nconnection: close\r\nretry-after: 7\r\n\r\n"
            b'{"error":"slow down"}'
        )


@pytest.mark.parametrize(
    ("framing", "field", "end"),
    [
        (None, b"transfer-encoding: chunked", b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"),
        ("chunked", b"transfer-encoding: chunked", b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"),
        ("length", b"content-length: 550", b"}\n\ndata: [DONE]\n\n"),
        ("close", b"connection: close", b"}\n\ndata: [DONE]\n\n"),
    ],
)
async def test_framing(framing: Literal["chunked", "length", "close"] | None, field: bytes, end: bytes) -> None:
    async with serving(playing(Play(say="Hi", form=Form(framing=framing)))) as server:
        head, _, answer = (await exchange(server, CHAT)).partition(b"\r\n\r\n")
        assert head == (
            b"HTTP/1.1 200 OK\r\nserver: scripted\r\ncontent-type: text/event-stream\r\n"
            + (b"connection: close" if framing == "close" else field + b"\r\nconnection: close")
        )
        assert answer.endswith(end)


async def test_exact_bytes() -> None:
    recording = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xffx and more"
    async with serving(playing(Play(exact=recording))) as server:
        assert await exchange(server, VERSION) == recording


async def test_delays() -> None:
    loop = asyncio.get_running_loop()
    async with serving(playing(Play(say="a b", delay_ms=Delay(60, 30)))) as server:
        reader, writer = await dial(server)
        at = loop.time()
        writer.write(CHAT)
        await reader.readuntil(b"\r\n\r\n")
        assert loop.time() - at >= 0.055
        # Four pieces after the first, and the end of the chunks.
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        assert loop.time() - at >= 0.055 + 4 * 0.025
        writer.close()


async def test_rules_count_their_calls() -> None:
    rules = (Rule(Play(status=503), When(call=1)), Rule(Play(fault="refuse"), When(call=1)))
    async with serving(Script(rules=rules)) as server:
        answers = [await exchange(server, TAGS) for _ in range(3)]
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 503", b"", b"HTTP/1.1 200"]


# ---- faults --------------------------------------------------------------------------------------------------------

LONG = Play(say="one two three four five six")


def is_cut(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 OK\r\n") and b'"one"' in answer and not answer.endswith(b"0\r\n\r\n")


FAULTS: dict[Fault, Callable[[bytes], bool]] = {
    "refuse": lambda answer: answer == b"",
    "garbage": lambda answer: answer == b"\x00\x01\x02 this is not HTTP\r\n\r\n",
    "cut_head": lambda answer: answer.startswith(b"HTTP/1.1 200 OK\r\nserver: ") and b"\r\n\r\n" not in answer,
    "huge_head": lambda answer: b"\r\nx-filler: " + b"x" * FILLER_BYTES in answer and answer.endswith(b"0\r\n\r\n"),
    "empty": lambda answer: answer.endswith(b"\r\n\r\n0\r\n\r\n"),
    "cut_stream": is_cut,
    "garbage_stream": lambda answer: b'data: {"this is": not JSON\n\n' in answer and answer.endswith(b"0\r\n\r\n"),
    "half_json": lambda answer: answer.endswith(b"\r\n0\r\n\r\n") and not answer.endswith(b"\n\n\r\n0\r\n\r\n"),
    "bad_chunk": lambda answer: b'"one"' in answer and answer.endswith(b"zz\r\n{}\r\n"),
    "slow": lambda answer: answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"0\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_that_end(fault: Fault) -> None:
    async with serving(
        playing(Play(say=("one two", "three"), fault=fault) if fault == "slow" else _with(fault))
    ) as server:
        answer = await exchange(server, CHAT)
        assert FAULTS[fault](answer)


def _with(fault: Fault) -> Play:
    return Play(say=LONG.say, fault=fault)


@pytest.mark.parametrize(
    ("fault", "declared", "sent"),
    [("wrong_length", 120, NUMBER), ("short_length", 10, NUMBER), ("cut_stream", 20, NUMBER[:10])],
)
async def test_faults_of_the_length(fault: Fault, declared: int, sent: bytes) -> None:
    async with serving(playing(_with(fault))) as server:
        head, _, body = (await exchange(server, VERSION)).partition(b"\r\n\r\n")
        assert b"content-length: %d" % declared in head
        assert body == sent


@pytest.mark.parametrize(("fault", "begun"), [("reset", False), ("reset_stream", True)])
async def test_faults_that_reset(fault: Fault, begun: bool) -> None:
    async with serving(playing(_with(fault))) as server:
        reader, writer = await dial(server)
        writer.write(CHAT)
        got = b""
        with pytest.raises(ConnectionResetError):
            while data := await reader.read(65536):
                got += data
        assert (b'"one"' in got) is begun
        writer.close()


@pytest.mark.parametrize(("fault", "begun"), [("hang", False), ("hang_stream", True)])
async def test_faults_that_hang_until_the_client_leaves(fault: Fault, begun: bool) -> None:
    async with serving(playing(_with(fault))) as server:
        reader, writer = await dial(server)
        writer.write(CHAT)
        if begun:
            assert b'"one"' in await reader.readuntil(b'"one"')
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
        writer.transport.abort()
        async with asyncio.timeout(SECONDS):
            while not server.requests[0].gone:  # noqa: ASYNC110 - nobody sets an event for it
                await asyncio.sleep(0.002)
        assert not server.requests[0].done


async def test_a_server_that_closes_cuts_what_hangs() -> None:
    async with serving(playing(_with("hang_stream"))) as server:
        reader, writer = await dial(server)
        writer.write(CHAT)
        await reader.readuntil(b"\r\n\r\n")
        await server.close()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1_000_000)
        writer.close()
        assert server.peers == set()


async def test_connections_are_refused_after_it_stopped_listening() -> None:
    async with serving() as server:
        reader, writer = await dial(server)
        writer.write(VERSION)
        await reader.readexactly(len(ANSWER))
        await server.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            await dial(server)
        writer.write(VERSION)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.close()


class BrokenDesk(Desk):
    """A desk with a fault of its own."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Play, Reply]:
        raise LookupError("no pen")


async def test_a_fault_of_its_own_is_told_and_cuts_the_connection() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(str(context["exception"])))
    async with serving() as server:
        server.desk = BrokenDesk(Script())
        with contextlib.suppress(ConnectionResetError):
            assert await exchange(server, VERSION) == b""
        assert told == ["no pen"]
