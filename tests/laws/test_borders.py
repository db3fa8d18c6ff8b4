"""Borders: whatever arrives from outside, only errors of the tree come out of a dialect."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.canonical.events import Answer, Embeddings
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import Dialect, Endpoint
from arriero.errors import BackendError, BadRequest, NotFound
from support.dialects import DIALECTS, ENDPOINTS, SAMPLES, name
from support.recordings import recordings

REQUESTS = [SAMPLES[endpoint.path] for _, endpoint in ENDPOINTS] + [
    found.request.body for found in recordings() if found.request.body[:1] == b"{"
]
ANSWERS = [found.response.body for found in recordings() if found.response.body[:1] == b"{"] + [
    b'{"model":"m","message":{"role":"assistant","content":"a","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":true}',
    b'{"model":"m","response":"a","thinking":"b","done":true,"context":[1,2]}',
    b'{"embeddings":[[0.5]],"prompt_eval_count":1}',
    b'{"embedding":[0.5]}',
]
STRANGE: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1e308, 2**70, "", "x", "\ud83e", [], [None], [[]], {}, {"a": None}, {"type": "x"}, [{"type": 7}]]
)


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A real text with a value exchanged, a piece cut out, or bytes changed."""
    original = draw(st.sampled_from(originals))
    how = draw(st.integers(0, 3))
    if how == 0:
        return draw(st.binary(max_size=40))
    if how == 1:
        at, length = draw(st.integers(0, len(original))), draw(st.integers(0, 8))
        return original[:at] + draw(st.binary(max_size=4)) + original[at + length :]
    try:
        value = json.loads(original)
    except ValueError:
        return original
    _replace(draw, value)
    return json.dumps(value).encode()


def _replace(draw: st.DrawFn, value: Any) -> None:
    """Puts something strange into one place of a JSON value."""
    while True:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            value = inner
            continue
        value[key] = draw(STRANGE)
        return


@pytest.mark.parametrize("served", ENDPOINTS, ids=name)
@settings(max_examples=400)
@given(body=damaged(REQUESTS))
def test_a_request_is_read_or_refused(served: tuple[Dialect, Endpoint], body: bytes) -> None:
    _, endpoint = served
    try:
        request = endpoint.decode(body)
    except (BadRequest, NotFound) as error:
        assert error.message
        return
    assert isinstance(request, ChatRequest | CompletionRequest | EmbedRequest)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=400)
@given(body=damaged(ANSWERS))
def test_an_answer_is_read_or_broken(dialect: Dialect, body: bytes) -> None:
    for driver in dialect.drivers.values():
        try:
            answer = driver.decode(body, NOBODY)
        except BackendError as error:
            assert error.message
        else:
            assert isinstance(answer, Answer | Embeddings)
