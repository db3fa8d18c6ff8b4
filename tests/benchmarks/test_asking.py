"""The client that judges answers: each way to end has its verdict, and nothing passes for whole that is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.asking import Connection, Got, Question, Verdict, verdict

CHAT = Question("/api/chat", "m", stream=True, text="Hi you")
GENERATE = Question("/api/generate", "m", stream=True, text="Hi you")
OPENAI = Question("/v1/chat/completions", "m", stream=True, text="Hi you")
WHOLE = Question("/api/chat", "m", text="Hi you")
WHOLE_OPENAI = Question("/v1/chat/completions", "m", text="Hi you")
EMBED = Question("/api/embed", "m", inputs=2)
EMBEDDINGS = Question("/v1/embeddings", "m", inputs=2)


def said(text: str, *, done: bool = False) -> bytes:
    return json.dumps({"message": {"content": text}, "done": done}).encode() + b"\n"


def written(text: str, *, done: bool = False) -> bytes:
    return json.dumps({"response": text, "done": done}).encode() + b"\n"


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
VECTORS = [[0.1], [0.2]]


@pytest.mark.parametrize(
    ("question", "body"),
    [
        (CHAT, said("Hi ") + said("you") + said("", done=True)),
        (GENERATE, written("Hi ") + written("you", done=True)),
        (OPENAI, chunk("Hi ") + chunk("you", "stop") + DONE),
        (WHOLE, said("Hi you", done=True)),
        (WHOLE_OPENAI, b'{"choices":[{"message":{"content":"Hi you"},"finish_reason":"stop"}]}'),
        (EMBED, json.dumps({"embeddings": VECTORS}).encode()),
        (EMBEDDINGS, json.dumps({"data": VECTORS}).encode()),
    ],
)
def test_what_is_whole_is_complete_and_no_part_of_it_is(question: Question, body: bytes) -> None:
    assert verdict(question, Got(200, body=body)) is Verdict.COMPLETE
    parts = {verdict(question, Got(200, body=body[:end])) for end in range(len(body.rstrip()))}
    assert parts == {Verdict.SILENT}
    assert verdict(question, Got(200, body=body, cut=True)) is Verdict.TOLD


@pytest.mark.parametrize(
    ("question", "body", "found"),
    [
        (CHAT, said("Hi ") + b'{"error":"it died"}\n', Verdict.TOLD),
        (OPENAI, chunk("Hi ") + b'data: {"error":{"message":"it died"}}\n\n', Verdict.TOLD),
        (CHAT, said("Hi ") + said("", done=True), Verdict.SILENT),  # words are missing
        (CHAT, said("Hi ") + said("Hi ") + said("you", done=True), Verdict.SILENT),  # words came twice
        (OPENAI, chunk("Hi ") + chunk("you", "stop"), Verdict.SILENT),
        (OPENAI, chunk("Hi ") + chunk("you") + DONE, Verdict.SILENT),
        (EMBED, b'{"embeddings":[[0.1]]}', Verdict.SILENT),
        (WHOLE, b"[]", Verdict.SILENT),
    ],
)
def test_what_is_not_whole(question: Question, body: bytes, found: Verdict) -> None:
    assert verdict(question, Got(200, body=body)) is found


def test_what_never_began_and_what_never_ended() -> None:
    assert verdict(CHAT, Got(502, body=b'{"error":"no"}')) is Verdict.FAILED
    assert verdict(CHAT, Got(cut=True)) is Verdict.FAILED
    assert verdict(CHAT, Got(200, cut=True)) is Verdict.FAILED
    assert verdict(CHAT, Got(200, body=said("Hi "), hung=True)) is Verdict.HUNG


def test_what_is_asked() -> None:
    message = {"role": "user", "content": "Why is the sky blue?"}
    assert json.loads(CHAT.body) == {"model": "m", "messages": [message], "stream": True}
    assert json.loads(GENERATE.body) == {"model": "m", "prompt": "Why is the sky blue?", "stream": True}
    assert json.loads(WHOLE_OPENAI.body) == {"model": "m", "messages": [message], "stream": False}
    assert json.loads(EMBED.body) == {"model": "m", "input": ["Why is the sky blue?"] * 2}


@asynccontextmanager
async def answering(*answers: bytes, closes: bool = False) -> AsyncIterator[Connection]:
    """A server on loopback that gives these answers in turn, and a connection to it."""
    waiting, ended = list(answers), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(size)
            writer.write(waiting.pop(0))
        if not closes:
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = Connection(server.sockets[0].getsockname()[1], silence_seconds=0.2)
    try:
        yield connection
    finally:
        connection.close()
        server.close()
        if answers:
            await ended.wait()


async def test_answers_come_one_after_the_other_on_one_connection() -> None:
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Arriero-Attempts: 2\r\n\r\n{}"
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with answering(plain, chunked, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n") as connection:
        first = await connection.ask("POST", "/api/chat", b"{}")
        assert (first.status, first.body, first.attempts, first.cut) == (200, b"{}", 2, False)
        second = await connection.ask("POST", "/api/chat", b"{}")
        assert (second.status, second.body, second.attempts) == (200, b"abcde", 0)
        assert await connection.get("/none") is None


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
    ],
)
async def test_a_cut_answer_and_one_that_stops(answer: bytes, body: bytes) -> None:
    async with answering(answer, closes=True) as connection:
        cut = await connection.ask("GET", "/")
        assert (cut.cut, cut.hung, cut.body) == (True, False, body)
    async with answering(answer) as connection:
        hung = await connection.ask("GET", "/")
        assert (hung.cut, hung.hung, hung.body) == (False, True, body)


async def test_nobody_listens() -> None:
    async with answering() as connection:
        pass
    assert (await connection.ask("GET", "/")).cut
