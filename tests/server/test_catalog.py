"""The routes that tell of models and of the server: whole answers over backends with known lists."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import arriero
from arriero.backends.http.call import Headers
from arriero.compose import DIALECTS
from arriero.errors import AmbiguousModel, BackendFailed, BadRequest, Forbidden, ModelNotFound, Unauthorized
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Bylaws
from arriero.routing.fleet import State
from arriero.routing.model_filter import ModelFilter
from arriero.server.catalog import OLLAMA_VERSION, Catalog
from arriero.server.routes import Table
from support.gateway import Played, gateway, http
from support.lanes import KeptLane, inbound

OPENAI = json.dumps({"data": [{"id": "acme/big", "created": 1_700_000_000}, {"id": "small:2b"}]}).encode()
OLLAMA = json.dumps(
    {
        "models": [
            {
                "name": "tiny:latest",
                "model": "tiny:latest",
                "modified_at": "2026-01-02T03:04:05.678Z",
                "size": 5,
                "digest": "a" * 64,
                "details": {"family": "llama"},
                "capabilities": ["completion", "tools"],
            }
        ]
    }
).encode()


class Answers:
    """A table of the catalog's routes, asked directly."""

    def __init__(self, catalog: Catalog) -> None:
        self._table = Table(catalog.routes)

    async def ask(self, method: str, path: str, body: Any = None, headers: Headers = ()) -> KeptLane:
        lane = KeptLane()
        raw = b"" if body is None else json.dumps(body).encode()
        async with asyncio.timeout(5):
            rest = self._table.find(path, method).handler(inbound(method, path, raw, headers=headers), lane)
            assert rest is not None
            await rest
        assert lane.end == "finish"
        return lane

    async def get(self, path: str) -> Any:
        lane = await self.ask("GET", path)
        assert lane.status == 200
        return json.loads(lane.body)


@asynccontextmanager
async def catalog(
    *backends: Played,
    tagged: bool = True,
    aliases: dict[str, list[str]] | None = None,
    bylaws: Bylaws | None = None,
) -> Any:
    if not backends:
        backends = (
            Played("openai", http(b"{}"), models=OPENAI),
            Played("ollama", http(b'{"models":[]}'), models=OLLAMA),
        )
    async with gateway(*backends, aliases=aliases, bylaws=bylaws) as gate:
        yield Answers(Catalog(gate.roster, DIALECTS, tagged=tagged))


def names(models: Sequence[dict[str, Any]], key: str = "name") -> set[str]:
    return {model[key] for model in models}


# ---- the server ----------------------------------------------------------------------------------------------------


async def test_the_server_says_what_it_is() -> None:
    async with catalog() as asked:
        root = await asked.ask("GET", "/")
        version = await asked.ask("GET", "/api/version")
        alive = await asked.ask("GET", "/healthz")
    assert (root.body, root.field(b"content-type")) == (b"Ollama is running", b"text/plain; charset=utf-8")
    assert json.loads(version.body) == {"version": OLLAMA_VERSION}
    assert version.field(b"server") == b"arriero/" + arriero.__version__.encode()
    assert (alive.status, alive.body) == (200, b"ok")


async def test_it_is_ready_when_a_backend_has_a_model() -> None:
    empty = Played("openai", http(b"{}"), models=b'{"data":[]}')
    async with catalog(empty) as asked:
        nobody = await asked.ask("GET", "/readyz")
    async with catalog(bylaws=Bylaws(filter=ModelFilter(["nothing"]))) as asked:
        hidden = await asked.ask("GET", "/readyz")
    async with catalog() as asked:
        somebody = await asked.ask("GET", "/readyz")
    assert (nobody.status, hidden.status, somebody.status) == (503, 503, 200)


