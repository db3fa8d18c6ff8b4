"""Errors inside an answer that began with 200."""

import pytest

from arriero.canonical.events import Failed
from arriero.dialects.openai.failures import failed

CREDENTIALS = "the backend refused the gateway's credentials for it (HTTP 401): check the backend's API key"

SHAPES: dict[bytes, Failed] = {
    b'{"message":"a","code":429}': Failed("a", 429),
    b'{"message":"a","code":"503"}': Failed("a", 503),
    b'{"message":"a","status":400}': Failed("a", 400),
    b'{"message":"a","status_code":404}': Failed("a", 404),
    b'{"message":"a","type":"rate_limit_exceeded","code":null}': Failed("a", 429),
    b'{"message":"a","code":"bad","type":"invalid_request_error"}': Failed("a", 400),
    b'{"message":"a","status":"UNAVAILABLE"}': Failed("a", 503),
    b'{"message":"a","type":"overloaded_error"}': Failed("a", 503),
    b'{"message":"a","type":"timeout"}': Failed("a", 504),
    b'{"message":"a","code":200}': Failed("a", 502),
    b'{"message":"a","code":true}': Failed("a", 502),
    b'{"error":{"message":"a"},"status_code":429}': Failed("a", 429),
    b'{"error":{"message":"a","code":400}}': Failed("a", 400),
    b'{"error":"a"}': Failed("a", 502),
    b'{"detail":"a"}': Failed("a", 502),
    b'"a"': Failed("a", 502),
    b"plain text": Failed("plain text", 502),
    b'{"message":"key sk-1 is wrong","code":401}': Failed(CREDENTIALS, 502),
    b'{"message":"key sk-1 is wrong","code":"invalid_api_key"}': Failed(CREDENTIALS, 502),
}


@pytest.mark.parametrize("payload", SHAPES)
def test_failed(payload: bytes) -> None:
    assert failed(payload) == SHAPES[payload]


def test_a_word_for_the_status() -> None:
    # The text for a context that is too short is the same for every backend, and chosen elsewhere.
    assert failed(b'{"message":"a","code":"context_length_exceeded"}').status == 400


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"7", b"null", b"{oops"])
def test_there_is_always_a_text(payload: bytes) -> None:
    found = failed(payload)
    assert found.message
    assert found.status == 502
