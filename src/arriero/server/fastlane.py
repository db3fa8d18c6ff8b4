"""The fast lane: uvicorn's HTTP/1.1 protocol with the hot routes taken out of ASGI.

Where the head of a request names a hot route, the exchange is driven right on the socket: no scope, no message queue,
no task per chunk. Everything else is uvicorn's own. uvicorn has no limits on heads and bodies; they are kept here for
every route.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from arriero.backends.http.call import Headers
from arriero.backends.http.outbox import Outbox
from arriero.errors import ArrieroError, BadRequest, HeadersTooLarge, PayloadTooLarge, RequestTimeout
from arriero.gateway.lane import Inbound, reply
from arriero.server.access import is_loopback
from arriero.server.front import Front
from arriero.server.routes import Route

HEAD_FIELDS = 128
"""More header fields than this are an attack, not a request."""

PIECES = 256
"""Pieces of a body that are kept one by one: each costs its object as well, and a chunk may be a single byte."""

LINGER_SECONDS = 2.0
"""How long a client that was refused may go on sending."""


class FastLane:
    """One request and its answer on a connection. Stands where uvicorn keeps its `RequestResponseCycle`."""

    __slots__ = (
        "_begun",
        "_chunked",
        "_complete_body",
        "_gathered",
        "_head",
        "_head_only",
        "_headers",
        "_id",
        "_left",
        "_method",
        "_path",
        "_pieces",
        "_protocol",
        "_query",
        "_refusal",
        "_route",
        "_size",
        "_slow",
        "disconnected",
        "extra",
        "gone",
        "keep_alive",
        "message_event",
        "more_body",
        "on_gone",
        "on_pause",
        "on_resume",
        "response_complete",
        "started",
    )

    def __init__(
        self,
        protocol: "FastProtocol",
        route: Route,
        method: str,
        path: str,
        query: bytes,
        headers: Headers,
        extra: Headers,
        *,
        keep_alive: bool,
    ) -> None:
        self._protocol = protocol
        self._route = route
        self._method = method
        self._path = path
        self._query = query
        self._headers = headers
        door = route.door
        self._id = protocol.front.request_id(headers, door)
        self.extra = extra if not door.olla else (*extra, *protocol.front.marked(door, self._id))
        self._pieces: list[bytes] = []
        self._gathered = bytearray()
        self._size = 0
        self._complete_body = False
        self._begun = False
        self._head: bytes | None = None
        self._head_only = method == "HEAD"
        self._chunked = False
        self._left: int | None = None
        self._refusal: ArrieroError | None = None
        self._slow = False  # whether the exchange has been told that the client does not keep up
        self.keep_alive = keep_alive
        self.gone = False
        self.started = False
        self.on_gone: Callable[[], object] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        # What uvicorn's protocol reads of its cycle.
        self.response_complete = False
        self.disconnected = False
        self.more_body = True
        self.message_event = _Silent

    # ---- the request -----------------------------------------------------------------------------------------------

    def take(self, piece: bytes) -> None:
        """More of the body."""
        self._size += len(piece)
        limit = self._protocol.front.max_body_bytes
        if self._size > limit:
            self.refuse(PayloadTooLarge(f"the request body is larger than {limit} bytes (limits.max_body_bytes)"))
        elif not self.response_complete:
            self._pieces.append(piece)
            if len(self._pieces) == PIECES:
                self._gathered += b"".join(self._pieces)
                self._pieces.clear()

    def taken(self) -> None:
        """The body is complete."""
        self._complete_body = True
        self.more_body = False
        if self._begun:
            self._drive()

    def begin(self) -> None:
        """The connection is this request's: those before it have been answered."""
        self._begun = True
        self._protocol.active = self
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif self._complete_body:
            self._drive()

    def _drive(self) -> None:
        if self.response_complete or self.gone:
            return
        protocol = self._protocol
        front = protocol.front
        if self._gathered:
            self._pieces.insert(0, bytes(self._gathered))
            self._gathered = bytearray()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        headers, route = self._headers, self._route
        client = front.peers.client(protocol.client[0] if protocol.client else None, headers)
        inbound = Inbound(
            self._method,
            route.inner(self._path) if route.door.prefix else self._path,
            headers,
            body,
            client,
            self._id,
            time.time_ns(),
            self._query,
            None,
            route.door,
        )
        rest = front.begin(route, inbound, self)
        if rest is not None:
            task = protocol.loop.create_task(rest)
            protocol.tasks.add(task)
            task.add_done_callback(protocol.tasks.discard)

    def refuse(self, error: ArrieroError) -> None:
        """Answer without the handler, and close: the rest of the request is not read."""
        if self.response_complete or self.gone:
            return
        if not self._begun:
            self._refusal = error  # the answers before it are still on their way
            return
        self.keep_alive = False
        status, content_type, body = self._protocol.front.error(error, self._path, self._id)
        reply(self, status, ((b"content-type", content_type),), body)

    # ---- the answer: Lane ------------------------------------------------------------------------------------------

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        self.started = True
        pieces = [STATUS_LINE[status], self._protocol.common_head()]
        for name, value in headers:
            pieces += (name, b": ", value, b"\r\n")
        for name, value in self.extra:
            pieces += (name, b": ", value, b"\r\n")
        if length is not None:
            pieces.append(b"content-length: %d\r\n" % length)
            self._left = length
        elif not self.keep_alive:
            # A client of HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
            self._chunked = self._protocol.knows_chunks
        else:
            self._chunked = True
        if self._chunked:
            pieces.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            pieces.append(b"connection: close\r\n")
        pieces.append(b"\r\n")
        self._head = b"".join(pieces)

    def write(self, data: bytes) -> None:
        if self.gone or self.response_complete or not data:
            return
        if self._left is not None:
            if len(data) > self._left:
                # More than was promised would be taken for the next answer.
                data = data[: self._left]
                self.keep_alive = False
            self._left -= len(data)
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        head = self._head
        if head is not None:
            self._head = None
            data = head if self._head_only else head + data
        elif self._head_only:
            return
        protocol = self._protocol
        if head is not None and self._left == 0 and self.keep_alive:
            protocol.outbox.write(protocol.transport, data)  # a whole answer in one piece
            return
        protocol.transport.write(data)
        if protocol.flow.write_paused and not self._slow:
            self.pause()  # the transport said so before: while an earlier answer was on its way, or in this write

    def pause(self) -> None:
        """The client does not keep up."""
        if self.on_pause is not None and not self._slow:
            self._slow = True
            self.on_pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._slow:
            self._slow = False
            if self.on_resume is not None:
                self.on_resume()

    def finish(self) -> None:
        if self.gone or self.response_complete:
            return
        end = b"0\r\n\r\n" if self._chunked and not self._head_only else b""
        if self._head is not None:
            end = self._head + end
            self._head = None
        if end:
            self._protocol.transport.write(end)
        if self._left and not self._head_only:
            # Fewer bytes than were promised: the client must not take this for the whole.
            self.keep_alive = False
        self._end()

    def abort(self) -> None:
        if not self.gone and not self.response_complete:
            self.keep_alive = False
            self._protocol.transport.abort()

    def _end(self) -> None:
        self.response_complete = True
        if not self.keep_alive and self.more_body:
            self._protocol.linger()
        elif not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()

    def lost(self) -> None:
        """The client has gone."""
        if not self.gone:
            self.gone = True
            if self.on_gone is not None and not self.response_complete:
                self.on_gone()


