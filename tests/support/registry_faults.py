"""What a scripted registry can be told to do wrong, whom it lets in, and what it writes down of a request."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """One request. `path` is without its query, header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Fault:
    """What happens to the requests whose path holds `path`, the next `times` ones after `after` (None: all)."""

    path: str
    method: str = ""
    times: int | None = 1
    after: int = 0
    status: int | None = None
    """Answer this, with `headers` and `body`, instead of what is asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    """Close the connection after so many bytes of the answer's body."""
    cut_upload: int | None = None
    """Close the connection after so many bytes of the request's body; an upload keeps them."""
    stall: int | None = None
    """After so many bytes of the answer's body, nothing more comes until the client leaves."""
    pace: float | None = None
    """Seconds between two pieces of `piece` bytes."""
    piece: int = 4096
    wrong: bool = False
    """The first byte of the answer's body is another one."""
    endless: bool = False
    """The body never ends, and no length is told."""
    ignore_range: bool = False
    length: int | None = None
    """The `content-length` that is told, whatever is sent."""
    lose: bool = False
    """What is asked for is done, and the connection closed without a word."""
    forget_upload: bool = False
    """The upload is thrown away, then the request is answered."""
    stop_reading: bool = False
    """Not one byte of the request's body is read, and nothing is said."""
    hold: "Gate | None" = None
    """The request waits there before it is done."""
    hits: int = 0

    def strikes(self, request: Received) -> bool:
        """Whether it is this request's turn."""
        if self.path not in request.path or (self.method and self.method != request.method):
            return False
        self.hits += 1
        return self.hits > self.after and (self.times is None or self.hits <= self.after + self.times)


class Gate:
    """Where requests wait until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        await self._open.wait()


@dataclass
class TokenAuth:
    """Bearer tokens. `realm` is another address than the registry's own for the variant with a strange realm."""

    service: str = "registry.test"
    realm: str = ""
    uses: int | None = None
    """After so many requests a token is no longer taken."""
    denied: bool = False
    """Tokens are given and never taken."""
    forbidden: bool = False
    """Tokens are taken, and everything is 403."""
    basic: bool = False
    """The challenge is for a password instead."""
    signed: bool = False
    """The token endpoint refuses requests without a signature."""
    given: dict[str, tuple[frozenset[str], int]] = field(default_factory=dict)
    """Each token's scopes, and how often it was taken."""
