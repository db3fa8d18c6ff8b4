"""Errors as OpenAI's clients read them, before the first byte and in mid-stream."""

from arriero.dialects.base import ErrorAnswer
from arriero.errors import ArrieroError, BadRequest
from arriero.wire.jsontext import json_text

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
"""`error.type` by status; any other is an `api_error`."""


def envelope(message: str, status: int, code: str | None = None) -> bytes:
    """`{"error": {...}}`. `code` is arriero's own word for the error, which outlives every change of the text."""
    kind = _TYPES.get(status, "api_error")
    return json_text({"error": {"message": message, "type": kind, "param": None, "code": code}})


def write_error(error: ArrieroError, streaming: bool) -> ErrorAnswer:
    """An error answer; the same whether a stream was asked for or not."""
    body = envelope(error.message, error.status, error.type)
    if type(error) is BadRequest:
        # What the decoding of a request finds, an Ollama server words in another place, without the line end.
        return ErrorAnswer(error.status, b"application/json; charset=utf-8", body)
    return ErrorAnswer(error.status, b"application/json", body + b"\n")


def write_stream_error(error: ArrieroError) -> bytes:
    """An error after the first byte: an event that the SDKs raise. Nothing follows it, not even `[DONE]`."""
    return b"data: " + envelope(error.message, error.status, error.type) + b"\n\n"
