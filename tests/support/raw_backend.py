"""A backend that says bytes over real sockets, and a receiver that writes down what it is told.

Each connection plays a script, a coroutine over a `Peer`. A script that fails fails the test; one that still runs at
the end is cancelled.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

from arriero.backends.http.call import Head
from arriero.errors import BackendError

SECONDS = 5.0
"""Nothing on loopback takes longer, unless it hangs."""


class Peer:
    """The backend's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """A head and, by its `content-length`, a body."""
        head = await self.head()
        _, found, rest = head.partition(b"content-length: ")
        return head + (await self.reader.readexactly(int(rest.partition(b"\r\n")[0])) if found else b"")

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> bytes:
        """Waits until the other side has closed; what it still said."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawBackend:
    """Serves on a loopback port, or on `path`. The n-th connection plays the n-th script, further ones the last."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, path: Path | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._path = path
        self._tasks: list[asyncio.Task[None]] = []
        self._transports: list[asyncio.WriteTransport] = []
        self.server: asyncio.Server | None = None
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "RawBackend":
        if self._path is not None:
            self.server = await asyncio.start_unix_server(self._accept, self._path)
        else:
            self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
            self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server is not None
        for _ in range(3):
            await asyncio.sleep(0)  # the loop loses a connection that it is accepting while its server is closed
        self.server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in self._transports:
            if not transport.is_closing():
                transport.abort()  # of a task that was cancelled before its first step
        await asyncio.sleep(0)
        for result in results:
            if error is None and isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        self._transports.append(writer.transport)
        self._tasks.append(asyncio.get_running_loop().create_task(self._play(script, Peer(reader, writer))))

    async def _play(self, script: Script, peer: Peer) -> None:
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The other side has had enough; what it was told is asserted there.
        finally:
            transport = peer.writer.transport
            if not transport.is_closing():
                if transport.get_write_buffer_size():
                    transport.abort()
                else:
                    transport.close()


def saying(answer: bytes) -> Script:
    """Reads requests and answers each with the same bytes, until the other side leaves."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(answer)

    return script


class Hold:
    """An upstream that writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def abort(self) -> None:
        self.asked.append("abort")


class Told:
    """A receiver that writes down what it is told."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.ends = 0
        self.errors: list[BackendError] = []
        self._changed = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer that ended well."""
        assert (self.ends, self.errors) == (1, [])
        assert self.head is not None
        return self.head.status, self.body

    @property
    def error(self) -> tuple[type[BackendError], str]:
        """Class and text of the one error that ended it."""
        assert (self.ends, len(self.errors)) == (0, 1)
        return type(self.errors[0]), self.errors[0].message

    def on_head(self, head: Head) -> None:
        assert self.head is None
        self.head = head
        self._changed.set()

    def on_body(self, data: bytes) -> None:
        assert self.head is not None and data
        self.pieces.append(data)
        self._changed.set()

    def on_end(self) -> None:
        self.ends += 1
        self._changed.set()

    def on_error(self, error: BackendError) -> None:
        self.errors.append(error)
        self._changed.set()

    async def over(self) -> "Told":
        """Waits for the end, good or bad."""
        await self.until(lambda told: bool(told.ends or told.errors))
        return self

    async def until(self, holds: Callable[["Told"], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds(self):
                self._changed.clear()
                await self._changed.wait()


async def eventually(holds: Callable[[], bool]) -> None:
    """Waits until something holds that nobody tells of."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0.002)
