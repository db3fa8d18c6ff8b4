"""A wire to a server on loopback, which counts what passes and can be cut."""

import asyncio
from types import TracebackType


class Wire:
    """Listens on a port of its own. What is cut is every connection of the moment; new ones are taken."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.up = self.down = 0
        """Bytes towards the server, and from it."""
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        """Cut, once, when so many more bytes have passed."""
        self.cut_before = b""
        """Cut, once, before what holds these bytes goes up."""
        self.cuts = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def new_count(self) -> None:
        self.up = self.down = 0

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._cut()
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._join(reader, writer)))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(back)
        await asyncio.gather(self._pass(reader, back, up=True), self._pass(there, writer, up=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while data := await reader.read(65536):
                if not self._passes(data, up=up):
                    self._cut()
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the other half tells it
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    def _passes(self, data: bytes, *, up: bool) -> bool:
        left = self.cut_up if up else self.cut_down
        if left is not None:
            left -= len(data)
            if up:
                self.cut_up = left if left > 0 else None
            else:
                self.cut_down = left if left > 0 else None
            if left <= 0:
                return False
        if up and self.cut_before and self.cut_before in data:
            self.cut_before = b""
            return False
        if up:
            self.up += len(data)
        else:
            self.down += len(data)
        return True

    def _cut(self) -> None:
        self.cuts += 1
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
