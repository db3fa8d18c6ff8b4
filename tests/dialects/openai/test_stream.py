"""Streams of OpenAI-compatible servers, good and odd: bytes in, events out."""

from typing import Any

import pytest

from arriero.canonical.events import (
    Failed,
    Finished,
    Kind,
    PartDelta,
    PartEnded,
    PartStarted,
    Reason,
    Started,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from arriero.canonical.requests import Text, Thinking, ToolCall
from arriero.canonical.stream import fold
from arriero.dialects.openai.stream import StreamDecoder
from support.openai_wire import DONE, HI, STOP, decode, delta, end, event, text
from support.recordings import load


def test_an_ordinary_answer() -> None:
    body = (
        event({"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        + delta(content="Hel")
        + delta(content="lo")
        + end()
        + event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
        + DONE
    )
    assert decode(body) == [Started("c-1", "m"), *text("Hel", "lo"), Finished(Reason.STOP, Usage(5, 2))]


REASONS = {
    "stop": Reason.STOP,
    "length": Reason.LENGTH,
    "max_tokens": Reason.LENGTH,
    "model_length": Reason.LENGTH,
    "content_filter": Reason.CONTENT_FILTER,
    "end_turn": Reason.STOP,
    "eos": Reason.STOP,
    "function_call": Reason.STOP,
}


@pytest.mark.parametrize("word", REASONS)
def test_finish_reason(word: str) -> None:
    assert decode(HI + end(word) + DONE)[-1] == Finished(REASONS[word])


# ---- logprobs ------------------------------------------------------------------------------------------------------

HELLO = TokenLogprob("Hi", -0.5, (72, 105), (TopLogprob("Hi", -0.5, (72, 105)), TopLogprob("Ho", -2.0)))


def test_logprobs_of_chat() -> None:
    content = [
        {
            "id": 5,
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [
                {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                {"token": "Ho", "logprob": -2, "bytes": None},
            ],
        }
    ]
    body = event({"choices": [{"delta": {"content": "Hi"}, "logprobs": {"content": content}}]}) + end() + DONE
    assert decode(body) == [
        Started(),
        PartStarted(Kind.TEXT),
        PartDelta(Kind.TEXT, "Hi", (HELLO,)),
        PartEnded(Text("Hi")),
        STOP,
    ]


def test_logprobs_with_nulls() -> None:
    content = [
        {"token": "Hi", "logprob": -0.5, "top_logprobs": None},
        {"token": "!", "logprob": None},
        {"token": "?", "logprob": -1, "top_logprobs": [{"token": "?", "logprob": None}]},
    ]
    body = event({"choices": [{"delta": {"content": "Hi"}, "logprobs": {"content": content}}]}) + end() + DONE
    assert decode(body)[2] == PartDelta(Kind.TEXT, "Hi", (TokenLogprob("Hi", -0.5), TokenLogprob("?", -1.0)))


def test_logprobs_that_cannot_be_read_are_left_out() -> None:
    odds: tuple[Any, ...] = ({}, {"content": []}, {"content": "x"}, {"tokens": ["a"]}, 7, None)
    for odd in odds:
        body = event({"choices": [{"delta": {"content": "Hi"}, "logprobs": odd}]}) + end() + DONE
        assert decode(body) == [Started(), *text("Hi"), STOP]


def test_logprobs_of_a_token_without_text() -> None:
    half = {"content": [{"token": "\\xf0", "logprob": -1.0, "bytes": [240]}]}
    body = event({"choices": [{"delta": {"content": ""}, "logprobs": half}]}) + end() + DONE
    assert decode(body)[2] == PartDelta(Kind.TEXT, "", (TokenLogprob("\\xf0", -1.0, (240,)),))


def test_logprobs_of_completions() -> None:
    legacy = {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -1.5],
        "top_logprobs": [None, {"b": -1.5, "c": -3.0}],
        "text_offset": [0, 1],
    }
    body = (
        event({"object": "text_completion", "choices": [{"text": "ab", "index": 0, "logprobs": legacy}]}) + end() + DONE
    )
    assert decode(body)[2] == PartDelta(
        Kind.TEXT,
        "ab",
        (TokenLogprob("a", 0.0), TokenLogprob("b", -1.5, None, (TopLogprob("b", -1.5), TopLogprob("c", -3.0)))),
    )


def test_a_completion() -> None:
    body = (
        event({"id": "x", "choices": [{"text": "", "index": 0, "finish_reason": None, "logprobs": None}]})
        + event({"choices": [{"text": "one", "index": 0, "finish_reason": None}]})
        + event({"choices": [{"text": " two", "index": 0, "finish_reason": "length"}]})
        + DONE
    )
    assert decode(body) == [Started("x"), *text("one", " two"), Finished(Reason.LENGTH)]


# ---- a real server -------------------------------------------------------------------------------------------------


def test_a_recorded_call_behind_thinking() -> None:
    recording = load("s_think_tool_auto_stream")
    assert fold(decode(recording.response.body)).parts == (
        Thinking("I need the weather tool.\n"),
        ToolCall("get_weather", '{"city": "Paris", "unit": "celsius"}', "bwG7FhZc5F0zZpmdEjNx6vUqiCvGQoBW"),
    )


def test_a_recorded_server_that_is_killed() -> None:
    events = decode(load("cut_mid_stream").response.body)
    assert events[-1] == Failed("the backend's answer was cut off before its end", cut=True)


def test_recorded_usage_and_timings() -> None:
    assert decode(load("chat_stream_usage").response.body)[-1] == Finished(
        Reason.STOP, Usage(17, 12, 3), Timings(prompt_ns=978_000, eval_ns=1_638_000)
    )


def test_a_line_without_end_fails() -> None:
    decoder = StreamDecoder()
    events = decoder.feed(b"data: " + b"x" * (64 * 1024 * 1024 + 10))
    assert events == [Failed("an event runs past the limit without a line end")]
    assert decoder.feed(HI) == []
