"""Conversations on their way out: parts, call ids, and which result answers which call."""

import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from arriero.canonical.requests import Audio, Image, Message, Opaque, Part, Text, Thinking, ToolCall
from arriero.dialects.openai.messages import image_type, messages_out, sound_format
from arriero.dialects.profiles import PROFILES
from arriero.errors import UnsupportedContent
from arriero.wire.jsontext import json_text


def out(*messages: Message, profile: str = "openai") -> Any:
    return json.loads(json_text(messages_out(messages, PROFILES[profile])))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = b64(b"\x89PNG\r\n\x1a\n" + b"\0" * 8)


def user(*parts: Part) -> Message:
    return Message("user", parts)


def image(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


PARTS: dict[str, tuple[Message, Any]] = {
    "one text is a string": (user(Text("Hi")), "Hi"),
    "nothing is an empty string": (user(), ""),
    "several texts stay apart": (
        user(Text("a"), Text("b")),
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    ),
    "the order of parts stays": (
        user(Image(data=PNG), Text("what?")),
        [image(f"data:image/png;base64,{PNG}"), {"type": "text", "text": "what?"}],
    ),
    "an image without words": (user(Text(""), Image(data=PNG)), [image(f"data:image/png;base64,{PNG}")]),
    "an image by URL, with detail": (
        user(Image(url="https://x/y.png", detail="low")),
        [image("https://x/y.png", detail="low")],
    ),
    "a told media type wins": (
        user(Image(data=PNG, media_type="image/x")),
        [image(f"data:image/x;base64,{PNG}")],
    ),
    "sound": (
        user(Audio("aGk=", "mp3")),
        [{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}],
    ),
    "sound in the list of images": (
        user(Image(data=b64(b"RIFF\0\0\0\0WAVEfmt "))),
        [{"type": "input_audio", "input_audio": {"data": b64(b"RIFF\0\0\0\0WAVEfmt "), "format": "wav"}}],
    ),
    "an opaque part of this dialect": (
        user(Opaque("openai", "file", Raw(b'{"type":"file","file":{"file_id":"f"}}'))),
        [{"type": "file", "file": {"file_id": "f"}}],
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts(case: str) -> None:
    message, content = PARTS[case]
    assert out(message) == [{"role": "user", "content": content}]


def test_an_opaque_part_of_another_dialect() -> None:
    with pytest.raises(UnsupportedContent, match="'document'"):
        out(user(Opaque("anthropic", "document", Raw(b"{}"))))


MEDIA = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff\xe0": "image/jpeg",
    b"GIF89a": "image/gif",
    b"RIFF\0\0\0\0WEBPVP8 ": "image/webp",
    b"BM??????????": "image/jpeg",
    b"": "image/jpeg",
}


@pytest.mark.parametrize("data", MEDIA)
def test_image_type(data: bytes) -> None:
    assert image_type(b64(data)) == MEDIA[data]


SOUNDS = {
    b"RIFF\0\0\0\0WAVEfmt ": "wav",
    b"ID3\x04": "mp3",
    b"\xff\xfb\x90": "mp3",
    b"OggS\0": "ogg",
    b"fLaC\0": "flac",
    b"\x89PNG": None,
}


@pytest.mark.parametrize("data", SOUNDS)
def test_sound_format(data: bytes) -> None:
    assert sound_format(b64(data)) == SOUNDS[data]


def test_what_is_not_base64() -> None:
    assert (image_type("!"), sound_format("!")) == ("image/jpeg", None)


def test_names_and_unknown_roles_pass() -> None:
    assert out(Message("critic", (Text("a"),), name="Bob")) == [{"role": "critic", "content": "a", "name": "Bob"}]


# ---- thinking ------------------------------------------------------------------------------------------------------

THOUGHT = Message("assistant", (Thinking("Hm"), Text("Hi")))


@pytest.mark.parametrize(
    ("profile", "field"), [("openai", None), ("openrouter", "reasoning"), ("vllm", "reasoning_content")]
)
def test_earlier_thinking(profile: str, field: str | None) -> None:
    back = {} if field is None else {field: "Hm"}
    assert out(THOUGHT, profile=profile) == [{"role": "assistant", "content": "Hi"} | back]


def test_deepseek_demands_the_field_in_every_message_of_the_assistant() -> None:
    wire = out(user(Text("a")), THOUGHT, Message("assistant", (Text("b"),)), assistant(F), profile="deepseek")
    assert [message.get("reasoning_content") for message in wire] == [None, "Hm", "", ""]


def test_gemini_gets_the_word_for_calls_without_a_signature() -> None:
    (message,) = out(assistant(F, G), profile="google")
    word = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    assert [call.get("extra_content") for call in message["tool_calls"]] == [word, None]


# ---- calls and results ---------------------------------------------------------------------------------------------


def assistant(*calls: ToolCall, said: str = "") -> Message:
    return Message("assistant", (*([Text(said)] if said else []), *calls))


def result(text: str, id: str | None = None, name: str | None = None) -> Message:
    return Message("tool", (Text(text),), tool_call_id=id, tool_name=name)


def wire_call(id: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def ids(wire: Any) -> list[tuple[str, Any]]:
    """Every result as (text, the id of the call it answers); user text has none."""
    return [
        (message["content"], message.get("tool_call_id")) for message in wire if message["role"] in ("tool", "user")
    ]


F, G = ToolCall("f", '{"b":1,"a":2}'), ToolCall("g", "{}")


def test_a_call_and_its_result() -> None:
    assert out(assistant(ToolCall("f", '{"b":1,"a":2}', "c1")), result("ok", "c1", "f")) == [
        {"role": "assistant", "content": None, "tool_calls": [wire_call("c1", "f", '{"b":1,"a":2}')]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok", "name": "f"},
    ]


def test_ids_are_made_up_and_stable() -> None:
    wire = out(user(Text("Hi")), assistant(F, G, said="So."), result("1"), result("2"))
    assert wire[1:] == [
        {
            "role": "assistant",
            "content": "So.",
            "tool_calls": [wire_call("call_1_0", "f", '{"b":1,"a":2}'), wire_call("call_1_1", "g")],
        },
        {"role": "tool", "tool_call_id": "call_1_0", "content": "1"},
        {"role": "tool", "tool_call_id": "call_1_1", "content": "2"},
    ]


PAIRINGS: dict[str, tuple[list[Message], list[tuple[str, str | None]]]] = {
    "by id, in any order": (
        [
            assistant(ToolCall("f", "{}", "a"), ToolCall("g", "{}", "b")),
            result("for b", "b"),
            result("for a", "a"),
        ],
        [("for b", "b"), ("for a", "a")],
    ),
    "by name, the earliest unanswered": (
        [assistant(G, F, F), result("1", name="f"), result("2", name="f"), result("3", name="g")],
        [("1", "call_0_1"), ("2", "call_0_2"), ("3", "call_0_0")],
    ),
    "by position": ([assistant(F, G), result("1"), result("2")], [("1", "call_0_0"), ("2", "call_0_1")]),
    "an id that the calls do not have": ([assistant(F), result("1", "call_zz")], [("1", "call_0_0")]),
    "an id of nothing, and every call has one": (
        [assistant(ToolCall("f", "{}", "a")), result("lost", "b")],
        [("lost", None)],
    ),
    "an orphan becomes the user's text": ([result("lost", "a", "f")], [("lost", None)]),
    "more results than calls": ([assistant(F), result("1"), result("2")], [("1", "call_0_0"), ("2", None)]),
    "one id in two turns": (
        [
            assistant(ToolCall("f", "{}", "a")),
            result("1", "a"),
            assistant(ToolCall("f", "{}", "a")),
            result("2", "a"),
        ],
        [("1", "a"), ("2", "a")],
    ),
    "one id twice in a message": (
        [assistant(ToolCall("f", "{}", "a"), ToolCall("g", "{}", "a")), result("1", "a"), result("2", "a")],
        [("1", "a"), ("2", "call_0_1")],
    ),
}


@pytest.mark.parametrize("case", PAIRINGS)
def test_pairing(case: str) -> None:
    messages, pairs = PAIRINGS[case]
    assert ids(out(*messages)) == pairs


def test_empty_arguments() -> None:
    assert out(assistant(ToolCall("f", "", "a")))[0]["tool_calls"] == [wire_call("a", "f", "{}")]


def test_ids_for_mistral_have_nine_characters() -> None:
    wire = out(
        assistant(ToolCall("f", "{}", "call_0123456789abcdef"), ToolCall("g", "{}", "abcdefghi")),
        result("1", "call_0123456789abcdef"),
        profile="mistral",
    )
    made, kept = (call["id"] for call in wire[0]["tool_calls"])
    assert (len(made), made.isalnum(), kept) == (9, True, "abcdefghi")
    assert wire[1]["tool_call_id"] == made


def test_an_image_from_a_tool_follows_as_the_users() -> None:
    wire = out(
        assistant(F, G),
        Message("tool", (Text("see"), Image(url="http://x/1"))),
        Message("tool", (Text("and"),)),
        user(Text("well?")),
    )
    assert [message["role"] for message in wire] == ["assistant", "tool", "tool", "user", "user"]
    assert wire[3]["content"] == [image("http://x/1")]


def test_an_image_from_the_last_tool() -> None:
    wire = out(assistant(F), Message("tool", (Image(url="http://x/1"),)))
    assert wire[1:] == [
        {"role": "tool", "tool_call_id": "call_0_0", "content": ""},
        {"role": "user", "content": [image("http://x/1")]},
    ]
