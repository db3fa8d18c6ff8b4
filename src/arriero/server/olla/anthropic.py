"""The door `/olla/anthropic/`: Anthropic's messages, relayed to backends that take them as they are.

Nothing is translated here. A model that only other backends have is a 501 that says so; a path that the door does not
have is a 404, and like every error at it in Anthropic's own envelope.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from arriero.canonical.catalog import Listed
from arriero.dialects.backend_errors import read_error
from arriero.dialects.base import Dialect, ErrorAnswer
from arriero.errors import ArrieroError, BadRequest, NotFound, NotImplementedHere
from arriero.gateway.choice import Routing
from arriero.gateway.door import Door
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.passing import Passing
from arriero.gateway.roster import Roster
from arriero.server.catalog import INSTALLED, Catalog
from arriero.server.compressed import decompressed
from arriero.server.olla.anthropic_errors import SCOPE, envelope, write_error, write_stream_error
from arriero.server.routes import JSON, Handler, Route
from arriero.wire.jsontext import json_text
from arriero.wire.splice import NotAnObject, peek

DOOR = Door(f"/olla/{SCOPE}", SCOPE, olla=True)

CHARACTERS_A_TOKEN = 4
"""What `count_tokens` takes a token to be: an estimate, for nobody here knows the model's tokenizer."""


class Anthropic:
    """The handlers, and their routes. `limit` tells how many bytes a body may have that comes compressed."""

    def __init__(
        self, roster: Roster, routing: Routing, catalog: Catalog, *, strategy: str, limit: Callable[[], int]
    ) -> None:
        self._roster = roster
        self._routing = routing
        self._catalog = catalog
        self._strategy = strategy
        self._limit = limit
        self.routes: Sequence[Route] = (
            Route("/v1/messages", (), _only(("POST",), self.messages), limited=True),
            Route("/v1/messages/count_tokens", (), _only(("POST",), self.count_tokens)),
            Route("/v1/models", (), _only(("GET", "HEAD"), self.models)),
            Route("/", (), self.unknown),
            Route("/*", (), self.unknown),
        )

    async def messages(self, inbound: Inbound, lane: Lane) -> None:
        """A conversation, byte for byte to a backend that speaks Anthropic's API. Raises `BadRequest`."""
        if inbound.get(b"content-encoding") is not None:
            kept = tuple(field for field in inbound.headers if field[0] != b"content-encoding")
            inbound = replace(decompressed(inbound, self._limit()), headers=kept)
        try:
            model, _ = peek(inbound.body)
        except NotAnObject as error:
            raise BadRequest(f"the body is not a JSON object: {error}") from None
        if not model:
            raise BadRequest("model: the field is required, and a string")
        passing = Passing(
            self._roster,
            self._routing,
            _dialect(inbound.request_id),
            self._strategy,
            mode=b"passthrough",
            safe=True,
            not_here=_not_native,
        )
        await passing.run(inbound, lane)

    async def count_tokens(self, inbound: Inbound, lane: Lane) -> None:
        """An estimate, at least 1. Raises `BadRequest`."""
        body = decompressed(inbound, self._limit()).body
        try:
            count = characters(_object(body))
        except RecursionError:
            raise BadRequest("the body is nested too deep") from None
        reply(lane, 200, JSON, json_text({"input_tokens": max(1, count // CHARACTERS_A_TOKEN)}))

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """All models behind the door, on one page."""
        await self._roster.refresh_local()
        data = [_entry(listed) for listed in self._catalog.listed(inbound.door, tagged=False)]
        ids = [entry["id"] for entry in data]
        page = {
            "data": data,
            "has_more": False,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
        reply(lane, 200, JSON, json_text(page))

    async def unknown(self, inbound: Inbound, lane: Lane) -> None:
        """Whatever else is asked for at this door."""
        raise NotFound(
            f"{inbound.path} is not at {DOOR.prefix}: /v1/messages, /v1/messages/count_tokens and /v1/models are"
        )


def _only(methods: tuple[str, ...], handler: Callable[[Inbound, Lane], Awaitable[None]]) -> Handler:
    """A handler for these methods, and a 405 in the door's own words for the others."""
    allowed = ", ".join(methods)

    async def run(inbound: Inbound, lane: Lane) -> None:
        if inbound.method in methods:
            await handler(inbound, lane)
        else:
            body = envelope(f"{inbound.path} is asked by {allowed}", 405, inbound.request_id)
            reply(lane, 405, (*JSON, (b"allow", allowed.encode())), body)

    return run


def _not_native(model: str) -> ArrieroError:
    return NotImplementedHere(
        f"no backend that has model '{model}' speaks Anthropic's API, and arriero does not translate it yet: "
        "ask for it at /v1/chat/completions or /api/chat"
    )


def _dialect(request_id: str) -> Dialect:
    """As much of a dialect as relaying needs, with errors that name this request."""

    def whole(error: ArrieroError, streaming: bool) -> ErrorAnswer:
        return write_error(error, request_id)

    return Dialect(
        name=SCOPE,
        endpoints=(),
        drivers={},
        write_error=whole,
        write_stream_error=partial(write_stream_error, request_id=request_id),
        read_error=read_error,
    )


def _entry(listed: Listed) -> Mapping[str, Any]:
    card = listed.card
    try:
        created = datetime.fromtimestamp(int(card.created or card.modified_at or INSTALLED), UTC)
    except (ValueError, OverflowError, OSError):
        created = datetime.fromtimestamp(int(INSTALLED), UTC)  # whatever its backend counts there, it is no time
    return {
        "type": "model",
        "id": listed.name,
        "display_name": card.display_name or listed.name,
        "created_at": created,
    }


# ---- counting ------------------------------------------------------------------------------------------------------


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


def characters(request: Mapping[str, Any]) -> int:
    """Characters of what a model would read: system, the messages' contents, tools. What is no text counts nothing."""
    said = [message.get("content") for message in _list(request.get("messages")) if isinstance(message, dict)]
    tools = sum(_written(tool) for tool in _list(request.get("tools")))
    return _text(request.get("system")) + sum(_text(content) for content in said) + tools


_BLOCKS: Mapping[object, tuple[str, ...]] = MappingProxyType(
    {
        "text": ("text",),
        "thinking": ("thinking",),
        "tool_use": ("name", "input"),
        "tool_result": ("content",),
    }
)
"""The members of each block that are text. An image is none, and nobody knows here what a model makes of it."""


def _text(content: object) -> int:
    match content:
        case str():
            return len(content)
        case list():
            return sum(_text(block) for block in content)
        case {"type": str() as kind, **members}:
            read = [members[key] for key in _BLOCKS.get(kind, ()) if key in members]
            return sum(_written(value) if kind == "tool_use" else _text(value) for value in read)
        case _:
            return 0


def _written(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
