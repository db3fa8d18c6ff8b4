"""A small fleet in all conditions, for what Olla's surface says of it: nothing is sent, and time stands still."""

import json
from collections.abc import Mapping
from typing import Any

from arriero.backends.base import Backend, Want
from arriero.backends.http.call import Headers
from arriero.canonical.catalog import Capability, LoadedModel, ModelCard, ModelDetail
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendUnreachable
from arriero.gateway.counts import BackendCount
from arriero.gateway.entry import Seat
from arriero.gateway.lane import Lane
from arriero.gateway.roster import Bylaws, Roster
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Breaker
from arriero.routing.fleet import State
from arriero.server.routes import Route, Table
from support.lanes import KeptLane, inbound

NOW = 1000.0
WALL = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SEEN = WALL - 120

LLAMA = ModelCard(
    id="llama3.2:latest",
    capabilities=frozenset({Capability.COMPLETION, Capability.TOOLS}),
    context_length=131072,
    size_bytes=2_019_393_189,
    modified_at=1_700_000_000.5,
    format="gguf",
    family="llama",
    parameter_count=3_212_749_888,
    quantization="Q4_K_M",
)
VISION = ModelCard(
    id="acme/big", capabilities=frozenset({Capability.COMPLETION, Capability.VISION}), created=1_650_000_000
)
EMBED = ModelCard(id="embed:v1", capabilities=frozenset({Capability.EMBEDDING}), family="bert", owned_by="acme")
GONE = ModelCard(id="gone:7b", family="llama")


class Resting:
    """A backend that lists what it was given and takes no request."""

    error_type = "resting_error"
    library = curated = forwards_client = silent = False
    headers: Headers = ()
    broken: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        kind: str,
        where: str,
        *cards: ModelCard,
        profile: str = "ollama",
        loaded: tuple[str, ...] = (),
        roots: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.kind, self.where = name, kind, where
        self.cards = cards
        self.profile = profile_of(profile)
        self.roots = roots or ({"ollama": "", "openai": "/v1"} if kind == "ollama" else {"openai": ""})
        self.has_memory = kind == "ollama"
        self._loaded = loaded

    async def check(self) -> None:
        return None

    async def list_models(self) -> tuple[ModelCard, ...]:
        return self.cards

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        return tuple(LoadedModel(card=card) for card in self.cards if card.id in self._loaded)

    def at_hand(self, want: Want) -> None:
        return None

    async def reach(self, want: Want) -> Lane:
        raise AssertionError("nothing is sent here")

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        return ModelDetail(card=card)

    async def load(self, model: str, keep_alive: float | None) -> None:
        return None

    async def close(self) -> None:
        return None


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return NOW + self.passed

    def wall(self) -> float:
        return WALL + self.passed


def backends() -> list[tuple[Backend, Seat]]:
    """`alpha` is well, `beta`'s breaker is open, `gamma` is offline, `delta` wants to be left alone."""
    alpha = Resting("alpha", "ollama", "http://10.0.0.1:11434", LLAMA, EMBED, loaded=("llama3.2:latest",))
    beta = Resting("beta", "openai", "http://10.0.0.2:8000/v1", VISION, profile="vllm")
    gamma = Resting("gamma", "ollama", "http://10.0.0.3:11434", LLAMA, GONE)
    delta = Resting("delta", "openai", "https://api.example.com/v1", VISION, profile="generic")
    return [
        (alpha, Seat(priority=100)),  # type: ignore[list-item]
        (beta, Seat(priority=100)),  # type: ignore[list-item]
        (gamma, Seat(priority=200)),  # type: ignore[list-item]
        (delta, Seat(priority=50)),  # type: ignore[list-item]
    ]


async def fleet(
    seats: list[tuple[Backend, Seat]] | None = None,
    *,
    clocks: Clocks | None = None,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
) -> Roster:
    """A roster that knows every backend's models; the four of `backends` in their conditions where none are given."""
    clocks = clocks or Clocks()
    roster = Roster(
        backends() if seats is None else seats,
        Bylaws(aliases={"fast": ("llama3.2",), "lost": ("nobody-has-it",)} if aliases is None else aliases),
        wall=clocks.wall,
        clock=clocks.now,
    )
    await roster.refresh()
    for entry in roster.entries.values():
        entry.check_at, entry.next_check_at, entry.models_at, entry.check_seconds = WALL - 2, WALL + 3, SEEN, 0.0853
    if seats is None:
        _afflict(roster)
    return roster


def _afflict(roster: Roster) -> None:
    alpha, beta, gamma, delta = roster.entries.values()
    alpha.in_flight = 2
    beta.breaker = Breaker(5, counted_at=NOW - 18, admits_at=NOW + 12, open_seconds=30.0)
    gamma.state, gamma.failures = State.OFFLINE, 7
    gamma.error = BackendUnreachable("gamma refused the connection")
    gamma.check_seconds, gamma.loaded = None, None
    delta.state, delta.cooling_until = State.RATE_LIMITED, NOW + 25


def tally() -> Tally:
    """Twenty requests at `alpha`, one of them failed; two refused before they were requests."""
    found = Tally()
    alpha = found.backends["alpha"] = BackendCount()
    for count in (found.total, alpha):
        count.requests, count.failures, count.answers = 20, 1, 19
        count.total_ms, count.min_ms, count.max_ms = 19 * 120.4, 80.6, 2400.2
        count.received_bytes = 1536
    found.security.limit("10.9.9.9", WALL)
    found.security.oversize()
    return found


class Site:
    """Routes, asked as a client asks them."""

    def __init__(self, *routes: Route) -> None:
        self._table = Table(routes)

    async def ask(self, path: str, query: str = "", *, headers: Headers = ()) -> KeptLane:
        """The whole answer to a GET."""
        lane = KeptLane()
        request = inbound("GET", path, headers=headers, query=query.encode())
        rest = self._table.find(path, "GET").handler(request, lane)
        assert rest is not None
        await rest
        assert lane.end == "finish"
        return lane

    async def get(self, path: str, query: str = "") -> Any:
        """The JSON of a good answer."""
        lane = await self.ask(path, query)
        assert (lane.status, lane.field(b"content-type")) == (200, b"application/json")
        return json.loads(lane.body)
