"""`/health` and the pages below it: whether the gateway and its providers are well, and how much it has done.

`healthy` is for all of them, `degraded` for some, `unhealthy` for none: `/health` alone then answers 503, with the same
keys, and with all of them once more in `detail`, where the code had them. `providers` is by the backend's name. An
engine that has nothing but the demo model is well without any provider: it stands there, and counts only where nobody
else is configured. No page asks a backend anything: it tells what the last check, and the requests since, have shown.
"""

from collections.abc import Mapping, Sequence

import arriero
from arriero.backends.engine import DEMO_ID
from arriero.errors import BadRequest, NotFound
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.server.providers.reading import Reading, Readings
from arriero.server.providers.shapes import Shape, answer, checked, meant, refuse
from arriero.server.routes import GET_HEAD, Route

BELOW = "/health/providers/"


class Health:
    """The handlers, and their routes. `started` is unix time; `environment` is the operator's word."""

    def __init__(self, roster: Roster, tally: Tally, *, started: float, environment: str) -> None:
        self._roster = roster
        self._tally = tally
        self._started = started
        self._environment = environment
        self._readings = Readings(roster, tally)
        self.routes: Sequence[Route] = (
            Route("/health", GET_HEAD, self.health),
            Route("/health/", GET_HEAD, self.health),
            Route("/health/detailed", GET_HEAD, self.detailed),
            Route("/health/metrics", GET_HEAD, self.metrics),
            Route("/health/providers", GET_HEAD, self.providers),
            Route(f"{BELOW}*", GET_HEAD, self.provider),
        )

    async def health(self, inbound: Inbound, lane: Lane) -> None:
        """Everything; 503 where no provider is healthy."""
        told = self._system()
        if told["status"] == "unhealthy":
            answer(lane, {**told, "detail": told}, 503)
        else:
            answer(lane, told)

    async def detailed(self, inbound: Inbound, lane: Lane) -> None:
        """The same, and always 200."""
        answer(lane, self._system())

    async def metrics(self, inbound: Inbound, lane: Lane) -> None:
        """The counts alone."""
        answer(lane, self._metrics(len(self._providers())))

    async def providers(self, inbound: Inbound, lane: Lane) -> None:
        """The providers alone."""
        answer(lane, _by_name(self._readings.all()))

    async def provider(self, inbound: Inbound, lane: Lane) -> None:
        """One provider, or those that the word means as one, each of them below `providers`."""
        word = inbound.path.removeprefix(BELOW)
        try:
            names = meant(word, self._roster.entries)
        except NotFound as error:
            refuse(lane, error, healthy=False, status="not_configured", last_check=None)
        except BadRequest as error:
            refuse(lane, error)
        else:
            told = checked(self._readings.together(word, names))
            answer(lane, {**told, "providers": _by_name(self._readings.of(names))})

    # ---- the pages -------------------------------------------------------------------------------------------------

    def _providers(self) -> Sequence[str]:
        """Those that the status is about."""
        entries = self._roster.entries
        return [name for name, entry in entries.items() if not _is_bare(entry)] or list(entries)

    def _system(self) -> Shape:
        readings, total, names = self._readings.all(), self._tally.total, self._roster.names
        now = self._roster.wall()
        refreshed = [entry.models_at for entry in self._roster.entries.values() if entry.models_at is not None]
        visible, counted = len(names.models), self._providers()
        return {
            "status": _status([one for one in readings if one.name in counted]),
            "uptime_seconds": now - self._started,
            "model_count": visible + len(names.hidden),
            "filtered_model_count": visible,
            "request_count": total.requests,
            "error_count": total.failures,
            "error_rate": total.error_rate,
            "last_model_refresh": max(refreshed, default=None),
            "environment": self._environment,
            "timestamp": now,
            "version": arriero.__version__,
            "uptime": now - self._started,
            "providers": _by_name(readings),
            "metrics": self._metrics(len(counted)),
        }

    def _metrics(self, providers: int) -> Shape:
        total = self._tally.total
        rate = total.error_rate
        return {
            "total_requests": total.requests,
            "total_errors": total.failures,
            "error_rate": rate,
            "error_rate_percent": None if rate is None else rate * 100,
            "active_providers": providers,
            "uptime": self._roster.wall() - self._started,
        }


def _by_name(readings: Sequence[Reading]) -> Mapping[str, Shape]:
    return {one.name: checked(one) for one in readings}


def _is_bare(entry: Entry) -> bool:
    """Whether it is an engine with no model of its own."""
    return entry.backend.kind == "engine" and all(card.id == DEMO_ID for card in entry.cards)


def _status(readings: Sequence[Reading]) -> str:
    well = sum(one.healthy for one in readings)
    if not well:
        return "unhealthy"
    return "healthy" if well == len(readings) else "degraded"
