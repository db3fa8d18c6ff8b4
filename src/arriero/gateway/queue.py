"""Where requests wait when every backend that could take them is full: first come, first served, by class of priority.

A place that becomes free is promised to the first who waits for it, before anybody new can see it: a request that has
just arrived never overtakes.
"""

import asyncio
from bisect import insort
from collections.abc import Collection

from arriero.errors import BadRequest, Busy
from arriero.gateway.entry import Entry

RANKS = {b"high": 0, b"normal": 1, b"low": 2}
"""The classes of priority, in the words of the `X-Arriero-Priority` header."""

RETRY_SECONDS = 5.0
"""When to come again if the queue is full, or the wait was too long."""


def rank_of(told: bytes | None) -> int:
    """The rank that a header field names; less goes first. Raises `BadRequest`."""
    rank = RANKS.get(b"normal" if told is None else told.strip().lower())
    if rank is None:
        raise BadRequest(f"X-Arriero-Priority must be one of {', '.join(word.decode() for word in RANKS)}")
    return rank


class Ticket:
    """One request's place in the queue. It keeps its number while it waits again for another chance."""

    __slots__ = ("_future", "_order", "backends", "granted")

    def __init__(self, rank: int, number: int) -> None:
        self._order = (rank, number)
        self._future: asyncio.Future[None] | None = None
        self.backends: Collection[str] = ()
        self.granted: Entry | None = None

    def __lt__(self, other: "Ticket") -> bool:
        return self._order < other._order

    async def called(self) -> None:
        """Wait for a grant, or for any change that is worth another look."""
        self._future = asyncio.get_running_loop().create_future()
        await self._future

    def call(self) -> None:
        """Look again."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Queue:
    """All who wait. `most` of them at a time, each for `seconds` at most (`None`: without end)."""

    def __init__(self, most: int = 512, seconds: float | None = 300.0) -> None:
        self.most = most
        self.seconds = seconds
        self.tickets: list[Ticket] = []
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return len(self.tickets)

    def ticket(self, rank: int) -> Ticket:
        """A place behind everybody of the same rank."""
        self._count += 1
        return Ticket(rank, self._count)

    async def wait(
        self, ticket: Ticket, backends: Collection[str], seconds: float | None, *, look: float | None = None
    ) -> None:
        """Returns when it is worth to decide again, at the latest after `look` seconds; a place may then be promised to
        the ticket, which `take` gives up. Raises `Busy` when the queue is full or `seconds` have passed.
        """
        if len(self.tickets) >= self.most:
            raise Busy(RETRY_SECONDS)
        looks = look is not None and (seconds is None or look < seconds)
        ticket.backends = backends
        insort(self.tickets, ticket)
        try:
            async with asyncio.timeout(look if looks else seconds):
                await ticket.called()
        except BaseException as error:
            self.tickets.remove(ticket)
            over = isinstance(error, TimeoutError)
            if over and looks:
                return
            granted = self.take(ticket)
            if granted is not None:
                self.freed(granted)  # what was promised to this one is the next one's
            if over:
                raise Busy(RETRY_SECONDS) from None
            raise
        self.tickets.remove(ticket)

    def take(self, ticket: Ticket) -> Entry | None:
        """The promise ends: the backend of the place, for whoever decides in this same step. `freed` has to follow."""
        granted, ticket.granted = ticket.granted, None
        if granted is not None:
            granted.reserved -= 1
        return granted

    def freed(self, entry: Entry, *, behind: Ticket | None = None) -> None:
        """A place may be free on this backend: promise it to the first who waits for one there, or to the first of
        those who stand behind a ticket that had the promise and could not use it.
        """
        if not self.tickets or entry.left:
            return
        name, most = entry.backend.name, entry.seat.max_concurrency
        for ticket in self.tickets:
            if most is not None and entry.in_flight + entry.reserved >= most:
                return
            if behind is not None and not behind < ticket:
                continue
            # Also to one that has been called, and has not looked yet: those behind it must not have the place.
            if ticket.granted is None and name in ticket.backends:
                ticket.granted = entry
                entry.reserved += 1
                ticket.call()

    def withdraw(self, entry: Entry) -> None:
        """The backend cannot be used now. Whoever was promised a place there may be promised another, before those who
        stand behind him are.
        """
        if entry.reserved:
            for ticket in self.tickets:
                if ticket.granted is entry:
                    self.take(ticket)

    def kick(self) -> None:
        """The fleet has changed: everybody looks again, in order."""
        for ticket in self.tickets:
            ticket.call()
