"""What whole answers and streamed frames have in common: times, metrics, calls and logprobs as JSON texts.

All text is ASCII. A metric of zero is left out, as the real server leaves it out; durations are at least one
nanosecond, because clients divide by them.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.events import Finished, Reason, TokenLogprob
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Request,
    Text,
    Thinking,
    ToolCall,
)
from arriero.dialects.base import AnswerContext, Times
from arriero.dialects.ollama.golang import fraction, second_prefix
from arriero.wire.jsontext import json_string, json_text

_SECOND_NS = 1_000_000_000
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_BYTES_A_TOKEN = 4
_NO_CHANCE = -9999.0
"""The log of a probability that is nearly none: JSON has no infinity."""

_object = msgspec.json.Decoder(dict[str, Raw]).decode

DONE_REASONS = {
    Reason.STOP: b"stop",
    Reason.LENGTH: b"length",
    Reason.TOOL_CALLS: b"stop",
    Reason.CONTENT_FILTER: b"stop",
    Reason.LOAD: b"load",
    Reason.UNLOAD: b"unload",
}
"""Clients know four words; calls and filtered answers end in `stop`."""

WITHOUT_METRICS = (Reason.LOAD, Reason.UNLOAD)
"""Ends of answers in which the model said nothing."""


class BadArguments(ValueError):
    """The model wrote arguments that are not a JSON object. The text is for the client."""


class Stamp:
    """`created_at`: UTC with nanoseconds, trailing zeros cut. Remembers the text of the current second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""

    def text(self, now_ns: int) -> bytes:
        """The moment `now_ns`, unix nanoseconds."""
        second = now_ns // _SECOND_NS
        if second != self._second:
            self._second = second
            self._prefix = second_prefix(second).encode()
        rest = now_ns - second * _SECOND_NS
        return (b"%b.%09d" % (self._prefix, rest)).rstrip(b"0") + b"Z" if rest else self._prefix + b"Z"


def moment(now_ns: int) -> bytes:
    """`created_at` of a single answer."""
    second, rest = divmod(now_ns, _SECOND_NS)
    return f"{second_prefix(second)}{fraction(rest)}Z".encode()


# ---- metrics -------------------------------------------------------------------------------------------------------


class Measured(Struct, frozen=True):
    """What was seen of an answer on its way: tokens counted or guessed, and when the first and last one came."""

    tokens: int
    first_ns: int | None = None
    last_ns: int | None = None


def metrics(finished: Finished, times: Times, request: Request, measured: Measured, now_ns: int) -> bytes:
    """The six members, each with its comma in front; nothing for a load or unload.

    Counts that the backend did not tell are estimated: LangChain reports usage only if both are there. Times that
    nobody measured are what passed here; where not even the first token was seen, the time since the request was sent
    is divided among the tokens.
    """
    if finished.reason in WITHOUT_METRICS:
        return b""
    usage, told = finished.usage, finished.timings
    prompt_tokens = usage.prompt_tokens or guessed_prompt_tokens(request)
    tokens = measured.tokens if usage.completion_tokens is None else usage.completion_tokens
    if measured.first_ns is not None and measured.last_ns is not None:
        prompt_ns, eval_ns = measured.first_ns - times.sent_ns, measured.last_ns - measured.first_ns
    else:
        spent_ns = now_ns - times.sent_ns
        prompt_ns = spent_ns * prompt_tokens // (prompt_tokens + tokens)
        eval_ns = spent_ns - prompt_ns
    return (
        b',"total_duration":%d,"load_duration":%d,"prompt_eval_count":%d,"prompt_eval_duration":%d'
        % (
            max(now_ns - times.started_ns, 1),
            max(told.load_ns or times.sent_ns - times.started_ns, 1),
            prompt_tokens,
            max(told.prompt_ns or prompt_ns, 1),
        )
        + (b',"eval_count":%d' % tokens if tokens > 0 else b"")
        + b',"eval_duration":%d' % max(told.eval_ns or eval_ns, 1)
    )


def guessed_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text) // _BYTES_A_TOKEN)


def guessed_prompt_tokens(request: Request) -> int:
    """About how many tokens a request has: a quarter of its text's bytes, at least one."""
    size = 0
    match request:
        case ChatRequest():
            for message in request.messages:
                for part in message.parts:
                    match part:
                        case Text(text) | Thinking(text):
                            size += _bytes(text)
                        case ToolCall(name, arguments):
                            size += _bytes(name) + _bytes(arguments)
            size += sum(len(bytes(tool.raw)) for tool in request.tools)
        case CompletionRequest():
            size = _bytes(request.prompt) + _bytes(request.suffix or "")
        case EmbedRequest():
            size = sum(_bytes(one) if isinstance(one, str) else len(one) * _BYTES_A_TOKEN for one in request.inputs)
    return max(size // _BYTES_A_TOKEN, 1)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


# ---- calls and logprobs --------------------------------------------------------------------------------------------


def call_json(call: ToolCall, index: int, exchange_id: str) -> bytes:
    """A tool call: `index` inside `function`, the arguments an object in the model's own key order.

    Raises `BadArguments`: a string in their place would break every client.
    """
    return b'{"id":%b,"function":{"index":%d,"name":%b,"arguments":%b}}' % (
        json_string(call.id or call_id(exchange_id, index)),
        index,
        json_string(call.name),
        arguments_json(call),
    )


def call_id(exchange_id: str, index: int) -> str:
    """An id for a call that came without one: the same each time for the same exchange."""
    digest = sha256(f"{exchange_id}/{index}".encode("utf-8", "surrogatepass")).digest()
    return "call_" + "".join([_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:8]])


def arguments_json(call: ToolCall) -> bytes:
    """The arguments as one line of ASCII JSON. Raises `BadArguments`."""
    text = call.arguments.strip()
    if text in ("", "{}", "null"):
        return b"{}"
    try:
        raw = text.encode()
        _object(raw)
        # A model may break lines between members, and a frame is one line.
        return json_text(Raw(msgspec.json.format(raw, indent=-1)))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        shown = text if len(text) <= 200 else text[:200] + "..."
        raise BadArguments(f"the arguments of tool call '{call.name}' are not a JSON object: {shown}") from None


def logprobs_json(logprobs: Sequence[TokenLogprob], top: int | None) -> bytes:
    """`,"logprobs":[...]`, or nothing where there are none. Candidates stand only where the client asked for some."""
    if not logprobs:
        return b""
    return b',"logprobs":' + json_text([_token(one, top) for one in logprobs])


def _token(one: TokenLogprob, top: int | None) -> dict[str, object]:
    item = _candidate(one.token, one.logprob, one.bytes)
    if top and one.top_logprobs:
        item["top_logprobs"] = [_candidate(other.token, other.logprob, other.bytes) for other in one.top_logprobs]
    return item


def _candidate(token: str, logprob: float, told: tuple[int, ...] | None) -> dict[str, object]:
    item: dict[str, object] = {"token": token, "logprob": max(logprob, _NO_CHANCE)}
    if token:
        item["bytes"] = told if told is not None else list(token.encode("utf-8", "surrogatepass"))
    return item


def wants_thinking(context: AnswerContext) -> bool:
    """Whether the client sees reasoning: not if it switched thinking off and the backend thinks anyway."""
    return not (isinstance(context.request, ChatRequest) and context.request.think is False)
