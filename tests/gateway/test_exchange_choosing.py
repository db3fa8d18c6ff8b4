"""Whole exchanges where something else than load decides: the same backend again, the provider that the client prefers,
and what the request needs.
"""

import asyncio
import json
from typing import Any

from arriero.canonical.catalog import Capability
from arriero.gateway.choice import Retrying, Routing
from arriero.gateway.entry import Seat
from arriero.gateway.exchange import Policy
from arriero.gateway.roster import Bylaws
from arriero.gateway.told import Told
from arriero.routing.breaker import BreakerRule
from arriero.routing.decide import Rules
from arriero.routing.fleet import State
from support.gateway import Gateway, Played, gateway, http
from support.lanes import KeptLane
from support.raw_backend import eventually

CHAT = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}], "stream": False}
WHOLE = http(
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2}}'
)
FAILS = http(b'{"error":{"message":"boom"}}', status="500 Internal Server Error")


def policy(word: str = "least-connections", **retrying: Any) -> Policy:
    return Policy(routing=Routing(rules=Rules(word), retrying=Retrying(**retrying)))


SAME = policy(same=True)


def played(name: str, *answers: Any, models: bytes | None = None) -> Played:
    return Played("openai", *(answers or (WHOLE,)), name=name, models=models)


def first_then(count: int) -> list[Seat]:
    """Seats by which the first backend is asked first, and so on."""
    return [Seat(priority=100 - number, check_interval=0) for number in range(count)]


def by(lane: KeptLane) -> tuple[int | None, bytes | None, bytes | None]:
    """Status, who answered, and with which attempt."""
    return lane.status, lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-attempts")


async def _dies(backend: Played, gate: Gateway) -> int:
    """Its process is gone: connections are refused. The port that it had."""
    server = backend.raw.server
    assert server is not None
    server.close()
    for task in backend.raw._tasks:
        task.cancel()
    pool = gate.roster.entries[backend.name].backend.pool  # type: ignore[attr-defined]
    await eventually(lambda: pool.sockets == 0)
    return backend.raw.port


async def _comes_back(backend: Played, port: int) -> None:
    backend.raw.server = await asyncio.start_server(backend.raw._accept, "127.0.0.1", port)


# ---- the same one again --------------------------------------------------------------------------------------------


async def test_the_same_backend_again_until_it_answers() -> None:
    shaky, other = played("shaky", FAILS, FAILS, WHOLE), played("other")
    async with gateway(shaky, other, seats=first_then(2), policy=policy(same=True, attempts=4)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), lane.field(b"x-arriero-reason")) == ((200, b"shaky", b"3"), b"same again")
    assert (len(shaky.seen), other.seen) == (3, [])


async def test_the_same_backend_again_and_then_another() -> None:
    bad, other = played("bad", FAILS), played("other")
    async with gateway(bad, other, seats=first_then(2), policy=policy(same=True, attempts=3)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert by(lane) == (200, b"other", b"3")
    assert (len(bad.seen), len(other.seen)) == (2, 1)


async def test_the_same_backend_again_and_then_its_error() -> None:
    bad = played("bad", FAILS)
    async with gateway(bad, policy=policy(same=True, attempts=2)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), len(bad.seen)) == ((500, b"bad", b"2"), 2)


async def test_what_is_wrong_with_the_request_is_not_asked_again() -> None:
    strict = played("strict", http(b'{"error":{"message":"no such knob"}}', status="400 Bad Request"))
    async with gateway(strict, policy=SAME) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), len(strict.seen)) == ((400, b"strict", b"1"), 1)


async def test_a_server_that_comes_back_within_the_pauses_has_failed_nobody() -> None:
    one = played("one")
    async with gateway(one, policy=SAME) as gate:
        port = await _dies(one, gate)
        lane = KeptLane()
        rest = gate.exchange("/v1/chat/completions", CHAT, lane).start()
        assert rest is not None
        asking = asyncio.create_task(rest)
        await eventually(lambda: gate.roster.entries["one"].state is State.OFFLINE)
        await _comes_back(one, port)
        await asking
    assert by(lane)[:2] == (200, b"one")


async def test_a_breaker_that_opens_ends_it_with_the_error_that_opened_it() -> None:
    bad = played("bad", FAILS)
    bylaws = Bylaws(breaker=BreakerRule(2, 30.0))
    async with gateway(bad, policy=policy(same=True, attempts=9), bylaws=bylaws) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), len(bad.seen)) == ((500, b"bad", b"2"), 2)


async def test_a_client_that_leaves_in_the_pause_is_the_end_of_it() -> None:
    bad = played("bad", FAILS)
    async with gateway(bad, policy=SAME) as gate:
        lane = KeptLane()
        assert gate.exchange("/v1/chat/completions", CHAT, lane).start() is None  # on its way by callbacks alone
        await eventually(lambda: bool(gate.tasks))
        lane.leave()
        await asyncio.gather(*gate.tasks)
    assert (lane.status, len(bad.seen)) == (None, 1)


# ---- what the client prefers, and what it needs --------------------------------------------------------------------

AT_ROUTER = b'{"object":"list","data":[{"id":"openai/gpt-x"}]}'


async def test_the_provider_that_the_client_prefers() -> None:
    gpu, router = played("gpu"), played("router", WHOLE, models=AT_ROUTER)
    async with gateway(gpu, router, seats=first_then(2)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT, ((b"x-provider", b"Router"),))
        plain = await gate.ask("/v1/chat/completions", CHAT)
    assert (by(lane), lane.field(b"x-arriero-reason")) == ((200, b"router", b"1"), b"provider")
    assert router.bodies[0]["model"] == "openai/gpt-x"
    assert by(plain) == (200, b"gpu", b"1")


async def test_a_provider_that_fails_leaves_the_request_to_the_others() -> None:
    gpu, router = played("gpu"), played("router", FAILS, models=AT_ROUTER)
    async with gateway(gpu, router, seats=first_then(2)) as gate:
        lane = await gate.ask("/v1/chat/completions", CHAT, ((b"x-provider", b"router"),))
    assert by(lane) == (200, b"gpu", b"2")


async def test_tools_go_to_the_model_of_an_alias_that_has_them() -> None:
    listed = b'{"object":"list","data":[{"id":"talker"},{"id":"worker"}]}'
    able = {
        "talker": frozenset({Capability.COMPLETION}),
        "worker": frozenset({Capability.COMPLETION, Capability.TOOLS}),
    }
    backend, seat = played("one", WHOLE, models=listed), Seat(check_interval=0, told=Told(capabilities=able))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    aliases = {"any": ["talker", "worker"]}
    async with gateway(backend, seats=[seat], policy=policy("capability"), aliases=aliases) as gate:
        for path in ("/v1/chat/completions", "/api/chat"):
            lane = await gate.ask(path, {**CHAT, "model": "any", "tools": tools})
            assert (by(lane), lane.field(b"x-arriero-reason")) == ((200, b"one", b"1"), b"capability")
            assert (await gate.ask(path, {**CHAT, "model": "any"})).status == 200
        # Nobody has them under the model's own name: the words are those of every other policy.
        refused = await gate.ask("/api/chat", {**CHAT, "model": "talker", "tools": tools})
    assert [body["model"] for body in backend.bodies] == ["worker", "talker"] * 2
    assert (refused.status, json.loads(refused.body)["error"]) == (
        400,
        "registry.ollama.ai/library/talker:latest does not support tools",
    )
