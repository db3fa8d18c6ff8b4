"""From a backend's bytes to a client's: relayed, transcoded, or gathered. Pure but for the bytes they hold.

A pipe is fed what the socket gave and returns what may be written at once. `close` is called when the body has ended.
Both raise `ArrieroError` where the answer turns out to be an error before anything was said; once something was said,
errors come out as bytes in the client's dialect and `failed` holds them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from arriero.canonical.events import Answer, Event, Failed, Finished, PartDelta, Started, Usage
from arriero.canonical.stream import Folder, unfold
from arriero.dialects.backend_errors import error_of
from arriero.dialects.base import AnswerContext, Decoder, Driver, Encoder, Endpoint
from arriero.dialects.quirks import Profile
from arriero.errors import ArrieroError, BackendBroken, BackendError
from arriero.gateway.ending import check_end, told_error
from arriero.gateway.usage import HEAD_BYTES, PIECES, read
from arriero.wire.jsontext import json_forms

Hide: TypeAlias = Callable[[str], str]
"""A text without the secrets that may stand in it: a backend may repeat what it was sent in the error it reports."""


class EventFilter(Protocol):
    """Events to events, for one answer."""

    def feed(self, events: Sequence[Event]) -> Sequence[Event]: ...


class Filtering(Protocol):
    """What makes a filter for each answer that needs one."""

    def touches(self, answer: Answer) -> bool:
        """Whether a whole answer may change on its way through."""
        ...

    def filter(self) -> EventFilter: ...


class Pipe(Protocol):
    """See the module."""

    failed: ArrieroError | None
    over: bool  # everything was said, though the body may go on
    usage: Usage | None

    def feed(self, data: bytes, now_ns: int) -> bytes: ...

    def close(self, now_ns: int) -> bytes: ...


MAX_WHOLE_BYTES = 512 * 1024 * 1024
"""An answer that has to be held and is longer than this is none. Vectors and sounds are long; nothing is this long."""


HELD_BYTES = 1024 * 1024
"""So much of a relayed whole answer is held until its end."""


class Relay:
    """Bytes as they are: `feed(x) is x`. At the end they are asked for the tokens they tell of.

    An answer that is `checked` may not be empty, nor stop before its end. A `whole` answer is no stream, and half of it
    is of no use to anybody: it is held, up to a size, until it is complete. If its backend dies meanwhile, another one
    can still be asked.
    """

    __slots__ = ("_first", "_held", "_last", "_size", "checked", "failed", "over", "usage")

    def __init__(self, *, checked: bool = True, whole: bool = False) -> None:
        self.checked = checked
        self._first = b""
        self._last: deque[bytes] = deque(maxlen=PIECES)
        self._held: list[bytes] | None = [] if whole else None
        self._size = 0
        self.failed: ArrieroError | None = None
        self.over = False
        self.usage: Usage | None = None

    def feed(self, data: bytes, now_ns: int) -> bytes:
        self._last.append(data)
        if not self._first:
            self._first = data[:HEAD_BYTES]
        held = self._held
        if held is None:
            return data
        held.append(data)
        self._size += len(data)
        if self._size <= HELD_BYTES:
            return b""
        self._held = None
        return b"".join(held)

    def close(self, now_ns: int) -> bytes:
        if self.checked:
            check_end(self._last, all_there=len(self._last) < PIECES)
            self.failed = told_error(self._last)
        self.usage = read(self._first, self._last)
        held = self._held
        return b"".join(held) if held else b""


class Renamed:
    """Bytes as they are but for the model's name, which becomes again what the client typed.

    The name stands once in each message, as a member of its outermost object and near its beginning; inside of strings
    a quote is escaped, so the pattern cannot be met there. A message is handed on when its line is complete.
    """

    __slots__ = ("_first", "_last", "_patterns", "_rest", "failed", "over", "usage")

    def __init__(self, there: str, typed: str) -> None:
        name, wanted = json_forms(there), json_forms(typed)[0]
        self._patterns = tuple((key + form, key + wanted) for form in name for key in (b'"model":', b'"model": '))
        self._rest = b""
        self._first = b""
        self._last: deque[bytes] = deque(maxlen=PIECES)
        self.failed: ArrieroError | None = None
        self.over = False
        self.usage: Usage | None = None

    def feed(self, data: bytes, now_ns: int) -> bytes:
        self._last.append(data)
        if not self._first:
            self._first = data[:HEAD_BYTES]
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        _check_length(len(self._rest))
        return b"".join(map(self._renamed, data[:cut].splitlines(keepends=True))) if cut else b""

    def close(self, now_ns: int) -> bytes:
        check_end(self._last, all_there=len(self._last) < PIECES)
        self.failed = told_error(self._last)
        self.usage = read(self._first, self._last)
        rest, self._rest = self._rest, b""
        return self._renamed(rest)

    def _renamed(self, line: bytes) -> bytes:
        for pattern, wanted in self._patterns:
            if pattern in line:
                return line.replace(pattern, wanted, 1)
        return line


class Transcode:
    """A stream decoded into events and encoded into the client's dialect; each read becomes at most one write."""

    __slots__ = ("_decoder", "_encoder", "_filters", "_hide", "_said", "failed", "over", "usage")

    def __init__(self, decoder: Decoder, filters: Sequence[Filtering], encoder: Encoder, hide: Hide) -> None:
        self._hide = hide
        self._decoder = decoder
        self._filters = [filtering.filter() for filtering in filters]
        self._encoder = encoder
        self._said = False
        self.failed: ArrieroError | None = None
        self.over = False
        self.usage: Usage | None = None

    def feed(self, data: bytes, now_ns: int) -> bytes:
        return self._pass(self._decoder.feed(data), now_ns)

    def close(self, now_ns: int) -> bytes:
        return self._pass(self._decoder.close(), now_ns)

    def _pass(self, events: Sequence[Event], now_ns: int) -> bytes:
        for filter in self._filters:
            events = filter.feed(events)
        if not events:
            return b""
        last = events[-1]
        if type(last) is PartDelta:
            pass  # as nearly always
        elif isinstance(last, Failed):
            last = replace(last, message=self._hide(last.message))
            events = (*events[:-1], last)
            self.failed = error_of(last)
            if not self._said and all(isinstance(event, Started | Failed) for event in events):
                raise self.failed
            self.over = True
        elif isinstance(last, Finished):
            self.usage = last.usage
            self.over = True
        out = self._encoder.feed(events, now_ns)
        self._said = self._said or bool(out)
        return out


