"""One try on one backend: takes its answer from the socket's callbacks and writes it to the lane, piece by piece.

No task, queue or await per chunk. The end, good or bad, is told to `on_done`, once. Before the commit point (the first
byte to the client) another backend may then be tried; after it, `tell` says the failure to the client in its own
dialect, unless the pipe has done so already (`told`).
"""

import asyncio
from collections.abc import Callable, Container
from functools import partial
from time import time_ns

from arriero.backends.base import Courier
from arriero.backends.http.astray import astray
from arriero.backends.http.call import Call, Head, Headers, Upstream
from arriero.canonical.events import Usage
from arriero.errors import ArrieroError, BackendBroken, BackendError, BackendRefused
from arriero.gateway.lane import Lane, reply
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.wire.framing import MessageTooLong

ERROR_BODY_BYTES = 1024 * 1024
"""How much of an error answer is read; the rest says nothing more."""


class Attempt:
    """A receiver of one backend's answer.

    `choose(head)` gives the pipe for a good answer's head, `None` where no answer follows it. `head_of(head, relayed)`
    gives the lane's fields. `read_error(head, body)` turns the backend's error answer into the tree;
    `stream_error(error)` writes an error in mid-stream (`None`: the answer has no form for it, and the connection is
    cut). `relay_errors` passes the backend's own words about a bad request on as they are: the client speaks the same
    dialect. `elsewhere` are statuses after which another backend may be asked, so that nothing is passed on yet.
    `every_status`: no answer is taken for an error. `on_done` gets the error, or `None` for a good end; it is set
    before the call goes out.
    """

    __slots__ = (
        "_choose",
        "_elsewhere",
        "_error_body",
        "_error_bytes",
        "_every_status",
        "_head",
        "_head_of",
        "_lane",
        "_last",
        "_pipe",
        "_read_error",
        "_relay_errors",
        "_stream_error",
        "first_byte_ns",
        "on_done",
        "over",
        "received_bytes",
        "told",
        "upstream",
    )

    def __init__(
        self,
        lane: Lane,
        *,
        choose: Callable[[Head], Pipe | None],
        head_of: Callable[[Head, bool], Headers],
        read_error: Callable[[Head, bytes], BackendError],
        stream_error: Callable[[ArrieroError], bytes] | None,
        relay_errors: bool,
        elsewhere: Container[int] = (),
        every_status: bool = False,
    ) -> None:
        self._every_status = every_status
        self._lane = lane
        self._elsewhere = elsewhere
        self._choose = choose
        self._head_of = head_of
        self._read_error = read_error
        self._stream_error = stream_error
        self._relay_errors = relay_errors
        self._head: Head | None = None
        self._pipe: Pipe | None = None
        self._error_body: list[bytes] | None = None
        self._error_bytes = 0
        self._last = b"\n"
        self.upstream: Upstream | None = None
        self.first_byte_ns: int | None = None
        self.received_bytes = 0
        self.told = False  # whether the lane has its end, good or bad
        self.over = False
        self.on_done: Callable[[ArrieroError | None], None] = _nobody

    async def carry(self, courier: Courier, call: Call) -> ArrieroError | None:
        """Send a call and wait for its end; for those who have a task to wait with. Cancelled, it closes the backend.

        Raises what the courier raises where nothing could be sent.
        """
        ending: asyncio.Future[ArrieroError | None] = asyncio.get_running_loop().create_future()
        self.on_done = partial(_set_result, ending)
        lane = self._lane
        upstream = self.upstream = await courier.open(call, self)
        lane.on_pause, lane.on_resume = upstream.pause, upstream.resume
        try:
            return await ending
        except asyncio.CancelledError:
            upstream.abort()
            raise
        finally:
            lane.on_pause = lane.on_resume = None

    @property
    def head(self) -> Head | None:
        """The answer's head, `None` before one has come."""
        return self._head

    @property
    def has_head(self) -> bool:
        """Whether an answer has begun to come."""
        return self._head is not None

    @property
    def usage(self) -> Usage | None:
        """What the answer said of its tokens, where somebody read it."""
        return None if self._pipe is None else self._pipe.usage

    # ---- Receiver --------------------------------------------------------------------------------------------------

    def on_head(self, head: Head) -> None:
        self._head = head
        if 200 <= head.status < 300 or self._every_status:
            self._pipe = self._choose(head)
        if self._pipe is None:
            self._error_body = []

    def on_body(self, data: bytes) -> None:
        if self._error_body is not None:
            if self._error_bytes < ERROR_BODY_BYTES:
                self._error_body.append(data)
                self._error_bytes += len(data)
            return
        if self.over or self._pipe is None:
            return  # the answer was complete before the body was: what follows means nothing
        self.received_bytes += len(data)
        try:
            out = self._pipe.feed(data, time_ns())
        except (ArrieroError, MessageTooLong) as error:
            self._give_up(error)
            return
        if out:
            self._write(out)
        if self._pipe.over:
            self._complete(self._pipe.failed)

    def on_end(self) -> None:
        if self._error_body is not None:
            self._refused(b"".join(self._error_body))
            return
        if self.over or self._pipe is None:
            return
        try:
            out = self._pipe.close(time_ns())
        except (ArrieroError, MessageTooLong) as error:
            self._give_up(error)
            return
        if not self._lane.started:
            # Nothing was said before the end: the size of the whole is known.
            self.first_byte_ns = time_ns()
            self._start(len(out))
        if out:
            self._lane.write(out)
        self.told = True
        self._lane.finish()
        self._settle(self._pipe.failed)

    def on_error(self, error: BackendError) -> None:
        self._give_up(error)

    # ---- ends ------------------------------------------------------------------------------------------------------

    def _refused(self, body: bytes) -> None:
        assert self._head is not None
        error = self._read_error(self._head, body)
        if self._relay_errors:
            # The dialect is the client's own: its exact words (codes, parameters) are worth more than ours.
            content_type = self._head.get(b"content-type") or b"application/json"
            if isinstance(error, BackendRefused) and error.status not in self._elsewhere:
                reply(self._lane, self._head.status, self._error_head(content_type), body)
                self._settle(None)
                return
            if b"json" in content_type:
                error.verbatim = (content_type, body)
        self._settle(error)

    def _error_head(self, content_type: bytes) -> Headers:
        assert self._head is not None
        kept = tuple(field for field in self._head_of(self._head, True) if field[0] != b"content-type")
        return ((b"content-type", content_type), *kept)

    def _give_up(self, error: ArrieroError | MessageTooLong) -> None:
        if not isinstance(error, ArrieroError):
            error = BackendBroken(f"the backend's answer cannot be read: {error}")
        if isinstance(error, BackendBroken) and self._head is not None:
            error.message = astray(self._head) or error.message
        if self.upstream is not None:
            self.upstream.abort()
        if self.over:
            return
        self._settle(error)

    def tell(self, error: ArrieroError) -> None:
        """Say in mid-stream that the answer has failed; cut the connection where the answer has no form for that."""
        if self._stream_error is None:
            self._lane.abort()
            return
        # A relayed line may be cut in the middle: the error stands on a line of its own.
        broken_line = b"" if self._last.endswith(b"\n") else b"\n\n"
        self._lane.write(broken_line + self._stream_error(error))
        self._lane.finish()

    def _complete(self, failed: ArrieroError | None) -> None:
        """The pipe has said everything. After a good answer the socket may still bring its end, and be used again."""
        if failed is not None and self.upstream is not None:
            self.upstream.abort()
        self.told = True
        self._lane.finish()
        self._settle(failed)

    def _settle(self, error: ArrieroError | None) -> None:
        if not self.over:
            self.over = True
            # Whoever waits holds this attempt: let go, so that nothing is left for the garbage collector to find.
            done, self.on_done = self.on_done, _nobody
            done(error)

    # ---- the lane --------------------------------------------------------------------------------------------------

    def _write(self, out: bytes) -> None:
        if not self._lane.started:
            self.first_byte_ns = time_ns()
            self._start(None)
        self._last = out
        self._lane.write(out)

    def _start(self, length: int | None) -> None:
        assert self._head is not None
        relayed = isinstance(self._pipe, Relay | Renamed)
        if isinstance(self._pipe, Relay) and (self._stream_error is None or not self._pipe.checked):
            # Not of a stream: behind its length no error could be told. But of an answer without its body: HEAD tells
            # the length that GET would have.
            told = self._head.get(b"content-length")
            length = int(told) if told is not None and told.isdigit() else length
        self._lane.start(self._head.status if relayed else 200, self._head_of(self._head, relayed), length)


def _nobody(error: ArrieroError | None) -> None:
    """Nobody waits for the end."""


def _set_result(future: "asyncio.Future[ArrieroError | None]", error: ArrieroError | None) -> None:
    if not future.done():
        future.set_result(error)
