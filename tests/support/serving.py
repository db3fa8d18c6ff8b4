"""One application, asked over both lanes: over the fast lane on a real socket, and as a plain ASGI callable."""

import asyncio
import http.client
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from arriero.backends.http.call import Timeouts
from arriero.compose import DIALECTS
from arriero.gateway.exchange import Policy
from arriero.server import surface
from arriero.server.access import Access
from arriero.server.app import App, Limits, Settled
from arriero.server.asgi import Cut
from arriero.server.catalog import Catalog
from arriero.server.fastlane import FastProtocol, protocol_for
from arriero.server.providers.shapes import Terms
from support.gateway import Played, gateway

SECONDS = 10.0
Fields = Sequence[tuple[str, str]]


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    body: bytes = b""
    fields: Fields = ()
    query: str = ""


TERMS = Terms(environment="development", routing="least_loaded", fallback="next_available", balances=True)


class Answered(NamedTuple):
    """One answer. `whole` is false where the connection was cut before its end."""

    status: int
    fields: frozenset[tuple[str, str]]
    body: bytes
    whole: bool = True


@asynccontextmanager
async def application(
    *backends: Played, limits: Limits | None = None, timeouts: Timeouts | None = None, origins: Sequence[str] = ()
) -> AsyncIterator[App]:
    """An application over played backends that have listed their models."""
    async with gateway(*backends, timeouts=timeouts) as gate:
        app = App(gate.roster, DIALECTS)
        policy, catalog = Policy(), Catalog(gate.roster, DIALECTS, tagged=True)
        table = surface.table(app, DIALECTS, catalog=catalog, policy=policy, started=0.0, terms=TERMS)
        app.settle(Settled(table, Access(origins, checks_host=True), limits or Limits(), policy))
        yield app


class Served(NamedTuple):
    """A listening application: its port, and what uvicorn knows of its connections."""

    port: int
    state: ServerState

    @property
    def connections(self) -> list[FastProtocol]:
        """The open ones."""
        return [connection for connection in self.state.connections if isinstance(connection, FastProtocol)]


@asynccontextmanager
async def fast(app: Any) -> AsyncIterator[Served]:
    """The application on a loopback port, with the fast lane; every connection is cut at the end."""
    settings = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False)
    settings.load()
    state = ServerState()
    kind: Any = protocol_for(app)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: kind(config=settings, server_state=state, app_state={}), "127.0.0.1", 0)
    try:
        yield Served(server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            if isinstance(connection, FastProtocol):
                connection.transport.abort()
        async with asyncio.timeout(SECONDS):
            while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn sets no event
                await asyncio.sleep(0.01)
        await server.wait_closed()


async def over_fast_lane(served: Served, asked: Asked) -> Answered:
    """The answer on the socket."""
    async with asyncio.timeout(SECONDS):
        return await asyncio.to_thread(_ask, served.port, asked)


def _ask(port: int, asked: Asked) -> Answered:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.putrequest(asked.method, asked.path + asked.query, skip_host=True, skip_accept_encoding=True)
        for name, value in _with_length(asked):
            connection.putheader(name, value)
        connection.endheaders(asked.body)
        answer = connection.getresponse()
        whole = True
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            body, whole = cut.partial, False
        except ConnectionResetError:
            body, whole = b"", False
        fields = frozenset((name.lower(), value) for name, value in answer.getheaders())
        return _normal(answer.status, fields, body, whole)
    finally:
        connection.close()


async def over_asgi(app: Any, asked: Asked) -> Answered:
    """The answer as ASGI messages."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    incoming = [asked.body[: len(asked.body) // 2], asked.body[len(asked.body) // 2 :]]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return {"type": "http.request", "body": incoming.pop(0), "more_body": bool(incoming)}
        await gone
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": asked.method,
        "path": asked.path,
        "query_string": asked.query.removeprefix("?").encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in _with_length(asked)],
        "client": ("127.0.0.1", 5),
    }
    whole = True
    async with asyncio.timeout(SECONDS):
        try:
            await app(scope, receive, send)
        except Cut:
            whole = False
    gone.cancel()
    head, *pieces = sent
    fields = frozenset((name.decode(), value.decode()) for name, value in head["headers"])
    return _normal(head["status"], fields, b"".join(piece["body"] for piece in pieces), whole)


def _with_length(asked: Asked) -> Fields:
    given = {name.lower() for name, _ in asked.fields}
    host = () if "host" in given else (("host", "localhost"),)
    length = (("content-length", str(len(asked.body))),) if asked.body or asked.method == "POST" else ()
    return (*host, *asked.fields, *length)


_OF_THE_CONNECTION = frozenset(
    {"date", "connection", "transfer-encoding", "x-arriero-request-id", "x-olla-request-id", "x-olla-response-time"}
)
_OF_THE_MOMENT = (
    (re.compile(rb'"(created_at|expires_at)":"[^"]*"'), rb'"\1":"T"'),
    (re.compile(rb'"(created|\w+_duration)":\d+'), rb'"\1":0'),
    (re.compile(rb'"id":"[^"]*"'), b'"id":"I"'),
)


def _normal(status: int, fields: frozenset[tuple[str, str]], body: bytes, whole: bool) -> Answered:
    """Without what differs from one moment to the next."""
    for pattern, put in _OF_THE_MOMENT:
        body = pattern.sub(put, body)
    kept = {(name, value) for name, value in fields if name not in _OF_THE_CONNECTION}
    # Numbers of the moment have more or fewer digits.
    kept = {(name, "N" if name == "content-length" and value != "0" else value) for name, value in kept}
    return Answered(status, frozenset(kept), body, whole)
