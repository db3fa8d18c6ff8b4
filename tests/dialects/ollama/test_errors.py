"""Errors in the Ollama envelope."""

import pytest

from arriero.dialects.base import ErrorAnswer, Operation
from arriero.dialects.ollama import DIALECT, model_not_found
from arriero.errors import ArrieroError, BackendFailed, BadRequest, Busy, ModelNotFound

JSON = b"application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("error", "streaming", "answer"),
    [
        (
            ModelNotFound("nope"),
            False,
            ErrorAnswer(404, JSON, b'{"error":"model \'nope\' not found","type":"model_not_found"}'),
        ),
        (
            BadRequest("missing request body"),
            True,
            ErrorAnswer(400, b"application/json", b'{"error":"missing request body","type":"validation_error"}'),
        ),
        (
            Busy(),
            False,
            ErrorAnswer(
                503,
                JSON,
                b'{"error":"server busy, please try again.  maximum pending requests exceeded","type":"rate_limited"}',
            ),
        ),
        (
            BackendFailed('a "quoted" \u2028 text', status=500, type="openai_error"),
            False,
            ErrorAnswer(500, JSON, b'{"error":"a \\"quoted\\" \\u2028 text","type":"openai_error"}'),
        ),
    ],
)
def test_an_error_is_one_object(error: ArrieroError, streaming: bool, answer: ErrorAnswer) -> None:
    assert DIALECT.write_error(error, streaming) == answer


def test_an_error_in_a_stream_is_one_line() -> None:
    assert DIALECT.write_stream_error(BackendFailed("it broke")) == b'{"error":"it broke"}\n'


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Operation.CHAT, "model 'x' not found"),
        (Operation.GENERATE, "model 'x' not found"),
        (Operation.EMBED, 'model "x" not found, try pulling it first'),
        (Operation.EMBEDDINGS, 'model "x" not found, try pulling it first'),
    ],
)
def test_each_route_has_its_words_for_an_unknown_model(operation: Operation, message: str) -> None:
    error = model_not_found("x", operation)
    assert (error.status, error.message, error.name) == (404, message, "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m:", "invalid model name"),
        ("x:cloud:local", 'use either :local or :cloud, not both: "x:cloud:local"'),
    ],
)
def test_what_is_no_name_is_not_looked_for(name: str, message: str) -> None:
    for endpoint in DIALECT.endpoints:
        with pytest.raises(BadRequest) as raised:
            endpoint.not_found(name)
        assert (raised.value.status, raised.value.message) == (400, message)


def test_an_empty_name_is_an_unknown_model() -> None:
    assert model_not_found("", Operation.GENERATE).message == "model '' not found"
