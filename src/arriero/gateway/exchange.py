"""One client request's life: names, decision, attempts, answer.

1. peek at `model` and `stream`; decode the whole request only if something needs it
2. the name's offers; a request that only loads or unloads a model ends here
3. a decision, a lease, a place; relay the bytes if the backend speaks the client's dialect, else transcode
4. a failure before the first byte moves on to another backend; after it, the client is told in its dialect
5. one `finally`: place and lease back, catalog touched, one log line
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import time_ns

from msgspec import Struct

from arriero.backends.base import Backend, Place, Want
from arriero.backends.http.call import Call, Head, Headers
from arriero.canonical.events import Answer, Embeddings, Finished, Reason
from arriero.canonical.requests import ChatRequest, EmbedRequest, Request
from arriero.dialects.base import AnswerContext, Dialect, Driver, Endpoint, Operation, Target, Times
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendError,
    ClientGone,
    ModelNotFound,
    NoBackend,
    Retry,
)
from arriero.filters.rules import NO_CHANGES, Changes, Rule, apply, changes
from arriero.filters.think import ThinkTags
from arriero.gateway import heads
from arriero.gateway.attempt import Attempt
from arriero.gateway.embedding import embed
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.outcome import Outcome, marks, report
from arriero.gateway.pipes import EventFilter, Fold, Gather, Pipe, Relay, Renamed, Transcode
from arriero.gateway.plan import Plan, driver_for, relayed, transcoded
from arriero.gateway.roster import Roster
from arriero.routing.decide import Decision, decide
from arriero.routing.names import Offer
from arriero.wire.splice import NotAnObject, peek

_EMBEDS = frozenset({Operation.EMBED, Operation.EMBEDDINGS})
_REASONS = {True: Reason.UNLOAD, False: Reason.LOAD}


class Policy(Struct, frozen=True, kw_only=True):
    """What the operator decided about exchanges."""

    attempts: int = 3
    rules: tuple[Rule, ...] = ()


class Exchange:
    """Drives one request of an inference endpoint. Made for each request, thrown away after it."""

    __slots__ = (
        "_decoded",
        "_dialect",
        "_dialects",
        "_endpoint",
        "_inbound",
        "_lane",
        "_odd",
        "_policy",
        "_roster",
        "_stream",
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
    ) -> None:
        self._inbound = inbound
        self._lane = lane
        self._dialect = dialect
        self._endpoint = endpoint
        self._roster = roster
        self._dialects = dialects
        self._policy = policy
        self._decoded: Request | None = None
        self._stream = endpoint.stream_default
        self._odd = False  # only the dialect's lenient rules can read the body: it cannot be relayed
        self.outcome = Outcome()

    async def run(self) -> None:
        """To the end; never raises but for cancellation by someone else than the client, and for a fault of ours."""
        task = asyncio.current_task()
        assert task is not None
        lane = self._lane
        lane.on_gone = task.cancel
        try:
            if lane.gone:
                raise asyncio.CancelledError
            await self._drive()
        except ArrieroError as error:
            self._answer_error(error)
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
            self.outcome.error = ClientGone("the client closed the connection")
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            report(self.outcome, self._inbound)

    # ---- 1 and 2: what is asked, and of whom -----------------------------------------------------------------------

    async def _drive(self) -> None:
        model = self.outcome.model = self._model()
        offers = await self._offers(model)
        tried: set[tuple[str, str]] = set()
        last: ArrieroError | None = None
        while True:
            try:
                decision = decide(offers, self._roster.members(offers), tried)
            except NoBackend:
                if last is not None:
                    raise last from None
                raise
            tried.add((decision.offer.backend, decision.offer.card.id))
            self.outcome.attempts += 1
            try:
                error = await self._attempt(model, decision)
            except ArrieroError as raised:
                error = raised
            if error is None:
                return
            self._roster.blame(decision.offer.backend, error)
            self.outcome.error = error
            if self._lane.started:
                return
            if error.retry is not Retry.ELSEWHERE or self.outcome.attempts >= self._policy.attempts:
                raise error
            last = error

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
            self._stream = not isinstance(request, EmbedRequest) and request.stream
            return request.model
        if stream is not None:
            self._stream = stream and self._endpoint.encoder is not None
        return model

    @property
    def _request(self) -> Request:
        """The canonical request, decoded when it is first needed."""
        if self._decoded is None:
            self._decoded = self._endpoint.decode(self._inbound.body)
        return self._decoded

    # ---- 3: one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, model: str, decision: Decision) -> ArrieroError | None:
        """`None` when the answer is out. An error that came after the first byte has been told to the client."""
        offer, outcome = decision.offer, self.outcome
        entry = self._roster.entries[offer.backend]
        backend = entry.backend
        outcome.backend, outcome.reason = backend.name, decision.reason
        relay = self._may_relay(backend)
        made = self._changes(offer)
        # Where nothing needs the canonical request, it is never made.
        request = None if relay and not made and not backend.silent else self._request
        if request is not None:
            self._endpoint.check(request, offer.card)
            if not relay and await self._only_loads(request, backend, offer):
                return None
        keep_alive = request.keep_alive if request is not None else None
        entry.in_flight += 1
        place: Place | None = None
        try:
            place = await backend.reach(_want(offer, request))
            outcome.backend_model = place.model
            if not relay and isinstance(request, EmbedRequest):
                await self._embed(backend, place, request)
                return None
            plan = self._plan(backend, place, model, request, made)
            outcome.relayed, outcome.dropped = plan.driver is None, plan.dropped
            return await self._send(backend, place, plan)
        finally:
            entry.in_flight -= 1
            if place is not None:
                place.release(keep_alive)
            if not backend.has_memory:
                self._roster.touch(backend.name, offer.card.id, keep_alive)

    def _may_relay(self, backend: Backend) -> bool:
        if self._odd or self._dialect.name not in backend.roots:
            return False
        # A silent backend answers overlong inputs with an error and ignores `dimensions`: its vectors are made here.
        return not (backend.silent and self._endpoint.operation in _EMBEDS)

    def _changes(self, offer: Offer) -> Changes:
        rules = self._policy.rules
        if not rules or not any(rule.covers(offer.card.id, self.outcome.model or "") for rule in rules):
            return NO_CHANGES
        return changes(rules, offer.card.id, self._request)

    async def _only_loads(self, request: Request, backend: Backend, offer: Offer) -> bool:
        """Answers a request that asks for nothing but the model itself: no messages, no inputs."""
        match request:
            case ChatRequest(messages=()):
                unload = request.keep_alive == 0
                whole: Answer | Embeddings = Answer(finished=Finished(_REASONS[unload]))
            case EmbedRequest(inputs=()):
                whole = Embeddings(())
            case _:
                return False
        await backend.load(offer.card.id, request.keep_alive)
        self._roster.touch(backend.name, offer.card.id, request.keep_alive)
        self._reply(self._endpoint.encode(whole, self._context(request, time_ns()), time_ns()))
        return True

    def _plan(self, backend: Backend, place: Place, typed: str, request: Request | None, made: Changes) -> Plan:
        if self._may_relay(backend):
            try:
                return relayed(
                    self._dialect,
                    self._endpoint,
                    self._inbound.body,
                    backend,
                    typed=typed,
                    model=place.model,
                    made=made,
                )
            except NotAnObject:
                pass  # the dialect can read it, but it is no text that can be edited: say it anew
        request = apply(request or self._request, made)
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
            read_error=lambda head, body: _read_error(dialect, backend, head, body),
        )
        self.outcome.relayed, self.outcome.dropped, self.outcome.usage = False, dropped, whole.usage
        self._reply(self._endpoint.encode(whole, self._context(request, sent_ns), time_ns()))

    def _reply(self, body: bytes) -> None:
        """A whole answer that was made here."""
        marked = marks(self.outcome, self._inbound.request_id)
        reply(self._lane, 200, ((b"content-type", self._endpoint.whole_type), *marked), body)

    async def _send(self, backend: Backend, place: Place, plan: Plan) -> ArrieroError | None:
        lane, driver = self._lane, plan.driver
        sent_ns = time_ns()

        def choose(head: Head) -> Pipe:
            if driver is not None:
                return self._pipe(head, driver, sent_ns)
            return Relay() if plan.typed is None else Renamed(place.model, plan.typed)

        def read_error(head: Head, body: bytes) -> BackendError:
            return _read_error(plan.dialect, backend, head, body)

        attempt = Attempt(
            lane,
            choose=choose,
            head_of=self._head_of,
            read_error=read_error,
            stream_error=self._dialect.write_stream_error if self._stream else None,
            relay_errors=driver is None,
        )
        target = place.pool.origin.target(plan.path)
        call = Call("POST", target, heads.to_backend(backend, self._inbound), plan.body)
        upstream = await place.pool.open(call, attempt)
        attempt.upstream = upstream
        lane.on_pause, lane.on_resume = upstream.pause, upstream.resume
        try:
            error = await attempt.done
        except asyncio.CancelledError:
            upstream.abort()
            raise
        finally:
            lane.on_pause = lane.on_resume = None
            self.outcome.usage, self.outcome.first_byte_ns = attempt.usage, attempt.first_byte_ns
        if error is not None and not attempt.told:
            error = await place.diagnose() or error
            if lane.started:
                attempt.tell(error)
        return error

    # ---- 4: the answer ---------------------------------------------------------------------------------------------

    def _pipe(self, head: Head, driver: Driver, sent_ns: int) -> Pipe:
        content_type = (head.get(b"content-type") or b"").lower()
        request = self._request
        context = self._context(request, sent_ns)
        filters = self._filters(request)
        # A body that does not say it is JSON is a stream if a stream was asked for: some servers mark theirs as text.
        streams = (
            b"event-stream" in content_type
            or b"ndjson" in content_type
            or (self._stream and b"json" not in content_type)
        )
        if not streams or driver.decoder is None:
            return Gather(driver, self._endpoint, context, filters, stream=self._stream)
        if self._stream and self._endpoint.encoder is not None:
            return Transcode(driver.decoder(), filters, self._endpoint.encoder(context))
        return Fold(driver.decoder(), self._endpoint, context, filters)

    def _filters(self, request: Request) -> Sequence[EventFilter]:
        if not isinstance(request, ChatRequest):
            return ()
        rules = self._policy.rules
        names = (self.outcome.backend_model or request.model, request.model)
        said = [rule.think_tags for rule in rules if rule.covers(*names)] if rules else []
        return () if False in said else (ThinkTags(inside=True in said),)

    def _context(self, request: Request, sent_ns: int) -> AnswerContext:
        model = self.outcome.model or request.model
        return AnswerContext(model, request, Times(self._inbound.received_ns, sent_ns), self._inbound.request_id)

    def _head_of(self, head: Head, relayed: bool) -> Headers:
        marked = marks(self.outcome, self._inbound.request_id)
        if relayed:
            return heads.to_client(head) + marked
        content_type = self._endpoint.stream_type if self._stream else self._endpoint.whole_type
        return ((b"content-type", content_type), *marked)

    def _answer_error(self, error: ArrieroError) -> None:
        self.outcome.error = error
        if self._lane.started:
            return
        answer = self._dialect.write_error(error, self._stream)
        headers: Headers = ((b"content-type", answer.content_type), *marks(self.outcome, self._inbound.request_id))
        if error.retry_after is not None:
            headers += ((b"retry-after", b"%d" % max(1, round(error.retry_after))),)
        reply(self._lane, answer.status, headers, answer.body)


def _read_error(dialect: Dialect, backend: Backend, head: Head, body: bytes) -> BackendError:
    error = dialect.read_error(head.status, body, backend.error_type)
    told = head.get(b"retry-after")
    error.retry_after = float(told) if told is not None and told.isdigit() else None
    return error


def _want(offer: Offer, request: Request | None) -> Want:
    if request is None:
        return Want(offer.card.id)
    asked = request.runner.get("num_ctx") if request.runner else None
    return Want(
        offer.card.id,
        asked if isinstance(asked, int) and asked > 0 else None,
        isinstance(request, EmbedRequest),
    )
