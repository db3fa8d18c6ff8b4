"""Canonical requests as an Ollama server takes them.

A conversation goes to /api/chat; one turn that carries a `template` or a `context` to /api/generate, the only route
that knows them. A completion goes to /api/generate: untouched (`raw`) or, with a suffix, through the model's own
template. Knobs that the API has no word for are named in `dropped`; content that it cannot hold raises
`UnsupportedContent`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from msgspec import Raw

from arriero.canonical.requests import (
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Opaque,
    Request,
    Text,
    Thinking,
    ToolCall,
)
from arriero.dialects.base import Driver, Outbound, Target
from arriero.dialects.ollama.frames import BadArguments, arguments_json
from arriero.dialects.ollama.options import write_format, write_keep_alive, write_options, write_think
from arriero.dialects.ollama.reading import StreamReader, decode_embeddings, decode_whole
from arriero.dialects.ollama.requests import DIALECT_NAME
from arriero.errors import BadRequest, UnsupportedContent
from arriero.wire.jsontext import json_text

CHAT_PATH = "/api/chat"
GENERATE_PATH = "/api/generate"
EMBED_PATH = "/api/embed"

# What /api/chat has no field for.
_ONLY_GENERATE = frozenset({"template", "context"})
_NOTHING: frozenset[str] = frozenset()

# Values of a knob that ask for what happens anyway.
_USUAL_CHOICES = (b'"auto"', b"null")
_NO_TOOLS = b'"none"'

# Models' templates know no such role; as a system message its text arrives.
_ROLES = {"developer": "system"}

_URL_TEXT = "image URLs are not currently supported, please use base64 encoded data instead"
_DATA_MARK = ";base64,"


def encode_chat(request: Request, target: Target) -> Outbound:
    """A conversation. Raises `UnsupportedContent`, and `BadRequest` for call arguments that are no JSON object."""
    assert isinstance(request, ChatRequest)
    if request.dialect == DIALECT_NAME and (request.continues or _ONLY_GENERATE & request.extra.keys()):
        turn = single_turn(request)
        if turn is not None:
            return _encode_turn(request, target, *turn)
    choice = bytes(request.tool_choice) if request.tool_choice is not None else b"null"
    dropped = []
    if choice != _NO_TOOLS and choice not in _USUAL_CHOICES:
        dropped.append("tool_choice")
    if request.parallel_tool_calls is False:
        dropped.append("parallel_tool_calls")
    body: dict[str, object] = {
        "model": target.model,
        "messages": [_message(message, request.messages[:index]) for index, message in enumerate(request.messages)],
    }
    if request.tools and choice != _NO_TOOLS:
        body["tools"] = [tool.raw for tool in request.tools]
    body |= _how(request)
    if request.think is not None:
        body["think"] = write_think(request.think)
    return _outbound(CHAT_PATH, body, request, _ONLY_GENERATE, dropped)


def encode_completion(request: Request, target: Target) -> Outbound:
    """Text to continue: raw, or between `prompt` and `suffix` by the model's template."""
    assert isinstance(request, CompletionRequest)
    body: dict[str, object] = {"model": target.model, "prompt": request.prompt}
    if request.suffix is None:
        body["raw"] = True
    else:
        body["suffix"] = request.suffix
    if request.images:
        body["images"] = [_image(image) for image in request.images]
    return _outbound(GENERATE_PATH, body | _how(request), request)


def encode_embed(request: Request, target: Target) -> Outbound:
    """Texts to embed. Raises `UnsupportedContent` for token lists."""
    assert isinstance(request, EmbedRequest)
    if not all(isinstance(one, str) for one in request.inputs):
        raise UnsupportedContent("lists of tokens cannot be embedded by this model's server, send text instead")
    body: dict[str, object] = {"model": target.model, "input": request.inputs}
    if request.truncate is not None:
        body["truncate"] = request.truncate
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.keep_alive is not None:
        body["keep_alive"] = write_keep_alive(request.keep_alive)
    if request.runner:
        body["options"] = request.runner
    return _outbound(EMBED_PATH, body, request)


def _how(request: ChatRequest | CompletionRequest) -> dict[str, object]:
    """The fields that chat and generate share: only what was said, and always whether to stream."""
    fields: dict[str, object] = {"stream": request.stream}
    if request.format is not None:
        fields["format"] = write_format(request.format)
    if options := write_options(request.sampling, request.runner):
        fields["options"] = options
    if request.keep_alive is not None:
        fields["keep_alive"] = write_keep_alive(request.keep_alive)
    if request.truncate is not None:
        fields["truncate"] = request.truncate
    if request.shift is not None:
        fields["shift"] = request.shift
    if request.logprobs:
        fields["logprobs"] = True
    if request.top_logprobs is not None:
        fields["top_logprobs"] = request.top_logprobs
    return fields


