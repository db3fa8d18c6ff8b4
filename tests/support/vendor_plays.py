"""Vendors that a test plays byte by byte, as one server in a thread: each has a root of its own, `/<name>`.

A vendor is a function from a `Wanted` to the bytes of its answer and how the connection ends. What has come is kept
with its head and body.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from support.program import until

KEY = "sk-or-v1-that-nobody-else-may-see"


class Wanted(NamedTuple):
    """One request: `path` without the vendor's root, the query as it came, and the body."""

    method: str
    path: str
    query: str
    head: bytes
    body: bytes

    @property
    def lists(self) -> bool:
        """Whether it asks for the models."""
        return self.method == "GET"


class Said(NamedTuple):
    """Bytes of an answer, status line and all, and what comes after them."""

    raw: bytes
    then: Literal["keep", "close", "hang", "reset"] = "keep"


Plays = Callable[[Wanted], Said]


def answer(body: object, status: str = "200 OK", type: str = "application/json", **fields: str) -> bytes:
    """A whole answer; a body that is no bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\ncontent-type: {type}\r\n{more}content-length: {len(raw)}\r\n\r\n".encode() + raw


def said(body: object, status: str = "200 OK", type: str = "application/json", **fields: str) -> Said:
    """The same, on a connection that stays open."""
    return Said(answer(body, status, type, **fields))


class Vendors:
    """Serves the vendors on one port."""

    def __init__(self, vendors: Mapping[str, Plays]) -> None:
        self._plays = dict(vendors)
        self.came: list[tuple[str, Wanted]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(5)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def requests(self, name: str) -> list[Wanted]:
        """What has come for a vendor."""
        return [wanted for who, wanted in list(self.came) if who == name]

    def close(self) -> None:
        """The end, of the thread as well."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        until(lambda: not self._loop.is_running())
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        _, found, rest = head.lower().partition(b"content-length: ")
        body = await reader.readexactly(int(rest.partition(b"\r\n")[0])) if found else b""
        method, target, _ = head.split(b" ", 2)
        path, _, query = target.decode().partition("?")
        name, _, rest_of_path = path.removeprefix("/").partition("/")
        wanted = Wanted(method.decode(), f"/{rest_of_path}", query, head, body)
        self.came.append((name, wanted))
        raw, then = self._plays[name](wanted)
        writer.write(raw)
        await writer.drain()
        match then:
            case "keep":
                return True
            case "close":
                return False
            case "hang":
                await reader.read()
                return False
            case "reset":
                writer.transport.abort()
                return False


def entry(name: str, url: str, profile: str = "openrouter", **more: Any) -> dict[str, Any]:
    """A provider's entry in a configuration, with one model that the operator has named."""
    return {
        "name": name,
        "kind": "openai",
        "profile": profile,
        "url": f"{url}/{name}/v1",
        "api_key": KEY,
        "extra_models": [f"{name}-model"],
        "check_interval": 1,
        "check_timeout": 1,
        **more,
    }
