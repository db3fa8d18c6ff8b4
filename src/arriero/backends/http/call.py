"""The words between the transport and those who use it: a call, its answer's head, and who receives the answer.

Only values and protocols live here; sockets live in `connection`, their keeping in `pool`.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from msgspec import Struct

from arriero.errors import BackendError

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order, names in lower case."""


_SECONDS = re.compile(rb"[0-9]+(?:\.[0-9]+)?")

OF_THE_TRANSPORT = frozenset({b"host", b"transfer-encoding", b"content-length"})
"""Fields that nobody else may set."""


class Rendered(Struct, frozen=True, gc=False):
    """Header lines that were written before, without the last line end; `count` of them. A value with a line break of
    its own makes the count wrong, which the transport finds.
    """

    text: bytes = b""
    count: int = 0

    @classmethod
    def of(cls, headers: Headers) -> "Rendered":
        """These fields, but for the transport's own."""
        lines = [b": ".join(field) for field in headers if field[0] not in OF_THE_TRANSPORT]
        return cls(b"\r\n".join(lines), len(lines))


class Timeouts(Struct, frozen=True):
    """Seconds; `None` is no limit. `first_byte` runs from the request's end to the head, `idle` between reads."""

    connect: float | None = 5.0
    first_byte: float | None = 600.0
    idle: float | None = 300.0
    total: float | None = None


class Call(Struct, frozen=True):
    """One request. `target` is what stands in the request line. A streamed `body` is sent chunked, never gathered.
    `rendered` are fields besides `headers`.

    `once`: it must not be read twice. A kept connection may die unseen, and then nobody knows whether the request was
    read: it goes out on a fresh one.
    """

    method: str
    target: str
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""
    timeouts: Timeouts | None = None
    once: bool = False
    rendered: Rendered | None = None


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

    @property
    def retry_after_s(self) -> float | None:
        """The seconds after which the sender wants to be asked again, if it says so: a number, which may be 2.5, or a
        date after its own `Date`.
        """
        told = self.get(b"retry-after")
        if told is None:
            return None
        if _SECONDS.fullmatch(told):
            return min(float(told), MOST_SECONDS)
        then, now = (_moment(field) for field in (told, self.get(b"date") or b""))
        return None if then is None or now is None else min(max(0.0, (then - now).total_seconds()), MOST_SECONDS)


MOST_SECONDS = 1e9
"""A longer time is as good as this: thirty years. A field of four hundred digits would be infinite."""


def _moment(field: bytes) -> datetime | None:
    try:
        moment = parsedate_to_datetime(field.decode("latin-1"))
    except (ValueError, OverflowError):  # the second is for a year or a zone of twenty digits
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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