def _outbound(
    path: str,
    body: dict[str, object],
    request: Request,
    misplaced: frozenset[str] = _NOTHING,
    dropped: Iterable[str] = (),
) -> Outbound:
    """The request with those fields of `extra` that are this dialect's own; others mean something else here."""
    lost = list(dropped)
    for name, value in request.extra.items():
        if request.dialect == DIALECT_NAME and name not in misplaced:
            body[name] = value
        else:
            lost.append(name)
    return Outbound(path, json_text(body), tuple(lost))


# ---- one turn by /api/generate -------------------------------------------------------------------------------------


def single_turn(request: ChatRequest) -> tuple[str | None, Message] | None:
    """The system text and the user's message, where that is all there is."""
    if request.tools or not request.messages:
        return None
    *before, last = request.messages
    if last.role != "user" or not all(isinstance(part, Text | Image | Audio) for part in last.parts):
        return None
    match before:
        case []:
            return None, last
        case [Message("system", (Text(text),))]:
            return text, last
        case _:
            return None


def _encode_turn(request: ChatRequest, target: Target, system: str | None, asked: Message) -> Outbound:
    turn = _message(asked, ())
    body: dict[str, object] = {"model": target.model, "prompt": turn["content"]}
    if system is not None:
        body["system"] = system
    if "images" in turn:
        body["images"] = turn["images"]
    body |= _how(request)
    if request.think is not None:
        body["think"] = write_think(request.think)
    if request.continues:
        # An empty memory is one: nothing of the model's own comes before this turn. `extra` may have another.
        body["context"] = ()
    return _outbound(GENERATE_PATH, body, request)


# ---- messages ------------------------------------------------------------------------------------------------------


def _message(message: Message, before: Sequence[Message]) -> dict[str, object]:
    """A message in native form. Its parts stay together: texts are joined by a newline, media stand beside them."""
    texts: list[str] = []
    thoughts: list[str] = []
    media: list[str] = []
    calls: list[dict[str, object]] = []
    for part in message.parts:
        match part:
            case Text(text):
                texts.append(text)
            case Thinking(text):
                thoughts.append(text)
            case Image():
                media.append(_image(part))
            case Audio(data):
                media.append(data)
            case ToolCall():
                calls.append(_call(part, len(calls)))
            case Opaque(_, kind):
                raise UnsupportedContent(f"content of type {kind!r} cannot be sent to this model's server")
            case _:
                assert_never(part)
    native: dict[str, object] = {"role": _ROLES.get(message.role, message.role), "content": "\n".join(texts)}
    if thoughts:
        native["thinking"] = "".join(thoughts)
    if media:
        native["images"] = media
    if calls:
        native["tool_calls"] = calls
    if message.role == "tool":
        name = message.tool_name or message.name or _called(message.tool_call_id, before)
        if name:
            native["tool_name"] = name
    if message.tool_call_id:
        native["tool_call_id"] = message.tool_call_id
    return native


def _call(call: ToolCall, index: int) -> dict[str, object]:
    try:
        arguments = arguments_json(call)
    except BadArguments:
        raise BadRequest("invalid tool call arguments") from None
    native: dict[str, object] = {"id": call.id} if call.id else {}
    native["function"] = {"index": index, "name": call.name, "arguments": Raw(arguments)}
    return native


def _called(call_id: str | None, before: Sequence[Message]) -> str | None:
    """The function of the nearest earlier call with that id: ids may come again in later turns."""
    if call_id:
        for message in reversed(before):
            for part in message.parts:
                if isinstance(part, ToolCall) and part.id == call_id:
                    return part.name
    return None


def _image(image: Image) -> str:
    if image.data is not None:
        return image.data
    head, mark, data = (image.url or "").partition(_DATA_MARK)
    if not mark or not head.startswith("data:"):
        raise UnsupportedContent(_URL_TEXT)
    return data


DRIVERS: Mapping[type[Request], Driver] = {
    ChatRequest: Driver(encode_chat, decode_whole, StreamReader),
    CompletionRequest: Driver(encode_completion, decode_whole, StreamReader),
    EmbedRequest: Driver(encode_embed, decode_embeddings, None),
}
