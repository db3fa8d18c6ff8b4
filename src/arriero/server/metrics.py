"""The text that Prometheus reads: the counts and the fleet's state under Olla's names and under our own.

What is told stands in `series` and `olla/series`; here it is gathered and written. Models become labels only where the
catalog knows them, and no more than `MAX_MODELS` do, so that no client can make the answer grow.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from arriero.backends.http.call import Headers
from arriero.errors import ArrieroError
from arriero.gateway.counts import BackendCount, ModelCount
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.tally import Tally
from arriero.routing.names import Names
from arriero.server import exposition, series
from arriero.server.accept import wants_openmetrics
from arriero.server.olla import series as olla
from arriero.server.routes import GET_HEAD, Route
from arriero.server.series import Facts, Waiting

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MAX_MODELS = 200
"""Models that have series of their own: those that were asked for most."""


class Fleet(Protocol):
    """What is read of the roster."""

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def names(self) -> Names: ...

    @property
    def queue(self) -> Waiting: ...

    @property
    def wall(self) -> Callable[[], float]: ...

    @property
    def clock(self) -> Callable[[], float]: ...


class Metrics:
    """The handlers, and the route of one. `started` is unix time; `policy` is the word of `routing.policy`."""

    def __init__(self, roster: Fleet, tally: Tally, *, started: float, policy: str) -> None:
        self._roster = roster
        self._tally = tally
        self._started = started
        self._policy = policy
        self.routes: Sequence[Route] = (Route("/internal/metrics", GET_HEAD, self.metrics),)

    async def metrics(self, inbound: Inbound, lane: Lane) -> None:
        """Everything, where Olla's scrapers look for it."""
        await self._answer(inbound, lane, self.families)

    async def text(self, inbound: Inbound, lane: Lane) -> None:
        """The same without what has Olla's names: a linter finds nothing to complain of."""
        await self._answer(inbound, lane, self.own_families)

    async def _answer(self, inbound: Inbound, lane: Lane, families: Callable[[], Iterable["Metric"]]) -> None:
        """In OpenMetrics for a client that names it, else in the text format 0.0.4."""
        await asyncio.to_thread(exposition.load)  # at the first scrape it takes as long as a hundred requests
        asked = wants_openmetrics(inbound.get(b"accept"))
        found: list[Metric] = []
        for family in families():
            found.append(family)
            await asyncio.sleep(0)  # a large fleet takes a while, in which streams want to go on
        body = await asyncio.to_thread(_written, found, openmetrics=asked)
        kind = exposition.OPENMETRICS if asked else exposition.TEXT
        headers: Headers = ((b"content-type", kind), (b"vary", b"Accept"))
        reply(lane, 200, headers, body)

    def families(self) -> Iterator["Metric"]:
        """Everything but what the kernel knows of the process."""
        facts = self._facts()
        yield from olla.families(facts)
        yield from series.families(facts)

    def own_families(self) -> Iterator["Metric"]:
        """What has names of arriero's own."""
        return series.families(self._facts())

    def _facts(self) -> Facts:
        roster, tally = self._roster, self._tally
        counts = {name: tally.backends.get(name) or BackendCount() for name in roster.entries}
        return Facts(
            entries=roster.entries,
            counts=counts | tally.backends,  # with those that have left the fleet since
            models=self._models(),
            tally=tally,
            names=roster.names,
            queue=roster.queue,
            now=roster.clock(),
            wall=roster.wall(),
            started=self._started,
            policy=self._policy,
        )

    def _models(self) -> list[tuple[str, ModelCount]]:
        ordered = sorted(self._tally.models.items(), key=lambda item: (-item[1].requests, item[0]))
        return [(exposition.label(name), count) for name, count in islice(filter(self._is_known, ordered), MAX_MODELS)]

    def _is_known(self, item: tuple[str, ModelCount]) -> bool:
        try:
            return bool(self._roster.names.resolve(item[0]))
        except ArrieroError:
            return False


def _written(families: Iterable["Metric"], *, openmetrics: bool) -> bytes:
    return exposition.written([*families, *exposition.of_process()], openmetrics=openmetrics)
