"""Header fields on their way through."""

from arriero.backends.http.call import Head
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.dialects.profiles import profile_of
from arriero.gateway import heads
from support.lanes import inbound

CLIENT = (
    (b"host", b"door:11434"),
    (b"authorization", b"Bearer mine"),
    (b"cookie", b"a=b"),
    (b"x-api-key", b"mine"),
    (b"traceparent", b"00-1"),
    (b"http-referer", b"https://app"),
)


def names(headers: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    return [name for name, _ in headers]


def test_a_vendor_sees_the_request_id_and_never_the_client() -> None:
    backend = OpenAI(RemoteSettings(name="v", url="https://api.example/v1", profile=profile_of("generic"), api_key="k"))
    sent = dict(heads.to_backend(backend, inbound("POST", "/", headers=CLIENT)))
    assert sent[b"authorization"] == b"Bearer k"
    assert (sent[b"x-request-id"], sent[b"traceparent"], sent[b"http-referer"]) == (b"req1", b"00-1", b"https://app")
    assert not {b"cookie", b"x-api-key", b"x-forwarded-for", b"host"} & sent.keys()


def test_an_ollama_server_sees_where_the_client_came_from() -> None:
    backend = Ollama(RemoteSettings(name="o", url="http://10.0.0.5:11434", profile=profile_of("ollama")))
    sent = dict(heads.to_backend(backend, inbound("POST", "/", headers=CLIENT)))
    assert (sent[b"x-forwarded-for"], sent[b"x-forwarded-host"], sent[b"x-forwarded-proto"]) == (
        b"127.0.0.1",
        b"door:11434",
        b"http",
    )
    assert b"authorization" not in sent


def test_what_a_client_may_see_of_an_answer() -> None:
    kept, stopped = [b"content-type", b"x-ratelimit-limit", b"openai-version"], [b"set-cookie", b"server", b"vary"]
    head = Head(200, tuple((name, b"x") for name in (*kept, *stopped, b"connection")))
    assert names(heads.to_client(head)) == kept
