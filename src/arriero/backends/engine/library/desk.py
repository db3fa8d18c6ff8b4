"""The place where library calls of the engine are answered: a courier without a socket, bytes in and bytes out.

What is done for a call, and with what frames, is `operations`' business.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from arriero.backends.engine.progress import Frame, Report
from arriero.backends.http.call import Call, Head, Headers, Receiver, Upstream
from arriero.dialects.ollama.errors import STREAM_TYPE, WOULD_BE_STREAM_TYPE
from arriero.errors import ArrieroError, BackendError, EngineError, InternalError, NoBackend

SUCCESS: Final = Frame("success")

_NDJSON: Final[Headers] = ((b"content-type", STREAM_TYPE),)
_JSON: Final[Headers] = ((b"content-type", WOULD_BE_STREAM_TYPE),)
_encode = msgspec.json.Encoder().encode


class Done(Struct, frozen=True):
    """What an operation without frames answers."""

    status: int = 200
    body: bytes = b""


class Job(Struct, frozen=True):
    """One operation that was understood. `run` reports frames, and is to return nothing where it has; `stream`: they
    go out as they come, else only how it ended is told.
    """

    run: Callable[[Report], Awaitable[Done | None]]
    stream: bool = False


Read: TypeAlias = Callable[[Call], Job]
"""What a call asks for. Raises `ArrieroError`."""


class Desk:
    """Takes calls, runs their jobs as tasks of their own, and answers them as an Ollama server does.

    An error that comes before the first frame is raised to the caller, a later one is told to the receiver.
    """

    def __init__(self, read: Read, close: Callable[[], Awaitable[None]] | None = None) -> None:
        """`close` is called at the end, when nothing goes on any more."""
        self._read = read
        self._close = close
        self._visits: set[Visit] = set()

    def target(self, path: str) -> str:
        """The path itself: nothing is in between."""
        return path

    def hide(self, text: str) -> str:
        """The text itself: nothing here has a key."""
        return text

    async def open(self, call: Call, receiver: Receiver) -> Upstream:
        """Begin a call; returns when its answer begins. Cancelled, it ends what it has begun."""
        visit = Visit(self._read(call), receiver)
        self._visits.add(visit)
        visit.task.add_done_callback(lambda _: self._visits.discard(visit))
        try:
            await visit.begun
        except BaseException:
            visit.abort()
            raise
        # Not from within: the caller does not have the visit yet.
        asyncio.get_running_loop().call_soon(visit.resume)
        return visit

    async def fetch(self, call: Call) -> tuple[Head, bytes]:
        """The whole answer of a call."""
        gathered = _Gathered()
        visit = await self.open(call, gathered)
        try:
            return await gathered.ended
        finally:
            visit.abort()

    async def close(self) -> None:
        """End whatever goes on; what was half done is left so that it can be taken up again."""
        tasks = [visit.task for visit in self._visits]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._close is not None:
            await self._close()


class Visit:
    """A call in progress. While it is paused frames are held, and of those that tell of one blob only the last."""

    __slots__ = ("_held", "_paused", "_receiver", "_started", "begun", "task")

    def __init__(self, job: Job, receiver: Receiver) -> None:
        self._receiver = receiver
        self._held: deque[Frame | Callable[[], None]] = deque()
        self._paused = True
        self._started = False
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever opened it may have left before it failed.
        self.begun.add_done_callback(lambda begun: begun.cancelled() or begun.exception())
        self.task = asyncio.create_task(self._serve(job))

    # ---- Upstream ----------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        while self._held and not self._paused:
            self._out(self._held.popleft())

    def abort(self) -> None:
        self._held.clear()
        self._receiver = _Nobody()
        self.task.cancel()

    # ---- the job -----------------------------------------------------------------------------------------------------

    async def _serve(self, job: Job) -> None:
        try:
            done = await job.run(self._say if job.stream else unheard)
            if done is None and job.stream:
                self._say(lambda: self._receiver.on_end())
            elif done is None:
                self._whole(Done(body=_encode(SUCCESS)))
            else:
                self._whole(done)
        except asyncio.CancelledError:
            self._fail(NoBackend("the engine is closing"))
            raise
        except ArrieroError as error:
            self._fail(error)
        except Exception as error:
            if not self.begun.done():
                self.begun.set_exception(error)  # the border above logs it
                return
            self._fail(InternalError("a fault of arriero"))
            raise  # nobody else can tell of it but asyncio

    def _fail(self, error: ArrieroError) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)
        elif self._started:
            told = error if isinstance(error, BackendError) else EngineError(error.message, status=error.status)
            self._say(lambda: self._receiver.on_error(told))

    def _whole(self, done: Done) -> None:
        fields = _JSON if done.body else ()
        length = str(len(done.body)).encode()

        def answer() -> None:
            self._receiver.on_head(Head(done.status, (*fields, (b"content-length", length))))
            if done.body:
                self._receiver.on_body(done.body)
            self._receiver.on_end()

        self._say(answer)

    def _say(self, what: Frame | Callable[[], None]) -> None:
        if isinstance(what, Frame):
            if not self._started:
                self._started = True
                self._say(lambda: self._receiver.on_head(Head(200, _NDJSON)))
            last = self._held[-1] if self._held else None
            if isinstance(last, Frame) and what.digest and (last.status, last.digest) == (what.status, what.digest):
                self._held[-1] = what
                return
        if self._paused or self._held:
            self._held.append(what)
        else:
            self._out(what)
        if not self.begun.done():
            self.begun.set_result(None)

    def _out(self, what: Frame | Callable[[], None]) -> None:
        if isinstance(what, Frame):
            self._receiver.on_body(_encode(what) + b"\n")
        else:
            what()


class _Gathered:
    """Takes a whole answer."""

    def __init__(self) -> None:
        self._head = Head(0, ())
        self._body = bytearray()
        self.ended: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()

    def on_head(self, head: Head) -> None:
        self._head = head

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result((self._head, bytes(self._body)))

    def on_error(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


class _Nobody:
    """Takes what nobody reads any more."""

    def on_head(self, head: Head) -> None:
        """Not heard."""

    def on_body(self, data: bytes) -> None:
        """Not heard."""

    def on_end(self) -> None:
        """Not heard."""

    def on_error(self, error: Exception) -> None:
        """Not heard."""


def unheard(frame: Frame) -> None:
    """The client wants to hear only how it ends."""
