"""Another fleet while requests are on their way: who stays, who leaves and when, and what becomes of those who wait."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from arriero.backends.base import Backend
from arriero.backends.http.pool import Pool
from arriero.backends.remote import OpenAI, RemoteSettings
from arriero.canonical.catalog import Capability
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendBroken, BackendUnreachable
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.exchange import Policy
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws, Roster
from arriero.gateway.told import Told
from arriero.routing.fleet import State
from arriero.routing.names import Patterns
from arriero.routing.sticky import Key, Sessions
from support.engine import eventually
from support.gateway import Gateway, Played, http, stream
from support.lanes import KeptLane
from support.raw_backend import Peer

SECONDS = 5.0
QUIET = Seat(check_interval=0)
CHAT = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]}


def said(text: str) -> bytes:
    """A whole answer of the OpenAI API."""
    message = {"role": "assistant", "content": text}
    return http(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode())


def piece(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


class Held:
    """A backend whose streams say one word, and the rest when they are told to."""

    def __init__(self, name: str) -> None:
        self.told = asyncio.Event()
        self.played = Played("openai", self._play, name=name)

    async def _play(self, peer: Peer) -> None:
        whole = stream(piece("one "), piece("two"), b"data: [DONE]\n\n")
        half = whole.index(piece("two"))
        await peer.say(whole[:half])
        async with asyncio.timeout(SECONDS):
            await self.told.wait()
        await peer.say(whole[half:])


class Fleet:
    """A roster over backends by name, and a gateway before it."""

    def __init__(self, **backends: Played) -> None:
        self.played = backends
        self.backends: dict[str, Noted] = {}
        self.roster: Roster = Roster([])
        self.gate = Gateway(self.roster, Policy())

    def seats(self, *names: str, seat: Seat = QUIET) -> Sequence[tuple[Backend, Seat]]:
        return [(self.backends[name], seat) for name in names]

    async def adopt(self, *names: str, seat: Seat = QUIET, bylaws: Bylaws | None = None) -> None:
        async with asyncio.timeout(SECONDS):
            await self.roster.adopt(self.seats(*names, seat=seat), bylaws or Bylaws())

    def ask(self, **more: Any) -> "tuple[KeptLane, asyncio.Task[None]]":
        """A request on its way."""
        lane = KeptLane()
        exchange = self.gate.exchange("/v1/chat/completions", {**CHAT, **more}, lane)
        return lane, asyncio.create_task(self._run(exchange.start(), lane))

    async def _run(self, rest: Any, lane: KeptLane) -> None:
        if rest is not None:
            await rest
        async with asyncio.timeout(SECONDS):
            await lane.ended.wait()
        await asyncio.gather(*self.gate.tasks)

    async def answer(self) -> str:
        """What the next request is told."""
        lane = await self.gate.ask("/v1/chat/completions", CHAT)
        assert lane.status == 200, lane.body
        text: str = json.loads(lane.body)["choices"][0]["message"]["content"]
        return text


@asynccontextmanager
async def fleet(
    *first: str, seat: Seat = QUIET, queue: Queue | None = None, **backends: Played
) -> AsyncIterator[Fleet]:
    """All backends listen; those of `first` are in the roster, which has started."""
    made = Fleet(**backends)
    async with AsyncExitStack() as stack:
        for name, played in backends.items():
            raw = await stack.enter_async_context(played.raw)
            made.backends[name] = openai(name, f"{raw.url}/v1")
        made.roster = Roster(made.seats(*first, seat=seat), queue=queue, sessions=Sessions())
        made.gate = Gateway(made.roster, Policy())
        await made.roster.start()
        try:
            yield made
        finally:
            await made.roster.close()
            for backend in made.backends.values():
                await backend.close()


class Noted(OpenAI):
    """Notes with how many calls in flight it was closed."""

    closed: int | None = None

    async def close(self) -> None:
        self.closed = self.pool.in_flight
        await super().close()


def openai(name: str, url: str) -> Noted:
    return Noted(RemoteSettings(name=name, url=url, profile=profile_of("generic")))


def pool(backend: OpenAI) -> Pool:
    return backend.pool


async def until(lane: KeptLane, text: bytes) -> None:
    async with asyncio.timeout(SECONDS):
        while text not in lane.body:
            await lane.written.wait()
            lane.written.clear()


# ---- who comes and who goes ----------------------------------------------------------------------------------------


async def test_new_requests_go_to_the_new_fleet_and_there_is_no_moment_without_the_model() -> None:
    async with fleet("a", a=Played("openai", said("a")), b=Played("openai", said("b"))) as made:
        assert await made.answer() == "a"
        adopting = asyncio.create_task(made.adopt("b"))
        heard = []
        while not adopting.done():
            heard.append(await made.answer())
        await adopting
        assert (await made.answer(), set(heard) <= {"a", "b"}) == ("b", True)
        assert list(made.roster.entries) == ["b"]


async def test_a_stream_on_a_backend_that_left_runs_to_its_end() -> None:
    held = Held("a")
    async with fleet("a", a=held.played, b=Played("openai", said("b"))) as made:
        lane, task = made.ask(stream=True)
        await until(lane, b"one ")
        entry = made.roster.entries["a"]
        await made.adopt("b")
        assert (await made.answer(), entry.left, entry.in_flight) == ("b", True, 1)
        await asyncio.sleep(0.25)
        assert made.backends["a"].closed is None
        held.told.set()
        await task
        assert b"two" in lane.body and lane.end == "finish"
        await eventually(lambda: made.backends["a"].closed == 0)
        assert (entry.in_flight, pool(made.backends["a"]).sockets) == (0, 0)


async def test_who_stays_keeps_its_state_and_its_connections() -> None:
    async with fleet("a", a=Played("openai", said("a")), b=Played("openai", said("b"))) as made:
        await made.answer()
        entry, idle = made.roster.entries["a"], pool(made.backends["a"]).idle
        await made.adopt("b", "a")
        assert made.roster.entries["a"] is entry
        assert (list(made.roster.entries), pool(made.backends["a"]).idle, entry.left) == (["b", "a"], idle, False)


async def test_another_backend_of_the_same_name_takes_its_place() -> None:
    async with fleet("a", a=Played("openai", said("old")), b=Played("openai", said("new"))) as made:
        before = made.roster.entries["a"]
        again = openai("a", f"{made.played['b'].raw.url}/v1")
        await made.roster.adopt([(again, QUIET)], Bylaws())
        assert (before.left, await made.answer()) == (True, "new")
        await again.close()


async def test_the_sessions_of_who_left_are_forgotten_and_those_of_a_replaced_one_stay() -> None:
    async with fleet("a", "b", a=Played("openai", said("a")), b=Played("openai", said("b"))) as made:
        sessions = made.roster.sessions
        assert sessions is not None
        one, two = (Key(f"session-{number}", "ip") for number in (1, 2))
        sessions.pin(one, "a", 0.0)
        sessions.pin(two, "b", 0.0)
        again = openai("b", f"{made.played['b'].raw.url}/v1")
        await made.roster.adopt([(again, QUIET)], Bylaws())
        assert (sessions.find(one, 1.0), sessions.find(two, 1.0)) == (None, "b")
        await again.close()


# ---- what is asked of whom -----------------------------------------------------------------------------------------


async def test_who_left_is_asked_no_more() -> None:
    a, b = Played("openai", said("a")), Played("openai", said("b"))
    often = Seat(check_interval=0.01)
    async with fleet("a", seat=often, a=a, b=b) as made:
        entry = made.roster.entries["a"]
        await made.adopt("b")
        assert entry.asking is None
        asked = entry.check_at
        # Not even by the end of a request that went wrong there.
        made.roster.note(entry, BackendBroken("cut"), 0.0, before_head=False)
        made.roster.note(entry, BackendUnreachable("refused"), 0.0, before_head=True)
        await asyncio.sleep(0.05)
        assert (entry.asking, entry.check_at, entry.state) == (None, asked, State.HEALTHY)


async def test_a_new_interval_begins_at_once_and_none_ends_the_asking() -> None:
    async with fleet("a", seat=Seat(check_interval=3600), a=Played("openai", said("a"))) as made:
        entry = made.roster.entries["a"]
        first = entry.check_at
        await made.adopt("a", seat=Seat(check_interval=0.01))
        await eventually(lambda: entry.check_at != first)
        await made.adopt("a", seat=Seat(check_interval=0))
        await eventually(lambda: not entry.is_asked)
        last = entry.check_at
        await asyncio.sleep(0.05)
        assert entry.check_at == last


async def test_a_slow_newcomer_holds_nothing_up_for_long() -> None:
    async def hang(peer: Peer) -> None:
        await peer.gone()

    silent = Played("openai", said("a"))
    silent.raw._scripts = (hang,)
    async with fleet("a", a=Played("openai", said("a")), slow=silent) as made:
        await made.adopt("a", "slow", seat=Seat(check_timeout=60, check_interval=0))
        assert (made.roster.entries["slow"].state, await made.answer()) == (State.UNKNOWN, "a")


async def test_cancelled_it_has_changed_nothing() -> None:
    async def hang(peer: Peer) -> None:
        await peer.gone()

    silent = Played("openai", said("a"))
    silent.raw._scripts = (hang,)
    async with fleet("a", a=Played("openai", said("a")), slow=silent) as made:
        adopting = asyncio.create_task(made.adopt("slow"))
        await asyncio.sleep(0.05)
        adopting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adopting
        assert (list(made.roster.entries), await made.answer()) == (["a"], "a")


async def test_before_the_start_nobody_is_asked() -> None:
    played = Played("openai", said("a"))
    async with played.raw as raw:
        roster = Roster([])
        await roster.adopt([(openai("a", f"{raw.url}/v1"), QUIET)], Bylaws())
        assert (raw.connections, list(roster.entries)) == (0, ["a"])
        await roster.start()
        assert [offer.card.id for offer in roster.names.offers] == ["gpt-x"]
        await roster.close()


# ---- what the operator says counts at once -------------------------------------------------------------------------


async def test_what_is_told_of_models_counts_without_a_check() -> None:
    async with fleet("a", a=Played("openai", said("a"))) as made:
        entry = made.roster.entries["a"]
        asked = entry.check_at
        own = Seat(check_interval=0, extra_models=("extra",), told=Told(price={"gpt-*": (1.0, 2.0)}))
        overall = Told(capabilities={"*": frozenset({Capability.TOOLS})}, context_length={"extra": 99})
        await made.adopt("a", seat=own, bylaws=Bylaws(told=overall, aliases={"fast": ["extra"]}))
        assert [(card.id, card.input_price, card.capabilities, card.context_length) for card in entry.cards] == [
            ("gpt-x", 1.0, frozenset({Capability.TOOLS}), None),
            ("extra", None, frozenset({Capability.TOOLS}), 99),
        ]
        assert [offer.card.id for offer in made.roster.names.resolve("fast")] == ["extra"]
        # And what is told no more is gone.
        await made.adopt("a")
        assert [(card.id, card.input_price, card.capabilities) for card in entry.cards] == [("gpt-x", None, None)]
        assert entry.check_at == asked


async def test_patterns_and_places_count_at_once() -> None:
    async with fleet("a", a=Played("openai", said("a"))) as made:
        await made.adopt("a", seat=Seat(check_interval=0, patterns=Patterns(exclude=("gpt-*",)), max_concurrency=3))
        assert made.roster.names.offers == ()
        assert made.roster.entries["a"].member("gpt-x", 0.0).max_concurrency == 3


# ---- those who wait ------------------------------------------------------------------------------------------------


async def test_who_waits_for_a_place_goes_to_the_newcomer() -> None:
    held = Held("a")
    full = Seat(check_interval=0, max_concurrency=1)
    async with fleet("a", seat=full, a=held.played, b=Played("openai", said("b"))) as made:
        lane, streaming = made.ask(stream=True)
        await until(lane, b"one ")
        waiting, task = made.ask()
        await eventually(lambda: made.roster.queue.waiting == 1)
        await made.adopt("b")
        async with asyncio.timeout(SECONDS):
            await task
        assert (waiting.status, b'"b"' in waiting.body) == (200, True)
        held.told.set()
        await streaming


async def test_who_waits_gets_a_place_that_is_new_on_the_same_backend() -> None:
    held = Held("a")
    async with fleet("a", seat=Seat(check_interval=0, max_concurrency=1), a=held.played) as made:
        first, one = made.ask(stream=True)
        await until(first, b"one ")
        second, other = made.ask(stream=True)
        await eventually(lambda: made.roster.queue.waiting == 1)
        await made.adopt("a", seat=Seat(check_interval=0, max_concurrency=2))
        await until(second, b"one ")
        held.told.set()
        await asyncio.gather(one, other)
        assert (first.end, second.end) == ("finish", "finish")


async def test_who_waits_for_a_model_that_left_gets_an_answer() -> None:
    held, other = Held("a"), Played("openai", said("b"), models=b'{"data":[{"id":"else"}]}')
    async with fleet("a", seat=Seat(check_interval=0, max_concurrency=1), a=held.played, b=other) as made:
        lane, streaming = made.ask(stream=True)
        await until(lane, b"one ")
        waiting, task = made.ask()
        await eventually(lambda: made.roster.queue.waiting == 1)
        await made.adopt("b")
        async with asyncio.timeout(SECONDS):
            await task
        assert (waiting.status, b"model 'gpt-x' not found" in waiting.body) == (404, True)
        held.told.set()
        await streaming
        assert lane.end == "finish"


async def test_a_place_on_one_that_left_is_promised_to_nobody() -> None:
    entry = Entry(openai("a", "http://127.0.0.1:9/v1"), Seat(max_concurrency=1))
    queue = Queue()
    ticket = queue.ticket(1)
    waiting = asyncio.create_task(queue.wait(ticket, {"a"}, 5.0))
    await asyncio.sleep(0)
    entry.left = True
    queue.freed(entry)
    assert (ticket.granted, entry.reserved) == (None, 0)
    entry.left = False
    queue.freed(entry)
    assert (ticket.granted, entry.reserved) == (entry, 1)
    await waiting


async def test_who_waits_behind_one_that_left_goes_on_waiting_for_its_successor() -> None:
    held = Held("a")
    seat = Seat(check_interval=0, max_concurrency=1)
    async with fleet("a", seat=seat, a=held.played, b=Held("b").played) as made:
        old, streaming = made.ask(stream=True)
        await until(old, b"one ")
        gone = made.roster.entries["a"]
        again = openai("a", f"{made.played['b'].raw.url}/v1")
        await made.roster.adopt([(again, seat)], Bylaws())
        new, other = made.ask(stream=True)
        await until(new, b"one ")
        waiting, task = made.ask()
        await eventually(lambda: made.roster.queue.waiting == 1)
        held.told.set()
        await streaming
        await asyncio.sleep(0.05)
        assert (gone.reserved, made.roster.queue.waiting, waiting.started) == (0, 1, False)
        for one in (other, task):
            one.cancel()
        await asyncio.gather(other, task, return_exceptions=True)
        await again.close()


async def test_a_failed_attempt_moves_on_to_a_newcomer() -> None:
    """The backend is gone from the fleet and from the world before it has answered."""
    told = asyncio.Event()

    async def dies(peer: Peer) -> None:
        await told.wait()
        peer.reset()

    async with fleet("a", a=Played("openai", dies), b=Played("openai", said("b"))) as made:
        lane, task = made.ask()
        await eventually(lambda: made.roster.entries["a"].in_flight == 1 and bool(made.played["a"].seen))
        await made.adopt("b")
        told.set()
        async with asyncio.timeout(SECONDS):
            await task
        assert (lane.status, b'"b"' in lane.body) == (200, True)


async def test_a_breaker_of_one_that_left_is_no_matter() -> None:
    async with fleet("a", a=Played("openai", said("a")), b=Played("openai", said("b"))) as made:
        entry = made.roster.entries["a"]
        await made.adopt("b")
        for _ in range(20):
            made.roster.note(entry, BackendUnreachable("refused"), made.roster.clock(), before_head=True)
        assert (list(made.roster.entries), await made.answer()) == (["b"], "b")
        assert made.roster.tally.backends["a"].results == {"backend_unreachable": 20}


async def test_a_library_operation_keeps_one_that_left_open() -> None:
    async with fleet(
        "a", "b", a=Played("openai", said("a"), name="a"), b=Played("openai", said("b"), name="b")
    ) as made:
        entry = made.roster.entries["a"]
        entry.errands = 1
        await made.adopt("b")
        await asyncio.sleep(0.15)
        open_meanwhile = made.backends["a"].closed is None
        entry.errands = 0
        await eventually(lambda: made.backends["a"].closed is not None)
    assert open_meanwhile
