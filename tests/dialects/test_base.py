"""The record of a dialect: its two ways in, by path and by kind of request."""

from msgspec import Raw

from arriero.canonical.requests import ChatRequest, EmbedRequest
from arriero.dialects.base import Dialect, Driver, Endpoint, ErrorAnswer, Operation, Outbound
from arriero.errors import ArrieroError, BackendFailed

CHAT = Endpoint(
    operation=Operation.CHAT,
    path="/v1/chat",
    relay_path="/chat",
    decode=lambda body: ChatRequest(model=body.decode()),
    encode=lambda answer, context, now_ns: b"",
    encoder=None,
    check=lambda request, card: None,
    stream_default=False,
)
DRIVER = Driver(
    encode=lambda request, target: Outbound("/chat", b""), decode=lambda body, profile: NotImplemented, decoder=None
)


def write_error(error: ArrieroError, streaming: bool) -> ErrorAnswer:
    return ErrorAnswer(error.status, b"text/plain", error.message.encode())


DIALECT = Dialect(
    name="spoken",
    endpoints=(CHAT,),
    drivers={ChatRequest: DRIVER},
    write_error=write_error,
    write_stream_error=lambda error: error.message.encode(),
    read_error=lambda status, body, profile: BackendFailed(body.decode(), status=status, type=profile.error_type),
)


def test_endpoints_by_path() -> None:
    assert dict(DIALECT.by_path) == {"/v1/chat": CHAT}


def test_drivers_by_kind_of_request() -> None:
    assert DIALECT.driver(ChatRequest(model="m", extra={"x": Raw(b"1")})) is DRIVER
    assert DIALECT.driver(EmbedRequest(model="m")) is None


def test_an_endpoint_says_an_unknown_model_in_the_common_words_unless_it_has_its_own() -> None:
    assert CHAT.not_found("m").message == "model 'm' not found"
