"""The ASGI lane: any ASGI server, and every route that is not hot.

A small writer task carries what the exchange wrote to the server's `send`; a watcher on `receive` learns that the
client has gone. Backpressure: when more than `HIGH_WATER` bytes wait for `send`, the exchange is told to pause.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from arriero.backends.http.call import Headers
from arriero.errors import ClientGone, PayloadTooLarge

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class Cut(Exception):
    """The answer was aborted: the server must close the connection."""


class AsgiLane:
    """A lane over ASGI's `send`. `run` carries the messages until the answer is complete."""

    def __init__(self, send: Send, *, head_only: bool, extra: Headers) -> None:
        self.gone = False
        self.started = False
        self.on_gone: Callable[[], object] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self._send = send
        self._head_only = head_only
        self.extra = extra
        self._messages: deque[Message] = deque()
        self._waiting = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._over = False
        self._cut = False

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        fields = [*headers, *self.extra]
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        self.started = True
        self._messages.append({"type": "http.response.start", "status": status, "headers": fields})

    def write(self, data: bytes) -> None:
        if self._head_only or self.gone:
            return
        self._messages.append({"type": "http.response.body", "body": data, "more_body": True})
        self._waiting += len(data)
        self._wake.set()
        if self._waiting > HIGH_WATER and not self._paused and self.on_pause is not None:
            self._paused = True
            self.on_pause()

    def finish(self) -> None:
        self._messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        self._over = True
        self._wake.set()

    def abort(self) -> None:
        self._over = self._cut = True
        self._wake.set()

    def lost(self) -> None:
        """The client has gone."""
        if self.gone:
            return
        self.gone = True
        self._over = True
        self._wake.set()
        if self.on_gone is not None:
            self.on_gone()

    async def run(self) -> None:
        """Carry messages until the answer is over. Raises `Cut` for one that was aborted."""
        while True:
            while self._messages:
                message = self._messages.popleft()
                if not self.gone:
                    await self._send(message)
                self._waiting -= len(message.get("body", b""))
                if self._paused and self._waiting < LOW_WATER:
                    self._paused = False
                    if self.on_resume is not None:
                        self.on_resume()
            if self._over:
                if self._cut and not self.gone:
                    raise Cut
                return
            self._wake.clear()
            await self._wake.wait()


class Upload:
    """A request body as it comes. `whole` gathers it, iteration hands it on piece by piece.

    A client that leaves in the middle makes `whole` end early, with `lost`; iteration raises `ClientGone`, for half a
    body must not pass for a whole one.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False
        self.lost = False
        self.read = asyncio.Event()  # nobody reads any more what is handed on piece by piece

    async def whole(self, limit_bytes: int) -> bytes:
        """The body. Raises `PayloadTooLarge` as soon as it is."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self._come():
            size += len(piece)
            if size > limit_bytes:
                raise PayloadTooLarge(f"the request body is larger than {limit_bytes} bytes (limits.max_body_bytes)")
            pieces.append(piece)
        return b"".join(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._come():
                yield piece
            if self.lost:
                raise ClientGone("the client closed the connection in the middle of its request")
        finally:
            self.read.set()

    async def _come(self) -> AsyncIterator[bytes]:
        while not self.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.complete = self.lost = True
                return
            self.complete = not message.get("more_body", False)
            if piece := message.get("body", b""):
                yield piece

    async def until_gone(self) -> None:
        """Returns when the client has closed the connection."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
