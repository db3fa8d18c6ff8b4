"""Whole exchanges with backends whose answers are none: a web page, a redirect, bytes that are compressed."""

import gzip
import json

import pytest

from arriero.gateway.entry import Seat
from support.gateway import Played, gateway, http, stream

CHAT = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]}
BODY = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
PIECES = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
PAGE = http(b"<html><h1>Log in</h1></html>", type="text/html")
ELSEWHERE = http(b"", status="301 Moved Permanently", extra="location: https://api.example/v2\r\n")
ZIPPED = http(gzip.compress(BODY), extra="content-encoding: gzip\r\n")
ZIPPED_STREAM = http(gzip.compress(b"".join(PIECES)), type="text/event-stream", extra="content-encoding: gzip\r\n")
TOLD = {
    PAGE: "the backend answers with a web page (Log in): look at its url",
    ELSEWHERE: "the backend sends its clients elsewhere (HTTP 301 to https://api.example/v2): look at its url",
    ZIPPED: "the backend compresses its answer (gzip) though it was asked not to: look at what stands before it",
}
DOORS = ("/v1/chat/completions", "/api/chat")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("answer", [PAGE, ELSEWHERE])
async def test_another_backend_is_asked(answer: bytes, path: str, streamed: bool) -> None:
    """Whatever was asked for: nothing was said to the client."""
    bad = Played("openai", answer, name="bad")
    good = Played("openai", stream(*PIECES) if streamed else http(BODY), name="good")
    seats = [Seat(priority=9, check_interval=0), Seat(priority=8, check_interval=0)]
    async with gateway(bad, good, seats=seats) as gate:
        lane = await gate.ask(path, {**CHAT, "stream": streamed})
    assert (lane.status, lane.field(b"x-arriero-backend"), b"Hello" in lane.body) == (200, b"good", True)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("answer", [PAGE, ELSEWHERE])
async def test_without_another_the_client_is_told_what_it_is(answer: bytes, path: str, streamed: bool) -> None:
    async with gateway(Played("openai", answer, name="bad")) as gate:
        lane = await gate.ask(path, {**CHAT, "stream": streamed})
    error = json.loads(lane.body)["error"]
    assert (lane.status, error["message"] if isinstance(error, dict) else error) == (502, TOLD[answer])


@pytest.mark.parametrize(("answer", "streamed"), [(ZIPPED, False), (ZIPPED_STREAM, True)])
async def test_what_is_compressed_cannot_be_translated(answer: bytes, streamed: bool) -> None:
    async with gateway(Played("openai", answer, name="bad")) as gate:
        lane = await gate.ask("/api/chat", {**CHAT, "stream": streamed})
    assert (lane.status, json.loads(lane.body)["error"]) == (502, TOLD[ZIPPED])


@pytest.mark.parametrize(("answer", "streamed"), [(ZIPPED, False), (ZIPPED_STREAM, True)])
@pytest.mark.parametrize("typed", ["gpt-x", "bad/gpt-x"])
async def test_what_is_compressed_is_passed_on_whole_to_who_can_read_it(
    answer: bytes, streamed: bool, typed: str
) -> None:
    async with gateway(Played("openai", answer, name="bad")) as gate:
        lane = await gate.ask("/v1/chat/completions", {**CHAT, "model": typed, "stream": streamed})
    assert (lane.status, lane.field(b"content-encoding"), lane.end) == (200, b"gzip", "finish")
    assert gzip.decompress(lane.body) == (b"".join(PIECES) if streamed else BODY)
