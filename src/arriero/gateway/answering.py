"""What the client of an exchange is told: the head, the way of the body, errors, and answers that are made here."""

from collections.abc import Sequence
from math import ceil
from time import time_ns

from arriero.backends.base import Backend
from arriero.backends.http.astray import astray, is_plain
from arriero.backends.http.call import Head, Headers
from arriero.canonical.requests import ChatRequest, Request
from arriero.dialects.base import AnswerContext, Dialect, Driver, Endpoint, ErrorAnswer, Times, WholeAnswer
from arriero.dialects.quirks import Profile
from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendUnreachable,
)
from arriero.filters.rules import Rule
from arriero.filters.think import ThinkTagging
from arriero.gateway import heads
from arriero.gateway.door import Door
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.marks import marks
from arriero.gateway.outcome import Outcome
from arriero.gateway.pipes import Filtering, Fold, Gather, Hide, Pipe, Transcode

_TAGS, _INSIDE = (ThinkTagging(),), (ThinkTagging(inside=True),)


class Answering:
    """The answering side of one exchange. `stream`: the client asked for a stream, as far as is known by now."""

    __slots__ = ("_dialect", "_endpoint", "_inbound", "_lane", "_outcome", "_rules", "private", "stream")

    def __init__(
        self,
        inbound: Inbound,
        lane: Lane,
        dialect: Dialect,
        endpoint: Endpoint,
        outcome: Outcome,
        rules: Sequence[Rule],
    ) -> None:
        self._inbound = inbound
        self._lane = lane
        self._dialect = dialect
        self._endpoint = endpoint
        self._outcome = outcome
        self._rules = rules
        self.stream = endpoint.stream_default
        self.private: frozenset[bytes] = frozenset()  # fields of the backend that a client may not see

    def pipe(self, head: Head, driver: Driver, request: Request, sent_ns: int, *, profile: Profile, hide: Hide) -> Pipe:
        """From a backend's body to the client's, where the bytes cannot be relayed. An error that the backend reports
        is worded as `profile` has it, and `hide` takes the gateway's secrets out of it.
        """
        content_type = (head.get(b"content-type") or b"").lower()
        context, filters = self._context(request, sent_ns), self._filters(request)
        # A body that does not say it is JSON is a stream if a stream was asked for: some servers mark theirs as text.
        streams = (
            b"event-stream" in content_type
            or b"ndjson" in content_type
            or (self.stream and b"json" not in content_type)
        )
        if not streams or driver.decoder is None:
            return Gather(driver, self._endpoint, context, filters, hide, profile=profile, stream=self.stream)
        if self.stream and self._endpoint.encoder is not None:
            return Transcode(driver.decoder(profile), filters, self._endpoint.encoder(context), hide)
        return Fold(driver.decoder(profile), self._endpoint, context, filters, hide)

    def head(self, head: Head, relayed: bool) -> Headers:
        """The fields of an answer that a backend gave."""
        if self._outcome.head_ns is None:
            self._outcome.head_ns = time_ns()
        self._outcome.status = head.status if relayed or head.status >= 300 else 200
        marked = marks(self._outcome, self._inbound)
        if relayed:
            return heads.to_client(head, self.private) + marked
        content_type = self._endpoint.stream_type if self.stream else self._endpoint.whole_type
        return ((b"content-type", content_type), *marked)

    def whole(self, answer: WholeAnswer, request: Request, sent_ns: int) -> None:
        """An answer that was made here; never a stream."""
        body = self._endpoint.encode(answer, self._context(request, sent_ns), time_ns())
        self._outcome.status = 200
        marked = marks(self._outcome, self._inbound)
        reply(self._lane, 200, ((b"content-type", self._endpoint.whole_type), *marked), body)

    def error(self, error: ArrieroError) -> None:
        """An error in place of an answer; nothing if an answer has begun."""
        if self._lane.started:
            return
        answer, wait = error_answer(self._dialect, error, self.stream, self._inbound.door)
        self._outcome.status = answer.status
        if self._outcome.head_ns is None and isinstance(error, BackendError):
            self._outcome.head_ns = time_ns()
        marked = marks(self._outcome, self._inbound)
        reply(self._lane, answer.status, ((b"content-type", answer.content_type), *marked, *wait), answer.body)

    def _filters(self, request: Request) -> Sequence[Filtering]:
        if not isinstance(request, ChatRequest):
            return ()
        names = (self._outcome.backend_model or request.model, request.model)
        said = [rule.think_tags for rule in self._rules if rule.covers(*names)] if self._rules else []
        return () if False in said else _INSIDE if True in said else _TAGS

    def _context(self, request: Request, sent_ns: int) -> AnswerContext:
        model = self._outcome.model or request.model
        return AnswerContext(model, request, Times(self._inbound.received_ns, sent_ns), self._inbound.request_id)


def error_answer(dialect: Dialect, error: ArrieroError, streaming: bool, door: Door) -> tuple[ErrorAnswer, Headers]:
    """An error as the client reads it, in a backend's own words where it speaks the dialect; and when to come again."""
    answer = dialect.write_error(at_door(error, door), streaming)
    if isinstance(error, BackendFailed | BackendOverloaded | BackendRefused) and error.verbatim is not None:
        answer = ErrorAnswer(answer.status, *error.verbatim)
    wait: Headers = ()
    if error.retry_after is not None:
        wait = ((b"retry-after", b"%d" % max(1, ceil(error.retry_after))),)
    return answer, wait


def read_error(dialect: Dialect, backend: Backend, head: Head, body: bytes) -> BackendError:
    """A backend's error answer, or one that is none, with the seconds after which it wants to be asked again."""
    if (words := astray(head, body)) is not None:
        return BackendBroken(words, type=backend.error_type)
    error = dialect.read_error(head.status, body if is_plain(head) else b"", backend.profile)
    error.retry_after = head.retry_after_s
    return error


OLLA_UNREACHABLE = 502
"""Olla's own status where no connection comes about; clients and dashboards of it count them."""


def at_door(error: ArrieroError, door: Door) -> ArrieroError:
    """The error with the status that it has at this door. Another one, for the error may be told to others as well."""
    if door.olla and isinstance(error, BackendUnreachable):
        return BackendUnreachable(
            error.message, status=OLLA_UNREACHABLE, type=error.type, retry_after=error.retry_after
        )
    return error


def owned(error: ArrieroError, backend: Backend) -> ArrieroError:
    """The same error, with its backend's word where it has only the one for any backend."""
    if error.type == BackendError.type:
        error.type = backend.error_type  # type: ignore[misc]
    return error