async def test_ollamas_cloud_is_switched_off() -> None:
    async with catalog() as asked:
        me = await asked.ask("POST", "/api/me")
        assert (me.status, set(json.loads(me.body))) == (401, {"error", "signin_url"})
        assert (await asked.get("/api/experimental/model-recommendations")) == {"recommendations": []}
        assert (await asked.get("/api/status"))["cloud"]["disabled"] is True
        with pytest.raises(Unauthorized):
            await asked.ask("POST", "/api/signout")
        with pytest.raises(Unauthorized):
            await asked.ask("DELETE", "/api/user/keys/abc")
        for path in ("/api/experimental/web_search", "/api/experimental/web_fetch"):
            with pytest.raises(Forbidden):
                await asked.ask("POST", path, {"query": "llamas"})
            with pytest.raises(BadRequest, match="missing request body"):
                await asked.ask("POST", path)


# ---- models --------------------------------------------------------------------------------------------------------


async def test_tags_of_every_backend_under_the_names_clients_use() -> None:
    async with catalog(aliases={"fast": ["tiny"], "gone": ["nope"]}) as asked:
        models = (await asked.get("/api/tags"))["models"]
    assert names(models) == {"acme/big:latest", "small:2b", "tiny:latest", "fast:latest"}
    tiny = next(model for model in models if model["name"] == "tiny:latest")
    assert (tiny["model"], tiny["size"], tiny["digest"]) == ("tiny:latest", 5, "a" * 64)
    assert tiny["modified_at"].startswith("2026-01-02T03:04:05.678")


async def test_a_list_is_written_once_and_anew_when_a_backend_goes_or_comes() -> None:
    far = Played("ollama", http(b'{"models":[]}'), models=OLLAMA)
    async with gateway(far, seats=[Seat(check_interval=0)]) as gate:
        asked = Answers(Catalog(gate.roster, DIALECTS, tagged=True))
        for path in ("/api/tags", "/v1/models"):
            first, again = (await asked.ask("GET", path)).pieces, (await asked.ask("GET", path)).pieces
            assert first[0] is again[0]
        (entry,) = gate.roster.entries.values()
        entry.state = State.OFFLINE
        assert await asked.get("/api/tags") == {"models": []}
        entry.state = State.HEALTHY
        assert names((await asked.get("/api/tags"))["models"]) == {"tiny:latest"}


async def test_an_alias_does_not_stand_beside_the_model_whose_listed_name_it_has() -> None:
    async with catalog(aliases={"tiny": ["small:2b"], "fast": ["tiny"]}) as asked:
        listed = [model["name"] for model in (await asked.get("/api/tags"))["models"]]
    assert sorted(listed) == ["acme/big:latest", "fast:latest", "small:2b", "tiny:latest"]


async def test_ids_as_they_are() -> None:
    async with catalog(tagged=False, aliases={"fast": ["tiny"]}) as asked:
        assert names((await asked.get("/api/tags"))["models"]) == {"acme/big", "small:2b", "tiny:latest", "fast"}
        listed = (await asked.get("/v1/models"))["data"]
    assert names(listed, "id") == {"acme/big", "small:2b", "tiny:latest", "fast"}
    assert next(model for model in listed if model["id"] == "acme/big")["created"] == 1_700_000_000


async def test_an_empty_list_is_a_list() -> None:
    async with catalog(Played("openai", http(b"{}"), models=b'{"data":[]}')) as asked:
        assert await asked.get("/api/tags") == {"models": []}
        assert (await asked.get("/api/ps"))["models"] == []
        assert (await asked.get("/v1/models"))["data"] == []


async def test_one_model_by_its_id_with_slashes() -> None:
    async with catalog() as asked:
        assert (await asked.get("/v1/models/acme/big"))["id"] == "acme/big"
        with pytest.raises(ModelNotFound):
            await asked.ask("GET", "/v1/models/acme/nope")


