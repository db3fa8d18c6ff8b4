"""One socket to a backend: bytes of an answer to a receiver's callbacks, with no task, queue or await between.

A connection carries one answer at a time. It knows nothing of deadlines, retries or pools: those hear of its life
through `Occupant` (the answer it carries) and `Keeper` (who keeps it between answers).
"""

import asyncio
from typing import Protocol, cast

import httptools

from arriero.backends.http.call import Head, Receiver
from arriero.backends.http.outbox import Outbox
from arriero.errors import BackendBroken, BackendError, BackendUnreachable

MAX_HEAD_BYTES = 65536
"""Of an answer's head, all 1xx heads before it included; also of trailers and other bytes that carry no body."""

_JOINED_BYTES = 65536
"""A body up to this size is copied behind the head, for one write; a larger one is handed over as it is."""


class Occupant(Protocol):
    """The answer that a connection carries, as the connection sees it."""

    receiver: Receiver
    touched: bool
    answering: bool

    def head_came(self, head: Head) -> bool:
        """Before `on_head`; may change the receiver. False if the request is not yet sent out, which is now given up:
        no reuse.
        """

    def ended(self) -> None:
        """The whole answer is there. The connection is already free."""

    def broke(self, error: BackendError, *, unanswered: bool) -> None:
        """The connection is closed. `unanswered`: not one byte of an answer came."""


class Keeper(Protocol):
    """Who keeps connections between answers."""

    def release(self, connection: "Connection") -> None:
        """The connection is ready for another request."""

    def made(self, connection: "Connection") -> None:
        """The socket is open."""

    def lost(self, connection: "Connection") -> None:
        """The socket is closed, whoever closed it."""


