"""Errors in OpenAI's envelope, before and after the first byte."""

import json

import pytest

from arriero.dialects.base import ErrorAnswer
from arriero.dialects.openai.errors import write_error, write_stream_error
from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnreachable,
    BadRequest,
    InternalError,
    ModelForbidden,
    ModelNotFound,
    NoBackend,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
)

ENVELOPES: list[tuple[ArrieroError, int, str, str]] = [
    (BadRequest("a"), 400, "invalid_request_error", "validation_error"),
    (BackendRefused("a", status=422, type="vllm_error"), 422, "api_error", "vllm_error"),
    (Unauthorized("a"), 401, "authentication_error", "unauthorized"),
    (ModelForbidden("a"), 403, "permission_error", "model_forbidden"),
    (ModelNotFound("x", "a"), 404, "not_found_error", "model_not_found"),
    (PayloadTooLarge("a"), 413, "invalid_request_error", "payload_too_large"),
    (RateLimited("a"), 429, "rate_limit_error", "rate_limited"),
    (BackendOverloaded("a", status=429), 429, "rate_limit_error", "rate_limited"),
    (InternalError("a"), 500, "api_error", "internal_error"),
    (NoBackend("a"), 503, "api_error", "no_backend"),
    (BackendUnreachable("a"), 503, "api_error", "network_error"),
    (BackendTimeout("a"), 504, "api_error", "network_error"),
    (BackendBroken("a"), 502, "api_error", "backend_error"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), ENVELOPES, ids=lambda value: type(value).__name__)
def test_envelope(error: ArrieroError, status: int, kind: str, code: str) -> None:
    body = {"error": {"message": "a", "type": kind, "param": None, "code": code}}
    for streaming in (True, False):
        answer = write_error(error, streaming)
        assert (answer.status, json.loads(answer.body)) == (status, body)
    event = write_stream_error(error)
    assert (event[:6], event[-2:], json.loads(event[6:])) == (b"data: ", b"\n\n", body)


def test_the_bytes() -> None:
    assert write_error(ModelNotFound("größe"), False) == ErrorAnswer(
        404,
        b"application/json",
        b'{"error":{"message":"model \'gr\\u00f6\\u00dfe\' not found","type":"not_found_error",'
        b'"param":null,"code":"model_not_found"}}\n',
    )


def test_what_decoding_finds_has_no_line_end() -> None:
    assert write_error(BadRequest("model is required"), False) == ErrorAnswer(
        400,
        b"application/json; charset=utf-8",
        b'{"error":{"message":"model is required","type":"invalid_request_error",'
        b'"param":null,"code":"validation_error"}}',
    )
