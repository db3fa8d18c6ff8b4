"""An answer in flight: what the caller holds, from the request's first byte to the answer's last.

Stays the same while the connection below it is changed for a fresh one (a kept connection may have died unseen), so
that `pause`, `resume` and `abort` always act on the right socket, and on none after the end.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from arriero.backends.http.call import Call, Head, Receiver, Timeouts
from arriero.backends.http.connection import Connection
from arriero.backends.http.discreet import Discreet
from arriero.backends.http.request import declared_length
from arriero.backends.http.sweep import Phase
from arriero.errors import ArrieroError, BackendBroken, BackendError, BackendTimeout, Blame, Retry

STALE_SECONDS = 5.0
"""A kept connection that has died shows it within a round trip; one that is lost later was lost over this request."""


class UploadFailed(BackendError):
    """The source of a streamed request body failed, or gave another length than declared. Not the backend's fault."""

    status = 400
    type = "validation_error"
    retry = Retry.NEVER
    blame = Blame.CLIENT


class Base(Protocol):
    """Where flights come from and where fresh connections are got."""

    @property
    def label(self) -> str: ...

    @property
    def secrets(self) -> Sequence[bytes]:
        """What no error answer may repeat."""
        ...

    def render(self, call: Call) -> bytes: ...

    async def dial(self, connect: float | None) -> Connection: ...

    def now(self) -> float: ...

    def landed(self, flight: "Flight") -> None:
        """The flight is over."""


class Flight:
    """Carries one call over one connection, at most over a second one. Implements `Upstream`."""

    __slots__ = (
        "_base",
        "_call",
        "_connection",
        "_over",
        "_paused",
        "_task",
        "_unsent",
        "_uploading",
        "answering",
        "receiver",
        "since",
        "started",
        "timeouts",
        "touched",
    )

    def __init__(self, base: Base, call: Call, receiver: Receiver, timeouts: Timeouts, now: float) -> None:
        self._base = base
        self._call: Call | None = call
        self._connection: Connection | None = None
        self._over = False
        self._paused = False
        self._task: asyncio.Task[None] | None = None
        self._unsent = 0
        self._uploading = False
        self.answering = False
        self.receiver = receiver
        self.since = now
        self.started = now
        self.timeouts = timeouts
        self.touched = False

    def start(self, connection: Connection, head: bytes) -> None:
        """Send the request."""
        self._connection = connection
        call = self._call
        assert call is not None
        body = call.body
        if not connection.usable:  # Between the handshake and now. No callback within `open`.
            error = BackendBroken(f"{self._base.label} closed the connection before it answered")
            asyncio.get_running_loop().call_soon(self._fail, error)
        elif isinstance(body, bytes):
            connection.begin(self, head, body, bodiless=call.method == "HEAD")
        else:
            connection.begin(self, head, b"", bodiless=call.method == "HEAD")
            self._uploading = True
            self._task = asyncio.get_running_loop().create_task(self._upload(connection, body, declared_length(call)))

    # ---- Upstream --------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        if not self._over:
            self._paused = True
            if self._connection is not None:
                self._connection.pause()

    def resume(self) -> None:
        if not self._over and self._paused:
            self._paused = False
            self.touched = True
            if self._connection is not None:
                self._connection.resume()

    def abort(self) -> None:
        if not self._over:
            self._land()

    # ---- Occupant: what the connection tells -----------------------------------------------------------------------

    def head_came(self, head: Head) -> bool:
        secrets = self._base.secrets
        if secrets and head.status >= 300:
            self.receiver = Discreet(self.receiver, secrets)
        self._call = None  # A long stream does not hold on to its request's body.
        if not self._uploading:
            return True
        # An answer before the request's end is a verdict upon it; nobody reads the rest.
        self._stop_task()
        return False

    def ended(self) -> None:
        self._connection = None
        receiver = self.receiver
        self._land()
        receiver.on_end()

    def broke(self, error: BackendError, *, unanswered: bool) -> None:
        connection, self._connection = self._connection, None
        call = self._call
        if (
            unanswered
            and connection is not None
            and connection.reused
            and call is not None
            and isinstance(call.body, bytes)
            and self._base.now() - self.started < STALE_SECONDS
        ):
            # The backend closed a kept connection at the moment it was taken: the request was most likely never read.
            # No loop: the connection of the second try is fresh.
            self._task = asyncio.get_running_loop().create_task(self._again(call))
        else:
            self._fail(error)

    # ---- Watched: what the sweep asks ------------------------------------------------------------------------------

    def phase(self) -> Phase:
        connection = self._connection
        if self._paused:
            return Phase.HELD
        if self.answering:
            return Phase.ANSWERING
        if connection is not None and not connection.writable:
            unsent = connection.unsent()
            if unsent != self._unsent:
                self._unsent = unsent
                self.touched = True
            return Phase.SENDING
        # An upload whose socket takes bytes waits for its own source.
        return Phase.HELD if self._uploading else Phase.WAITING

    def expire(self, what: str) -> None:
        self._fail(BackendTimeout(f"{self._base.label} {what}"))

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _fail(self, error: BackendError) -> None:
        if not self._over:
            receiver = self.receiver
            self._land()
            receiver.on_error(error)

    def _land(self) -> None:
        self._over = True
        self._base.landed(self)
        # Receivers hold on to their flight: no circle is left for the garbage collector, nor a large body.
        self.receiver = _NOBODY
        self._call = None
        if self._task is not None:
            self._stop_task()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _stop_task(self) -> None:
        self._uploading = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _again(self, call: Call) -> None:
        """The second try, on a fresh connection."""
        try:
            connection = await self._base.dial(self.timeouts.connect)
        except BackendError as error:
            self._task = None
            self._fail(error)
            return
        self._task = None
        self.touched = True
        self.start(connection, self._base.render(call))
        if self._paused:
            connection.pause()

    async def _upload(self, connection: Connection, body: AsyncIterator[bytes], declared: int | None) -> None:
        sent = 0
        failure: UploadFailed | None = None
        try:
            async for piece in body:
                sent += len(piece)
                if declared is None:
                    if piece:  # An empty chunk would end the body.
                        connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                elif sent <= declared:
                    connection.write(piece)
                else:
                    break
                if not connection.writable:
                    await connection.drained()
                self.touched = True
        except ArrieroError as error:
            failure = UploadFailed(error.message, status=error.status, type=error.type)
            failure.__cause__ = error
        except Exception as error:
            # The source is foreign code: whatever it raises ends this call, and the caller reads the cause.
            failure = UploadFailed(f"the source of the request body failed: {type(error).__name__}")
            failure.__cause__ = error
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        if declared is not None and sent != declared and failure is None:
            failure = UploadFailed(f"the request body has not the declared length of {declared} bytes")
        self._uploading = False
        self._task = None
        self.touched = True
        if failure is not None:
            self._fail(failure)
        elif declared is None:
            connection.write(b"0\r\n\r\n")


class _Nobody:
    """Hears nothing."""

    def on_head(self, head: Head) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_error(self, error: BackendError) -> None: ...


_NOBODY = _Nobody()
