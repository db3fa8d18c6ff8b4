"""A client that looks at every answer to its end: what it asks, what it gets, and whether that was all of it.

Nothing is asked twice: what fails here, fails for a client.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

SILENCE_SECONDS = 20.0
"""An answer without a byte for so long hangs."""


class Verdict(Enum):
    """How a request ended, as its client sees it."""

    COMPLETE = "complete"
    TOLD = "cut, and told so"  # an error in the client's dialect, or the connection is closed in the middle
    SILENT = "cut, and not told so"  # a clean end of an answer that is not whole
    FAILED = "failed before its first byte"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `text` is what a whole answer says; an embedding has `inputs` vectors instead."""

    path: str
    model: str
    stream: bool = False
    text: str = ""
    inputs: int = 0

    @property
    def body(self) -> bytes:
        """As JSON."""
        asked: dict[str, object] = {"model": self.model}
        if self.inputs:
            asked["input"] = ["Why is the sky blue?"] * self.inputs
        elif self.path == "/api/generate":
            asked |= {"prompt": "Why is the sky blue?", "stream": self.stream}
        else:
            asked |= {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "stream": self.stream}
        return json.dumps(asked).encode()


@dataclass(frozen=True, slots=True)
class Got:
    """What came. `status` 0: no head; `cut`: the connection ended before the answer did; `hung`: nothing came any more.

    `asked_at` is unix time, `first_s` the seconds to the first byte of the body.
    """

    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    cut: bool = False
    hung: bool = False
    asked_at: float = 0.0
    first_s: float = 0.0

    @property
    def attempts(self) -> int:
        """How many backends arriero says that it has asked; 0 where it does not say."""
        return int((self.headers or {}).get("x-arriero-attempts", "0"))


def verdict(question: Question, got: Got) -> Verdict:
    """The judgement on one answer."""
    if got.hung:
        return Verdict.HUNG
    if got.status != 200 or (got.cut and not got.body):
        return Verdict.FAILED
    if got.cut:
        return Verdict.TOLD
    messages = _messages(question, got.body)
    if any("error" in message for message in messages):
        return Verdict.TOLD
    return Verdict.COMPLETE if _is_whole(question, got.body, messages) else Verdict.SILENT


def _messages(question: Question, body: bytes) -> list[dict[str, Any]]:
    """The JSON objects of an answer; a text that is none counts as an empty one."""
    if not question.stream:
        return [_object(body)]
    if question.path.startswith("/api/"):
        return [_object(line) for line in body.splitlines() if line.strip()]
    events = [line.removeprefix(b"data:").strip() for line in body.splitlines() if line.startswith(b"data:")]
    return [_object(event) for event in events if event != b"[DONE]"]


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(question: Question, body: bytes, messages: list[dict[str, Any]]) -> bool:
    if question.inputs:
        vectors = messages[0].get("embeddings") or messages[0].get("data") or []
        return len(vectors) == question.inputs
    if question.path.startswith("/api/"):
        said = [message.get("response", (message.get("message") or {}).get("content", "")) for message in messages]
        ended = bool(messages) and messages[-1].get("done") is True
    else:
        choices = [choice for message in messages for choice in message.get("choices", ())]
        said = [(choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices]
        ended = any(choice.get("finish_reason") == "stop" for choice in choices)
        ended = ended and (not question.stream or body.rstrip().endswith(b"data: [DONE]"))
    return ended and "".join(said) == question.text


class Connection:
    """One kept connection to a server on loopback, opened when it is needed. One request at a time."""

    def __init__(self, port: int, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._port = port
        self._silence_seconds = silence_seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Got:
        """One request and its whole answer; never raises for what the server does."""
        asked_at, begun = time.time(), time.monotonic()
        status, headers, pieces, first_s = 0, None, [], 0.0
        try:
            reader, writer = await self._open()
            head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            status, headers = _head(await self._within(reader.readuntil(b"\r\n\r\n")))
            length = headers.get("content-length")
            left = -1 if length is None else int(length)
            while left:
                if left < 0:
                    size = int(await self._within(reader.readuntil(b"\r\n")), 16)
                    piece = (await self._within(reader.readexactly(size + 2)))[:-2]
                    left = -1 if size else 0
                else:
                    piece = await self._within(reader.read(left))
                    if not piece:
                        raise asyncio.IncompleteReadError(piece, left)
                    left -= len(piece)
                first_s = first_s or time.monotonic() - begun
                pieces.append(piece)
        except TimeoutError:
            self.close()
            return Got(status, headers, b"".join(pieces), hung=True, asked_at=asked_at, first_s=first_s)
        except (OSError, EOFError):
            self.close()
            return Got(status, headers, b"".join(pieces), cut=True, asked_at=asked_at, first_s=first_s)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Got(status, headers, b"".join(pieces), asked_at=asked_at, first_s=first_s)

    async def get(self, path: str) -> Any:
        """The JSON of a GET; `None` where there is none."""
        got = await self.ask("GET", path)
        return json.loads(got.body) if got.status == 200 and not got.cut and not got.hung else None

    def close(self) -> None:
        """Close the connection, if it is open."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await self._within(asyncio.open_connection("127.0.0.1", self._port))
        return self._streams

    async def _within(self, waiting: Any) -> Any:
        async with asyncio.timeout(self._silence_seconds):
            return await waiting


def _head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = text.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}
