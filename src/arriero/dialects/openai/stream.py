"""Reading an OpenAI-style answer: the bytes of a stream, or a whole one, to canonical events.

The rules are those of the API, and of what servers that call themselves compatible do differently. `<think>` tags in
the text are not looked at here: a filter splits them.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.events import (
    NO_TIMINGS,
    NO_USAGE,
    Event,
    Failed,
    Finished,
    Kind,
    PartDelta,
    Reason,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from arriero.canonical.requests import ToolCall
from arriero.canonical.stream import Bracketer
from arriero.dialects.backend_errors import NOBODY, owned, told
from arriero.dialects.openai.calls import BadCall, Calls
from arriero.dialects.openai.chunks import (
    UNREADABLE,
    CallPiece,
    Choice,
    Chunk,
    Delta,
    NotJson,
    WireTimings,
    WireUsage,
    loosely,
    mould,
    present,
    read_chunk,
    read_text,
)
from arriero.dialects.openai.failures import failed
from arriero.dialects.quirks import Profile
from arriero.wire.framing import MessageTooLong, Sse, SseReader

REASONS = {
    "stop": Reason.STOP,
    "length": Reason.LENGTH,
    "max_tokens": Reason.LENGTH,
    "model_length": Reason.LENGTH,  # Mistral: the context is full
    "tool_calls": Reason.TOOL_CALLS,
    "tool_use": Reason.TOOL_CALLS,
    "function_call": Reason.TOOL_CALLS,
    "content_filter": Reason.CONTENT_FILTER,
}
"""`finish_reason` in our words; any other (`eos`, `end_turn`) is a stop."""

_CUT = Failed("the backend's answer was cut off before its end", cut=True)


class Reader:
    """Chunks to events: what a stream and a whole answer have in common."""

    __slots__ = ("_calls", "_finish", "_said", "_timings", "_usage", "bracketer", "ended", "over", "profile")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.bracketer = Bracketer()
        self._calls = Calls()
        self._finish: str | None = None
        self._usage: WireUsage | None = None
        self._timings: WireTimings | None = None
        self._said = False
        self.ended = False  # the backend has said that its answer is complete
        self.over = False  # Finished or Failed is out

    def chunk(self, chunk: Chunk, out: list[Event]) -> None:
        """The events of one chunk."""
        if chunk.error and present(chunk.error):
            return self.fail(failed(bytes(chunk.error), self.profile), out)
        bracketer = self.bracketer
        if not bracketer.started:
            bracketer.start(out, chunk.id, chunk.model)
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.timings is not None:
            self._timings = chunk.timings
        if chunk.x_groq is not None:
            if present(chunk.x_groq.error):
                return self.fail(failed(bytes(chunk.x_groq.error), self.profile), out)
            self._usage = chunk.x_groq.usage or self._usage
        said = False
        for choice in chunk.choices or ():
            # Further choices (n > 1) have no place in a canonical answer.
            if not choice.index:
                said = self._choice(choice, out)
                break
        if said:
            self._said = True
        elif chunk.usage is not None and (self._said or not chunk.choices):
            # Usage beside content says nothing: vLLM can be told to count in every chunk, the first one too.
            self.ended = True
        if self._finish:
            self.ended = True

    def _choice(self, choice: Choice, out: list[Event]) -> bool:
        """The events of one choice; whether it brought any content."""
        if choice.error and present(choice.error):
            self.fail(failed(bytes(choice.error), self.profile), out)
            return True
        said = False
        logprobs = _logprobs(choice.logprobs) if choice.logprobs else ()
        if choice.delta is not None:
            said = self._delta(choice.delta, logprobs, False, out)
        elif choice.message is not None:
            said = self._delta(choice.message, logprobs, True, out)
        elif choice.text is not None:
            said = bool(choice.text)
            self.bracketer.piece(out, Kind.TEXT, choice.text, logprobs)
        if choice.finish_reason:
            self._finish = choice.finish_reason
        return said

    def _delta(self, delta: Delta, logprobs: tuple[TokenLogprob, ...], whole: bool, out: list[Event]) -> bool:
        """The pieces of a delta or whole message: thinking first, then text; calls are gathered for the end."""
        said = False
        content = delta.content
        # One name or the other, never both: some servers send the same text under two.
        thinking = delta.reasoning_content or delta.reasoning
        if not thinking and delta.reasoning_details:
            thinking = _details(delta.reasoning_details)
        if isinstance(content, list):
            content, inner = _parts(content)
            thinking = thinking or inner
        if thinking:
            said = True
            self.bracketer.piece(out, Kind.THINKING, thinking, () if content else logprobs)
        if content:
            said = True
            self.bracketer.piece(out, Kind.TEXT, content, logprobs)
        elif logprobs and content == "" and not thinking:
            # Half a character: a token without text, and still a token.
            self.bracketer.piece(out, Kind.TEXT, "", logprobs)
        if delta.refusal:
            said = True
            self.bracketer.piece(out, Kind.TEXT, delta.refusal)
        if delta.tool_calls:
            said = True
            if whole:
                self._calls.whole(delta.tool_calls)
            else:
                self._calls.feed(delta.tool_calls)
        if delta.function_call is not None:
            # What calls were before there were several.
            said = True
            self._calls.feed([CallPiece(0, None, delta.function_call)])
        return said

    def finish(self, out: list[Event]) -> None:
        """The answer is complete: the calls, and the last event."""
        if self.over:
            return
        if self._finish == "error":
            # OpenRouter ends a failed generation so; normally the error itself came before.
            message = told(self.profile, None, "the backend ended its answer with an error")
            return self.fail(Failed(message), out)
        try:
            calls: list[ToolCall] = self._calls.finish()
        except BadCall as error:
            cut = REASONS.get(self._finish or "") is Reason.LENGTH
            return self.fail(Failed(f"{error} (the answer reached its token limit)" if cut else str(error)), out)
        for call in calls:
            self.bracketer.call(out, call)
        reason = REASONS.get(self._finish or "", Reason.STOP)
        # Servers say "stop" beside calls, and "tool_calls" beside none.
        if calls and reason is Reason.STOP:
            reason = Reason.TOOL_CALLS
        elif not calls and reason is Reason.TOOL_CALLS:
            reason = Reason.STOP
        usage, timings = self._usage, self._timings
        self.bracketer.finish(out, Finished(reason, usage_of(usage, timings), timings_of(usage, timings)))
        self.over = True

    def fail(self, failure: Failed, out: list[Event]) -> None:
        """The answer ends in an error; only the first counts."""
        if not self.over:
            self.bracketer.fail(out, owned(failure, self.profile))
            self.over = True


class StreamDecoder:
    """A streamed answer to `/chat/completions` or `/completions`, pushed in as it arrives."""

    __slots__ = ("_head", "_reader", "_sse", "_tail")

    def __init__(self, profile: Profile = NOBODY) -> None:
        self._sse = SseReader()
        self._reader = Reader(profile)
        self._head = self._tail = b""  # the mould of the last read, if that was one chunk of text and nothing else

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        out: list[Event] = []
        # Servers repeat all bytes of a chunk but its text, so the text is all that is read of the next one.
        head, tail = self._head, self._tail
        if head and data.startswith(head) and data.endswith(tail):
            try:
                text = read_text(data[len(head) - 1 : 1 - len(tail)])
            except UNREADABLE:
                text = ""
            if text:
                self._reader.bracketer.piece(out, Kind.TEXT, text)
                return out
        self._head = b""
        try:
            messages = self._sse.feed(data)
            for message in messages:
                self._message(message, out)
        except MessageTooLong as error:
            self._reader.fail(Failed(str(error)), out)
            return out
        if len(messages) == 1 and len(out) == 1 and type(out[0]) is PartDelta:
            self._head, self._tail = mould(data)
        return out

    def close(self) -> list[Event]:
        """The last events: the end of the body ends the answer, if the backend had said that it is complete."""
        out: list[Event] = []
        for message in self._sse.close():
            self._message(message, out)
        if self._reader.ended:
            self._reader.finish(out)
        else:
            self._reader.fail(_CUT, out)
        return out

    def _message(self, message: Sse, out: list[Event]) -> None:
        reader = self._reader
        if reader.over:
            return
        data = message.data
        if message.event is not None and message.event == b"error":
            return reader.fail(failed(data, reader.profile), out)
        try:
            chunk = read_chunk(data)
        except NotJson:
            word = data.strip()
            if word == b"[DONE]":
                return reader.finish(out)
            if word:
                shown = word[:200].decode(errors="replace")
                reader.fail(Failed(f"the backend sent an event that is not JSON: {shown}"), out)
            return
        if chunk.choices is None and chunk.usage is None and chunk.x_groq is None and not present(chunk.error):
            # A ping, or an error in another form: no answer has begun with it.
            failure = _unusual(data, reader.profile)
            if failure is not None:
                reader.fail(failure, out)
            return
        reader.chunk(chunk, out)


def _unusual(data: bytes, profile: Profile) -> Failed | None:
    """An error that has no `error` key: `{"object": "error", "message": ...}` (vLLM), `{"detail": ...}` (FastAPI)."""
    try:
        value = loosely(data)
    except NotJson:
        return None
    if value.get("object") == "error" or value.get("type") == "error" or ("detail" in value and "id" not in value):
        return failed(data, profile)
    return None


# ---- the smaller values --------------------------------------------------------------------------------------------


def usage_of(usage: WireUsage | None, timings: WireTimings | None) -> Usage:
    """Token counts from `usage`, and what it leaves open from llama.cpp's `timings`."""
    if usage is None and timings is None:
        return NO_USAGE
    prompt = completion = cached = reasoning = None
    if usage is not None:
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
        if cached is None:
            cached = usage.prompt_cache_hit_tokens
        if usage.completion_tokens_details:
            reasoning = usage.completion_tokens_details.reasoning_tokens
    if timings is not None:
        if prompt is None and timings.prompt_n is not None:
            prompt = timings.prompt_n + (timings.cache_n or 0)
        if completion is None:
            completion = timings.predicted_n
        if cached is None:
            cached = timings.cache_n
    return Usage(prompt, completion, cached, reasoning)