class Connection(asyncio.BufferedProtocol):
    """One socket. `label` begins the sentences of its errors.

    Each read goes into `buffer`, which many connections of one event loop share, since a read is parsed at once.
    Without it asyncio, and the TLS layer of uvloop too, allocate 256 KiB for each read, which the C library maps and
    unmaps: that costs more than the read and all that is done with it.
    """

    __slots__ = (
        "_answer",
        "_bodiless",
        "_buffer",
        "_done",
        "_drained",
        "_extra",
        "_fields",
        "_head",
        "_idle_bytes",
        "_keep",
        "_keeper",
        "_label",
        "_outbox",
        "_parser",
        "_parts",
        "_paused",
        "_reading_head",
        "_surplus",
        "closed",
        "on_body",
        "parked_at",
        "reused",
        "transport",
        "writable",
    )

    def __init__(self, keeper: Keeper, label: str, buffer: memoryview, outbox: Outbox | None = None) -> None:
        self._keeper = keeper
        self._outbox = outbox or Outbox()
        self._buffer = buffer
        self._label = label
        self._answer: Occupant | None = None
        self._parts: list[bytes] = []
        # The parser calls the list itself: pieces of one read gather at the price of an append in C.
        self.on_body = self._parts.append
        self._fields: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)
        self._head: Head | None = None
        self._bodiless = False
        self._reading_head = True
        self._done = False
        self._extra = False
        self._surplus = 0
        self._keep = False
        self._paused = False
        self._idle_bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.closed = False
        self.reused = False
        self.writable = True
        self.parked_at = 0.0

    # ---- what its keeper and its answer ask of it ------------------------------------------------------------------

    def begin(self, answer: Occupant, head: bytes, body: bytes, *, bodiless: bool) -> None:
        """Send a request; `body` is empty where it is streamed by `write`. `bodiless`: the answer to a HEAD."""
        self._answer = answer
        self._head = None
        self._bodiless = bodiless
        self._done = self._extra = False
        self._idle_bytes = 0
        if not body:
            self.transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            self._outbox.write(self.transport, head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    @property
    def usable(self) -> bool:
        """Whether the socket is open, as far as is known on this side."""
        return not self.closed and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if self.usable:
            self.transport.write(data)

    async def drained(self) -> None:
        """Returns when the socket takes more bytes, or is closed. For one waiter at a time."""
        while not self.writable and not self.closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def unsent(self) -> int:
        """Bytes written that the kernel has not yet taken."""
        return self.transport.get_write_buffer_size()

    def pause(self) -> None:
        if self.usable and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.usable and self._paused:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Close now, unsent bytes are dropped; the answer is not told. Idempotent."""
        self._answer = None
        if not self.closed:
            self.closed = True
            self._wake()
            # Not close(): that waits for the write buffer, over TLS also for the peer's farewell.
            self.transport.abort()

    # ---- what the event loop tells it ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._keeper.made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None:
            # Bytes that nobody asked for would be taken for the next request's answer.
            self.close()
            return
        answer.touched = True
        problem: Exception | None = None
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            problem = error
        parts = self._parts
        if self._extra:
            del parts[self._surplus :]  # Of a second answer that nobody asked for.
        receiver = answer.receiver
        if not answer.answering:
            self._idle_bytes += nbytes
            head = self._head
            if self._idle_bytes > MAX_HEAD_BYTES and (head is None or _size(head) > MAX_HEAD_BYTES):
                self._break(f"sent a response head of more than {MAX_HEAD_BYTES} bytes")
                return
            if head is None:
                if problem is not None:
                    self._break(f"sent something that is not an HTTP answer: {_reason(problem)}")
                return
            if head.status == 407:
                # Of a plain proxy; no server asks for proxy credentials itself.
                self.close()
                message = f"cannot reach {self._label}: a proxy on the way wants credentials (407)"
                answer.broke(BackendUnreachable(message), unanswered=False)
                return
            answer.answering = True
            if not answer.head_came(head):
                self._keep = False
            receiver = answer.receiver
            self._idle_bytes = 0
            receiver.on_head(head)
            if self._answer is not answer:
                parts.clear()
                return
        if self._bodiless:
            self._extra = self._extra or bool(parts)
            parts.clear()
        elif parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self._idle_bytes = 0
            receiver.on_body(body)
            if self._answer is not answer:
                return
        elif not self._done:
            self._idle_bytes += nbytes
            if self._idle_bytes > MAX_HEAD_BYTES:
                self._break(f"sent more than {MAX_HEAD_BYTES} bytes of framing without content")
                return
        if self._done:
            self._finish(answer, reusable=self._keep and not self._extra and problem is None)
        elif problem is not None:
            self._break(f"sent an answer with broken framing: {_reason(problem)}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._wake()
        answer, self._answer = self._answer, None
        self._keeper.lost(self)
        if answer is None:
            return
        if not answer.answering:
            error = BackendBroken(f"{self._label} closed the connection before it answered{_because(exc)}")
            answer.broke(error, unanswered=self._idle_bytes == 0)
        elif exc is None and self._head is not None and _until_close(self._head):
            answer.ended()
        else:
            error = BackendBroken(f"{self._label} closed the connection in the middle of its answer{_because(exc)}")
            answer.broke(error, unanswered=False)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._wake()

    # ---- what the parser tells it (`on_body` is an attribute) ------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._done and not self._extra:
            self._extra = True
            self._surplus = len(self._parts)
        self._fields = []
        self._reading_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading_head:  # Trailers come here too, and go nowhere.
            # The parser leaves the optional whitespace behind a value.
            self._fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._reading_head = False
        if self._done:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = Head(status, tuple(self._fields))
            self._keep = self._parser.should_keep_alive()
            if self._bodiless:
                self._done = True

    def on_message_complete(self) -> None:
        # A 1xx is a whole message to the parser, not to us.
        if self._head is not None:
            self._done = True

    # ---- endings ---------------------------------------------------------------------------------------------------

    def _finish(self, answer: Occupant, *, reusable: bool) -> None:
        self._answer = None
        if not reusable or not self.writable:
            self.close()
        else:
            if self._paused:
                self.resume()
            if self._bodiless:
                # This parser still waits for the body that the head promised.
                self._parser = httptools.HttpResponseParser(self)
            self._keeper.release(self)
        answer.ended()

    def _break(self, what: str) -> None:
        answer = self._answer
        self.close()
        if answer is not None:
            answer.broke(BackendBroken(f"{self._label} {what}"), unanswered=False)

    def _wake(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None


def _size(head: Head) -> int:
    return sum(len(name) + len(value) + 4 for name, value in head.headers)


def _until_close(head: Head) -> bool:
    """Whether the end of the connection is the end of the body (RFC 9112, 6.3, rule 8)."""
    codings = [value for name, value in head.headers if name == b"transfer-encoding"]
    if codings:
        return not codings[-1].lower().endswith(b"chunked")
    return head.get(b"content-length") is None


def _reason(problem: Exception) -> str:
    if isinstance(problem, httptools.HttpParserUpgrade):
        return "it changes to another protocol"
    return str(problem)


def _because(exc: Exception | None) -> str:
    if not isinstance(exc, OSError) or isinstance(exc, ConnectionAbortedError):
        return ""
    return f" ({exc.strerror.lower()})" if exc.strerror else ""
