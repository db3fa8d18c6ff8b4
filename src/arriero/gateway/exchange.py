"""One client request's life: names, decision, attempts, answer.

1. peek at `model` and `stream`; decode the whole request only if something needs it
2. the name's offers, and a place on the backend that is chosen, after a wait in the queue if all are full
3. relay the bytes if the backend speaks the client's dialect, else transcode
4. a failure before the first byte moves on to another backend; after it, the client is told in its dialect
5. what a backend refused and can be said otherwise (too long a prompt, the wish for usage) is said again
6. one end: place and lease back, breaker stepped, counted, one log line
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import time_ns
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from arriero.backends.base import Backend, Place, Want
from arriero.backends.http.astray import is_page, is_plain
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
    InternalError,
    ModelForbidden,
    ModelNotFound,
    NoBackend,
    UsageRefused,
)
from arriero.filters.defaults import speaks
from arriero.filters.rules import Rule, apply
from arriero.gateway import heads
from arriero.gateway.answering import Answering, owned, read_error
from arriero.gateway.attempt import Attempt
from arriero.gateway.choice import Choice, Lease, Routing
from arriero.gateway.embedding import embed
from arriero.gateway.journal import STOPPED
from arriero.gateway.kinds import type_of
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.outcome import Outcome, report_attempt
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.gateway.plan import Plan, driver_for, relayed, rendering, transcoded
from arriero.gateway.reading import Misread, Reading
from arriero.gateway.ready import Ready, is_load, want_of
from arriero.gateway.roster import Roster
from arriero.gateway.shorten import MAX_SHORTENINGS, shortened
from arriero.wire.splice import NotAnObject

_EMBEDS = frozenset({Operation.EMBED, Operation.EMBEDDINGS})
GONE = "the client closed the connection"
CUT = "oldest text"
"""What an answer names as dropped where the prompt was too long."""
_REASONS = {True: Reason.UNLOAD, False: Reason.LOAD}


class Policy(Struct, frozen=True, kw_only=True):
    """What the operator decided about exchanges. `strategy` is Olla's word for what becomes of unknown models."""

    routing: Routing = Routing()
    rules: tuple[Rule, ...] = ()
    strategy: str = "strict"


