"""The application: every route on one gateway, as an ASGI callable and as the front of the fast lane.

This is where an answer meets the outside: access is checked, bodies are gathered within their limit, and what no
handler expected becomes an error in the client's dialect. It builds nothing itself: its parts come from the composition
root.
"""

import asyncio
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.dialects.base import Dialect, Endpoint
from arriero.errors import ArrieroError, BadRequest, InternalError
from arriero.gateway.exchange import Exchange, Policy
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.library import Library
from arriero.gateway.roster import Roster
from arriero.server.access import Access, is_loopback
from arriero.server.asgi import AsgiLane, Receive, Scope, Send, Upload
from arriero.server.catalog import Catalog
from arriero.server.compressed import decompressed
from arriero.server.routes import Handler, Route, Table

log = structlog.get_logger("arriero.server")


class Limits(Struct, frozen=True, kw_only=True):
    """Bytes a request may have, and seconds: for its whole head, between two pieces of its body, and for as long as a
    client may take nothing of its answer.
    """

    max_body_bytes: int = 100 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    head_seconds: float = 30.0
    body_seconds: float = 60.0
    unread_seconds: float = 300.0


class App:
    """One gateway's HTTP face."""

    def __init__(
        self,
        roster: Roster,
        dialects: Mapping[str, Dialect],
        *,
        policy: Policy,
        access: Access,
        limits: Limits,
        catalog: Catalog,
    ) -> None:
        self.roster = roster
        self.access = access
        self.max_body_bytes = limits.max_body_bytes
        self.max_header_bytes = limits.max_header_bytes
        self.head_seconds = limits.head_seconds
        self.body_seconds = limits.body_seconds
        self.unread_seconds = limits.unread_seconds
        self._dialects = dialects
        self._policy = policy
        self._ids = secrets.token_hex(4)
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        library = Library(roster, dialects["ollama"])
        self.table = Table(
            [
                *(
                    Route(endpoint.path, ("POST",), self._inference(dialect, endpoint), hot=True)
                    for dialect in dialects.values()
                    for endpoint in dialect.endpoints
                ),
                *(
                    Route(path, methods, library.run, streams_upload=path.endswith("*"))
                    for path, methods in LIBRARY_ROUTES
                ),
                *catalog.routes,
            ]
        )

    # ---- Front -----------------------------------------------------------------------------------------------------

    def request_id(self) -> str:
        """Unique over processes and time; short, for people read it in logs."""
        self._count += 1
        return f"{self._ids}{self._count:08x}"

    def error(self, error: ArrieroError, path: str) -> tuple[int, bytes, bytes]:
        """An error outside of any exchange, in the dialect that the path belongs to."""
        answer = self._dialect_of(path).write_error(error, False)
        return answer.status, answer.content_type, answer.body

    def begin(self, handler: Handler, inbound: Inbound, lane: Lane) -> Coroutine[Any, Any, None] | None:
        """Hand a request to its handler. What comes back has to be awaited; it raises nothing of its own."""
        try:
            rest = handler(inbound, lane)
        except Exception as error:
            self._met(error, inbound, lane)
            return None
        return None if rest is None else self._guarded(rest, inbound, lane)

    async def _guarded(self, rest: Coroutine[Any, Any, None], inbound: Inbound, lane: Lane) -> None:
        try:
            await rest
        except Exception as error:
            self._met(error, inbound, lane)

    def _met(self, error: Exception, inbound: Inbound, lane: Lane) -> None:
        """The one border for what no room expected: logged with its traceback, told without it."""
        if not isinstance(error, ArrieroError):
            told = {"path": inbound.path, "request_id": inbound.request_id}
            log.error("a request met a fault of arriero", exc_info=error, **told)
            error = InternalError(f"arriero met a fault of its own; its log has it under {inbound.request_id}")
        self._answer_error(error, inbound.path, lane)

    def _answer_error(self, error: ArrieroError, path: str, lane: Lane) -> None:
        if lane.started:
            lane.abort()
        else:
            status, content_type, body = self.error(error, path)
            reply(lane, status, ((b"content-type", content_type),), body)

    def _dialect_of(self, path: str) -> Dialect:
        return self._dialects["openai" if path.startswith("/v1/") else "ollama"]

    # ---- inference -------------------------------------------------------------------------------------------------

    def _inference(self, dialect: Dialect, endpoint: Endpoint) -> Handler:
        return partial(self._exchange, dialect, endpoint)

    def _exchange(
        self, dialect: Dialect, endpoint: Endpoint, inbound: Inbound, lane: Lane
    ) -> Coroutine[Any, Any, None] | None:
        if inbound.get(b"content-encoding") is not None:
            inbound = decompressed(inbound, self.max_body_bytes)
        exchange = Exchange(
            inbound,
            lane,
            dialect,
            endpoint,
            roster=self.roster,
            dialects=self._dialects,
            policy=self._policy,
            spawn=partial(self._spawn, inbound, lane),
        )
        return exchange.start()

    def _spawn(self, inbound: Inbound, lane: Lane, rest: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(rest, inbound, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- ASGI ------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise BadRequest(f"arriero serves HTTP, not {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.roster.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.roster.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        headers: Headers = tuple((name, value) for name, value in scope["headers"])
        server = scope.get("server")
        verdict = self.access.check(method, headers, server is None or is_loopback(server[0]))
        lane = AsgiLane(send, head_only=method == "HEAD", extra=verdict.headers)
        if verdict.status is not None:
            reply(lane, verdict.status, (), b"")
            await lane.run()
            return
        path: str = scope["path"]
        route = self.table.find(path, method)
        upload = Upload(receive)
        streams = route.streams_upload and _sends_body(headers)
        try:
            body = b"" if streams else await upload.whole(self.max_body_bytes)
        except ArrieroError as error:
            self._answer_error(error, path, lane)
            await lane.run()
            return
        if upload.lost:
            return
        inbound = Inbound(
            method,
            path,
            headers,
            body,
            scope["client"][0] if scope.get("client") else None,
            self.request_id(),
            time.time_ns(),
            scope.get("query_string", b""),
            aiter(upload) if streams else None,
        )
        watching = asyncio.create_task(_watch(upload, lane, streams=streams))
        writing = asyncio.create_task(lane.run())
        task = asyncio.current_task()
        assert task is not None
        try:
            rest = self.begin(route.handler, inbound, lane)
            if rest is not None:
                lane.on_gone = task.cancel  # until the handler says something better
                await rest
                lane.on_gone = None
            await writing  # raises `Cut` for an answer that was aborted: the server then closes the connection
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
        finally:
            writing.cancel()
            watching.cancel()


def _sends_body(headers: Headers) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)


async def _watch(upload: Upload, lane: AsgiLane, *, streams: bool) -> None:
    """Tell the lane when the client has gone. Who reads an upload piece by piece sees that first."""
    if streams:
        await upload.read.wait()
    if not upload.lost:
        await upload.until_gone()
    lane.lost()


LIBRARY_ROUTES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("/api/pull", ("POST",)),
    ("/api/push", ("POST",)),
    ("/api/create", ("POST",)),
    ("/api/copy", ("POST",)),
    ("/api/delete", ("DELETE",)),
    ("/api/blobs/*", ("HEAD", "POST")),
)
"""What an `ollama` backend carries out; blobs are streamed, never gathered."""
