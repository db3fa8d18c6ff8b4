"""One request's choice among plain backends, asked step by step."""

import asyncio
from collections.abc import Sequence
from typing import Any

from arriero.backends.http.call import Headers
from arriero.errors import ArrieroError
from arriero.gateway.choice import Choice, Lease, Routing
from arriero.gateway.door import Door
from arriero.gateway.entry import Seat
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.sticky import Sessions
from support.lanes import inbound
from support.plain import Plain, seated

PLAIN = Routing()


class Asked:
    """One request and its choice."""

    def __init__(self, roster: Roster, routing: Routing = PLAIN, **request: Any) -> None:
        self.outcome = Outcome()
        self.roster = roster
        self.choice = Choice(asked(**request), roster, routing, self.outcome)

    async def find(self, model: str) -> "Asked":
        await self.choice.find(model)
        return self

    def take(self) -> str:
        """The next one at once, as `backend/model: reason`."""
        return self._told(self.choice.next())

    async def wait(self) -> str:
        """The same, waiting where all are full."""
        return self._told(await self.choice.next_or_wait())

    def waits(self) -> "asyncio.Task[str]":
        return asyncio.create_task(self.wait())

    def fails(self, error: ArrieroError) -> bool:
        """The attempt ends with this error; whether another may follow."""
        goes_on = self.choice.goes_on(self.lease.offer, error)
        self.end(error)
        return goes_on

    def end(self, error: ArrieroError | None = None) -> None:
        self.roster.give_back(self.lease.entry)
        self.roster.note(self.lease.entry, error, self.lease.started, before_head=True)

    def _told(self, lease: Lease) -> str:
        self.lease = lease
        self.outcome.attempts += 1
        return f"{lease.offer.backend}/{lease.offer.card.id}: {lease.reason}"


def asked(
    headers: Headers = (), door: Door | None = None, body: bytes = b"{}", client: str | None = "127.0.0.1"
) -> Inbound:
    made = inbound("POST", "/api/chat", body, headers=headers)
    return Inbound(
        made.method,
        made.path,
        headers,
        body,
        client,
        made.request_id,
        made.received_ns,
        door=door or Door(),
    )


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def fleet(
    *backends: Plain,
    most: int | None = None,
    seats: Sequence[Seat] = (),
    bylaws: Bylaws | None = None,
    queue: Queue | None = None,
    sessions: Sessions | None = None,
    clock: Clock | None = None,
) -> Roster:
    """A roster whose backends have listed their models."""
    same = Seat(check_interval=0, max_concurrency=most)
    seated_ = [seated(backend, seat=seats[number] if seats else same)[0] for number, backend in enumerate(backends)]
    roster = Roster(seated_, bylaws or Bylaws(), queue=queue, sessions=sessions, clock=clock or Clock())
    await roster.refresh()
    return roster


def loads(roster: Roster) -> list[tuple[int, int]]:
    return [(entry.in_flight, entry.reserved) for entry in roster.entries.values()]
