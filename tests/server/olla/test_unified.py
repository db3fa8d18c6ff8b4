"""`/olla/models`: whole bodies, every parameter, and one model by all of its names."""

import json
from typing import Any

import pytest

from arriero.canonical.catalog import Listed, ModelCard
from arriero.dialects.ollama import catalog as ollama
from arriero.errors import AmbiguousModel, BadRequest, ModelForbidden, ModelNotFound
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Roster
from arriero.routing.breaker import Breaker
from arriero.routing.names import Patterns
from arriero.server.catalog import INSTALLED
from arriero.server.olla.formats import endpoint_id
from arriero.server.olla.unified import Unified
from support.olla_fleet import EMBED, LLAMA, VISION, WALL, Clocks, Resting, Site, fleet

NOBODYS = {"variant": "", "parameter_size": "", "quantization": "", "aliases": []}

LLAMA_ENTRY = {
    "olla": {
        "max_context_length": 131072,
        "family": "llama",
        "variant": "",
        "parameter_size": "3.2B",
        "quantization": "Q4_K_M",
        "aliases": ["fast", "llama3.2"],
        "availability": [{"endpoint": "alpha", "state": "loaded"}, {"endpoint": "gamma", "state": "offline"}],
        "capabilities": ["completion", "tools"],
    },
    "id": "llama3.2:latest",
    "object": "model",
    "owned_by": "olla",
    "created": 1_700_000_000,
}
EMBED_ENTRY = {
    "olla": {
        **NOBODYS,
        "family": "bert",
        "availability": [{"endpoint": "alpha", "state": "available"}],
        "capabilities": ["embedding"],
    },
    "id": "embed:v1",
    "object": "model",
    "owned_by": "acme",
    "created": int(INSTALLED),
}
BIG_ENTRY = {
    "olla": {
        **NOBODYS,
        "family": "",
        "aliases": ["acme/big:latest"],
        "availability": [{"endpoint": "beta", "state": "unavailable"}, {"endpoint": "delta", "state": "rate_limited"}],
        "capabilities": ["completion", "vision"],
    },
    "id": "acme/big",
    "object": "model",
    "owned_by": "olla",
    "created": 1_650_000_000,
}
GONE_ENTRY = {
    "olla": {
        **NOBODYS,
        "family": "llama",
        "availability": [{"endpoint": "gamma", "state": "offline"}],
        "capabilities": ["completion"],
    },
    "id": "gone:7b",
    "object": "model",
    "owned_by": "olla",
    "created": int(INSTALLED),
}


async def site(roster: Roster | None = None) -> Site:
    return Site(*Unified(roster or await fleet()).routes)


async def refused(query: str) -> str:
    with pytest.raises(BadRequest) as met:
        await (await site()).ask("/olla/models", query)
    return met.value.message


# ---- the list ------------------------------------------------------------------------------------------------------


async def test_every_model_that_somebody_has_who_is_up() -> None:
    assert await (await site()).get("/olla/models") == {
        "object": "list",
        "data": [LLAMA_ENTRY, EMBED_ENTRY, BIG_ENTRY],
    }


async def test_models_of_dead_hosts_come_when_somebody_asks_for_them() -> None:
    assert await (await site()).get("/olla/models", "include_unavailable=true") == {
        "object": "list",
        "data": [LLAMA_ENTRY, EMBED_ENTRY, BIG_ENTRY, GONE_ENTRY],
    }


async def test_no_model_is_an_empty_list() -> None:
    asked = await site(await fleet([]))
    assert await asked.get("/olla/models") == {"object": "list", "data": []}
    assert await asked.get("/olla/models", "format=ollama") == {"models": []}


