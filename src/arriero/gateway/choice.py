"""Which backend an exchange goes to next: what its model means, whom its client prefers, who has been tried, whom its
session is with, and the wait where all are full.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from arriero.canonical.catalog import ModelCard
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    Busy,
    EngineMissing,
    ModelBroken,
    ModelForbidden,
    ModelMissing,
    ModelNotFound,
    ModelTooLarge,
    NoBackend,
    Retry,
)
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from arriero.gateway.providers import meaning, named, preferring, word_of
from arriero.gateway.queue import Ticket, rank_of
from arriero.gateway.reading import Reading
from arriero.gateway.roster import Roster
from arriero.routing.decide import ONLY, Rules, decide
from arriero.routing.fleet import LAST_RESORT, ROUTABLE
from arriero.routing.names import Names, Offer, key_of
from arriero.routing.needs import Needs, fitting
from arriero.routing.policies import CAPABILITY
from arriero.routing.sticky import Key, derive, stick
from arriero.wire.splice import other_models

MAX_FALLBACKS = 16
"""Names in an `X-Arriero-Fallback` header that are read."""

LOOK_SECONDS = 0.01
"""Who waits for a backend that is left alone looks no sooner again."""

PAUSE_SECONDS = 0.25
"""Before the same backend is asked for the second time; twice as long before each further time."""

LONGEST_PAUSE_SECONDS = 5.0
"""No pause is longer, and whoever asks for a longer one is not asked again."""

AGAIN = "same again"
"""The reason where a backend that failed is asked once more."""

FOR_GOOD = (BackendUnauthorized, ModelMissing, ModelBroken, ModelTooLarge, EngineMissing)
"""Another backend may do better after these; the same one would say the same."""

NO_MODEL = ModelCard(id="")

NOBODY: frozenset[tuple[str, str]] = frozenset()


class Retrying(Struct, frozen=True, kw_only=True):
    """When another backend is tried: `statuses` of a backend, `attempts` in all, none begun after `budget_seconds`.
    `same`: it is the same one that is tried again, as long as it may be.
    """

    statuses: frozenset[int] = frozenset({429, 500, 502, 503, 504, 529})
    attempts: int = 3
    budget_seconds: float | None = 600.0
    same: bool = False


class Routing(Struct, frozen=True, kw_only=True):
    """What the operator decided about the way of a request. `fallback`: model key to those that answer in its place.
    `sticky`: what names a session, in order; nothing where sessions are not kept.
    """

    rules: Rules = Rules()
    retrying: Retrying = Retrying()
    fallback: Mapping[str, Sequence[str]] = {}
    sticky: Sequence[str] = ()


class Lease(Struct, frozen=True):
    """A place taken for one attempt. `started` is on the monotonic clock."""

    offer: Offer
    entry: Entry
    reason: str
    started: float


def pause_before(attempts: int, retry_after: float | None) -> float | None:
    """Seconds before the same backend is asked again that has failed so often; `None` if it wants to be left alone for
    longer than a client should wait.
    """
    if retry_after is not None and retry_after > LONGEST_PAUSE_SECONDS:
        return None
    times = 1 << min(attempts - 1, 10)  # an operator may allow thousands of attempts
    return max(min(PAUSE_SECONDS * times, LONGEST_PAUSE_SECONDS), retry_after or 0.0)


class Choice:
    """The choosing side of one exchange. `reading` is there where the request can tell what it needs."""

    __slots__ = (
        "_again",
        "_began",
        "_entries",
        "_inbound",
        "_key",
        "_lost",
        "_model",
        "_offers",
        "_outcome",
        "_own",
        "_pause",
        "_pinned",
        "_preferred",
        "_reading",
        "_rechecked",
        "_roster",
        "_routing",
        "_ticket",
        "_tried",
        "_waited",
    )

    def __init__(
        self, inbound: Inbound, roster: Roster, routing: Routing, outcome: Outcome, reading: Reading | None = None
    ) -> None:
        self._inbound = inbound
        self._roster = roster
        self._routing = routing
        self._outcome = outcome
        self._reading = reading
        self._model: str | None = None
        self._offers: Sequence[Offer] = ()
        self._entries: Mapping[str, Entry] = {}  # the fleet that the offers are of
        self._own: frozenset[tuple[str, str]] | None = None  # those of the model asked for, where there are fallbacks
        self._preferred: frozenset[tuple[str, str]] = NOBODY
        self._again: Offer | None = None  # the one that is asked once more, after a pause
        self._pause = 0.0
        self._tried: set[tuple[str, str]] = set()
        self._lost: set[str] = set()
        self._ticket: Ticket | None = None
        self._rechecked = False
        self._key: Key | None = None
        self._pinned: str | None = None
        self._began = roster.clock()
        self._waited = 0.0  # seconds in the queue

    # ---- what the model means --------------------------------------------------------------------------------------

    def find_at_once(self, model: str) -> None:
        """The offers of a model that is known. Raises `ModelNotFound` and its like."""
        self._model = model
        self._look_up(model)
        self._note(model)

    def _look_up(self, model: str) -> None:
        inbound, routing = self._inbound, self._routing
        told, names = inbound.fields, self._roster.view(inbound.door.scope).names
        own = names.resolve(model) if b"x-provider" not in told else self._meant(model, names)
        if (b"x-arriero-fallback" in told or routing.fallback) and (fallbacks := self._fallbacks(model)):
            self._join(own, self._found(fallbacks))
        else:
            self._own, self._offers, self._entries = None, own, self._roster.entries

    def _meant(self, model: str, names: Names) -> Sequence[Offer]:
        """What it means among those that are known, in the order of the client's preference."""
        word, roster, scope = word_of(self._inbound) or "", self._roster, self._inbound.door.scope
        try:
            found = preferring(word, model, names.resolve(model), roster, scope)
        except (AmbiguousModel, ModelForbidden):
            found = preferring(word, model, (), roster, scope)
            if not found.offers:
                raise
        self._preferred = found.preferred
        return found.offers

    async def find(self, model: str) -> None:
        """The same, asking the backends again for a model that nobody knows. A model with a fallback may be unknown."""
        self._model = model
        missing: ArrieroError | None = None
        own: Sequence[Offer] = ()
        try:
            found = await meaning(model, word_of(self._inbound), self._roster, self._inbound.door.scope)
            own, self._preferred = found.offers, found.preferred
        except (AmbiguousModel, ModelForbidden):
            raise
        except (ModelNotFound, BackendError, NoBackend) as error:
            missing = error  # unknown, or nobody could tell
        # Not before: a backend that has left while the others were asked offers nothing.
        fallbacks = self._found(self._fallbacks(model))
        if missing is not None and not fallbacks:
            raise missing
        self._join(own, fallbacks)
        self._note(model)
        names = self._roster.view(self._inbound.door.scope).names
        self._outcome.loose = bool(own) and names.listed_key(own[0].card.id) is None

    @property
    def candidates(self) -> Sequence[Offer]:
        """The offers to choose from."""
        return self._offers

    def anywhere(self) -> None:
        """Any backend behind the door: the request names no model."""
        self._model, self._entries = None, self._roster.entries
        entries = self._roster.view(self._inbound.door.scope).entries
        self._offers = tuple(Offer(name, NO_MODEL) for name, entry in entries.items() if not entry.backend.curated)
        if (word := word_of(self._inbound)) is not None:
            self._preferred = frozenset((name, NO_MODEL.id) for name in named(word, entries))

    def _fallbacks(self, model: str) -> Sequence[str]:
        told = self._inbound.get(b"x-arriero-fallback")
        if told is None:
            return self._routing.fallback.get(key_of(model.strip()), ()) if self._routing.fallback else ()
        names = [name.strip() for name in told.decode("utf-8", "replace").split(",")]
        return [name for name in names if name][:MAX_FALLBACKS]

    def _found(self, names: Sequence[str]) -> list[Sequence[Offer]]:
        found: list[Sequence[Offer]] = []
        for name in names:
            try:
                found.append(self._roster.view(self._inbound.door.scope).names.resolve(name))
            except (ModelNotFound, ModelForbidden):
                continue  # the next one may be there
        return found

    def _join(self, own: Sequence[Offer], fallbacks: Sequence[Sequence[Offer]]) -> None:
        seen = {(offer.backend, offer.card.id): offer for offer in own}
        self._own = frozenset(seen) if fallbacks else None
        for group in fallbacks:
            for offer in group:
                seen.setdefault((offer.backend, offer.card.id), offer)
        self._offers, self._entries = tuple(seen.values()), self._roster.entries

    def _note(self, model: str) -> None:
        self._outcome.candidates = len(self._offers)
        if (told := self._inbound.get(b"x-arriero-priority")) is not None:
            rank_of(told)  # a wrong word is refused at once, not only where the request has to wait
        names = self._roster.view(self._inbound.door.scope).names
        if names.aliases and names.is_alias(model):
            self._outcome.alias = model
            self._outcome.candidates = len({offer.backend for offer in self._offers})
        if self._roster.hides:
            # OpenRouter takes models to go on to in the request's own `models`.
            for name in other_models(self._inbound.body):
                self._roster.check_named(name, self._inbound.door.scope)
        if self._routing.sticky:
            self._note_session(model)

    def _note_session(self, model: str) -> None:
        inbound, sessions = self._inbound, self._roster.sessions
        kinds, headers = self._routing.sticky, inbound.headers
        key = derive(kinds, model=model, headers=headers, body=inbound.body, client=inbound.client)
        if key is None or sessions is None:
            self._outcome.stick = stick("disabled", None, headers)
            return
        self._key = key
        self._pinned = sessions.find(key, self._roster.clock())
        self._outcome.stick = stick("miss" if self._pinned is None else "hit", key, headers)

    # ---- the next one ----------------------------------------------------------------------------------------------

    def next(self) -> Lease:
        """The backend to ask now, with a place taken on it. Raises `Busy` or `NoBackend`."""
        roster = self._roster
        if self._entries is not roster.entries:
            self._refresh()
        offers = self._offers
        now = roster.clock()
        if len(offers) == 1 and not self._tried and not self._lost and roster.entries[offers[0].backend].is_free:
            # As `decide` would; no picture of a fleet of one is needed.
            offer, reason = offers[0], ONLY
        else:
            rules = self._routing.rules
            decision = decide(
                offers,
                roster.members(offers, now),
                rules,
                now,
                tried=self._tried,
                lost=self._lost,
                pinned=self._pinned,
                own=self._own,
                preferred=self._preferred,
                needs=self._needs(),
            )
            offer, reason = decision.offer, decision.reason
        entry = roster.entries[offer.backend]
        self._tried.add((offer.backend, offer.card.id))
        roster.lease(entry, offer, now, rivals=len(offers) > 1)
        self._outcome.fallback = self._own is not None and (offer.backend, offer.card.id) not in self._own
        if self._key is not None:
            self._pin(offer.backend, now)
        return Lease(offer, entry, reason, now)

    def _needs(self) -> Needs | None:
        """What the request needs, where the operator wants to know and there is a choice."""
        if self._routing.rules.policy != CAPABILITY or self._reading is None or len(self._offers) < 2:
            return None
        return self._reading.needs

    def _same(self, offer: Offer) -> Lease:
        """A place on the backend that has just failed, wherever it stands: a refused connection makes it offline, and
        is no reason not to try again. Raises `Busy`, or `NoBackend` where it must be left alone.
        """
        roster = self._roster
        now, entry = roster.clock(), roster.entries.get(offer.backend)
        member = None if entry is None else entry.member(key_of(offer.card.id), now)
        if entry is None or member is None or member.open or member.cooling_s:
            raise NoBackend(f"{offer.backend} cannot be asked again now")
        if member.full:
            if member.state not in ROUTABLE and member.state not in LAST_RESORT:
                raise NoBackend(f"{offer.backend} is full and does not answer")  # nobody is called to its places
            raise Busy
        self._again = None
        roster.lease(entry, offer, now, rivals=False)
        return Lease(offer, entry, AGAIN, now)

    def _pin(self, backend: str, now: float) -> None:
        sessions, key = self._roster.sessions, self._key
        if sessions is None or key is None or backend == self._pinned:
            return
        if self._pinned is not None:
            self._outcome.stick = stick("repin", key, self._inbound.headers)
        sessions.pin(key, backend, now)
        self._pinned = backend

    async def next_or_wait(self) -> Lease:
        """The same, waiting in the queue where all are full, and asking those once more that are offline."""
        queue = self._roster.queue
        if self._again is not None:
            await asyncio.sleep(self._pause)
        while True:
            granted = queue.take(self._ticket) if self._ticket is not None else None
            passed = None
            try:
                return self.next() if self._again is None else self._same(self._again)
            except Busy:
                passed, wait = self._ticket, self._wait
            except NoBackend:
                if self._again is not None:
                    self._again = None  # it has to be left alone: another may do
                    continue
                if self._rechecked or self._tried:
                    raise
                self._rechecked = True
                wait = self._recheck
            finally:
                # Before any wait: whoever stands behind must not wait for a place that this one could not use.
                if granted is not None:
                    queue.freed(granted, behind=passed)
            await wait()
            self._refresh()

    async def _recheck(self) -> None:
        if self._offers or self._model is None:
            await self._roster.recheck(self._offers)
        else:
            await self.find(self._model)  # all who had it have left the fleet; others may have come

    async def _wait(self) -> None:
        queue, clock = self._roster.queue, self._roster.clock
        if self._ticket is None:
            self._ticket = queue.ticket(rank_of(self._inbound.get(b"x-arriero-priority")))
        begun = clock()
        left = None if queue.seconds is None else queue.seconds - self._waited
        backends = self._takers()
        try:
            await queue.wait(self._ticket, backends, left, look=self._reopens(backends, begun))
        finally:
            self._waited += clock() - begun

    def _takers(self) -> Collection[str]:
        """Whose places it can use. Those of the others are somebody else's."""
        if self._again is not None:
            return {self._again.backend}
        needs = self._needs()
        return {
            offer.backend
            for offer in (self._offers if needs is None else fitting(self._offers, needs))
            if offer.backend not in self._lost and (offer.backend, offer.card.id) not in self._tried
        }

    def _reopens(self, backends: Collection[str], now: float) -> float | None:
        """Seconds until one of these that is left alone now may be asked again: nobody calls then."""
        members = [self._roster.entries[name].member("", now) for name in backends]
        waits = [max(member.open_s, member.cooling_s) for member in members if member.open or member.cooling_s]
        return max(min(waits), LOOK_SECONDS) if waits else None

    def _refresh(self) -> None:
        """The fleet may have changed meanwhile: others may have the model, and those who have left offer nothing."""
        try:
            if self._model is None:
                self.anywhere()
            else:
                self._look_up(self._model)
        except ArrieroError:  # nobody lists it now: of its offers those stay whose backend is there
            entries = self._entries = self._roster.entries
            self._offers = tuple(offer for offer in self._offers if offer.backend in entries)

    # ---- after an attempt ------------------------------------------------------------------------------------------

    def begin_again(self) -> None:
        """As if nobody had been tried."""
        self._tried.clear()
        self._lost.clear()
        self._again = None

    def allow(self, offer: Offer) -> None:
        """The same place may be asked again."""
        self._tried.discard((offer.backend, offer.card.id))

    def goes_on(self, offer: Offer, error: ArrieroError) -> bool:
        """Whether another attempt may follow after this error of one: on another backend, or on the same."""
        retrying = self._routing.retrying
        wanted = error.retry is Retry.ELSEWHERE
        match error:
            case BackendFailed() | BackendOverloaded() | BackendRefused():
                wanted = error.status in retrying.statuses
            case BackendUnreachable() | BackendTimeout() | BackendBroken() | BackendUnauthorized():
                # Not the model's failure but the host's: another model on it would do no better.
                self._lost.add(offer.backend)
            case _:
                pass
        budget = retrying.budget_seconds
        in_time = budget is None or self._roster.clock() - self._began < budget
        goes_on = wanted and in_time and self._outcome.attempts < retrying.attempts
        if goes_on and retrying.same and not isinstance(error, FOR_GOOD) and not self._is_anothers():
            self._come_back(offer, error.retry_after)
        return goes_on

    def _is_anothers(self) -> bool:
        """Whether the next attempt is the last one, and somebody else is well who could have it."""
        if self._outcome.attempts + 1 < self._routing.retrying.attempts:
            return False
        entries = self._roster.entries
        return any(name in entries and entries[name].well for name in self._takers())

    def _come_back(self, offer: Offer, retry_after: float | None) -> None:
        """The same backend is the next one, if it may be asked again and there is time for the pause."""
        entry, now = self._roster.entries.get(offer.backend), self._roster.clock()
        pause = pause_before(self._outcome.attempts, retry_after)
        if entry is None or pause is None or entry.member("", now).open:
            return
        budget = self._routing.retrying.budget_seconds
        if budget is None or now + pause - self._began < budget:
            self._again, self._pause = offer, pause
