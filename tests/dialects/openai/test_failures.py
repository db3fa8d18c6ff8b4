"""Errors inside an answer that began with 200."""

import pytest

from arriero.canonical.events import Failed
from arriero.dialects.openai.failures import failed, reported
from arriero.dialects.quirks import Profile
from arriero.errors import BackendRefused, ContextExceeded

CREDENTIALS = "the backend refuses the gateway's key, HTTP 401 (look at api_key of the backend)"

SHAPES: dict[bytes, Failed] = {
    b'{"message":"a","code":429}': Failed("a", 429, type="rate_limited"),
    b'{"message":"a","code":"503"}': Failed("a", 503),
    b'{"message":"a","status":400}': Failed("a", 400),
    b'{"message":"a","status_code":404}': Failed("a", 404),
    b'{"message":"a","type":"rate_limit_exceeded","code":null}': Failed("a", 429, type="rate_limited"),
    b'{"message":"a","code":"bad","type":"invalid_request_error"}': Failed("a", 400),
    b'{"message":"a","status":"UNAVAILABLE"}': Failed("a", 503),
    b'{"message":"a","type":"overloaded_error"}': Failed("a", 503),
    b'{"message":"a","type":"timeout"}': Failed("a", 504),
    b'{"message":"a","code":200}': Failed("a", 502),
    b'{"message":"a","code":true}': Failed("a", 502),
    b'{"error":{"message":"a"},"status_code":429}': Failed("a", 429, type="rate_limited"),
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


VENDOR = Profile(
    name="openrouter", title="OpenRouter", error_type="openrouter_error", key_variable="OPENROUTER_API_KEY"
)


@pytest.mark.parametrize(
    ("payload", "message", "status", "word"),
    [
        (b'{"message":"slow","code":429}', "429 Too Many Requests: slow", 429, "rate_limited"),
        (b'{"message":"no","code":"invalid_argument"}', "400 Bad Request: no", 400, "openrouter_error"),
        (
            b'{"message":"key sk-1 is wrong","code":401}',
            "401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)",
            502,
            "openrouter_error",
        ),
        (b'{"message":"it broke"}', "it broke", 502, "openrouter_error"),
        (b"it broke", "it broke", 502, "openrouter_error"),
    ],
)
def test_a_vendors_words_stand_behind_its_name_in_a_stream_too(
    payload: bytes, message: str, status: int, word: str
) -> None:
    assert failed(payload, VENDOR) == Failed(f"OpenRouter API error: {message}", status, type=word)


def test_what_is_reported_is_the_error_that_the_status_would_have_been() -> None:
    too_long = reported(b'{"error":{"message":"prompt is too long","code":400}}', VENDOR)
    assert (type(too_long), too_long.type) == (ContextExceeded, "openrouter_error")
    assert type(reported(b'{"error":{"message":"no","code":400}}')) is BackendRefused
