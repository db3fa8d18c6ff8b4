"""Paths that arriero has no words for: carried to one backend as they are, and its answer back.

The model that the body names decides where, and so does the door; without a model any backend behind the door will do.
Another backend is asked only where the first cannot have read the request: nobody knows what the path does. What is
known to be inference, in a dialect that arriero relays without reading it, is `safe`: it moves on as inference does.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from msgspec import Struct

from arriero.backends.base import Backend, Place, Want
from arriero.backends.http.call import Call, Head, Headers
from arriero.dialects.base import Dialect
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendUnreachable,
    BadRequest,
    ClientGone,
    InternalError,
    ModelForbidden,
    ModelNotFound,
    NoBackend,
    NotFound,
)
from arriero.gateway import heads
from arriero.gateway.answering import error_answer, owned, read_error
from arriero.gateway.attempt import Attempt
from arriero.gateway.choice import Choice, Lease, Routing
from arriero.gateway.kinds import type_of
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.marks import marks
from arriero.gateway.outcome import Outcome, report_attempt
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.gateway.roster import Roster
from arriero.routing.names import key_of
from arriero.wire.splice import NotAnObject, peek, splice_model

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again where a kept connection turns out to be dead: twice is as good as once."""

_OPENAI = "/v1"
_SAFE = "/:@!$&'()*+,;=~-._"
_FORM_MODEL = re.compile(rb'name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,512})\r\n')


class Passing(Struct, frozen=True):
    """Carries requests of one dialect's paths; its errors are that dialect's. `mode` goes into `X-Olla-Mode`.

    `safe`: the request is inference. `not_here` says of a model that somebody has, and nobody behind the door, why it
    cannot be used there; without it such a model is not found.
    """

    roster: Roster
    routing: Routing
    dialect: Dialect
    strategy: str = "strict"
    mode: bytes | None = None
    safe: bool = False
    not_here: Callable[[str], ArrieroError] | None = None

    async def run(self, inbound: Inbound, lane: Lane) -> None:
        """Carry one request. Answers errors itself."""
        task = asyncio.current_task()
        assert task is not None
        outcome = Outcome(strategy=self.strategy)
        lane.on_gone = task.cancel
        try:
            check_path(inbound.path)
            await self._carry(inbound, lane, outcome)
        except ArrieroError as error:
            outcome.error = error
            if not lane.started:
                answer, wait = error_answer(self.dialect, error, False, inbound.door)
                outcome.status = answer.status
                fields = ((b"content-type", answer.content_type), *marks(outcome, inbound), *wait)
                reply(lane, answer.status, fields, answer.body)
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
            outcome.error = ClientGone("the client closed the connection")
        except Exception:
            outcome.error = InternalError("a fault of arriero")  # the border above logs and tells it
            raise
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            roster, ended_ns = self.roster, self.roster.wall_ns()
            streamed = _asks_for_stream(inbound) if self.safe else None
            roster.journal.note(outcome, inbound, ended_ns, self.dialect.name, None, streamed)
            roster.tally.record(outcome, inbound, ended_ns, streamed=streamed)

    async def _carry(self, inbound: Inbound, lane: Lane, outcome: Outcome) -> None:
        choice = Choice(inbound, self.roster, self.routing, outcome)
        outcome.model = model_of(inbound)
        if outcome.model is None:
            choice.anywhere()
            if not choice.candidates and not inbound.door.olla:  # behind Olla's doors backends come and go: 503
                raise NotFound(f"no backend is there that {inbound.path} could be carried to")
        else:
            await self._find(choice, outcome.model)
        moves_on = BackendError if self.safe else BackendUnreachable
        last: BackendError | None = None
        while True:
            try:
                lease = await choice.next_or_wait()
            except NoBackend:
                if last is None:
                    raise
                raise last from None
            outcome.attempts += 1
            backend = lease.entry.backend
            outcome.backend, outcome.reason = backend.name, lease.reason
            outcome.backend_type = type_of(backend)
            try:
                await self._try(lease, inbound, lane, outcome)
                return
            except moves_on as error:
                if lane.started or not choice.goes_on(lease.offer, error):
                    raise
                report_attempt(outcome, inbound, error)
                last = error

    async def _find(self, choice: Choice, model: str) -> None:
        try:
            await choice.find(model)
        except AmbiguousModel:
            raise
        except ModelNotFound:
            if self.not_here is None or not self._is_elsewhere(model):
                raise
            raise self.not_here(model) from None

    def _is_elsewhere(self, model: str) -> bool:
        try:
            return bool(self.roster.names.resolve(model))
        except (ModelNotFound, ModelForbidden):
            return False

    async def _try(self, lease: Lease, inbound: Inbound, lane: Lane, outcome: Outcome) -> None:
        roster, entry = self.roster, lease.entry
        backend = entry.backend
        place: Place | None = None
        shown: ArrieroError | None = ClientGone("the client closed the connection")
        attempt = self._attempt(backend, lane, inbound, outcome)
        try:
            place = await backend.reach(Want(lease.offer.card.id))
            body = inbound.body
            if outcome.model is not None:
                outcome.backend_model = place.model
                # An Ollama server finds the model by the rules of `key_of` itself, and echoes what was typed.
                ollama = backend.library and "ollama" in backend.roots
                if not (self.safe and ollama and key_of(outcome.model) == key_of(place.model)):
                    body = _named(body, outcome.model, place.model)
            call = Call(
                inbound.method,
                target(backend, place, inbound),
                (),
                body,
                rendered=heads.passed(backend, inbound, outcome.model),
                once=not self.safe and inbound.method not in _HARMLESS,
            )
            shown = await attempt.carry(place.pool, call)
            if shown is not None and not attempt.told:
                if not lane.started:
                    raise shown
                attempt.tell(owned(shown, backend))
            outcome.error = shown
            if shown is None:
                shown = _shown(backend.name, attempt.head)
        except ArrieroError as error:
            shown = owned(error, backend)
            raise
        finally:
            outcome.usage, outcome.first_byte_ns = attempt.usage, attempt.first_byte_ns
            outcome.received_bytes += attempt.received_bytes
            if place is not None:
                place.release(None)
            roster.give_back(entry)
            roster.note(entry, shown, lease.started, before_head=not attempt.has_head)
            if self.safe and shown is None:
                roster.touch(backend.name, lease.offer.card.id, None)

    def _attempt(self, backend: Backend, lane: Lane, inbound: Inbound, outcome: Outcome) -> Attempt:
        if self.safe:
            outcome.relayed = True
        streams = self.safe and _asks_for_stream(inbound)

        def choose(head: Head) -> Pipe:
            outcome.head_ns = self.roster.wall_ns()
            kind = (head.get(b"content-type") or b"").lower()
            typed, there = outcome.model, outcome.backend_model
            if typed is None or there is None or typed == there or not (b"json" in kind or b"event-stream" in kind):
                return Relay(checked=self.safe, whole=self.safe and not streams)
            return Renamed(there, typed)

        def head_of(head: Head, relayed: bool) -> Headers:
            outcome.status = head.status
            mode = () if self.mode is None else ((b"x-olla-mode", self.mode),)
            return heads.to_client(head, backend.private) + marks(outcome, inbound) + mode

        return Attempt(
            lane,
            choose=choose,
            head_of=head_of,
            read_error=partial(read_error, self.dialect, backend),
            stream_error=self.dialect.write_stream_error if streams else None,
            relay_errors=True,
            elsewhere=self.routing.retrying.statuses if self.safe else (),
            every_status=not self.safe,
        )


