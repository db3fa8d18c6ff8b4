"""Whole answers."""

import json
import math

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import Answer, Embeddings, Finished, Reason, Timings, TokenLogprob, Usage
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Message,
    Request,
    Text,
    Thinking,
    ToolCall,
)
from arriero.canonical.stream import unfold
from arriero.dialects.base import AnswerContext, Times
from arriero.dialects.ollama.answers import encode_chat, encode_embed, encode_embeddings, encode_generate
from arriero.dialects.ollama.memory import recalled
from arriero.dialects.ollama.stream import chat_encoder
from arriero.errors import BackendBroken

NOW = 1_767_319_445_100_000_000
AT = b"2026-01-02T02:04:05.1Z"
REQUEST = ChatRequest(model="tiny", messages=(Message("user", (Text("hi"),)),))
USED = Finished(Reason.STOP, Usage(5, 2), Timings(900, 100, 200, 300))
METRICS = (
    b'"total_duration":900,"load_duration":100,"prompt_eval_count":5,"prompt_eval_duration":200,'
    b'"eval_count":2,"eval_duration":300}'
)


def context(request: Request = REQUEST) -> AnswerContext:
    return AnswerContext("tiny", request, Times(NOW - 900, NOW - 800), "exchange")


CALLS = (ToolCall("f", '{"b":1, "a":2}', "call_1"), ToolCall("g", "", "call_2"))


@pytest.mark.parametrize(
    ("answer", "message", "done"),
    [
        (Answer((Text("Hi"),), USED), b'{"role":"assistant","content":"Hi"}', b"stop"),
        (
            Answer((Thinking("Hm"), Text("H"), Text("i")), Finished(Reason.LENGTH, USED.usage, USED.timings)),
            b'{"role":"assistant","content":"Hi","thinking":"Hm"}',
            b"length",
        ),
        (
            Answer(CALLS, Finished(Reason.TOOL_CALLS, USED.usage, USED.timings)),
            b'{"role":"assistant","content":"","tool_calls":['
            b'{"id":"call_1","function":{"index":0,"name":"f","arguments":{"b":1,"a":2}}},'
            b'{"id":"call_2","function":{"index":1,"name":"g","arguments":{}}}]}',
            b"stop",
        ),
    ],
)
def test_chat(answer: Answer, message: bytes, done: bytes) -> None:
    assert encode_chat(answer, context(), NOW) == (
        b'{"model":"tiny","created_at":"' + AT + b'","message":' + message
        + b',"done":true,"done_reason":"' + done + b'",' + METRICS
    )  # fmt: skip


def test_generate() -> None:
    answer = Answer((Thinking("Hm"), Text("Hi")), Finished(Reason.STOP, USED.usage, USED.timings, (1, 2)))
    assert encode_generate(answer, context(), NOW) == (
        b'{"model":"tiny","created_at":"' + AT + b'","response":"Hi","thinking":"Hm","done":true,'
        b'"done_reason":"stop","context":[1,2],' + METRICS
    )


def test_a_backend_without_a_memory_of_its_own_gets_one() -> None:
    answer = Answer((Thinking("Hm"), Text("H"), Text("i")), USED)
    told = json.loads(encode_generate(answer, context(), NOW))
    assert recalled(told["context"]) == (*REQUEST.messages, Message("assistant", (Text("Hi"),)))
    raw = context(CompletionRequest(model="tiny", prompt="p"))
    assert b"context" not in encode_generate(answer, raw, NOW)
    assert b"context" not in encode_chat(answer, context(), NOW)


@pytest.mark.parametrize(("reason", "word"), [(Reason.LOAD, b"load"), (Reason.UNLOAD, b"unload")])
def test_a_load_has_no_metrics(reason: Reason, word: bytes) -> None:
    answer = Answer(finished=Finished(reason))
    assert encode_chat(answer, context(), NOW) == (
        b'{"model":"tiny","created_at":"' + AT + b'","message":{"role":"assistant","content":""},'
        b'"done":true,"done_reason":"' + word + b'"}'
    )
    assert encode_generate(answer, context(), NOW) == (
        b'{"model":"tiny","created_at":"' + AT + b'","response":"","done":true,"done_reason":"' + word + b'"}'
    )


def test_thinking_that_was_switched_off_is_not_shown() -> None:
    off = context(ChatRequest(model="tiny", think=False))
    assert b"thinking" not in encode_chat(Answer((Thinking("Hm"), Text("Hi")), USED), off, NOW)


def test_logprobs_are_shown_where_they_were_asked_for() -> None:
    answer = Answer((Text("Hi"),), USED, logprobs=(TokenLogprob("Hi", -0.5),))
    asked = context(ChatRequest(model="tiny", logprobs=True))
    shown = b'"done_reason":"stop","logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]}],"total_duration":'
    assert shown in encode_chat(answer, asked, NOW)
    assert encode_generate(answer, asked, NOW).endswith(
        b',"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]}]}'
    )
    assert b"logprobs" not in encode_chat(answer, context(), NOW)


