"""Any vendor's error body in, one error of the tree out."""

import pytest

from arriero.dialects.backend_errors import MAX_MESSAGE_CHARACTERS, message_of, read_error
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    Blame,
    ContextExceeded,
    ModelMissing,
    Retry,
    ToolsRefused,
    UsageRefused,
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"model \'x\' not found"}', "model 'x' not found"),
        (b'{"error":{"message":"too long","type":"invalid_request_error","code":null}}', "too long"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded"),
        (b'{"message":"no route","request_id":"1"}', "no route"),
        (b'{"object":"error","message":"bad","type":"BadRequestError","code":400}', "bad"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (
            b'{"detail":[{"loc":["body","model"],"msg":"field required"},{"msg":"too short"}]}',
            "field required; too short",
        ),
        (b'[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]', "API key not valid"),
        (b'{"errors":[{"code":5007,"message":"No such model"}],"success":false,"result":null}', "No such model"),
        (b'{"error":"{\\"error\\":{\\"code\\":500,\\"message\\":\\"out of memory\\"}}"}', "out of memory"),
        (
            b'{"error":{"message":"Provider returned error","code":429,'
            b'"metadata":{"raw":"slow down","provider_name":"P"}}}',
            "Provider returned error: slow down",
        ),
        (
            b'{"error":{"message":"Provider returned error",'
            b'"metadata":{"raw":"{\\"error\\":{\\"message\\":\\"full\\"}}"}}}',
            "Provider returned error: full",
        ),
        (b'{"error":{"code":"x"}}', '{"error":{"code":"x"}}'),
        (b'{"error":', '{"error":'),
        (b"upstream connect error\n", "upstream connect error"),
        (
            b"<html><head><title>502 Bad Gateway</title><style>a{}</style></head>"
            b"<body>\n<h1>502 Bad&nbsp;Gateway</h1><hr>nginx</body></html>",
            "502 Bad Gateway nginx",
        ),
        (b"<html><head><title>504 Time-out</title></head><body></body></html>", "504 Time-out"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 5000, "x" * (MAX_MESSAGE_CHARACTERS - 3) + "..."),
        (b'{"error":' * 2000 + b"1" + b"}" * 2000, ('{"error":' * 2000)[: MAX_MESSAGE_CHARACTERS - 3] + "..."),
    ],
)  # fmt: skip
def test_the_text_for_people(body: bytes, message: str) -> None:
    assert message_of(body) == message


@pytest.mark.parametrize(
    ("status", "kind", "shown", "word"),
    [
        (400, BackendRefused, 400, "openai_error"),
        (402, BackendRefused, 402, "openai_error"),
        (404, BackendRefused, 404, "openai_error"),
        (413, BackendRefused, 413, "openai_error"),
        (422, BackendRefused, 422, "openai_error"),
        (408, BackendTimeout, 504, "openai_error"),
        (429, BackendOverloaded, 429, "rate_limited"),
        (500, BackendFailed, 500, "openai_error"),
        (502, BackendFailed, 502, "openai_error"),
        (503, BackendOverloaded, 503, "openai_error"),
        (504, BackendFailed, 504, "openai_error"),
        (529, BackendOverloaded, 529, "openai_error"),
    ],
)
def test_the_status_decides(status: int, kind: type[BackendError], shown: int, word: str) -> None:
    error = read_error(status, b'{"error":{"message":"why"}}', "openai_error")
    assert (type(error), error.status, error.type, error.message) == (kind, shown, word, "why")


@pytest.mark.parametrize("status", [401, 403, 407])
def test_the_gateways_credentials_are_not_the_clients_affair(status: int) -> None:
    error = read_error(status, b'{"error":{"message":"Incorrect API key provided: sk-abc***xyz"}}', "openai_error")
    assert (type(error), error.status, error.type) == (BackendUnauthorized, 502, "openai_error")
    assert "gateway" in error.message and "sk-" not in error.message


