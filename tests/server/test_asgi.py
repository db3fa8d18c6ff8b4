"""The ASGI lane alone: what is sent, when the exchange is told to pause, and how an end is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from arriero.errors import ClientGone, PayloadTooLarge
from arriero.gateway.lane import reply
from arriero.server.asgi import HIGH_WATER, AsgiLane, Cut, Message, Upload
from support.gateway import Played
from support.raw_backend import Peer
from support.serving import SECONDS, application

PIECE = b'data: {"choices":[],"padding":"' + b"x" * 65_000 + b'"}\n\n'


class Sink:
    """A server's `send` that can be held."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, message: Message) -> None:
        await self.open.wait()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def start(status: int, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_a_reply_is_a_start_a_body_and_an_end() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=False, extra=((b"vary", b"Origin"),))
    reply(lane, 200, ((b"content-type", b"text/plain"),), b"hello")
    await lane.run()
    assert sink.sent == [
        start(200, (b"content-type", b"text/plain"), (b"vary", b"Origin"), (b"content-length", b"5")),
        piece(b"hello", more=True),
        piece(b"", more=False),
    ]


async def test_a_head_request_gets_the_head_alone() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=True, extra=())
    reply(lane, 200, (), b"hello")
    await lane.run()
    assert sink.sent == [start(200, (b"content-length", b"5")), piece(b"", more=False)]


async def test_pieces_are_sent_as_they_are_written() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=False, extra=())
    writing = asyncio.create_task(lane.run())
    lane.start(200, ())
    for word in (b"a", b"b"):
        lane.write(word)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sink.sent[-1] == piece(word, more=True)
    lane.finish()
    async with asyncio.timeout(SECONDS):
        await writing


async def test_a_slow_server_pauses_the_exchange_until_it_has_caught_up() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=False, extra=())
    told: list[str] = []
    lane.on_pause, lane.on_resume = lambda: told.append("pause"), lambda: told.append("resume")
    sink.open.clear()
    writing = asyncio.create_task(lane.run())
    lane.start(200, ())
    for _ in range(HIGH_WATER // 1024):
        lane.write(b"x" * 1024)
    assert told == []
    lane.write(b"x")
    lane.write(b"x")
    assert told == ["pause"]
    sink.open.set()
    lane.finish()
    async with asyncio.timeout(SECONDS):
        await writing
    assert told == ["pause", "resume"]
    assert len(sink.body) == HIGH_WATER + 2


async def test_an_aborted_answer_raises() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=False, extra=())
    lane.start(200, ())
    lane.write(b"half")
    lane.abort()
    with pytest.raises(Cut):
        await lane.run()
    assert sink.body == b"half"
    assert all(message.get("more_body", True) for message in sink.sent), "no end is told"


async def test_a_lost_client_is_told_once_and_gets_nothing_more() -> None:
    sink = Sink()
    lane = AsgiLane(sink, head_only=False, extra=())
    told: list[str] = []
    lane.on_gone = lambda: told.append("gone")
    lane.start(200, ())
    lane.write(b"a")
    lane.lost()
    lane.lost()
    lane.write(b"b")
    lane.finish()
    async with asyncio.timeout(SECONDS):
        await lane.run()
    assert (told, sink.sent) == (["gone"], [])


# ---- uploads -------------------------------------------------------------------------------------------------------


def upload(*messages: dict[str, Any]) -> Upload:
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    return Upload(receive)


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_an_upload_is_gathered() -> None:
    body = upload(part(b"a", more=True), part(b"", more=True), part(b"bc", more=False))
    assert await body.whole(3) == b"abc"
    assert (body.complete, body.lost) == (True, False)


async def test_an_upload_over_the_limit_is_refused_where_it_is_too_long() -> None:
    body = upload(part(b"ab", more=True), part(b"cd", more=True))
    with pytest.raises(PayloadTooLarge, match="3 bytes"):
        await body.whole(3)


async def test_an_upload_of_a_client_that_left_is_lost() -> None:
    body = upload(part(b"ab", more=True), {"type": "http.disconnect"})
    assert await body.whole(9) == b"ab"
    assert body.lost


async def test_an_upload_in_pieces() -> None:
    body = upload(part(b"a", more=True), part(b"b", more=False))
    pieces: AsyncIterator[bytes] = aiter(body)
    assert [one async for one in pieces] == [b"a", b"b"]


# ---- the lane under an application ---------------------------------------------------------------------------------


class Call:
    """One ASGI call of an application, with a client that can leave and a server that can be held."""

    def __init__(self, app: Any, body: bytes) -> None:
        self.sink = Sink()
        self.left = asyncio.Event()
        self._body: bytes | None = body
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": None,
        }
        self.task = asyncio.create_task(app(scope, self._receive, self.sink))

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return part(body, more=False)
        await self.left.wait()
        return {"type": "http.disconnect"}


CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}],"stream":true}'


async def test_a_server_that_is_held_holds_the_backend_and_a_client_that_leaves_frees_it() -> None:
    said = 0
    closed = asyncio.Event()

    async def endless(peer: Peer) -> None:
        nonlocal said
        try:
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await peer.say(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
                said += len(PIECE)
        finally:
            closed.set()

    async with application(Played("openai", endless)) as app:
        call = Call(app, CHAT)
        async with asyncio.timeout(SECONDS):
            while b"padding" not in call.sink.body:  # noqa: ASYNC110 - the sink is asked, it tells nobody
                await asyncio.sleep(0.01)
            call.sink.open.clear()
            before = -1
            while before != said:
                before = said
                assert said < 200 * 1024 * 1024, "nobody holds it back"
                await asyncio.sleep(0.25)
            call.sink.open.set()
            while said < before + 1_000_000:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            call.left.set()
            await closed.wait()
            await call.task
        assert app.roster.entries["openai"].in_flight == 0


async def test_a_handed_on_upload_of_a_client_that_left_is_no_whole_one() -> None:
    body = upload(part(b"ab", more=True), {"type": "http.disconnect"})
    pieces = []
    with pytest.raises(ClientGone):
        async for piece in body:
            pieces.append(piece)
    assert (pieces, body.lost, body.read.is_set()) == ([b"ab"], True, True)
