"""Requests of the Ollama API, from the client's bytes to canonical values.

Two lanes. A strict typed decoder takes nearly every real request; whatever it refuses is read again by `lenient`, which
knows Go's habits and Go's error texts. Both give the same bodies, and one set of functions makes requests of them.

What has no canonical field stays in `extra` under its own name, so that a driver of this dialect passes it on and any
other names it as dropped: `template` of /api/generate and a `context` that some Ollama server made (a chat backend
cannot apply them), `system` beside a `suffix`, `raw`, `think` on a completion, `_debug_render_only`, and every unknown
field of the top level. A `context` that arriero made is the turns before this one.

An empty name is an error of its own on each endpoint; every other name passes unless no backend could have it.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Part,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from arriero.dialects.ollama.bodies import (
    CallBody,
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    MessageBody,
    ToolBody,
)
from arriero.dialects.ollama.lenient import reader as lenient_reader
from arriero.dialects.ollama.media import checked, medium, picture_type
from arriero.dialects.ollama.memory import recalled, resumed
from arriero.dialects.ollama.names import check_name
from arriero.dialects.ollama.options import read_format, read_keep_alive, read_options, read_think
from arriero.errors import BadRequest, ModelNotFound

_Body = TypeVar("_Body", bound=Struct)

_encode = msgspec.json.encode
_tool = msgspec.json.Decoder(ToolBody).decode
_read_tool = lenient_reader(ToolBody, "ChatRequest", ("tools",), "api.Tool")
_input = msgspec.json.Decoder(str | list[str] | None).decode

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_ARGUMENTS = (b"", b"{}")
MAX_TOP_LOGPROBS = 20
DIALECT_NAME = "ollama"


def _reader(shape: type[_Body], root: str) -> Callable[[bytes], tuple[_Body, Mapping[str, Raw]]]:
    """A function that reads a body in the fast lane if it can."""
    strict = msgspec.json.Decoder(shape).decode
    lenient = lenient_reader(shape, root)
    nothing: Mapping[str, Raw] = {}

    def read(body: bytes) -> tuple[_Body, Mapping[str, Raw]]:
        try:
            if not body.isascii():
                body.decode()  # `Raw` leaves would carry bad bytes on
            return strict(body), nothing
        except _FAULTS:
            return lenient(body)

    return read


_read_chat = _reader(ChatBody, "ChatRequest")
_read_generate = _reader(GenerateBody, "GenerateRequest")
_read_embed = _reader(EmbedBody, "EmbedRequest")
_read_embeddings = _reader(EmbeddingsBody, "EmbeddingRequest")


def decode_chat(body: bytes) -> ChatRequest:
    """POST /api/chat. Raises `BadRequest`, `InvalidOption`."""
    read, extra = _read_chat(body)
    top_logprobs = _top_logprobs(read.top_logprobs)
    if not read.model:
        raise BadRequest("model is required")
    check_name(read.model)
    sampling, runner = read_options(read.options)
    return ChatRequest(
        model=read.model,
        messages=tuple([_message(message) for message in read.messages or ()]),
        tools=tuple([_tool_of(raw) for raw in read.tools if bytes(raw) != b"null"]) if read.tools else (),
        sampling=sampling,
        format=read_format(bytes(read.format)),
        think=read_think(bytes(read.think)),
        logprobs=bool(read.logprobs),
        top_logprobs=top_logprobs,
        stream=read.stream is not False,
        keep_alive=read_keep_alive(bytes(read.keep_alive)),
        truncate=read.truncate,
        shift=read.shift,
        runner=runner,
        extra=_kept(extra, _debug_render_only=True) if read.debug_render_only else extra,
        dialect=DIALECT_NAME,
    )


def decode_generate(body: bytes) -> ChatRequest | CompletionRequest:
    """POST /api/generate: a conversation of one turn; a completion with `raw` or `suffix`; a load with no prompt."""
    read, extra = _read_generate(body)
    top_logprobs = _top_logprobs(read.top_logprobs)
    if not read.model:
        raise ModelNotFound("")
    check_name(read.model)
    keep_alive = read_keep_alive(bytes(read.keep_alive))
    prompt = read.prompt or ""
    if not prompt and keep_alive == 0:
        return ChatRequest(
            model=read.model, stream=read.stream is not False, keep_alive=keep_alive, dialect=DIALECT_NAME
        )
    if read.raw and (read.template or read.system or read.context):
        raise BadRequest("raw mode does not support template, system, or context")
    think = read_think(bytes(read.think))
    sampling, runner = read_options(read.options)
    stream = read.stream is not False
    if not prompt:
        return ChatRequest(
            model=read.model, think=think, stream=stream, keep_alive=keep_alive, runner=runner, dialect=DIALECT_NAME
        )
    format = read_format(bytes(read.format))
    context = read.context
    extra = _kept(extra, template=read.template, _debug_render_only=read.debug_render_only or None)
    if read.raw or read.suffix:
        return CompletionRequest(
            model=read.model,
            prompt=prompt,
            suffix=read.suffix or None,
            images=tuple([_image(text) for text in read.images or ()]),
            sampling=sampling,
            format=format,
            logprobs=bool(read.logprobs),
            top_logprobs=top_logprobs,
            stream=stream,
            keep_alive=keep_alive,
            truncate=read.truncate,
            shift=read.shift,
            runner=runner,
            extra=_kept(
                extra, context=context, system=read.system, raw=(read.suffix and read.raw) or None, think=think
            ),
            dialect=DIALECT_NAME,
        )
    asked: tuple[Part, ...] = (Text(prompt), *[medium(text) for text in read.images or ()])
    earlier = recalled(context) if context else ()
    return ChatRequest(
        model=read.model,
        messages=resumed(earlier or (), read.system or None, Message("user", asked)),
        continues=context is not None,
        sampling=sampling,
        format=format,
        think=think,
        logprobs=bool(read.logprobs),
        top_logprobs=top_logprobs,
        stream=stream,
        keep_alive=keep_alive,
        truncate=read.truncate,
        shift=read.shift,
        runner=runner,
        extra=_kept(extra, context=context) if earlier is None else extra,
        dialect=DIALECT_NAME,
    )


def decode_embed(body: bytes) -> EmbedRequest:
    """POST /api/embed. No input, an empty text or an empty list loads the model; `[""]` is one real input."""
    read, extra = _read_embed(body)
    if not read.model:
        raise ModelNotFound("")
    check_name(read.model)
    try:
        given = _input(bytes(read.input) or b"null")
    except msgspec.DecodeError:
        raise BadRequest("invalid input type") from None
    _, runner = read_options(read.options)
    return EmbedRequest(
        model=read.model,
        inputs=(given,) if isinstance(given, str) and given else tuple(given or ()),
        dimensions=read.dimensions if read.dimensions and read.dimensions > 0 else None,
        truncate=read.truncate,
        keep_alive=read_keep_alive(bytes(read.keep_alive)),
        runner=runner,
        extra=extra,
        dialect=DIALECT_NAME,
    )


def decode_embeddings(body: bytes) -> EmbedRequest:
    """POST /api/embeddings, the old form: one prompt; an empty one loads the model."""
    read, extra = _read_embeddings(body)
    if not read.model:
        raise BadRequest("model is required")
    check_name(read.model)
    _, runner = read_options(read.options)
    return EmbedRequest(
        model=read.model,
        inputs=(read.prompt,) if read.prompt else (),
        keep_alive=read_keep_alive(bytes(read.keep_alive)),
        runner=runner,
        extra=extra,
        dialect=DIALECT_NAME,
    )


def is_load(request: Request) -> bool:
    """Whether a request only loads or unloads a model: its answer is one JSON object, never NDJSON."""
    match request:
        case ChatRequest():
            return not request.messages
        case CompletionRequest():
            return False
        case EmbedRequest():
            return not request.inputs


# ---- parts ---------------------------------------------------------------------------------------------------------


def _message(body: MessageBody) -> Message:
    if body.content and not (body.thinking or body.images or body.tool_calls or body.tool_call_id or body.tool_name):
        return Message((body.role or "").lower(), (Text(body.content),))
    parts: list[Part] = []
    if body.thinking:
        parts.append(Thinking(body.thinking))
    if body.content:
        parts.append(Text(body.content))
    if body.images:
        parts.extend([medium(text) for text in body.images])
    if body.tool_calls:
        parts.extend([_call(call) for call in body.tool_calls])
    return Message(
        (body.role or "").lower(),
        tuple(parts),
        tool_call_id=body.tool_call_id or None,
        tool_name=body.tool_name or None,
    )


def _call(body: CallBody) -> ToolCall:
    function = body.function
    if function is None:
        return ToolCall("", "{}", body.id or None)
    arguments = bytes(function.arguments)
    if arguments in _NO_ARGUMENTS:
        return ToolCall(function.name or "", "{}", body.id or None)
    if arguments[:1] != b"{":
        raise BadRequest("Value looks like object, but can't find closing '}' symbol")
    return ToolCall(function.name or "", arguments.decode(), body.id or None)


def _tool_of(raw: Raw) -> Tool:
    try:
        function = _tool(raw).function
    except _FAULTS:
        function = _read_tool(bytes(raw))[0].function
    return Tool(function.name or "" if function else "", raw)


def _image(text: str) -> Image:
    data = checked(text)
    return Image(data=data, media_type=picture_type(data))


def _top_logprobs(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= MAX_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return number or None


def _kept(extra: Mapping[str, Raw], **fields: object) -> Mapping[str, Raw]:
    """`extra` and those of `fields` that were given; an empty list was, an empty text was not."""
    given = {name: Raw(_encode(value)) for name, value in fields.items() if value is not None and value != ""}
    return {**extra, **given} if given else extra
