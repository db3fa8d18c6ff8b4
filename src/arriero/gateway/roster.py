"""The live backends: what they offer, whether they answer, how busy they are. Reads the clock, holds the mutable state.

Everything a decision needs leaves here as frozen values (`Names`, `Member`). Every backend is asked for its models at
start, then every `check_interval` seconds, and once more when a client names a model that nobody knows.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog
from msgspec import Struct

from arriero.backends.base import Backend
from arriero.canonical.catalog import Capability, LoadedModel, ModelCard
from arriero.canonical.requests import FOREVER
from arriero.errors import ArrieroError, BackendTimeout, BackendUnreachable, InternalError, ModelBroken, ModelNotFound
from arriero.routing.fleet import Member
from arriero.routing.names import Names, Offer, Patterns, key_of

START_SECONDS = 1.0
"""How long the start waits for slow backends; they go on being asked in the background."""

MISS_SECONDS = 5.0
"""A backend asked less than this ago is not asked again because of an unknown name."""

DEFAULT_KEEP_ALIVE = 300.0

MAX_USED = 4096
"""Models of one backend that are remembered as used."""

Value = TypeVar("Value")

log = structlog.get_logger("arriero.roster")


class Told(Struct, frozen=True):
    """What the operator says of models by glob, used where a backend says nothing."""

    capabilities: Mapping[str, frozenset[Capability]] = {}
    context_length: Mapping[str, int] = {}


class Seat(Struct, frozen=True, kw_only=True):
    """How a backend is placed in the fleet: what the operator said of it. Times are seconds; a `check_interval`
    of 0 asks only at the start and when a client names an unknown model."""

    priority: int = 100
    weight: float = 1.0
    max_concurrency: int | None = None
    check_interval: float = 30.0  # 0: it is asked at start, and when a name is not known
    check_timeout: float = 2.0
    patterns: Patterns = Patterns()
    extra_models: tuple[str, ...] = ()
    told: Told = Told()


class Entry:
    """One backend and what is known of it now. `healthy` is `None` before the first answer or failure."""

    __slots__ = ("asked", "asking", "backend", "broken", "cards", "error", "healthy", "in_flight", "seat", "used")

    def __init__(self, backend: Backend, seat: Seat) -> None:
        self.backend = backend
        self.seat = seat
        self.cards: tuple[ModelCard, ...] = ()
        self.broken: dict[str, str] = {}
        self.healthy: bool | None = None
        self.error: ArrieroError | None = None
        self.in_flight = 0
        self.asked = float("-inf")
        self.asking: asyncio.Task[None] | None = None
        self.used: dict[str, float] = {}  # model id -> unix time until which it counts as loaded

    @property
    def is_asked(self) -> bool:
        """Whether a question for its models is on its way."""
        return self.asking is not None and not self.asking.done()

    @property
    def member(self) -> Member:
        """The frozen picture for a decision."""
        return Member(
            self.backend.name,
            self.backend.kind,
            self.seat.priority,
            self.seat.weight,
            self.seat.max_concurrency,
            self.in_flight,
            self.healthy,
        )


class Roster:
    """All backends, in configuration order."""

    def __init__(
        self,
        seats: Sequence[tuple[Backend, Seat]],
        *,
        aliases: Mapping[str, Sequence[str]] | None = None,
        overall: Patterns | None = None,
        told: Told | None = None,
        unknown_model: str = "reject",
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entries: dict[str, Entry] = {backend.name: Entry(backend, seat) for backend, seat in seats}
        self._aliases = aliases or {}
        self._overall = overall or Patterns()
        self._told = told or Told()
        self._unknown_model = unknown_model
        self._wall = wall
        self._clock = clock
        self._keepers: list[asyncio.Task[None]] = []
        self.names = self._index()

    # ---- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ask every backend, wait a moment for the answers, and keep asking."""
        asking = [self._ask(entry) for entry in self.entries.values()]
        if asking:
            await asyncio.wait(asking, timeout=START_SECONDS)
        self._keepers = [
            asyncio.create_task(self._keep(entry)) for entry in self.entries.values() if entry.seat.check_interval
        ]

    async def close(self) -> None:
        """Stop asking, and close every backend."""
        tasks = self._keepers + [entry.asking for entry in self.entries.values() if entry.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(entry.backend.close() for entry in self.entries.values()))

    async def _keep(self, entry: Entry) -> None:
        while entry.seat.check_interval > 0:
            await asyncio.sleep(entry.seat.check_interval)
            await self._ask(entry)

    # ---- names -----------------------------------------------------------------------------------------------------

    async def resolve(self, text: str) -> tuple[Offer, ...]:
        """The offers a client's model text means; an unknown name makes every backend be asked again first."""
        try:
            return self.names.resolve(text)
        except ModelNotFound as error:
            missing = error
        await self.refresh(older_than=MISS_SECONDS)
        try:
            return self.names.resolve(text)
        except ModelNotFound:
            self._check_broken(text)
            if self._unknown_model != "any":
                raise missing from None
        offers = tuple(
            Offer(entry.backend.name, ModelCard(id=text))
            for entry in self.entries.values()
            if not entry.backend.curated
        )
        if not offers:
            raise missing
        return offers

    def _check_broken(self, text: str) -> None:
        """A model that is there and cannot be used is not unknown: the reason is the answer."""
        for entry in self.entries.values():
            for id, reason in entry.broken.items():
                if key_of(id) == key_of(text):
                    raise ModelBroken(f"{id} on {entry.backend.name} cannot be used: {reason}")

    async def refresh(self, *, older_than: float = 0.0) -> None:
        """Ask every backend whose answer is older than this many seconds; returns when all have answered or failed."""
        now = self._clock()
        due = [entry for entry in self.entries.values() if now - entry.asked >= older_than or entry.is_asked]
        asking = [self._ask(entry) for entry in due]
        if asking:
            await asyncio.wait(asking)

    async def refresh_local(self) -> None:
        """Ask the backends that only list what lies on this machine: the answer costs nothing."""
        asking = [self._ask(entry) for entry in self.entries.values() if entry.backend.curated]
        if asking:
            await asyncio.wait(asking)

    def _ask(self, entry: Entry) -> "asyncio.Task[None]":
        # One question at a time for each backend: whoever comes meanwhile waits for the same answer.
        if entry.asking is None or not entry.is_asked:
            entry.asking = asyncio.create_task(self._question(entry))
        return entry.asking

    async def _question(self, entry: Entry) -> None:
        name, limit = entry.backend.name, entry.seat.check_timeout
        entry.asked = self._clock()
        try:
            async with asyncio.timeout(limit):
                cards = await entry.backend.list_models()
        except TimeoutError:
            self._failed(entry, BackendTimeout(f"{name} did not list its models within {limit:g} s"))
        except ArrieroError as error:
            self._failed(entry, error)
        except Exception as error:
            # A fault of arriero's in reading one backend's list must not end the asking, nor hide.
            log.error("a model list met a fault of arriero", backend=name, exc_info=error)
            self._failed(entry, InternalError(f"arriero could not read the model list of {name}; its log says more"))
        else:
            if entry.healthy is not True:
                log.info("backend answers", backend=name, models=len(cards))
            entry.healthy, entry.error = True, None
            self._note_broken(entry)
            cards = self._completed(entry, cards)
            if cards != entry.cards:
                entry.cards = cards
                self.names = self._index()

    def _note_broken(self, entry: Entry) -> None:
        broken = dict(entry.backend.broken)
        for id, reason in broken.items():
            if entry.broken.get(id) != reason:
                log.warning("model cannot be used", backend=entry.backend.name, model=id, reason=reason)
        entry.broken = broken

    def _failed(self, entry: Entry, error: ArrieroError) -> None:
        if entry.healthy is not False:
            log.warning("backend does not answer", backend=entry.backend.name, error=error.message)
        entry.healthy, entry.error = False, error
        if not entry.cards and entry.seat.extra_models:
            entry.cards = self._completed(entry, ())
            self.names = self._index()

    def _completed(self, entry: Entry, cards: Sequence[ModelCard]) -> tuple[ModelCard, ...]:
        """The cards with the operator's extra models, and with what the operator says where the backend is silent."""
        known = {key_of(card.id) for card in cards}
        extra = [ModelCard(id=id) for id in entry.seat.extra_models if key_of(id) not in known]
        return tuple(_filled(_filled(card, entry.seat.told), self._told) for card in (*cards, *extra))

    def _index(self) -> Names:
        return Names(
            [Offer(name, card) for name, entry in self.entries.items() for card in entry.cards],
            aliases=self._aliases,
            overall=self._overall,
            per_backend={name: entry.seat.patterns for name, entry in self.entries.items()},
        )

    # ---- leases ----------------------------------------------------------------------------------------------------

    def members(self, offers: Sequence[Offer]) -> Mapping[str, Member]:
        """The frozen picture of those who make these offers."""
        return {offer.backend: self.entries[offer.backend].member for offer in offers}

    def blame(self, name: str, error: ArrieroError) -> None:
        """An attempt failed: a backend that cannot be reached counts as down until it answers again."""
        if isinstance(error, BackendUnreachable):
            self._failed(self.entries[name], error)

    def touch(self, name: str, id: str, keep_alive: float | None) -> None:
        """A model was used: it counts as loaded for its `keep_alive`, where the backend has no memory to ask about."""
        used = self.entries[name].used
        seconds = DEFAULT_KEEP_ALIVE if keep_alive is None else keep_alive
        used.pop(id, None)
        if seconds > 0:
            if len(used) >= MAX_USED:
                # With `unknown_model: any` clients make up the names: the one whose last use is oldest goes.
                del used[next(iter(used))]
            used[id] = FOREVER if seconds == FOREVER else self._wall() + seconds

    # ---- catalog ---------------------------------------------------------------------------------------------------

    async def loaded(self) -> list[LoadedModel]:
        """The models in memory anywhere; those of a backend without such a list, as long as their `keep_alive` says."""
        entries = list(self.entries.values())
        answers = await asyncio.gather(*(self._loaded(entry) for entry in entries))
        return [model for answer in answers for model in answer]

    async def _loaded(self, entry: Entry) -> list[LoadedModel]:
        now = self._wall()
        entry.used = {id: until for id, until in entry.used.items() if until > now}
        try:
            async with asyncio.timeout(entry.seat.check_timeout):
                found = list(await entry.backend.list_loaded())
        except (TimeoutError, ArrieroError) as error:
            log.warning("backend does not say what it has loaded", backend=entry.backend.name, error=str(error))
            return []
        if entry.backend.has_memory:
            return found
        cards = {card.id: card for card in entry.cards}
        return [
            LoadedModel(card=cards[id], expires_at=until, context_length=cards[id].context_length)
            for id, until in entry.used.items()
            if id in cards
        ]


def _filled(card: ModelCard, told: Told) -> ModelCard:
    """The card with what the operator says where nobody else has."""
    if card.capabilities is None and (capabilities := _first(told.capabilities, card.id)):
        card = msgspec.structs.replace(card, capabilities=capabilities)
    if card.context_length is None and (length := _first(told.context_length, card.id)):
        card = msgspec.structs.replace(card, context_length=length)
    return card


def _first(table: Mapping[str, Value], id: str) -> Value | None:
    """The value of the first glob that covers the model."""
    return next((value for glob, value in table.items() if Patterns(include=(glob,)).admit(id)), None)
