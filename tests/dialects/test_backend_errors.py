"""Any vendor's error body in, one error of the tree out."""

from http import HTTPStatus

import pytest

from arriero.canonical.events import Failed
from arriero.dialects.backend_errors import (
    MAX_MESSAGE_CHARACTERS,
    NOBODY,
    error_of,
    event_of,
    message_of,
    read_error,
    told,
)
from arriero.dialects.quirks import Profile
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

HOUSE = Profile(name="house", error_type="house_error")
VENDOR = Profile(
    name="openrouter", title="OpenRouter", error_type="openrouter_error", key_variable="OPENROUTER_API_KEY"
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
        (400, BackendRefused, 400, "house_error"),
        (402, BackendRefused, 402, "house_error"),
        (404, BackendRefused, 404, "house_error"),
        (413, BackendRefused, 413, "house_error"),
        (422, BackendRefused, 422, "house_error"),
        (408, BackendTimeout, 504, "house_error"),
        (429, BackendOverloaded, 429, "rate_limited"),
        (500, BackendFailed, 500, "house_error"),
        (502, BackendFailed, 502, "house_error"),
        (503, BackendOverloaded, 503, "house_error"),
        (504, BackendFailed, 504, "house_error"),
        (529, BackendOverloaded, 529, "house_error"),
    ],
)
def test_the_status_decides(status: int, kind: type[BackendError], shown: int, word: str) -> None:
    error = read_error(status, b'{"error":{"message":"why"}}', HOUSE)
    assert (type(error), error.status, error.type, error.message) == (kind, shown, word, "why")


BAD_KEY = b'{"error":{"message":"Incorrect API key provided: sk-abc***xyz"}}'


@pytest.mark.parametrize(
    ("status", "profile", "message"),
    [
        (
            401,
            HOUSE,
            "the backend refuses the gateway's key, HTTP 401 (look at api_key of the backend)",
        ),
        (
            403,
            Profile(name="x", key_variable="X_API_KEY", error_type="house_error"),
            "the backend forbids the gateway's account this request, HTTP 403 "
            "(look at X_API_KEY, or at api_key of the backend)",
        ),
        (407, HOUSE, "a proxy on the way to the backend wants the gateway's credentials (HTTP 407)"),
        (
            401,
            VENDOR,
            "OpenRouter API error: 401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)",
        ),
        (
            403,
            Profile(name="acme", title="Acme", error_type="acme_error"),
            "Acme API error: 403 Forbidden (look at api_key of the backend)",
        ),
        (407, VENDOR, "a proxy on the way to the backend wants the gateway's credentials (HTTP 407)"),
    ],
)
def test_the_gateways_credentials_are_not_the_clients_affair(status: int, profile: Profile, message: str) -> None:
    error = read_error(status, BAD_KEY, profile)
    assert (type(error), error.status, error.type) == (BackendUnauthorized, 502, profile.error_type)
    assert error.message == message


@pytest.mark.parametrize(
    ("status", "said", "kind", "shown", "word", "message"),
    [
        (400, b'{"error":"no"}', BackendRefused, 400, "openrouter_error", "400 Bad Request: no"),
        (402, b'{"error":{"message":"broke"}}', BackendRefused, 402, "openrouter_error", "402 Payment Required: broke"),
        (404, b'{"detail":"Not Found"}', BackendRefused, 404, "openrouter_error", "404 Not Found"),
        (404, b'{"error":"No endpoints found for a/b."}', ModelMissing, 404, "model_not_found",
         "404 Not Found: model not found: No endpoints found for a/b."),
        (404, b'{"error":"No endpoints found that support tool use"}', ToolsRefused, 400, "openrouter_error",
         "404 Not Found: the model does not support tools: No endpoints found that support tool use"),
        (413, b"prompt is too long", ContextExceeded, 400, "openrouter_error",
         "413 {large}: " + ContextExceeded.TEXT + " (prompt is too long)"),
        (422, b"Unknown field: stream_options", UsageRefused, 422, "openrouter_error",
         "422 {unprocessable}: Unknown field: stream_options"),
        (408, b"", BackendTimeout, 504, "openrouter_error", "408 Request Timeout"),
        (429, b'{"error":"slow down"}', BackendOverloaded, 429, "rate_limited", "429 Too Many Requests: slow down"),
        (500, b"", BackendFailed, 500, "openrouter_error", "500 Internal Server Error"),
        (502, b"<h1>502 Bad Gateway</h1>", BackendFailed, 502, "openrouter_error", "502 Bad Gateway"),
        (503, b"", BackendOverloaded, 503, "openrouter_error", "503 Service Unavailable"),
        (529, b"full", BackendOverloaded, 529, "openrouter_error", "529: full"),
    ],
)  # fmt: skip
def test_a_vendors_words_stand_behind_its_name(
    status: int, said: bytes, kind: type[BackendError], shown: int, word: str, message: str
) -> None:
    error = read_error(status, said, VENDOR)
    # Python 3.13 has the newer names of these two.
    message = message.format(large=HTTPStatus(413).phrase, unprocessable=HTTPStatus(422).phrase)
    assert (type(error), error.status, error.type) == (kind, shown, word)
    assert error.message == "OpenRouter API error: " + message