async def test_show_of_a_backend_that_tells_nothing() -> None:
    async with catalog() as asked:
        shown = json.loads((await asked.ask("POST", "/api/show", {"model": "acme/big"})).body)
        copilot = json.loads(
            (
                await asked.ask(
                    "POST", "/api/show", {"model": "acme/big"}, ((b"user-agent", b"GitHubCopilotChat/0.30"),)
                )
            ).body
        )
    assert isinstance(shown["model_info"], dict)
    assert {"capabilities", "details", "modelfile", "modified_at"} <= shown.keys()
    assert copilot["model_info"]["general.basename"] == "acme/big"


async def test_show_asks_the_provider_that_the_client_prefers() -> None:
    lists = (f'{{"data":[{{"id":"{owner}/big"}}]}}'.encode() for owner in ("acme", "zoo"))
    one, two = (
        Played("openai", http(b"{}"), name=name, models=listed) for name, listed in zip("ab", lists, strict=True)
    )
    async with catalog(one, two) as asked:
        with pytest.raises(AmbiguousModel):
            await asked.ask("POST", "/api/show", {"model": "big"})
        lane = await asked.ask("POST", "/api/show", {"model": "big"}, ((b"x-provider", b"B"),))
        assert (lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-model")) == (b"b", b"zoo/big")
        with pytest.raises(ModelNotFound):
            await asked.ask("POST", "/api/show", {"model": "nope"}, ((b"x-provider", b"B"),))


async def test_show_goes_on_to_another_who_has_the_model() -> None:
    """Whatever is wrong with the first: what one model is called and can do is no secret of one host."""
    broken = http(b'{"error":"out of order"}', status="500 Internal Server Error")
    one = Played("ollama", broken, name="one")
    two = Played("ollama", http(b'{"details":{"family":"llama"},"model_info":{}}'), name="two")
    async with catalog(one, two, aliases={"fast": ["tiny"]}) as asked:
        lane = await asked.ask("POST", "/api/show", {"model": "fast"})
        assert json.loads(lane.body)["details"]["family"] == "llama"
        assert (lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-attempts")) == (b"two", b"2")
    assert (one.bodies, two.bodies) == ([{"model": "tiny:latest", "verbose": False}],) * 2
    async with catalog(Played("ollama", broken), Played("ollama", broken, name="two")) as asked:
        with pytest.raises(BackendFailed, match="out of order"):
            await asked.ask("POST", "/api/show", {"model": "tiny"})


async def test_show_of_what_is_not_there_has_the_tag_in_its_words() -> None:
    async with catalog() as asked:
        with pytest.raises(ModelNotFound, match="model 'nope:latest' not found"):
            await asked.ask("POST", "/api/show", {"model": "nope"})


async def test_show_of_a_name_that_means_two() -> None:
    one = Played("openai", http(b"{}"), name="one", models=b'{"data":[{"id":"acme/big"},{"id":"other/big"}]}')
    async with catalog(one) as asked:
        with pytest.raises(AmbiguousModel, match="acme/big"):
            await asked.ask("POST", "/api/show", {"model": "big"})


async def test_ps_of_a_backend_with_a_memory() -> None:
    loaded = {
        "models": [
            {
                "name": "tiny:latest",
                "model": "tiny:latest",
                "size": 7,
                "size_vram": 7,
                "digest": "a" * 64,
                "expires_at": "2099-01-02T03:04:05Z",
            }
        ]
    }
    backend = Played("ollama", http(b"{}"), models=OLLAMA)
    backend.loaded = json.dumps(loaded).encode()
    async with catalog(backend) as asked:
        (model,) = (await asked.get("/api/ps"))["models"]
    assert (model["name"], model["size"], model["size_vram"]) == ("tiny:latest", 7, 7)


async def test_a_backend_that_fails_leaves_the_others_in_the_lists() -> None:
    broken = Played("ollama", http(b"oops", status="500 X"), name="broken", models=b"oops")
    broken.plays_loaded = True
    well = Played("openai", http(b"{}"), models=OPENAI)
    async with catalog(broken, well) as asked:
        assert names((await asked.get("/api/tags"))["models"]) == {"acme/big:latest", "small:2b"}
        assert (await asked.get("/api/ps"))["models"] == []
