"""One client request's life: names, decision, attempts, answer.

1. peek at `model` and `stream`; decode the whole request only if something needs it
2. the name's offers; a request that only loads or unloads a model ends here
3. a decision, a lease, a place; relay the bytes if the backend speaks the client's dialect, else transcode
4. a failure before the first byte moves on to another backend; after it, the client is told in its dialect
5. one `finally`: place and lease back, catalog touched, one log line
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import time_ns

import structlog
from msgspec import Struct

from arriero.backends.base import Backend, Place, Want
from arriero.backends.http.call import Call, Head, Headers
from arriero.canonical.events import Answer, Embeddings, Finished, Reason, Usage
from arriero.canonical.requests import ChatRequest, EmbedRequest, Request
from arriero.dialects.base import AnswerContext, Dialect, Driver, Endpoint, Operation, Outbound, Target, Times
from arriero.dialects.edits import edit
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendError,
    Blame,
    ClientGone,
    ModelNotFound,
    NoBackend,
    NotImplementedHere,
    Retry,
)
from arriero.filters.rules import NO_CHANGES, Changes, Rule, apply, changes
from arriero.filters.think import ThinkTags
from arriero.gateway.attempt import Attempt
from arriero.gateway.embedding import embed
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.pipes import EventFilter, Fold, Gather, Pipe, Relay, Renamed, Transcode
from arriero.gateway.roster import Roster
from arriero.routing.decide import Decision, decide
from arriero.routing.names import Offer, key_of
from arriero.wire.splice import NotAnObject, peek, splice_model

log = structlog.get_logger("arriero.exchange")

PASSED_ON = frozenset({b"openai-beta", b"http-referer", b"x-title", b"traceparent", b"tracestate"})
"""Request headers of the client that a backend may see. Its credentials and its address are not among them."""

NOT_PASSED_BACK = frozenset(
    {
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"server",
        b"set-cookie",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-request-id",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
        b"vary",
        b"alt-svc",
        b"strict-transport-security",
    }
)
"""Response headers of a backend that stop here when its bytes are relayed."""

_EMBEDS = frozenset({Operation.EMBED, Operation.EMBEDDINGS})

_REASONS = {True: Reason.UNLOAD, False: Reason.LOAD}


class Policy(Struct, frozen=True, kw_only=True):
    """What the operator decided about exchanges."""

    attempts: int = 3
    rules: tuple[Rule, ...] = ()


class Outcome(Struct, kw_only=True):
    """What is known when an exchange ends. Unknown is `None`."""

    model: str | None = None
    backend: str | None = None
    backend_model: str | None = None
    reason: str | None = None
    attempts: int = 0
    relayed: bool | None = None
    dropped: tuple[str, ...] = ()
    usage: Usage | None = None
    first_byte_ns: int | None = None
    error: ArrieroError | None = None


class Plan(Struct, frozen=True):
    """What goes out, and how the answer is read. `driver` is `None` for a relay; `typed` is then the client's word for
    the model, where the answer will name it otherwise.
    """

    path: str
    body: bytes
    dropped: tuple[str, ...] = ()
    driver: Driver | None = None
    dialect: Dialect | None = None
    typed: str | None = None


class Exchange:
    """Drives one request of an inference endpoint. Made for each request, thrown away after it."""

    __slots__ = (
        "_decoded",
        "_dialect",
        "_dialects",
        "_endpoint",
        "_inbound",
        "_lane",
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
            self._report()

    # ---- 1 and 2: what is asked, and of whom -----------------------------------------------------------------------

    async def _drive(self) -> None:
        model = self._model()
        self.outcome.model = model
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
            self._stream = not isinstance(request, EmbedRequest) and request.stream
            return request.model
        if stream is not None:
            self._stream = stream and self._endpoint.encoder is not None
        return model

    @property
    def _request(self) -> Request:
        if self._decoded is None:
            self._decoded = self._endpoint.decode(self._inbound.body)
        return self._decoded

    # ---- 3: one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, model: str, decision: Decision) -> ArrieroError | None:
        """`None` when the answer is out. An error that came after the first byte has been told to the client."""
        offer = decision.offer
        entry = self._roster.entries[offer.backend]
        backend = entry.backend
        self.outcome.backend, self.outcome.reason = backend.name, decision.reason
        relay = self._dialect.name in backend.roots and not (backend.silent and self._endpoint.operation in _EMBEDS)
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
            self.outcome.backend_model = place.model
            if relay:
                plan = self._relayed(backend, place, model, request, made)
            elif isinstance(self._request, EmbedRequest):
                await self._embed(backend, place, self._request)
                return None
            else:
                plan = self._transcoded(backend, place, apply(self._request, made))
            self.outcome.relayed, self.outcome.dropped = relay, plan.dropped
            return await self._send(backend, place, offer, plan)
        finally:
            entry.in_flight -= 1
            if place is not None:
                place.release(keep_alive)
            if not backend.has_memory:
                self._roster.touch(backend.name, offer.card.id, keep_alive)

    def _changes(self, offer: Offer) -> Changes:
        rules = self._policy.rules
        if not rules or not any(rule.covers(offer.card.id) for rule in rules):
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
        body = self._endpoint.encode(whole, self._context(request, time_ns()), time_ns())
        reply(self._lane, 200, ((b"content-type", self._endpoint.whole_type), *self._marks()), body)
        return True

    def _relayed(self, backend: Backend, place: Place, model: str, request: Request | None, made: Changes) -> Plan:
        body = self._inbound.body
        if made:
            body = edit(self._dialect.name, body, backend.profile, made.put, made.drop)
        path = backend.roots[self._dialect.name] + self._endpoint.relay_path
        if backend.library and key_of(model) == key_of(place.model):
            # An Ollama server finds the model by these rules itself, and echoes what was typed.
            return Plan(path, body)
        try:
            body = splice_model(body, model, place.model)
        except NotAnObject:
            # Readable by the dialect's lenient rules, but not a text that can be edited: say it anew.
            return self._transcoded(backend, place, apply(request or self._request, made))
        return Plan(path, body, typed=None if model == place.model else model)

    async def _embed(self, backend: Backend, place: Place, request: EmbedRequest) -> None:
        dialect, driver = self._driver(backend, request)
        target = Target(place.model, backend.profile)
        root, headers = backend.roots[dialect.name], self._headers_for(backend)
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
        body = self._endpoint.encode(whole, self._context(request, sent_ns), time_ns())
        reply(self._lane, 200, ((b"content-type", self._endpoint.whole_type), *self._marks()), body)

    def _driver(self, backend: Backend, request: Request) -> tuple[Dialect, Driver]:
        """How the backend is asked: in the client's own dialect where it speaks it, else in its first."""
        name = self._dialect.name if self._dialect.name in backend.roots else next(iter(backend.roots))
        dialect = self._dialects[name]
        driver = dialect.driver(request)
        if driver is None:
            raise NotImplementedHere(f"{backend.name} cannot do what {self._endpoint.path} asks for")
        return dialect, driver

    def _transcoded(self, backend: Backend, place: Place, request: Request) -> Plan:
        dialect, driver = self._driver(backend, request)
        outbound: Outbound = driver.encode(request, Target(place.model, backend.profile))
        return Plan(backend.roots[dialect.name] + outbound.path, outbound.body, outbound.dropped, driver, dialect)

    async def _send(self, backend: Backend, place: Place, offer: Offer, plan: Plan) -> ArrieroError | None:
        lane = self._lane
        sent_ns = time_ns()
        driver = plan.driver
        dialect = plan.dialect or self._dialect

        def choose(head: Head) -> Pipe:
            if driver is not None:
                return self._pipe(head, driver, sent_ns)
            return Relay() if plan.typed is None else Renamed(place.model, plan.typed)

        def head_of(head: Head, relayed: bool) -> Headers:
            return self._head_of(head, relayed)

        def read_error(head: Head, body: bytes) -> BackendError:
            return _read_error(dialect, backend, head, body)

        attempt = Attempt(
            lane,
            choose=choose,
            head_of=head_of,
            read_error=read_error,
            stream_error=self._dialect.write_stream_error if self._stream else None,
            relay_errors=driver is None,
        )
        call = Call("POST", place.pool.origin.target(plan.path), self._headers_for(backend), plan.body)
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

    def _pipe(self, head: Head, driver: Driver, sent_ns: int) -> Pipe:
        content_type = (head.get(b"content-type") or b"").lower()
        request = self._request
        context = self._context(request, sent_ns)
        filters = self._filters(request)
        # A body that does not say it is JSON is a stream if a stream was asked for: some servers mark theirs as text.
        streams = b"event-stream" in content_type or b"ndjson" in content_type
        if not streams and self._stream and b"json" not in content_type:
            streams = True
        if not streams or driver.decoder is None:
            return Gather(driver, self._endpoint, context, filters, stream=self._stream)
        if self._stream and self._endpoint.encoder is not None:
            return Transcode(driver.decoder(), filters, self._endpoint.encoder(context))
        return Fold(driver.decoder(), self._endpoint, context, filters)

    def _filters(self, request: Request) -> Sequence[EventFilter]:
        if not isinstance(request, ChatRequest):
            return ()
        said = [
            rule.think_tags for rule in self._policy.rules if rule.covers(self.outcome.backend_model or request.model)
        ]
        if False in said:
            return ()
        return (ThinkTags(inside=True in said),)

    def _context(self, request: Request, sent_ns: int) -> AnswerContext:
        model = self.outcome.model or request.model
        return AnswerContext(model, request, Times(self._inbound.received_ns, sent_ns), self._inbound.request_id)

    # ---- heads -----------------------------------------------------------------------------------------------------

    def _headers_for(self, backend: Backend) -> Headers:
        inbound = self._inbound
        passed = tuple(field for field in inbound.headers if field[0] in PASSED_ON)
        headers = (*backend.headers, (b"x-request-id", inbound.request_id.encode()), *passed)
        if backend.forwards_client and inbound.client is not None:
            host = inbound.get(b"host") or b""
            headers += (
                (b"x-forwarded-for", inbound.client.encode()),
                (b"x-forwarded-host", host),
                (b"x-forwarded-proto", b"http"),
            )
        return headers

    def _head_of(self, head: Head, relayed: bool) -> Headers:
        if relayed:
            return (*(field for field in head.headers if field[0] not in NOT_PASSED_BACK), *self._marks())
        content_type = self._endpoint.stream_type if self._stream else self._endpoint.whole_type
        return ((b"content-type", content_type), *self._marks())

    def _marks(self) -> Headers:
        """What every answer says of its way."""
        outcome = self.outcome
        marks: list[tuple[bytes, bytes]] = [(b"x-arriero-request-id", self._inbound.request_id.encode())]
        if outcome.backend is not None:
            marks.append((b"x-arriero-backend", _field(outcome.backend)))
        if outcome.backend_model is not None:
            marks.append((b"x-arriero-model", _field(outcome.backend_model)))
        if outcome.attempts:
            marks.append((b"x-arriero-attempts", b"%d" % outcome.attempts))
        if outcome.reason is not None:
            marks.append((b"x-arriero-reason", _field(outcome.reason)))
        if outcome.dropped:
            marks.append((b"x-arriero-dropped", _field(",".join(outcome.dropped))))
        return tuple(marks)

    # ---- 5: the end ------------------------------------------------------------------------------------------------

    def _answer_error(self, error: ArrieroError) -> None:
        self.outcome.error = error
        if self._lane.started:
            return
        answer = self._dialect.write_error(error, self._stream)
        headers: Headers = ((b"content-type", answer.content_type), *self._marks())
        if error.retry_after is not None:
            headers += ((b"retry-after", b"%d" % max(1, round(error.retry_after))),)
        reply(self._lane, answer.status, headers, answer.body)

    def _report(self) -> None:
        outcome, error = self.outcome, self.outcome.error
        if error is not None:
            say = log.warning if error.blame in (Blame.BACKEND, Blame.GATEWAY) else log.info
            say(
                "exchange failed",
                request_id=self._inbound.request_id,
                path=self._inbound.path,
                model=outcome.model,
                backend=outcome.backend,
                attempts=outcome.attempts,
                status=error.status,
                error=error.message,
            )
        elif outcome.dropped:
            log.info(
                "parameters dropped",
                request_id=self._inbound.request_id,
                model=outcome.model,
                backend=outcome.backend,
                dropped=list(outcome.dropped),
            )


def _read_error(dialect: Dialect, backend: Backend, head: Head, body: bytes) -> BackendError:
    error = dialect.read_error(head.status, body, backend.error_type)
    error.retry_after = _seconds(head.get(b"retry-after"))
    return error


def _want(offer: Offer, request: Request | None) -> Want:
    if request is None:
        return Want(offer.card.id)
    asked = request.runner.get("num_ctx")
    return Want(
        offer.card.id,
        asked if isinstance(asked, int) and asked > 0 else None,
        isinstance(request, EmbedRequest),
    )


@lru_cache(maxsize=1024)  # the same few names in every answer
def _field(text: str) -> bytes:
    """A header field's value: model names may hold anything."""
    return text.encode("ascii", "backslashreplace").replace(b"\r", b" ").replace(b"\n", b" ")


def _seconds(retry_after: bytes | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
