"""Errors as Anthropic's clients read them, before the first byte and in mid-stream."""

from collections.abc import Mapping
from types import MappingProxyType

from arriero.dialects.base import ErrorAnswer
from arriero.errors import ArrieroError
from arriero.wire.jsontext import json_text

SCOPE = "anthropic"
"""The scope of the door at which they are read."""

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        501: "not_implemented",
        503: "overloaded_error",
        529: "overloaded_error",
    }
)
"""`error.type` by status; of the others, those below 500 are an `invalid_request_error` and the rest an `api_error`."""


def envelope(message: str, status: int, request_id: str | None) -> bytes:
    """`{"type":"error", ...}`. Without an id where the request had none yet."""
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    said: dict[str, object] = {"type": "error", "error": {"type": kind, "message": message}}
    if request_id is not None:
        said["request_id"] = request_id
    return json_text(said)


def write_error(error: ArrieroError, request_id: str | None) -> ErrorAnswer:
    """An error answer; the same whether a stream was asked for or not."""
    return ErrorAnswer(error.status, b"application/json", envelope(error.message, error.status, request_id))


def write_stream_error(error: ArrieroError, request_id: str | None) -> bytes:
    """An error after the first byte: an event that the SDKs raise. Nothing follows it."""
    return b"event: error\ndata: " + envelope(error.message, error.status, request_id) + b"\n\n"
