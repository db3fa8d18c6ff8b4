"""An answer whose head has come and whose body waits until somebody takes it."""

import asyncio

from arriero.backends.http.call import Head, Receiver, Upstream
from arriero.errors import BackendBroken, BackendError


class Answer:
    """A receiver that reads no further than the head until `feed` or `read`. Hold it with `abort` at the end."""

    __slots__ = ("_end", "_head", "_held", "_receiver", "came", "upstream")

    def __init__(self) -> None:
        self.upstream: Upstream | None = None
        self.came: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._held: list[bytes] = []
        self._receiver: Receiver | None = None
        self._end: BackendError | bool = False
        self._head = Head(0, ())

    @property
    def head(self) -> Head:
        return self._head

    def feed(self, receiver: Receiver) -> None:
        """The body goes to `receiver` from now on, without `on_head`. What has come already is told at once."""
        self._receiver = receiver
        held, self._held = self._held, []
        for data in held:
            receiver.on_body(data)
        if isinstance(self._end, BackendError):
            receiver.on_error(self._end)
        elif self._end:
            receiver.on_end()
        else:
            self.resume()

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises BackendError; one longer than the limit is broken."""
        gather = _Gather(limit_bytes)
        self.feed(gather)
        try:
            return await gather.whole
        finally:
            self.abort()

    def pause(self) -> None:
        if self.upstream is not None:
            self.upstream.pause()

    def resume(self) -> None:
        if self.upstream is not None:
            self.upstream.resume()

    def abort(self) -> None:
        """Nothing is told any more. Idempotent."""
        if self.upstream is not None:
            self.upstream.abort()
        self.came.cancel()

    # ---- Receiver --------------------------------------------------------------------------------------------------

    def on_head(self, head: Head) -> None:
        self._head = head
        if not self.came.done():
            self.came.set_result(head)

    def on_body(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.on_body(data)
        else:
            self._held.append(data)
            self.pause()

    def on_end(self) -> None:
        self._end = True
        if self._receiver is not None:
            self._receiver.on_end()

    def on_error(self, error: BackendError) -> None:
        self._end = error
        if not self.came.done():
            self.came.set_exception(error)
        elif self._receiver is not None:
            self._receiver.on_error(error)


class _Gather:
    __slots__ = ("_left", "_limit", "_whole", "whole")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = self._left = limit_bytes
        self._whole = bytearray()  # no list: each piece may be of two bytes
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def on_head(self, head: Head) -> None: ...

    def on_body(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._whole += data
        elif not self.whole.done():
            self._whole = bytearray()
            self.whole.set_exception(BackendBroken(f"the answer has more than {self._limit} bytes"))

    def on_end(self) -> None:
        if not self.whole.done():
            self.whole.set_result(bytes(self._whole))

    def on_error(self, error: BackendError) -> None:
        if not self.whole.done():
            self.whole.set_exception(error)
