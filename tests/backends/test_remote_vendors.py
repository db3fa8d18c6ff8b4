"""The remote kinds at vendors: queries, lists in pages, lists that nobody has, and vendors without one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from msgspec import structs

from arriero.backends import remote
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings, Unread
from arriero.backends.scripted import Script, ScriptedServer
from arriero.backends.scripted.script import Play, Rule, When
from arriero.dialects.profiles import profile_of
from arriero.dialects.quirks import Paging, Profile
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendRefused,
    BackendUnauthorized,
    BackendUnconfigured,
)

SECONDS = 20.0
KEY = "sk-very-secret"


@asynccontextmanager
async def vendor(profile: str | Profile, *rules: Rule, **more: Any) -> AsyncIterator[tuple[ScriptedServer, OpenAI]]:
    own = profile_of(profile) if isinstance(profile, str) else profile
    async with asyncio.timeout(SECONDS), ScriptedServer(Script(speaks=("openai",), rules=rules)) as server:
        backend = OpenAI(RemoteSettings(name="far", url=server.address + "/base/v1", profile=own, api_key=KEY, **more))
        try:
            yield server, backend
        finally:
            await backend.close()


def asked(server: ScriptedServer) -> list[str]:
    return [request.path for request in server.requests]


def page(*ids: str, query: str | None = None, **fields: Any) -> Rule:
    return Rule(Play(body={"data": [{"id": id} for id in ids], **fields}), When(query=query))


# ---- the query of every request --------------------------------------------------------------------------------------


async def test_the_query_of_every_request() -> None:
    own = structs.replace(profile_of("generic"), query={"api-version": "1", "tier": "free"})
    async with vendor(own, page("a"), query={"api-version": "2 beta", "tier": ""}, check_path="/well") as (
        server,
        backend,
    ):
        await backend.list_models()
        await backend.check()
        assert asked(server) == ["/base/v1/models?api-version=2%20beta", "/well?api-version=2%20beta"]


# ---- lists that come again ------------------------------------------------------------------------------------------


async def test_a_list_that_comes_again_is_the_same_object() -> None:
    async with vendor("generic", page("a", "b")) as (_, backend):
        assert await backend.list_models() is await backend.list_models()


async def test_pages_that_come_again_are_the_same_object() -> None:
    async with vendor("openrouter", page("b", query="*offset=1*", total_count=2), page("a", total_count=2)) as (_, far):
        before = await far.list_models()
        assert [card.id for card in before] == ["a", "b"]
        assert await far.list_models() is before


def test_what_has_changed_is_read_again() -> None:
    unread, read = Unread(), list[bytes]()

    def reading(body: bytes) -> tuple[bytes]:
        read.append(body)
        return (body,)

    first = unread.of("here", b"1", reading)
    assert unread.of("here", b"1", reading) is first
    assert unread.of("there", b"1", reading) == (b"1",)
    assert unread.of("here", b"2", reading) == (b"2",)
    assert read == [b"1", b"1", b"2"]


def test_places_without_end_are_forgotten() -> None:
    unread = Unread()
    for place in range(10 * remote.MAX_PAGES):
        unread.of(str(place), b"1", len)
    assert unread.places <= remote.MAX_PAGES


# ---- pages -----------------------------------------------------------------------------------------------------------


async def ids_of(backend: OpenAI) -> list[str]:
    return [card.id for card in await backend.list_models()]


async def test_pages_by_link() -> None:
    rules = (
        page("c", query="*offset=2*", links={"next": None}),
        page("a", "b", links={"next": "/api/v1/models?offset=2&output_modalities=all"}),
    )
    async with vendor("openrouter", *rules) as (server, backend):
        assert await ids_of(backend) == ["a", "b", "c"]
        assert asked(server) == [
            "/base/v1/models?output_modalities=all",
            "/base/v1/models?output_modalities=all&offset=2",
        ]


async def test_pages_by_their_number() -> None:
    rules = (page("c", query="*offset=2*", total_count=3), page("a", "b", total_count=3))
    async with vendor("openrouter", *rules) as (server, backend):
        assert await ids_of(backend) == ["a", "b", "c"]
        assert asked(server)[1:] == ["/base/v1/models?output_modalities=all&offset=2"]


async def test_a_check_reads_no_second_page() -> None:
    async with vendor("openrouter", page("a", links={"next": "/?offset=1"})) as (server, backend):
        await backend.check()
        assert asked(server) == ["/base/v1/models?output_modalities=all"]


async def test_pages_that_bring_nothing_new_end_the_list() -> None:
    rules = (page("a", "b", links={"next": "/api/v1/models?offset=2"}),)
    async with vendor("openrouter", *rules) as (server, backend):
        with structlog.testing.capture_logs() as logs:
            assert await ids_of(backend) == ["a", "b"]
        assert len(server.requests) == 2
        assert [(line["log_level"], line["event"], line["backend"], line["models"]) for line in logs] == [
            ("warning", "a model list has no end; what came is kept", "far", 2)
        ]
        with structlog.testing.capture_logs() as logs:
            assert await ids_of(backend) == ["a", "b"]
        assert logs == []  # each check finds it again


async def test_pages_for_ever_end_after_so_many() -> None:
    rules = [
        page(f"m{number}", query=_query(number - 1), links={"next": f"/?offset={number}"})
        for number in range(1, remote.MAX_PAGES + 5)
    ]
    async with vendor("openrouter", *rules) as (server, backend):
        with structlog.testing.capture_logs() as logs:
            found = await ids_of(backend)
        assert (len(found), found[0], found[-1]) == (remote.MAX_PAGES, "m1", f"m{remote.MAX_PAGES}")
        assert len(server.requests) == remote.MAX_PAGES
        assert [line["models"] for line in logs] == [remote.MAX_PAGES]


def _query(at: int) -> str:
    """What the request after `at` answers asks for."""
    return "output_modalities=all" + (f"&offset={at}" if at else "")


async def test_a_page_that_fails_is_no_half_a_list() -> None:
    rules = (Rule(Play(status=500, body="boom"), When(query="*offset=1*")), page("a", links={"next": "/?offset=1"}))
    async with vendor("openrouter", *rules) as (_, backend):
        with pytest.raises(BackendFailed):
            await backend.list_models()


async def test_a_link_never_leads_away() -> None:
    async with ScriptedServer(Script()) as other:
        rules = (
            page("b", query="*offset=1*", links={"next": None}),
            page("a", links={"next": f"{other.address}/v1/models?offset=1"}),
        )
        async with vendor("openrouter", *rules) as (server, backend):
            assert await ids_of(backend) == ["a", "b"]
            assert len(server.requests) == 2
        assert list(other.requests) == []


async def test_the_list_at_the_host_with_a_key_of_its_own() -> None:
    own = structs.replace(
        profile_of("generic"),
        models_path="/v1/models",
        models_at_host=True,
        models_query={"page_size": "9"},
        models_auth=("x-key", "Token "),
        paging=Paging.TOKEN,
    )
    rules = (page("b", query="*page_token=t%2F1*"), page("a", next_page_token="t/1"))
    async with vendor(own, *rules) as (server, backend):
        assert await ids_of(backend) == ["a", "b"]
        assert asked(server) == ["/v1/models?page_size=9", "/v1/models?page_size=9&page_token=t%2F1"]
        assert {request.headers["x-key"] for request in server.requests} == {f"Token {KEY}"}
        assert all("authorization" not in request.headers for request in server.requests)
        assert dict(backend.headers)[b"authorization"] == f"Bearer {KEY}".encode()


# ---- lists that nobody has -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "error", "words"),
    [
        (Play(body="<html><h1>Sign in</h1></html>"), BackendBroken, r"web page \(Sign in\): look at its url"),
        (Play(body={"data": 5}), BackendBroken, "model list is no list"),
        (Play(body=""), BackendBroken, "model list is empty"),
        (Play(body={"error": {"message": "no such route"}}), BackendFailed, "API error: no such route"),
        (Play(body="[" + "1," * 3_000_000 + "1]"), BackendBroken, "longer than any list of models"),
        (Play(body=" " * (33 * 1024 * 1024)), BackendBroken, "33554432"),
        (Play(body="[" * 100_000), BackendBroken, "model list is not JSON"),
        (Play(status=401, body={"error": "who?"}), BackendUnauthorized, "OPENROUTER_API_KEY"),
    ],
    ids=["html", "no list", "nothing", "an error with 200", "numbers", "33 MiB", "nested", "401"],
)
async def test_a_list_that_is_none(play: Play, error: type[BackendError], words: str) -> None:
    async with vendor("openrouter", Rule(play)) as (_, backend):
        with pytest.raises(error, match=words):
            await backend.list_models()


async def test_entries_of_nonsense_are_passed_over() -> None:
    junk: list[Any] = [5, None, {}, {"id": 7}, {"id": ""}, [], {"id": "a", "pricing": "free", "architecture": []}]
    async with vendor("openrouter", Rule(Play(body={"data": junk}))) as (_, backend):
        assert await ids_of(backend) == ["a"]


# ---- vendors without a list ------------------------------------------------------------------------------------------


async def test_who_has_no_list_offers_what_the_operator_names() -> None:
    async with vendor("perplexity", models_named=True) as (server, backend):
        assert await backend.list_models() == ()
        await backend.check()
        assert list(server.requests) == []


async def test_the_operators_own_check_counts_there_too() -> None:
    rule = Rule(Play(status=503), When(path="/health"))
    async with vendor("perplexity", rule, models_named=True, check_path="/health") as (server, backend):
        for look in (backend.list_models, backend.check):
            with pytest.raises(BackendError):
                await look()
        assert asked(server) == ["/health", "/health"]


async def test_a_vendor_may_tell_whether_it_takes_the_key() -> None:
    async with vendor("azure", Rule(Play(body={"data": [{"id": "could-be"}]})), models_named=True) as (server, backend):
        assert await backend.list_models() == ()
        assert (asked(server), server.requests[0].headers["api-key"]) == (["/base/v1/models"], KEY)
    async with vendor("azure", Rule(Play(status=401)), models_named=True) as (_, backend):
        with pytest.raises(BackendUnauthorized):
            await backend.list_models()


async def test_no_list_and_nothing_named_is_the_operators_to_mend() -> None:
    async with vendor("perplexity") as (server, backend):
        with pytest.raises(BackendUnconfigured) as raised:
            await backend.list_models()
        assert raised.value.message == (
            "Perplexity has no list of its models: none is offered until they are named in extra_models of the backend"
            " far"
        )
        assert (raised.value.type, raised.value.status) == ("configuration_error", 503)
        assert list(server.requests) == []


NOWHERE = Rule(Play(status=404, body={"detail": "Not Found"}), When(path="/base/v1/models"))


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (405, "Method Not Allowed")])
async def test_a_list_that_is_not_there_is_said_to_be_so(status: int, words: str) -> None:
    async with vendor("generic", Rule(Play(status=status, body={"detail": words}))) as (_, backend):
        for look in (backend.list_models, backend.check):
            with pytest.raises(BackendRefused) as raised:
                await look()
            assert (raised.value.status, raised.value.message) == (
                status,
                f"the list of models is not there (HTTP {status} at /base/v1/models): look at its url,"
                " or name its models with -m or in extra_models",
            )


async def test_where_models_are_named_a_server_needs_no_list() -> None:
    async with vendor("generic", NOWHERE, models_named=True) as (server, backend):
        with structlog.testing.capture_logs() as logged:
            await backend.check()
            assert (await backend.list_models(), await backend.list_models()) == ((), ())
        assert [line["event"] for line in logged] == ["backend has no list of models; those that are named are offered"]
        assert asked(server) == ["/base/v1/models"] * 3
    async with vendor("generic", Rule(Play(status=500)), models_named=True) as (_, backend):
        with pytest.raises(BackendFailed):
            await backend.list_models()


async def test_a_server_without_ollamas_list_may_speak_openais_api() -> None:
    async with ScriptedServer(Script(rules=(Rule(Play(status=404, body="404 page not found")),))) as server:
        backend = Ollama(RemoteSettings(name="far", url=server.address, profile=profile_of("ollama")))
        with pytest.raises(BackendRefused) as raised:
            await backend.list_models()
        await backend.close()
    assert (raised.value.status, raised.value.type, raised.value.message) == (
        404,
        "ollama_error",
        "the list of models is not there (HTTP 404 at /api/tags): look at its url; who speaks OpenAI's API is of kind "
        "openai",
    )


# ---- Ollama's cloud --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("https://ollama.com", (False, False, False)),
        ("https://OLLAMA.com/", (False, False, False)),
        ("http://10.0.0.5:11434", (True, True, True)),
        ("https://ollama.com.example.org", (True, True, True)),
    ],
)
def test_ollamas_cloud_is_no_library_home(url: str, facts: tuple[bool, bool, bool]) -> None:
    made = Ollama(RemoteSettings(name="cloud", url=url, profile=profile_of("ollama"), api_key=KEY))
    assert (made.library, made.has_memory, made.forwards_client) == facts


def test_the_title_of_an_application_is_the_operators_to_say() -> None:
    def sent(headers: Mapping[str, str]) -> dict[bytes, bytes]:
        profile = profile_of("openrouter")
        return dict(OpenAI(RemoteSettings(name="r", url="http://h", profile=profile, headers=headers)).headers)

    assert sent({})[b"x-title"] == b"arriero"
    assert sent({"X-TITLE": "Lab"})[b"x-title"] == b"Lab"
