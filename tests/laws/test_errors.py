"""Errors: each class of the tree has its shape and status in each dialect, before the first byte and after it."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero import errors
from arriero.canonical.events import Failed, Finished, Started
from arriero.dialects.base import Dialect, Endpoint
from arriero.dialects.profiles import PROFILES, profile_of
from arriero.dialects.quirks import Profile
from arriero.errors import ArrieroError, BackendError
from support.clients import read
from support.dialects import DIALECTS, NOW_NS, STREAMED, context, decode, driver_of, name, sample
from support.recordings import Recording, recordings

MESSAGE = 'it is "broken"\nñ \u2028 \ud83e'


HOUSE = Profile(name="house", error_type="house_error")
VENDOR = Profile(name="acme", title="Acme", error_type="acme_error", key_variable="ACME_API_KEY")


def said(status: int) -> str:
    """A status with its phrase, where it has one."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


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
    error = dialect.read_error(status, body, HOUSE)
    assert isinstance(error, BackendError)
    if status in (401, 403):
        assert (type(error), error.status) == (errors.BackendUnauthorized, 502)
        return
    assert error.message == "it is broken"
    named = dialect.read_error(status, body, VENDOR)
    assert (type(named), named.status, named.retry) == (type(error), error.status, error.retry)
    assert named.message == f"Acme API error: {said(status)}: it is broken"
    if status == 408:
        assert isinstance(error, errors.BackendTimeout)
    else:
        assert error.status == status
        assert isinstance(error, errors.BackendOverloaded) or error.retry is (
            errors.Retry.NEVER if status < 500 else errors.Retry.ELSEWHERE
        )


@BOTH
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("status", [401, 403, 407])
def test_no_vendors_word_on_the_gateways_key_is_told(dialect: Dialect, profile: Profile, status: int) -> None:
    body = dialect.write_error(errors.BackendFailed("key sk-1 is wrong", status=status), False).body
    error = dialect.read_error(status, body, profile)
    assert (type(error), error.status, error.type) == (errors.BackendUnauthorized, 502, profile.error_type)
    assert "sk-1" not in error.message and "wrong" not in error.message
    if profile.key_variable and status != 407:
        assert profile.key_variable in error.message


@pytest.mark.parametrize("served", STREAMED, ids=name)
def test_an_error_in_mid_stream_is_the_vendors(served: tuple[Dialect, Endpoint]) -> None:
    dialect, endpoint = served
    driver = driver_of(dialect, sample(endpoint))
    assert driver.decoder is not None
    decoder = driver.decoder(VENDOR)
    line = dialect.write_stream_error(errors.BackendFailed("it is broken"))
    (*_, last) = [*decoder.feed(line), *decoder.close()]
    assert last == Failed("Acme API error: it is broken", 502, type="acme_error")
    (cut,) = driver.decoder(VENDOR).close()
    assert isinstance(cut, Failed) and (cut.cut, cut.type) == (True, "acme_error")


@pytest.mark.parametrize("served", STREAMED, ids=name)
def test_an_error_in_a_whole_answer_is_the_vendors(served: tuple[Dialect, Endpoint]) -> None:
    dialect, endpoint = served
    body = dialect.write_error(errors.BackendFailed("it is broken"), False).body
    with pytest.raises(errors.BackendFailed) as raised:
        driver_of(dialect, sample(endpoint)).decode(body, VENDOR)
    found = raised.value
    assert (found.message, found.status, found.type) == ("Acme API error: it is broken", 502, "acme_error")


REFUSED = [found for found in recordings() if found.response.status >= 400 and found.response.body[:1] == b"{"]


@BOTH
@pytest.mark.parametrize("recording", REFUSED, ids=str)
def test_recorded_refusals_keep_their_text(dialect: Dialect, recording: Recording) -> None:
    response = recording.response
    error = dialect.read_error(response.status, response.body, profile_of("engine"))
    if response.status == 401:
        assert isinstance(error, errors.BackendUnauthorized)
    else:
        # Words that clients look for may stand before the backend's own.
        assert response.json()["error"]["message"].strip() in error.message
        assert error.status == response.status


@BOTH
@given(status=st.integers(300, 599), body=st.binary(max_size=80))
@pytest.mark.parametrize("profile", [HOUSE, VENDOR], ids=["house", "vendor"])
def test_any_body_makes_an_error_with_a_text(dialect: Dialect, profile: Profile, status: int, body: bytes) -> None:
    error = dialect.read_error(status, body, profile)
    assert isinstance(error, BackendError)
    assert error.message.strip()
    answer = dialect.write_error(error, False)
    assert text_of(dialect, json.loads(answer.body)) == error.message
