"""What is played in, OpenAI's answers out."""

import base64
import json
import struct
from typing import Any

import pytest

from arriero.backends.scripted import openai
from arriero.backends.scripted.reply import Reply, vector
from arriero.backends.scripted.script import Form, Model, Play, ToolCall, Usage

STREAM = {"stream": True}
CALL = ToolCall("weather", {"city": "Lima"})


def messages(reply: Reply) -> list[Any]:
    """The messages of a stream; `[DONE]` as it is."""
    assert (reply.status, reply.content_type, reply.stream) == (200, "text/event-stream", True)
    found = [piece.decode().removeprefix("data: ").strip() for piece in reply.pieces]
    return [text if text == "[DONE]" else json.loads(text) for text in found]


def value(reply: Reply) -> Any:
    assert (reply.content_type, reply.stream) == ("application/json", False)
    return json.loads(b"".join(reply.pieces))


def choices(reply: Reply) -> list[tuple[Any, Any]]:
    """Delta and finish reason of each chunk."""
    found = messages(reply)
    assert found.pop() == "[DONE]"
    assert all(chunk["object"] == "chat.completion.chunk" and chunk["model"] == "tiny" for chunk in found)
    return [(choice["delta"], choice["finish_reason"]) for chunk in found for choice in chunk["choices"]]


ROLE = ({"role": "assistant", "content": ""}, None)


@pytest.mark.parametrize(
    ("play", "deltas"),
    [
        (Play(say="Hi there"), [ROLE, ({"content": "Hi"}, None), ({"content": " there"}, None), ({}, "stop")]),
        (Play(say="Hi", finish="length"), [ROLE, ({"content": "Hi"}, None), ({}, "length")]),
        (Play(say="Hi", finish="none"), [ROLE, ({"content": "Hi"}, None), ({}, None)]),
        (Play(say="Hi", form=Form(finish_chunk=False)), [ROLE, ({"content": "Hi"}, "stop")]),
        (
            Play(say="Hi", think="Hm"),
            [ROLE, ({"reasoning_content": "Hm"}, None), ({"content": "Hi"}, None), ({}, "stop")],
        ),
        (
            Play(say="Hi", think="Hm", form=Form(reasoning="reasoning")),
            [ROLE, ({"reasoning": "Hm"}, None), ({"content": "Hi"}, None), ({}, "stop")],
        ),
        (
            Play(say="Hi", think="Hm", form=Form(reasoning="tags")),
            [ROLE, *(({"content": text}, None) for text in ("<think>", "Hm", "</think>", "Hi")), ({}, "stop")],
        ),
        (
            Play(call=(CALL,)),
            [
                ROLE,
                (
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "call_scripted0",
                                "type": "function",
                                "function": {"name": "weather", "arguments": ""},
                            }
                        ]
                    },
                    None,
                ),
                ({"tool_calls": [{"index": 0, "function": {"arguments": '{"cit'}}]}, None),
                ({"tool_calls": [{"index": 0, "function": {"arguments": 'y":"L'}}]}, None),
                ({"tool_calls": [{"index": 0, "function": {"arguments": 'ima"}'}}]}, None),
                ({}, "tool_calls"),
            ],
        ),
        (
            Play(call=(CALL,), form=Form(arguments="object", index=False, ids=False)),
            [
                ROLE,
                (
                    {
                        "tool_calls": [
                            {"type": "function", "function": {"name": "weather", "arguments": {"city": "Lima"}}}
                        ]
                    },
                    None,
                ),
                ({}, "tool_calls"),
            ],
        ),
    ],
)
def test_streams(play: Play, deltas: list[tuple[Any, Any]]) -> None:
    assert choices(openai.chat(play, STREAM, "tiny")) == deltas


