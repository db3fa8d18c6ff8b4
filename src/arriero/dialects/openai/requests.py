"""Reading OpenAI clients' requests: bodies of `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`.

Nothing is filled in that the client did not say. Fields without a place in the canonical request are kept in `extra`.
What an Ollama server ignores and a backend can honour (`max_completion_tokens`, `tool_choice`) is kept as well.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Format,
    Image,
    JsonFormat,
    Request,
    Sampling,
    SchemaFormat,
    Think,
    Tool,
)
from arriero.dialects.openai.chunks import UNREADABLE
from arriero.dialects.openai.parts import Body, WireMessage, messages_in
from arriero.errors import BadRequest, UnsupportedCapability

_DIALECT = "openai"
_EMPTY = Raw()
_T = TypeVar("_T")


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _JsonSchema(Struct):
    schema: Raw = _EMPTY
    name: str | None = None
    strict: bool | None = None


class _ResponseFormat(Struct):
    type: str = "text"
    json_schema: _JsonSchema | None = None


class _Knobs(Struct, kw_only=True):
    """What chat and completions share. The second half are the extensions that local servers take at the same place."""

    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[Any] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: _ResponseFormat | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_last_n: int | None = None


class _Chat(_Knobs, kw_only=True):
    messages: list[WireMessage] | None = None
    max_completion_tokens: int | None = None
    tools: list[Raw] | None = None
    tool_choice: Raw = _EMPTY
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Raw] | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class _Completion(_Knobs, kw_only=True):
    prompt: str | list[Any] | None = None
    suffix: str | None = None
    logprobs: int | None = None


class _Embeddings(Struct):
    model: str = ""
    input: str | list[Any] | None = None
    dimensions: int | None = None
    encoding_format: str | None = None


class _Function(Struct):
    name: str


class _Tool(Struct):
    function: _Function


_chat = Body(_Chat)
_completion = Body(_Completion)
_embeddings = Body(_Embeddings)
_tool = msgspec.json.Decoder(_Tool).decode

_EFFORTS: Mapping[str, Think | None] = {
    "": None,
    "none": False,
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "ultra": "max",
    "max": "max",
}


def decode_chat(data: bytes) -> Request:
    """A `ChatRequest`. Raises `BadRequest`."""
    body, extra = _chat.read(data)
    if not body.model:
        raise BadRequest("model is required")
    if not body.messages:
        raise BadRequest("[] is too short - 'messages'")
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20")
    choice = bytes(body.tool_choice)
    return ChatRequest(
        model=body.model,
        messages=messages_in(body.messages),
        tools=tuple(_tool_in(raw, place) for place, raw in enumerate(body.tools or ())),
        tool_choice=body.tool_choice if choice not in (b"", b"null") else None,
        parallel_tool_calls=body.parallel_tool_calls,
        # The deprecated name first: a client that sends both means the old one for old servers.
        sampling=_sampling(body, body.max_tokens if body.max_tokens is not None else body.max_completion_tokens),
        format=_format(body.response_format),
        think=_think(body, extra),
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        extra=extra,
        dialect=_DIALECT,
    )


def decode_completion(data: bytes) -> Request:
    """A `CompletionRequest`. Raises `BadRequest`."""
    body, extra = _completion.read(data)
    if not body.model:
        raise BadRequest("model is required")
    return CompletionRequest(
        model=body.model,
        prompt=_prompt(body.prompt),
        suffix=body.suffix,
        sampling=_sampling(body, body.max_tokens),
        format=_format(body.response_format),
        logprobs=bool(body.logprobs),
        top_logprobs=body.logprobs or None,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        extra=extra,
        dialect=_DIALECT,
    )


def decode_embed(data: bytes) -> Request:
    """An `EmbedRequest`. Raises `BadRequest`."""
    body, extra = _embeddings.read(data)
    if not body.model:
        raise BadRequest("model is required")
    form = (body.encoding_format or "float").lower()
    if form not in ("float", "base64"):
        raise BadRequest(
            f"Invalid value for 'encoding_format' = {body.encoding_format}. Supported values: ['float', 'base64']."
        )
    return EmbedRequest(
        model=body.model,
        inputs=_inputs(body.input),
        dimensions=body.dimensions,
        base64=form == "base64",
        extra=extra,
        dialect=_DIALECT,
    )


# ---- what the model must be able to do -----------------------------------------------------------------------------


def check_chat(request: Request, card: ModelCard) -> None:
    """Raises `UnsupportedCapability` for tools and images that the model has no use for.

    Thinking is not looked at: the lists of these backends do not tell of it reliably.
    """
    assert isinstance(request, ChatRequest)
    known = card.capabilities
    if known is None:
        return
    if Capability.COMPLETION not in known:
        raise UnsupportedCapability(f'"{request.model}" does not support chat')
    if request.tools and Capability.TOOLS not in known:
        # Clients look for these words and try again without tools.
        raise UnsupportedCapability(f'"{request.model}" does not support tools')
    if Capability.VISION not in known and any(
        isinstance(part, Image) for message in request.messages for part in message.parts
    ):
        raise UnsupportedCapability(f'"{request.model}" does not support images')


def check_completion(request: Request, card: ModelCard) -> None:
    """Raises `UnsupportedCapability` for a model that generates no text, or cannot fill in before a suffix."""
    assert isinstance(request, CompletionRequest)
    if request.suffix and card.capabilities is not None and Capability.INSERT not in card.capabilities:
        raise UnsupportedCapability(f'"{request.model}" does not support insert')
    if card.capabilities is not None and Capability.COMPLETION not in card.capabilities:
        raise UnsupportedCapability(f'"{request.model}" does not support generate')


def check_embed(request: Request, card: ModelCard) -> None:
    """Nothing: models that are made for text can embed on many servers, and none says so in its list."""


# ---- fields --------------------------------------------------------------------------------------------------------


def _sampling(body: _Knobs, limit: int | None) -> Sampling:
    stop = body.stop
    if isinstance(stop, str):
        stop = [stop]
    return Sampling(
        # 0 and below ask for no limit.
        max_tokens=limit if limit is not None and limit > 0 else None,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        typical_p=body.typical_p,
        seed=body.seed,
        stop=tuple(item for item in stop if isinstance(item, str)) or None if stop else None,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repeat_penalty=body.repeat_penalty if body.repeat_penalty is not None else body.repetition_penalty,
        repeat_last_n=body.repeat_last_n,
    )


def _format(format: _ResponseFormat | None) -> Format | None:
    if format is None or format.type == "text":
        return None
    if format.type == "json_object":
        return JsonFormat()
    if format.type == "json_schema":
        inner = format.json_schema
        if inner is None or bytes(inner.schema) in (b"", b"null"):
            raise BadRequest("response_format.json_schema.schema: required with the type json_schema")
        return SchemaFormat(inner.schema, inner.name, inner.strict)
    raise BadRequest(f"response_format.type: expected text, json_object or json_schema, got {format.type}")


def _think(body: _Chat, extra: dict[str, Raw]) -> Think | None:
    effort = body.reasoning_effort or ""
    given = body.reasoning
    if given is not None:
        # The object wins over the plain field even where it names no effort.
        effort = _text(given.get("effort", _EMPTY)) or ""
        if not effort and "enabled" in given:
            return bytes(given["enabled"]) == b"true"
        if given.keys() - {"effort", "enabled"}:
            # A token budget or `exclude`: for backends that know them, in the client's own words.
            extra["reasoning"] = Raw(msgspec.json.encode(given))
    try:
        return _EFFORTS[effort]
    except KeyError:
        raise BadRequest(
            f'invalid reasoning value: "{effort}" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max",'
            ' or "none")'
        ) from None


def _text(raw: Raw) -> str | None:
    if bytes(raw)[:1] != b'"':
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except UnicodeDecodeError:
        raise BadRequest("the request body is not valid UTF-8") from None


def _tool_in(raw: Raw, place: int) -> Tool:
    try:
        return Tool(_tool(raw).function.name, Raw(bytes(raw)))
    except UNREADABLE:
        raise BadRequest(f"tools[{place}]: expected a function with a name") from None


def _prompt(prompt: str | list[Any] | None) -> str:
    if prompt is None:
        return ""
    if isinstance(prompt, str):
        return prompt
    if not prompt:
        return ""
    if not all(isinstance(item, str) for item in prompt):
        raise BadRequest("prompt: token ids are not supported, send text")
    if len(prompt) > 1:
        raise BadRequest("prompt: several prompts in one request are not supported, send one request for each")
    return str(prompt[0])


def _inputs(value: str | list[Any] | None) -> tuple[str | tuple[int, ...], ...]:
    if value is None or value == []:
        raise BadRequest("invalid input")
    if isinstance(value, str):
        return (value,)
    if all(type(item) is int for item in value):
        return (tuple(value),)
    inputs: list[str | tuple[int, ...]] = []
    for item in value:
        if isinstance(item, str):
            inputs.append(item)
        elif isinstance(item, list) and item and all(type(token) is int for token in item):
            inputs.append(tuple(item))
        else:
            raise BadRequest("invalid input type")
    return tuple(inputs)
