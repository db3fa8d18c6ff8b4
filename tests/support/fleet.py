"""A few backends with a roster over them and a library in front, asked one library operation at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from arriero.backends.base import Backend
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.backends.scripted.script import Model, Script
from arriero.backends.scripted.server import ScriptedServer
from arriero.dialects import ollama
from arriero.dialects.profiles import profile_of
from arriero.gateway.entry import Seat
from arriero.gateway.lane import Inbound
from arriero.gateway.library import Library
from arriero.gateway.roster import Bylaws, Roster
from support.gateway import http
from support.lanes import KeptLane, inbound
from support.program import free_port
from support.raw_backend import Peer, RawBackend
from support.raw_backend import Script as Saying

SECONDS = 5.0

LISTS = {
    "ollama": {"GET /api/tags": b'{"models":[{"name":"tiny:latest","model":"tiny:latest"}]}'},
    "openai": {"GET /v1/models": b'{"object":"list","data":[{"id":"gpt-x"}]}'},
}


class Played:
    """A backend that lists its models and plays one answer, bytes or a coroutine, to everything else that it is asked.

    `seen` holds the (request line, head, body) of every call but those for its lists.
    """

    def __init__(self, answer: bytes | Saying, *, kind: str = "ollama", models: bytes | None = None) -> None:
        self.kind = kind
        self._answer = answer
        self._lists = {line: models or body for line, body in LISTS[kind].items()} | {"GET /api/ps": b'{"models":[]}'}
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.raw = RawBackend(self._play)

    async def _play(self, peer: Peer) -> None:
        while True:
            head, _, body = (await peer.request()).partition(b"\r\n\r\n")
            first, *fields = head.decode().split("\r\n")
            listed = self._lists.get(first.removesuffix(" HTTP/1.1"))
            if listed is not None:
                await peer.say(http(listed))
                continue
            self.seen.append((first, dict(field.split(": ", 1) for field in fields), body))
            if not isinstance(self._answer, bytes):
                await self._answer(peer)
                return
            await peer.say(self._answer)
            if b"0\r\n\r\n" not in self._answer and b"content-length" not in self._answer:
                peer.reset()
                return


Standing: TypeAlias = ScriptedServer | Played | RawBackend
"""A backend that runs: by a script, or with given bytes."""


def nobody_listens() -> str:
    """The URL of a backend that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def scripted(*models: str, **script: Any) -> ScriptedServer:
    """An Ollama server with these models."""
    return ScriptedServer(Script(models=tuple(Model(name=name) for name in models), **script))


class Fleet:
    """The roster and the library of it."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.library = Library(roster, ollama.DIALECT)

    async def carry(self, request: Inbound, lane: KeptLane | None = None) -> KeptLane:
        """The whole answer of one request."""
        lane = lane or KeptLane()
        async with asyncio.timeout(SECONDS):
            await self.library.run(request, lane)
        return lane

    async def ask(self, method: str, path: str, body: object = b"", *, to: str | None = None) -> KeptLane:
        """The same, with a body of JSON, and with the backends that the header names."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = () if to is None else ((b"x-arriero-backend", to.encode()),)
        return await self.carry(inbound(method, path, raw, headers=fields))

    async def delete(self, model: str, *, to: str | None = None) -> KeptLane:
        """DELETE /api/delete."""
        return await self.ask("DELETE", "/api/delete", {"model": model}, to=to)

    async def copy(self, source: str, destination: str, *, to: str | None = None) -> KeptLane:
        """POST /api/copy."""
        return await self.ask("POST", "/api/copy", {"source": source, "destination": destination}, to=to)

    async def pull(self, model: str, *, to: str | None = None, **fields: Any) -> KeptLane:
        """POST /api/pull."""
        return await self.ask("POST", "/api/pull", {"model": model, **fields}, to=to)

    @property
    def listed(self) -> dict[str, list[str]]:
        """Which models the listings show, with those who have them."""
        return {key: [offer.backend for offer in offers] for key, offers in self.roster.names.models.items()}


@asynccontextmanager
async def fleet(
    aliases: Mapping[str, Sequence[str]] | None = None, /, **backends: Standing | str
) -> AsyncIterator[Fleet]:
    """A fleet that has listed its models, by name in configuration order. A text is the URL of a backend elsewhere."""
    async with AsyncExitStack() as stack:
        seats: list[tuple[Backend, Seat]] = []
        for name, standing in backends.items():
            kind = "ollama"
            match standing:
                case str():
                    url = standing
                case Played():
                    kind, url = standing.kind, (await stack.enter_async_context(standing.raw)).url
                case RawBackend():
                    url = (await stack.enter_async_context(standing)).url
                case ScriptedServer():
                    url = (await stack.enter_async_context(standing)).address
            seats.append((_backend(kind, name, url), Seat(check_interval=0)))
        roster = Roster(seats, Bylaws(aliases=aliases or {}))
        try:
            await roster.refresh()
            yield Fleet(roster)
        finally:
            await roster.close()


def _backend(kind: str, name: str, url: str) -> Backend:
    if kind == "ollama":
        return Ollama(RemoteSettings(name=name, url=url, profile=profile_of("ollama"), api_key=f"sk-secret-{name}"))
    return OpenAI(RemoteSettings(name=name, url=f"{url}/v1", profile=profile_of("generic")))


def frames(lane: KeptLane) -> list[Any]:
    """The lines of an answer."""
    return [json.loads(line) for line in lane.body.splitlines()]


def told(lane: KeptLane) -> tuple[int | None, Any]:
    """Status and error text of a refused request."""
    return lane.status, json.loads(lane.body)["error"]