def test_a_whole_answer() -> None:
    play = Play(say="Hi there", think="Hm", call=(CALL, ToolCall("f", "not json", "c9")), usage=Usage(5))
    assert value(openai.chat(play, {}, "tiny")) == {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": openai.CREATED,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi there",
                    "reasoning_content": "Hm",
                    "tool_calls": [
                        {
                            "id": "call_scripted0",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Lima"}'},
                        },
                        {"id": "c9", "type": "function", "function": {"name": "f", "arguments": "not json"}},
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
    }
    assert value(openai.chat(Play(call=(CALL,)), {}, "tiny"))["choices"][0]["message"]["content"] is None


USED = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}


@pytest.mark.parametrize(
    ("form", "usage", "options", "used"),
    [
        ("asked", True, {}, [None, None, None]),
        ("asked", True, {"include_usage": True}, [None, None, None, USED]),
        ("asked", False, {"include_usage": True}, [None, None, None]),
        ("always", True, {}, [None, None, None, USED]),
        ("every", True, {}, [USED, USED, USED]),
        ("never", True, {"include_usage": True}, [None, None, None]),
    ],
)
def test_usage_of_a_stream(form: Any, usage: bool, options: dict[str, bool], used: list[Any]) -> None:
    play = Play(say="Hi", usage=usage, form=Form(usage=form))
    found = messages(openai.chat(play, {**STREAM, "stream_options": options}, "tiny"))[:-1]
    assert [chunk.get("usage") for chunk in found] == used
    if len(used) == 4:
        assert found[-1]["choices"] == []


def test_usage_of_every_kind() -> None:
    play = Play(usage=Usage(9, 4, 3, 2))
    assert openai.usage(play) == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert openai.usage(Play(usage=False)) is None


def test_the_form_can_be_forced() -> None:
    assert not openai.chat(Play(form=Form(shape="json")), STREAM, "tiny").stream
    assert openai.chat(Play(form=Form(shape="stream")), {}, "tiny").stream


def test_errors() -> None:
    assert value(openai.error(404, "no", "model_not_found")) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "model_not_found"}
    }
    failed = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}
    assert messages(openai.chat(Play(say="Hi", error="boom"), STREAM, "tiny"))[-2:] == [failed, "[DONE]"]
    whole = openai.chat(Play(say="Hi", error="boom"), {}, "tiny")
    assert (whole.status, value(whole)) == (500, failed)


def test_completions() -> None:
    found = messages(openai.completion(Play(say="Hi there"), STREAM, "tiny"))
    assert [
        (chunk["object"], chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in found[:-1]
    ] == [
        ("text_completion", "Hi", None),
        ("text_completion", " there", None),
        ("text_completion", "", "stop"),
    ]
    whole = value(openai.completion(Play(say="Hi there"), {}, "tiny"))
    assert whole["choices"] == [{"text": "Hi there", "index": 0, "logprobs": None, "finish_reason": "stop"}]


@pytest.mark.parametrize(
    ("body", "count", "length"),
    [
        ({"input": "a"}, 1, 8),
        ({"input": ["a", "b"]}, 2, 8),
        ({"input": [1, 2, 3]}, 1, 8),
        ({"input": [[1, 2], [3]]}, 2, 8),
        ({"input": "a", "dimensions": 3}, 1, 3),
    ],
)
def test_embeddings(body: dict[str, Any], count: int, length: int) -> None:
    found = value(openai.embeddings(Play(), body, "tiny", 8))
    assert [len(item["embedding"]) for item in found["data"]] == [length] * count
    assert [item["index"] for item in found["data"]] == list(range(count))
    assert found["usage"] == {"prompt_tokens": count, "total_tokens": count}


def test_embeddings_as_base64() -> None:
    found = value(openai.embeddings(Play(embed=3), {"input": "a", "encoding_format": "base64"}, "tiny", 8))
    raw = base64.b64decode(found["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == pytest.approx(vector("a", 3), abs=1e-6)


def test_models() -> None:
    entry = {"id": "tiny", "object": "model", "created": openai.CREATED, "owned_by": "scripted", "context_length": 512}
    found = Model(name="tiny", context_length=512)
    assert value(openai.models([found])) == {"object": "list", "data": [entry]}
    assert value(openai.model(found)) == entry
