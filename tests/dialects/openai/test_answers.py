"""Whole answers of OpenAI-compatible servers: bytes in, values or errors out."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from arriero.canonical.events import Answer, Embeddings, Finished, Reason, Started, Timings, Usage
from arriero.canonical.requests import Text, Thinking, ToolCall
from arriero.dialects.openai.answers import decode_answer, decode_embeddings
from arriero.dialects.profiles import profile_of
from arriero.dialects.quirks import Profile
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendUnauthorized,
)
from support.recordings import load


def message(reason: str | None = "stop", **fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": fields, "finish_reason": reason}]}).encode()


ANSWERS: dict[str, tuple[bytes, Answer]] = {
    "text": (message(role="assistant", content="Hi"), Answer((Text("Hi"),))),
    "content null": (message(content=None), Answer()),
    "thinking by either name": (
        message(content="Hi", reasoning_content="Hm"),
        Answer((Thinking("Hm"), Text("Hi"))),
    ),
    "a refusal": (message(content=None, refusal="No."), Answer((Text("No."),))),
    "no finish_reason": (message(None, content="Hi"), Answer((Text("Hi"),))),
    "two calls alike, without ids": (
        message(content="", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}] * 2),
        Answer((ToolCall("f", "{}"), ToolCall("f", "{}")), Finished(Reason.TOOL_CALLS)),
    ),
    "arguments as an object": (
        message("tool_calls", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]),
        Answer((ToolCall("f", '{"a": 1}', "c"),), Finished(Reason.TOOL_CALLS)),
    ),
    "a function_call": (
        message("function_call", content=None, function_call={"name": "f", "arguments": "{}"}),
        Answer((ToolCall("f", "{}"),), Finished(Reason.TOOL_CALLS)),
    ),
    "a completion": (
        b'{"id":"x","model":"m","choices":[{"text":"one","index":0,"finish_reason":"length"}]}',
        Answer((Text("one"),), Finished(Reason.LENGTH), Started("x", "m")),
    ),
    "several choices": (
        b'{"choices":[{"index":1,"text":"no"},{"index":0,"text":"yes"}]}',
        Answer((Text("yes"),)),
    ),
    "no choices at all": (b'{"choices":[]}', Answer()),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answer(case: str) -> None:
    body, answer = ANSWERS[case]
    assert decode_answer(body) == answer


def test_a_recorded_answer() -> None:
    assert decode_answer(load("s_tools2_auto").response.body) == Answer(
        (
            ToolCall("get_weather", '{"city": "Paris", "unit": "celsius"}', "8EmqdTJEC73RjgN3u3cEdO1AQtbTvwcd"),
            ToolCall("get_time", '{"zone": "UTC"}', "CFWHdCIMLLQF6opv2gnOwPuKnihqTHMw"),
        ),
        Finished(
            Reason.TOOL_CALLS,
            Usage(755, 15, *_cached("s_tools2_auto")),
            _timings("s_tools2_auto"),
        ),
        Started(load("s_tools2_auto").response.json()["id"], "scripted-tools2"),
    )


def _cached(name: str) -> tuple[int]:
    return (load(name).response.json()["usage"]["prompt_tokens_details"]["cached_tokens"],)


def _timings(name: str) -> Timings:
    told = load(name).response.json()["timings"]
    return Timings(prompt_ns=round(told["prompt_ms"] * 1e6), eval_ns=round(told["predicted_ms"] * 1e6))


BROKEN: dict[str, tuple[bytes, type[BackendError], str, int]] = {
    "not JSON": (b"<html>", BackendBroken, "the backend's answer is not JSON: ", 502),
    "a list": (b"[1]", BackendBroken, "the backend's answer is not JSON: not a JSON object", 502),
    "nothing": (b"", BackendBroken, "the backend's answer is empty", 502),
    "blanks": (b" \n", BackendBroken, "the backend's answer is empty", 502),
    "nested without end": (
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        BackendBroken,
        "the backend's answer is not JSON: ",
        502,
    ),
    "no choices": (b'{"id":"x"}', BackendBroken, "the backend's answer has no choices", 502),
    "an error with 200": (b'{"error":{"message":"too much","code":429}}', BackendOverloaded, "too much", 429),
    "an error about the request": (
        b'{"error":{"message":"too long","type":"invalid_request_error"}}',
        BackendRefused,
        "too long",
        400,
    ),
    "an error of no kind": (b'{"error":"boom"}', BackendFailed, "boom", 502),
    "a detail": (b'{"detail":"no such route"}', BackendFailed, "no such route", 502),
    "bad arguments": (
        message(tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),
        BackendBroken,
        "the model called f with arguments that are not a JSON object: {",
        502,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case: str) -> None:
    body, kind, text, status = BROKEN[case]
    with pytest.raises(BackendError) as caught:
        decode_answer(body)
    assert (type(caught.value), caught.value.status) == (kind, status)
    assert caught.value.message.startswith(text)


@pytest.mark.parametrize(
    "body",
    [b'{"error":{"message":"key sk-1 is wrong","code":401}}', b'{"message":"key sk-1 is wrong","code":401}'],
)
@pytest.mark.parametrize("decode", [decode_answer, decode_embeddings])
def test_a_vendors_word_on_the_gateways_key_is_not_told(
    decode: Callable[[bytes, Profile], object], body: bytes
) -> None:
    with pytest.raises(BackendUnauthorized) as caught:
        decode(body, profile_of("openrouter"))
    assert (caught.value.message, caught.value.status, caught.value.type) == (
        "OpenRouter API error: 401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)",
        502,
        "openrouter_error",
    )


def test_an_error_beside_a_choice_is_the_vendors() -> None:
    body = b'{"choices":[{"index":0,"message":{},"error":{"message":"slow down","code":429}}]}'
    with pytest.raises(BackendOverloaded) as caught:
        decode_answer(body, profile_of("openrouter"))
    assert (caught.value.message, caught.value.status, caught.value.type) == (
        "OpenRouter API error: 429 Too Many Requests: slow down",
        429,
        "rate_limited",
    )


# ---- embeddings ----------------------------------------------------------------------------------------------------

VECTORS: dict[str, tuple[bytes, Embeddings]] = {
    "in order": (
        b'{"data":[{"embedding":[1,2.5],"index":0},{"embedding":[3],"index":1}],"usage":{"prompt_tokens":4}}',
        Embeddings(((1.0, 2.5), (3.0,)), Usage(4)),
    ),
    "by index, not by position": (
        b'{"data":[{"embedding":[1],"index":1},{"embedding":[2],"index":0}]}',
        Embeddings(((2.0,), (1.0,))),
    ),
    "indexes that say nothing": (
        b'{"data":[{"embedding":[1],"index":0},{"embedding":[2],"index":0}]}',
        Embeddings(((1.0,), (2.0,))),
    ),
    "no indexes": (b'{"data":[{"embedding":[1]},{"embedding":[2]}]}', Embeddings(((1.0,), (2.0,)))),
    "base64": (b'{"data":[{"embedding":"AAAAPwAAgL8=","index":0}]}', Embeddings(((0.5, -1.0),))),
    "none": (b'{"data":[]}', Embeddings(())),
}


@pytest.mark.parametrize("case", VECTORS)
def test_embeddings(case: str) -> None:
    body, embeddings = VECTORS[case]
    assert decode_embeddings(body) == embeddings


def test_recorded_embeddings() -> None:
    floats = decode_embeddings(load("embeddings_tokens").response.body)
    packed = decode_embeddings(load("embeddings_base64").response.body)
    assert (len(floats.vectors), len(floats.vectors[0]), floats.usage) == (1, 384, Usage(3))
    assert len(packed.vectors[0]) == 384


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", BackendBroken),
        (b"[]", BackendBroken),
        (b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", BackendBroken),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", BackendBroken),
        (b'{"data":[{"index":0}]}', BackendBroken),
        (b'{"data":[{"embedding":[null],"index":0}]}', BackendBroken),
        (b'{"data":[{"embedding":"!","index":0}]}', BackendBroken),
        (b'{"data":[{"embedding":"AAA=","index":0}]}', BackendBroken),
        (b'{"object":"list"}', BackendBroken),
        (b'{"error":{"message":"busy","code":503}}', BackendOverloaded),
        (b'{"message":"boom"}', BackendFailed),
    ],
    ids=lambda value: str(value)[:30],
)
def test_broken_embeddings(body: bytes, kind: type[BackendError]) -> None:
    with pytest.raises(BackendError) as caught:
        decode_embeddings(body)
    assert type(caught.value) is kind
