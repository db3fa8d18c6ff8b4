"""Errors in Anthropic's envelope."""

import json

import pytest

from arriero.dialects.base import ErrorAnswer
from arriero.errors import (
    ArrieroError,
    BackendFailed,
    BackendOverloaded,
    BackendTimeout,
    BackendUnreachable,
    BadRequest,
    Busy,
    Forbidden,
    InternalError,
    ModelNotFound,
    NoBackend,
    NotImplementedHere,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Unauthorized,
)
from arriero.gateway.answering import at_door
from arriero.server.olla.anthropic import DOOR
from arriero.server.olla.anthropic_errors import envelope, write_error, write_stream_error

TYPES: list[tuple[ArrieroError, int, str]] = [
    (BadRequest("x"), 400, "invalid_request_error"),
    (Unauthorized("x"), 401, "authentication_error"),
    (Forbidden("x"), 403, "permission_error"),
    (ModelNotFound("m", "x"), 404, "not_found_error"),
    (RequestTimeout("x"), 408, "invalid_request_error"),
    (PayloadTooLarge("x"), 413, "request_too_large"),
    (RateLimited("x"), 429, "rate_limit_error"),
    (InternalError("x"), 500, "api_error"),
    (BackendFailed("x", status=500), 500, "api_error"),
    (NotImplementedHere("x"), 501, "not_implemented"),
    (at_door(BackendUnreachable("x"), DOOR), 502, "api_error"),
    (NoBackend("x"), 503, "overloaded_error"),
    (Busy(), 503, "overloaded_error"),
    (BackendTimeout("x"), 504, "api_error"),
    (BackendOverloaded("x", status=529), 529, "overloaded_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), TYPES, ids=lambda value: type(value).__name__)
def test_each_status_has_its_type(error: ArrieroError, status: int, kind: str) -> None:
    answer = write_error(error, "req1")
    assert (answer.status, answer.content_type) == (status, b"application/json")
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req1",
    }


def test_an_error_of_a_request_that_had_no_id_yet_names_none() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
    assert write_error(BadRequest("no"), None) == ErrorAnswer(400, b"application/json", body)
    assert envelope("no", 400, None) == body


def test_an_error_in_mid_stream_is_an_event() -> None:
    assert write_stream_error(BackendFailed("gone", status=500), "r") == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"gone"},"request_id":"r"}\n\n'
    )