def _shown(name: str, head: Head | None) -> ArrieroError | None:
    """What an answer that was passed on says of its backend."""
    if head is None:
        return None
    if head.status in (429, 503):
        return BackendOverloaded(f"{name} answered {head.status}", status=head.status, retry_after=head.retry_after_s)
    return BackendFailed(f"{name} answered {head.status}", status=head.status) if head.status >= 500 else None


def model_of(inbound: Inbound) -> str | None:
    """The model that a body names: a JSON object's, or a form's. `None` where it names none."""
    if (inbound.get(b"content-type") or b"").lower().startswith(b"multipart/"):
        found = _FORM_MODEL.search(inbound.body)
        return None if found is None else found[1].decode("utf-8", "replace")
    try:
        return peek(inbound.body)[0]
    except NotAnObject:
        return None


def _asks_for_stream(inbound: Inbound) -> bool:
    try:
        return bool(peek(inbound.body)[1])
    except NotAnObject:
        return False


def check_path(path: str) -> None:
    """Nothing may lead out of the base of a backend's address: `BadRequest`. The commands of a scripted backend are for
    whoever runs it: `NotFound`.
    """
    if path.startswith("/_scripted"):
        raise NotFound("404 page not found")
    if any(segment in (".", "..") for segment in path.replace("\\", "/").split("/")):
        raise BadRequest("the path must not hold '.' or '..' as a part")


def target(backend: Backend, place: Place, inbound: Inbound) -> str:
    """What to ask the backend for: the client's path under its base, the query as it came."""
    path, origin = quote(inbound.path, safe=_SAFE), place.pool.origin
    own = backend.roots.get("openai")
    if own is not None and path.startswith(_OPENAI + "/"):
        path = path.removeprefix(_OPENAI)
        if place.model:
            path = backend.profile.path_of(path, place.model)
        return origin.target(own + path, inbound.query)
    if own == "":
        # Its base is that of /v1: other paths stand beside it.
        return origin.queried(origin.path.removesuffix(_OPENAI) + path, inbound.query)
    return origin.target(path, inbound.query)


def _named(body: bytes, typed: str, there: str) -> bytes:
    if typed == there:
        return body
    try:
        return splice_model(body, typed, there)
    except NotAnObject:
        return body  # a form: its own server knows it by the name that it lists, or says that it does not
