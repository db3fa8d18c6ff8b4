"""Conversations as OpenAI-compatible backends take them: parts, tool calls, and which result answers which call."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, assert_never

from msgspec import Raw

from arriero.canonical.requests import Audio, Image, Message, Opaque, Part, Text, Thinking, ToolCall
from arriero.dialects.quirks import Profile
from arriero.errors import UnsupportedContent

Wire = dict[str, Any]
"""A message or a part as it is about to be written."""

_IMAGES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_SOUNDS = (
    (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"),
    (b"\xff\xf3", "mp3"),
    (b"\xff\xf2", "mp3"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
)


def messages_out(messages: Sequence[Message], profile: Profile) -> list[Wire]:
    """The list for `messages`. Raises `UnsupportedContent` for parts of another dialect."""
    out: list[Wire] = []
    pairing: _Pairing | None = None
    plain = not profile.reasoning_demanded
    later: list[Wire | Raw] = []  # images of tool results, for behind the last of them
    for number, message in enumerate(messages):
        parts = message.parts
        if message.role == "tool":
            out.append(_result(message, pairing, later))
            continue
        if later:
            out.append({"role": "user", "content": later})
            later = []
        if len(parts) == 1 and isinstance(parts[0], Text) and (message.role != "assistant" or plain):
            wire: Wire = {"role": message.role, "content": parts[0].text}
        elif message.role == "assistant":
            wire, calls = _assistant(parts, number, profile)
            if calls:
                pairing = _Pairing(calls)
        else:
            wire = {"role": message.role, "content": _content(parts)}
        if message.name is not None:
            wire["name"] = message.name
        out.append(wire)
    if later:
        out.append({"role": "user", "content": later})
    return out


# ---- parts ---------------------------------------------------------------------------------------------------------


def _content(parts: Sequence[Part]) -> str | list[Wire | Raw]:
    """One text as a string, which every backend takes; anything else as a list of parts, in its order."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    written = [part_out(part) for part in parts]
    listed = [part for part in written if part is not None]
    if len(listed) > 1:
        # Ollama's clients send images beside an empty text; an empty text part is a 400 with some vendors.
        listed = [part for part in listed if part != {"type": "text", "text": ""}]
    return listed or ""


def part_out(part: Part) -> Wire | Raw | None:
    """One content part; `None` for what has another place in a message. Raises `UnsupportedContent`."""
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return _image(part)
        case Audio(data, format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
        case Opaque(dialect, kind, raw):
            if dialect != "openai":
                raise UnsupportedContent(f"the backend's API has no place for content of the type {kind!r}")
            return raw
        case Thinking() | ToolCall():
            return None
        case _:
            assert_never(part)


def _image(image: Image) -> Wire:
    if image.url is not None:
        url = image.url
    else:
        data = image.data or ""
        sound = None if image.media_type else sound_format(data)
        if sound is not None:
            # Ollama has one list for both.
            return {"type": "input_audio", "input_audio": {"data": data, "format": sound}}
        url = f"data:{image.media_type or image_type(data)};base64,{data}"
    inner: Wire = {"url": url}
    if image.detail is not None:
        inner["detail"] = image.detail
    return {"type": "image_url", "image_url": inner}


def image_type(data: str) -> str:
    """The media type of base64 image data by its first bytes; JPEG where they say nothing."""
    head = _head(data)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _IMAGES if head.startswith(magic)), "image/jpeg")


def sound_format(data: str) -> str | None:
    """The container of base64 sound data by its first bytes; `None` for anything else."""
    head = _head(data)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    return next((name for magic, name in _SOUNDS if head.startswith(magic)), None)


def _head(data: str) -> bytes:
    try:
        return base64.b64decode(data[:16])
    except (binascii.Error, ValueError):
        return b""


# ---- calls and their results ---------------------------------------------------------------------------------------


def _assistant(parts: Sequence[Part], number: int, profile: Profile) -> tuple[Wire, list["_Open"]]:
    said: list[Part] = []
    thoughts: list[str] = []
    calls: list[_Open] = []
    written: list[Wire] = []
    for part in parts:
        match part:
            case Thinking(text):
                thoughts.append(text)
            case ToolCall(name, arguments, id):
                call = _Open(number, len(calls), name, id, {open.id for open in calls}, profile.call_id_length)
                calls.append(call)
                written.append(
                    {"id": call.wire_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}
                )
            case _:
                said.append(part)
    content: str | list[Wire | Raw] | None
    if all(isinstance(part, Text) for part in said):
        # A list of texts is valid too, and fewer backends take it from an assistant.
        content = "".join(part.text for part in said if isinstance(part, Text))
    else:
        content = _content(said)
    wire: Wire = {"role": "assistant", "content": content or (None if calls else "")}
    if profile.reasoning_input is not None and (thoughts or profile.reasoning_demanded):
        wire[profile.reasoning_input] = "".join(thoughts)
    if written:
        if profile.first_call is not None:
            key, value = profile.first_call
            written[0][key] = Raw(value.encode())
        wire["tool_calls"] = written
    return wire, calls


class _Open:
    """A call that waits for its result. `id` is the client's word, or `None` where arriero made one up."""

    __slots__ = ("answered", "id", "name", "wire_id")

    def __init__(
        self, message: int, place: int, name: str, id: str | None, taken: set[str | None], length: int | None
    ) -> None:
        self.name = name
        self.id = id or None
        self.answered = False
        # An id that stands twice in one message would make two results answer one call.
        wire_id = id if id and id not in taken else f"call_{message}_{place}"
        self.wire_id = wire_id if length is None else _short(wire_id, length)


def _short(id: str, length: int) -> str:
    """`id` where it already has the form, else a stable stand-in of that many letters and digits."""
    if len(id) == length and id.isascii() and id.isalnum():
        return id
    return hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=16).hexdigest()[:length]


class _Pairing:
    """The calls of the nearest assistant message that has any: only they can be answered."""

    __slots__ = ("_calls",)

    def __init__(self, calls: list[_Open]) -> None:
        self._calls = calls

    def take(self, message: Message) -> _Open | None:
        """The call that a tool message answers: by id, else by name, else by position; each is answered once."""
        waiting = [call for call in self._calls if not call.answered]
        found: _Open | None = None
        if message.tool_call_id:
            found = next((call for call in waiting if call.id == message.tool_call_id), None)
            # An id the history does not know can only mean a call that came without one.
            waiting = [call for call in waiting if call.id is None]
        name = message.tool_name or message.name
        if found is None and name:
            found = next((call for call in waiting if call.name == name), None)
        if found is None:
            # Home Assistant, Continue and older ollama-python send neither id nor name.
            found = next(iter(waiting), None)
        if found is not None:
            found.answered = True
        return found


def _result(message: Message, pairing: _Pairing | None, later: list[Wire | Raw]) -> Wire:
    """A tool result, or user text where there is no call that it could answer: an orphan is a 400."""
    call = pairing.take(message) if pairing is not None else None
    if call is None:
        return {"role": "user", "content": _content(message.parts)}
    texts: list[str] = []
    for part in message.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif (written := part_out(part)) is not None:
            # Tool messages hold text only, and nothing may stand between them: the rest follows as the user's.
            later.append(written)
    wire: Wire = {"role": "tool", "tool_call_id": call.wire_id, "content": "\n".join(texts)}
    name = message.tool_name or message.name
    if name:
        wire["name"] = name
    return wire
