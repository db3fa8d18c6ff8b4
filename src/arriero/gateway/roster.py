"""The live backends: who is there, what they offer, who may be chosen. Holds the mutable state of the fleet.

Everything a decision needs leaves here as frozen values (`Names`, `Member`). The asking is the work of `checks`; what
an attempt has shown of a backend comes in by `note`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from msgspec import Struct

from arriero.backends.base import Backend
from arriero.canonical.catalog import LoadedModel, ModelCard
from arriero.canonical.requests import FOREVER
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendOverloaded,
    BackendTimeout,
    BackendUnreachable,
    Blame,
    ModelBroken,
    ModelForbidden,
    ModelNotFound,
)
from arriero.gateway.checks import MAX_COOLING_SECONDS, Checks, state_of
from arriero.gateway.entry import CLOSED, NO_TURN, Entry, Failure, Seat
from arriero.gateway.journal import Journal
from arriero.gateway.kinds import reaches
from arriero.gateway.queue import Queue
from arriero.gateway.tally import Tally
from arriero.gateway.told import Told, completed
from arriero.gateway.untold import misconfigured, unlisted
from arriero.routing.breaker import FAST_SECONDS, BreakerRule, Event, admits, let_out, step
from arriero.routing.fleet import Member, State
from arriero.routing.model_filter import EVERYTHING, ModelFilter
from arriero.routing.names import Names, Offer, Patterns, forbidden, key_of
from arriero.routing.policies import measured
from arriero.routing.sticky import Sessions

START_SECONDS = 1.0
"""How long the start waits for slow backends; they go on being asked in the background."""

LOCAL_SECONDS = 0.25
"""How long a list waits for the models directories of this machine."""

MISS_SECONDS = 5.0
"""A backend asked less than this ago is not asked again because of an unknown name."""

RECHECK_SECONDS = 1.0
"""A backend that was offline this long ago is asked again before a request is refused for want of it."""

BACK_SECONDS = 2.0
"""And so long it is waited for; an answer that comes later counts for the next request."""

DEFAULT_KEEP_ALIVE = 300.0

MAX_ADMITTED = 100_000
"""Model ids of which it is remembered whether they may be seen."""

MAX_USED = 4096
"""Models of one backend that are remembered as used."""

log = structlog.get_logger("arriero.roster")


class Bylaws(Struct, frozen=True, kw_only=True):
    """What the operator said of the fleet as a whole."""

    aliases: Mapping[str, Sequence[str]] = {}
    overall: Patterns = Patterns()
    filter: ModelFilter = EVERYTHING
    told: Told = Told()
    unknown_model: str = "reject"
    breaker: BreakerRule = BreakerRule()

    def admit(self, id: str) -> bool:
        """Whether a model of this id may be seen and used at all."""
        return self.overall.admit(id) and self.filter.admit(id)

    @property
    def hides(self) -> bool:
        """Whether there is anything that they do not admit."""
        return self.overall != Patterns() or self.filter != EVERYTHING


class View(Struct, frozen=True):
    """The part of the fleet that a door reaches."""

    names: Names
    entries: Mapping[str, Entry]


class Roster:
    """All backends, in configuration order."""

    def __init__(
        self,
        seats: Sequence[tuple[Backend, Seat]],
        bylaws: Bylaws | None = None,
        *,
        queue: Queue | None = None,
        sessions: Sessions | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entries: dict[str, Entry] = {backend.name: Entry(backend, seat) for backend, seat in seats}
        self.queue = queue or Queue()
        self.sessions = sessions
        self.tally = Tally()
        self.journal = Journal()
        self.wall = wall
        self.clock = clock
        self._bylaws = bylaws or Bylaws()
        self.hides = self._bylaws.hides  # every request asks
        self._checks = Checks(
            listed=self._listed, failed=self._failed, recovered=self._recovered, wall=wall, clock=clock
        )
        self._turns = 0
        # What the last lease has moved: an entry's turn for a model, and the model's stride, as they were before.
        self._taken: tuple[Entry, str, tuple[int, float] | None, float | None] | None = None
        self._strides: dict[str, float] = {}  # model key -> how far the share of its last backend was
        self._views: dict[str | None, View] = {}
        self._parts: dict[tuple[str | None, tuple[str, ...]], Names] = {}  # of a door's backends these
        self._kept = False
        self._leaving: set[asyncio.Task[None]] = set()
        self._names: Names | None = None
        self._admitted: dict[str, bool] = {}  # by id

    # ---- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ask every backend, wait a moment for the answers, and keep asking."""
        self._kept = True
        asking = [self._checks.ask(entry) for entry in self.entries.values()]
        if asking:
            await asyncio.wait(asking, timeout=START_SECONDS)
        for entry in self.entries.values():
            self._checks.keep(entry)

    async def close(self) -> None:
        """Stop asking, and close every backend."""
        await self._checks.close(self.entries.values())
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await asyncio.gather(*(entry.backend.close() for entry in self.entries.values()))

    async def adopt(self, seats: Sequence[tuple[Backend, Seat]], bylaws: Bylaws) -> None:
        """Another fleet from now on. A backend that is there already (the same object) keeps its state and its
        requests; one that is not in `seats` any more gets no new ones, and is closed when its last has ended.

        New ones are asked first, so that their models are there in the same moment in which others' go. Not to be
        called again before it returns; cancelled, it has changed nothing.
        """
        before = self.entries
        entries: dict[str, Entry] = {}
        for backend, seat in seats:
            entry = before.get(backend.name)
            entries[backend.name] = entry if entry is not None and entry.backend is backend else Entry(backend, seat)
        await self._meet([entry for name, entry in entries.items() if before.get(name) is not entry])
        # No await below this line: a request sees the fleet before, or the fleet after.
        self.entries, self._bylaws, self._admitted = entries, bylaws, {}
        self.hides = bylaws.hides
        for backend, seat in seats:
            self._seat(entries[backend.name], seat)
        for name, entry in before.items():
            if entries.get(name) is not entry:
                self._part(entry, for_good=name not in entries)
        self._changed()

    async def _meet(self, entries: Sequence[Entry]) -> None:
        """Ask those who are new, and wait a moment. Before the start nobody is asked."""
        if not self._kept or not entries:
            return
        try:
            await asyncio.wait([self._checks.ask(entry) for entry in entries], timeout=START_SECONDS)
        except asyncio.CancelledError:
            for entry in entries:
                self._checks.drop(entry)
            raise

    def _seat(self, entry: Entry, seat: Seat) -> None:
        """What the operator says of it counts at once; its next check comes at its new interval."""
        before, entry.seat = entry.seat, seat
        entry.cards = self._completed(entry, entry.own)
        if before.check_interval != seat.check_interval:
            self._checks.keep_anew(entry)
        if self._kept:
            self._checks.keep(entry)

    def _part(self, entry: Entry, *, for_good: bool) -> None:
        """It gets no more requests, and is asked no more. `for_good`: nobody has its name now."""
        entry.left = True
        self._checks.drop(entry)
        if for_good and self.sessions is not None:
            self.sessions.forget(entry.backend.name)
        task = asyncio.create_task(self._leave(entry))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, entry: Entry) -> None:
        try:
            while entry.in_flight or entry.reserved or entry.errands:  # noqa: ASYNC110 - rare, and nobody waits for it
                await asyncio.sleep(0.1)
        finally:
            await entry.backend.close()

    def wall_ns(self) -> int:
        """Unix time in nanoseconds."""
        return int(self.wall() * 1e9)

    # ---- names -----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> Names:
        """What every name means now. Built anew at the first look after a change: many backends may change at once."""
        if self._names is None:
            self._names = self._index(self.entries)
            models = self._names.models
            self._strides = {key: far for key, far in self._strides.items() if key in models}
            for entry in self.entries.values():
                entry.turns = {key: turn for key, turn in entry.turns.items() if key in models}
        return self._names

    def view(self, scope: str | None) -> View:
        """The part of the fleet that a door's scope reaches; all of it for `None`."""
        view = self._views.get(scope)
        if view is None:
            if scope is None:
                view = View(self.names, self.entries)
            else:
                entries = {name: entry for name, entry in self.entries.items() if reaches(scope, entry.backend)}
                view = View(self._index(entries), entries)
            self._views[scope] = view
        return view

    def names_among(self, backends: tuple[str, ...], scope: str | None) -> Names:
        """What every name means among these backends behind a door."""
        names = self._parts.get((scope, backends))
        if names is None:
            entries = self.view(scope).entries
            names = self._index({name: entries[name] for name in backends})
            self._parts[scope, backends] = names
        return names

    async def resolve(self, text: str, scope: str | None = None) -> tuple[Offer, ...]:
        """The offers a client's model text means; an unknown name makes every backend be asked again first."""
        try:
            return self.view(scope).names.resolve(text)
        except ModelNotFound as error:
            missing = error
        discover = self._bylaws.unknown_model == "discover"
        await self._look_again(RECHECK_SECONDS if discover else MISS_SECONDS)
        try:
            return self.view(scope).names.resolve(text)
        except ModelNotFound:
            self._check_broken(text)
            if not isinstance(missing, AmbiguousModel):
                self._check_told(text, scope)
            if self._bylaws.unknown_model != "any":
                raise missing from None
        self.check_admitted(text)
        offers = tuple(
            Offer(entry.backend.name, ModelCard(id=text))
            for entry in self.view(scope).entries.values()
            if not entry.backend.curated
        )
        if not offers:
            raise missing
        return offers

    def check_admitted(self, text: str) -> None:
        """Raises `ModelForbidden` for a name that nobody lists, where a model of this id would be hidden."""
        if not self._bylaws.admit(text.strip()):
            raise forbidden(text)

    def check_named(self, text: str, scope: str | None) -> None:
        """Raises `ModelForbidden` for a name by which somebody else could be asked for a model that is hidden here."""
        try:
            self.view(scope).names.resolve(text)
        except ModelForbidden:
            raise
        except ModelNotFound:
            self.check_admitted(text)

    def _check_told(self, text: str, scope: str | None) -> None:
        """Where nobody has ever told its models the name may be right, and why is the answer; so it is where the one
        has not that the name begins with. Whom the operator lets guess is only told of a wrong key; Olla's doors say
        what Olla says.
        """
        entries = self.view(scope).entries
        pin, slash, _ = text.strip().partition("/")
        asked = [[entries[pin]]] if slash and pin in entries else []
        for meant in (*asked, entries.values()):
            error = misconfigured(meant)
            if error is None and scope is None and self._bylaws.unknown_model != "any":
                error = unlisted(meant, self.clock())
            if error is not None:
                raise error from None

    def _check_broken(self, text: str) -> None:
        """A model that is there and cannot be used is not unknown: the reason is the answer."""
        for entry in self.entries.values():
            for id, reason in entry.broken.items():
                if key_of(id) == key_of(text):
                    raise ModelBroken(f"{id} on {entry.backend.name} cannot be used: {reason}")

    async def refresh(self, *, older_than: float = 0.0, names: Sequence[str] | None = None) -> None:
        """Ask the backends (all, or those of `names`) whose list is older than this many seconds; returns when all have
        answered or failed.
        """
        now = self.clock()
        entries = self.entries.values() if names is None else [self.entries[n] for n in names if n in self.entries]
        due = [entry for entry in entries if now - entry.asked >= older_than or entry.is_asked]
        await _all(self._checks.ask(entry) for entry in due)

    async def _look_again(self, older_than: float) -> None:
        """Ask those whose list is older than this, for somebody who waits. Who did not answer last time is waited for a
        moment only: one that hangs would hold up every question for a name that nobody has. To look at this machine's
        own disk costs nothing.
        """
        now = self.clock()
        local: list[asyncio.Future[None]] = []
        well: list[asyncio.Future[None]] = []
        away: list[asyncio.Future[None]] = []
        for entry in self.entries.values():
            if entry.backend.curated:
                local.append(self._checks.ask(entry))
            elif now - entry.asked >= older_than or entry.is_asked:
                (away if entry.state is State.OFFLINE else well).append(self._checks.ask(entry))
        await asyncio.gather(_all(well), _all(away, START_SECONDS), _all(local, LOCAL_SECONDS))

    async def refresh_local(self) -> None:
        """Ask the backends that only list what lies on this machine: the answer costs nothing. A disk that does not
        answer is not waited for; what it says counts from then on.
        """
        asked = [self._checks.ask(entry) for entry in self.entries.values() if entry.backend.curated]
        if asked:
            await asyncio.wait(asked, timeout=LOCAL_SECONDS)

    async def recheck(self, offers: Sequence[Offer]) -> None:
        """Ask those once more who make these offers and are offline, or have been left alone as long as they wished:
        one may just have come back.
        """
        now = self.clock()
        entries = {offer.backend: self.entries[offer.backend] for offer in offers if offer.backend in self.entries}
        away = [
            entry
            for entry in entries.values()
            if entry.state is State.OFFLINE or (entry.state is State.RATE_LIMITED and entry.cooling_until <= now)
        ]
        due = [entry for entry in away if now - entry.asked >= RECHECK_SECONDS or entry.is_asked]
        # Who hangs would be waited for as long as two checks may take, by every request.
        await _all([self._checks.ask(entry) for entry in due], BACK_SECONDS)

    def _listed(self, entry: Entry, cards: Sequence[ModelCard]) -> None:
        self._note_broken(entry)
        if cards and cards is entry.own:
            return  # the very list of the last check
        entry.own = tuple(cards)
        found = self._completed(entry, cards)
        if found != entry.cards:
            entry.cards = found
            self._changed()

    def _note_broken(self, entry: Entry) -> None:
        broken = dict(entry.backend.broken)
        for id, reason in broken.items():
            if entry.broken.get(id) != reason:
                log.warning("model cannot be used", backend=entry.backend.name, model=id, reason=reason)
        entry.broken = broken

    def _failed(self, entry: Entry, error: ArrieroError) -> None:
        if entry.state in (State.UNKNOWN, State.HEALTHY, State.BUSY):
            log.warning("backend does not answer", backend=entry.backend.name, error=error.message)
        before, entry.state, entry.error = entry.state, state_of(error), error
        self.queue.withdraw(entry)
        if not entry.cards and entry.seat.extra_models:
            entry.cards = self._completed(entry, ())
            self._changed()
        if entry.state is State.OFFLINE:
            entry.loaded, entry.loaded_cards = None, ()
        if entry.state is not before:
            self.queue.kick()

    def _recovered(self, entry: Entry) -> None:
        now = self.clock()
        entry.breaker = step(entry.breaker, Event.RECOVERED, self._bylaws.breaker, now, now)
        self.queue.freed(entry)  # its places belong to those who wait, before anybody new sees them
        self.queue.kick()

    def _completed(self, entry: Entry, cards: Sequence[ModelCard]) -> tuple[ModelCard, ...]:
        """The cards with the operator's extra models, and with what the operator says where the backend is silent."""
        seat = entry.seat
        return completed(cards, seat.extra_models, seat.told, self._bylaws.told)

    def _changed(self) -> None:
        self._names = None
        self._views.clear()
        self._parts.clear()
        self.queue.kick()

    def _index(self, entries: Mapping[str, Entry]) -> Names:
        return Names(
            [Offer(name, card) for name, entry in entries.items() for card in entry.cards],
            aliases=self._bylaws.aliases,
            admit=self._admit,
            per_backend={name: entry.seat.patterns for name, entry in entries.items()},
            variants={name: entry.backend.profile.variants for name, entry in entries.items()},
        )

    def _admit(self, id: str) -> bool:
        """As the bylaws say, which is remembered: the index is made anew for each door and whenever a list changes."""
        found = self._admitted.get(id)
        if found is None:
            if len(self._admitted) >= MAX_ADMITTED:
                self._admitted.clear()
            found = self._admitted[id] = self._bylaws.admit(id)
        return found

    # ---- leases ----------------------------------------------------------------------------------------------------

    def members(self, offers: Sequence[Offer], now: float) -> dict[str, Member]:
        """The frozen picture of those who make these offers. An alias's models have one each: the last counts."""
        entries, id, key = self.entries, "", ""
        fleet: dict[str, Member] = {}
        for offer in offers:
            if offer.card.id != id:  # nearly always they all offer the same one
                id = offer.card.id
                key = key_of(id)
            fleet[offer.backend] = entries[offer.backend].member(key, now)
        return fleet

    def lease(self, entry: Entry, offer: Offer, now: float, *, rivals: bool) -> None:
        """An attempt starts: it takes a place. `rivals`: others could have had it, whose turn is next."""
        entry.in_flight += 1
        if entry.breaker is not CLOSED:
            entry.breaker = let_out(entry.breaker, now)
        self._taken = None
        if rivals:
            key = key_of(offer.card.id)
            self._taken = (entry, key, entry.turns.get(key), self._strides.get(key))
            self._turns += 1
            # Who was away does not catch up: he goes on from where the others are.
            far = max(entry.turns.get(key, NO_TURN)[1], self._strides.get(key, 0.0))
            self._strides[key] = far
            entry.turns[key] = (self._turns, far + 1.0 / entry.seat.weight)

    def give_back(self, entry: Entry) -> None:
        """The attempt has ended: its place is free."""
        entry.in_flight -= 1
        if self.queue.tickets and not self._is_shut(entry, self.clock()):
            self.queue.freed(entry)

    def _is_shut(self, entry: Entry, now: float) -> bool:
        """Whether nobody may be sent there now, not even for want of another."""
        away = entry.state is State.OFFLINE or entry.state is State.RATE_LIMITED
        return away or entry.cooling_until > now or not admits(entry.breaker, now)

    def take_back(self, entry: Entry, started: float) -> None:
        """The attempt was never made, in the same step in which its place was taken: its turn comes again."""
        if self._taken is not None and self._taken[0] is entry:
            _, key, turn, far = self._taken
            entry.turns[key] = NO_TURN if turn is None else turn
            self._strides[key] = 0.0 if far is None else far
        self._taken = None
        entry.breaker = step(entry.breaker, Event.NEUTRAL, self._bylaws.breaker, started, self.clock())
        self.give_back(entry)

    def note(self, entry: Entry, error: ArrieroError | None, started: float, *, before_head: bool) -> None:
        """What an attempt has shown of its backend. `started` is on the monotonic clock; `before_head`: it failed
        before any answer came.
        """
        if error is None and entry.breaker is CLOSED:
            self.tally.attempt(entry.backend.name, None)  # nearly every attempt ends here
            return
        now = self.clock()
        event = _event(error, now - started, before_head)
        entry.breaker = step(entry.breaker, event, self._bylaws.breaker, started, now)
        self.tally.attempt(entry.backend.name, error)
        if entry.left:
            return
        if error is not None and error.blame is Blame.BACKEND:
            entry.last_failure = Failure(type(error), error.type, error.status, error.message, self.wall())
        match error:
            case BackendUnreachable():
                self._failed(entry, error)
            case BackendBroken() | BackendTimeout():
                # A cut may be the end of the whole server: the next request should know.
                self._checks.ask(entry, models=False)
            case BackendOverloaded(retry_after=float(seconds)):
                until = now + min(seconds, MAX_COOLING_SECONDS)
                entry.cooling_until = max(entry.cooling_until, until)
            case _:
                pass
        if entry.reserved and self._is_shut(entry, now):
            self.queue.withdraw(entry)

    def met(self, entry: Entry, error: ArrieroError) -> None:
        """What something else than an attempt has met: a refused connection is believed, whoever saw it."""
        if isinstance(error, BackendUnreachable) and not entry.left:
            self._failed(entry, error)

    def note_speed(self, entry: Entry, first_byte_s: float | None, tokens_per_s: float | None) -> None:
        """What a good answer has shown."""
        entry.speed = measured(entry.speed, first_byte_s, tokens_per_s, self.clock())

    def touch(self, name: str, id: str, keep_alive: float | None) -> None:
        """A model was used: it counts as loaded for its `keep_alive`, until the backend says otherwise."""
        entry = self.entries.get(name)
        if entry is None:
            return
        seconds = DEFAULT_KEEP_ALIVE if keep_alive is None else keep_alive
        if entry.backend.has_memory:
            if entry.loaded is not None and (key_of(id) in entry.loaded) != (seconds > 0):
                entry.loaded ^= {key_of(id)}
            return
        used = entry.used
        used.pop(id, None)
        if seconds > 0:
            if len(used) >= MAX_USED:
                # With `unknown_model: any` clients make up the names: the one whose last use is oldest goes.
                del used[next(iter(used))]
            used[id] = FOREVER if seconds == FOREVER else self.wall() + seconds

    # ---- catalog ---------------------------------------------------------------------------------------------------

    async def loaded(self, scope: str | None = None) -> list[tuple[str, LoadedModel]]:
        """The models in memory anywhere, each with its backend; those of a backend without such a list, as long as
        their `keep_alive` says.
        """
        entries = [entry for entry in self.view(scope).entries.values() if entry.state is not State.OFFLINE]
        await _all(
            asyncio.ensure_future(self._checks.look_at_memory(entry)) for entry in entries if entry.backend.has_memory
        )
        hidden = self.view(scope).names.hidden
        return [
            (entry.backend.name, model)
            for entry in entries
            for model in self._loaded(entry)
            if key_of(model.card.id) not in hidden
        ]

    def _loaded(self, entry: Entry) -> Sequence[LoadedModel]:
        if entry.backend.has_memory:
            return entry.loaded_cards
        now = self.wall()
        entry.used = {id: until for id, until in entry.used.items() if until > now}
        cards = {card.id: card for card in entry.cards}
        return [
            LoadedModel(card=cards[id], expires_at=until, context_length=cards[id].context_length)
            for id, until in entry.used.items()
            if id in cards
        ]


async def _all(tasks: "Iterable[asyncio.Future[None]]", seconds: float | None = None) -> None:
    pending = list(tasks)
    if pending:
        await asyncio.wait(pending, timeout=seconds)


def _event(error: ArrieroError | None, seconds: float, before_head: bool) -> Event:
    """What an attempt's end says of its backend."""
    match error:
        case None:
            return Event.SUCCESS
        case BackendUnreachable() | BackendTimeout() | BackendBroken() if before_head:
            return Event.FAILURE
        case BackendFailed() if seconds <= FAST_SECONDS:
            return Event.FAILURE
        case _:
            return Event.SUCCESS if error.blame is Blame.CLIENT else Event.NEUTRAL
