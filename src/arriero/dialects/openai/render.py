"""Answering OpenAI's clients: canonical answers and events to the bodies and chunks of their API."""

import base64
import struct
from collections.abc import Sequence
from typing import Any, assert_never

from arriero.canonical.events import (
    Answer,
    Embeddings,
    Event,
    Failed,
    Finished,
    Kind,
    PartDelta,
    PartEnded,
    PartStarted,
    Reason,
    Started,
    TokenLogprob,
    Usage,
)
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Text, Thinking, ToolCall
from arriero.dialects.base import AnswerContext, WholeAnswer
from arriero.dialects.openai.errors import envelope
from arriero.wire.jsontext import json_string, json_text

_FINGERPRINT = "fp_ollama"
"""What an Ollama server calls itself here."""

REASONS = {
    Reason.STOP: "stop",
    Reason.LENGTH: "length",
    Reason.TOOL_CALLS: "tool_calls",
    Reason.CONTENT_FILTER: "content_filter",
    Reason.LOAD: "load",
    Reason.UNLOAD: "unload",
}

_Wire = dict[str, Any]


# ---- whole answers -------------------------------------------------------------------------------------------------


def encode_chat(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """A `chat.completion`. `content` is a string even beside calls, as an Ollama server writes it."""
    assert isinstance(answer, Answer)
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    message: _Wire = {
        "role": "assistant",
        "content": "".join(part.text for part in answer.parts if isinstance(part, Text)),
    }
    thinking = "".join(part.text for part in answer.parts if isinstance(part, Thinking))
    if thinking and not _hides_thinking(context):
        # Clients read one name or the other.
        message["reasoning"] = message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = [_call(call, place, context) for place, call in enumerate(calls)]
    choice: _Wire = {"index": 0, "message": message}
    if answer.logprobs:
        choice["logprobs"] = {"content": answer.logprobs}
    choice["finish_reason"] = _reason(answer.finished.reason, bool(calls))
    return _line(_whole("chatcmpl", "chat.completion", choice, answer, context, now_ns))


def encode_completion(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """A `text_completion`. Thinking has no place in it."""
    assert isinstance(answer, Answer)
    text = "".join(part.text for part in answer.parts if isinstance(part, Text))
    choice: _Wire = {"text": text, "index": 0}
    if answer.logprobs:
        choice["logprobs"] = _legacy(answer.logprobs, 0)
    choice["finish_reason"] = REASONS[answer.finished.reason]
    return _line(_whole("cmpl", "text_completion", choice, answer, context, now_ns))


def encode_embeddings(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """A list of `embedding` objects; base64 of little-endian float32 where the client asked for it."""
    assert isinstance(answer, Embeddings)
    wants_base64 = isinstance(context.request, EmbedRequest) and context.request.base64
    prompt = answer.usage.prompt_tokens or 0
    return _line(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": _packed(vector) if wants_base64 else vector, "index": index}
                for index, vector in enumerate(answer.vectors)
            ],
            "model": context.model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    )


def _line(body: _Wire) -> bytes:
    """A whole answer. It ends with a newline, as an Ollama server's does here."""
    return json_text(body) + b"\n"


def _whole(prefix: str, kind: str, choice: _Wire, answer: Answer, context: AnswerContext, now_ns: int) -> _Wire:
    body: _Wire = {
        "id": f"{prefix}-{context.id}",
        "object": kind,
        "created": now_ns // 1_000_000_000,
        "model": context.model,
        "system_fingerprint": _FINGERPRINT,
        "choices": [choice],
    }
    usage = usage_out(answer.finished.usage)
    if usage is not None:
        body["usage"] = usage
    return body


# ---- streams -------------------------------------------------------------------------------------------------------


class ChatEncoder:
    """Events to `chat.completion.chunk` events."""

    __slots__ = ("_calls", "_context", "_delta", "_head", "_hides_thinking")

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._hides_thinking = _hides_thinking(context)
        self._calls = 0
        self._head = b""  # everything up to `choices`, the same in every chunk
        self._delta = b""  # everything up to the first field of the delta

    def feed(self, events: Sequence[Event], now_ns: int) -> bytes:
        """The bytes for `events`, `b""` where they make none. `now_ns` is the wall clock."""
        out: list[bytes] = []
        for event in events:
            if event.__class__ is PartDelta:
                if event.kind is Kind.TEXT:
                    self._text(event, now_ns, out)
                elif event.kind is Kind.THINKING and not self._hides_thinking:
                    thinking = json_string(event.text)
                    # Clients read one name or the other.
                    fields = b'"content":"","reasoning":' + thinking + b',"reasoning_content":' + thinking
                    out.append(self._chunk(fields, now_ns))
                continue
            match event:
                case PartEnded(ToolCall() as call):
                    # Whole calls in one chunk, as an Ollama server sends them.
                    wire = json_text([_call(call, self._calls, self._context)])
                    self._calls += 1
                    out.append(self._chunk(b'"content":"","tool_calls":' + wire, now_ns))
                case Finished():
                    self._finish(event, now_ns, out)
                case Failed(message, status, _, type):
                    out.append(b"data: " + envelope(message, status, type) + b"\n\n")
                case Started() | PartStarted() | PartEnded() | PartDelta():
                    pass
                case _:
                    assert_never(event)
        return b"".join(out)

    def _text(self, event: PartDelta, now_ns: int, out: list[bytes]) -> None:
        tail = b""
        if event.logprobs:
            tail = b',"logprobs":' + json_text({"content": event.logprobs})
        out.append(self._chunk(b'"content":' + json_string(event.text), now_ns, tail))

    def _chunk(self, fields: bytes, now_ns: int, tail: bytes = b"") -> bytes:
        """A chunk with the fields of a delta. The first one carries the role as well."""
        delta = self._delta
        if not delta:
            self._head = _head("chatcmpl", "chat.completion.chunk", self._context, now_ns)
            self._delta = self._head + b'"choices":[{"index":0,"delta":{'
            delta = self._delta + b'"role":"assistant",'
        return delta + fields + b"}" + tail + b',"finish_reason":null}]}\n\n'

    def _finish(self, finished: Finished, now_ns: int, out: list[bytes]) -> None:
        if not self._delta:
            out.append(self._chunk(b'"content":""', now_ns))
        reason = _reason(finished.reason, self._calls > 0)
        out.append(self._delta + b'},"finish_reason":' + json_string(reason) + b"}]}\n\n")
        out.append(_usage_chunk(self._head, self._context, finished))
        out.append(b"data: [DONE]\n\n")


class CompletionEncoder:
    """Events to `text_completion` events."""

    __slots__ = ("_context", "_head", "_offset")

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._head = b""
        self._offset = 0

    def feed(self, events: Sequence[Event], now_ns: int) -> bytes:
        """The bytes for `events`, `b""` where they make none. `now_ns` is the wall clock."""
        out: list[bytes] = []
        for event in events:
            match event:
                case PartDelta(Kind.TEXT, text, logprobs):
                    choice: _Wire = {"text": text, "index": 0}
                    if logprobs:
                        choice["logprobs"] = _legacy(logprobs, self._offset)
                    self._offset += len(text)
                    choice["finish_reason"] = None
                    out.append(self._chunk(choice, now_ns))
                case Finished():
                    out.append(self._chunk({"text": "", "index": 0, "finish_reason": REASONS[event.reason]}, now_ns))
                    out.append(_usage_chunk(self._head, self._context, event))
                    out.append(b"data: [DONE]\n\n")
                case Failed(message, status, _, type):
                    out.append(b"data: " + envelope(message, status, type) + b"\n\n")
                case Started() | PartStarted() | PartEnded() | PartDelta():
                    pass
                case _:
                    assert_never(event)
        return b"".join(out)

    def _chunk(self, choice: _Wire, now_ns: int) -> bytes:
        if not self._head:
            self._head = _head("cmpl", "text_completion", self._context, now_ns)
        return self._head + b'"choices":' + json_text([choice]) + b"}\n\n"


# ---- the smaller values --------------------------------------------------------------------------------------------


def _head(prefix: str, kind: str, context: AnswerContext, now_ns: int) -> bytes:
    """An event up to its `choices`; all chunks of an answer share id and time."""
    fields = {
        "id": f"{prefix}-{context.id}",
        "object": kind,
        "created": now_ns // 1_000_000_000,
        "model": context.model,
        "system_fingerprint": _FINGERPRINT,
    }
    return b"data: " + json_text(fields)[:-1] + b","


def _usage_chunk(head: bytes, context: AnswerContext, finished: Finished) -> bytes:
    request = context.request
    if not isinstance(request, ChatRequest | CompletionRequest) or not request.include_usage:
        return b""
    usage = usage_out(finished.usage)
    if usage is None:
        # Nobody counted; an invented 0 would be believed.
        return b""
    return head + b'"choices":[],"usage":' + json_text(usage) + b"}\n\n"


def usage_out(usage: Usage) -> _Wire | None:
    """The counters, or `None` where nobody counted anything."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is None and completion is None:
        return None
    wire: _Wire = {
        "prompt_tokens": prompt or 0,
        "completion_tokens": completion or 0,
        "total_tokens": (prompt or 0) + (completion or 0),
    }
    if usage.cached_tokens is not None:
        wire["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return wire


def _hides_thinking(context: AnswerContext) -> bool:
    return isinstance(context.request, ChatRequest) and context.request.think is False


def _reason(reason: Reason, calls: bool) -> str:
    return "tool_calls" if calls and reason is Reason.STOP else REASONS[reason]


def _call(call: ToolCall, place: int, context: AnswerContext) -> _Wire:
    return {
        "id": call.id or f"call_{context.id}_{place}",
        "index": place,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _legacy(logprobs: Sequence[TokenLogprob], offset: int) -> _Wire:
    """The parallel lists that `/completions` has instead of objects."""
    offsets = []
    for item in logprobs:
        offsets.append(offset)
        offset += len(item.token)
    return {
        "tokens": [item.token for item in logprobs],
        "token_logprobs": [item.logprob for item in logprobs],
        "top_logprobs": [{top.token: top.logprob for top in item.top_logprobs} for item in logprobs],
        "text_offset": offsets,
    }


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
