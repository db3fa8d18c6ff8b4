"""The words between the transport and those who use it: a call, its answer's head, and who receives the answer.

Only values and protocols live here; sockets live in `connection`, their keeping in `pool`.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from arriero.errors import BackendError

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order, names in lower case."""


class Timeouts(Struct, frozen=True):
    """Seconds; `None` is no limit. `first_byte` runs from the request's end to the head, `idle` between reads."""

    connect: float | None = 5.0
    first_byte: float | None = 600.0
    idle: float | None = 300.0
    total: float | None = None


class Call(Struct, frozen=True):
    """One request. `target` is what stands in the request line. A streamed `body` is sent chunked, never gathered."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""
    timeouts: Timeouts | None = None


class Head(Struct, frozen=True):
    """Status and header fields of an answer."""

    status: int
    headers: Headers

    def get(self, name: bytes) -> bytes | None:
        """The first field of this (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Receiver(Protocol):
    """Who takes an answer, by callbacks from the event loop. Exactly one of `on_end` and `on_error` comes last.

    None of them may block or raise. After `Upstream.abort()` no callback comes any more.
    """

    def on_head(self, head: Head) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_error(self, error: BackendError) -> None: ...


class Upstream(Protocol):
    """The hold on an answer in flight. All three are idempotent, and harmless after the end."""

    def pause(self) -> None:
        """Stop reading from the socket: the client does not keep up."""

    def resume(self) -> None:
        """Read again."""

    def abort(self) -> None:
        """Close at once; the backend sees it. Nothing is called back."""
