"""Messages and content parts of OpenAI's clients."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from arriero.canonical.requests import Audio, ChatRequest, Image, Message, Opaque, Text, Thinking, ToolCall
from arriero.dialects.openai.messages import messages_out
from arriero.dialects.openai.requests import decode_chat
from arriero.dialects.profiles import PROFILES
from arriero.errors import BadRequest
from arriero.wire.jsontext import json_text


def messages(*wire: Any) -> tuple[Message, ...]:
    request = decode_chat(json.dumps({"model": "m", "messages": wire}).encode())
    assert isinstance(request, ChatRequest)
    return request.messages


def parts(*wire: Any) -> tuple[Any, ...]:
    (message,) = messages({"role": "user", "content": wire})
    return message.parts


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":2}'}}

SHAPES: list[tuple[dict[str, Any], Message]] = [
    ({"role": "user", "content": "Hi"}, Message("user", (Text("Hi"),))),
    ({"role": "user", "content": "Hi", "name": "Bob"}, Message("user", (Text("Hi"),), name="Bob")),
    ({"role": "developer", "content": "Hi"}, Message("developer", (Text("Hi"),))),
    ({"role": "user", "content": ""}, Message("user", (Text(""),))),
    ({"role": "user", "content": []}, Message("user")),
    (
        {"role": "assistant", "content": "Hi", "reasoning": "Hm"},
        Message("assistant", (Thinking("Hm"), Text("Hi"))),
    ),
    (
        {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"},
        Message("assistant", (Thinking("Hm"), Text("Hi"))),
    ),
    ({"role": "assistant", "content": None, "refusal": "No."}, Message("assistant", (Text("No."),))),
    (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        Message("assistant", (ToolCall("f", '{"b":1,"a":2}', "c1"),)),
    ),
    (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        Message("assistant", (ToolCall("f", '{"b":1,"a":2}', "c1"),)),
    ),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
        Message("assistant", (ToolCall("f", "{}"),)),
    ),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        Message("assistant", (ToolCall("f", '{"a": 1}'),)),
    ),
    (
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        Message("assistant", (ToolCall("f", "{}"),)),
    ),
    (
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        Message("tool", (Text("ok"),), tool_call_id="c1"),
    ),
    (
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": [{"type": "text", "text": "ok"}]},
        Message("tool", (Text("ok"),), tool_call_id="c1", tool_name="f"),
    ),
    ({"role": "function", "name": "f", "content": "ok"}, Message("tool", (Text("ok"),), tool_name="f")),
]


@pytest.mark.parametrize(("wire", "message"), SHAPES, ids=lambda value: str(value)[:70])
def test_shape(wire: dict[str, Any], message: Message) -> None:
    assert messages(wire) == (message,)


def test_a_result_gets_the_name_of_its_call() -> None:
    assert messages(
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    )[1] == Message("tool", (Text("ok"),), tool_call_id="c1", tool_name="f")


def test_parts_stay_together_and_in_order() -> None:
    assert parts(
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": "data:;base64,aGk="},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
    ) == (
        Image(data="aGk=", media_type="image/png", detail="low"),
        Text("what?"),
        Image(data="aGk="),
        Image(url="https://x/y.png"),
        Audio("aGk=", "mp3"),
    )


def test_an_unknown_kind_is_kept_whole() -> None:
    (part,) = parts({"type": "file", "file": {"file_id": "f1"}})
    assert isinstance(part, Opaque)
    assert (part.dialect, part.kind, bytes(part.raw)) == (
        "openai",
        "file",
        b'{"type": "file", "file": {"file_id": "f1"}}',
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "no type": ({"text": "a"}, "invalid message format - messages[0].content[0]"),
    "text a number": ({"type": "text", "text": 5}, "invalid message format - messages[0].content[0]"),
    "text missing": ({"type": "text"}, "invalid message format - messages[0].content[0]"),
    "a part a string": ("a", "invalid message format - messages[0].content[0]"),
    "an image of nothing": ({"type": "image_url"}, "invalid message format - messages[0].content[0]"),
    "an image without base64": ({"type": "image_url", "image_url": "data:image/png,aGk="}, "invalid image input"),
    "an image that is not base64": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,a!"}},
        "invalid image input",
    ),
    "an image by file": ({"type": "image_url", "image_url": "file:///etc/passwd"}, "invalid image input"),
    "sound without data": (
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        "invalid input_audio format: missing data",
    ),
    "sound that is not base64": (
        {"type": "input_audio", "input_audio": {"data": "a!", "format": "wav"}},
        "invalid input_audio base64 data",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_part_refused(case: str) -> None:
    part, message = REFUSED[case]
    with pytest.raises(BadRequest) as caught:
        parts(part)
    assert caught.value.message == message


MESSAGES_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"role": "user"}, "invalid message content type: <nil> - messages[0].content is missing"),
    ({"role": "user", "content": None}, "invalid message content type: <nil> - messages[0].content is missing"),
    ({"content": "a"}, "messages[0].role is required"),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
        "invalid tool call arguments - messages[0].tool_calls[0]",
    ),
    (
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]},
        "invalid tool call arguments - messages[0].tool_calls[0]",
    ),
    ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages[0].tool_calls[0].function is required"),
]


@pytest.mark.parametrize(("wire", "message"), MESSAGES_REFUSED, ids=lambda value: str(value)[:60])
def test_a_message_refused(wire: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        messages(wire)
    assert caught.value.message == message


def test_half_a_surrogate_pair_is_replaced() -> None:
    request = decode_chat(b'{"model":"m","messages":[{"role":"user","content":"a\\ud83d b"}]}')
    assert isinstance(request, ChatRequest)
    assert request.messages == (Message("user", (Text("a\ufffd b"),)),)


def test_a_whole_surrogate_pair_is_kept() -> None:
    request = decode_chat(b'{"model":"m","messages":[{"role":"user","content":"\\ud83d\\ude00"}]}')
    assert isinstance(request, ChatRequest)
    assert request.messages == (Message("user", (Text("\U0001f600"),)),)


texts = st.builds(Text, st.text())
calls = st.builds(
    ToolCall,
    st.text(min_size=1),
    st.dictionaries(st.text(), st.integers()).map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.uuids().map(str),
)
contents = st.lists(
    st.one_of(
        st.builds(Text, st.text(min_size=1)),
        st.builds(Image, url=st.just("https://x/y"), detail=st.none() | st.just("high")),
        st.just(Image(data="aGk=", media_type="image/png")),
        st.just(Audio("aGk=", "wav")),
        st.just(Opaque("openai", "file", Raw(b'{"type":"file","file":{}}'))),
    ),
    max_size=4,
)
turns = st.one_of(
    st.builds(Message, st.sampled_from(["user", "system"]), texts.map(lambda text: (text,))),
    st.builds(Message, st.just("user"), contents.filter(lambda items: len(items) != 0).map(tuple)),
    st.builds(
        lambda thinking, text, made: Message(
            "assistant", (*([Thinking(thinking)] if thinking else []), *([Text(text)] if text else []), *made)
        ),
        st.text(),
        st.text(),
        st.lists(calls, min_size=1, max_size=3),
    ),
)


@given(st.lists(turns, min_size=1, max_size=5).map(tuple))
def test_decode_undoes_encode(conversation: tuple[Message, ...]) -> None:
    # Every call is answered at once, as the API demands.
    whole: list[Message] = []
    for message in conversation:
        whole.append(message)
        for part in message.parts:
            if isinstance(part, ToolCall):
                whole.append(Message("tool", (Text("ok"),), tool_call_id=part.id, tool_name=part.name))
    wire = json_text({"model": "m", "messages": messages_out(whole, PROFILES["openrouter"])})
    request = decode_chat(wire)
    assert isinstance(request, ChatRequest)
    assert request.messages == tuple(whole)