class Gather:
    """A whole body, decoded at its end and encoded as a whole, or as a stream where the client asked for one."""

    __slots__ = (
        "_context",
        "_driver",
        "_endpoint",
        "_filters",
        "_hide",
        "_pieces",
        "_profile",
        "_size",
        "_stream",
        "failed",
        "over",
        "usage",
    )

    def __init__(
        self,
        driver: Driver,
        endpoint: Endpoint,
        context: AnswerContext,
        filters: Sequence[Filtering],
        hide: Hide,
        *,
        profile: Profile,
        stream: bool,
    ) -> None:
        self._hide = hide
        self._driver = driver
        self._profile = profile
        self._endpoint = endpoint
        self._context = context
        self._filters = filters
        self._stream = stream
        self._pieces: list[bytes] = []
        self._size = 0
        self.failed: ArrieroError | None = None
        self.over = False
        self.usage: Usage | None = None

    def feed(self, data: bytes, now_ns: int) -> bytes:
        self._pieces.append(data)
        self._size += len(data)
        _check_length(self._size)
        return b""

    def close(self, now_ns: int) -> bytes:
        try:
            whole = self._driver.decode(b"".join(self._pieces), self._profile)
        except BackendError as error:
            error.message = self._hide(error.message)
            error.args = (error.message,)
            raise
        if not isinstance(whole, Answer):
            raise BackendBroken("the backend gave vectors where an answer was asked for")
        whole = _filtered(whole, self._filters)
        self.usage = whole.finished.usage
        if self._stream and self._endpoint.encoder is not None:
            return self._endpoint.encoder(self._context).feed(unfold(whole), now_ns)
        return self._endpoint.encode(whole, self._context, now_ns)


class Fold:
    """A stream gathered into one whole answer, for a client that did not ask for a stream of a backend that streams."""

    __slots__ = ("_context", "_decoder", "_endpoint", "_filters", "_folder", "_hide", "failed", "over", "usage")

    def __init__(
        self, decoder: Decoder, endpoint: Endpoint, context: AnswerContext, filters: Sequence[Filtering], hide: Hide
    ) -> None:
        self._hide = hide
        self._decoder = decoder
        self._endpoint = endpoint
        self._context = context
        self._filters = [filtering.filter() for filtering in filters]
        self._folder = Folder()
        self.failed: ArrieroError | None = None
        self.over = False
        self.usage: Usage | None = None

    def feed(self, data: bytes, now_ns: int) -> bytes:
        return self._take(self._decoder.feed(data))

    def close(self, now_ns: int) -> bytes:
        self._take(self._decoder.close())
        answer = self._folder.answer
        if answer is None:
            raise BackendBroken("the backend's answer ended before it was complete")
        self.usage = answer.finished.usage
        return self._endpoint.encode(answer, self._context, now_ns)

    def _take(self, events: Sequence[Event]) -> bytes:
        for filter in self._filters:
            events = filter.feed(events)
        self._folder.feed(events)
        failed = self._folder.failed
        if failed is not None:
            raise error_of(replace(failed, message=self._hide(failed.message)))
        return b""


def _check_length(size: int) -> None:
    if size > MAX_WHOLE_BYTES:
        raise BackendBroken(f"the backend's answer goes on past {MAX_WHOLE_BYTES} bytes")


def _filtered(whole: Answer, filters: Sequence[Filtering]) -> Answer:
    for filtering in filters:
        if filtering.touches(whole):
            folder = Folder()
            folder.feed(filtering.filter().feed(unfold(whole)))
            whole = folder.answer or whole
    return whole
