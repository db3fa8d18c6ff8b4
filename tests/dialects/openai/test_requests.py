"""Requests of OpenAI's clients: bytes in, canonical requests or clear refusals out."""

import json
from typing import Any

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    JsonFormat,
    Message,
    Request,
    Sampling,
    SchemaFormat,
    Text,
)
from arriero.dialects.openai.requests import (
    check_chat,
    check_completion,
    check_embed,
    decode_chat,
    decode_completion,
    decode_embed,
)
from arriero.errors import BadRequest, UnsupportedCapability

MESSAGES = [{"role": "user", "content": "Hi"}]
USER = (Message("user", (Text("Hi"),)),)


def chat(**fields: Any) -> ChatRequest:
    request = decode_chat(json.dumps({"model": "m", "messages": MESSAGES} | fields).encode())
    assert isinstance(request, ChatRequest)
    return request


def request(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=USER, dialect="openai", **fields)


FIELDS: list[tuple[dict[str, Any], ChatRequest]] = [
    ({}, request()),
    ({"stream": True}, request(stream=True)),
    ({"stream": None}, request()),
    (
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        request(stream=True, include_usage=True),
    ),
    ({"max_tokens": 9}, request(sampling=Sampling(max_tokens=9))),
    ({"max_completion_tokens": 9}, request(sampling=Sampling(max_tokens=9))),
    ({"max_tokens": 5, "max_completion_tokens": 9}, request(sampling=Sampling(max_tokens=5))),
    ({"max_tokens": -1}, request()),
    (
        {"temperature": 0, "top_p": 1, "seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5},
        request(sampling=Sampling(temperature=0.0, top_p=1.0, seed=7, presence_penalty=0.5, frequency_penalty=-0.5)),
    ),
    (
        {"top_k": 40, "min_p": 0.5, "repetition_penalty": 1.5},
        request(sampling=Sampling(top_k=40, min_p=0.5, repeat_penalty=1.5)),
    ),
    ({"stop": "a"}, request(sampling=Sampling(stop=("a",)))),
    ({"stop": ["a", 1, "b"]}, request(sampling=Sampling(stop=("a", "b")))),
    ({"stop": []}, request()),
    ({"response_format": {"type": "text"}}, request()),
    ({"response_format": {"type": "json_object"}}, request(format=JsonFormat())),
    ({"reasoning_effort": "none"}, request(think=False)),
    ({"reasoning_effort": "minimal"}, request(think="minimal")),
    ({"reasoning_effort": "high"}, request(think="high")),
    ({"reasoning_effort": "ultra"}, request(think="max")),
    ({"reasoning_effort": ""}, request()),
    ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, request(think="low")),
    ({"reasoning": {"effort": ""}, "reasoning_effort": "high"}, request()),
    ({"reasoning": {"enabled": True}}, request(think=True)),
    ({"reasoning": {"enabled": False}}, request(think=False)),
    ({"logprobs": True, "top_logprobs": 3}, request(logprobs=True, top_logprobs=3)),
    ({"tools": []}, request()),
    ({"tool_choice": None, "parallel_tool_calls": False}, request(parallel_tool_calls=False)),
]


@pytest.mark.parametrize(("fields", "expected"), FIELDS, ids=lambda value: str(value)[:60])
def test_fields(fields: dict[str, Any], expected: ChatRequest) -> None:
    assert chat(**fields) == expected


def test_a_schema_keeps_its_bytes() -> None:
    body = (
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"n","strict":true,"schema":{"z": 1.0, "a": 2}}}}'
    )
    found = decode_chat(body)
    assert isinstance(found, ChatRequest)
    assert isinstance(found.format, SchemaFormat)
    assert (bytes(found.format.schema), found.format.name, found.format.strict) == (b'{"z": 1.0, "a": 2}', "n", True)


def test_tools_and_their_choice_keep_their_bytes() -> None:
    body = (
        b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"tool_choice": {"type":"function"},'
        b'"tools":[{"type":"function", "function":{"strict":true,"name":"f","parameters":{"$defs":{}}}}]}'
    )
    found = decode_chat(body)
    assert isinstance(found, ChatRequest)
    (tool,) = found.tools
    assert tool.name == "f"
    assert bytes(tool.raw) in body
    assert bytes(found.tool_choice or b"") == b'{"type":"function"}'


def test_what_has_no_place_is_kept_by_name() -> None:
    found = chat(n=2, logit_bias={"5": 1}, user="u", keep_alive="5m")
    assert {name: bytes(value) for name, value in found.extra.items()} == {
        "n": b"2",
        "logit_bias": b'{"5": 1}',
        "user": b'"u"',
        "keep_alive": b'"5m"',
    }