class _Silent:
    """In the place of uvicorn's event: nobody waits for it."""

    @staticmethod
    def set() -> None:
        """Nothing to wake."""


class FastProtocol(HttpToolsProtocol):
    """A connection. `front` is set on a subclass by `protocol_for`."""

    front: Front
    outbox: Outbox

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active: FastLane | None = None  # the lane whose answer is on its way; pipelined ones wait behind it
        self.head_since: float | None = None
        self.knows_chunks = True
        self._head_bytes = 0
        self._read_bytes = 0
        self._idle_bytes = 0
        self._unsent = 0
        self._unsent_since = 0.0
        self._last_read = 0.0
        self._idle_since: float | None = None
        self._in_head = True
        self._head_ended = False
        self._upgrading = False
        self._common: tuple[object, bytes] = (None, b"")
        self._refused = False
        self.local = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.local = self.server is None or is_loopback(self.server[0])
        self.head_since = self.loop.time()  # a connection that never says anything must not stay for ever

    def common_head(self) -> bytes:
        """The fields of every answer, as uvicorn renews them once a second."""
        fields = self.server_state.default_headers
        if self._common[0] is not fields:
            self._common = (fields, b"".join(name + b": " + value + b"\r\n" for name, value in fields))
        return self._common[1]

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._last_read = self.loop.time()
        if self.head_since is None and self._in_head:
            self.head_since = self._last_read
        self._idle_since = None
        self._read_bytes = len(data)
        all_head, self._head_ended = self._in_head, False
        self._idle_bytes += len(data)
        self._feed(data)
        if all_head and self._in_head and not self._head_ended and not self._refused:
            # Not parsed into fields yet, but one endless line is a head as well. A read that ends a body counts for
            # nothing, even where the next head begins in it.
            self._head_bytes += len(data)
            if self._head_bytes > self.front.max_header_bytes:
                self._refuse_head()
        elif self._idle_bytes > len(data) + self.front.max_header_bytes and not self._in_head and not self._refused:
            # Trailers without end, or the extension of a chunk: the parser keeps them, and they are no body.
            self._refuse_head()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            except httptools.HttpParserUpgrade as upgrade:
                if not self._refused:
                    data = self._without_upgrade() + data[upgrade.args[0] :]
                    continue
            return

    def _without_upgrade(self) -> bytes:
        """The head again, without the client's offer of another protocol, for a new parser.

        Every Java program offers h2c, and expects an answer in HTTP/1.1 where it is not taken. The parser takes what
        follows such a head for the other protocol, so the body would be lost.
        """
        self._upgrading = False
        version = self.parser.get_http_version().encode("ascii")
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade")
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, fields)
        self.parser = httptools.HttpRequestParser(self)
        return head

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it comes after everything was checked, and means nothing
        # As uvicorn does it, without the call: this runs for each field of each request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_message_begin(self) -> None:
        # uvicorn makes a scope here; a hot request needs none, so that it is made when ASGI turns out to be the way.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._head_bytes = self._idle_bytes = 0

    def _by_asgi(self) -> None:
        """The ordinary way of a request whose head is here."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._idle_bytes = 0
        self._head_ended = True
        self.head_since = None
        if self._refused:
            return
        if self.parser.get_method() == b"CONNECT":
            self._refuse(BadRequest("arriero is no proxy: it does not serve CONNECT"))
            return
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        # A head that came in one small read cannot be too large: only the others are measured.
        limit = self.front.max_header_bytes
        if ((self._read_bytes > limit or self._head_bytes) and self._head_size() > limit) or len(
            self.headers
        ) > HEAD_FIELDS:
            self._refuse_head()
            return
        method = self.parser.get_method().decode("ascii")
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("latin-1")
        route = self.front.table.hot.get((path, method))
        if route is None:
            self._by_asgi()
            return
        headers = tuple(self.headers)
        verdict = self.front.access.check(method, headers, self.local)
        if verdict.status is not None:
            self._by_asgi()  # the ordinary way answers refusals and preflights
            return
        version = self.parser.get_http_version()
        self.knows_chunks = version != "1.0"
        lane = FastLane(
            self,
            route,
            method,
            path,
            query,
            headers,
            verdict.headers,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
        )
        before, self.cycle = self.cycle, lane  # type: ignore[assignment]
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if before is None or before.response_complete:
            lane.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((lane, self.app))  # type: ignore[arg-type]

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_response_complete(self) -> None:
        # As uvicorn does it, but for its timer: one sweep a second closes the connections that nobody uses any more.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._idle_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if self._refused or self._upgrading:
            return
        self._idle_bytes = 0
        if isinstance(cycle, FastLane):
            cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused or self._upgrading:
            return
        self._in_head = True
        cycle: Any = self.cycle
        if isinstance(cycle, FastLane):
            cycle.taken()
        else:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, FastLane):
            # Not at once: answers that are there at once would be nested in one another, as deep as the pipeline.
            self.active = cycle
            self.loop.call_soon(cycle.begin)
        else:
            super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        waiting: list[Any] = [cycle for cycle, _ in self.pipeline]
        super().connection_lost(exc)
        for lane in (self.active, self.cycle, *waiting):
            if isinstance(lane, FastLane):
                lane.lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        # Who does not read his answers is not read from: answers that are there at once would pile up.
        self.flow.pause_reading()
        if self.active is not None:
            self.active.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.pipeline:
            self.flow.resume_reading()
        if self.active is not None:
            self.active.resume()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest(msg))

    def expire_head(self, now: float, seconds: float) -> None:
        """Close a connection whose request head has been on its way for too long."""
        if self.head_since is None or now - self.head_since <= seconds or self.transport.is_closing():
            return
        if not self._head_bytes:
            self.transport.close()  # opened in advance and never used: nothing was asked, nothing is answered
        else:
            self._refuse(RequestTimeout(f"the request head did not come within {seconds:g} s"))

    def expire_body(self, now: float, seconds: float) -> None:
        """Close a connection whose request body has stopped coming, though nobody keeps it from coming."""
        cycle: Any = self.cycle
        if cycle is None or not cycle.more_body or cycle.response_complete or self.flow.read_paused or self._in_head:
            return
        if now - self._last_read > seconds and not self.transport.is_closing():
            self._refuse(RequestTimeout(f"nothing came of the request body for {seconds:g} s"))

    def expire_idle(self, now: float, seconds: float) -> None:
        """Close a connection that waits for another request for too long."""
        if self._idle_since is not None and now - self._idle_since > seconds and not self.transport.is_closing():
            self.transport.close()

    def expire_unread(self, now: float, seconds: float) -> None:
        """Cut a connection whose client takes nothing of an answer any more: it would hold its backend for ever."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > seconds:
            self.transport.abort()

    def linger(self) -> None:
        """Close when the client has read the answer, though it is still sending.

        Closing at once would reset the connection, and the client would see that instead of the answer.
        """
        self._refused = True  # nothing that still comes is read
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _refuse_head(self) -> None:
        self._refuse(
            HeadersTooLarge(
                f"the request head is larger than {self.front.max_header_bytes} bytes (limits.max_header_bytes), "
                f"or has more than {HEAD_FIELDS} fields"
            )
        )

    def _refuse(self, error: ArrieroError) -> None:
        self._refused = True
        self.outbox.flush()  # answers that are complete go before this one
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            if isinstance(cycle, FastLane) and cycle.more_body:
                cycle.refuse(error)
                return
            if not cycle.more_body:
                cycle.keep_alive = False  # answers are on their way: the connection closes behind the last one
                return
            if self.pipeline or cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True  # what ASGI still has to say would come behind this answer
            cycle.message_event.set()
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        door = self.front.table.door_of(path)
        request_id = self.front.request_id(tuple(getattr(self, "headers", ())), door)
        status, content_type, body = self.front.error(error, path, request_id)
        head: Headers = (
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *self.front.marked(door, request_id),
        )
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in head)
        self.transport.write(STATUS_LINE[status] + self.common_head() + fields + b"\r\n" + body)
        self.linger()


def protocol_for(app: Front) -> type[asyncio.Protocol]:
    """The protocol class that serves `app`: uvicorn makes its connections from a class."""
    return type("Connection", (FastProtocol,), {"front": app, "outbox": Outbox()})
