"""A lane that keeps what was written to it."""

import asyncio
from collections.abc import Callable

from arriero.backends.http.call import Headers
from arriero.gateway.lane import Inbound


class KeptLane:
    """The answer as one value: `status`, `headers`, `length`, `body`; `end` is `finish`, `abort` or `None`."""

    def __init__(self) -> None:
        self.gone = False
        self.started = False
        self.extra: Headers = ()
        self.on_gone: Callable[[], object] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.status: int | None = None
        self.headers: Headers = ()
        self.length: int | None = None
        self.pieces: list[bytes] = []
        self.end: str | None = None
        self.written = asyncio.Event()
        self.ended = asyncio.Event()

    @property
    def body(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.pieces)

    def field(self, name: bytes) -> bytes | None:
        """The first header field of this name."""
        return next((value for key, value in self.headers if key == name), None)

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        assert not self.started, "the head was written twice"
        self.started = True
        self.status, self.headers, self.length = status, headers, length

    def write(self, data: bytes) -> None:
        assert self.started, "a body before its head"
        assert self.end is None, "a body after its end"
        self.pieces.append(data)
        self.written.set()

    def finish(self) -> None:
        assert self.started and self.end is None
        assert self.length is None or self.length == len(self.body)
        self.end = "finish"
        self.ended.set()

    def abort(self) -> None:
        self.end = "abort"
        self.ended.set()

    def leave(self) -> None:
        """The client closes its connection."""
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()


def inbound(method: str, path: str, body: bytes = b"", *, headers: Headers = (), query: bytes = b"") -> Inbound:
    """A request as a lane hands it on."""
    return Inbound(method, path, headers, body, "127.0.0.1", "req1", 1_700_000_000_000_000_000, query)