def timings_of(usage: WireUsage | None, timings: WireTimings | None) -> Timings:
    """Durations as the backend told them: llama.cpp in milliseconds, Groq in seconds."""
    if timings is not None:
        return Timings(prompt_ns=_ns(timings.prompt_ms, 1e6), eval_ns=_ns(timings.predicted_ms, 1e6))
    if usage is not None and (usage.prompt_time is not None or usage.completion_time is not None):
        return Timings(_ns(usage.total_time, 1e9), None, _ns(usage.prompt_time, 1e9), _ns(usage.completion_time, 1e9))
    return NO_TIMINGS


def _ns(value: float | None, unit: float) -> int | None:
    return None if value is None or not 0 <= value < 1e12 else round(value * unit)


def _details(details: list[Any]) -> str:
    """The text of OpenRouter's `reasoning_details`, read only where no plain field has it."""
    texts = (item.get("text") or item.get("summary") for item in details if isinstance(item, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _parts(parts: Any) -> tuple[str, str]:
    """Text and thinking of content that is a list of parts (Mistral's reasoning models)."""
    text: list[str] = []
    thinking: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, dict):
            if part.get("type") == "thinking":
                inner = part.get("thinking")
                thinking.append(inner if isinstance(inner, str) else _parts(inner or ())[0])
            elif isinstance(part.get("text"), str):
                text.append(part["text"])
    return "".join(text), "".join(thinking)


class _LegacyLogprobs(Struct):
    """The shape of `/completions`: parallel lists."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None


class _Logprobs(Struct):
    """The shape of chat."""

    content: tuple[TokenLogprob, ...] | None = None


class _Candidate(Struct):
    token: str
    logprob: float | None = None
    bytes: tuple[int, ...] | None = None


class _Token(_Candidate):
    top_logprobs: list[_Candidate] | None = None


class _LooseLogprobs(Struct):
    """The shape of chat with nulls where the API has lists and numbers."""

    content: list[_Token] | None = None


_chat_logprobs = msgspec.json.Decoder(_Logprobs).decode
_loose_logprobs = msgspec.json.Decoder(_LooseLogprobs).decode
_legacy_logprobs = msgspec.json.Decoder(_LegacyLogprobs).decode


def _logprobs(raw: Raw) -> tuple[TokenLogprob, ...]:
    """Logprobs of either shape; none where they cannot be read, for they are an extra beside the text."""
    if not present(raw):
        return ()
    for read in (_chat_logprobs, _loosened, _legacy):
        try:
            found = read(raw)
        except UNREADABLE:
            continue
        content = found.content if isinstance(found, _Logprobs) else found
        if content:
            return content
    return ()


def _loosened(raw: Raw) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            item.token,
            item.logprob,
            item.bytes,
            tuple(
                TopLogprob(top.token, top.logprob, top.bytes)
                for top in item.top_logprobs or ()
                if top.logprob is not None
            ),
        )
        for item in _loose_logprobs(raw).content or ()
        if item.logprob is not None
    )


def _legacy(raw: Raw) -> tuple[TokenLogprob, ...]:
    legacy = _legacy_logprobs(raw)
    tops = legacy.top_logprobs or []
    return tuple(
        TokenLogprob(
            token,
            # The first token of an echoed prompt has none.
            0.0 if logprob is None else logprob,
            None,
            tuple(TopLogprob(*item) for item in (tops[at] or {}).items()) if at < len(tops) else (),
        )
        for at, (token, logprob) in enumerate(zip(legacy.tokens, legacy.token_logprobs, strict=False))
    )
