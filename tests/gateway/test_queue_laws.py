"""The queue as a whole: requests come, wait, are served, fail, leave, and backends die and come back, in any order.

What must hold whenever nothing moves any more: no backend has more than its places, no promise is open, nobody waits
for a place that is free, and nobody has a place for which one of his rank or above was there before him.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from arriero.backends.http.call import Headers
from arriero.errors import ArrieroError, BackendFailed, BackendUnreachable, Busy, NoBackend
from arriero.gateway.choice import Choice, Lease, Retrying, Routing
from arriero.gateway.entry import Seat
from arriero.gateway.outcome import Outcome
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.breaker import BreakerRule
from arriero.routing.fleet import ROUTABLE
from support.lanes import inbound
from support.plain import Plain, seated, settled

MODELS = {"x": ("one", "both"), "y": ("two", "both"), "z": ("one", "two", "three")}
PLACES = {"x": 1, "y": 2, "z": 1}
RANKS = ("high", "normal", "low")
NEVER_OPENS = BreakerRule(failures=1_000_000)
ROUTING = Routing(retrying=Retrying(attempts=1_000, budget_seconds=None))


class Client:
    """One request: it waits, has a place, or is over."""

    def __init__(self, town: "Town", model: str, rank: int, *, at_once: bool) -> None:
        headers: Headers = ((b"x-arriero-priority", RANKS[rank].encode()),)
        self.outcome = Outcome()
        self.choice = Choice(inbound("POST", "/api/chat", headers=headers), town.roster, ROUTING, self.outcome)
        self.choice.find_at_once(model)
        self.offers = {offer.backend for offer in town.roster.names.resolve(model)}
        self.refused: ArrieroError | None = None
        self.lease: Lease | None = None
        self.task: asyncio.Task[None] | None = None
        self.tried: set[str] = set()
        self._town = town
        if at_once:
            # As the short way does it: in the same step in which the request came.
            try:
                self._serve(self.choice.next())
            except (Busy, NoBackend):
                self.wait()
        else:
            self.wait()

    def wait(self) -> None:
        self.lease = None
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        try:
            self._serve(await self.choice.next_or_wait())
        except (Busy, NoBackend) as error:
            self.refused = error

    def _serve(self, lease: Lease) -> None:
        self.lease = lease
        self.outcome.attempts += 1
        name = lease.entry.backend.name
        self.tried.add(name)
        own = self.choice._ticket
        for other in self._town.in_line:
            ticket = other.choice._ticket
            assert ticket is not None
            # Who has the promise of another place loses nothing.
            wants = other.stands and ticket.granted is None and name in other.usable
            if wants and (own is None or ticket._order < own._order):
                self._town.overtaken.append((other, self, name))

    @property
    def usable(self) -> set[str]:
        """The backends whose places it may have."""
        entries = self._town.roster.entries
        return {name for name in self.offers - self.tried if entries[name].state in ROUTABLE}

    @property
    def waits(self) -> bool:
        return self.task is not None and not self.task.done() and self.lease is None

    @property
    def stands(self) -> bool:
        """Whether it is in the queue, and not only on its way there."""
        return self.choice._ticket in self._town.roster.queue.tickets

    def end(self, error: ArrieroError | None) -> None:
        """Its attempt ends; after an error it goes on to another backend, as an exchange does."""
        lease, roster = self.lease, self._town.roster
        assert lease is not None
        self.lease = None
        roster.give_back(lease.entry)
        roster.note(lease.entry, error, lease.started, before_head=True)
        if error is not None and self.choice.goes_on(lease.offer, error):
            self.wait()

    def leave(self) -> None:
        """Its client closes the connection."""
        assert self.task is not None
        self.task.cancel()


class Town:
    """A fleet and all its clients."""

    def __init__(self, queue: Queue) -> None:
        self.backends = {name: Plain(name, *models) for name, models in _by_backend().items()}
        seats = [
            seated(backend, seat=Seat(check_interval=0, max_concurrency=PLACES[name]))[0]
            for name, backend in self.backends.items()
        ]
        self.roster = Roster(seats, Bylaws(breaker=NEVER_OPENS), queue=queue, clock=lambda: 0.0)
        self.clients: list[Client] = []
        self.in_line: list[Client] = []  # when nothing moved the last time
        self.overtaken: list[tuple[Client, Client, str]] = []

    @property
    def holders(self) -> list[Client]:
        return [client for client in self.clients if client.lease is not None]

    @property
    def waiting(self) -> list[Client]:
        return [client for client in self.clients if client.waits]

    async def do(self, word: str, number: int) -> None:
        """One thing that happens; nothing where there is nobody to whom it could."""
        entries = list(self.roster.entries.values())
        entry = entries[number % len(entries)]
        match word:
            case "come" | "come at once":
                model = sorted(_OFFERED)[number % len(_OFFERED)]
                rank = number // 7 % len(RANKS)
                at_once = word == "come at once"
                self.clients.append(Client(self, model, rank, at_once=at_once))
            case "end" if self.holders:
                self.holders[number % len(self.holders)].end(None)
            case "fail" if self.holders:
                self.holders[number % len(self.holders)].end(BackendFailed("no", status=500))
            case "die" if self.holders:
                self.holders[number % len(self.holders)].end(BackendUnreachable("refused"))
            case "leave" if self.waiting:
                self.waiting[number % len(self.waiting)].leave()
            case "revive":
                self.roster._checks.ask(entry)
            case "kick":
                self.roster.queue.kick()
            case "settle":
                await settled()
                self.check()
            case _:
                pass

    def check(self) -> None:
        """Nothing moves any more."""
        held = [client.lease.entry.backend.name for client in self.holders if client.lease is not None]
        for name, entry in self.roster.entries.items():
            assert (entry.in_flight, entry.reserved) == (held.count(name), 0)
            assert entry.in_flight <= PLACES[name]
        assert self.overtaken == []
        self.in_line = self.waiting
        assert self.roster.queue.waiting == len(self.waiting) <= self.roster.queue.most
        for client in self.waiting:
            assert client.usable, "it waits for nobody"
            for name in client.usable:
                entry = self.roster.entries[name]
                assert entry.in_flight == PLACES[name], f"it waits while {name} is free"

    async def close(self) -> None:
        """Everybody ends or leaves: then there is nothing left."""
        while self.holders or self.waiting:
            for client in self.waiting:
                client.leave()
            for client in self.holders:
                client.end(None)
            await settled()
        assert [(entry.in_flight, entry.reserved) for entry in self.roster.entries.values()] == [(0, 0)] * len(PLACES)
        assert self.roster.queue.waiting == 0
        await self.roster.close()


_OFFERED = ("one", "two", "three", "both")


def _by_backend() -> dict[str, tuple[str, ...]]:
    return {name: tuple(model for model in models) for name, models in MODELS.items()}


def play(events: Sequence[tuple[str, int]], queue: Queue | None = None) -> Any:
    async def run() -> Any:
        town = Town(queue or Queue(seconds=None))
        await town.roster.refresh()
        async with asyncio.timeout(20):
            for word, number in events:
                await town.do(word, number)
            await town.do("settle", 0)
            refused = [client.refused for client in town.clients if client.refused is not None]
            await town.close()
        return refused

    return asyncio.run(run())


WORDS = ("come", "come at once", "end", "end", "end", "fail", "die", "leave", "leave", "revive", "kick", "settle")
CROWD = st.lists(st.tuples(st.just("come"), st.integers(0, 40)), max_size=20)
BATCH = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 20)), max_size=8)
EVENTS = st.builds(
    lambda crowd, batches: [event for batch in (crowd, *batches) for event in (*batch, ("settle", 0))],
    CROWD,
    st.lists(BATCH, max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
@example([("come", 0)] * 8 + [("settle", 0), ("fail", 0), ("settle", 0), ("end", 0), ("settle", 0)])
@example([("come", 0)] * 5 + [("settle", 0), ("die", 0), ("end", 0), ("settle", 0)])
@example([*[("come", 0)] * 3, ("come", 1), ("come", 7), ("settle", 0), ("come", 0), ("end", 1)])
def test_the_laws_of_the_queue(events: list[tuple[str, int]]) -> None:
    assert all(not isinstance(error, Busy) for error in play(events))  # there is room for all, and no end to the wait


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(0, 3))
def test_the_laws_of_a_short_queue(events: list[tuple[str, int]], most: int) -> None:
    play(events, Queue(most=most, seconds=None))
