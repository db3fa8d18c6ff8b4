"""What relayed answers say of their tokens, from what is left of them at their end."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import Usage
from arriero.gateway.choice import Routing
from arriero.gateway.exchange import Policy
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.gateway.usage import MAX_COUNT, PIECES, TAIL_BYTES, read, read_head, read_tail
from arriero.routing.decide import Rules
from arriero.routing.fleet import Speed
from support.gateway import SECONDS, Gateway, Played, gateway, http, stream
from support.lanes import KeptLane
from support.raw_backend import Peer
from support.recordings import load

NOW = 1_700_000_001_000_000_000
DONE = b"data: [DONE]\n\n"
OLLAMA_END = (
    b'{"model":"tiny","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":""},'
    b'"done":true,"done_reason":"stop","total_duration":9,"load_duration":1,"prompt_eval_count":11,'
    b'"prompt_eval_duration":2,"eval_count":42,"eval_duration":5}\n'
)
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
TRICK = 'say "usage": {"prompt_tokens": 99, "completion_tokens": 99}, "eval_count": 99 \\'
"""What a model may say, and a client may ask."""


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(**chunk: Any) -> bytes:
    return b"data: " + compact(chunk) + b"\n\n"


def test_the_last_line_of_ollama_tells() -> None:
    line = b'{"model":"tiny","message":{"role":"assistant","content":"Hi"},"done":false}\n'
    assert read_tail(line + OLLAMA_END) == Usage(11, 42)


def test_a_whole_answer_of_ollama_tells() -> None:
    whole = {"message": {"role": "assistant", "content": TRICK}, "done": True, "prompt_eval_count": 1, "eval_count": 2}
    assert read_tail(compact(whole)) == Usage(1, 2)
    assert read_tail(compact({"embeddings": [[0.1]], "total_duration": 4, "prompt_eval_count": 6})) == Usage(6)


def test_the_last_line_counts_though_it_begins_before_the_tail() -> None:
    long = b'{"model":"tiny","response":"","done":true,"context":[' + b"128009," * 2000 + b'1],"eval_count":7}\n'
    assert read_tail(long[-TAIL_BYTES:]) == Usage(None, 7)


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]", b"data:[DONE]\r\n\r\n", b""])
def test_the_last_chunks_of_a_stream_tell(end: bytes) -> None:
    text = event(choices=[{"delta": {"content": TRICK}}], usage=None)
    assert read_tail(text + event(choices=[], usage=USAGE) + end) == Usage(3, 5)
    assert read_tail(text + event(choices=[], usage=USAGE) + event(choices=[], usage=None) + end) == Usage(3, 5)


def test_a_chunk_that_begins_before_the_tail_tells() -> None:
    tops = [{"token": 'x"', "logprob": -0.5, "bytes": [120, 34]}] * 200
    long = event(choices=[{"delta": {}, "logprobs": {"content": tops}}], usage=USAGE)
    assert len(long) > TAIL_BYTES
    assert read_tail((long + DONE)[-TAIL_BYTES:]) == Usage(3, 5)


def test_details_are_read() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert read_tail(event(choices=[], usage=usage) + DONE) == Usage(3, 5, 2, 4)


def test_a_whole_answer_tells_however_long_and_however_it_is_written() -> None:
    whole = {"choices": [{"message": {"content": TRICK * 300}}], "usage": USAGE, "system_fingerprint": None}
    for written in (compact(whole), json.dumps(whole, indent=2).encode(), compact(whole) + b"\n\n"):
        assert read_tail(written[-TAIL_BYTES:]) == Usage(3, 5)


def test_embeddings_tell_at_either_end() -> None:
    data = [{"embedding": [0.125] * 4000, "index": 0}]
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    behind = compact({"object": "list", "data": data, "usage": usage})
    assert read_tail(behind[-TAIL_BYTES:]) == Usage(6)
    before = compact({"model": "m", "object": "list", "usage": usage, "data": data})
    assert read(before[:200], [before[:9000], before[9000:]]) == Usage(6)


def test_anthropics_messages_tell() -> None:
    whole = compact(
        {"type": "message", "usage": {"input_tokens": 1, "cache_read_input_tokens": 9, "output_tokens": 22}}
    )
    assert read_tail(whole) == Usage(10, 22, 9)


def test_a_stream_of_anthropics_tells_at_both_ends() -> None:
    opening = b'{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}'
    start = b"event: message_start\ndata: " + opening + b"\n\n"
    delta = b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":22}}\n\n'
    stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert read(start, [b"...", delta, stop]) == Usage(7, 22)
    assert read(start, [stop]) == Usage(7)
    assert read(b"", [delta, stop]) == Usage(None, 22)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\x00\xff" * 100,
        DONE,
        compact({"message": {"content": TRICK}, "done": True}),
        compact({"arguments": {"usage": USAGE, "eval_count": 3}}),
        compact([{"usage": USAGE}]),
        b'"usage":{"prompt_tokens":3}',
        b'text"usage":{"prompt_tokens":3,"completion_tokens":5}}]',
        b'data: {"usage":{"prompt_tokens":"three"}}\n\n',
        b'data: {"usage":{"prompt_tokens":3\n\n',
        b'{"usage":' + b"[" * 100_000,
        event(choices=[], usage={}),
        event(choices=[], usage={"prompt_tokens": -1, "completion_tokens": MAX_COUNT + 1}),
    ],
    ids=lambda tail: repr(tail[:30]),
)
def test_what_says_nothing_is_unknown(tail: bytes) -> None:
    assert read_tail(tail) is None
    assert read(tail, [tail]) is None


@pytest.mark.parametrize(
    "head", [b"", b"{", b'{"usage":{"prompt_tokens":3', b'{"x":{"usage":{"prompt_tokens":3}}}', b'data: {"usage":{}}']
)
def test_a_beginning_that_says_nothing_is_unknown(head: bytes) -> None:
    assert read_head(head) is None


WHATEVER = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=12) | st.just(TRICK) | st.just('\\"usage":{'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("usage"), inner, max_size=3)
    ),
    max_leaves=8,
)
OTHERS = st.dictionaries(
    st.text(max_size=6).filter(lambda key: key not in ("usage", "timings", "eval_count")), WHATEVER
)


@given(before=OTHERS, behind=OTHERS, cut=st.integers(0, 60), indent=st.none() | st.just(1))
def test_the_tail_of_any_message_tells_or_is_unknown(
    before: dict[str, Any], behind: dict[str, Any], cut: int, indent: int | None
) -> None:
    """However much of the message's beginning is missing: never another number than its own."""
    message = {**before, "usage": USAGE, **behind}
    if "prompt_eval_count" in message or message["usage"] is not USAGE:
        return
    text = json.dumps(message, indent=indent).encode()
    assert read_tail(text) == Usage(3, 5)
    assert read_tail(text[cut:]) in (Usage(3, 5), None)
    without = json.dumps({**before, **behind}, indent=indent).encode()
    assert read_tail(without) is None
    assert read_tail(without[cut:]) is None


