"""One client request's life: names, decision, attempts, answer.

1. peek at `model` and `stream`; decode the whole request only if something needs it
2. the name's offers; a request that only loads or unloads a model ends here
3. a decision, a lease, a place; relay the bytes if the backend speaks the client's dialect, else transcode
4. a failure before the first byte moves on to another backend; after it, the client is told in its dialect
5. what a backend refused and can be said otherwise (too long a prompt, the wish for usage) is said again
6. one `finally`: place and lease back, catalog touched, one log line
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from time import time_ns
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from arriero.backends.base import Backend, Place
from arriero.backends.http.call import Call, Head
from arriero.canonical.events import Answer, Embeddings, Finished, Reason
from arriero.canonical.requests import EmbedRequest, Request
from arriero.dialects.base import Dialect, Endpoint, Operation, Target
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendBroken,
    BackendUnreachable,
    ClientGone,
    ContextExceeded,
    EngineCrashed,
    ModelNotFound,
    NoBackend,
    Retry,
    UsageRefused,
)
from arriero.filters.rules import NO_CHANGES, Changes, Rule, apply, changes
from arriero.gateway import heads
from arriero.gateway.answering import Answering, read_error
from arriero.gateway.attempt import Attempt
from arriero.gateway.embedding import embed
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.outcome import Outcome, report, report_attempt
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.gateway.plan import Plan, driver_for, relayed, transcoded
from arriero.gateway.ready import Ready, is_load, want_of
from arriero.gateway.roster import Roster
from arriero.gateway.shorten import MAX_SHORTENINGS, shortened
from arriero.routing.decide import Decision, decide
from arriero.routing.names import Offer
from arriero.wire.splice import NotAnObject, has_other_case, peek

_EMBEDS = frozenset({Operation.EMBED, Operation.EMBEDDINGS})
GONE = "the client closed the connection"
CUT = "oldest text"
"""What an answer names as dropped where the prompt was too long."""
_REASONS = {True: Reason.UNLOAD, False: Reason.LOAD}


class Policy(Struct, frozen=True, kw_only=True):
    """What the operator decided about exchanges."""

    attempts: int = 3
    rules: tuple[Rule, ...] = ()


class Misread(Exception):
    """The dialect's own reading names another model than the peek did: a key in another letter case came later."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class Exchange:
    """Drives one request of an inference endpoint. Made for each request, thrown away after it.

    `start` takes the short way where nothing has to be waited for: no task, only callbacks. `run` is the whole way.
    `spawn` starts a task for what turns out to need one.
    """

    __slots__ = (
        "_answering",
        "_decoded",
        "_dialect",
        "_dialects",
        "_endpoint",
        "_inbound",
        "_lane",
        "_odd",
        "_policy",
        "_roster",
        "_shortenings",
        "_spawn",
        "_tried",
        "_uncounted",
        "outcome",
    )

    def __init__(
        self,
        inbound: Inbound,
        lane: Lane,
        dialect: Dialect,
        endpoint: Endpoint,
        *,
        roster: Roster,
        dialects: Mapping[str, Dialect],
        policy: Policy,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._inbound = inbound
        self._lane = lane
        self._dialect = dialect
        self._endpoint = endpoint
        self._roster = roster
        self._dialects = dialects
        self._policy = policy
        self._spawn = spawn
        self._decoded: Request | None = None
        self._odd = False  # only the dialect's lenient rules can read the body: it cannot be relayed
        self._shortenings = 0
        self._uncounted = False  # sent without the wish for usage, which the backend had refused
        self._tried: set[tuple[str, str]] = set()
        self.outcome = Outcome()
        self._answering = Answering(inbound, lane, dialect, endpoint, self.outcome, policy.rules)

    def start(self) -> Coroutine[Any, Any, None] | None:
        """The first attempt by callbacks alone; `None` when it is on its way. Otherwise what has to be awaited."""
        try:
            if self._at_once():
                return None
        except (ArrieroError, Misread):
            pass  # `run` meets the same error, and knows what follows from it
        self._begin_again()
        return self.run()

    def _fail(self, error: ArrieroError) -> None:
        self.outcome.error = error
        self._answering.error(error)

    def _begin_again(self) -> None:
        self._tried.clear()
        self.outcome.attempts = 0

    async def run(self, failed: tuple[Ready, ArrieroError] | None = None) -> None:
        """To the end; never raises but for cancellation by someone else than the client, and for a fault of ours.

        `failed` is an attempt that came to nothing before the first byte.
        """
        task = asyncio.current_task()
        assert task is not None
        lane = self._lane
        lane.on_gone = task.cancel
        try:
            if lane.gone:
                raise asyncio.CancelledError
            await self._drive(self._after(*failed) if failed is not None else None)
        except ArrieroError as error:
            self._fail(error)
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
            self.outcome.error = ClientGone(GONE)
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            report(self.outcome, self._inbound)

    # ---- 1 and 2: what is asked, and of whom -----------------------------------------------------------------------

    async def _drive(self, last: ArrieroError | None) -> None:
        model = self.outcome.model = self.outcome.model or self._model()
        offers = await self._offers(model)
        again = False
        while True:
            try:
                ready = self._ready(decide(offers, self._roster.members(offers), self._tried))
            except Misread as other:
                model = self.outcome.model = other.model
                offers = await self._offers(model)
                self._begin_again()
                continue
            except NoBackend:
                if isinstance(last, EngineCrashed) and not again:
                    # Its process died, maybe long before: the engine starts another one.
                    again = True
                    self._tried.clear()
                    continue
                if last is not None:
                    raise last from None
                raise
            try:
                error = await self._attempt(ready)
            except ArrieroError as raised:
                error = raised
            if error is None:
                return
            last = self._after(ready, error)
            if self._lane.started:
                return

    def _after(self, ready: Ready, error: ArrieroError) -> ArrieroError:
        """Draws the consequences of a failed attempt; raises the error where no other may follow."""
        self._roster.blame(ready.offer.backend, error)
        if self._lane.started:
            self.outcome.error = error
            return error
        if self._mends(ready, error):
            # The same place may be asked again, and it is no other attempt.
            self._tried.discard((ready.offer.backend, ready.offer.card.id))
            self.outcome.attempts -= 1
            return error
        if error.retry is not Retry.ELSEWHERE or self.outcome.attempts >= self._policy.attempts:
            raise error
        report_attempt(self.outcome, self._inbound, error)
        return error

    def _mends(self, ready: Ready, error: ArrieroError) -> bool:
        """Whether the request can be said otherwise now, so that what the backend refused it for is gone."""
        if ready.relay or ready.request is None:
            return False
        match error:
            case UsageRefused() if not self._uncounted:
                # Nobody said so of this server: it is remembered, and the next request is spared the refusal.
                self._uncounted = True
                backend = ready.entry.backend
                backend.profile = replace(backend.profile, stream_options=False)
                return True
            case ContextExceeded() if self._dialect.shortens and self._shortenings < MAX_SHORTENINGS:
                one_prompt = self._endpoint.operation is Operation.GENERATE
                shorter = shortened(ready.request, error.fits, one_prompt=one_prompt)
                if shorter is None:
                    return False
                self._decoded = shorter
                self._shortenings += 1
                return True
            case _:
                return False

    async def _offers(self, model: str) -> Sequence[Offer]:
        try:
            return await self._roster.resolve(model)
        except AmbiguousModel:
            raise
        except ModelNotFound:
            raise self._endpoint.not_found(model) from None

    def _model(self) -> str:
        """The model's name as the client typed it; sets the stream flag by the way."""
        try:
            model, stream = peek(self._inbound.body)
        except NotAnObject:
            model = stream = None
        if not model:
            # Odd, empty or broken: the dialect's own reading decides, and knows the words for what is wrong.
            request = self._request
            self._odd = True
            self._answering.stream = not isinstance(request, EmbedRequest) and request.stream
            return request.model
        if stream is not None:
            self._answering.stream = stream and self._endpoint.encoder is not None
        return model

    @property
    def _request(self) -> Request:
        """The canonical request, decoded when it is first needed."""
        if self._decoded is None:
            self._decoded = self._endpoint.decode(self._inbound.body)
        return self._decoded

    # ---- 3: one attempt --------------------------------------------------------------------------------------------

    def _ready(self, decision: Decision) -> Ready:
        """Looks through a decision: what the request needs there, and what the client must be told before."""
        offer, outcome = decision.offer, self.outcome
        entry = self._roster.entries[offer.backend]
        backend = entry.backend
        self._tried.add((offer.backend, offer.card.id))
        outcome.backend, outcome.reason, outcome.backend_model = backend.name, decision.reason, None
        outcome.attempts += 1
        made = self._changes(offer)
        if self._dialect.folds_case and self._dialect.name in backend.roots and not self._odd:
            self._odd = has_other_case(self._inbound.body, b'"model"', b'"stream"')
        # A silent backend answers overlong inputs with an error and ignores `dimensions`: its vectors are made here.
        relay = (
            not self._odd
            and self._dialect.name in backend.roots
            and not (backend.silent and self._endpoint.operation in _EMBEDS)
        )
        # Where nothing needs the canonical request, it is never made.
        request = None if relay and not made and not backend.silent else self._request
        if request is not None:
            if request.model != outcome.model:
                raise Misread(request.model)
            if not isinstance(request, EmbedRequest):
                self._answering.stream = request.stream
            self._endpoint.check(request, offer.card)
        return Ready(offer, entry, relay, made, request, want_of(offer, request))

    def _changes(self, offer: Offer) -> Changes:
        rules = self._policy.rules
        if not rules or not any(rule.covers(offer.card.id, self.outcome.model or "") for rule in rules):
            return NO_CHANGES
        return changes(rules, offer.card.id, self._request)

    async def _attempt(self, ready: Ready) -> ArrieroError | None:
        """`None` when the answer is out. An error that came after the first byte has been told to the client."""
        backend, request = ready.entry.backend, ready.request
        if not ready.relay and request is not None and await self._only_loads(request, backend, ready.offer):
            return None
        ready.entry.in_flight += 1
        place: Place | None = None
        try:
            place = await backend.reach(ready.want)
            self.outcome.backend_model = place.model
            if not ready.relay and isinstance(request, EmbedRequest):
                await self._embed(backend, place, request)
                return None
            attempt, call = self._prepared(ready, place)
            return await self._send(place, attempt, call)
        except (BackendBroken, BackendUnreachable) as error:
            if place is None:
                raise
            # A cut may be a crash, which takes a moment to be known; an answer of the backend's own is none.
            raise await place.diagnose() or error from None
        finally:
            self._give_back(ready, place)

    async def _send(self, place: Place, attempt: Attempt, call: Call) -> ArrieroError | None:
        try:
            error = await attempt.carry(place.pool, call)
        finally:
            self._note(attempt)
        if error is not None and not attempt.told:
            if not self._lane.started:
                raise error
            if isinstance(error, BackendBroken):
                error = await place.diagnose() or error
            attempt.tell(error)
        return error

    def _at_once(self) -> bool:
        """The same without waiting: false where something would have to be waited for. Nothing has then been sent."""
        model = self._model()
        offers = self._roster.names.resolve(model)
        self.outcome.model = model
        ready = self._ready(decide(offers, self._roster.members(offers)))
        request = ready.request
        place = ready.entry.backend.at_hand(ready.want)
        if place is None or self._lane.gone:
            return False
        if not ready.relay and (isinstance(request, EmbedRequest) or is_load(request)):
            return False
        self.outcome.backend_model = place.model
        attempt, call = self._prepared(ready, place)
        upstream = place.pool.open_idle(call, attempt)
        if upstream is None:
            return False
        attempt.upstream = upstream
        attempt.on_done = partial(self._landed, ready, place, attempt)
        ready.entry.in_flight += 1
        lane = self._lane
        lane.on_gone = partial(self._left, ready, place, attempt)
        lane.on_pause, lane.on_resume = upstream.pause, upstream.resume
        return True

    def _landed(self, ready: Ready, place: Place, attempt: Attempt, error: ArrieroError | None) -> None:
        """The end of an attempt that no task waits for."""
        lane = self._lane
        lane.on_gone = lane.on_pause = lane.on_resume = None
        self._give_back(ready, place)
        self._note(attempt)
        if error is None:
            report(self.outcome, self._inbound)
        elif attempt.told:
            self._after(ready, error)
            report(self.outcome, self._inbound)
        elif lane.started:
            attempt.tell(error)
            self._after(ready, error)
            report(self.outcome, self._inbound)
        else:
            self._spawn(self.run((ready, error)))

    def _left(self, ready: Ready, place: Place, attempt: Attempt) -> None:
        """The client has gone: the backend sees it at once, and nobody is blamed."""
        self._lane.on_gone = self._lane.on_pause = self._lane.on_resume = None
        if attempt.upstream is not None:
            attempt.upstream.abort()
        self._give_back(ready, place)
        self.outcome.error = ClientGone(GONE)
        report(self.outcome, self._inbound)

    def _give_back(self, ready: Ready, place: Place | None) -> None:
        ready.entry.in_flight -= 1
        if place is not None:
            place.release(ready.keep_alive)
        if not ready.entry.backend.has_memory:
            self._roster.touch(ready.offer.backend, ready.offer.card.id, ready.keep_alive)

    def _note(self, attempt: Attempt) -> None:
        self.outcome.usage, self.outcome.first_byte_ns = attempt.usage, attempt.first_byte_ns

    async def _only_loads(self, request: Request, backend: Backend, offer: Offer) -> bool:
        """Answers a request that asks for nothing but the model itself: no messages, no inputs."""
        if not is_load(request):
            return False
        await backend.load(offer.card.id, request.keep_alive)
        self._roster.touch(backend.name, offer.card.id, request.keep_alive)
        if isinstance(request, EmbedRequest):
            whole: Answer | Embeddings = Embeddings(())
        else:
            whole = Answer(finished=Finished(_REASONS[request.keep_alive == 0]))
        self._answering.whole(whole, request, time_ns())
        return True

    def _prepared(self, ready: Ready, place: Place) -> tuple[Attempt, Call]:
        """What goes out, and who takes the answer."""
        backend = ready.entry.backend
        plan = self._plan(ready, place)
        driver, sent_ns = plan.driver, time_ns()
        self.outcome.relayed, self.outcome.dropped = driver is None, plan.dropped
        if self._shortenings:
            self.outcome.dropped += (CUT,)

        def choose(head: Head) -> Pipe:
            if driver is not None:
                return self._answering.pipe(head, driver, self._request, sent_ns, hide=place.pool.hide)
            return Relay() if plan.typed is None else Renamed(place.model, plan.typed)

        attempt = Attempt(
            self._lane,
            choose=choose,
            head_of=self._answering.head,
            read_error=partial(read_error, plan.dialect, backend),
            stream_error=self._dialect.write_stream_error if self._answering.stream else None,
            relay_errors=driver is None,
        )
        target = place.pool.origin.target(plan.path)
        return attempt, Call("POST", target, heads.to_backend(backend, self._inbound), plan.body)

    def _plan(self, ready: Ready, place: Place) -> Plan:
        backend = ready.entry.backend
        if ready.relay:
            try:
                return relayed(
                    self._dialect,
                    self._endpoint,
                    self._inbound.body,
                    backend,
                    typed=self.outcome.model or "",
                    model=place.model,
                    made=ready.made,
                )
            except NotAnObject:
                pass  # the dialect can read it, but it is no text that can be edited: say it anew
        request = apply(ready.request or self._request, ready.made)
        dialect, driver = driver_for(self._dialect, self._dialects, backend, request)
        return transcoded(dialect, driver, request, backend, model=place.model)

    async def _embed(self, backend: Backend, place: Place, request: EmbedRequest) -> None:
        dialect, driver = driver_for(self._dialect, self._dialects, backend, request)
        target = Target(place.model, backend.profile)
        root, headers = backend.roots[dialect.name], heads.to_backend(backend, self._inbound)
        sent_ns = time_ns()
        whole, dropped = await embed(
            request,
            place,
            driver,
            batch=backend.profile.embed_batch,
            encode=lambda wanted: driver.encode(wanted, target),
            call=lambda out: Call("POST", place.pool.origin.target(root + out.path), headers, out.body),
            read_error=lambda head, body: read_error(dialect, backend, head, body),
        )
        self.outcome.relayed, self.outcome.dropped, self.outcome.usage = False, dropped, whole.usage
        self._answering.whole(whole, request, sent_ns)
