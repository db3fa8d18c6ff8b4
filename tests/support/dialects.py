"""The dialects under the laws, and streams of each: recorded ones, and those rewritten from recorded ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from arriero.canonical.events import Event
from arriero.canonical.requests import Request
from arriero.canonical.stream import State, advance
from arriero.dialects import ollama, openai
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import AnswerContext, Decoder, Dialect, Driver, Endpoint, Times
from arriero.wire.splice import splice
from support.recordings import Recording, select

DIALECTS: tuple[Dialect, ...] = (ollama.DIALECT, openai.DIALECT)
NOW_NS = 1_795_164_672_123_456_789
"""A moment for everything that takes the time as an argument: 20 November 2026."""

ENDPOINTS = [(dialect, endpoint) for dialect in DIALECTS for endpoint in dialect.endpoints]
STREAMED = [(dialect, endpoint) for dialect, endpoint in ENDPOINTS if endpoint.encoder is not None]

SAMPLES = {
    "/api/chat": b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    "/api/generate": b'{"model":"m","prompt":"hi"}',
    "/api/embed": b'{"model":"m","input":["hi"]}',
    "/api/embeddings": b'{"model":"m","prompt":"hi"}',
    "/v1/chat/completions": (
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}'
    ),
    "/v1/completions": b'{"model":"m","prompt":"hi","stream":true,"stream_options":{"include_usage":true}}',
    "/v1/embeddings": b'{"model":"m","input":["hi"]}',
}
"""A plain request for each route."""


def name(pair: tuple[Dialect, Endpoint]) -> str:
    """The id of a parametrized test over `ENDPOINTS`."""
    return pair[1].path


def sample(endpoint: Endpoint) -> Request:
    """A plain request of this route."""
    return endpoint.decode(SAMPLES[endpoint.path])


def context(request: Request) -> AnswerContext:
    """What an encoder is told; the client's model name is not ASCII, and the exchange took two milliseconds so far."""
    return AnswerContext("mañana:latest", request, Times(NOW_NS - 2_000_000, NOW_NS - 1_000_000), "0123456789abcdef")


def driver_of(dialect: Dialect, request: Request) -> Driver:
    """The driver for a request, which every dialect under the laws has."""
    driver = dialect.driver(request)
    assert driver is not None
    return driver


def decoder_of(driver: Driver) -> Decoder:
    """A new decoder of a driver that streams."""
    assert driver.decoder is not None
    return driver.decoder(NOBODY)


def decode(driver: Driver, pieces: Iterable[bytes]) -> list[Event]:
    """All events of a body that arrives in these pieces."""
    decoder = decoder_of(driver)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def encode(endpoint: Endpoint, request: Request, events: Sequence[Event]) -> bytes:
    """The streamed answer that a client of this route reads, with the events fed one by one."""
    assert endpoint.encoder is not None
    encoder = endpoint.encoder(context(request))
    return b"".join([encoder.feed([event], NOW_NS + at * 1_000_000) for at, event in enumerate(events)])


def end_state(events: Iterable[Event]) -> State:
    """Where a stream stands after `events`; raises `OutOfOrder`."""
    state = State.BEFORE
    for event in events:
        state = advance(state, event)
    return state


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at these places (counted round and round, so that any integer is one)."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@dataclass(frozen=True, slots=True, repr=False)
class Stream:
    """A streamed answer on the wire of `dialect`, and the request that it answers."""

    dialect: Dialect
    request: Request
    body: bytes
    recording: Recording

    @property
    def driver(self) -> Driver:
        """The driver that reads it."""
        return driver_of(self.dialect, self.request)

    def events(self) -> list[Event]:
        """The events, read in one piece."""
        return decode(self.driver, [self.body])

    def __repr__(self) -> str:
        return f"{self.dialect.name}-{self.recording.name}"


_RECORDED = {
    "/v1/chat/completions": openai.DIALECT.by_path["/v1/chat/completions"],
    "/v1/completions": openai.DIALECT.by_path["/v1/completions"],
}
_REWRITTEN = {
    "/v1/chat/completions": ollama.DIALECT.by_path["/api/chat"],
    "/v1/completions": ollama.DIALECT.by_path["/api/generate"],
}


@cache
def streams() -> tuple[Stream, ...]:
    """Every recorded stream, and each of them again as an Ollama server would have written it."""
    found: list[Stream] = []
    for target, endpoint in _RECORDED.items():
        for recording in select(target, streamed=True):
            # llama.cpp's server needs no model; a gateway's clients always name one.
            request = endpoint.decode(splice(recording.request.body, {"model": b'"m"'}))
            recorded = Stream(openai.DIALECT, request, recording.response.body, recording)
            rewritten = encode(_REWRITTEN[target], request, recorded.events())
            found += [recorded, Stream(ollama.DIALECT, request, rewritten, recording)]
    return tuple(found)
