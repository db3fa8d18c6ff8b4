"""Reading an OpenAI client's body and its messages: the typed decode with errors in clear words, and content parts."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.requests import Audio, Image, Message, Opaque, Part, Text, Thinking, ToolCall
from arriero.dialects.openai.chunks import UNREADABLE
from arriero.errors import BadRequest

_EMPTY = Raw()
_S = TypeVar("_S", bound=Struct)


# ---- bodies --------------------------------------------------------------------------------------------------------

_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?")
_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class Body(Generic[_S]):
    """A body of one route: its known fields as a `_S`, everything else by name."""

    __slots__ = ("_decode", "_known")

    def __init__(self, kind: type[_S]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._known = frozenset(kind.__struct_fields__)

    def read(self, data: bytes) -> tuple[_S, dict[str, Raw]]:
        """The typed fields and the unknown ones. Raises `BadRequest`."""
        try:
            return self._read(data)
        except UNREADABLE as error:
            if not _LONE.search(data):
                raise bad_body(data, error) from None
        # Half of a surrogate pair, cut by a client that counts UTF-16: U+FFFD in its place, as Go reads it.
        data = _mended(data)
        try:
            return self._read(data)
        except UNREADABLE as error:
            raise bad_body(data, error) from None

    def _read(self, data: bytes) -> tuple[_S, dict[str, Raw]]:
        body = self._decode(data)
        known = self._known
        # The copy keeps a small field from holding the whole body, images and all.
        return body, {key: Raw(bytes(value)) for key, value in _fields(data).items() if key not in known}


def _mended(data: bytes) -> bytes:
    try:
        text = json.dumps(json.loads(data), ensure_ascii=False)
    except (ValueError, RecursionError):
        return data
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def bad_body(data: bytes, error: Exception) -> BadRequest:
    """What is wrong with a body, in JSON's words and with the path of the field."""
    if not data.strip():
        return BadRequest("EOF: the request body is empty")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest("the request body is not valid UTF-8")
    if isinstance(error, RecursionError):
        return BadRequest("the request body is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return BadRequest(f"the request body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}")
    found = _EXPECTED.fullmatch(str(error))
    if found is None:
        return BadRequest(f"the request body cannot be read: {error}")
    expected = [_WORDS.get(word, word) for word in found[1].split(" | ") if word != "null"]
    path = found[3] or "the request body"
    return BadRequest(f"{path}: expected {' or '.join(expected)}, got {_WORDS.get(found[2], found[2])}")


# ---- messages ------------------------------------------------------------------------------------------------------


class WireFunction(Struct, gc=False):
    """A call's function. `arguments` is a JSON string; an object is accepted."""

    name: str = ""
    arguments: Raw = _EMPTY


class WireCall(Struct, gc=False):
    """An entry of `tool_calls`."""

    function: WireFunction | None = None
    id: str | None = None


class WireMessage(Struct):
    """An entry of `messages`."""

    role: str = ""
    content: str | list[Raw] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[WireCall] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    function_call: WireFunction | None = None


class _Part(Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: Raw = _EMPTY
    input_audio: Raw = _EMPTY


class _Url(Struct):
    url: str
    detail: str | None = None


class _Sound(Struct):
    data: str
    format: str = ""


_part = msgspec.json.Decoder(_Part).decode
_url = msgspec.json.Decoder(str | _Url).decode
_sound = msgspec.json.Decoder(_Sound).decode
_string = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?,", re.ASCII)
_INVALID_IMAGE = "invalid image input"


def messages_in(messages: Sequence[WireMessage]) -> tuple[Message, ...]:
    """The conversation, with its parts kept together. Raises `BadRequest`."""
    out: list[Message] = []
    names: dict[str, str] = {}  # what the call of an id was named; a later one shadows an earlier one
    for number, message in enumerate(messages):
        content = message.content
        if (
            content.__class__ is str
            and message.role in ("user", "system", "developer")
            and message.tool_calls is None
            and message.name is None
        ):
            out.append(Message(message.role, (Text(content),)))
            continue
        parts: list[Part] = []
        thinking = message.reasoning or message.reasoning_content
        if thinking:
            parts.append(Thinking(thinking))
        if isinstance(content, str):
            if content or not (message.tool_calls or thinking):
                parts.append(Text(content))
        elif content is not None:
            parts += [_part_in(raw, f"messages[{number}].content[{place}]") for place, raw in enumerate(content)]
        if message.refusal:
            parts.append(Text(message.refusal))
        calls = [
            _call_in(call, f"messages[{number}].tool_calls[{at}]") for at, call in enumerate(message.tool_calls or ())
        ]
        if message.function_call is not None:
            calls.append(_function_in(message.function_call, f"messages[{number}].function_call", None))
        names.update((call.id, call.name) for call in calls if call.id)
        parts += calls
        if content is None and not parts:
            raise BadRequest(f"invalid message content type: <nil> - messages[{number}].content is missing")
        role = message.role
        if not role:
            raise BadRequest(f"messages[{number}].role is required")
        if role in ("tool", "function"):
            # `function` is the same thing before there were ids.
            name = message.name or names.get(message.tool_call_id or "")
            out.append(Message("tool", tuple(parts), tool_call_id=message.tool_call_id or None, tool_name=name))
        else:
            out.append(Message(role, tuple(parts), name=message.name))
    return tuple(out)


def _part_in(raw: Raw, path: str) -> Part:
    try:
        part = _part(raw)
        match part.type:
            case "text" if part.text is not None:
                return Text(part.text)
            case "refusal" if part.refusal is not None:
                return Text(part.refusal)
            case "image_url" if part.image_url:
                return _image_in(part.image_url)
            case "input_audio" if part.input_audio:
                return _audio_in(part.input_audio)
            case "" | "text" | "refusal" | "image_url" | "input_audio":
                raise BadRequest(f"invalid message format - {path}")
            case kind:
                return Opaque("openai", kind, Raw(bytes(raw)))
    except UNREADABLE:
        raise BadRequest(f"invalid message format - {path}") from None


def _image_in(raw: Raw) -> Image:
    found = _url(raw)
    url, detail = (found, None) if isinstance(found, str) else (found.url, found.detail)
    if url.startswith(("http://", "https://")):
        return Image(url=url, detail=detail)
    head = _DATA_URL.match(url)
    if head is None or not head[0].endswith(";base64,"):
        raise BadRequest(_INVALID_IMAGE)
    data = url[head.end() :]
    if not data or not _is_base64(data):
        raise BadRequest(_INVALID_IMAGE)
    return Image(data=data, media_type=head[1] or None, detail=detail)


def _audio_in(raw: Raw) -> Audio:
    sound = _sound(raw)
    if not sound.data:
        raise BadRequest("invalid input_audio format: missing data")
    if not _is_base64(sound.data):
        raise BadRequest("invalid input_audio base64 data")
    return Audio(sound.data, sound.format or "wav")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _call_in(call: WireCall, path: str) -> ToolCall:
    if call.function is None:
        raise BadRequest(f"{path}.function is required")
    return _function_in(call.function, path, call.id or None)


def _function_in(function: WireFunction, path: str, id: str | None) -> ToolCall:
    text = bytes(function.arguments)
    try:
        arguments = _string(text) if text[:1] == b'"' else text.decode()
        if arguments.strip() in ("", "null"):
            arguments = "{}"
        _object(arguments)
    except UNREADABLE:
        raise BadRequest(f"invalid tool call arguments - {path}") from None
    return ToolCall(function.name, arguments, id)
