"""Streamed answers: one JSON object a line, `application/x-ndjson`.

A piece of text is one frame at once. Tool calls stand in frames of their own before the final one, which is where
clients that look only at unfinished frames find them; /api/generate has no calls in its requests and shows stray ones
at the end. An error is one last line, and nothing comes after it.
"""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from msgspec import Struct

from arriero.canonical.events import Event, Failed, Finished, Kind, PartDelta, PartEnded, PartStarted, Started
from arriero.canonical.requests import ChatRequest, Request, Text, Thinking, ToolCall
from arriero.dialects.base import AnswerContext, Encoder
from arriero.dialects.ollama.frames import (
    DONE_REASONS,
    WITHOUT_METRICS,
    BadArguments,
    Measured,
    Stamp,
    call_json,
    logprobs_json,
    metrics,
    wants_thinking,
)
from arriero.dialects.ollama.memory import remembered
from arriero.wire.jsontext import json_string

_encode = msgspec.json.encode


class Layout(Struct, frozen=True):
    """The constant bytes of an endpoint's frames, from behind the time stamp to the end of the line."""

    text: bytes
    thinking: bytes
    end: bytes
    calls: bytes | None
    last: bytes


CHAT = Layout(
    text=b'","message":{"role":"assistant","content":',
    thinking=b'","message":{"role":"assistant","content":"","thinking":',
    end=b'},"done":false',
    calls=b'","message":{"role":"assistant","content":"","tool_calls":[%b]},"done":false}\n',
    last=b'","message":{"role":"assistant","content":""},"done":true,"done_reason":"%b"',
)
GENERATE = Layout(
    text=b'","response":',
    thinking=b'","response":"","thinking":',
    end=b',"done":false',
    calls=None,
    last=b'","response":"","done":true,"done_reason":"%b"',
)


def error_line(message: str) -> bytes:
    """An error inside a stream."""
    return b'{"error":%b}\n' % json_string(message)


class NdjsonEncoder:
    """Events to frames of one endpoint."""

    __slots__ = (
        "_calls",
        "_context",
        "_end",
        "_first_ns",
        "_head",
        "_hides_thinking",
        "_last_ns",
        "_layout",
        "_logprobs",
        "_over",
        "_pieces",
        "_said",
        "_stamp",
        "_top",
    )

    def __init__(self, context: AnswerContext, layout: Layout) -> None:
        self._context = context
        self._layout = layout
        self._head = b'{"model":%b,"created_at":"' % json_string(context.model)
        self._end = layout.end + b"}\n"
        self._stamp = Stamp()
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._pieces = 0
        self._calls: list[bytes] = []
        self._said: list[str] = []
        self._over = False
        self._hides_thinking = not wants_thinking(context)
        request = context.request
        self._logprobs = bool(getattr(request, "logprobs", False))
        self._top: int | None = getattr(request, "top_logprobs", None)

    def feed(self, events: Sequence[Event], now_ns: int) -> bytes:
        """The frames for `events`."""
        if self._over:
            return b""
        head = self._head + self._stamp.text(now_ns)
        out: list[bytes] = []
        for event in events:
            if type(event) is not PartDelta:
                self._rare(event, head, now_ns, out)
                if self._over:
                    break
                continue
            # The hot path: a piece of text is three constants and a string.
            if self._first_ns is None:
                self._first_ns = now_ns
            self._last_ns = now_ns
            self._pieces += 1
            kind, text = event.kind, event.text
            if kind is Kind.TEXT:
                start = self._layout.text
            elif kind is Kind.TOOL_CALL:
                # A call is shown whole, when it has ended; what its pieces leave is their logprobs.
                start, text = self._layout.text, ""
            elif self._hides_thinking:
                continue
            else:
                start = self._layout.thinking
            if event.logprobs and self._logprobs:
                shown = logprobs_json(event.logprobs, self._top)
                out += (head, start, json_string(text), self._layout.end, shown, b"}\n")
            elif text:
                out += (head, start, _encode(text) if text.isascii() else json_string(text), self._end)
        return b"".join(out)

    def _rare(self, event: Event, head: bytes, now_ns: int, out: list[bytes]) -> None:
        match event:
            case PartEnded(ToolCall() as call):
                try:
                    shown = call_json(call, len(self._calls), self._context.id)
                except BadArguments as error:
                    self._over = True
                    out.append(error_line(str(error)))
                    return
                self._calls.append(shown)
                if self._layout.calls is not None:
                    out += (head, self._layout.calls % shown)
            case Finished():
                self._over = True
                out += (head, self._layout.last % DONE_REASONS[event.reason], self._final(event, now_ns))
            case Failed(message):
                self._over = True
                out.append(error_line(message))
            case PartEnded(Text(text)):
                self._said.append(text)
            case Started() | PartStarted() | PartDelta() | PartEnded(Thinking()):
                pass
            case PartEnded():
                raise AssertionError(event)
            case _:
                assert_never(event)

    def _final(self, finished: Finished, now_ns: int) -> bytes:
        context = self._context
        measured = Measured(self._pieces, self._first_ns, self._last_ns)
        counted = metrics(finished, context.times, context.request, measured, now_ns)
        if self._layout.calls is not None:
            return counted + b"}\n"
        return generate_end(finished, context, "".join(self._said), counted, self._calls) + b"}\n"


def generate_end(
    finished: Finished, context: AnswerContext, said: str, counted: bytes, calls: Sequence[bytes]
) -> bytes:
    """What stands behind `done_reason` in a final object of /api/generate: memory, metrics, stray calls."""
    numbers = _memory(finished, context.request, said)
    memory = b',"context":%b' % _encode(numbers) if numbers is not None else b""
    stray = b',"tool_calls":[%b]' % b",".join(calls) if calls else b""
    return memory + counted + stray


def _memory(finished: Finished, request: Request, said: str) -> tuple[int, ...] | None:
    """The backend's own memory of the conversation, else one that is made here: never of raw text, nor of a load."""
    if not isinstance(request, ChatRequest):
        return None
    if finished.context is not None:
        return finished.context
    return remembered(request.messages, said) if finished.reason not in WITHOUT_METRICS else None


def chat_encoder(context: AnswerContext) -> Encoder:
    """The stream of /api/chat."""
    return NdjsonEncoder(context, CHAT)


def generate_encoder(context: AnswerContext) -> Encoder:
    """The stream of /api/generate."""
    return NdjsonEncoder(context, GENERATE)
