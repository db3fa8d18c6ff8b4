"""Requests to a registry: tokens, redirects, refusals, and where the token never goes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from arriero.backends.engine.registry.auth import Denied
from arriero.backends.engine.registry.session import Refused, Registries, Unanswered
from arriero.backends.http.call import Timeouts
from arriero.backends.http.proxy import ProxySettings
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest, RegistryError
from support.raw_backend import Peer, RawBackend
from support.registry import Received, ScriptedRegistry, TokenAuth

ACCEPT = ((b"accept", b"application/vnd.docker.distribution.manifest.v2+json"),)


class Seal:
    """A signer that shows what it was given."""

    def authorization(self, text: str) -> str:
        method, url, rest = text.split(",")
        return f"public:{method}-{'signature' in url}-{len(rest)}"


@pytest_asyncio.fixture
async def registries() -> AsyncIterator[Registries]:
    made = Registries(
        user_agent="ollama/0.1 (test)", clock=lambda: 1_700_000_000.5, nonce=lambda: bytes(range(240, 256))
    )
    yield made
    await made.close()


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry() as made:
        made.hold("library/tiny:latest", b"weights")
        yield made


def bearer(request: Received) -> str:
    return request.headers.get("authorization", "")


async def test_a_request_below_the_repository(registries: Registries, registry: ScriptedRegistry) -> None:
    session = registries.session(registry.name("tiny"), insecure=True)
    head, body = await session.request("GET", "manifests/latest", ACCEPT)
    assert (head.status, body) == (200, registry.manifests["library/tiny:latest"])
    [seen] = registry.requests
    assert (seen.path, seen.headers) == (
        "/v2/library/tiny/manifests/latest",
        {
            "host": registry.host,
            "user-agent": "ollama/0.1 (test)",
            "accept-encoding": "identity",
            "accept": "application/vnd.docker.distribution.manifest.v2+json",
        },
    )
    assert (await session.request("GET", "/v2/"))[1] == b"{}"
    assert (await session.request("GET", f"{registry.url}/v2/"))[1] == b"{}"


async def test_a_token_is_fetched_once_an_operation(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth()
    session = registries.session(registry.name("tiny"), insecure=True)
    for _ in range(3):
        await session.request("GET", "manifests/latest", ACCEPT)
    assert [(request.path, bearer(request)) for request in registry.requests] == [
        ("/v2/library/tiny/manifests/latest", ""),
        ("/token", ""),
        ("/v2/library/tiny/manifests/latest", "Bearer token-1"),
        ("/v2/library/tiny/manifests/latest", "Bearer token-1"),
        ("/v2/library/tiny/manifests/latest", "Bearer token-1"),
    ]
    assert registry.told(path="/token")[0].query == {
        "nonce": "8PHy8_T19vf4-fr7_P3-_w==",
        "scope": "repository:library/tiny:pull",
        "service": "registry.test",
        "ts": "1700000000",
    }


async def test_many_at_once_fetch_one_token(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth()
    session = registries.session(registry.name("tiny"), insecure=True)
    await asyncio.gather(*(session.request("GET", "manifests/latest", ACCEPT) for _ in range(8)))
    assert len(registry.told(path="/token")) == 1


async def test_a_token_of_too_small_a_scope_and_one_that_has_expired(
    registries: Registries, registry: ScriptedRegistry
) -> None:
    registry.auth = TokenAuth(uses=2)
    session = registries.session(registry.name("tiny"), insecure=True)
    await session.request("HEAD", "blobs/sha256:" + 64 * "0", ok=(404,))
    await session.request("POST", "blobs/uploads/", ok=(202,))
    for _ in range(4):
        await session.request("GET", "manifests/latest", ACCEPT)
    scopes = [request.query["scope"] for request in registry.told(path="/token")]
    assert scopes == [
        "repository:library/tiny:pull",
        "repository:library/tiny:pull,push",
        "repository:library/tiny:pull",
        "repository:library/tiny:pull",
    ]


async def test_a_streamed_body_is_made_anew_for_the_token(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth()
    made = []

    async def body() -> AsyncIterator[bytes]:
        made.append(1)
        yield b"whatever"

    session = registries.session(registry.name("tiny"), insecure=True)
    head, _ = await session.request("POST", "blobs/uploads/", (), body, ok=(202,))
    assert (head.status, len(made)) == (202, 2)


async def test_the_token_request_is_signed(registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth(signed=True)
    registries = Registries(user_agent="x", signer=Seal())
    session = registries.session(registry.name("tiny"), insecure=True)
    await session.request("GET", "manifests/latest", ACCEPT)
    assert bearer(registry.told(path="/token")[0]) == "public:GET-False-88"
    await registries.close()


NO_KEY = "it wants a key and this machine has none; what it gives to everybody needs none: check the model name"
UNKNOWN_KEY = (
    "it does not know the key of this machine; add the public key to your account there, or check the model name"
)


@pytest.mark.parametrize(
    ("auth", "signer", "why"),
    [
        (TokenAuth(denied=True), None, NO_KEY),
        (TokenAuth(denied=True), Seal(), UNKNOWN_KEY),
        (TokenAuth(basic=True), None, "it wants a user and a password, or a key, in a way that is not supported"),
    ],
)
async def test_access_denied(registry: ScriptedRegistry, auth: TokenAuth, signer: Seal | None, why: str) -> None:
    registry.auth = auth
    registries = Registries(user_agent="x", signer=signer)
    with pytest.raises(Denied) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "manifests/latest", ACCEPT)
    assert raised.value.message == f"unauthorized: access denied by {registry.url}: {why}"
    assert (len(registry.requests) <= 3, raised.value.status) == (True, 500)
    await registries.close()


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, b"", f"unauthorized: access denied by URL: {NO_KEY}"),
        (500, b"out of order", "500: out of order"),
        (200, b"<html>", "URL answers the request for a token with something that is none"),
        (200, b'{"token":"a\\nb"}', "URL answers the request for a token with something that is none"),
    ],
)
async def test_no_token_to_be_had(
    registries: Registries, registry: ScriptedRegistry, status: int, body: bytes, text: str
) -> None:
    registry.auth = TokenAuth()
    registry.fault("/token", status=status, body=body)
    with pytest.raises(RegistryError) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "manifests/latest", ACCEPT)
    assert raised.value.message == text.replace("URL", registry.url)


async def test_a_realm_elsewhere_is_not_asked(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.auth = TokenAuth(realm=f"http://{registry.other_host}/token")
    with pytest.raises(RegistryError) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "manifests/latest", ACCEPT)
    assert raised.value.message == (
        f'realm host "{registry.other_host}" does not match original host "{registry.host}"'
    )
    assert registry.told(path="/token") == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_token_goes_to_no_other_host(registries: Registries, registry: ScriptedRegistry, status: int) -> None:
    registry.auth = TokenAuth()
    registry.direct = status
    session = registries.session(registry.name("tiny"), insecure=True)
    digest = next(iter(registry.blobs))
    _, body = await session.request("GET", f"blobs/{digest}")
    assert body == b"weights"
    assert [(request.headers["host"], bearer(request)) for request in registry.told("GET", digest)] == [
        (registry.host, ""),
        (registry.host, "Bearer token-1"),
        (registry.other_host, ""),
    ]


async def test_a_redirect_abroad_may_be_the_answer(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.direct = 307
    session = registries.session(registry.name("tiny"), insecure=True)
    place, answer = await session.open("GET", f"blobs/{next(iter(registry.blobs))}", abroad=False)
    assert (answer.head.status, place.origin.netloc, len(registry.requests)) == (307, registry.host, 1)
    answer.abort()


async def test_a_redirect_at_home_is_followed_with_the_token(
    registries: Registries, registry: ScriptedRegistry
) -> None:
    registry.auth = TokenAuth()
    registry.fault("/v2/moved", times=None, status=302, headers={"location": "/v2/library/tiny/manifests/latest"})
    session = registries.session(registry.name("tiny"), insecure=True)
    await session.request("GET", "manifests/latest", ACCEPT)
    registry.requests.clear()
    _, body = await session.request("GET", "/v2/moved", ACCEPT)
    assert body == registry.manifests["library/tiny:latest"]
    assert [bearer(request) for request in registry.requests] == ["Bearer token-1", "Bearer token-1"]


async def test_redirects_have_an_end(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.fault("/v2/", times=None, status=302, headers={"location": "/v2/"})
    with pytest.raises(RegistryError) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")
    assert raised.value.message == f"{registry.url} redirects 10 times: look at its configuration"
    assert len(registry.requests) == 10


async def test_a_redirect_to_what_is_no_address(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.fault("/v2/", status=302, headers={"location": "file:///etc/passwd"})
    with pytest.raises(RegistryError, match=r"sends its clients to an address that cannot be read$"):
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")


async def test_a_redirected_post_is_an_answer(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.fault("/uploads/", status=307, headers={"location": "/elsewhere"})
    session = registries.session(registry.name("tiny"), insecure=True)
    head, _ = await session.request("POST", "blobs/uploads/", ok=(202, 307))
    assert (head.status, head.get(b"location"), len(registry.requests)) == (307, b"/elsewhere", 1)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, b'{"errors":[{"code":"X"}]}', '404: {"errors":[{"code":"X"}]}'),
        (500, b"", "500"),
        (503, b"a\r\n\tb\x1b[31m", "503: a b [31m"),
        (400, b"x" * 1000, f"400: {'x' * 297}..."),
        (418, b"\xff", "418: \ufffd"),
    ],
)
async def test_a_refusal(
    registries: Registries, registry: ScriptedRegistry, status: int, body: bytes, text: str
) -> None:
    registry.fault("/v2/", status=status, body=body, headers={"retry-after": "7"})
    with pytest.raises(Refused) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")
    assert (raised.value.answered, raised.value.message, raised.value.retry_after) == (status, text, 7.0)


async def test_a_compressed_answer(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.fault("/v2/", status=200, body=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    with pytest.raises(RegistryError, match=r"compresses its answer, though it was asked not to$"):
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")


async def test_an_answer_that_is_too_long(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.fault("/v2/", endless=True)
    with pytest.raises(Unanswered, match=r"^the answer has more than 1000 bytes$"):
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/", limit_bytes=1000)


async def test_nobody_there(registries: Registries, registry: ScriptedRegistry) -> None:
    registry.stop_listening()
    with pytest.raises(Unanswered) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")
    assert (raised.value.message, raised.value.stalled) == (
        f"cannot reach {registry.url}: connection refused",
        False,
    )


async def test_an_answer_that_does_not_come(registry: ScriptedRegistry) -> None:
    registries = Registries(user_agent="x", timeouts=Timeouts(first_byte=0.05))
    registry.hold_back("/v2/")
    with pytest.raises(Unanswered) as raised:
        await registries.session(registry.name("tiny"), insecure=True).request("GET", "/v2/")
    assert (raised.value.message, raised.value.stalled) == (
        f"{registry.url} did not begin its answer within 0.05 s",
        True,
    )
    await registries.close()


async def test_a_registry_without_tls_needs_insecure(registries: Registries) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with RawBackend(plain) as server:
        name = Name("tiny", host=f"127.0.0.1:{server.port}")
        with pytest.raises(Unanswered) as raised:
            await registries.session(name, insecure=False).request("GET", "/v2/")
    assert raised.value.message.endswith(
        "perhaps it speaks http://); a registry without TLS is asked only with `insecure: true`"
    )


async def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    name = Name("tiny", host="registry.test")
    for registries, text in (
        (Registries(user_agent="x", proxy=ProxySettings(all="socks5://p")), "a proxy of scheme socks5:// is not"),
        (Registries(user_agent="x", ca_file=str(tmp_path / "none")), "ca_file"),
    ):
        with pytest.raises(RegistryError) as raised:
            await registries.session(name, insecure=False).request("GET", "/v2/")
        assert raised.value.message.startswith(f"cannot reach https://registry.test: {text}")
        await registries.close()


def test_a_name_that_is_none(registries: Registries) -> None:
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        registries.session(Name("tiny", host="a:b:c"), insecure=True)


async def test_pools_of_many_hosts_are_not_kept_for_ever(registries: Registries) -> None:
    for number in range(200):
        await registries.pool(registries.session(Name("t", host=f"h{number}.test"), insecure=True).home.origin)
    assert len(registries._pools) <= 64


async def test_verification_can_be_switched_off() -> None:
    registries = Registries(user_agent="x", verify=False)
    home = registries.session(Name("tiny", host="registry.test"), insecure=False).home
    await registries.pool(home.origin)
    assert registries._tls is not None and registries._tls.verify_mode is ssl.CERT_NONE
    await registries.close()
