"""A gateway in front of backends that answer with given bytes: what a client says, what goes out, what comes back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec.structs import replace

from arriero.backends.base import Backend
from arriero.backends.http.call import Headers, Timeouts
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.canonical.catalog import Defaults, ModelCard
from arriero.compose import DIALECTS
from arriero.dialects.profiles import profile_of
from arriero.gateway.entry import Seat
from arriero.gateway.exchange import Exchange, Policy
from arriero.gateway.queue import Queue
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.sticky import Sessions
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, RawBackend

SECONDS = 5.0

Answer = bytes | Callable[[Peer], Any]
"""The bytes of an answer with their head, or a coroutine that plays it on the connection."""

GET_MODELS = {
    "openai": ("GET /v1/models ", b'{"object":"list","data":[{"id":"gpt-x"}]}'),
    "ollama": ("GET /api/tags ", b'{"models":[{"name":"tiny:latest","model":"tiny:latest"}]}'),
}
GET_LOADED = "GET /api/ps "


def http(body: bytes, *, status: str = "200 OK", type: str = "application/json", extra: str = "") -> bytes:
    """A whole answer with its length."""
    return f"HTTP/1.1 {status}\r\ncontent-type: {type}\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body


def stream(*pieces: bytes, type: str = "text/event-stream", end: bool = True) -> bytes:
    """A chunked answer; without `end` its last chunk is missing."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + chunks + (b"0\r\n\r\n" if end else b"")


class Played:
    """A backend of a kind that lists one model and then plays its answers in turn, the last one for ever.

    `seen` holds the (request line, head, body) of every call but those for the models it has, and has `loaded`.
    `defaults` are what its models bring along, by their ids.
    """

    def __init__(self, kind: str, *answers: Answer, name: str | None = None, models: bytes | None = None) -> None:
        self.kind = kind
        self.name = name or kind
        self._answers = list(answers)
        self._models = models
        self.defaults: dict[str, Defaults] = {}
        self.loaded = b'{"models":[]}'
        self.plays_loaded = False  # whether questions for the loaded models take an answer like every other call
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.raw = RawBackend(self._play)

    @property
    def bodies(self) -> list[Any]:
        """The JSON that came, call by call."""
        return [json.loads(body) for _, _, body in self.seen]

    async def _play(self, peer: Peer) -> None:
        line, models = GET_MODELS[self.kind]
        while True:
            try:
                head, _, body = (await peer.request()).partition(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            first, *fields = head.decode().split("\r\n")
            if first.startswith(line):
                await peer.say(http(self._models or models))
                continue
            if first.startswith(GET_LOADED) and not self.plays_loaded:
                await peer.say(http(self.loaded))
                continue
            self.seen.append((first, dict(field.split(": ", 1) for field in fields), body))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, bytes):
                await peer.say(answer)
                if b"0\r\n\r\n" not in answer and b"content-length" not in answer:
                    peer.reset()
                    return
            else:
                await answer(peer)
                return


class Gateway:
    """A roster over played backends, asked one request at a time."""

    def __init__(self, roster: Roster, policy: Policy) -> None:
        self.roster = roster
        self._policy = policy
        self.tasks: list[asyncio.Task[None]] = []

    def exchange(self, path: str, body: dict[str, Any] | bytes, lane: KeptLane, headers: Headers = ()) -> Exchange:
        """The exchange of one request, not yet run."""
        dialect = DIALECTS["openai" if path.startswith("/v1/") else "ollama"]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = inbound("POST", path, raw, headers=headers)
        return Exchange(
            request,
            lane,
            dialect,
            dialect.by_path[path],
            roster=self.roster,
            dialects=DIALECTS,
            policy=self._policy,
            spawn=self._spawn,
        )

    def _spawn(self, rest: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(rest))

    async def ask(self, path: str, body: dict[str, Any] | bytes, headers: Headers = ()) -> KeptLane:
        """The whole answer of one request, by the short way where there is one."""
        lane = KeptLane()
        async with asyncio.timeout(SECONDS):
            rest = self.exchange(path, body, lane, headers).start()
            if rest is not None:
                await rest
            await lane.ended.wait()
            await asyncio.gather(*self.tasks)
        return lane


@asynccontextmanager
async def gateway(
    *backends: Played,
    policy: Policy | None = None,
    seats: Sequence[Seat] | None = None,
    timeouts: Timeouts | None = None,
    aliases: dict[str, list[str]] | None = None,
    bylaws: Bylaws | None = None,
    queue: Queue | None = None,
    sessions: Sessions | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Gateway]:
    """A gateway whose backends have listed their models; nothing is left open behind it."""
    async with AsyncExitStack() as stack:
        seated: list[tuple[Backend, Seat]] = []
        for number, played in enumerate(backends):
            raw = await stack.enter_async_context(played.raw)
            seated.append((_backend(played, raw.url, timeouts), seats[number] if seats else Seat()))
        bylaws = bylaws or Bylaws(aliases=aliases or {})
        roster = Roster(seated, bylaws, queue=queue, sessions=sessions, clock=clock)
        await roster.refresh()
        try:
            yield Gateway(roster, policy or Policy())
        finally:
            await roster.close()
            for entry in roster.entries.values():
                assert (entry.in_flight, entry.reserved) == (0, 0), "a lease was not given back"
            assert roster.queue.waiting == 0, "somebody still waits"


def _backend(played: Played, url: str, timeouts: Timeouts | None) -> Backend:
    if played.kind == "ollama":
        return Ollama(
            RemoteSettings(name=played.name, url=url, profile=profile_of("ollama"), timeouts=timeouts or Timeouts())
        )
    settings = RemoteSettings(
        name=played.name,
        url=url + "/v1",
        profile=profile_of("generic"),
        api_key="sk-secret",
        timeouts=timeouts or Timeouts(),
    )
    return Furnished(settings, played.defaults) if played.defaults else OpenAI(settings)


class Furnished(OpenAI):
    """Models that bring things along, as the engine's do."""

    def __init__(self, settings: RemoteSettings, defaults: dict[str, Defaults]) -> None:
        super().__init__(settings)
        self._defaults = defaults

    async def list_models(self) -> tuple[ModelCard, ...]:
        cards = await super().list_models()
        return tuple(replace(card, defaults=self._defaults.get(card.id)) for card in cards)
