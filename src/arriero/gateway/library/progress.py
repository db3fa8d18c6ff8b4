"""The progress of one operation on several backends, told as one. Pure: lines of JSON in, lines of JSON out.

The frames keep Ollama's shape, so that its command line and its clients draw them:

- A frame with a `digest` stands for that layer on all backends. Its `total` is the layer's size times the number of
  backends, from its first frame on: Ollama's command line fixes the length of a bar when it first sees it. Its
  `completed` is the sum of what each has said at most, so that a bar never runs backwards; a backend that has ended
  well counts as having the whole layer, also where it never spoke of it.
- A frame without one is that backend's own, and its `status` ends in the backend's name: `writing manifest (gpu1)`.
- A backend's `success` is not passed on: it becomes `finished (gpu1)` when its answer ends there, and what fails is
  told at once as `failed (gpu2): why`. The one last frame of all is the caller's to write.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from arriero.dialects.backend_errors import message_of
from arriero.errors import ArrieroError, BackendBroken, BackendFailed
from arriero.gateway.library.outcomes import Outcomes, reason
from arriero.wire.framing import MessageTooLong, NdjsonReader
from arriero.wire.jsontext import json_text

Hide: TypeAlias = Callable[[str], str]
"""A text without the secrets of one backend."""

SUCCESS = "success"

MAX_LAYERS = 10_000
"""Layers that are counted; no model has so many, and what one backend says of more is passed over."""

_MAX_BYTES = 1 << 50
"""A greater number is none: clients hold the sums in 64 bits."""

_decode = msgspec.json.decode


class _Part:
    """What one backend has said so far."""

    __slots__ = ("done", "error", "hide", "last", "reader")

    def __init__(self, hide: Hide) -> None:
        self.hide = hide
        self.reader = NdjsonReader()
        self.last: str | None = None
        self.done = False
        self.error: ArrieroError | None = None


class _Layer:
    """What is known of one layer: its size, and how much of it each backend has."""

    __slots__ = ("completed", "size_bytes", "status")

    def __init__(self) -> None:
        self.status = ""
        self.size_bytes = 0
        self.completed: dict[str, int] = {}


class Progress:
    """The answers of several backends, by name. What comes back from each call may be written at once.

    As long as backends have only failed nothing comes back: an operation that failed everywhere is an error, no stream.
    """

    def __init__(self, backends: Mapping[str, Hide]) -> None:
        self._parts = {name: _Part(hide) for name, hide in backends.items()}
        self._layers: dict[str, _Layer] = {}
        self._begun = False
        self._held = b""  # failures that came before anything else

    @property
    def outcomes(self) -> Outcomes:
        """How it ended on each backend. To be asked for when all have ended."""
        return {name: part.error for name, part in self._parts.items()}

    def over(self, name: str) -> bool:
        """Whether this backend's part has ended, well or not: nothing that it still says counts."""
        part = self._parts[name]
        return part.done or part.error is not None

    def feed(self, name: str, data: bytes) -> bytes:
        """What a backend's answer has brought."""
        if self.over(name):
            return b""
        try:
            lines = self._parts[name].reader.feed(data)
        except MessageTooLong as error:
            return self.fail(name, BackendBroken(f"its answer cannot be read: {error}"))
        return b"".join([self._take(name, line) for line in lines])

    def end(self, name: str) -> bytes:
        """A backend's answer has come to its end."""
        if self.over(name):
            return b""
        part = self._parts[name]
        out = b"".join([self._take(name, line) for line in part.reader.close()])
        if part.error is not None:
            return out
        if part.last != SUCCESS:
            return out + self.fail(name, BackendBroken("its answer ended before it said success"))
        part.done = True
        for digest, layer in self._layers.items():
            if layer.completed.get(name, 0) < layer.size_bytes:
                out += self._say(self._sum(digest, layer))
        return out + self._say({"status": f"finished ({name})"})

    def fail(self, name: str, error: ArrieroError) -> bytes:
        """A backend's part has failed, from within its answer or from without."""
        if self.over(name):
            return b""
        self._parts[name].error = error
        line = _line({"status": f"failed ({name}): {reason(name, error)}"})
        if self._begun:
            return line
        self._held += line
        return b""

    def _take(self, name: str, line: bytes) -> bytes:
        part = self._parts[name]
        if part.error is not None:
            return b""  # behind its error it says nothing
        try:
            frame = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            frame = None
        if not isinstance(frame, dict):
            return self.fail(name, BackendBroken("its answer holds a line that is no JSON object"))
        if frame.get("error"):
            return self.fail(name, BackendFailed(part.hide(message_of(line))))
        status, digest = frame.get("status"), frame.get("digest")
        part.last = status if isinstance(status, str) else None
        if part.last is None:
            return b""
        if isinstance(digest, str) and digest:
            return self._count(name, part.hide(part.last), digest, frame)
        return b"" if part.last == SUCCESS else self._say({"status": f"{part.hide(part.last)} ({name})"})

    def _count(self, name: str, status: str, digest: str, frame: Mapping[str, Any]) -> bytes:
        layer = self._layers.get(digest)
        if layer is None:
            if len(self._layers) >= MAX_LAYERS:
                return b""
            layer = self._layers[digest] = _Layer()
        layer.status = status
        layer.size_bytes = layer.size_bytes or _number(frame.get("total"))
        completed = min(_number(frame.get("completed")), layer.size_bytes)
        layer.completed[name] = max(completed, layer.completed.get(name, 0))
        return self._say(self._sum(digest, layer))

    def _sum(self, digest: str, layer: _Layer) -> dict[str, Any]:
        frame: dict[str, Any] = {"status": layer.status, "digest": digest}
        if layer.size_bytes:
            frame["total"] = layer.size_bytes * len(self._parts)
        completed = sum(
            layer.size_bytes if part.done else layer.completed.get(name, 0) for name, part in self._parts.items()
        )
        if completed:
            frame["completed"] = completed
        return frame

    def _say(self, frame: Mapping[str, Any]) -> bytes:
        held, self._held = self._held, b""
        self._begun = True
        return held + _line(frame)


def _line(frame: Mapping[str, Any]) -> bytes:
    return json_text(frame) + b"\n"


def _number(value: object) -> int:
    """Bytes that a backend speaks of; 0 where it is no such number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX_BYTES else 0
