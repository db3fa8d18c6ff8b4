"""Whole exchanges over several backends: who is asked, who is spared, and what the client is told in the end."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from arriero.backends.http.call import Headers, Timeouts
from arriero.gateway.choice import Retrying, Routing
from arriero.gateway.entry import Seat
from arriero.gateway.exchange import Policy
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws
from arriero.gateway.told import Told
from arriero.routing.breaker import BreakerRule, Phase, phase
from arriero.routing.decide import Rules
from arriero.routing.fleet import Speed, State
from arriero.routing.policies import POLICIES
from arriero.routing.sticky import Sessions
from support.gateway import Gateway, Played, gateway, http, stream
from support.lanes import KeptLane
from support.raw_backend import Peer, eventually

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "gpt-x", "messages": HI, "stream": False}
WHOLE = http(
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2}}'
)
PIECES = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
FAILS = http(b'{"error":{"message":"boom"}}', status="500 Internal Server Error")
GONE = b""
"""An answer of no bytes: the connection is cut before a head."""


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(word: str = "least-connections", *, loaded: bool = True, **routing: Any) -> Policy:
    return Policy(routing=Routing(rules=Rules(word, loaded), **routing))


def played(name: str, *answers: Any, models: bytes | None = None) -> Played:
    return Played("openai", *(answers or (WHOLE,)), name=name, models=models)


def first_then(count: int) -> list[Seat]:
    """Seats by which the first backend is asked first, and so on."""
    return [Seat(priority=100 - number, check_interval=0) for number in range(count)]


def alike(count: int, **seat: Any) -> list[Seat]:
    return [Seat(check_interval=0, **seat)] * count


def by(lane: KeptLane) -> tuple[int | None, bytes | None, bytes | None]:
    """Status, who answered, and with which attempt."""
    return lane.status, lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-attempts")


async def served(gate: Gateway, count: int, *, headers: Headers = ()) -> str:
    """The last letter of each backend that answered so many requests, one after the other."""
    lanes = [await gate.ask("/v1/chat/completions", CHAT, headers) for _ in range(count)]
    assert {lane.status for lane in lanes} == {200}
    return "".join((lane.field(b"x-arriero-backend") or b"?").decode()[-1] for lane in lanes)


def holding(release: asyncio.Event, answer: bytes = WHOLE) -> Callable[[Peer], Any]:
    """Answers when it is let."""

    async def holds(peer: Peer) -> None:
        await release.wait()
        await peer.say(answer)

    return holds


# ---- what moves on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X", "429 X", "529 X"])
async def test_a_status_moves_on_and_counts(path: str, status: str) -> None:
    bad, good = played("bad", http(b"{}", status=status)), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await gate.ask(path, CHAT)
        counts = {name: (count.requests, count.failures) for name, count in gate.roster.tally.backends.items()}
    assert by(lane) == (200, b"good", b"2")
    assert lane.field(b"x-arriero-reason") == b"only one left"
    assert (len(bad.seen), len(good.seen), counts) == (1, 1, {"bad": (1, 1), "good": (1, 0)})


async def test_a_status_the_operator_left_out_stays() -> None:
    bad, good = played("bad", FAILS), played("good")
    spares = policy(retrying=Retrying(statuses=frozenset({503})))
    async with gateway(bad, good, seats=first_then(2), policy=spares) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert by(lane) == (500, b"bad", b"1")
    assert (len(bad.seen), good.seen) == (1, [])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cut_before_the_head_moves_on(path: str, streamed: bool) -> None:
    async def cut(peer: Peer) -> None:
        peer.reset()

    bad, good = played("bad", cut), played("good", stream(*PIECES) if streamed else WHOLE)
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await gate.ask(path, {**CHAT, "stream": streamed})
    assert by(lane) == (200, b"good", b"2")


async def test_a_cut_after_the_head_and_before_the_first_byte_moves_on() -> None:
    async def head_only(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        peer.reset()

    bad, good = played("bad", head_only), played("good", stream(*PIECES))
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await gate.ask("/v1/chat/completions", {**CHAT, "stream": True})
    assert (by(lane), lane.body) == ((200, b"good", b"2"), b"".join(PIECES))


async def test_silence_moves_on() -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    bad, good = played("bad", silent), played("good")
    async with gateway(bad, good, seats=first_then(2), timeouts=Timeouts(first_byte=0.1)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert by(lane) == (200, b"good", b"2")


async def test_a_refused_connection_moves_on_and_the_next_request_does_not_go_there() -> None:
    bad, good = played("bad"), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        await _dies(bad, gate)
        lanes = [await gate.ask("/v1/chat/completions", CHAT) for _ in range(3)]
        assert gate.roster.entries["bad"].state is State.OFFLINE
    assert [by(lane) for lane in lanes] == [(200, b"good", b"2"), (200, b"good", b"1"), (200, b"good", b"1")]
    assert lanes[1].field(b"x-arriero-reason") == b"only one free"


async def _dies(backend: Played, gate: Gateway) -> None:
    """Its process is gone: connections are refused, and those that were open are cut."""
    server = backend.raw.server
    assert server is not None
    server.close()
    for task in backend.raw._tasks:
        task.cancel()
    pool = gate.roster.entries[backend.name].backend.pool  # type: ignore[attr-defined]
    await eventually(lambda: pool.sockets == 0)


async def test_an_embedding_moves_on_too() -> None:
    vectors = http(b'{"data":[{"index":0,"embedding":[0.6,0.8]}],"model":"gpt-x","usage":{"prompt_tokens":1}}')
    bad, good = played("bad", FAILS), played("good", vectors)
    async with gateway(bad, good, seats=first_then(2)) as gate:
        ollama = await gate.ask("/api/embed", {"model": "gpt-x", "input": "hi"})
        relayed = await gate.ask("/v1/embeddings", {"model": "gpt-x", "input": "hi"})
    assert (by(ollama), json.loads(ollama.body)["embeddings"]) == ((200, b"good", b"2"), [[0.6, 0.8]])
    assert by(relayed) == (200, b"good", b"2")


async def test_the_next_model_of_an_alias_on_the_same_host() -> None:
    models = b'{"object":"list","data":[{"id":"big"},{"id":"small"}]}'
    host = played("host", http(b'{"error":"slow down"}', status="429 X"), WHOLE, models=models)
    async with gateway(host, aliases={"fast": ["big", "small"]}) as gate:
        lane = await gate.ask("/v1/chat/completions", {**CHAT, "model": "fast"})
    assert (by(lane), [body["model"] for body in host.bodies]) == ((200, b"host", b"2"), ["big", "small"])


async def test_a_fallback_of_the_request() -> None:
    bad = played("bad", FAILS)
    good = played("good", models=b'{"object":"list","data":[{"id":"other"}]}')
    async with gateway(bad, good) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT, ((b"x-arriero-fallback", b"other"),))
        unknown = await gate.ask("/v1/chat/completions", {**CHAT, "model": "no"}, ((b"x-arriero-fallback", b"other"),))
    assert (by(lane), lane.field(b"x-arriero-model")) == ((200, b"good", b"2"), b"other")
    assert by(unknown) == (200, b"good", b"1")


# ---- what does not -------------------------------------------------------------------------------------------------


async def test_a_refusal_of_the_request_itself_is_final() -> None:
    refusal = b'{"error":{"message":"temperature must be <= 2"}}'
    bad, good = played("bad", http(refusal, status="400 X")), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), lane.body, good.seen) == ((400, b"bad", b"1"), refusal, [])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_a_cut_after_the_first_byte_tells_the_client_and_asks_nobody_else(path: str) -> None:
    bad, good = played("bad", stream(PIECES[0], end=False)), played("good", stream(*PIECES))
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await gate.ask(path, {**CHAT, "stream": True})
    assert (by(lane), good.seen, lane.end) == ((200, b"bad", b"1"), [], "finish")
    last = lane.body.strip().splitlines()[-1]
    assert "error" in json.loads(last.removeprefix(b"data: "))


async def test_silence_after_the_first_byte_tells_the_client() -> None:
    async def stops(peer: Peer) -> None:
        await peer.say(stream(PIECES[0], end=False))
        await peer.gone()

    bad, good = played("bad", stops), played("good")
    async with gateway(bad, good, seats=first_then(2), timeouts=Timeouts(idle=0.1)) as gate:
        lane = await gate.ask("/api/chat", {**CHAT, "stream": True})
    assert (lane.end, good.seen, list(json.loads(lane.body.splitlines()[-1]))) == ("finish", [], ["error"])


async def test_so_many_attempts_and_the_last_ones_words() -> None:
    words = [http(b'{"error":{"message":"no %d","code":%d}}' % (n, n), status="500 X") for n in range(4)]
    backends = [played(f"b{n}", words[n]) for n in range(4)]
    async with gateway(*backends, seats=first_then(4)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert [len(backend.seen) for backend in backends] == [1, 1, 1, 0]
    assert (by(lane), lane.body) == ((500, b"b2", b"3"), b'{"error":{"message":"no 2","code":2}}')


async def test_the_words_of_another_dialect_are_said_anew() -> None:
    async with gateway(played("bad", FAILS), played("worse", FAILS), seats=first_then(2)) as gate:
        lane = await gate.ask("/api/chat", CHAT)
    assert (by(lane), json.loads(lane.body)["error"]) == ((500, b"worse", b"2"), "boom")


async def test_all_refuse() -> None:
    backends = played("one"), played("two")
    async with gateway(*backends, seats=first_then(2)) as gate:
        for backend in backends:
            await _dies(backend, gate)
        lane = await gate.ask("/v1/chat/completions", CHAT)
        later = await gate.ask("/v1/chat/completions", CHAT)
    assert (lane.status, lane.field(b"x-arriero-attempts")) == (503, b"2")
    assert b"cannot reach" in lane.body and b'"code":"network_error"' in lane.body
    assert (later.status, later.field(b"retry-after")) == (503, b"5")
    assert b"one: offline (cannot reach http://127.0.0.1:" in later.body
    assert b"; two: offline (cannot reach http://127.0.0.1:" in later.body


# ---- left alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["429 X", "503 X"])
async def test_one_that_says_when_to_come_again_is_left_alone_until_then(status: str) -> None:
    clock = Clock()
    limited = http(b'{"error":"slow down"}', status=status, extra="retry-after: 20\r\n")
    bad, good = played("bad", limited, WHOLE), played("good")
    async with gateway(bad, good, seats=first_then(2), clock=clock) as gate:
        lanes = [await gate.ask("/v1/chat/completions", CHAT)]
        clock.now += 19.9
        lanes.append(await gate.ask("/v1/chat/completions", CHAT))
        clock.now += 0.2
        lanes.append(await gate.ask("/v1/chat/completions", CHAT))
    assert [by(lane) for lane in lanes] == [(200, b"good", b"2"), (200, b"good", b"1"), (200, b"bad", b"1")]


async def test_when_all_want_to_be_left_alone_the_client_is_told_when_to_come_again() -> None:
    clock = Clock()
    limited = http(b'{"error":"slow down"}', status="429 X", extra="retry-after: 20\r\n")
    async with gateway(played("one", limited), clock=clock) as gate:
        first = await gate.ask("/v1/chat/completions", CHAT)
        clock.now += 5
        later = await gate.ask("/v1/chat/completions", CHAT)
    assert (first.status, first.field(b"retry-after"), first.body) == (429, b"20", b'{"error":"slow down"}')
    assert (later.status, later.field(b"retry-after")) == (503, b"15")
    assert b"left alone for another 15 s" in later.body


@pytest.mark.parametrize("told", ["9" * 400, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "soon", "-5"])
async def test_nonsense_about_when_to_come_again_harms_nobody(told: str) -> None:
    bad = played("bad", http(b"{}", status="429 X", extra=f"retry-after: {told}\r\n"))
    async with gateway(bad) as gate:
        for path in ("/v1/chat/completions", "/api/chat"):
            assert (await gate.ask(path, CHAT)).status in (429, 503)


# ---- breaker -------------------------------------------------------------------------------------------------------

BREAKS = BreakerRule(failures=5, open_seconds=30.0)


async def test_the_breaker_opens_after_five_failures_and_lets_one_through_later() -> None:
    clock = Clock()

    async def cut(peer: Peer) -> None:
        peer.reset()

    bad, good = played("bad", cut), played("good")
    async with gateway(bad, good, seats=first_then(2), clock=clock, bylaws=Bylaws(breaker=BREAKS)) as gate:
        entry = gate.roster.entries["bad"]
        for failures in range(1, 6):
            clock.now += 1
            assert by(await gate.ask("/v1/chat/completions", CHAT)) == (200, b"good", b"2")
            assert entry.breaker.failures == failures
            await gate.roster.refresh()  # its list answers all the time
            assert entry.state is State.HEALTHY
        assert phase(entry.breaker, clock.now) is Phase.OPEN
        came = len(bad.seen)
        assert [by(await gate.ask("/v1/chat/completions", CHAT)) for _ in range(3)] == [(200, b"good", b"1")] * 3
        assert len(bad.seen) == came
        clock.now += 30
        assert phase(entry.breaker, clock.now) is Phase.HALF_OPEN
        assert by(await gate.ask("/v1/chat/completions", CHAT)) == (200, b"good", b"2")  # the trial, in vain
        assert phase(entry.breaker, clock.now) is Phase.OPEN
        assert by(await gate.ask("/v1/chat/completions", CHAT)) == (200, b"good", b"1")
        bad._answers = [WHOLE]
        clock.now += 30
        assert by(await gate.ask("/v1/chat/completions", CHAT)) == (200, b"bad", b"1")
        assert phase(entry.breaker, clock.now) is Phase.CLOSED


async def test_only_one_trial_is_out_at_a_time() -> None:
    clock, release = Clock(), asyncio.Event()
    bad, good = played("bad", *[FAILS] * 5, holding(release)), played("good")
    async with gateway(bad, good, seats=first_then(2), clock=clock, bylaws=Bylaws(breaker=BREAKS)) as gate:
        for _ in range(5):
            clock.now += 1
            await gate.ask("/v1/chat/completions", CHAT)
        clock.now += 30
        trial = asyncio.create_task(gate.ask("/v1/chat/completions", CHAT))
        await eventually(lambda: len(bad.seen) == 6)
        assert [by(await gate.ask("/v1/chat/completions", CHAT)) for _ in range(3)] == [(200, b"good", b"1")] * 3
        release.set()
        assert by(await trial) == (200, b"bad", b"1")
        assert phase(gate.roster.entries["bad"].breaker, clock.now) is Phase.CLOSED


async def test_a_storm_of_fast_5xx_opens_it_too_and_slow_ones_do_not() -> None:
    for seconds, opens in ((0.0, True), (6.0, False)):
        clock = Clock()

        async def slow(peer: Peer, clock: Clock = clock, seconds: float = seconds) -> None:
            clock.now += seconds
            await peer.say(FAILS)

        bad, good = played("bad", slow), played("good")
        async with gateway(bad, good, seats=first_then(2), clock=clock, bylaws=Bylaws(breaker=BREAKS)) as gate:
            for _ in range(5):
                clock.now += 1
                await gate.ask("/v1/chat/completions", CHAT)
            assert (phase(gate.roster.entries["bad"].breaker, clock.now) is Phase.OPEN) is opens


@pytest.mark.parametrize("before_head", [True, False])
async def test_clients_that_leave_never_open_it(before_head: bool) -> None:
    clock = Clock()

    async def endless(peer: Peer) -> None:
        if not before_head:
            await peer.say(stream(PIECES[0], end=False))
        await peer.gone()

    backend = played("one", endless)
    async with gateway(backend, clock=clock, bylaws=Bylaws(breaker=BREAKS)) as gate:
        entry = gate.roster.entries["one"]
        for number in range(8):
            clock.now += 1
            lane = KeptLane()
            rest = gate.exchange("/v1/chat/completions", {**CHAT, "stream": True}, lane).start()
            running = None if rest is None else asyncio.ensure_future(rest)
            await eventually(
                lambda number=number, lane=lane: len(backend.seen) > number and (before_head or lane.written.is_set())  # type: ignore[misc]
            )
            lane.leave()
            if running is not None:
                await running
            await eventually(lambda: entry.in_flight == 0)
        assert (entry.breaker.failures, phase(entry.breaker, clock.now), entry.state) == (
            0,
            Phase.CLOSED,
            State.HEALTHY,
        )


async def test_what_the_client_did_wrong_is_no_failure_of_the_backend() -> None:
    clock = Clock()
    async with gateway(played("one", http(b"{}", status="400 X")), clock=clock, bylaws=Bylaws(breaker=BREAKS)) as gate:
        for _ in range(8):
            clock.now += 1
            await gate.ask("/v1/chat/completions", CHAT)
        assert gate.roster.entries["one"].breaker.failures == 0


async def test_a_backend_that_answers_again_after_it_was_offline_has_a_closed_breaker() -> None:
    clock = Clock()
    one = played("one")
    async with gateway(one, clock=clock, bylaws=Bylaws(breaker=BreakerRule(1, 30.0))) as gate:
        entry = gate.roster.entries["one"]
        server = one.raw.server
        assert server is not None
        await _dies(one, gate)
        assert (await gate.ask("/v1/chat/completions", CHAT)).status == 503
        assert phase(entry.breaker, clock.now) is Phase.OPEN
        one.raw.server = await asyncio.start_server(one.raw._accept, "127.0.0.1", one.raw.port)
        clock.now += 2
        await gate.roster.refresh()
        assert (phase(entry.breaker, clock.now), by(await gate.ask("/v1/chat/completions", CHAT))) == (
            Phase.CLOSED,
            (200, b"one", b"1"),
        )


# ---- policies ------------------------------------------------------------------------------------------------------


async def test_round_robin_alternates_strictly() -> None:
    async with gateway(*map(played, "abc"), seats=alike(3), policy=policy("round-robin")) as gate:
        assert await served(gate, 9) == "abcabcabc"


async def test_round_robin_alternates_also_where_a_connection_has_to_be_opened_each_time() -> None:
    closes = WHOLE.replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
    backends = [played("a", closes), played("b")]
    async with gateway(*backends, seats=alike(2), policy=policy("round-robin")) as gate:
        assert await served(gate, 8) == "abababab"


async def test_least_connections_goes_to_the_idle_one() -> None:
    release = asyncio.Event()
    busy, idle = played("busy", holding(release), WHOLE), played("idle")
    async with gateway(busy, idle, seats=alike(2)) as gate:
        first = asyncio.create_task(gate.ask("/v1/chat/completions", CHAT))
        await eventually(lambda: len(busy.seen) == 1)
        assert await served(gate, 5) == "eeeee"
        release.set()
        assert by(await first) == (200, b"busy", b"1")
        assert sorted(await served(gate, 4)) == list("eeyy")


async def test_weights_are_shares() -> None:
    seats = [Seat(weight=weight, check_interval=0) for weight in (1.0, 3.0)]
    async with gateway(played("a"), played("b"), seats=seats, policy=policy("weighted")) as gate:
        found = await served(gate, 40)
    assert Counter(found) == {"a": 10, "b": 30}
    assert all(Counter(found[at : at + 4]) == {"a": 1, "b": 3} for at in range(0, 40, 4))


async def test_the_top_tier_until_it_is_down() -> None:
    seats = [Seat(priority=priority, check_interval=0) for priority in (100, 100, 50)]
    async with gateway(*map(played, "abc"), seats=seats, policy=policy("priority")) as gate:
        assert Counter(await served(gate, 6)) == {"a": 3, "b": 3}
        for name in "ab":
            gate.roster.entries[name].state = State.OFFLINE
        assert await served(gate, 3) == "ccc"
        gate.roster.entries["b"].state = State.HEALTHY
        assert await served(gate, 3) == "bbb"


async def test_the_cheapest() -> None:
    told = (Told(price={"*": (5.0, 5.0)}), Told(price={"gpt-*": (0.1, 0.4)}), Told())
    seats = [Seat(told=each, check_interval=0) for each in told]
    async with gateway(*map(played, "abc"), seats=seats, policy=policy("cheapest")) as gate:
        assert await served(gate, 3) == "bbb"
        gate.roster.entries["b"].state = State.OFFLINE
        assert await served(gate, 3) == "aaa"


async def test_the_fastest_is_measured_by_what_it_does() -> None:
    clock = Clock()

    def taking(seconds: float) -> Callable[[Peer], Any]:
        async def takes(peer: Peer) -> None:
            clock.now += seconds
            await peer.say(WHOLE)

        return takes

    slow, quick = played("slow", taking(2.0)), played("quick", taking(0.1))
    async with gateway(slow, quick, seats=alike(2), policy=policy("fastest"), clock=clock) as gate:
        found = await served(gate, 12)
        assert gate.roster.entries["quick"].speed.first_byte_s is not None
        assert sorted(found[:2]) == ["k", "w"]  # whoever was not measured comes first
        assert found[2:] == "k" * 10
        assert gate.roster.entries["slow"].speed == Speed(2.0, None, gate.roster.entries["slow"].speed.at)


async def test_failures_say_nothing_of_the_speed() -> None:
    async with gateway(played("one", FAILS), policy=policy("fastest")) as gate:
        await gate.ask("/v1/chat/completions", CHAT)
        assert gate.roster.entries["one"].speed == Speed()


# ---- loaded models -------------------------------------------------------------------------------------------------

LOADED = b'{"models":[{"name":"tiny:latest","model":"tiny:latest","size":1}]}'
ANSWER = http(b'{"model":"tiny","message":{"role":"assistant","content":"a"},"done":true}')
TINY = {"model": "tiny", "messages": HI, "stream": False}


@pytest.mark.parametrize(("prefers", "found"), [(True, "bbbb"), (False, "abab")])
async def test_where_the_model_is_loaded_it_is_asked_first(prefers: bool, found: str) -> None:
    cold, warm = (Played("ollama", ANSWER, name=name) for name in "ab")
    warm.loaded = LOADED
    async with gateway(cold, warm, seats=alike(2), policy=policy("round-robin", loaded=prefers)) as gate:
        # One request after the other: each loads the model where it goes, until the next look at the memory.
        took = []
        for _ in range(4):
            lane = await gate.ask("/api/chat", TINY)
            took.append(lane.field(b"x-arriero-backend"))
            gate.roster.entries["a"].loaded = frozenset()
            assert lane.field(b"x-arriero-reason") == (b"loaded" if prefers else b"round-robin")
    assert b"".join(filter(None, took)) == found.encode()


async def test_who_has_answered_has_loaded() -> None:
    backends = [Played("ollama", ANSWER, name=name) for name in "ab"]
    async with gateway(*backends, seats=alike(2)) as gate:
        await gate.ask("/api/chat", TINY)
        assert [entry.loaded for entry in gate.roster.entries.values()] == [frozenset({"tiny"}), frozenset()]
        assert (await gate.ask("/api/chat", TINY)).field(b"x-arriero-reason") == b"loaded"


# ---- places and the queue ------------------------------------------------------------------------------------------


async def test_more_than_its_places_a_backend_never_has() -> None:
    most, seen = 2, 0
    running = 0

    async def counts(peer: Peer) -> None:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0.002)
        running -= 1
        await peer.say(WHOLE)

    backend = played("one", counts)
    async with gateway(backend, seats=alike(1, max_concurrency=most)) as gate:
        lanes = await asyncio.gather(*(gate.ask("/v1/chat/completions", CHAT) for _ in range(20)))
    assert ([by(lane) for lane in lanes], seen) == ([(200, b"one", b"1")] * 20, most)


async def test_those_who_wait_are_served_in_order_and_by_rank() -> None:
    release = asyncio.Event()
    backend = played("one", holding(release), WHOLE)
    async with gateway(backend, seats=alike(1, max_concurrency=1)) as gate:
        first = asyncio.create_task(gate.ask("/v1/chat/completions", {**CHAT, "user": "first"}))
        await eventually(lambda: len(backend.seen) == 1)
        tasks = []
        for number, word in enumerate((b"normal", b"low", b"normal", b"high")):
            body, headers = {**CHAT, "user": str(number)}, ((b"x-arriero-priority", word),)
            tasks.append(asyncio.create_task(gate.ask("/v1/chat/completions", body, headers)))
            await eventually(lambda number=number: gate.roster.queue.waiting == number + 1)  # type: ignore[misc]
        release.set()
        lanes = [await task for task in (first, *tasks)]
    assert {lane.status for lane in lanes} == {200}
    assert [body["user"] for body in backend.bodies] == ["first", "3", "0", "2", "1"]


@pytest.mark.parametrize("queue", [Queue(most=0), Queue(seconds=0.02)])
async def test_a_full_queue_and_too_long_a_wait_are_told_with_a_time(queue: Queue) -> None:
    release = asyncio.Event()
    backend = played("one", holding(release))
    async with gateway(backend, seats=alike(1, max_concurrency=1), queue=queue) as gate:
        first = asyncio.create_task(gate.ask("/v1/chat/completions", CHAT))
        await eventually(lambda: len(backend.seen) == 1)
        ollama = await gate.ask("/api/chat", CHAT)
        openai = await gate.ask("/v1/chat/completions", CHAT)
        release.set()
        assert (await first).status == 200
    for lane in (ollama, openai):
        assert (lane.status, lane.field(b"retry-after"), lane.field(b"x-arriero-backend")) == (503, b"5", None)
        assert b"server busy, please try again" in lane.body


async def test_a_client_that_leaves_while_it_waits_costs_nobody_anything() -> None:
    release = asyncio.Event()
    backend = played("one", holding(release), WHOLE)
    async with gateway(backend, seats=alike(1, max_concurrency=1)) as gate:
        first = asyncio.create_task(gate.ask("/v1/chat/completions", CHAT))
        await eventually(lambda: len(backend.seen) == 1)
        lane = KeptLane()
        rest = gate.exchange("/v1/chat/completions", CHAT, lane).start()
        assert rest is not None
        waits = asyncio.create_task(rest)
        await eventually(lambda: gate.roster.queue.waiting == 1)
        lane.leave()
        await waits
        assert gate.roster.queue.waiting == 0
        release.set()
        assert (await first).status == 200
        assert await served(gate, 1) == "e"
    assert (lane.started, len(backend.seen)) == (False, 2)


async def test_one_that_fails_while_others_wait_sends_them_elsewhere() -> None:
    release = asyncio.Event()
    bad, good = played("bad", holding(release, FAILS), FAILS), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        for entry in gate.roster.entries.values():
            entry.seat = Seat(priority=entry.seat.priority, max_concurrency=1, check_interval=0)
        tasks = [asyncio.create_task(gate.ask("/v1/chat/completions", CHAT)) for _ in range(6)]
        await eventually(lambda: len(bad.seen) == 1)
        release.set()
        lanes = [await task for task in tasks]
    assert {by(lane)[:2] for lane in lanes} == {(200, b"good")}


async def test_embeddings_take_places_and_wait_too() -> None:
    release = asyncio.Event()
    vectors = http(b'{"data":[{"index":0,"embedding":[0.5]}],"model":"gpt-x","usage":{"prompt_tokens":1}}')
    backend = played("one", holding(release, vectors), vectors)
    async with gateway(backend, seats=alike(1, max_concurrency=1)) as gate:
        tasks = [asyncio.create_task(gate.ask("/api/embed", {"model": "gpt-x", "input": "hi"})) for _ in range(3)]
        await eventually(lambda: gate.roster.queue.waiting == 2)
        assert (len(backend.seen), gate.roster.entries["one"].in_flight) == (1, 1)
        release.set()
        assert [(await task).status for task in tasks] == [200] * 3


# ---- sessions ------------------------------------------------------------------------------------------------------


async def test_a_session_through_real_exchanges() -> None:
    sticky = policy("round-robin", sticky=("header",))
    async with gateway(*map(played, "ab"), seats=alike(2), policy=sticky, sessions=Sessions()) as gate:
        assert await served(gate, 4, headers=((b"x-arriero-session", b"s"),)) == "aaaa"
        assert await served(gate, 2, headers=((b"x-arriero-session", b"t"),)) == "bb"
        sessions = gate.roster.sessions
        assert sessions is not None
        assert (len(sessions), sessions.hits, sessions.misses) == (2, 4, 2)


# ---- many at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted(POLICIES))
async def test_a_crowd_over_a_fleet_that_fails_now_and_then(word: str) -> None:
    """Nobody is failed before his first byte as long as one can answer, and everything is given back."""

    def flaky(every: int) -> Callable[[Peer], Any]:
        count = 0

        async def plays(peer: Peer) -> None:
            nonlocal count
            count += 1
            await asyncio.sleep(0.001)
            if count % every == 0:
                peer.reset()
            else:
                await peer.say(WHOLE)

        return plays

    backends: Sequence[Played] = [played("a", flaky(3)), played("b", flaky(4)), played("c")]
    never_opens = Bylaws(breaker=BreakerRule(failures=10_000))
    crowd = policy(word, retrying=Retrying(attempts=3))
    async with gateway(*backends, seats=alike(3, max_concurrency=3), policy=crowd, bylaws=never_opens) as gate:
        lanes = await asyncio.gather(*(gate.ask("/v1/chat/completions", CHAT) for _ in range(60)))
    assert {lane.status for lane in lanes} == {200}
