"""Whole answers of the inference routes, as one JSON object each, without a newline."""

import math
import struct
from collections.abc import Sequence

from arriero.canonical.events import Answer, Embeddings, Reason
from arriero.canonical.requests import EmbedRequest, Text, Thinking, ToolCall
from arriero.dialects.base import AnswerContext, WholeAnswer
from arriero.dialects.ollama.frames import (
    DONE_REASONS,
    BadArguments,
    Measured,
    call_json,
    guessed_tokens,
    logprobs_json,
    metrics,
    moment,
    wants_thinking,
)
from arriero.dialects.ollama.golang import json_float
from arriero.dialects.ollama.stream import generate_end
from arriero.errors import BackendBroken
from arriero.wire.jsontext import float32_list, json_string

_SMALLEST_NORM = 1e-12
"""What Ollama divides by at least, so that a vector of zeros stays one."""


def encode_chat(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """The answer of /api/chat with `stream:false`. Raises `BackendBroken` where a call's arguments are no object."""
    whole = _answer(answer)
    if len(whole.parts) == 1 and isinstance(part := whole.parts[0], Text) and not whole.logprobs:
        # Nearly every answer, for half the price.
        return b'{"model":%b,"created_at":"%b","message":{"role":"assistant","content":%b},%b%b}' % (
            json_string(context.model),
            moment(now_ns),
            json_string(part.text),
            _done(whole.finished.reason),
            metrics(whole.finished, context.times, context.request, Measured(guessed_tokens(part.text)), now_ns),
        )
    calls = _calls(whole, context)
    return b'{"model":%b,"created_at":"%b","message":{"role":"assistant","content":%b%b%b},%b%b%b}' % (
        json_string(context.model),
        moment(now_ns),
        json_string(_joined(whole, Text)),
        _thinking(whole, context),
        b',"tool_calls":[%b]' % b",".join(calls) if calls else b"",
        _done(whole.finished.reason),
        _logprobs(whole, context),
        _metrics(whole, context, now_ns),
    )


def encode_generate(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """The answer of /api/generate with `stream:false`."""
    whole = _answer(answer)
    counted, said = _metrics(whole, context, now_ns), _joined(whole, Text)
    return b'{"model":%b,"created_at":"%b","response":%b%b,%b%b%b}' % (
        json_string(context.model),
        moment(now_ns),
        json_string(said),
        _thinking(whole, context),
        _done(whole.finished.reason),
        generate_end(whole.finished, context, said, counted, _calls(whole, context)),
        _logprobs(whole, context),
    )


def encode_embed(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """The answer of /api/embed: vectors of length 1, float32, cut to `dimensions` first. A load has no metrics.

    Raises `BackendBroken` with status 400 for NaN or infinity.
    """
    request = _request(context)
    if not request.inputs:
        return b'{"model":%b,"embeddings":[]}' % json_string(context.model)
    told = _embeddings(answer)
    try:
        vectors = b",".join([float32_list(_unit(_cut(one, request.dimensions))) for one in told.vectors])
    except ValueError:
        raise _not_finite() from None
    times = context.times
    return b'{"model":%b,"embeddings":[%b],"total_duration":%d,"load_duration":%d%b}' % (
        json_string(context.model),
        vectors,
        max(now_ns - times.started_ns, 1),
        max(told.timings.load_ns or times.sent_ns - times.started_ns, 1),
        b',"prompt_eval_count":%d' % told.usage.prompt_tokens if told.usage.prompt_tokens else b"",
    )


def encode_embeddings(answer: WholeAnswer, context: AnswerContext, now_ns: int) -> bytes:
    """The answer of /api/embeddings: one vector as the backend gave it, each value a float32 written as a float64."""
    vector = _embeddings(answer).vectors[:1] if _request(context).inputs else ()
    values = _float32(vector[0]) if vector else ()
    return b'{"embedding":[%b]}' % ",".join(map(json_float, values)).encode()


# ---- parts of chat and generate ------------------------------------------------------------------------------------


def _joined(answer: Answer, kind: type[Text] | type[Thinking]) -> str:
    return "".join([part.text for part in answer.parts if isinstance(part, kind)])


def _thinking(answer: Answer, context: AnswerContext) -> bytes:
    text = _joined(answer, Thinking) if wants_thinking(context) else ""
    return b',"thinking":%b' % json_string(text) if text else b""


def _calls(answer: Answer, context: AnswerContext) -> list[bytes]:
    calls = [part for part in answer.parts if isinstance(part, ToolCall)]
    try:
        return [call_json(call, index, context.id) for index, call in enumerate(calls)]
    except BadArguments as error:
        raise BackendBroken(str(error)) from None


def _done(reason: Reason) -> bytes:
    return b'"done":true,"done_reason":"%b"' % DONE_REASONS[reason]


def _logprobs(answer: Answer, context: AnswerContext) -> bytes:
    request = context.request
    if isinstance(request, EmbedRequest) or not request.logprobs:
        return b""
    return logprobs_json(answer.logprobs, request.top_logprobs)


def _metrics(answer: Answer, context: AnswerContext, now_ns: int) -> bytes:
    tokens = sum(
        guessed_tokens(part.arguments + part.name if isinstance(part, ToolCall) else part.text) for part in answer.parts
    )
    return metrics(answer.finished, context.times, context.request, Measured(tokens), now_ns)


# ---- vectors -------------------------------------------------------------------------------------------------------


def _not_finite() -> BackendBroken:
    return BackendBroken("embedding contains NaN or Inf values", status=400)


def _cut(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    return vector[:dimensions] if dimensions else vector


def _unit(vector: Sequence[float]) -> list[float]:
    norm = max(math.hypot(*vector), _SMALLEST_NORM)
    return [value / norm for value in vector]


def _float32(vector: Sequence[float]) -> tuple[float, ...]:
    layout = struct.Struct(f"<{len(vector)}f")
    try:
        values: tuple[float, ...] = layout.unpack(layout.pack(*vector))
    except OverflowError:
        raise _not_finite() from None
    if not all(map(math.isfinite, values)):
        raise _not_finite()
    return values


def _answer(answer: WholeAnswer) -> Answer:
    assert isinstance(answer, Answer), "chat and generate answer in parts"
    return answer


def _embeddings(answer: WholeAnswer) -> Embeddings:
    assert isinstance(answer, Embeddings), "embed answers in vectors"
    return answer


def _request(context: AnswerContext) -> EmbedRequest:
    assert isinstance(context.request, EmbedRequest), "embed answers embed requests"
    return context.request
