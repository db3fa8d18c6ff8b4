"""The law of the event order, and what follows from it: the bracketer, fold and unfold.

Started  (PartStarted PartDelta* PartEnded)*  Finished | Failed
"""

from collections.abc import Iterable
from enum import Enum

from arriero.canonical.events import (
    Answer,
    Event,
    Failed,
    Finished,
    Kind,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    TokenLogprob,
)
from arriero.canonical.requests import Text, Thinking, ToolCall


class State(Enum):
    """Where a stream stands."""

    BEFORE = "before"
    BETWEEN = "between"
    INSIDE = "inside"
    OVER = "over"


ORDER: dict[tuple[State, type[Event]], State] = {
    (State.BEFORE, Started): State.BETWEEN,
    (State.BEFORE, Failed): State.OVER,
    (State.BETWEEN, PartStarted): State.INSIDE,
    (State.BETWEEN, Finished): State.OVER,
    (State.BETWEEN, Failed): State.OVER,
    (State.INSIDE, PartDelta): State.INSIDE,
    (State.INSIDE, PartEnded): State.BETWEEN,
    (State.INSIDE, Failed): State.OVER,
}
"""Every step that is allowed. A decoder whose events leave this table is wrong."""


class OutOfOrder(ValueError):
    """An event stands where the table has no place for it."""


def advance(state: State, event: Event) -> State:
    """The state after `event`; raises `OutOfOrder`."""
    try:
        return ORDER[state, type(event)]
    except KeyError:
        raise OutOfOrder(f"{type(event).__name__} while {state.value}") from None


_PART = {Kind.TEXT: Text, Kind.THINKING: Thinking}


class Bracketer:
    """Puts the brackets around parts for wires that have none: text and thinking arrive in pieces, calls whole.

    Every method appends to `out` and may be called in any order between `start` and `finish`; `start` is implied by the
    first of them. Empty pieces without logprobs make no event.
    """

    __slots__ = ("_kind", "_pieces", "started")

    def __init__(self) -> None:
        self.started = False
        self._kind: Kind | None = None
        self._pieces: list[str] = []

    def start(self, out: list[Event], id: str | None = None, model: str | None = None) -> None:
        """The backend has begun; only the first call counts."""
        if not self.started:
            self.started = True
            out.append(Started(id, model))

    def piece(self, out: list[Event], kind: Kind, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """A piece of text or thinking; opens a part, and closes one of another kind."""
        if not text and not logprobs:
            return
        if kind is not self._kind:
            self.start(out)
            self._end(out)
            self._kind = kind
            out.append(PartStarted(kind))
        self._pieces.append(text)
        out.append(PartDelta(kind, text, logprobs))

    def call(self, out: list[Event], call: ToolCall) -> None:
        """A whole tool call."""
        self.start(out)
        self._end(out)
        out.append(PartStarted(Kind.TOOL_CALL, call.id, call.name))
        out.append(PartDelta(Kind.TOOL_CALL, call.arguments))
        out.append(PartEnded(call))

    def finish(self, out: list[Event], finished: Finished) -> None:
        """The answer is complete."""
        self.start(out)
        self._end(out)
        out.append(finished)

    def fail(self, out: list[Event], failed: Failed) -> None:
        """The answer ends in an error; an open part stays open."""
        out.append(failed)

    def _end(self, out: list[Event]) -> None:
        if self._kind is not None:
            out.append(PartEnded(_PART[self._kind]("".join(self._pieces))))
            self._kind = None
            self._pieces = []


class Folder:
    """Gathers a stream into the whole answer that the same backend would have given unstreamed."""

    __slots__ = ("_finished", "_logprobs", "_parts", "_started", "failed")

    def __init__(self) -> None:
        self._started = Started()
        self._parts: list[Text | Thinking | ToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._finished: Finished | None = None
        self.failed: Failed | None = None

    def feed(self, events: Iterable[Event]) -> None:
        """Take more of the stream."""
        for event in events:
            match event:
                case PartDelta(_, _, logprobs):
                    self._logprobs.extend(logprobs)
                case PartEnded(part):
                    self._parts.append(part)
                case Started():
                    self._started = event
                case Finished():
                    self._finished = event
                case Failed():
                    self.failed = event
                case PartStarted():
                    pass

    @property
    def answer(self) -> Answer | None:
        """The whole answer, once the stream has finished and not failed."""
        if self._finished is None or self.failed is not None:
            return None
        return Answer(tuple(self._parts), self._finished, self._started, tuple(self._logprobs))


def fold(events: Iterable[Event]) -> Answer:
    """The whole answer of a complete stream. Raises `OutOfOrder` for one that failed or did not finish."""
    folder = Folder()
    folder.feed(events)
    if folder.answer is None:
        raise OutOfOrder("the stream did not finish")
    return folder.answer


def unfold(answer: Answer) -> list[Event]:
    """The stream that folds into `answer`: one delta a part.

    All logprobs travel with the first text, or with the first part where there is no text.
    """
    out: list[Event] = [answer.started]
    bearer = next((part for part in answer.parts if isinstance(part, Text)), next(iter(answer.parts), None))
    for part in answer.parts:
        logprobs = answer.logprobs if part is bearer else ()
        if part is bearer:
            bearer = None
        match part:
            case Text(text):
                out += [PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, text, logprobs)]
            case Thinking(text):
                out += [PartStarted(Kind.THINKING), PartDelta(Kind.THINKING, text, logprobs)]
            case ToolCall(name, arguments, id):
                out += [PartStarted(Kind.TOOL_CALL, id, name), PartDelta(Kind.TOOL_CALL, arguments, logprobs)]
        out.append(PartEnded(part))
    out.append(answer.finished)
    return out