def test_who_is_to_blame() -> None:
    assert (read_error(400, b"", "t").retry, read_error(400, b"", "t").blame) == (Retry.NEVER, Blame.CLIENT)
    assert (read_error(500, b"", "t").retry, read_error(500, b"", "t").blame) == (Retry.ELSEWHERE, Blame.BACKEND)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "the backend answered HTTP 404 Not Found"),
        (500, "the backend answered HTTP 500 Internal Server Error"),
        (599, "the backend answered HTTP 599"),
    ],
)
def test_an_error_without_words_says_its_status(status: int, message: str) -> None:
    assert read_error(status, b" \n", "t").message == message


def test_what_is_no_error_status_is_a_broken_protocol() -> None:
    assert type(read_error(302, b"", "t")) is BackendBroken


@pytest.mark.parametrize(
    ("status", "said", "fits"),
    [
        (400, "This model's maximum context length is 8192 tokens", None),
        (400, "maximum context length is 8192 tokens. However, your messages resulted in 32768 tokens.", 0.25),
        (400, "request (1024 tokens) exceeds the available context size (512 tokens), try increasing it", 0.5),
        (413, "Prompt is too long", None),
        (422, "the input is longer than the model's context", None),
        (400, '{"error":{"message":"too much","code":"context_length_exceeded"}}', None),
    ],
)
def test_too_long_a_prompt_is_told_as_ollama_tells_it(status: int, said: str, fits: float | None) -> None:
    error = read_error(status, said.encode(), "x_error")
    assert isinstance(error, ContextExceeded)
    assert error.fits == fits
    assert (error.status, error.retry) == (400, Retry.NEVER)
    assert error.message.startswith("the prompt is longer than the context length currently available to the model; ")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "No endpoints found that support tool use"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (400, "`tool calling` is not supported with this model"),
        (400, "registry.ollama.ai/library/x:latest does not support tools"),
        (400, "This model does not support function calling"),
    ],
)
def test_a_model_without_tools_says_so_in_the_words_that_agents_look_for(status: int, said: str) -> None:
    error = read_error(status, said.encode(), "x_error")
    assert isinstance(error, ToolsRefused)
    assert error.status == 400
    assert "does not support tools" in error.message and said in error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"model \'x\' not found"}', "model 'x' not found"),
        (b'{"error":"model \\"x\\" not found, try pulling it first"}', 'model "x" not found, try pulling it first'),
        (
            b'{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}',
            "model not found: The model `x` does not exist",
        ),
        (b'{"error":{"message":"gone","code":"model_not_found"}}', "model not found: gone"),
        (b'{"error":{"message":"No endpoints found for a/b."}}', "model not found: No endpoints found for a/b."),
    ],
)
def test_a_model_that_the_backend_has_not_may_be_had_elsewhere(body: bytes, message: str) -> None:
    error = read_error(404, body, "x_error")
    assert isinstance(error, ModelMissing)
    assert (error.status, error.type, error.retry, error.message) == (404, "model_not_found", Retry.ELSEWHERE, message)


def test_an_unknown_page_is_no_unknown_model() -> None:
    assert type(read_error(404, b'{"detail":"Not Found"}', "x_error")) is BackendRefused


@pytest.mark.parametrize(
    "said",
    [
        b'{"error":{"message":"Unknown field: stream_options","type":"invalid_request_error"}}',
        b'{"error":{"message":"Unrecognized request argument","param":"stream_options"}}',
        b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs"}]}',
    ],
)
def test_a_server_that_does_not_know_stream_options(said: bytes) -> None:
    assert type(read_error(422, said, "t")) is UsageRefused


def test_a_request_that_is_only_repeated_says_nothing_of_its_fields() -> None:
    said = b'{"detail":[{"loc":["body","x"],"msg":"Field required","input":{"stream_options":{"include_usage":true}}}]}'
    assert type(read_error(422, said, "t")) is BackendRefused
