"""The dialect as a whole: its routes, its drivers, and what they promise the gateway."""

import pytest

from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest
from arriero.dialects.base import Operation
from arriero.dialects.openai import DIALECT
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendUnauthorized


def test_routes() -> None:
    assert [
        (each.operation, each.path, each.relay_path, each.stream_default, each.encoder is not None)
        for each in DIALECT.endpoints
    ] == [
        (Operation.CHAT, "/v1/chat/completions", "/chat/completions", False, True),
        (Operation.COMPLETION, "/v1/completions", "/completions", False, True),
        (Operation.EMBEDDINGS, "/v1/embeddings", "/embeddings", False, False),
    ]


def test_content_types() -> None:
    for endpoint in DIALECT.by_path.values():
        assert (endpoint.whole_type, endpoint.stream_type) == (b"application/json", b"text/event-stream")


@pytest.mark.parametrize(
    ("request_", "streams"),
    [
        (ChatRequest(model="m"), True),
        (CompletionRequest(model="m", prompt=""), True),
        (EmbedRequest(model="m"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_drivers(request_: ChatRequest | CompletionRequest | EmbedRequest, streams: bool) -> None:
    driver = DIALECT.driver(request_)
    assert driver is not None
    assert (driver.decoder is not None) is streams


def test_errors_of_backends() -> None:
    error = DIALECT.read_error(401, b'{"error":{"message":"bad key"}}', profile_of("generic"))
    assert (type(error), error.status, error.type) == (BackendUnauthorized, 502, "openai_error")