def test_a_reasoning_budget_is_kept_in_the_clients_words() -> None:
    found = chat(reasoning={"max_tokens": 100, "exclude": True})
    assert found.think is None
    assert json.loads(bytes(found.extra["reasoning"])) == {"max_tokens": 100, "exclude": True}


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "EOF: the request body is empty"),
    "blanks": (b" \n", "EOF: the request body is empty"),
    "half a body": (b'{"model":"m"', "the request body is not valid JSON: Input data was truncated"),
    "a list": (b"[1]", "the request body: expected object, got array"),
    "nested without end": (
        b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "the request body is nested too deeply",
    ),
    "not UTF-8 in an unknown name": (b'{"model":"m","\x80":1}', "the request body is not valid UTF-8"),
    "not UTF-8": (b'{"model":"\xff"}', "the request body is not valid UTF-8"),
    "no model": (b'{"messages":[]}', "model is required"),
    "no messages": (b'{"model":"m"}', "[] is too short - 'messages'"),
    "empty messages": (b'{"model":"m","messages":[]}', "[] is too short - 'messages'"),
    "messages a string": (b'{"model":"m","messages":"Hi"}', "messages: expected array, got string"),
    "a message a string": (b'{"model":"m","messages":["Hi"]}', "messages[0]: expected object, got string"),
    "a wrong type": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":"hot"}',
        "temperature: expected number, got string",
    ),
    "a wrong type inside": (
        b'{"model":"m","messages":[{"role":"user","content":5}]}',
        "messages[0].content: expected string or array, got integer",
    ),
    "too many candidates": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"top_logprobs":21}',
        "top_logprobs must be between 0 and 20",
    ),
    "an unknown effort": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"reasoning_effort":"foo"}',
        'invalid reasoning value: "foo" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max",'
        ' or "none")',
    ),
    "an unknown format": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"response_format":{"type":"xml"}}',
        "response_format.type: expected text, json_object or json_schema, got xml",
    ),
    "a schema format without schema": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema"}}',
        "response_format.json_schema.schema: required with the type json_schema",
    ),
    "a tool without a name": (
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function"}]}',
        "tools[0]: expected a function with a name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    body, message = REFUSED[case]
    with pytest.raises(BadRequest) as caught:
        decode_chat(body)
    assert (caught.value.message, caught.value.status) == (message, 400)


# ---- completions ---------------------------------------------------------------------------------------------------


def completion(**fields: Any) -> Request:
    return decode_completion(json.dumps({"model": "m"} | fields).encode())


def text(**fields: Any) -> CompletionRequest:
    return CompletionRequest(model="m", dialect="openai", **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": "a"}, text(prompt="a")),
        ({"prompt": ["a"]}, text(prompt="a")),
        ({"prompt": []}, text(prompt="")),
        ({}, text(prompt="")),
        ({"prompt": "a", "suffix": "z", "stream": True}, text(prompt="a", suffix="z", stream=True)),
        ({"prompt": "a", "max_tokens": 5}, text(prompt="a", sampling=Sampling(max_tokens=5))),
        ({"prompt": "a", "logprobs": 2}, text(prompt="a", logprobs=True, top_logprobs=2)),
        ({"prompt": "a", "logprobs": 0}, text(prompt="a")),
    ],
    ids=lambda value: str(value)[:50],
)
def test_completion(fields: dict[str, Any], expected: CompletionRequest) -> None:
    assert completion(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": ["a", "b"]}, "prompt: several prompts in one request are not supported, send one request for each"),
        ({"prompt": [1, 2]}, "prompt: token ids are not supported, send text"),
        ({"prompt": 5}, "prompt: expected string or array, got integer"),
        ({"model": "", "prompt": "a"}, "model is required"),
    ],
    ids=str,
)
def test_completion_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        completion(**fields)
    assert caught.value.message == message


# ---- embeddings ----------------------------------------------------------------------------------------------------


def embed(**fields: Any) -> Request:
    return decode_embed(json.dumps({"model": "m"} | fields).encode())


@pytest.mark.parametrize(
    ("fields", "inputs"),
    [
        ({"input": "a"}, ("a",)),
        ({"input": ""}, ("",)),
        ({"input": ["a", "b"]}, ("a", "b")),
        ({"input": [1, 2]}, ((1, 2),)),
        ({"input": [[1, 2], [3]]}, ((1, 2), (3,))),
    ],
    ids=str,
)
def test_inputs(fields: dict[str, Any], inputs: tuple[Any, ...]) -> None:
    assert embed(**fields) == EmbedRequest(model="m", inputs=inputs, dialect="openai")


def test_embed_fields() -> None:
    assert embed(input="a", dimensions=8, encoding_format="BASE64") == EmbedRequest(
        model="m", inputs=("a",), dimensions=8, base64=True, dialect="openai"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "invalid input"),
        ({"input": None}, "invalid input"),
        ({"input": []}, "invalid input"),
        ({"input": ["a", 1]}, "invalid input type"),
        ({"input": [[1, "a"]]}, "invalid input type"),
        ({"input": [True]}, "invalid input type"),
        (
            {"input": "a", "encoding_format": "int8"},
            "Invalid value for 'encoding_format' = int8. Supported values: ['float', 'base64'].",
        ),
        ({"model": "", "input": "a"}, "model is required"),
    ],
    ids=str,
)
def test_embed_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        embed(**fields)
    assert caught.value.message == message


# ---- what the model must be able to do -----------------------------------------------------------------------------

COMPLETION = frozenset({Capability.COMPLETION})
PICTURE = (Message("user", (Image(data="aGk="),)),)


def card(capabilities: frozenset[Capability] | None) -> ModelCard:
    return ModelCard(id="m", capabilities=capabilities)


def test_tools_on_a_model_without() -> None:
    wants = chat(tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(UnsupportedCapability, match='"m" does not support tools'):
        check_chat(wants, card(COMPLETION))
    check_chat(wants, card(COMPLETION | {Capability.TOOLS}))
    check_chat(wants, card(None))


def test_images_on_a_model_without_eyes() -> None:
    wants = ChatRequest(model="m", messages=PICTURE)
    with pytest.raises(UnsupportedCapability, match='"m" does not support images'):
        check_chat(wants, card(COMPLETION))
    check_chat(wants, card(COMPLETION | {Capability.VISION}))


def test_an_embedding_model_does_not_talk() -> None:
    embeds = card(frozenset({Capability.EMBEDDING}))
    with pytest.raises(UnsupportedCapability, match='"m" does not support chat'):
        check_chat(chat(), embeds)
    with pytest.raises(UnsupportedCapability, match='"m" does not support generate'):
        check_completion(text(prompt="a"), embeds)
    check_embed(embed(input="a"), embeds)
    check_embed(embed(input="a"), card(COMPLETION))
