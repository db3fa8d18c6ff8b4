"""Translation: what an Ollama client sees of every recorded stream of an OpenAI-style backend."""

import json
import re

import pytest

from arriero.canonical.events import Answer, Failed
from arriero.canonical.requests import Text, Thinking
from arriero.canonical.stream import fold
from arriero.dialects import ollama
from arriero.dialects.base import Endpoint
from support.clients import read_ollama
from support.dialects import NOW_NS, Stream, context, encode, sample, streams

RECORDED = [stream for stream in streams() if stream.dialect.name == "openai"]
ROUTES = [ollama.DIALECT.by_path["/api/chat"], ollama.DIALECT.by_path["/api/generate"]]
CREATED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@pytest.mark.parametrize("endpoint", ROUTES, ids=lambda endpoint: endpoint.path)
@pytest.mark.parametrize("stream", RECORDED, ids=str)
def test_every_line_is_a_frame(stream: Stream, endpoint: Endpoint) -> None:
    events = stream.events()
    told = read_ollama(encode(endpoint, sample(endpoint), events))
    *before, last = told.frames
    assert all(frame["done"] is False for frame in before)
    assert all(CREATED_AT.fullmatch(frame["created_at"]) for frame in before)
    if isinstance(events[-1], Failed):
        assert set(last) <= {"error", "type"}
        return
    answer = fold(events)
    assert last["done"] is True
    assert last["done_reason"] == ("length" if answer.finished.reason.value == "length" else "stop")
    assert told.models == {"mañana:latest"}
    assert told.text == "".join(part.text for part in answer.parts if isinstance(part, Text))
    assert told.thinking == "".join(part.text for part in answer.parts if isinstance(part, Thinking))
    for key in ("total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"):
        assert isinstance(last[key], int)
        assert last[key] > 0


@pytest.mark.parametrize("stream", RECORDED, ids=str)
def test_no_frame_is_empty_before_the_last(stream: Stream) -> None:
    *before, _ = read_ollama(encode(ROUTES[0], sample(ROUTES[0]), stream.events())).frames
    for frame in before:
        message = frame["message"]
        assert message["role"] == "assistant"
        assert message["content"] or message.get("thinking") or message.get("tool_calls") or frame.get("logprobs")


@pytest.mark.parametrize("stream", RECORDED, ids=str)
def test_a_whole_answer_is_one_object(stream: Stream) -> None:
    events = stream.events()
    if isinstance(events[-1], Failed):
        return
    for endpoint in ROUTES:
        body = endpoint.encode(fold(events), context(sample(endpoint)), NOW_NS)
        assert b"\n" not in body
        frame = json.loads(body)
        assert frame["done"] is True
        assert frame["done_reason"] in ("stop", "length")


def test_thinking_that_was_switched_off_is_not_shown() -> None:
    endpoint = ROUTES[0]
    request = endpoint.decode(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"think":false}')
    (stream,) = [found for found in RECORDED if found.recording.name == "s_think_stream"]
    events = stream.events()
    answer = fold(events)
    assert isinstance(answer, Answer)
    assert any(isinstance(part, Thinking) for part in answer.parts)
    assert read_ollama(encode(endpoint, request, events)).thinking == ""
    assert read_ollama(endpoint.encode(answer, context(request), NOW_NS)).thinking == ""