async def ids(query: str, roster: Roster | None = None) -> list[str]:
    body = await (await site(roster)).get("/olla/models", query)
    return [entry["id"] for entry in body["data"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("family=llama", ["llama3.2:latest"]),
        ("family=LLAMA", ["llama3.2:latest"]),
        ("family=nobodys", []),
        ("family=", ["llama3.2:latest", "embed:v1", "acme/big"]),
        ("type=llm", ["llama3.2:latest"]),
        ("type=llm&include_unavailable=true", ["llama3.2:latest", "gone:7b"]),
        ("type=vlm", ["acme/big"]),
        ("type=embeddings", ["embed:v1"]),
        ("capability=tools", ["llama3.2:latest"]),
        ("capability=chat", ["llama3.2:latest", "acme/big"]),
        ("capability=embeddings", ["embed:v1"]),
        ("capability=vision", ["acme/big"]),
        ("endpoint=alpha", ["llama3.2:latest", "embed:v1"]),
        ("endpoint=Alpha", ["llama3.2:latest", "embed:v1"]),
        ("endpoint=http://10.0.0.1:11434", ["llama3.2:latest", "embed:v1"]),
        (f"endpoint={endpoint_id('http://10.0.0.1:11434')}", ["llama3.2:latest", "embed:v1"]),
        ("endpoint=gamma", []),
        ("endpoint=gamma&include_unavailable=true", ["llama3.2:latest", "gone:7b"]),
        ("provider=vllm", ["acme/big"]),
        ("provider=ollama", ["llama3.2:latest", "embed:v1"]),
        ("provider=openai-compatible", ["llama3.2:latest", "embed:v1", "acme/big"]),
        ("provider=sglang", []),
        ("available=true", ["llama3.2:latest", "embed:v1"]),
        ("available=false", ["acme/big", "gone:7b"]),
        ("available=true&include_unavailable=true", ["llama3.2:latest", "embed:v1"]),
        ("endpoint=gamma&available=false", ["llama3.2:latest", "gone:7b"]),
        ("family=llama&capability=vision", []),
        ("unheard_of=1", ["llama3.2:latest", "embed:v1", "acme/big"]),
    ],
)
async def test_each_parameter_leaves_out_what_does_not_fit(query: str, found: list[str]) -> None:
    assert await ids(query) == found


async def test_a_backend_that_comes_back_brings_its_models() -> None:
    clocks = Clocks()
    roster = await fleet(clocks=clocks)
    assert await ids("available=true", roster) == ["llama3.2:latest", "embed:v1"]
    roster.entries["beta"].breaker = Breaker()
    assert await ids("available=true", roster) == ["llama3.2:latest", "embed:v1", "acme/big"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("type=chat", "type=chat is not understood: type may be llm, vlm, embeddings"),
        ("available=maybe", "available=maybe is not understood: available may be true or false"),
        (
            "include_unavailable=maybe",
            "include_unavailable=maybe is not understood: include_unavailable may be true or false",
        ),
        ("endpoint=omega", "endpoint=omega is not understood: endpoint may be alpha, beta, gamma, delta"),
        (
            "capability=flying",
            "capability=flying is not understood: capability may be completion, tools, insert, vision, embedding,"
            " thinking, image, audio, chat, embeddings",
        ),
    ],
)
async def test_a_value_that_makes_no_sense_is_told_what_does(query: str, sentence: str) -> None:
    assert await refused(query) == sentence


@pytest.mark.parametrize("name", ["format", "provider"])
async def test_an_unknown_kind_of_server_is_told_the_known_ones(name: str) -> None:
    sentence = await refused(f"{name}=teapot")
    known = sentence.removeprefix(f"{name}=teapot is not understood: {name} may be ").split(", ")
    assert {"ollama", "openai", "lmstudio", "lm-studio", "vllm", "sglang", "llamacpp", "lmdeploy", "lemonade"} <= {
        *known
    }


# ---- in the words of others ----------------------------------------------------------------------------------------

OPENAI_LIST = {
    "object": "list",
    "data": [
        {"id": "llama3.2:latest", "object": "model", "created": 1_700_000_000, "owned_by": "library"},
        {"id": "embed:v1", "object": "model", "created": int(INSTALLED), "owned_by": "acme"},
        {"id": "acme/big", "object": "model", "created": 1_650_000_000, "owned_by": "library"},
    ],
}


@pytest.mark.parametrize("word", ["openai", "OpenAI", "lmstudio", "vllm", "sglang", "llamacpp", "lmdeploy", "lemonade"])
async def test_every_other_server_has_openais_list(word: str) -> None:
    assert await (await site()).get("/olla/models", f"format={word}") == OPENAI_LIST


