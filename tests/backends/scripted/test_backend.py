"""The kind `scripted` as the gateway sees it."""

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arriero.backends.base import Backend, Want
from arriero.backends.http.call import Call, Timeouts
from arriero.backends.scripted import Scripted, ScriptError
from arriero.backends.scripted.script import Model, Play, Rule, Script, When
from arriero.canonical.catalog import Capability, ModelCard, ModelDetail
from arriero.errors import BackendFailed, BackendOverloaded, BackendTimeout, BackendUnreachable

TINY = Model(name="tiny", capabilities=("completion", "tools"), context_length=512, embedding_length=4, loaded=True)


@asynccontextmanager
async def backend(script: Script | Path | None = None, timeouts: Timeouts | None = None) -> AsyncIterator[Scripted]:
    made = Scripted("toy", script=script, timeouts=timeouts)
    try:
        yield made
    finally:
        await made.close()


def test_what_it_is_before_anything_is_asked() -> None:
    made: Backend = Scripted("toy")
    assert (made.name, made.kind, made.where, made.error_type) == (
        "toy",
        "scripted",
        "built-in script",
        "scripted_error",
    )
    assert (made.library, made.has_memory, made.curated, made.silent) == (True, True, False, False)
    assert (made.roots, made.profile.name, made.forwards_client) == ({"ollama": "", "openai": "/v1"}, "ollama", True)
    openai: Backend = Scripted("toy", script=Script(speaks=("openai",)))
    assert (openai.roots, openai.profile.name, openai.forwards_client) == ({"openai": "/v1"}, "generic", False)
    assert (openai.library, openai.has_memory) == (False, False)


async def test_it_starts_when_it_is_needed_and_leaves_nothing_behind() -> None:
    made = Scripted("toy")
    assert made.server.address == ""
    place = await made.reach(Want("scripted"))
    path = Path(made.server.address.removeprefix("unix://"))
    assert (place.model, await place.diagnose()) == ("scripted", None)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (await made.reach(Want("other"))).pool is place.pool
    head, body = await place.pool.fetch(Call("GET", place.pool.origin.target("/api/version"), made.headers))
    assert (head.status, body) == (200, b'{"version":"0.12.3"}')
    place.release(None)
    await made.close()
    assert not path.parent.exists()
    await made.close()


async def test_the_catalog_of_one_that_speaks_ollama() -> None:
    async with backend(Script(models=(TINY, Model(name="other:1")))) as made:
        cards = await made.list_models()
        assert [card.id for card in cards] == ["tiny:latest", "other:1"]
        assert (cards[0].context_length, cards[0].embedding_length) == (512, 4)
        assert cards[0].capabilities == frozenset({Capability.COMPLETION, Capability.TOOLS})
        assert [model.card.id for model in await made.list_loaded()] == ["tiny:latest"]
        detail = await made.show(cards[0], True)
        assert (detail.card.id, detail.card.context_length) == ("tiny:latest", 512)
        assert detail.info["general.architecture"] == "llama"
        await made.load(Want("other:1"), None)
        await made.load(Want("tiny"), 0)
        assert [model.card.id for model in await made.list_loaded()] == ["other:1"]
        await made.load(Want("tiny"), float("inf"))
        assert made.server.requests[-1].body == b'{"model":"tiny","keep_alive":-1}'


async def test_the_catalog_of_one_that_speaks_openai_only() -> None:
    async with backend(Script(speaks=("openai",), models=(TINY,), key="secret")) as made:
        (card,) = await made.list_models()
        assert (card.id, card.context_length, card.owned_by) == ("tiny", 512, "scripted")
        assert await made.list_loaded() == ()
        assert await made.show(card, False) == ModelDetail(card=card)
        await made.load(Want("tiny"), 0)
        (received,) = made.server.requests
        assert (received.path, received.headers["authorization"]) == ("/v1/models", "Bearer secret")
        assert received.headers["accept-encoding"] == "identity"


async def test_no_key_of_a_client_or_of_the_script_commands_it() -> None:
    async with backend(Script(key="secret")) as made:
        pool = (await made.reach(Want("scripted"))).pool
        target = pool.origin.target("/_scripted/fault/hang")
        head, _ = await pool.fetch(Call("POST", target, made.headers))
        assert (dict(made.headers)[b"authorization"], head.status) == (b"Bearer secret", 401)
        assert made.server.desk.commanded == ()
        key = ((b"authorization", f"Bearer {made.command_key}".encode()),)
        head, _ = await pool.fetch(Call("POST", target, key))
        assert (head.status, len(made.server.desk.commanded)) == (200, 1)


async def test_a_check_asks_as_little_as_it_can() -> None:
    async with backend(Script(rules=(Rule(Play(status=503, headers={"Retry-After": "7"}), When(call=2)),))) as made:
        await made.check()
        with pytest.raises(BackendOverloaded) as raised:
            await made.check()
        assert (raised.value.retry_after, [received.path for received in made.server.requests]) == (7, ["/", "/"])
    async with backend(Script(speaks=("openai",))) as made:
        await made.check()
        assert [received.path for received in made.server.requests] == ["/v1/models"]


async def test_its_failures_are_those_of_a_backend() -> None:
    rules = (Rule(Play(status=500, body={"error": "boom"}), When("GET")), Rule(Play(fault="hang")))
    async with backend(Script(rules=rules), Timeouts(first_byte=0.3)) as made:
        with pytest.raises(BackendFailed, match="boom") as raised:
            await made.list_models()
        assert (raised.value.status, raised.value.type) == (500, "scripted_error")
        with pytest.raises(BackendTimeout):
            await made.show(ModelCard(id="scripted"), False)


async def test_a_file(tmp_path: Path) -> None:
    script = tmp_path / "demo.yaml"
    with pytest.raises(ScriptError, match=r"demo\.yaml cannot be read"):
        Scripted("toy", script=script)
    script.write_text("models: [{name: own}]")
    async with backend(script) as made:
        assert made.where == f"script {script}"
        assert [card.id for card in await made.list_models()] == ["own:latest"]


async def test_no_place_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    async with backend() as made:
        with pytest.raises(BackendUnreachable, match="toy cannot listen"):
            await made.list_models()
    assert list(deep.iterdir()) == []
