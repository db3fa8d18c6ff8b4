"""What an answer is before HTTP frames it: status, header fields, pieces of a body. Plain JSON, written here."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any

from msgspec import Struct

from arriero.backends.scripted.script import Form

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
MAX_DIMENSIONS = 65_536
LINE_ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


class Reply(Struct, frozen=True):
    """An answer. `stream` says that the pieces are messages which are sent one by one.

    `model` is in use until it ends, by its listed name; it begins `wait_seconds` late, because the model is loaded.
    """

    status: int
    content_type: str | None
    pieces: tuple[bytes, ...]
    stream: bool = False
    headers: Mapping[str, str] = {}
    model: str | None = None
    wait_seconds: float = 0


def whole(value: Any, status: int = 200, content_type: str = JSON) -> Reply:
    """One JSON value."""
    return Reply(status, content_type, (dump(value),))


def dump(value: Any) -> bytes:
    """JSON as most servers write it: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def events(messages: Iterable[Any], form: Form) -> tuple[bytes, ...]:
    """Server-sent events, one a message, and `[DONE]`."""
    end, mark = LINE_ENDS[form.line_end].encode(), b"data: " if form.space else b"data:"
    found = [mark + dump(message) + end + end for message in messages]
    if form.done:
        found.append(mark + b"[DONE]" + end + end)
    if form.comments:
        noise = b": keep-alive" + end + end + b"event: ping" + end + end
        found = [noise + event for event in found]
    return tuple(found)


def lines(messages: Iterable[Any], form: Form) -> tuple[bytes, ...]:
    """Newline-delimited JSON."""
    end = LINE_ENDS[form.line_end].encode()
    blank = end if form.comments else b""
    return tuple(blank + dump(message) + end for message in messages)


def vector(text: str, length: int) -> list[float]:
    """Numbers of norm 1 that depend on nothing but the text."""
    values: list[float] = []
    for block in range(-(-length // 32)):
        digest = hashlib.sha256(f"{block}:{text}".encode("utf-8", "replace")).digest()
        values += [byte / 127.5 - 1 for byte in digest]
    norm = sqrt(sum(value * value for value in values[:length])) or 1.0
    return [round(value / norm, 6) for value in values[:length]]


def dimensions(body: Mapping[str, Any], usual: int) -> int:
    """The length of vector that a request asks for; `usual` where it says none that makes sense."""
    asked = body.get("dimensions")
    return min(asked, MAX_DIMENSIONS) if isinstance(asked, int) and asked > 0 else usual


def cut(text: str, count: int = 3) -> Sequence[str]:
    """A text in up to `count` pieces, as streams cut the arguments of a call."""
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]
