"""`<think>` tags in the text to thinking: for backends that leave a model's reasoning in its answer.

Only the very start of an answer is looked at: a tag further on is text that the model wanted to write. The opening tag
may be missing where the prompt's template already ended with it; only the operator can know that (`inside=True`).
White space around the tags belongs to neither part.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

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
from arriero.canonical.requests import Text, ToolCall
from arriero.canonical.stream import Bracketer

OPEN, CLOSE = "<think>", "</think>"


class _Place(Enum):
    START = "start"  # nothing but white space and perhaps a piece of the opening tag has come
    AFTER_OPEN = "after open"  # white space before the thinking is not part of it
    INSIDE = "inside"  # between the tags
    AFTER_CLOSE = "after close"  # white space before the answer is not part of it
    TEXT = "text"  # past the tags
    OWN = "own"  # there are no tags: the source's own events are the answer


class ThinkTagging(Struct, frozen=True):
    """What is done about tags in an answer, before there is one. `inside`: the prompt ended with the opening tag."""

    inside: bool = False

    def touches(self, answer: Answer) -> bool:
        """Whether a whole answer may change on its way through: nearly none does."""
        return self.inside or any(isinstance(part, Text) and OPEN in part.text for part in answer.parts)

    def filter(self) -> "ThinkTags":
        """A filter for one answer."""
        return ThinkTags(inside=self.inside)


class ThinkTags:
    """Events to events. Text that may still become a tag is held back: at most white space and the length of a tag.

    The events of an answer without tags are passed on as they came.
    """

    __slots__ = ("_bracketer", "_events", "_held", "_inside", "_logprobs", "_place")

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._place = _Place.START
        self._events: list[Event] = []  # at the start: what the source said so far, in case it said no tag
        self._held = ""
        self._logprobs: list[TokenLogprob] = []
        self._bracketer = Bracketer()

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events to go on with."""
        if self._place is _Place.OWN:
            return events
        out: list[Event] = []
        for event in events:
            self._step(out, event)
        return out

    def _step(self, out: list[Event], event: Event) -> None:
        if self._place is _Place.OWN:
            out.append(event)
        elif self._place is _Place.START:
            self._start(out, event)
        else:
            self._go_on(out, event)

    # ---- at the start ----------------------------------------------------------------------------------------------

    def _start(self, out: list[Event], event: Event) -> None:
        match event:
            case Started():
                self._bracketer.start(out, event.id, event.model)
            case PartStarted(kind=Kind.TEXT):
                self._events.append(event)
            case PartDelta(kind=Kind.TEXT):
                self._events.append(event)
                self._held += event.text
                self._logprobs += event.logprobs
                lead = self._held.lstrip()
                if lead.startswith(OPEN):
                    self._enter(out, lead[len(OPEN) :])
                elif not OPEN.startswith(lead):
                    if self._inside:
                        self._enter(out, lead)
                    else:
                        self._own(out)
            case _:
                # A part of another kind, or an end: what follows is not the very start.
                self._own(out)
                out.append(event)

    def _own(self, out: list[Event]) -> None:
        out += self._events
        self._events.clear()
        self._place = _Place.OWN

    def _enter(self, out: list[Event], text: str) -> None:
        self._events.clear()
        self._held = ""
        self._place = _Place.AFTER_OPEN
        self._text(out, text)

    # ---- behind an opening tag -------------------------------------------------------------------------------------

    def _go_on(self, out: list[Event], event: Event) -> None:
        match event:
            case Started() | PartStarted():
                pass  # the brackets are made here
            case PartDelta(kind=Kind.TEXT):
                self._logprobs += event.logprobs
                self._text(out, event.text)
            case PartDelta(kind=Kind.THINKING):
                # The backend marks its thinking itself: tags in its text are text.
                self._release(out)
                self._place = _Place.TEXT
                self._bracketer.piece(out, Kind.THINKING, event.text, event.logprobs)
            case PartDelta():
                pass  # a call's arguments: the part's end brings them whole
            case PartEnded(part):
                if isinstance(part, ToolCall):
                    self._release(out)
                    self._bracketer.call(out, part)
            case Finished():
                self._release(out)
                self._bracketer.finish(out, event)
            case Failed():
                self._release(out)
                self._bracketer.fail(out, event)

    def _text(self, out: list[Event], text: str) -> None:
        text = self._held + text
        self._held = ""
        if self._place is _Place.AFTER_OPEN and (text := text.lstrip()):
            self._place = _Place.INSIDE
        if self._place is _Place.INSIDE:
            thinking, tag, rest = text.partition(CLOSE)
            if not tag:
                # White space at the end may stand before the closing tag.
                keep = _overlap(thinking, CLOSE)
                said = thinking[: len(thinking) - keep].rstrip()
                self._held = thinking[len(said) :]
                self._piece(out, Kind.THINKING, said)
                return
            self._piece(out, Kind.THINKING, thinking.rstrip())
            self._place, text = _Place.AFTER_CLOSE, rest
        if self._place is _Place.AFTER_CLOSE and (text := text.lstrip()):
            self._place = _Place.TEXT
        if self._place is _Place.TEXT:
            self._piece(out, Kind.TEXT, text)

    def _piece(self, out: list[Event], kind: Kind, text: str) -> None:
        if text:
            logprobs, self._logprobs = tuple(self._logprobs), []
            self._bracketer.piece(out, kind, text, logprobs)

    def _release(self, out: list[Event]) -> None:
        """What was held back for a closing tag that did not come is thinking."""
        held, self._held = self._held, ""
        self._piece(out, Kind.THINKING, held)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
