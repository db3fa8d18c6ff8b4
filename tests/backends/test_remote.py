"""The kinds `openai` and `ollama` against a scripted server: what goes out, what comes back, what can go wrong."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from arriero.backends.base import Backend, Want
from arriero.backends.http.call import Timeouts
from arriero.backends.http.proxy import ProxySettings
from arriero.backends.remote import Ollama, OpenAI, Remote, RemoteSettings
from arriero.backends.scripted import Script, ScriptedServer
from arriero.backends.scripted.script import Model, Play, Rule, When
from arriero.canonical.catalog import Capability, ModelCard, ModelDetail
from arriero.dialects.profiles import profile_of
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
)

SECONDS = 5.0
KEY = "sk-very-secret"
TINY = Model(name="tiny", capabilities=("completion", "tools"), context_length=512, embedding_length=4, loaded=True)
MODELS = Script(models=(TINY, Model(name="org/other:1b", capabilities=("embedding",))))


def settings(url: str, profile: str = "generic", **more: Any) -> RemoteSettings:
    return RemoteSettings(name="far", url=url, profile=profile_of(profile), **more)


@asynccontextmanager
async def serving(script: Script = MODELS) -> AsyncIterator[ScriptedServer]:
    async with asyncio.timeout(SECONDS), ScriptedServer(script) as server:
        yield server


@asynccontextmanager
async def closing(backend: Remote) -> AsyncIterator[Remote]:
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def ollama(script: Script = MODELS, **more: Any) -> AsyncIterator[tuple[ScriptedServer, Ollama]]:
    async with serving(script) as server:
        backend = Ollama(settings(server.address, "ollama", **more))
        async with closing(backend):
            yield server, backend


@asynccontextmanager
async def openai(
    script: Script = MODELS, profile: str = "generic", **more: Any
) -> AsyncIterator[tuple[ScriptedServer, OpenAI]]:
    async with serving(script) as server:
        backend = OpenAI(settings(server.address + "/v1", profile, **more))
        async with closing(backend):
            yield server, backend


def playing(play: Play) -> Script:
    return Script(rules=(Rule(play),))


# ---- what they are -------------------------------------------------------------------------------------------------


def test_what_an_ollama_server_is() -> None:
    made: Backend = Ollama(settings("http://user:secret@gpu1:11434/", "ollama"))
    assert (made.name, made.kind, made.where, made.error_type) == ("far", "ollama", "http://gpu1:11434", "ollama_error")
    assert (made.library, made.has_memory, made.curated, made.silent, made.forwards_client) == (
        True,
        True,
        False,
        False,
        True,
    )
    assert made.roots == {"ollama": "", "openai": "/v1"}
    assert Ollama(settings("http://gpu1:11434", "ollama", openai_api=False)).roots == {"ollama": ""}


def test_what_an_openai_server_is() -> None:
    made: Backend = OpenAI(settings("https://api.groq.com/openai/v1", "groq"))
    assert (made.kind, made.where, made.error_type) == ("openai", "https://api.groq.com/openai/v1", "groq_error")
    assert (made.library, made.has_memory, made.curated, made.silent, made.forwards_client) == (False,) * 5
    assert made.roots == {"openai": ""}


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("gpu1:11434", {}, "has to begin with http://"),
        ("https://gpu1", {"ca_file": "/nowhere.pem"}, "ca_file '/nowhere.pem' cannot be read"),
    ],
)
def test_what_cannot_be_built(url: str, more: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenAI(settings(url, **more))


async def test_one_address_of_a_name_is_asked_under_the_name() -> None:
    async with serving() as server:
        port = server.address.rpartition(":")[2]
        far = Ollama(settings(f"http://gpu.invalid:{port}", "ollama", address="127.0.0.1"))
        async with closing(far):
            assert len(await far.list_models()) == 2
            assert far.where == f"http://gpu.invalid:{port} at 127.0.0.1"
            assert server.requests[0].headers["host"] == f"gpu.invalid:{port}"


def test_a_proxy_that_would_look_the_name_up_again_is_refused() -> None:
    proxy = ProxySettings(all="http://proxy.example:3128")
    with pytest.raises(ValueError, match=r"^discover: dns goes to each address by itself, .*; set proxy: direct$"):
        Ollama(settings("http://gpu.example", "ollama", address="10.0.0.5", proxy=proxy))
    Ollama(settings("https://gpu.example", "ollama", address="10.0.0.5", proxy=proxy))
    Ollama(settings("http://gpu.example", "ollama", address="10.0.0.5", proxy=replace(proxy, no="10.0.0.0/8")))


async def test_the_place_is_always_there() -> None:
    backend = OpenAI(settings("http://nowhere.invalid"))
    place = await backend.reach(Want("tiny"))
    assert (place.pool, place.model, await place.diagnose()) == (backend.pool, "tiny", None)
    place.release(5.0)


# ---- catalogs ------------------------------------------------------------------------------------------------------


async def test_the_models_of_an_ollama_server() -> None:
    async with ollama() as (server, backend):
        tiny, other = await backend.list_models()
        assert (tiny.id, other.id) == ("tiny:latest", "org/other:1b")
        assert tiny.capabilities == frozenset({Capability.COMPLETION, Capability.TOOLS})
        assert (tiny.context_length, tiny.embedding_length, tiny.size_bytes) == (512, 4, 1_234_567)
        assert (tiny.family, tiny.format, tiny.parameter_size, tiny.quantization) == ("llama", "gguf", "1.2B", "Q8_0")
        assert other.capabilities == frozenset({Capability.EMBEDDING})
        (loaded,) = await backend.list_loaded()
        assert (loaded.card.id, loaded.size_bytes, loaded.vram_bytes) == ("tiny:latest", 1_234_567, 1_234_567)
        assert (loaded.context_length, loaded.expires_at) == (512, float("inf"))
        detail = await backend.show(tiny, True)
        assert (detail.card.id, detail.card.context_length, detail.template) == ("tiny:latest", 512, "{{ .Prompt }}")
        assert detail.info["general.parameter_count"] == 1_235_814_432
        assert [(received.method, received.path, received.body) for received in server.requests] == [
            ("GET", "/api/tags", b""),
            ("GET", "/api/ps", b""),
            ("POST", "/api/show", b'{"model":"tiny:latest","verbose":true}'),
        ]
        assert server.connections == 1


async def test_loading_on_an_ollama_server() -> None:
    async with ollama() as (server, backend):
        for keep_alive in (None, 0.0, 90.5, float("inf")):
            await backend.load(Want("tiny"), keep_alive)
        assert [received.body for received in server.requests] == [
            b'{"model":"tiny","keep_alive":null}',
            b'{"model":"tiny","keep_alive":0.0}',
            b'{"model":"tiny","keep_alive":90.5}',
            b'{"model":"tiny","keep_alive":-1}',
        ]
        assert {received.path for received in server.requests} == {"/api/generate"}


async def test_the_models_of_an_openai_server() -> None:
    async with openai() as (server, backend):
        tiny, other = await backend.list_models()
        assert (tiny.id, tiny.context_length, tiny.created, tiny.owned_by) == ("tiny", 512, 1_767_312_000, "scripted")
        assert (other.id, other.capabilities) == ("org/other:1b", None)
        assert await backend.show(tiny, False) == ModelDetail(card=tiny)
        assert await backend.list_loaded() == ()
        await backend.load(Want("tiny"), 0)
        assert [(received.method, received.path) for received in server.requests] == [("GET", "/v1/models")]


# ---- headers -------------------------------------------------------------------------------------------------------


async def test_the_headers_of_every_request() -> None:
    async with openai(api_key=KEY, headers={"X-Team": "lab", "User-Agent": "own"}) as (server, backend):
        await backend.list_models()
        host = server.address.removeprefix("http://")
        assert server.requests[0].headers == {
            "host": host,
            "accept-encoding": "identity",
            "accept": "*/*",
            "content-type": "application/json",
            "user-agent": "own",
            "authorization": f"Bearer {KEY}",
            "x-team": "lab",
        }


def sent(made: RemoteSettings) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in OpenAI(made).headers}


def test_credentials() -> None:
    url = "http://user:pass@gpu1/v1"
    assert "authorization" not in sent(settings("http://gpu1/v1"))
    assert sent(settings("http://gpu1/v1"))["user-agent"] == "arriero"
    assert sent(settings(url))["authorization"] == "Basic dXNlcjpwYXNz"
    assert sent(settings(url, api_key=KEY))["authorization"] == f"Bearer {KEY}"
    assert sent(settings(url, headers={"Authorization": "own"}))["authorization"] == "own"


def test_the_key_goes_where_the_vendor_wants_it() -> None:
    profile = profile_of("generic")
    for name, prefix in (("api-key", ""), ("x-api-key", "Token ")):
        own = structs.replace(profile, auth_header=name, auth_prefix=prefix)
        made = RemoteSettings(name="far", url="http://gpu1", profile=own, api_key=KEY)
        assert sent(made)[name] == prefix + KEY
        assert "authorization" not in sent(made)


# ---- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "error", "status", "message"),
    [
        (Play(status=500, body={"error": "boom"}), BackendFailed, 500, "boom"),
        (Play(status=502, body="<html><h1>Bad Gateway</h1></html>"), BackendFailed, 502, "Bad Gateway"),
        (Play(status=429, body={"error": {"message": "slow"}}), BackendOverloaded, 429, "slow"),
        (Play(status=503), BackendOverloaded, 503, "scripted 503"),
        (Play(status=404, body="no"), BackendRefused, 404, "the list of models is not there"),
        (Play(status=302, headers={"Location": "/x"}), BackendBroken, 502, r"elsewhere \(HTTP 302 to /x\)"),
        (Play(body="<html>Log in first</html>"), BackendBroken, 502, r"web page \(Log in first\)"),
        (Play(body="[1"), BackendBroken, 502, "model list"),
        (Play(fault="half_json"), BackendBroken, 502, "model list"),
        (Play(fault="empty"), BackendBroken, 502, "model list"),
        (Play(fault="refuse"), BackendBroken, 502, "closed the connection before it answered"),
        (Play(fault="reset"), BackendBroken, 502, "far closed the connection before it answered"),
        (Play(fault="garbage"), BackendBroken, 502, "something that is not an HTTP answer"),
        (Play(fault="cut_head"), BackendBroken, 502, "closed the connection"),
        (Play(fault="cut_stream"), BackendBroken, 502, "in the middle of its answer"),
        (Play(fault="wrong_length"), BackendBroken, 502, "in the middle of its answer"),
        (Play(fault="huge_head"), BackendBroken, 502, "a response head of more than"),
        (Play(fault="hang"), BackendTimeout, 504, "far "),
        (Play(fault="hang_stream"), BackendTimeout, 504, "far "),
    ],
)
async def test_errors(play: Play, error: type[BackendError], status: int, message: str) -> None:
    hangs = (play.fault or "").startswith("hang")
    timeouts = Timeouts(first_byte=0.05, idle=0.05) if hangs else Timeouts()
    async with (
        ollama(playing(play), timeouts=timeouts) as (_, ollama_backend),
        openai(playing(play), timeouts=timeouts) as (_, openai_backend),
    ):
        for backend in (ollama_backend, openai_backend):
            with pytest.raises(error, match=message) as raised:
                await backend.list_models()
            assert (type(raised.value), raised.value.status) == (error, status)


async def test_the_type_of_an_error_names_the_vendor() -> None:
    async with openai(playing(Play(status=500)), "groq") as (_, backend):
        with pytest.raises(BackendFailed) as raised:
            await backend.list_models()
        assert raised.value.type == "groq_error"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_shows_in_no_text(status: int) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    async with openai(playing(Play(status=status, body=body)), api_key=KEY) as (server, backend):
        with pytest.raises(BackendUnauthorized) as raised:
            await backend.list_models()
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in str(raised.value)
        assert (raised.value.status, f"HTTP {status}" in str(raised.value)) == (502, True)
        assert KEY not in repr(backend.where)


async def test_the_right_key_opens() -> None:
    async with openai(Script(key=KEY), api_key=KEY) as (_, backend):
        assert await backend.list_models() != ()
    async with openai(Script(key=KEY), api_key="sk-wrong") as (_, backend):
        with pytest.raises(BackendUnauthorized):
            await backend.list_models()


async def test_an_unreachable_server() -> None:
    async with ollama() as (server, backend):
        await server.stop_listening()
        with pytest.raises(BackendUnreachable, match="cannot reach") as raised:
            await backend.list_models()
        assert (raised.value.status, raised.value.type) == (503, "network_error")
        with pytest.raises(BackendUnreachable):
            await backend.show(ModelCard(id="tiny"), False)


async def test_a_kept_connection_that_died_is_not_the_end() -> None:
    rules = (Rule(Play(fault="refuse"), When(call=2)),)
    async with ollama(Script(models=(TINY,), rules=rules)) as (server, backend):
        assert len(await backend.list_models()) == 1
        assert len(await backend.list_models()) == 1
        assert (server.connections, len(server.requests)) == (2, 3)


def test_settings_do_not_show_their_keys() -> None:
    assert repr(settings("http://u:pass@gpu1", api_key=KEY, headers={"X-Team": KEY})) == "RemoteSettings(name='far')"


def test_a_key_that_cannot_be_sent_is_not_quoted() -> None:
    with pytest.raises(ValueError, match=r"^the API key or a header field holds a character") as refusal:
        OpenAI(settings("http://gpu1/v1", api_key="sk-\u5bc6"))
    assert "5bc6" not in ascii(str(refusal.value))


@pytest.mark.parametrize("status", [200, 400])
async def test_an_error_that_repeats_the_key_is_told_without_it(status: int) -> None:
    async with ScriptedServer(playing(Play(status=status, body={"error": f"bad key {KEY}"}))) as server:
        far = OpenAI(settings(f"{server.address}/v1", api_key=KEY))
        with pytest.raises(BackendError) as refusal:
            await far.list_models()
        await far.close()
    assert refusal.value.message == "bad key ***"


# ---- checks --------------------------------------------------------------------------------------------------------


async def test_a_check_asks_as_little_as_shows_that_a_server_is_well() -> None:
    async with ollama() as (server, backend):
        await backend.check()
        assert [(received.method, received.path) for received in server.requests] == [("GET", "/")]
    async with openai(api_key=KEY) as (server, backend):
        await backend.check()
        assert [(received.method, received.path) for received in server.requests] == [("GET", "/v1/models")]
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_the_operators_path_is_the_hosts_and_not_the_bases() -> None:
    healthy = Script(rules=(Rule(Play(body="ok"), When(path="/health")),))
    async with openai(healthy, check_path="/health") as (server, backend):
        await backend.check()
        assert [(received.method, received.path) for received in server.requests] == [("GET", "/health")]
    async with ollama(healthy, check_path="/health") as (server, backend):
        await backend.check()
        await backend.list_models()
        assert [received.path for received in server.requests] == ["/health", "/api/tags"]


async def test_a_base_with_a_path_is_checked_there() -> None:
    for kind, url_path, checked in ((Ollama, "/base", "/base/"), (OpenAI, "/openai/v1", "/openai/v1/models")):
        async with serving(Script(rules=(Rule(Play(body="ok")),))) as server:
            backend = kind(settings(server.address + url_path, "ollama" if kind is Ollama else "generic"))
            async with closing(backend):
                await backend.check()
            assert [received.path for received in server.requests] == [checked]


@pytest.mark.parametrize(
    ("play", "error", "retry_after"),
    [
        (Play(status=503), BackendOverloaded, None),
        (Play(status=503, headers={"Retry-After": "7"}), BackendOverloaded, 7.0),
        (Play(status=429, headers={"Retry-After": "30"}), BackendOverloaded, 30.0),
        (Play(status=500, body="loading"), BackendFailed, None),
        (Play(status=401), BackendUnauthorized, None),
        (Play(status=403), BackendUnauthorized, None),
        (Play(status=404), BackendRefused, None),
        (Play(status=302, headers={"Location": "/login"}), BackendBroken, None),
        (Play(fault="cut_head"), BackendBroken, None),
        (Play(fault="garbage"), BackendBroken, None),
        (Play(fault="hang"), BackendTimeout, None),
    ],
)
async def test_what_is_not_well(play: Play, error: type[BackendError], retry_after: float | None) -> None:
    timeouts = Timeouts(first_byte=0.05) if play.fault == "hang" else Timeouts()
    for check_path in (None, "/health"):
        async with openai(playing(play), timeouts=timeouts, check_path=check_path, api_key=KEY) as (_, backend):
            with pytest.raises(error) as raised:
                await backend.check()
            assert (type(raised.value), raised.value.retry_after) == (error, retry_after)
            assert KEY not in str(raised.value)


async def test_nobody_is_there_to_be_checked() -> None:
    async with ollama() as (server, backend):
        await server.stop_listening()
        with pytest.raises(BackendUnreachable):
            await backend.check()
