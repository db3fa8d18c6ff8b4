"""What an exchange reads from and writes to: the inbound request, and the lane its answer leaves by.

A lane belongs to the server (ASGI, or the fast lane on the socket itself); the gateway knows only this.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from msgspec import Struct

from arriero.backends.http.call import Headers


class Inbound(Struct, frozen=True):
    """One request as it came. `path` is decoded and without its query; header names are in lower case.

    `body` is whole, but for routes that stream their upload: there `upload` yields it. `received_ns` is unix time.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    client: str | None
    request_id: str
    received_ns: int
    query: bytes = b""
    upload: AsyncIterator[bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The first header field of this (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Lane(Protocol):
    """The way of an answer. `start` once, `write` any number of times, then `finish` or `abort`; none of them blocks.

    Nothing may leave before the first `write` or `finish`, so that head and body travel in one packet. When the client
    has gone, `gone` is true, `on_gone` has been called, and writing is harmless. `on_pause` and `on_resume` tell that
    the client does not keep up, and that it does again.
    """

    gone: bool
    started: bool
    on_gone: Callable[[], object] | None
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        """The head. `length` is the body's size where it is known; otherwise the body is chunked."""
        ...

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    def finish(self) -> None:
        """The body is complete."""
        ...

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not complete."""
        ...


def reply(lane: Lane, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer at once."""
    lane.start(status, headers, len(body))
    if body:
        lane.write(body)
    lane.finish()
