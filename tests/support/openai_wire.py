"""The stream of an OpenAI-compatible server piece by piece, and the events that its pieces make."""

import json
from typing import Any

from arriero.canonical.events import Event, Finished, Kind, PartDelta, PartEnded, PartStarted, Reason
from arriero.canonical.requests import Text, Thinking, ToolCall
from arriero.canonical.stream import State, advance
from arriero.dialects.openai.stream import StreamDecoder

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def end(reason: str | None = "stop") -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def call(arguments: Any = None, index: int | None = None, id: str | None = None, name: str | None = None) -> bytes:
    """One chunk with one piece of a tool call; only what is given is there."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece: dict[str, Any] = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return delta(tool_calls=[piece | {"function": function}])


def decode(data: bytes, size: int | None = None) -> list[Event]:
    """All the events of a body that came in pieces of `size` bytes; their order is checked on the way."""
    decoder = StreamDecoder()
    events: list[Event] = []
    for at in range(0, len(data), size or len(data) or 1):
        events += decoder.feed(data[at : at + (size or len(data))])
    events += decoder.close()
    state = State.BEFORE
    for each in events:
        state = advance(state, each)
    assert state is State.OVER
    return events


def text(*pieces: str) -> list[Event]:
    return [
        PartStarted(Kind.TEXT),
        *(PartDelta(Kind.TEXT, piece) for piece in pieces),
        PartEnded(Text("".join(pieces))),
    ]


def thinking(*pieces: str) -> list[Event]:
    return [
        PartStarted(Kind.THINKING),
        *(PartDelta(Kind.THINKING, piece) for piece in pieces),
        PartEnded(Thinking("".join(pieces))),
    ]


def called(name: str, arguments: str, id: str | None = None) -> list[Event]:
    return [
        PartStarted(Kind.TOOL_CALL, id, name),
        PartDelta(Kind.TOOL_CALL, arguments),
        PartEnded(ToolCall(name, arguments, id)),
    ]


STOP = Finished(Reason.STOP)
CALLS = Finished(Reason.TOOL_CALLS)
HI = delta(content="Hi")