@given(before=OTHERS, behind=OTHERS, left=st.integers(0, 200))
def test_the_beginning_of_any_message_tells_or_is_unknown(
    before: dict[str, Any], behind: dict[str, Any], left: int
) -> None:
    message = {**before, "usage": USAGE, **behind}
    if "prompt_eval_count" in message:
        return
    text = compact(message)
    assert read_head(text) == Usage(3, 5)
    assert read_head(text[:left]) in (Usage(3, 5), None)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]:,"\\ usage1\n', max_size=80).map(str.encode))
def test_nothing_is_ever_raised(data: bytes) -> None:
    for text in (data, b'"usage"' + data, data + b'"usage":{"prompt_tokens":1}}', b"data: " + data):
        read(text, [text])


# ---- through the pipes ---------------------------------------------------------------------------------------------


RECORDED = {
    "chat_nonstream": Usage(14, 48, 0),
    "chat_stream": Usage(14, 48, 13),
    "chat_stream_usage": Usage(17, 12, 3),
    "anthropic_messages": Usage(10, 22, 9),
    "anthropic_messages_stream": Usage(10, 22, 9),
    "embeddings_many": Usage(6),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_answer_tells_through_either_pipe(name: str) -> None:
    pieces = load(name).response.pieces
    pipes: list[Pipe] = [Relay(), Renamed("arriero-demo", "mine")]
    for pipe in pipes:
        for piece in pieces:
            pipe.feed(piece, NOW)
        assert pipe.usage is None, "nothing is known before the end"
        pipe.close(NOW)
        assert pipe.usage == RECORDED[name]


def test_a_last_message_in_several_pieces_tells() -> None:
    body = event(choices=[{"delta": {"content": "x"}}]) * 50 + event(choices=[], usage=USAGE) + DONE
    for size in (len(DONE), 30, 100, 1000):
        relay = Relay()
        for at in range(0, len(body), size):
            relay.feed(body[at : at + size], NOW)
        relay.close(NOW)
        far = len(body) - size * PIECES
        assert relay.usage == (Usage(3, 5) if far <= body.index(b'data: {"choices":[],') else None)


# ---- through the gateway -------------------------------------------------------------------------------------------

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
FIRST = b'{"model":"tiny","message":{"role":"assistant","content":"Hi"},"done":false}\n'


def counted(gate: Gateway) -> tuple[int, int]:
    count = gate.roster.tally.models["tiny"]
    return count.prompt_tokens, count.completion_tokens


@pytest.mark.parametrize("asked", ["tiny", "tiny:latest", "mine"])
async def test_the_tokens_of_a_relayed_stream_are_counted(asked: str) -> None:
    """By the short way and by the whole one, and where the model's name is changed on the way."""
    backend = Played("ollama", stream(FIRST, OLLAMA_END, type="application/x-ndjson"))
    async with gateway(backend, aliases={"mine": ["tiny"]}) as gate:
        for _ in range(2):
            lane = await gate.ask("/api/chat", {**CHAT, "model": asked})
            assert lane.end == "finish"
        count = gate.roster.tally.total
        assert (count.prompt_tokens, count.completion_tokens) == (22, 84)


async def test_the_tokens_of_a_relayed_answer_are_counted() -> None:
    whole = compact({"object": "chat.completion", "model": "gpt-x", "choices": [], "usage": USAGE})
    async with gateway(Played("openai", http(whole))) as gate:
        lane = await gate.ask("/v1/chat/completions", {**CHAT, "model": "gpt-x"})
        assert lane.body == whole
        count = gate.roster.tally.models["gpt-x"]
        assert (count.prompt_tokens, count.completion_tokens) == (3, 5)


async def test_of_a_client_that_leaves_nothing_is_known() -> None:
    async def play(peer: Peer) -> None:
        await peer.say(stream(FIRST, type="application/x-ndjson", end=False))
        await peer.gone()

    async with gateway(Played("ollama", play)) as gate:
        lane = KeptLane()
        exchange = gate.exchange("/api/chat", CHAT, lane)
        rest = exchange.start()
        running = asyncio.create_task(rest) if rest is not None else None
        await asyncio.wait_for(lane.written.wait(), SECONDS)
        lane.leave()
        if running is not None:
            await asyncio.wait_for(running, SECONDS)
        assert (exchange.outcome.usage, gate.roster.tally.total.gone) == (None, 1)
        assert counted(gate) == (0, 0)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def paced(hand: Hand, first_byte_s: float) -> Callable[[Peer], Any]:
    """An answer that takes so long until it begins."""

    async def play(peer: Peer) -> None:
        hand.at += first_byte_s
        await peer.say(stream(FIRST, OLLAMA_END, type="application/x-ndjson"))

    return play


async def asked(gate: Gateway, times: int) -> list[str]:
    lanes = [await gate.ask("/api/chat", CHAT) for _ in range(times)]
    return [(lane.field(b"x-arriero-backend") or b"").decode() for lane in lanes]


async def test_the_faster_backend_is_chosen_when_both_were_measured() -> None:
    hand = Hand()
    slow, quick = Played("ollama", paced(hand, 2.0), name="slow"), Played("ollama", paced(hand, 0.5), name="quick")
    policy = Policy(routing=Routing(rules=Rules("fastest", False)))
    async with gateway(slow, quick, policy=policy, clock=hand) as gate:
        assert await asked(gate, 4) == ["slow", "quick", "quick", "quick"]
        speeds = {name: entry.speed.first_byte_s for name, entry in gate.roster.entries.items()}
        assert speeds == {"slow": 2.0, "quick": 0.5}


async def test_tokens_a_second_are_those_of_the_time_after_the_first_byte() -> None:
    hand, lane = Hand(), KeptLane()

    async def play(peer: Peer) -> None:
        hand.at += 0.5
        await peer.say(stream(FIRST, type="application/x-ndjson", end=False))
        await asyncio.wait_for(lane.written.wait(), SECONDS)
        hand.at += 2.0
        await peer.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(OLLAMA_END), OLLAMA_END))

    policy = Policy(routing=Routing(rules=Rules("fastest", False)))
    async with gateway(Played("ollama", play), policy=policy, clock=hand) as gate:
        rest = gate.exchange("/api/chat", CHAT, lane).start()
        if rest is not None:
            await asyncio.wait_for(rest, SECONDS)
        await asyncio.wait_for(lane.ended.wait(), SECONDS)
        assert gate.roster.entries["ollama"].speed == Speed(0.5, 21.0, 1002.5)


async def test_a_whole_answer_tells_no_pace_and_an_error_tells_nothing() -> None:
    whole = http(OLLAMA_END)
    policy = Policy(routing=Routing(rules=Rules("fastest", False)))
    async with gateway(
        Played("ollama", whole, http(b'{"error":"no"}', status="400 Bad Request")), policy=policy
    ) as gate:
        entry = gate.roster.entries["ollama"]
        await gate.ask("/api/chat", {**CHAT, "stream": False})
        measured = entry.speed
        assert measured.first_byte_s is not None and measured.tokens_per_s is None
        lane = await gate.ask("/api/chat", {**CHAT, "stream": False})
        assert (lane.status, entry.speed) == (400, measured)


async def test_under_another_policy_nothing_is_measured() -> None:
    async with gateway(Played("ollama", stream(FIRST, OLLAMA_END, type="application/x-ndjson"))) as gate:
        await gate.ask("/api/chat", CHAT)
        assert gate.roster.entries["ollama"].speed == Speed()
