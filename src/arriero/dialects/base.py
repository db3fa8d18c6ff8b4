"""What a dialect is: two tables of pure functions, one for clients and one for backends.

An `Endpoint` serves clients: it decodes the request of one route and encodes its answer. A `Driver` drives backends: it
encodes a canonical request and decodes the answer. Nothing here does I/O or reads a clock; times arrive as arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from arriero.canonical.catalog import ModelCard
from arriero.canonical.events import Answer, Embeddings, Event
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Request
from arriero.dialects.quirks import Profile
from arriero.errors import ArrieroError, BackendError, ModelNotFound


class Operation(Enum):
    """What a route asks for."""

    CHAT = "chat"
    GENERATE = "generate"
    COMPLETION = "completion"
    EMBED = "embed"
    EMBEDDINGS = "embeddings"


class Times(Struct, frozen=True):
    """Moments of an exchange on the wall clock, unix nanoseconds. `sent_ns`: the request was written to the backend."""

    started_ns: int
    sent_ns: int


class AnswerContext(Struct, frozen=True):
    """What an encoder must know beyond the events. `model` is the text that the client sent; `id` is unique and random.

    `request` is the canonical request that is being answered (think off hides thinking, include_usage adds a chunk).
    """

    model: str
    request: Request
    times: Times
    id: str


class Encoder(Protocol):
    """Events to the bytes of a streamed answer. After `Finished` or `Failed` nothing more comes."""

    def feed(self, events: Sequence[Event], now_ns: int) -> bytes:
        """The bytes for `events`, `b""` where they make none. `now_ns` is the wall clock."""
        ...


class Decoder(Protocol):
    """The bytes of a streamed answer to events, in the order that `canonical.stream.ORDER` allows."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        ...

    def close(self) -> list[Event]:
        """The last events, when the body has ended: `Failed(cut=True)` if the answer was not complete."""
        ...


class Outbound(Struct, frozen=True):
    """A request as a backend takes it. `path` goes behind the root of the dialect on that backend.

    `dropped` names the knobs that this wire or vendor cannot express, in the client's words where they are known.
    """

    path: str
    body: bytes
    dropped: tuple[str, ...] = ()


class Target(Struct, frozen=True):
    """What a driver must know of the far side: the model's name there, and the vendor's quirks."""

    model: str
    profile: Profile


WholeAnswer: TypeAlias = Answer | Embeddings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One inference route of a dialect, as its clients know it.

    `path` is the client's path, `relay_path` what goes behind a backend's root when bytes are relayed
    (`/chat/completions` behind `http://host/v1`). `decode` raises `BadRequest` and its kin. `check` finds what the
    client must be told before anything is sent: it raises `UnsupportedCapability` where the card says that the model
    cannot do it (an unknown capability set lets everything pass). `encoder` is `None` where the route never streams.
    `not_found` says an unknown model in the route's own words; it raises `BadRequest` for what is no name at all.
    `own_mark`: bytes that stand in every request with something that only arriero can read, which no backend of the
    same dialect may get. `render` is for requests that bring a prompt template along: told whether the backend speaks
    the dialect, it gives a function that makes plain text on a day (`YYYY-MM-DD`) and may take long, else `None`.
    """

    operation: Operation
    path: str
    relay_path: str
    decode: Callable[[bytes], Request]
    encode: Callable[[WholeAnswer, AnswerContext, int], bytes]
    encoder: Callable[[AnswerContext], Encoder] | None
    check: Callable[[Request, ModelCard], None]
    stream_default: bool
    whole_type: bytes = b"application/json"
    stream_type: bytes = b"application/json"
    not_found: Callable[[str], ModelNotFound] = ModelNotFound
    own_mark: bytes = b""
    render: Callable[[Request, bool], Callable[[str], Request] | None] | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """How to ask one kind of canonical request of a backend that speaks this dialect.

    `encode` raises `UnsupportedContent` for content the wire cannot hold. `decode` reads a whole answer and raises
    `BackendBroken` (or the error that the body reports). `decoder` is `None` where the operation never streams.
    Both are told whose answer it is: an error in it is worded as that vendor's.
    """

    encode: Callable[[Request, Target], Outbound]
    decode: Callable[[bytes, Profile], WholeAnswer]
    decoder: Callable[[Profile], Decoder] | None


class ErrorAnswer(Struct, frozen=True):
    """An error as the clients of a dialect read it."""

    status: int
    content_type: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire format of an API, serving clients and driving backends.

    `write_error(error, streaming)` makes an error answer (`streaming`: the client had asked for a stream, which changes
    Ollama's content type). `write_stream_error(error)` is the form of an error after the first byte.
    `read_error(status, body, profile)` turns a backend's error answer into the tree, in the vendor's name and with its
    stable word. `folds_case`: its readers take a key for the same in any letter case. `shortens`: a prompt that
    is too long for the model loses its oldest part, unless the client forbade it.
    """

    name: str
    endpoints: Sequence[Endpoint]
    drivers: Mapping[type[Request], Driver]
    write_error: Callable[[ArrieroError, bool], ErrorAnswer]
    write_stream_error: Callable[[ArrieroError], bytes]
    read_error: Callable[[int, bytes, Profile], BackendError]
    folds_case: bool = False
    shortens: bool = False
    by_path: Mapping[str, Endpoint] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_path", {endpoint.path: endpoint for endpoint in self.endpoints})

    def driver(self, request: Request) -> Driver | None:
        """The driver for a request's kind, if this dialect has one."""
        return self.drivers.get(type(request))


__all__ = [
    "AnswerContext",
    "ChatRequest",
    "CompletionRequest",
    "Decoder",
    "Dialect",
    "Driver",
    "EmbedRequest",
    "Encoder",
    "Endpoint",
    "ErrorAnswer",
    "Operation",
    "Outbound",
    "Raw",
    "Target",
    "Times",
    "WholeAnswer",
]
