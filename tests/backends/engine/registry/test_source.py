"""Where the bytes of a blob come from: the registry, or the place that it names."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from arriero.backends.engine.registry.session import Refused, Registries, Unanswered
from arriero.backends.engine.registry.source import Expired, RangeIgnored, RangeRefused, Source, is_passing
from arriero.backends.http.call import Timeouts
from arriero.errors import RegistryError, StoreError
from support.registry import ScriptedRegistry, TokenAuth, digest_of

DATA = b"0123456789"
DIGEST = digest_of(DATA)


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry(auth=TokenAuth()) as made:
        made.hold("library/tiny:latest", DATA)
        yield made


@pytest_asyncio.fixture
async def source(registry: ScriptedRegistry) -> AsyncIterator[Source]:
    registries = Registries(user_agent="x")
    session = registries.session(registry.name("tiny"), insecure=True)
    yield Source(session, DIGEST, len(DATA), Timeouts(first_byte=5, idle=5))
    await registries.close()


async def read(source: Source, start: int = 0, stop: int = len(DATA), *, ranged: bool = True) -> bytes:
    answer = await source.open(start, stop, ranged=ranged)
    return await answer.read(100)


def asked(registry: ScriptedRegistry) -> list[tuple[str, str, str, str]]:
    """Host, path up to the digest, range and token of each GET of the blob, but for the one that had no token yet."""
    hosts = {registry.host: "home", registry.other_host: "abroad"}
    return [
        (
            hosts[request.headers["host"]],
            request.path.partition("sha256")[0],
            request.headers.get("range", ""),
            request.headers.get("authorization", ""),
        )
        for request in registry.told("GET", DIGEST)
    ][1:]


AT_HOME = "/v2/library/tiny/blobs/"


async def test_a_registry_that_has_the_bytes_itself(registry: ScriptedRegistry, source: Source) -> None:
    assert [await read(source, 2, 5), await read(source), await read(source, ranged=False)] == [b"234", DATA, DATA]
    assert asked(registry) == [
        ("home", AT_HOME, "bytes=2-4", "Bearer token-1"),
        ("home", AT_HOME, "bytes=0-9", "Bearer token-1"),
        ("home", AT_HOME, "", "Bearer token-1"),
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 200])
async def test_a_place_abroad_is_asked_without_the_token(
    registry: ScriptedRegistry, source: Source, status: int
) -> None:
    if status == 200:
        place = f"http://{registry.other_host}/direct/1/{DIGEST}?signature=secret"
        registry.fault("/blobs/", after=1, status=200, headers={"location": place}, body=b"not the blob")
    else:
        registry.direct = status
    assert [await read(source, 2, 5), await read(source, 5, 10)] == [b"234", b"56789"]
    assert asked(registry) == [
        ("home", AT_HOME, "bytes=2-4", "Bearer token-1"),
        ("abroad", "/direct/1/", "bytes=2-4", ""),
        ("abroad", "/direct/1/", "bytes=5-9", ""),
    ]


async def test_an_expired_place_is_asked_for_anew(registry: ScriptedRegistry, source: Source) -> None:
    registry.direct = 307
    assert await read(source, 0, 3) == b"012"
    registry.ticket = 2
    assert [await read(source, 3, 5), await read(source, 5, 7)] == [b"34", b"56"]
    assert [path for _, path, _, _ in asked(registry)] == [
        AT_HOME,
        "/direct/1/",
        "/direct/1/",
        AT_HOME,
        "/direct/2/",
        "/direct/2/",
    ]


async def test_a_place_that_refuses_again(registry: ScriptedRegistry, source: Source) -> None:
    registry.direct = 307
    registry.fault("/direct/", times=None, status=403, body=b"expired")
    with pytest.raises(Expired) as raised:
        await read(source)
    assert raised.value.message == f"http://{registry.other_host} refuses a blob: 403: expired"
    assert len(registry.told(path="/direct/")) == 2


async def test_a_server_that_knows_no_ranges(registry: ScriptedRegistry, source: Source) -> None:
    registry.ranges = False
    assert await read(source) == DATA
    with pytest.raises(RangeIgnored):
        await read(source, 0, 5)


async def test_a_range_that_the_server_does_not_have(registry: ScriptedRegistry, source: Source) -> None:
    with pytest.raises(RangeRefused):
        await read(source, 20, 30)


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"content-range": "bytes 3-6/10"}, 206, "URL gives another part of the blob than it was asked for"),
        ({"content-range": "junk"}, 206, "URL gives another part of the blob than it was asked for"),
        ({}, 206, "URL gives another part of the blob than it was asked for"),
        (
            {"content-range": "bytes 0-9/11"},
            206,
            "the registry has 11 bytes for the blob DIGEST, and its manifest says 10",
        ),
        ({}, 200, "the registry has 3 bytes for the blob DIGEST, and its manifest says 10"),
        ({"content-encoding": "gzip"}, 200, "URL compresses a blob, though it was asked not to"),
        ({}, 404, "404: the registry does not have the blob DIGEST"),
        ({}, 400, "400: abc"),
        ({}, 307, "the registry sends its clients elsewhere (307) and does not say where"),
        ({"location": "gopher://x"}, 307, "URL sends its clients to an address that cannot be read"),
    ],
)
async def test_answers_that_are_of_no_use(
    registry: ScriptedRegistry, source: Source, fields: dict[str, str], status: int, text: str
) -> None:
    registry.auth = None
    registry.fault("/blobs/", status=status, headers=fields, body=b"abc")
    with pytest.raises(RegistryError) as raised:
        await read(source)
    assert raised.value.message == text.replace("URL", registry.url).replace("DIGEST", DIGEST)
    assert not is_passing(raised.value)


async def test_a_total_that_is_not_told(registry: ScriptedRegistry, source: Source) -> None:
    registry.fault("/blobs/", status=206, headers={"content-range": "bytes 0-2/*"}, body=b"012")
    assert await read(source, 0, 3) == b"012"


async def test_the_look_before(registry: ScriptedRegistry, source: Source) -> None:
    await source.check()
    assert [request.method for request in registry.told(path=DIGEST)] == ["HEAD", "HEAD"]


@pytest.mark.parametrize(
    ("status", "fields", "text"),
    [
        (404, {}, "404: the registry does not have the blob DIGEST"),
        (200, {"content-length": "11"}, "the registry has 11 bytes for the blob DIGEST, and its manifest says 10"),
        (503, {}, "503"),
    ],
)
async def test_a_look_that_says_no(
    registry: ScriptedRegistry, source: Source, status: int, fields: dict[str, str], text: str
) -> None:
    registry.auth = None
    length = int(fields["content-length"]) if fields else None
    registry.fault("/blobs/", "HEAD", status=status, body=b"", length=length)
    with pytest.raises(RegistryError) as raised:
        await source.check()
    assert raised.value.message == text.replace("DIGEST", DIGEST)


@pytest.mark.parametrize(("status", "fields"), [(405, {}), (307, {"location": "http://localhost/x"}), (403, {})])
async def test_a_look_that_says_nothing(
    registry: ScriptedRegistry, source: Source, status: int, fields: dict[str, str]
) -> None:
    registry.auth = None
    registry.fault("/blobs/", "HEAD", status=status, headers=fields)
    await source.check()
    assert len(registry.requests) == 1


def test_what_passes_by_itself() -> None:
    passing = [Unanswered("x"), RangeRefused("x"), Expired("x"), *(Refused(s, "") for s in (408, 425, 429, 500, 503))]
    final = [RegistryError("x"), RangeIgnored("x"), StoreError("x"), *(Refused(s, "") for s in (400, 401, 403, 404))]
    assert ([is_passing(e) for e in passing], [is_passing(e) for e in final]) == ([True] * 8, [False] * 7)
