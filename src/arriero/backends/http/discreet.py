"""Error answers without the gateway's own credentials: some servers repeat the header fields they were sent."""

from collections.abc import Sequence

from arriero.backends.http.call import Head, Receiver
from arriero.errors import BackendError

HELD_BYTES = 1024 * 1024
"""How much of an error answer is handed on; the rest says nothing more."""

SHORTEST = 8
"""A shorter text is no secret, and stands in innocent words: `lab`, `ollama`, `EMPTY`."""

HIDDEN = b"***"


def worth_hiding(texts: Sequence[str | None]) -> tuple[bytes, ...]:
    """Those of the texts that have to be hidden, the longest first: one may hold another."""
    found = {text.encode("latin-1", "replace") for text in texts if text is not None and len(text) >= SHORTEST}
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def hidden(data: bytes, secrets: Sequence[bytes]) -> bytes:
    """`data` with `HIDDEN` in place of each secret."""
    for secret in secrets:
        data = data.replace(secret, HIDDEN)
    return data


class Discreet:
    """A receiver before a receiver: holds the body of an error answer until its end, and hides `secrets` in it."""

    __slots__ = ("_parts", "_receiver", "_secrets", "_size")

    def __init__(self, receiver: Receiver, secrets: Sequence[bytes]) -> None:
        self._receiver = receiver
        self._secrets = secrets
        self._parts: list[bytes] = []
        self._size = 0

    def on_head(self, head: Head) -> None:
        fields = tuple(
            (name, hidden(value, self._secrets)) for name, value in head.headers if name != b"content-length"
        )
        self._receiver.on_head(Head(head.status, fields))

    def on_body(self, data: bytes) -> None:
        if self._size < HELD_BYTES:
            self._parts.append(data)
            self._size += len(data)

    def on_end(self) -> None:
        body = hidden(b"".join(self._parts), self._secrets)
        self._parts.clear()
        if body:
            self._receiver.on_body(body)
        self._receiver.on_end()

    def on_error(self, error: BackendError) -> None:
        self._receiver.on_error(error)
