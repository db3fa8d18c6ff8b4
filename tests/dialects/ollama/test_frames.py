"""The pieces that frames and whole answers share."""

import json

import pytest

from arriero.canonical.events import Finished, Reason, Timings, TokenLogprob, TopLogprob, Usage
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Message, Request, Text, ToolCall
from arriero.dialects.base import Times
from arriero.dialects.ollama import frames
from arriero.dialects.ollama.frames import BadArguments, Measured, Stamp

SECOND = 1_000_000_000
NOW = 1_787_338_102 * SECOND
TIMES = Times(NOW, NOW + 50)
REQUEST = ChatRequest(model="x", messages=(Message("user", (Text("x" * 20),)),))


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [
        (NOW, b"2026-08-21T18:48:22Z"),
        (NOW + 1, b"2026-08-21T18:48:22.000000001Z"),
        (NOW + 120_000_000, b"2026-08-21T18:48:22.12Z"),
        (NOW + 123_456_789, b"2026-08-21T18:48:22.123456789Z"),
        (NOW + SECOND, b"2026-08-21T18:48:23Z"),
        (NOW - 1, b"2026-08-21T18:48:21.999999999Z"),
    ],
)
def test_created_at(now_ns: int, text: bytes) -> None:
    stamp = Stamp()
    stamp.text(NOW)
    assert (stamp.text(now_ns), frames.moment(now_ns)) == (text, text)


@pytest.mark.parametrize(
    ("finished", "measured", "text"),
    [
        (
            Finished(Reason.STOP, Usage(5, 2), Timings(9, 100, 200, 300)),
            Measured(7, NOW + 60, NOW + 90),
            b',"total_duration":900,"load_duration":100,"prompt_eval_count":5,"prompt_eval_duration":200,'
            b'"eval_count":2,"eval_duration":300',
        ),
        (
            Finished(),
            Measured(7, NOW + 60, NOW + 90),
            b',"total_duration":900,"load_duration":50,"prompt_eval_count":5,"prompt_eval_duration":10,'
            b'"eval_count":7,"eval_duration":30',
        ),
        (
            Finished(),
            Measured(12),
            b',"total_duration":900,"load_duration":50,"prompt_eval_count":5,"prompt_eval_duration":250,'
            b'"eval_count":12,"eval_duration":600',
        ),
        (
            Finished(usage=Usage(5, 0)),
            Measured(0, NOW, NOW),
            b',"total_duration":900,"load_duration":50,"prompt_eval_count":5,"prompt_eval_duration":1,'
            b'"eval_duration":1',
        ),
        (Finished(Reason.LOAD), Measured(0), b""),
        (Finished(Reason.UNLOAD), Measured(0), b""),
    ],
)
def test_metrics(finished: Finished, measured: Measured, text: bytes) -> None:
    assert frames.metrics(finished, TIMES, REQUEST, measured, NOW + 900) == text


def test_no_duration_is_zero() -> None:
    text = frames.metrics(Finished(), Times(NOW, NOW), REQUEST, Measured(1, NOW, NOW), NOW)
    assert {value for key, value in json.loads(b"{" + text[1:] + b"}").items() if key.endswith("duration")} == {1}


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (REQUEST, 5),
        (ChatRequest(model="x"), 1),
        (ChatRequest(model="x", messages=(Message("assistant", (ToolCall("f" * 4, '{"a": 1}'),)),)), 3),
        (CompletionRequest(model="x", prompt="é" * 4, suffix="abcd"), 3),
        (EmbedRequest(model="x", inputs=("abcd", (1, 2, 3))), 4),
    ],
)
def test_a_prompt_without_a_count_is_guessed(request_: Request, tokens: int) -> None:
    assert frames.guessed_prompt_tokens(request_) == tokens


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", b"{}"),
        ("{}", b"{}"),
        ("null", b"{}"),
        (' {"b": 1.50, "a": {"z": [], "y": 1e3}}\n', b'{"b":1.50,"a":{"z":[],"y":1e3}}'),
        ('{\n  "city": "Zürich\u2028"\n}', b'{"city":"Z\\u00fcrich\\u2028"}'),
        ('{"a":"\\n \\u00e9"}', b'{"a":"\\n \\u00e9"}'),
    ],
)
def test_arguments_are_an_object_on_one_line(arguments: str, text: bytes) -> None:
    assert frames.arguments_json(ToolCall("f", arguments)) == text


@pytest.mark.parametrize("arguments", ["{", "[1]", '"{}"', "true", "{'a': 1}", "x" * 1000, '{"a":"\ud800"}'])
def test_arguments_that_are_no_object_are_an_error(arguments: str) -> None:
    with pytest.raises(BadArguments, match=r"^the arguments of tool call 'f' are not a JSON object: ") as caught:
        frames.arguments_json(ToolCall("f", arguments))
    assert len(str(caught.value)) < 300


def test_a_call() -> None:
    assert frames.call_json(ToolCall("get", '{"b":1,"a":2}', "call_7"), 3, "id") == (
        b'{"id":"call_7","function":{"index":3,"name":"get","arguments":{"b":1,"a":2}}}'
    )


def test_a_missing_call_id_is_made_the_same_each_time() -> None:
    ids = [frames.call_id("exchange", index) for index in (0, 1)]
    assert ids == [frames.call_id("exchange", index) for index in (0, 1)]
    assert ids[0] != ids[1] != frames.call_id("other", 1)
    assert all(len(one) == 13 and one.startswith("call_") and one[5:].isalnum() for one in ids)


TOKEN = TokenLogprob("Hi", -0.5, None, (TopLogprob("Hi", -0.5, (72, 105)), TopLogprob("", float("-inf"))))


@pytest.mark.parametrize(
    ("top", "text"),
    [
        (None, b',"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]}]'),
        (
            2,
            b',"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":'
            b'[{"token":"Hi","logprob":-0.5,"bytes":[72,105]},{"token":"","logprob":-9999.0}]}]',
        ),
    ],
)
def test_logprobs(top: int | None, text: bytes) -> None:
    assert frames.logprobs_json([TOKEN], top) == text
    assert frames.logprobs_json([], top) == b""
