"""Header fields on their way through."""

from typing import Any

import pytest
from msgspec.structs import replace

import arriero
from arriero.backends.http.call import Head, Headers, Rendered
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.dialects.profiles import profile_of
from arriero.gateway import heads
from support.lanes import inbound


def fields(rendered: Rendered) -> Headers:
    """What stands there, line by line."""
    found = tuple((name, value) for name, _, value in (line.partition(b": ") for line in rendered.text.split(b"\r\n")))
    assert len(found) == rendered.count
    return found


def to_backend(*args: Any) -> Headers:
    return fields(heads.to_backend(*args))


def passed(*args: Any) -> Headers:
    return fields(heads.passed(*args))


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
    sent = dict(to_backend(backend, inbound("POST", "/", headers=CLIENT)))
    assert sent[b"authorization"] == b"Bearer k"
    assert (sent[b"x-request-id"], sent[b"traceparent"], sent[b"http-referer"]) == (b"req1", b"00-1", b"https://app")
    assert not {b"cookie", b"x-api-key", b"x-forwarded-for", b"host"} & sent.keys()


def test_an_ollama_server_sees_where_the_client_came_from() -> None:
    backend = Ollama(RemoteSettings(name="o", url="http://10.0.0.5:11434", profile=profile_of("ollama")))
    sent = dict(to_backend(backend, inbound("POST", "/", headers=CLIENT)))
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


# ---- whole tuples --------------------------------------------------------------------------------------------------

AGENT = b"arriero/" + arriero.__version__.encode()
ASKED: Headers = (
    (b"host", b"door:11434"),
    (b"content-type", b"audio/wav"),
    (b"accept", b"audio/wav"),
    (b"user-agent", b"curl"),
    (b"x-custom", b"1"),
    (b"authorization", b"Bearer mine"),
    (b"via", b"1.0 before"),
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"x-forwarded-proto", b"https"),
    (b"x-olla-request-id", b"theirs"),
    (b"traceparent", b"00-1"),
)
VENDOR = OpenAI(
    RemoteSettings(
        name="v", url="https://api.example/v1", profile=profile_of("generic"), api_key="k", headers={"X-Team": "lab"}
    )
)
HOUSE = Ollama(RemoteSettings(name="o", url="http://10.0.0.5:11434", profile=profile_of("ollama")))
OF_THE_CLIENT: Headers = (
    (b"x-olla-request-id", b"req1"),
    (b"x-proxied-by", AGENT),
    (b"via", b"1.0 before, 1.1 " + AGENT),
    (b"x-real-ip", b"127.0.0.1"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-forwarded-host", b"door:11434"),
    (b"x-forwarded-proto", b"https"),
)


def test_everything_that_a_vendor_is_told() -> None:
    assert to_backend(VENDOR, inbound("POST", "/", headers=ASKED), "M") == (
        (b"accept-encoding", b"identity"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"arriero"),
        (b"authorization", b"Bearer k"),
        (b"x-team", b"lab"),
        (b"x-request-id", b"req1"),
        (b"traceparent", b"00-1"),
    )


def test_everything_that_a_server_of_the_house_is_told() -> None:
    assert to_backend(HOUSE, inbound("POST", "/", headers=ASKED), " Acme/M ") == (
        (b"accept-encoding", b"identity"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"arriero"),
        (b"x-request-id", b"req1"),
        (b"traceparent", b"00-1"),
        *OF_THE_CLIENT,
        (b"x-model", b"acme/m"),
    )


def test_without_an_address_nothing_is_said_of_one() -> None:
    nobody = replace(inbound("POST", "/"), client=None)
    assert to_backend(HOUSE, nobody)[4:] == (
        (b"x-request-id", b"req1"),
        (b"x-olla-request-id", b"req1"),
        (b"x-proxied-by", AGENT),
        (b"via", b"1.1 " + AGENT),
    )


def test_the_clients_address_is_the_peers_whatever_the_client_says() -> None:
    told = dict(to_backend(HOUSE, inbound("POST", "/", headers=ASKED)))
    assert (told[b"x-forwarded-for"], told[b"x-real-ip"]) == (b"127.0.0.1", b"127.0.0.1")


def test_a_model_of_any_letters_is_one_field() -> None:
    told = to_backend(HOUSE, inbound("POST", "/"), "Mod\u00e8le\r\nx-evil: 1")
    assert told[-1] == (b"x-model", b"mod\\xe8le  x-evil: 1")


def test_what_is_passed_on_of_a_path_without_words() -> None:
    assert passed(VENDOR, inbound("POST", "/", headers=(*ASKED, (b"x-team", b"evil"))), None) == (
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer k"),
        (b"x-team", b"lab"),
        (b"content-type", b"audio/wav"),
        (b"accept", b"audio/wav"),
        (b"user-agent", b"curl"),
        (b"x-custom", b"1"),
        (b"traceparent", b"00-1"),
        (b"x-request-id", b"req1"),
    )
    assert passed(HOUSE, inbound("POST", "/", headers=ASKED), "m") == (
        (b"accept-encoding", b"identity"),
        (b"content-type", b"audio/wav"),
        (b"accept", b"audio/wav"),
        (b"user-agent", b"curl"),
        (b"x-custom", b"1"),
        (b"traceparent", b"00-1"),
        (b"x-request-id", b"req1"),
        *OF_THE_CLIENT,
        (b"x-model", b"m"),
    )


def test_a_bare_request_gets_the_backends_own_fields() -> None:
    assert passed(VENDOR, inbound("GET", "/"), None) == (*VENDOR.headers, (b"x-request-id", b"req1"))


@pytest.mark.parametrize("name", sorted(heads.NOT_PASSED_ON))
def test_what_stops_on_the_way_to_a_backend(name: bytes) -> None:
    bare = OpenAI(RemoteSettings(name="v", url="https://api.example/v1", profile=profile_of("generic")))
    sent = passed(bare, inbound("GET", "/", headers=((name, b"theirs"),)), None)
    assert (name, b"theirs") not in sent


@pytest.mark.parametrize(
    "name", [*sorted(heads.NOT_PASSED_BACK), b"x-olla-endpoint", b"x-olla-anything", b"x-arriero-backend"]
)
def test_what_stops_on_the_way_to_the_client(name: bytes) -> None:
    head = Head(200, ((b"content-type", b"a"), (name, b"evil"), (b"x-custom", b"1"), (b"x-custom", b"2")))
    assert heads.to_client(head) == ((b"content-type", b"a"), (b"x-custom", b"1"), (b"x-custom", b"2"))


def test_credentials_stop_in_both_directions() -> None:
    for name in (b"authorization", b"proxy-authorization", b"x-api-key", b"x-auth-token"):
        assert name in heads.NOT_PASSED_ON & heads.NOT_PASSED_BACK
    assert b"cookie" in heads.NOT_PASSED_ON
    assert b"set-cookie" in heads.NOT_PASSED_BACK


def test_a_backends_own_secrets_never_come_back() -> None:
    assert VENDOR.private == {b"authorization", b"x-team"}
    head = Head(200, ((b"x-team", b"lab"), (b"x-custom", b"1")))
    assert heads.to_client(head, VENDOR.private) == ((b"x-custom", b"1"),)


def test_neither_orders_to_arriero_nor_fields_of_one_hop_go_on() -> None:
    asked = ((b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-arriero-backend", b"*"), (b"x-custom", b"1"))
    sent = dict(passed(VENDOR, inbound("GET", "/", headers=asked), None))
    assert (sent.get(b"x-hop"), sent.get(b"x-arriero-backend"), sent.get(b"x-custom")) == (None, None, b"1")
