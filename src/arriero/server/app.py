"""The application: every route on one gateway, as an ASGI callable and as the front of the fast lane.

This is where an answer meets the outside: access and rates are checked, bodies are gathered within their limit, and
what no handler expected becomes an error in the client's dialect. What may change while it runs comes in by `settle`.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import structlog
from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.dialects.base import Dialect, Endpoint
from arriero.errors import (
    ArrieroError,
    BadRequest,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    PayloadTooLarge,
    RateLimited,
)
from arriero.gateway.answering import at_door
from arriero.gateway.door import Door
from arriero.gateway.exchange import Exchange, Policy
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.library import Library
from arriero.gateway.roster import Roster
from arriero.server.access import Access, is_loopback
from arriero.server.asgi import AsgiLane, Receive, Scope, Send, Upload
from arriero.server.compressed import decompressed
from arriero.server.ids import Ids
from arriero.server.olla import anthropic_errors
from arriero.server.olla.ui import denied
from arriero.server.peer import Peers
from arriero.server.rates import RateRule, Rates, fields
from arriero.server.routes import Route, Table

DENIED = "the request comes from a host name or an origin that is not allowed here"

log = structlog.get_logger("arriero.server")


class Limits(Struct, frozen=True, kw_only=True):
    """Bytes a request may have, and seconds: for its whole head, between two pieces of its body, and for as long as a
    client may take nothing of its answer. `rates` are requests a minute.
    """

    max_body_bytes: int = 100 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    head_seconds: float = 30.0
    body_seconds: float = 60.0
    unread_seconds: float = 300.0
    rates: RateRule = RateRule()
    trusted_proxies: tuple[str, ...] = ()


class Settled(Struct, frozen=True):
    """What may change while the application runs, all at once."""

    table: Table
    access: Access
    limits: Limits
    policy: Policy


class App:
    """One gateway's HTTP face."""

    def __init__(self, roster: Roster, dialects: Mapping[str, Dialect]) -> None:
        self.roster = roster
        self.table = Table([])
        self.peers = Peers()
        self.rates = Rates(RateRule())
        self.library = Library(roster, dialects["ollama"])
        self._dialects = dialects
        self._policy = Policy()
        self._ids = Ids()
        self._tasks: set[asyncio.Task[None]] = set()

    def settle(self, settled: Settled) -> None:
        """Take these from now on. Requests on their way go on by what they have begun with."""
        limits = settled.limits
        self.table, self.access, self._policy = settled.table, settled.access, settled.policy
        self.max_body_bytes = limits.max_body_bytes
        self.max_header_bytes = limits.max_header_bytes
        self.head_seconds = limits.head_seconds
        self.body_seconds = limits.body_seconds
        self.unread_seconds = limits.unread_seconds
        self.peers = Peers(limits.trusted_proxies)
        if limits.rates != self.rates.rule:
            self.rates = Rates(limits.rates)

    # ---- Front -----------------------------------------------------------------------------------------------------

    def request_id(self, headers: Headers, door: Door) -> str:
        """The client's own where it has one that can stand in a log, else a new one in the form of the door."""
        return self._ids.told(headers) or (self._ids.in_words() if door.olla else self._ids.plain())

    def marked(self, door: Door, request_id: str) -> Headers:
        """The fields of every answer at this door, refusals too."""
        return ((b"x-olla-request-id", request_id.encode()),) if door.olla else ()

    def error(self, error: ArrieroError, path: str, request_id: str | None = None) -> tuple[int, bytes, bytes]:
        """An error outside of any exchange, in the dialect that the path belongs to."""
        if isinstance(error, PayloadTooLarge | HeadersTooLarge):
            self.roster.tally.security.oversize()
        door = self.table.door_of(path)
        error = at_door(error, door)
        if not isinstance(error, InternalError):  # that has its line already
            self.roster.journal.refused(error, path, request_id)
        if door.scope == anthropic_errors.SCOPE:
            answer = anthropic_errors.write_error(error, request_id)
        else:
            answer = self._dialect_of(path[len(door.prefix) :]).write_error(error, False)
        return answer.status, answer.content_type, answer.body

    def begin(self, route: Route, inbound: Inbound, lane: Lane) -> Coroutine[Any, Any, None] | None:
        """Hand a request to its handler. What comes back has to be awaited; it raises nothing of its own."""
        try:
            if route.limited and self.rates.limits:
                self._take_share(inbound, lane)
            rest = route.handler(inbound, lane)
        except Exception as error:
            self._met(error, inbound, lane)
            return None
        return None if rest is None else self._guarded(rest, inbound, lane)

    def _take_share(self, inbound: Inbound, lane: Lane) -> None:
        """Raises `RateLimited` for a client that has had its share."""
        share = self.rates.take(inbound.client, time.monotonic())
        if share is None:
            return
        lane.extra += fields(share, time.time())
        if not share.allowed:
            self.roster.tally.security.limit(inbound.client, time.time())
            raise RateLimited(
                f"too many requests: {share.limit} a minute are let in (limits.requests_per_minute, "
                "limits.requests_per_minute_per_address); Retry-After says when to come again"
            )

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
        self._answer_error(error, inbound.door.prefix + inbound.path, inbound.request_id, lane)

    def _answer_error(self, error: ArrieroError, path: str, request_id: str, lane: Lane) -> None:
        if lane.started:
            lane.abort()
        else:
            status, content_type, body = self.error(error, path, request_id)
            reply(lane, status, ((b"content-type", content_type),), body)

    def _dialect_of(self, path: str) -> Dialect:
        return self._dialects["openai" if path.startswith("/v1/") else "ollama"]

    # ---- inference -------------------------------------------------------------------------------------------------

    def infer(
        self, dialect: Dialect, endpoint: Endpoint, inbound: Inbound, lane: Lane
    ) -> Coroutine[Any, Any, None] | None:
        """The handler of an inference endpoint."""
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
            fields, body = denied(scope["path"], headers) if verdict.status == 403 else ((), b"")
            door = self.table.door_of(scope["path"])
            request_id = self.request_id(headers, door)
            if verdict.status == 403:
                self.roster.journal.refused(Forbidden(DENIED), scope["path"], request_id)
            lane.extra += self.marked(door, request_id)
            reply(lane, verdict.status, fields, body)
            await lane.run()
            return
        path: str = scope["path"]
        route = self.table.find(path, method)
        door = route.door
        request_id = self.request_id(headers, door)
        lane.extra += self.marked(door, request_id)
        upload = Upload(receive)
        streams = route.streams_upload and _sends_body(headers)
        try:
            body = b"" if streams else await upload.whole(self.max_body_bytes)
        except ArrieroError as error:
            self._answer_error(error, path, request_id, lane)
            await lane.run()
            return
        if upload.lost:
            return
        inbound = Inbound(
            method,
            route.inner(path),
            headers,
            body,
            self.peers.client(scope["client"][0] if scope.get("client") else None, headers),
            request_id,
            time.time_ns(),
            scope.get("query_string", b""),
            aiter(upload) if streams else None,
            door,
        )
        watching = asyncio.create_task(_watch(upload, lane, streams=streams))
        writing = asyncio.create_task(lane.run())
        task = asyncio.current_task()
        assert task is not None
        try:
            rest = self.begin(route, inbound, lane)
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
