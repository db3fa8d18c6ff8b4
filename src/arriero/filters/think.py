"""`<think>` tags in the text to thinking: for backends that leave a model's reasoning in its answer.

Only the very start of an answer is looked at: a tag further on is text that the model wanted to write. The opening tag
may be missing where the prompt's template already ended with it; only the operator can know that (`inside=True`).
"""

from collections.abc import Sequence
from enum import Enum

from arriero.canonical.events import Event, Failed, Finished, Kind, PartDelta, PartEnded, PartStarted, Started
from arriero.canonical.requests import ToolCall
from arriero.canonical.stream import Bracketer

OPEN, CLOSE = "<think>", "</think>"


class _Place(Enum):
    START = "start"  # nothing but white space has come
    INSIDE = "inside"  # between the tags
    BEHIND = "behind"  # past the closing tag: white space before the answer is not part of it
    TEXT = "text"  # nothing to look for any more


class ThinkTags:
    """Events to events. Text that may still become a tag is held back: at most white space and the length of a tag."""

    __slots__ = ("_bracketer", "_held", "_open", "_place", "_untouched")

    def __init__(self, *, inside: bool = False) -> None:
        self._place = _Place.INSIDE if inside else _Place.START
        self._held = ""
        self._bracketer = Bracketer()
        self._open = False  # whether the source has a part open
        self._untouched = not inside

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events to go on with."""
        if self._place is _Place.TEXT and self._untouched and self._open:
            # No tag came: the brackets that were made so far are the source's own, and so may be the rest.
            return events
        out: list[Event] = []
        for event in events:
            match event:
                case Started():
                    self._bracketer.start(out, event.id, event.model)
                case PartStarted():
                    self._open = True
                case PartDelta(kind=Kind.TEXT):
                    self._text(out, event)
                case PartDelta(kind=Kind.THINKING):
                    # The backend marks its thinking itself: tags in its text are text.
                    self._release(out)
                    self._place = _Place.TEXT
                    self._bracketer.piece(out, Kind.THINKING, event.text, event.logprobs)
                case PartDelta():
                    pass  # a call's arguments: the part's end brings them whole
                case PartEnded(part):
                    self._open = False
                    if isinstance(part, ToolCall):
                        self._release(out)
                        self._untouched = False
                        self._bracketer.call(out, part)
                case Finished():
                    self._release(out)
                    self._bracketer.finish(out, event)
                case Failed():
                    self._release(out)
                    self._bracketer.fail(out, event)
        return out

    def _text(self, out: list[Event], delta: PartDelta) -> None:
        if self._place is _Place.TEXT:
            self._bracketer.piece(out, Kind.TEXT, delta.text, delta.logprobs)
            return
        text = self._held + delta.text
        self._held = ""
        if self._place is _Place.START:
            lead = text.lstrip()
            if lead.startswith(OPEN):
                self._place, self._untouched, text = _Place.INSIDE, False, lead[len(OPEN) :]
            elif OPEN.startswith(lead):
                self._held = text
                return
            else:
                self._place = _Place.TEXT
        if self._place is _Place.INSIDE:
            thinking, tag, rest = text.partition(CLOSE)
            if not tag:
                keep = _overlap(thinking, CLOSE)
                thinking, self._held = thinking[: len(thinking) - keep], thinking[len(thinking) - keep :]
            self._bracketer.piece(out, Kind.THINKING, thinking, delta.logprobs)
            if not tag:
                return
            self._place, text = _Place.BEHIND, rest
        if self._place is _Place.BEHIND:
            text = text.lstrip()
            if not text:
                return
            self._place = _Place.TEXT
        self._bracketer.piece(out, Kind.TEXT, text, delta.logprobs)

    def _release(self, out: list[Event]) -> None:
        """What was held back for a tag that did not come is what it looked like."""
        held, self._held = self._held, ""
        self._bracketer.piece(out, Kind.THINKING if self._place is _Place.INSIDE else Kind.TEXT, held)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