def test_arguments_that_are_no_object_are_the_backends_fault() -> None:
    with pytest.raises(BackendBroken, match="the arguments of tool call 'f' are not a JSON object"):
        encode_chat(Answer((ToolCall("f", "x"),), USED), context(), NOW)


def test_the_python_client_takes_them() -> None:
    answer = Answer((Thinking("Hm"), Text("Hi"), *CALLS), Finished())
    response = ollama.ChatResponse.model_validate_json(encode_chat(answer, context(), NOW))
    assert response.message.tool_calls is not None
    assert response.message.tool_calls[0].function.arguments == {"b": 1, "a": 2}
    assert (response.prompt_eval_count, response.eval_count) == (1, 7)
    ollama.GenerateResponse.model_validate_json(encode_generate(answer, context(), NOW))


_parts = st.lists(
    st.builds(Text, st.text(min_size=1))
    | st.builds(Thinking, st.text(min_size=1))
    | st.builds(ToolCall, st.text(), st.dictionaries(st.text(), st.integers()).map(json.dumps), st.text(min_size=1)),
    max_size=4,
)


@given(_parts, st.sampled_from([False, True, None]))
def test_streamed_and_whole_answers_say_the_same(parts: list[Text | Thinking | ToolCall], think: bool | None) -> None:
    answer = Answer(tuple(parts), USED)
    asked = context(ChatRequest(model="tiny", think=think))
    whole = json.loads(encode_chat(answer, asked, NOW))
    lines = [json.loads(line) for line in chat_encoder(asked).feed(unfold(answer), NOW).splitlines()]
    messages = [line["message"] for line in lines]
    assert "".join(message["content"] for message in messages) == whole["message"]["content"]
    assert "".join(message.get("thinking", "") for message in messages) == whole["message"].get("thinking", "")
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    assert calls == whole["message"].get("tool_calls", [])
    assert {k: v for k, v in lines[-1].items() if k != "message"} == {k: v for k, v in whole.items() if k != "message"}


# ---- embeddings ----------------------------------------------------------------------------------------------------


def embed(*inputs: str, dimensions: int | None = None) -> AnswerContext:
    return context(EmbedRequest(model="tiny", inputs=inputs, dimensions=dimensions))


@pytest.mark.parametrize(
    ("vectors", "dimensions", "text"),
    [
        (((3.0, 4.0),), None, b"[[0.6,0.8]]"),
        (((3.0, 4.0, 12.0),), 2, b"[[0.6,0.8]]"),
        (((3.0, 4.0),), 5, b"[[0.6,0.8]]"),
        (((0.0, 0.0),), None, b"[[0,0]]"),
        (((1.0,), (-2.0,)), None, b"[[1],[-1]]"),
        (((1e-8, 1.0),), None, b"[[1e-08,1]]"),
    ],
)
def test_embed(vectors: tuple[tuple[float, ...], ...], dimensions: int | None, text: bytes) -> None:
    told = Embeddings(vectors, Usage(7), Timings(load_ns=5))
    assert encode_embed(told, embed("a", "b", dimensions=dimensions), NOW) == (
        b'{"model":"tiny","embeddings":' + text + b',"total_duration":900,"load_duration":5,"prompt_eval_count":7}'
    )


def test_embed_without_input_is_a_load() -> None:
    assert encode_embed(Embeddings(()), embed(), NOW) == b'{"model":"tiny","embeddings":[]}'
    assert encode_embeddings(Embeddings(()), embed(), NOW) == b'{"embedding":[]}'


def test_embed_without_usage() -> None:
    text = encode_embed(Embeddings(((1.0,),)), embed("a"), NOW)
    assert text == b'{"model":"tiny","embeddings":[[1]],"total_duration":900,"load_duration":100}'
    ollama.EmbedResponse.model_validate_json(text)


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=32))
def test_vectors_have_length_one(vector: list[float]) -> None:
    (shown,) = json.loads(encode_embed(Embeddings((tuple(vector),)), embed("a"), NOW))["embeddings"]
    assert math.isclose(math.hypot(*shown), 1.0 if any(vector) else 0.0, abs_tol=1e-5)


def test_embeddings_are_float32_written_as_float64() -> None:
    text = encode_embeddings(Embeddings(((0.1, 3.0, 4.0, -1e-7),)), embed("a"), NOW)
    assert text == b'{"embedding":[0.10000000149011612,3,4,-1.0000000116860974e-07]}'
    ollama.EmbeddingsResponse.model_validate_json(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_a_vector_that_is_none_is_a_400(value: float) -> None:
    with pytest.raises(BackendBroken, match=r"^embedding contains NaN or Inf values$") as caught:
        encode_embeddings(Embeddings(((value,),)), embed("a"), NOW)
    assert caught.value.status == 400
    if not math.isfinite(value):
        with pytest.raises(BackendBroken, match=r"^embedding contains NaN or Inf values$"):
            encode_embed(Embeddings(((value,),)), embed("a"), NOW)
