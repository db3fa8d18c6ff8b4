"""What is read of an OpenAI-style answer: a chunk of a stream or a whole one, as typed values.

Only the fields that are used are decoded. What does not fit its type is read as absent, since servers put numbers,
empty strings and objects where the API has none of them. No events and no rules live here.
"""

import json
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct

EMPTY = Raw()
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that is not JSON of the wanted type; the last for one nested without end."""
_NULLS = (b"", b"null")


class FunctionPiece(Struct, gc=False):
    """A function's name and a piece of its arguments: a JSON string, or with some servers the object itself."""

    name: str | None = None
    arguments: Raw = EMPTY


class CallPiece(Struct, gc=False):
    """One entry of `delta.tool_calls` or `message.tool_calls`."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


class Delta(Struct, gc=False):
    """`delta` of a stream or `message` of a whole answer."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    function_call: FunctionPiece | None = None


class Choice(Struct, gc=False):
    """One of `choices`."""

    delta: Delta | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs: Raw = EMPTY
    text: str | None = None
    message: Delta | None = None
    error: Raw = EMPTY


class PromptDetails(Struct, gc=False):
    """`usage.prompt_tokens_details`."""

    cached_tokens: int | None = None


class CompletionDetails(Struct, gc=False):
    """`usage.completion_tokens_details`."""

    reasoning_tokens: int | None = None


class WireUsage(Struct, gc=False):
    """`usage`; the times are Groq's, in seconds, and the cache counter beside the details is DeepSeek's."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_time: float | None = None
    completion_time: float | None = None
    total_time: float | None = None


class WireTimings(Struct, gc=False):
    """llama.cpp's `timings`: tokens and milliseconds."""

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class Groq(Struct, gc=False):
    """Groq's `x_groq`, where its streams carry usage and errors."""

    usage: WireUsage | None = None
    error: Raw = EMPTY


class Chunk(Struct, gc=False):
    """One event of a stream, or a whole answer."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    timings: WireTimings | None = None
    error: Raw = EMPTY
    x_groq: Groq | None = None
    id: str | None = None
    model: str | None = None


class NotJson(ValueError):
    """The event is not a JSON object."""


_typed = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """The chunk in `data`. Raises `NotJson`."""
    try:
        return _typed(data)
    except UNREADABLE:
        # A lone surrogate, a broken UTF-8 sequence, or a field of another type: rare, so the slow way is good enough.
        value = loosely(data)
    if not isinstance(value, dict):
        raise NotJson("not a JSON object")
    try:
        return _fitted(Chunk, value)
    except RecursionError as error:
        raise NotJson(str(error)) from None


read_text = msgspec.json.Decoder(str).decode
"""A JSON string with its quotes, and nothing around it. Raises one of `UNREADABLE`."""

_NO_MOULD = (b"", b"")
_MOULDED = Chunk([Choice(Delta(""))])


def mould(data: bytes) -> tuple[bytes, bytes]:
    """The bytes before and behind the text of an event that is one chunk with text and nothing else; else two empty.

    The opening quote stands in the first, the closing one in the second. With any JSON string between them they are a
    chunk with this text and nothing else: an unescaped `"content":"` can only be a key and the beginning of its value,
    and that it is the key which counts shows in the empty text that an empty string gives.
    """
    start = data.find(b'"content":"') + len(b'"content":"')
    end = data.find(b'"}', start)
    head, tail = data[:start], data[end:]
    if end < 0 or head[:6] != b"data: " or tail[-2:] != b"\n\n" or b"\n" in data[:-2] or b"\r" in data:
        return _NO_MOULD
    try:
        chunk = _typed(head[6:] + tail)
    except UNREADABLE:
        return _NO_MOULD
    chunk.id = chunk.model = None
    for choice in chunk.choices or ():
        choice.index = choice.index or None
        if choice.logprobs and not present(choice.logprobs):
            choice.logprobs = EMPTY
    return (head, tail) if chunk == _MOULDED else _NO_MOULD


def loosely(data: bytes) -> Any:
    """Any JSON value, with lone surrogates kept, broken UTF-8 replaced and raw control characters let pass.

    Raises `NotJson`.
    """
    try:
        return json.loads(data.decode(errors="replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def present(raw: Raw) -> bool:
    """Whether a raw field was there and not null."""
    return bytes(raw) not in _NULLS


_T = TypeVar("_T", bound=Struct)


def _fitted(kind: type[_T], value: dict[str, Any]) -> _T:
    """`value` as `kind`, leaving out every field that does not fit its type."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if value.get(field.name) is None:
            continue
        fitted = _fit(field.type, value[field.name])
        if fitted is not None:
            fields[field.name] = fitted
    return kind(**fields)


def _fit(wanted: Any, value: Any) -> Any:
    if wanted is Raw:
        return Raw(json.dumps(value).encode())
    for option in get_args(wanted):
        if isinstance(option, type) and issubclass(option, Struct):
            return _fitted(option, value) if isinstance(value, dict) else None
        if getattr(option, "__origin__", None) is list and isinstance(value, list):
            (item,) = get_args(option)
            if isinstance(item, type) and issubclass(item, Struct):
                return [_fitted(item, each) for each in value if isinstance(each, dict)]
            return value
    if wanted == str | None or wanted == str | list[Any] | None:
        return value if isinstance(value, str) else None
    try:
        return msgspec.convert(value, wanted, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None
