"""What an exchange reads from and writes to: the inbound request, and the lane its answer leaves by.

A lane belongs to the server (ASGI, or the fast lane on the socket itself); the gateway knows only this.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from arriero.backends.http.call import Headers
from arriero.gateway.door import FRONT, Door


class Inbound(Struct, frozen=True):
    """One request as it came. `path` is decoded and without its query; header names are in lower case.

    `path` is what stands behind the door's prefix. `body` is whole, but for routes that stream their upload: there
    `upload` yields it. `received_ns` is unix time.
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
    door: Door = FRONT
    _fields: dict[bytes, bytes] | None = None

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """The header fields by their (lower-case) names; of several of one name the first."""
        found = self._fields
        if found is None:
            found = dict(reversed(self.headers))
            force_setattr(self, "_fields", found)  # a reading of the headers, made when somebody asks
        return found

    def get(self, name: bytes) -> bytes | None:
        """The first header field of this (lower-case) name."""
        return self.fields.get(name)


class Lane(Protocol):
    """The way of an answer. `start` once, `write` any number of times, then `finish` or `abort`; none of them blocks.
    `extra` are fields that go out with its head, whoever writes that.

    Nothing may leave before the first `write` or `finish`, so that head and body travel in one packet. When the client
    has gone, `gone` is true, `on_gone` has been called, and writing is harmless. `on_pause` and `on_resume` tell that
    the client does not keep up, and that it does again.
    """

    gone: bool
    started: bool
    extra: Headers
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