async def test_the_list_as_ollama_writes_it() -> None:
    listed = [Listed("llama3.2:latest", LLAMA), Listed("embed:v1", EMBED), Listed("acme/big:latest", VISION)]
    lane = await (await site()).ask("/olla/models", "format=ollama")
    assert lane.body == ollama.tags(listed, INSTALLED)
    assert [model["name"] for model in json.loads(lane.body)["models"]] == [
        "embed:v1",
        "llama3.2:latest",
        "acme/big:latest",
    ]


# ---- one model -----------------------------------------------------------------------------------------------------

LLAMA_ALONE: dict[str, Any] = {
    "id": "llama3.2:latest",
    "family": "llama",
    "variant": "",
    "parameter_size": "3.2B",
    "parameter_count": 3_212_749_888,
    "quantization": "Q4_K_M",
    "format": "gguf",
    "aliases": ["fast", "llama3.2"],
    "endpoints": ["alpha", "gamma"],
    "loaded_endpoints": ["alpha"],
    "capabilities": ["completion", "tools"],
    "max_context_length": 131072,
    "total_disk_size": "3.76 GB",
    "last_seen": "2m ago",
}
BIG_ALONE: dict[str, Any] = {
    "id": "acme/big",
    "family": "",
    "variant": "",
    "parameter_size": "",
    "parameter_count": None,
    "quantization": "",
    "format": "",
    "aliases": ["acme/big:latest"],
    "endpoints": ["beta", "delta"],
    "loaded_endpoints": [],
    "capabilities": ["completion", "vision"],
    "total_disk_size": "unknown",
    "last_seen": "2m ago",
}


@pytest.mark.parametrize("name", ["llama3.2:latest", "llama3.2", "LLAMA3.2", "fast", "alpha/llama3.2"])
async def test_a_model_answers_to_all_of_its_names(name: str) -> None:
    assert await (await site()).get(f"/olla/models/{name}") == LLAMA_ALONE


async def test_an_id_may_hold_slashes() -> None:
    assert await (await site()).get("/olla/models/acme/big") == BIG_ALONE


@pytest.mark.parametrize("name", ["nobody-has-it", "acme/", "lost", "fast/x"])
async def test_an_unknown_model_is_a_404(name: str) -> None:
    with pytest.raises(ModelNotFound) as met:
        await (await site()).ask(f"/olla/models/{name}")
    assert (met.value.status, met.value.message, met.value.type) == (404, "Model not found", "model_not_found")


async def test_a_name_that_may_mean_two_models_lists_them() -> None:
    two = Resting("one", "openai", "http://10.0.1.1/v1", ModelCard(id="a/big"), ModelCard(id="b/big"), profile="vllm")
    with pytest.raises(AmbiguousModel, match="a/big, b/big"):
        await (await site(await fleet([(two, Seat())]))).ask("/olla/models/big")  # type: ignore[list-item]


async def test_a_model_that_a_filter_hides_is_not_shown() -> None:
    one = Resting("one", "ollama", "http://10.0.1.1:11434", EMBED)
    roster = await fleet([(one, Seat(patterns=Patterns(exclude=("embed*",))))])  # type: ignore[list-item]
    with pytest.raises(ModelForbidden):
        await (await site(roster)).ask("/olla/models/embed:v1")
    assert await ids("include_unavailable=true", roster) == []


# ---- asked again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/olla/models", "/olla/models/fast"])
async def test_a_poller_gets_304_until_the_fleet_changes(path: str) -> None:
    clocks = Clocks()
    roster = await fleet(clocks=clocks)
    asked = await site(roster)
    tag = (await asked.ask(path)).field(b"etag") or b""
    clocks.passed = 5.0
    assert (await asked.ask(path, headers=((b"if-none-match", tag),))).status == 304
    roster.entries["alpha"].loaded = frozenset()
    assert (await asked.ask(path, headers=((b"if-none-match", tag),))).status == 200


async def test_when_a_model_was_seen_last_is_told_as_time_goes_on() -> None:
    clocks = Clocks()
    asked = await site(await fleet(clocks=clocks))
    clocks.passed = 3600.0 - 120.0
    assert (await asked.get("/olla/models/fast"))["last_seen"] == "1h ago"
    assert clocks.wall() == WALL + 3480
