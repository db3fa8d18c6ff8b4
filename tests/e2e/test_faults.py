"""Backends that are away, slow, lying or dying, each under the name of a model, behind one running program.

Whatever a backend does, the client gets an error in its own dialect, in time, and the program goes on: at the end it
holds no more sockets than at the start.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from support.gateway import Answer, Played, http, stream
from support.program import Program, free_port, program
from support.raw_backend import Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 20.0
HI = [{"role": "user", "content": "hi"}]


def sse(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


WORDS = (sse(role="assistant", content=""), sse(content="Hel"), sse(content="lo"))


async def silent(peer: Peer) -> None:
    await peer.gone()


async def stalled(peer: Peer) -> None:
    await peer.say(stream(*WORDS, end=False))
    await peer.gone()


async def short(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n" + b'{"id":')


BEFORE: dict[str, tuple[Answer, int]] = {
    "silent": (silent, 504),
    "short": (short, 502),
    "html": (http(b"<html><h1>It works!</h1></html>", type="text/html"), 502),
    "half-json": (http(b'{"choices":[{"mess'), 502),
    "other-json": (http(b"[1,2,3]"), 502),
    "deep-json": (http(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), 502),
    "empty": (http(b""), 502),
    "no-content": (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 502),
    "redirect": (http(b"", status="302 Found", extra="location: http://169.254.169.254/\r\n"), 502),
    "not-http": (b"SSH-2.0-OpenSSH_9.9\r\n", 502),
    "bad-chunk": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        502,
    ),
    "two-lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n{}{}{", 502),
    "huge-head": (b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"y" * 1_000_000, 502),
    "odd-status": (http(b"{}", status="799 Odd"), 502),
    "key": (http(b'{"error":{"message":"bad key sk-secret"}}', status="401 Unauthorized"), 502),
    "busy": (http(b'{"error":{"message":"slow down"}}', status="429 X", extra="retry-after: 0\r\n"), 429),
    "broken": (http(b"stack trace", status="500 X", type="text/plain"), 500),
}
"""Model -> what its backend answers a chat with, and the status a client sees."""

WITHIN: dict[str, Answer] = {
    "dying": stream(*WORDS, end=False),
    "stalled": stalled,
    "error-in-stream": stream(*WORDS, b'data: {"error":{"message":"the GPU is on fire","code":500}}\n\n'),
}
"""Model -> a stream that begins well."""


class Fleet(NamedTuple):
    """The program, and the sockets it holds when nothing goes on."""

    program: Program
    sockets: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    answers = {**{name: answer for name, (answer, _) in BEFORE.items()}, **WITHIN, "well": stream(*WORDS, DONE)}
    async with AsyncExitStack() as stack:
        backends: list[dict[str, Any]] = [
            {
                "name": "away",
                "kind": "openai",
                "url": f"http://127.0.0.1:{free_port()}/v1",
                "extra_models": ["away"],
                "check_interval": 0,
            }
        ]
        for name, answer in answers.items():
            listed = json.dumps({"object": "list", "data": [{"id": name}]}).encode()
            played = Played("openai", answer, name=name, models=listed)
            raw = await stack.enter_async_context(played.raw)
            backends.append({"name": name, "kind": "openai", "url": f"{raw.url}/v1", "check_interval": 0})
        timeouts = {"first_byte": 0.5, "idle": 0.5, "connect": 1}
        # The fixture's loop plays the backends while the program starts.
        running = await asyncio.to_thread(
            stack.enter_context, program(tmp_path_factory.mktemp("faults"), backends, timeouts=timeouts)
        )
        try:
            yield Fleet(running, running.sockets())
        finally:
            await asyncio.to_thread(running.process.terminate)
            await asyncio.to_thread(running.process.wait, 10)


DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def ask(fleet: Fleet, path: str, model: str, *, streamed: bool) -> tuple[int, dict[str, str], bytes]:
    body = {"model": model, "messages": HI, "stream": streamed}
    async with asyncio.timeout(SECONDS):
        return await asyncio.to_thread(fleet.program.ask, "POST", path, body)


def message(path: str, body: bytes) -> str:
    """The words of an error in the dialect of the path."""
    error = json.loads(body)["error"]
    words: str = error["message"] if path.startswith("/v1/") else error
    return words


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", BEFORE)
async def test_a_fault_before_the_first_word_is_an_error_with_its_status(
    fleet: Fleet, model: str, streamed: bool
) -> None:
    path = "/api/chat"
    status, headers, body = await ask(fleet, path, model, streamed=streamed)
    assert (status, headers["content-type"].partition(";")[0]) == (BEFORE[model][1], "application/json"), body
    words = message(path, body)
    assert words and "sk-secret" not in words and "Traceback" not in words
    assert headers["x-arriero-backend"] == model


@pytest.mark.parametrize("model", ["silent", "not-http", "two-lengths", "huge-head", "key", "busy", "broken"])
async def test_an_openai_client_is_told_the_same(fleet: Fleet, model: str) -> None:
    path = "/v1/chat/completions"
    status, _, body = await ask(fleet, path, model, streamed=False)
    assert status == BEFORE[model][1]
    assert "sk-secret" not in message(path, body)


async def test_a_relayed_answer_that_is_not_whole_is_an_error(fleet: Fleet) -> None:
    """Half of a whole answer is of no use: another backend would be asked, if there was one."""
    status, _, body = await ask(fleet, "/v1/chat/completions", "short", streamed=False)
    assert (status, message("/v1/", body)) == (502, "short closed the connection in the middle of its answer")


async def test_a_backend_that_is_away(fleet: Fleet) -> None:
    for path in ("/api/chat", "/v1/chat/completions"):
        status, _, body = await ask(fleet, path, "away", streamed=True)
        assert status in (502, 503), body
        assert "connection refused" in message(path, body)


@pytest.mark.parametrize("model", WITHIN)
async def test_a_fault_in_mid_stream_is_the_last_line(fleet: Fleet, model: str) -> None:
    status, _, body = await ask(fleet, "/api/chat", model, streamed=True)
    *words, last = [json.loads(line) for line in body.splitlines()]
    assert (status, "".join(word["message"]["content"] for word in words)) == (200, "Hello")
    assert next(iter(last)) == "error" and last["error"]
    assert not any(word["done"] for word in words)


@pytest.mark.parametrize("model", WITHIN)
async def test_a_fault_in_mid_stream_is_the_last_event(fleet: Fleet, model: str) -> None:
    status, _, body = await ask(fleet, "/v1/chat/completions", model, streamed=True)
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    assert status == 200
    assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events[:3]] == ["", "Hel", "lo"]
    assert json.loads(events[3])["error"]["message"]
    assert events[4:] in ([], [b"[DONE]"])


async def test_a_client_that_leaves_is_noticed_and_forgotten(fleet: Fleet) -> None:
    """In the middle of a stream, and before its first word."""
    for model in ("stalled", "silent"):
        reader, writer = await asyncio.open_connection("127.0.0.1", fleet.program.port)
        body = json.dumps({"model": model, "messages": HI}).encode()
        writer.write(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        if model == "stalled":
            async with asyncio.timeout(SECONDS):
                await reader.readuntil(b"Hel")
        writer.close()
        await writer.wait_closed()
    await eventually(lambda: fleet.program.log.count("the client closed the connection") == 2)


async def test_at_the_end_it_serves_and_nothing_is_left_open(fleet: Fleet) -> None:
    status, _, body = await ask(fleet, "/api/chat", "well", streamed=True)
    assert status == 200 and json.loads(body.splitlines()[-1])["done"] is True
    assert "a request met a fault of arriero" not in fleet.program.log
    # One connection to the backend that behaves may be kept for the next request.
    await eventually(lambda: fleet.program.sockets() <= fleet.sockets + 1)
    assert fleet.program.children() == []
