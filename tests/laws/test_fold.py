"""Fold: a whole answer is the fold of the stream, so streamed and unstreamed cannot disagree."""

from typing import Any

import pytest
from hypothesis import given

from arriero.canonical.events import Answer, Failed
from arriero.canonical.requests import CompletionRequest, Text, Thinking, ToolCall
from arriero.canonical.stream import fold, unfold
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import Dialect, Endpoint
from support.clients import Told, pairs, read
from support.dialects import NOW_NS, STREAMED, Stream, context, driver_of, encode, name, sample, streams
from support.recordings import Recording
from support.recordings import pairs as recorded_pairs
from support.values import answers

PAIRS = [
    (whole, streamed)
    for target in ("/v1/chat/completions", "/v1/completions")
    for whole, streamed in recorded_pairs(target)
]


def said(answer: Answer) -> list[Any]:
    """What an answer says; ids and times differ from one run of a server to the next."""
    shown: list[Any] = []
    for part in answer.parts:
        match part:
            case Text(text):
                shown.append(("text", text))
            case Thinking(text):
                shown.append(("thinking", text))
            case ToolCall(function, arguments):
                shown.append(("call", function, pairs(arguments)))
    return [shown, answer.finished.reason]


@pytest.mark.parametrize(("whole", "streamed"), PAIRS, ids=[str(whole) for whole, _ in PAIRS])
def test_a_server_says_the_same_in_both_forms(whole: Recording, streamed: Recording) -> None:
    (stream,) = [found for found in streams() if found.recording == streamed and found.dialect.name == "openai"]
    answer = stream.driver.decode(whole.response.body, NOBODY)
    assert isinstance(answer, Answer)
    folded = fold(stream.events())
    assert said(folded) == said(answer)
    assert [(item.token, item.logprob) for item in folded.logprobs] == [
        (item.token, item.logprob) for item in answer.logprobs
    ]
    assert folded.finished.usage.completion_tokens == answer.finished.usage.completion_tokens


def compare(streamed: Told, whole: Told) -> None:
    assert (streamed.text, streamed.thinking, streamed.calls) == (whole.text, whole.thinking, whole.calls)
    assert (streamed.end, streamed.models) == (whole.end, whole.models)
    for key in ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_eval_count", "eval_count"):
        assert streamed.usage.get(key) == whole.usage.get(key)


RECORDED = [found for found in streams() if found.dialect.name == "openai"]
COMPLETE = [found for found in RECORDED if not isinstance(found.events()[-1], Failed)]


def test_only_the_cut_recordings_fail() -> None:
    assert {found.recording.name for found in RECORDED if found not in COMPLETE} == {
        "cut_mid_stream",
        "s_tool_truncated_stream",
    }


@pytest.mark.parametrize("served", STREAMED, ids=name)
@pytest.mark.parametrize("stream", COMPLETE, ids=str)
def test_recorded_answers_reach_a_client_the_same_in_both_forms(
    stream: Stream, served: tuple[Dialect, Endpoint]
) -> None:
    _, endpoint = served
    events = stream.events()
    request = sample(endpoint)
    streamed = read(endpoint.path, encode(endpoint, request, events), streamed=True)
    whole = read(endpoint.path, endpoint.encode(fold(events), context(request), NOW_NS), streamed=False)
    compare(streamed, whole)


@pytest.mark.parametrize("served", STREAMED, ids=name)
@given(answer=answers())
def test_any_answer_reaches_a_client_the_same_in_both_forms(served: tuple[Dialect, Endpoint], answer: Answer) -> None:
    _, endpoint = served
    request = sample(endpoint)
    streamed = read(endpoint.path, encode(endpoint, request, unfold(answer)), streamed=True)
    whole = read(endpoint.path, endpoint.encode(answer, context(request), NOW_NS), streamed=False)
    compare(streamed, whole)
    assert whole.text == "".join(part.text for part in answer.parts if isinstance(part, Text))
    if endpoint.path != "/v1/completions":  # that route has words for text only
        assert whole.thinking == "".join(part.text for part in answer.parts if isinstance(part, Thinking))
        assert [called for called, _ in whole.calls] == [
            part.name for part in answer.parts if isinstance(part, ToolCall)
        ]


@pytest.mark.parametrize("served", STREAMED, ids=name)
@given(answer=answers())
def test_events_fed_together_or_one_by_one(served: tuple[Dialect, Endpoint], answer: Answer) -> None:
    """Content, not bytes: feeding together may share a time stamp between frames."""
    _, endpoint = served
    request = sample(endpoint)
    assert endpoint.encoder is not None
    together = endpoint.encoder(context(request)).feed(unfold(answer), NOW_NS)
    one_by_one = encode(endpoint, request, unfold(answer))
    compare(read(endpoint.path, together, streamed=True), read(endpoint.path, one_by_one, streamed=True))


def test_completions_are_among_the_streams() -> None:
    assert any(isinstance(stream.request, CompletionRequest) for stream in streams())
    assert all(driver_of(stream.dialect, stream.request).decoder is not None for stream in streams())
