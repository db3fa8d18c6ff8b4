"""The connections to one backend: kept between calls, opened as needed, watched by one sweep.

    pool = Pool(Origin.parse("http://10.0.0.5:11434"), timeouts=Timeouts(), label="gpu1")
    upstream = await pool.open(Call("POST", "/api/chat", headers, body), receiver)

How many calls may be open at once is not decided here.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence

from arriero.backends.http.call import Call, Head, Receiver, Timeouts, Upstream
from arriero.backends.http.connection import Connection
from arriero.backends.http.dial import Dialer
from arriero.backends.http.discreet import hidden
from arriero.backends.http.flight import Flight
from arriero.backends.http.origin import Origin, tls_context
from arriero.backends.http.outbox import Outbox
from arriero.backends.http.request import RequestHeads
from arriero.backends.http.sweep import Sweep, tick_for
from arriero.errors import BackendBroken, BackendError

FETCH_LIMIT_BYTES = 32 * 1024 * 1024

_READ_BYTES = 65536
"""The most that one read gives; one buffer of this size serves a pool."""


class Pool:
    """Open calls to one origin. Used from one event loop; may be built before it runs."""

    __slots__ = (
        "_buffer",
        "_clock",
        "_closed",
        "_connecting",
        "_dialer",
        "_heads",
        "_idle",
        "_max_idle",
        "_outbox",
        "_sockets",
        "_sweep",
        "_tick",
        "label",
        "origin",
        "secrets",
        "timeouts",
    )

    def __init__(
        self,
        origin: Origin,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext | None = None,
        proxy: Origin | None = None,
        proxy_tls: ssl.SSLContext | None = None,
        max_idle: int = 32,
        idle_seconds: float = 60.0,
        label: str = "",
        secrets: Sequence[bytes] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`label` begins the sentences of errors. `tls` is for an https origin, `proxy_tls` for an https proxy;
        without one the defaults hold. `secrets` are hidden where an error answer repeats them."""
        self.origin = origin
        self.timeouts = timeouts
        self.secrets = secrets
        self.label = label or origin.address
        if origin.socket_path is not None:
            proxy = None
        if origin.secure and tls is None:
            tls = tls_context()
        if proxy is not None and proxy.secure and proxy_tls is None:
            proxy_tls = tls_context()
        self._dialer = Dialer(origin, proxy=proxy, tls=tls, proxy_tls=proxy_tls)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        fixed = [(b"host", origin.host_header)]
        prefix = ""
        if proxy is not None and not origin.secure:
            # A plain proxy sees every request (RFC 9112, 3.2.2); a tunnel sees none.
            prefix = origin.address
            if proxy.authorization is not None:
                fixed.append((b"proxy-authorization", proxy.authorization))
        self._heads = RequestHeads(*fixed, prefix=prefix)
        self._sweep: Sweep[Connection] = Sweep(idle_seconds=idle_seconds, clock=clock)
        self._idle = self._sweep.parked
        self._tick = tick_for(timeouts)
        self._max_idle = max_idle
        self._outbox = Outbox()
        self._clock = clock
        self._connecting = 0
        self._sockets: set[Connection] = set()
        self._closed = False

    def target(self, path: str) -> str:
        """The request target of a path under this origin's base."""
        return self.origin.target(path)

    def hide(self, text: str) -> str:
        """The text without the secrets of this backend."""
        return (
            hidden(text.encode("utf-8", "replace"), self.secrets).decode("utf-8", "replace") if self.secrets else text
        )

    @property
    def in_flight(self) -> int:
        """Calls that are connecting, or whose answer has not ended."""
        return len(self._sweep.open) + self._connecting

    @property
    def idle(self) -> int:
        """Connections that wait for a call."""
        return len(self._idle)

    @property
    def sockets(self) -> int:
        """Open sockets: busy, idle, or still connecting over TLS."""
        return len(self._sockets)

    def open_idle(self, call: Call, receiver: Receiver) -> Upstream | None:
        """`open` for those who must not wait: on an idle connection, `None` if there is none."""
        head = self._heads.render(call)
        connection = None if call.once else self._take()
        return None if connection is None else self._start(call, receiver, connection, head)

    async def open(self, call: Call, receiver: Receiver) -> Upstream:
        """Send a call. Suspends only where a connection has to be opened.

        Raises BackendUnreachable or BackendTimeout if none can be, BadRequest if the call has no form on the wire; then
        the receiver hears nothing. Every later failure is told to the receiver, never within `open` itself.
        """
        head = self._heads.render(call)
        connection = None if call.once else self._take()
        if connection is None:
            timeouts = call.timeouts
            connection = await self.dial((self.timeouts if timeouts is None else timeouts).connect)
        return self._start(call, receiver, connection, head)

    async def fetch(self, call: Call, limit_bytes: int = FETCH_LIMIT_BYTES) -> tuple[Head, bytes]:
        """The whole answer of a small call, of any status. Raises BackendError; cancelled, it aborts the call."""
        gather = _Gather(limit_bytes, self.label)
        upstream = await self.open(call, gather)
        try:
            return await gather.answer
        finally:
            upstream.abort()

    def close(self) -> None:
        """Close the idle connections and keep none from now on. Calls in flight run on to their end."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        if not self._sweep.open:
            self._sweep.stop()

    # ---- Base: what a flight asks ----------------------------------------------------------------------------------

    def render(self, call: Call) -> bytes:
        return self._heads.render(call)

    async def dial(self, connect: float | None) -> Connection:
        """A fresh connection, within `connect` seconds."""
        self._connecting += 1
        try:
            return await self._dialer.dial(self._make, connect)
        finally:
            self._connecting -= 1

    def now(self) -> float:
        return self._clock()

    def landed(self, flight: Flight) -> None:
        self._sweep.forget(flight)

    # ---- Keeper: what a connection tells ---------------------------------------------------------------------------

    def release(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self._max_idle:
            connection.close()
        else:
            connection.parked_at = self._clock()
            self._idle.append(connection)

    def made(self, connection: Connection) -> None:
        self._sockets.add(connection)

    def lost(self, connection: Connection) -> None:
        self._sockets.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _make(self) -> Connection:
        return Connection(self, self.label, self._buffer, self._outbox)

    def _take(self) -> Connection | None:
        # Last in, first out: the freshest is the least likely to be dead, and the others may grow old and go.
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.reused = True
                return connection
        return None

    def _start(self, call: Call, receiver: Receiver, connection: Connection, head: bytes) -> Flight:
        timeouts = call.timeouts
        flight = Flight(self, call, receiver, self.timeouts if timeouts is None else timeouts, self._clock())
        self._sweep.watch(flight, self._tick if timeouts is None else tick_for(timeouts))
        flight.start(connection, head)
        return flight


class _Gather:
    """A receiver that waits for the whole answer."""

    __slots__ = ("_head", "_label", "_left", "_limit", "_parts", "answer")

    def __init__(self, limit_bytes: int, label: str) -> None:
        self._label = label
        self._limit = self._left = limit_bytes
        self._head = Head(0, ())
        self._parts: list[bytes] = []
        self.answer: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()

    def on_head(self, head: Head) -> None:
        self._head = head

    def on_body(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        elif not self.answer.done():
            self._parts.clear()
            self.answer.set_exception(BackendBroken(f"{self._label} sent an answer of more than {self._limit} bytes"))

    def on_end(self) -> None:
        if not self.answer.done():
            self.answer.set_result((self._head, b"".join(self._parts)))

    def on_error(self, error: BackendError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