class Exchange:
    """Drives one request of an inference endpoint. Made for each request, thrown away after it.

    `start` takes the short way where nothing has to be waited for: no task, only callbacks. `run` is the whole way.
    `spawn` starts a task for what turns out to need one.
    """

    __slots__ = (
        "_answering",
        "_choice",
        "_dialect",
        "_dialects",
        "_endpoint",
        "_head_at",
        "_inbound",
        "_lane",
        "_policy",
        "_reading",
        "_roster",
        "_shortenings",
        "_spawn",
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
        self._shortenings = 0
        self._head_at: float | None = None  # when the last attempt's answer began, on the roster's clock
        self._uncounted = False  # sent without the wish for usage, which the backend had refused
        self.outcome = Outcome(strategy=policy.strategy)
        self._reading = Reading(inbound, dialect, endpoint)
        self._choice = Choice(inbound, roster, policy.routing, self.outcome, self._reading)
        self._answering = Answering(inbound, lane, dialect, endpoint, self.outcome, policy.rules)

    def start(self) -> Coroutine[Any, Any, None] | None:
        """The first attempt by callbacks alone; `None` when it is on its way. Otherwise what has to be awaited."""
        try:
            if self._at_once():
                return None
        except (ArrieroError, Misread):
            pass  # `run` meets the same error, and knows what follows from it
        self._choice.begin_again()
        self.outcome.attempts = 0
        return self.run()

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
            self.outcome.error = error
            self._answering.error(error)
        except asyncio.CancelledError:
            if not lane.gone:
                self.outcome.error = InternalError(STOPPED)
                raise
            task.uncancel()
            self.outcome.error = ClientGone(GONE)
        except Exception:
            self.outcome.error = InternalError("a fault of arriero")  # the border above logs and tells it
            raise
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            self._end()

    def _end(self) -> None:
        outcome, inbound, roster = self.outcome, self._inbound, self._roster
        ended_ns, streamed = time_ns(), self._answering.stream
        roster.journal.note(outcome, inbound, ended_ns, self._dialect.name, self._endpoint.operation, streamed)
        roster.tally.record(outcome, inbound, ended_ns, streamed=streamed)

    # ---- 1 and 2: what is asked, and of whom -----------------------------------------------------------------------

    async def _drive(self, last: ArrieroError | None) -> None:
        if self.outcome.model is None:
            self.outcome.model = self._model()
            await self._find()
        again = False
        while True:
            try:
                ready = self._ready(await self._choice.next_or_wait())
            except Misread as other:
                self.outcome.model = other.model
                self.outcome.attempts = 0
                self._choice.begin_again()
                await self._find()
                continue
            except NoBackend:
                if isinstance(last, EngineCrashed) and not again:
                    # Its process died, maybe long before: the engine starts another one.
                    again = True
                    self._choice.begin_again()
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

    async def _find(self) -> None:
        model = self.outcome.model or ""
        try:
            await self._choice.find(model)
        except (AmbiguousModel, ModelForbidden):
            raise
        except ModelNotFound:
            if self._roster.names.has_alias(model):
                raise  # it says which models the alias would have stood for
            raise self._endpoint.not_found(model) from None

    def _model(self) -> str:
        model = self._reading.model()
        if self._reading.stream is not None:
            self._answering.stream = self._reading.stream
        return model

    def _after(self, ready: Ready, error: ArrieroError) -> ArrieroError:
        """Draws the consequences of a failed attempt; raises the error where no other may follow."""
        if self._lane.started:
            self.outcome.error = error
            return error
        if self._mends(ready, error):
            # The same place may be asked again, and it is no other attempt.
            self._choice.allow(ready.offer)
            self.outcome.attempts -= 1
            return error
        if not self._choice.goes_on(ready.offer, error):
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
                self._reading.replace(shorter)
                self._shortenings += 1
                return True
            case _:
                return False

    # ---- 3: one attempt --------------------------------------------------------------------------------------------

    def _ready(self, lease: Lease) -> Ready:
        """Looks through a decision: what the request needs there, and what the client must be told before."""
        try:
            return self._looked_through(lease)
        except BaseException:
            self._roster.take_back(lease.entry, lease.started)
            raise

    def _looked_through(self, lease: Lease) -> Ready:
        offer, entry, outcome, reading = lease.offer, lease.entry, self.outcome, self._reading
        backend = entry.backend
        outcome.backend, outcome.reason, outcome.backend_model = backend.name, lease.reason, None
        outcome.attempts += 1
        if self._inbound.door.olla:
            outcome.backend_type = type_of(backend)
        made = reading.changes(self._policy.rules, offer, outcome.model or "")
        same = self._dialect.name in backend.roots
        if same:
            reading.look_closer()
        # A silent backend answers overlong inputs with an error and ignores `dimensions`: its vectors are made here.
        relay = same and not reading.odd and not (backend.silent and self._endpoint.operation in _EMBEDS)
        if (defaults := offer.card.defaults) is not None and relay:
            # Knobs can be put into the bytes; what the model itself says in a conversation cannot.
            relay = self._endpoint.operation is not Operation.CHAT or not speaks(defaults)
        # Where nothing needs the canonical request, it is never made.
        request = None if relay and not made and not backend.silent else reading.confirmed(outcome.model)
        if request is not None:
            request = reading.furnished(offer)
            self._endpoint.check(request, offer.card)
            if reading.stream is not None:
                self._answering.stream = reading.stream
        return Ready(offer, entry, lease.started, relay, made, request, want_of(offer, request))

    async def _attempt(self, ready: Ready) -> ArrieroError | None:
        """`None` when the answer is out. An error that came after the first byte has been told to the client."""
        backend, request = ready.entry.backend, ready.request
        place: Place | None = None
        attempt: Attempt | None = None
        error: ArrieroError | None = ClientGone(GONE)  # unless something else turns out
        try:
            if not ready.relay and request is not None and await self._only_loads(request, backend, ready.want):
                error = None
                return None
            if (render := self._rendering(ready)) is not None:
                ready = replace(ready, text=await asyncio.to_thread(render))
            place = await backend.reach(ready.want)
            self.outcome.backend_model = place.model
            if request is not None and (fitted := await place.fit(request)) is not request:
                ready, request = replace(ready, relay=False, request=fitted), fitted
            if not ready.relay and isinstance(request, EmbedRequest):
                await self._embed(backend, place, request)
                error = None
                return None
            attempt, call = self._prepared(ready, place)
            error = await self._send(ready, place, attempt, call)
            return error
        except (BackendBroken, BackendUnreachable) as raised:
            # A cut may be a crash, which takes a moment to be known; an answer of the backend's own is none.
            error = raised if place is None else await place.diagnose() or raised
            raise error from None
        except ModelNotFound:
            # It went after it was listed: the client hears of it by the name that it typed.
            error = self._endpoint.not_found(self.outcome.model or "")
            raise error from None
        except ArrieroError as raised:
            error = raised
            raise
        finally:
            self._give_back(ready, place, error, has_head=attempt is not None and attempt.has_head)

    async def _send(self, ready: Ready, place: Place, attempt: Attempt, call: Call) -> ArrieroError | None:
        try:
            error = await attempt.carry(place.pool, call)
        finally:
            self._note(attempt)
        if error is not None and not attempt.told:
            if not self._lane.started:
                raise error
            if isinstance(error, BackendBroken):
                error = await place.diagnose() or error
            attempt.tell(owned(error, ready.entry.backend))
        return error

    def _at_once(self) -> bool:
        """The same without waiting: false where something would have to be waited for. Nothing has then been sent."""
        model = self._model()
        self._choice.find_at_once(model)
        self.outcome.model = model
        ready = self._ready(self._choice.next())
        sent = False
        try:
            sent = self._sent_at_once(ready)
        finally:
            if not sent:
                self._roster.take_back(ready.entry, ready.started)
        return sent

    def _sent_at_once(self, ready: Ready) -> bool:
        request = ready.request
        place = ready.entry.backend.at_hand(ready.want)
        if place is None or self._lane.gone:
            return False
        if not ready.relay and (isinstance(request, EmbedRequest) or is_load(request)):
            return False
        if self._rendering(ready) is not None:
            return False
        self.outcome.backend_model = place.model
        attempt, call = self._prepared(ready, place)
        upstream = place.pool.open_idle(call, attempt)
        if upstream is None:
            return False
        attempt.upstream = upstream
        attempt.on_done = partial(self._landed, ready, place, attempt)
        lane = self._lane
        lane.on_gone = partial(self._left, ready, place, attempt)
        lane.on_pause, lane.on_resume = upstream.pause, upstream.resume
        return True

    def _landed(self, ready: Ready, place: Place, attempt: Attempt, error: ArrieroError | None) -> None:
        """The end of an attempt that no task waits for."""
        lane = self._lane
        lane.on_gone = lane.on_pause = lane.on_resume = None
        self._note(attempt)
        self._give_back(ready, place, error, has_head=attempt.has_head)
        if error is not None and not attempt.told:
            if not lane.started:
                self._spawn(self.run((ready, error)))
                return
            attempt.tell(error)
        if error is not None:
            self._after(ready, error)
        self._end()

    def _left(self, ready: Ready, place: Place, attempt: Attempt) -> None:
        """The client has gone: the backend sees it at once, and nobody is blamed."""
        self._lane.on_gone = self._lane.on_pause = self._lane.on_resume = None
        if attempt.upstream is not None:
            attempt.upstream.abort()
        self._note(attempt)
        self.outcome.error = ClientGone(GONE)
        self._give_back(ready, place, self.outcome.error, has_head=attempt.has_head)
        self._end()

    def _give_back(self, ready: Ready, place: Place | None, error: ArrieroError | None, *, has_head: bool) -> None:
        roster, entry = self._roster, ready.entry
        if place is not None:
            place.release(ready.keep_alive)
        roster.give_back(entry)
        if error is not None:
            owned(error, entry.backend)
        roster.note(entry, error, ready.started, before_head=not has_head)
        if error is None:
            roster.touch(ready.offer.backend, ready.offer.card.id, ready.keep_alive)
            if self._policy.routing.rules.policy == "fastest" and self._head_at is not None:
                self._note_speed(ready, self._head_at)

    def _note_speed(self, ready: Ready, head_at: float) -> None:
        """What a good answer has shown of its backend. One that comes whole was written before it began to come."""
        usage, seconds = self.outcome.usage, self._roster.clock() - head_at
        tokens = usage.completion_tokens if usage is not None and self._answering.stream else None
        pace = tokens / seconds if tokens and seconds > 0 else None
        self._roster.note_speed(ready.entry, head_at - ready.started, pace)

    def _note(self, attempt: Attempt) -> None:
        outcome = self.outcome
        outcome.usage, outcome.first_byte_ns = attempt.usage, attempt.first_byte_ns
        outcome.received_bytes += attempt.received_bytes

    async def _only_loads(self, request: Request, backend: Backend, want: Want) -> bool:
        """Answers a request that asks for nothing but the model itself: no messages, no inputs."""
        if not is_load(request):
            return False
        await backend.load(want, request.keep_alive)
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
        self._answering.private = backend.private
        self.outcome.relayed, self.outcome.dropped = driver is None, plan.dropped
        if (defaults := ready.offer.card.defaults) is not None:
            # The model's own load-time options have done their work when it was loaded.
            self.outcome.dropped = tuple(name for name in plan.dropped if name not in defaults.runner)
        self._head_at = None
        if self._shortenings:
            self.outcome.dropped += (CUT,)

        def choose(head: Head) -> Pipe | None:
            self.outcome.head_ns = time_ns()
            self._head_at = self._roster.clock()
            if is_page(head):
                return None
            if driver is not None:
                request, profile = ready.request or self._reading.request, backend.profile
                return self._answering.pipe(head, driver, request, sent_ns, profile=profile, hide=place.pool.hide)
            if not is_plain(head):
                # Only its reader can see its end, and the name in it.
                return Relay(checked=False, whole=not self._answering.stream)
            if plan.typed is not None:
                return Renamed(place.model, plan.typed)
            return Relay(whole=not self._answering.stream)

        attempt = Attempt(
            self._lane,
            choose=choose,
            head_of=self._answering.head,
            read_error=partial(read_error, plan.dialect, backend),
            stream_error=self._dialect.write_stream_error if self._answering.stream else None,
            relay_errors=driver is None,
            elsewhere=self._policy.routing.retrying.statuses,
        )
        # Relayed, the client's query goes with it as it came.
        target = place.pool.origin.target(plan.path, self._inbound.query if driver is None else b"")
        rendered = heads.to_backend(backend, self._inbound, self.outcome.model)
        return attempt, Call("POST", target, (), plan.body, rendered=rendered)

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
        request = apply(ready.text or ready.request or self._reading.request, ready.made)
        dialect, driver = driver_for(self._dialect, self._dialects, backend, request)
        return transcoded(dialect, driver, request, backend, model=place.model)

    def _rendering(self, ready: Ready) -> Callable[[], Request] | None:
        """What makes text of a request that brings a prompt template along."""
        if self._endpoint.render is None or ready.relay or ready.request is None:
            return None
        request, received_ns = apply(ready.request, ready.made), self._inbound.received_ns
        return rendering(self._endpoint, self._dialect, ready.entry.backend, request, received_ns)

    async def _embed(self, backend: Backend, place: Place, request: EmbedRequest) -> None:
        dialect, driver = driver_for(self._dialect, self._dialects, backend, request)
        target = Target(place.model, backend.profile)
        root, rendered = backend.roots[dialect.name], heads.to_backend(backend, self._inbound, self.outcome.model)
        sent_ns = time_ns()
        whole, dropped = await embed(
            request,
            place,
            driver,
            profile=backend.profile,
            encode=lambda wanted: driver.encode(wanted, target),
            call=lambda out: Call("POST", place.pool.origin.target(root + out.path), (), out.body, rendered=rendered),
            read_error=lambda head, body: read_error(dialect, backend, head, body),
        )
        self.outcome.relayed, self.outcome.dropped, self.outcome.usage = False, dropped, whole.usage
        self._answering.whole(whole, request, sent_ns)
