"""The recorded exchanges of `tests/recordings`, parsed: request and response heads, bodies, and body pieces.

A recording is two files of exact bytes, `NAME.req.txt` and `NAME.resp.txt`. The parser here is a second opinion on
HTTP: it shares no code with arriero, so that a fault of arriero's own parsers cannot hide in the tests.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent / "recordings"


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sent. `body` is de-chunked; `method` and `target` are empty for bytes that are not HTTP."""

    raw: bytes
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """What the server sent.

    `pieces` are the HTTP chunks of the body in wire order, or the one body of a `Content-Length`; `body` is their sum.
    `complete` is false where the connection closed before the body's end.
    """

    raw: bytes
    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    complete: bool

    @property
    def body(self) -> bytes:
        """The body without its transfer coding."""
        return b"".join(self.pieces)

    def header(self, name: str) -> str:
        """The first header field of this lower-case name, or an empty string."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.header("content-type").startswith("text/event-stream")

    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, repr=False)
class Recording:
    """One exchange. `folder` names the server, `name` the case."""

    folder: str
    name: str
    request: Request
    response: Response

    def __repr__(self) -> str:
        return f"{self.folder}/{self.name}"


@cache
def load(name: str, folder: str = "llama-server") -> Recording:
    """One recording by name. Raises `FileNotFoundError` for a name that has none."""
    request = (ROOT / folder / f"{name}.req.txt").read_bytes()
    response = (ROOT / folder / f"{name}.resp.txt").read_bytes()
    return Recording(folder, name, parse_request(request), parse_response(response))


def names(folder: str = "llama-server") -> tuple[str, ...]:
    """Every case of a folder, sorted."""
    return tuple(sorted(path.name.removesuffix(".resp.txt") for path in (ROOT / folder).glob("*.resp.txt")))


def folders() -> tuple[str, ...]:
    """Every folder of recordings, sorted."""
    return tuple(sorted(path.name for path in ROOT.iterdir() if any(path.glob("*.resp.txt"))))


def recordings() -> Iterator[Recording]:
    """Every recording of every folder."""
    for folder in folders():
        for name in names(folder):
            yield load(name, folder)


def select(target: str, *, status: int = 200, streamed: bool | None = None) -> tuple[Recording, ...]:
    """The recordings of one request target with this status, streamed or not."""
    return tuple(
        found
        for found in recordings()
        if found.request.target == target
        and found.response.status == status
        and (streamed is None or found.response.streamed is streamed)
    )


def pairs(target: str) -> tuple[tuple[Recording, Recording], ...]:
    """The pairs (`X`, `X_stream`) of one target that were both answered with 200."""
    streams = {str(found): found for found in select(target, streamed=True)}
    whole = select(target, streamed=False)
    return tuple((found, streams[f"{found}_stream"]) for found in whole if f"{found}_stream" in streams)


def parse_request(raw: bytes) -> Request:
    """A request from its exact bytes."""
    line, headers, rest = _head(raw)
    words = line.split(" ")
    method, target = (words[0], words[1]) if len(words) == 3 and words[2].startswith("HTTP/") else ("", "")
    pieces, _ = _body(headers, rest)
    return Request(raw, method, target, headers, b"".join(pieces))


def parse_response(raw: bytes) -> Response:
    """A response from its exact bytes. Raises `ValueError` for bytes that are not an HTTP/1.1 answer."""
    line, headers, rest = _head(raw)
    version, _, status = line.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not a status line: {line!r}")
    pieces, complete = _body(headers, rest)
    return Response(raw, int(status[:3]), headers, pieces, complete)


def _head(raw: bytes) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
    head, _, rest = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = tuple(
        (name.strip().lower(), value.strip()) for name, _, value in (field.partition(":") for field in fields)
    )
    return line, headers, rest


def _body(headers: tuple[tuple[str, str], ...], rest: bytes) -> tuple[tuple[bytes, ...], bool]:
    fields = dict(headers)
    if fields.get("transfer-encoding", "").lower() != "chunked":
        length = int(fields.get("content-length", "0"))
        return (rest[:length],) if length else (), len(rest) >= length
    pieces: list[bytes] = []
    while True:
        size_text, found, rest = rest.partition(b"\r\n")
        if not found:
            return tuple(pieces), False
        size = int(size_text.partition(b";")[0], 16)
        if size == 0:
            return tuple(pieces), True
        if rest:
            pieces.append(rest[:size])
        if len(rest) < size + 2:
            return tuple(pieces), False
        rest = rest[size + 2 :]