@pytest.mark.parametrize(
    ("profile", "words", "message"),
    [
        (VENDOR, "it broke", "OpenRouter API error: it broke"),
        (VENDOR, "", "OpenRouter API error"),
        (HOUSE, "it broke", "it broke"),
        (HOUSE, "", "the backend reported an error"),
    ],
)
def test_an_error_that_names_no_status_is_given_none(profile: Profile, words: str, message: str) -> None:
    error = read_error(None, words.encode(), profile)
    assert (type(error), error.status, error.type) == (BackendFailed, 502, profile.error_type)
    assert error.message == told(profile, None, words) == message


@pytest.mark.parametrize(
    ("failed", "kind", "status", "word"),
    [
        (Failed("x", cut=True), BackendBroken, 502, "backend_error"),
        (Failed("x", 429, type="rate_limited"), BackendOverloaded, 429, "rate_limited"),
        (Failed("x", 503), BackendOverloaded, 503, "backend_error"),
        (Failed("x", 401), BackendError, 502, "backend_error"),
        (Failed("x", 403), BackendError, 502, "backend_error"),
        (Failed("x", 400, type="acme_error"), BackendRefused, 400, "acme_error"),
        (Failed("x", 500, type="acme_error"), BackendFailed, 500, "acme_error"),
        (Failed("x", 200), BackendFailed, 502, "backend_error"),
    ],
)
def test_what_a_failure_inside_an_answer_would_have_been(
    failed: Failed, kind: type[BackendError], status: int, word: str
) -> None:
    error = error_of(failed)
    assert (type(error), error.status, error.type, error.message) == (kind, status, word, "x")


@pytest.mark.parametrize("status", [None, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("profile", [NOBODY, HOUSE, VENDOR], ids=lambda profile: profile.name or "nobody")
def test_an_error_goes_through_a_stream_and_comes_back(status: int | None, profile: Profile) -> None:
    sent = read_error(status, b'{"error":"why"}', profile)
    back = error_of(event_of(sent))
    assert (back.message, back.status, back.type) == (sent.message, sent.status, sent.type)


def test_who_is_to_blame() -> None:
    assert (read_error(400, b"", HOUSE).retry, read_error(400, b"", HOUSE).blame) == (Retry.NEVER, Blame.CLIENT)
    assert (read_error(500, b"", HOUSE).retry, read_error(500, b"", HOUSE).blame) == (Retry.ELSEWHERE, Blame.BACKEND)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "the backend answered HTTP 404 Not Found"),
        (500, "the backend answered HTTP 500 Internal Server Error"),
        (599, "the backend answered HTTP 599"),
    ],
)
def test_an_error_without_words_says_its_status(status: int, message: str) -> None:
    assert read_error(status, b" \n", HOUSE).message == message


def test_what_is_no_error_status_is_a_broken_protocol() -> None:
    assert type(read_error(302, b"", HOUSE)) is BackendBroken


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
    error = read_error(status, said.encode(), HOUSE)
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
    error = read_error(status, said.encode(), HOUSE)
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
    error = read_error(404, body, HOUSE)
    assert isinstance(error, ModelMissing)
    assert (error.status, error.type, error.retry, error.message) == (404, "model_not_found", Retry.ELSEWHERE, message)


def test_an_unknown_page_is_no_unknown_model() -> None:
    assert type(read_error(404, b'{"detail":"Not Found"}', HOUSE)) is BackendRefused


@pytest.mark.parametrize(
    "said",
    [
        b'{"error":{"message":"Unknown field: stream_options","type":"invalid_request_error"}}',
        b'{"error":{"message":"Unrecognized request argument","param":"stream_options"}}',
        b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs"}]}',
    ],
)
def test_a_server_that_does_not_know_stream_options(said: bytes) -> None:
    assert type(read_error(422, said, HOUSE)) is UsageRefused


def test_a_request_that_is_only_repeated_says_nothing_of_its_fields() -> None:
    said = b'{"detail":[{"loc":["body","x"],"msg":"Field required","input":{"stream_options":{"include_usage":true}}}]}'
    assert type(read_error(422, said, HOUSE)) is BackendRefused
