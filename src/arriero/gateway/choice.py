"""Which backend an exchange goes to next: what its model means, who has been tried, whom its session is with, and the
wait where all are full.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from arriero.canonical.catalog import ModelCard
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    Busy,
    ModelForbidden,
    ModelNotFound,
    NoBackend,
    Retry,
)
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from arriero.gateway.queue import Ticket, rank_of
from arriero.gateway.roster import Roster
from arriero.routing.decide import ONLY, Rules, decide
from arriero.routing.names import Offer, key_of
from arriero.routing.sticky import Key, derive, stick

MAX_FALLBACKS = 16
"""Names in an `X-Arriero-Fallback` header that are read."""

LOOK_SECONDS = 0.01
"""Who waits for a backend that is left alone looks no sooner again."""

NO_MODEL = ModelCard(id="")


class Retrying(Struct, frozen=True, kw_only=True):
    """When another backend is tried: `statuses` of a backend, `attempts` in all, none begun after `budget_seconds`."""

    statuses: frozenset[int] = frozenset({429, 500, 502, 503, 504, 529})
    attempts: int = 3
    budget_seconds: float | None = 600.0


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


class Choice:
    """The choosing side of one exchange."""

    __slots__ = (
        "_began",
        "_entries",
        "_inbound",
        "_key",
        "_lost",
        "_model",
        "_offers",
        "_outcome",
        "_own",
        "_pinned",
        "_rechecked",
        "_roster",
        "_routing",
        "_ticket",
        "_tried",
        "_waited",
    )

    def __init__(self, inbound: Inbound, roster: Roster, routing: Routing, outcome: Outcome) -> None:
        self._inbound = inbound
        self._roster = roster
        self._routing = routing
        self._outcome = outcome
        self._model: str | None = None
        self._offers: Sequence[Offer] = ()
        self._entries: Mapping[str, Entry] = {}  # the fleet that the offers are of
        self._own: frozenset[tuple[str, str]] | None = None  # those of the model asked for, where there are fallbacks
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
        own = self._roster.view(self._inbound.door.scope).names.resolve(model)
        fallbacks = self._fallbacks(model)
        if fallbacks:
            self._join(own, self._found(fallbacks))
        else:
            self._offers, self._entries = own, self._roster.entries

    async def find(self, model: str) -> None:
        """The same, asking the backends again for a model that nobody knows. A model with a fallback may be unknown."""
        self._model = model
        missing: ModelNotFound | None = None
        try:
            own: Sequence[Offer] = await self._roster.resolve(model, self._inbound.door.scope)
        except (AmbiguousModel, ModelForbidden):
            raise
        except ModelNotFound as error:
            own, missing = (), error
        # Not before: a backend that has left while the others were asked offers nothing.
        fallbacks = self._found(self._fallbacks(model))
        if missing is not None and not fallbacks:
            raise missing
        self._join(own, fallbacks)
        self._note(model)
        known = self._roster.view(self._inbound.door.scope).names.models
        self._outcome.loose = bool(own) and key_of(own[0].card.id) not in known

    @property
    def candidates(self) -> Sequence[Offer]:
        """The offers to choose from."""
        return self._offers

    def anywhere(self) -> None:
        """Any backend behind the door: the request names no model."""
        self._model, self._entries = None, self._roster.entries
        entries = self._roster.view(self._inbound.door.scope).entries
        self._offers = tuple(Offer(name, NO_MODEL) for name, entry in entries.items() if not entry.backend.curated)

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
        self._own = frozenset(seen)
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
            fleet = roster.members(offers, now)
            rules = self._routing.rules
            decision = decide(offers, fleet, rules, now, tried=self._tried, lost=self._lost, pinned=self._pinned)
            offer, reason = decision.offer, decision.reason
        entry = roster.entries[offer.backend]
        self._tried.add((offer.backend, offer.card.id))
        roster.lease(entry, offer, now, rivals=len(offers) > 1)
        self._outcome.fallback = self._own is not None and (offer.backend, offer.card.id) not in self._own
        if self._key is not None:
            self._pin(offer.backend, now)
        return Lease(offer, entry, reason, now)

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
        while True:
            granted = queue.take(self._ticket) if self._ticket is not None else None
            passed = None
            try:
                return self.next()
            except Busy:
                passed, wait = self._ticket, self._wait
            except NoBackend:
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
        # Not for those that it cannot take any more: their places are somebody else's.
        backends = {
            offer.backend
            for offer in self._offers
            if offer.backend not in self._lost and (offer.backend, offer.card.id) not in self._tried
        }
        try:
            await queue.wait(self._ticket, backends, left, look=self._reopens(backends, begun))
        finally:
            self._waited += clock() - begun

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

    def allow(self, offer: Offer) -> None:
        """The same place may be asked again."""
        self._tried.discard((offer.backend, offer.card.id))

    def goes_on(self, offer: Offer, error: ArrieroError) -> bool:
        """Whether another backend may be tried after this error of an attempt."""
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
        return wanted and in_time and self._outcome.attempts < retrying.attempts
