"""Errors: each class of the tree has its shape and status in each dialect, before the first byte and after it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero import errors
from arriero.canonical.events import Failed, Finished, Started
from arriero.dialects.base import Dialect, Endpoint
from arriero.errors import ArrieroError, BackendError
from support.clients import read
from support.dialects import DIALECTS, NOW_NS, STREAMED, context, decode, driver_of, name, sample
from support.recordings import Recording, recordings

MESSAGE = 'it is "broken"\nñ \u2028 \ud83e'


def tree(root: type[ArrieroError] = ArrieroError) -> Iterator[type[ArrieroError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "arriero.errors":
            yield from tree(child)


def instance(found: type[ArrieroError]) -> ArrieroError:
    """An error of this class with a text that is hard to write."""
    if found is errors.ModelNotFound:
        return errors.ModelNotFound("m", MESSAGE)
    if found is errors.AmbiguousModel:
        return errors.AmbiguousModel("m", (MESSAGE, "b"))
    if found is errors.Busy:
        return errors.Busy()
    return found(MESSAGE)


def text_of(dialect: Dialect, envelope: Any) -> str:
    """What a client of this dialect shows of an error."""
    if dialect.name == "ollama":
        assert isinstance(envelope["error"], str)
        return str(envelope["error"])
    assert set(envelope) == {"error"}
    assert set(envelope["error"]) == {"message", "type", "param", "code"}
    return str(envelope["error"]["message"])


TREE = list(tree())
BOTH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
EACH = pytest.mark.parametrize("found", TREE, ids=[found.__name__ for found in TREE])


@BOTH
@EACH
@pytest.mark.parametrize("streaming", [False, True])
def test_before_the_first_byte(dialect: Dialect, found: type[ArrieroError], streaming: bool) -> None:
    error = instance(found)
    answer = dialect.write_error(error, streaming)
    assert answer.status == error.status
    assert answer.content_type.startswith(b"application/json")
    assert answer.body.isascii()
    assert text_of(dialect, json.loads(answer.body)) == error.message


@BOTH
@EACH
def test_the_stable_word_stands_beside_the_text(dialect: Dialect, found: type[ArrieroError]) -> None:
    error = instance(found)
    envelope = json.loads(dialect.write_error(error, False).body)
    assert (envelope["type"] if dialect.name == "ollama" else envelope["error"]["code"]) == error.type


@BOTH
@EACH
def test_after_the_first_byte(dialect: Dialect, found: type[ArrieroError]) -> None:
    error = instance(found)
    written = dialect.write_stream_error(error)
    assert written.isascii()
    if dialect.name == "ollama":
        assert written.count(b"\n") == 1
        assert written.endswith(b"\n")
        envelope = json.loads(written)
    else:
        assert written.count(b"\n\n") == 1
        assert written.startswith(b"data: ")
        assert written.endswith(b"\n\n")
        envelope = json.loads(written.removeprefix(b"data: "))
    assert text_of(dialect, envelope) == error.message


@pytest.mark.parametrize("served", STREAMED, ids=name)
def test_a_failed_stream_ends_in_its_error(served: tuple[Dialect, Endpoint]) -> None:
    _, endpoint = served
    assert endpoint.encoder is not None
    encoder = endpoint.encoder(context(sample(endpoint)))
    written = encoder.feed([Started()], NOW_NS) + encoder.feed([Failed(MESSAGE, 500)], NOW_NS)
    told = read(endpoint.path, written, streamed=True)
    assert (told.error, told.end) == (MESSAGE, None)


@pytest.mark.parametrize("served", STREAMED, ids=name)
@pytest.mark.parametrize("status", [400, 429, 500, 502, 503])
def test_an_error_in_mid_stream_is_read_back(served: tuple[Dialect, Endpoint], status: int) -> None:
    dialect, endpoint = served
    error = errors.BackendFailed("it is broken", status=status)
    events = decode(driver_of(dialect, sample(endpoint)), [dialect.write_stream_error(error)])
    assert isinstance(events[-1], Failed)
    assert "it is broken" in events[-1].message
    assert not any(isinstance(event, Finished) for event in events)


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500, 501, 502, 503, 504, 529])
def test_an_error_answer_is_read_back(dialect: Dialect, status: int) -> None:
    """Whatever the status, the error is a backend's, keeps its text, and blames no client for the gateway's key."""
    body = dialect.write_error(errors.BackendFailed("it is broken", status=status), False).body
    error = dialect.read_error(status, body, "openrouter_error")
    assert isinstance(error, BackendError)
    if status in (401, 403):
        assert (type(error), error.status) == (errors.BackendUnauthorized, 502)
        return
    assert error.message == "it is broken"
    if status == 408:
        assert isinstance(error, errors.BackendTimeout)
    else:
        assert error.status == status
        assert isinstance(error, errors.BackendOverloaded) or error.retry is (
            errors.Retry.NEVER if status < 500 else errors.Retry.ELSEWHERE
        )


REFUSED = [found for found in recordings() if found.response.status >= 400 and found.response.body[:1] == b"{"]


@BOTH
@pytest.mark.parametrize("recording", REFUSED, ids=str)
def test_recorded_refusals_keep_their_text(dialect: Dialect, recording: Recording) -> None:
    response = recording.response
    error = dialect.read_error(response.status, response.body, "engine_error")
    if response.status == 401:
        assert isinstance(error, errors.BackendUnauthorized)
    else:
        # Words that clients look for may stand before the backend's own.
        assert response.json()["error"]["message"].strip() in error.message
        assert error.status == response.status


@BOTH
@given(status=st.integers(300, 599), body=st.binary(max_size=80))
def test_any_body_makes_an_error_with_a_text(dialect: Dialect, status: int, body: bytes) -> None:
    error = dialect.read_error(status, body, "openai_error")
    assert isinstance(error, BackendError)
    assert error.message.strip()
    answer = dialect.write_error(error, False)
    assert text_of(dialect, json.loads(answer.body)) == error.message
