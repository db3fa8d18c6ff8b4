"""`/api/providers`, `/api/providers/<word>/stats` and `/api/tags/<word>`: whole bodies over a small fleet."""

import json
from hashlib import sha256
from typing import Any

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.errors import NotFound
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.fleet import State
from arriero.routing.names import Patterns
from arriero.server.catalog import INSTALLED
from arriero.server.providers.listing import Listing, digest
from arriero.server.providers.shapes import Terms, moment
from support.olla_fleet import Resting, Site, fleet, tally

TERMS = Terms(environment="production", routing="cost_optimized", fallback="retry_same", balances=True)


def site(roster: Roster, counts: Tally | None = None, *, terms: Terms = TERMS, tagged: bool = True) -> Site:
    return Site(*Listing(roster, counts or Tally(), terms=terms, tagged=tagged).routes)


def vendor(*cards: ModelCard, name: str = "router", profile: str = "openrouter") -> Resting:
    return Resting(name, "openai", "https://api.example.com/v1", *cards, profile=profile)


async def of(*backends: Resting, seat: Seat | None = None) -> Roster:
    return await fleet([(backend, seat or Seat()) for backend in backends])  # type: ignore[misc]


# ---- /api/providers ------------------------------------------------------------------------------------------------


async def test_every_provider_is_listed_in_configuration_order() -> None:
    told = await site(await fleet(), tally()).get("/api/providers")
    assert list(told) == ["providers", "routing_strategy", "fallback_strategy", "load_balancing_enabled"]
    alpha, beta, gamma, delta = told["providers"]
    assert alpha == {
        "type": "ollama",
        "enabled": True,
        "healthy": True,
        "priority": 0,
        "request_count": 20,
        "error_count": 1,
        "error_rate": 0.05,
        "avg_response_time_ms": pytest.approx(120.4),
        "current_load": 2,
        "avg_response_time": pytest.approx(120.4),
        "last_used": None,
        "circuit_breaker": {
            "state": "closed",
            "failure_count": 0,
            "success_count": 19,
            "request_count": 20,
            "last_failure_time": None,
        },
        "name": "alpha",
        "kind": "ollama",
        "state": "healthy",
        "error": None,
        "last_error": None,
        "last_health_check": "2027-01-15T07:59:58Z",
        "models_available": 2,
    }
    assert [(one["name"], one["type"], one["state"], one["priority"]) for one in (beta, gamma, delta)] == [
        ("beta", "vllm", "healthy", 0),
        ("gamma", "ollama", "offline", -100),
        ("delta", "openai", "rate_limited", 50),
    ]
    assert [one["error"] for one in (beta, gamma, delta)] == [
        "circuit breaker open for 12 s more",
        "gamma refused the connection",
        "rate limited; it wants to be left alone for 25 s more",
    ]


async def test_the_strategy_is_told_in_the_old_words() -> None:
    told = await site(await fleet()).get("/api/providers")
    del told["providers"]
    assert told == {
        "routing_strategy": "cost_optimized",
        "fallback_strategy": "retry_same",
        "load_balancing_enabled": True,
    }


# ---- stats ---------------------------------------------------------------------------------------------------------


async def test_the_counts_of_one() -> None:
    assert await site(await fleet(), tally()).get("/api/providers/alpha/stats") == {
        "provider_type": "ollama",
        "enabled": True,
        "healthy": True,
        "priority": 0,
        "request_count": 20,
        "successful_requests": 19,
        "failed_requests": 1,
        "cancelled_requests": 0,
        "error_rate": 0.05,
        "avg_response_time_ms": pytest.approx(120.4),
        "min_response_time_ms": 80.6,
        "max_response_time_ms": 2400.2,
        "circuit_breaker_state": "closed",
        "last_health_check": "2027-01-15T07:59:58Z",
        "models_available": 2,
        "error_count": 1,
        "capabilities": ["chat_completion", "text_completion", "streaming", "function_calling", "embeddings"],
        "current_load": 2,
        "last_used": None,
        "state": "healthy",
        "error": None,
        "last_error": None,
        "providers": ["alpha"],
    }


async def test_the_counts_of_several_are_their_sum() -> None:
    told = await site(await fleet(), tally()).get("/api/providers/ollama/stats")
    assert (told["provider_type"], told["providers"], told["request_count"], told["models_available"]) == (
        "ollama",
        ["alpha", "gamma"],
        20,
        3,
    )


@pytest.mark.parametrize("page", ["/api/providers/{}/stats", "/api/tags/{}"])
async def test_words_that_mean_nobody(page: str) -> None:
    pages = site(await fleet())
    for word, status, told, type in (
        ("x", 400, "Invalid provider type: x", "validation_error"),
        ("azure", 404, "Provider azure not configured", "not_found"),
    ):
        lane = await pages.ask(page.format(word))
        assert (lane.status, json.loads(lane.body)) == (status, {"detail": told, "error": told, "type": type})


async def test_nothing_else_is_below_a_provider() -> None:
    for path in ("/api/providers/alpha", "/api/providers/alpha/stats/more"):
        with pytest.raises(NotFound) as caught:
            await site(await fleet()).ask(path)
        assert caught.value.message == (
            f"nothing is at {path}: the counts of a provider are at /api/providers/<provider>/stats"
        )


# ---- /api/tags/<word> ----------------------------------------------------------------------------------------------


async def tags(pages: Site, word: str) -> Any:
    return (await pages.get(f"/api/tags/{word}"))["models"]


async def test_a_model_of_a_vendor() -> None:
    roster = await of(vendor(ModelCard(id="openai/gpt-4o", created=1_700_000_000)))
    assert await tags(site(roster), "openrouter") == [
        {
            "name": "openai/gpt-4o:latest",
            "model": "openai/gpt-4o:latest",
            "provider": "openrouter",
            "backend": "router",
            "modified_at": "2023-11-14T22:13:20Z",
            "size": 0,
            "digest": "sha256:" + sha256(b'["router","openai/gpt-4o"]').hexdigest(),
            "details": {
                "format": "api",
                "family": "gpt",
                "families": ["gpt"],
                "parameter_size": "Unknown",
                "quantization_level": "Unknown",
            },
        }
    ]


async def test_what_the_backend_tells_is_shown() -> None:
    own = "ab" * 32
    card = ModelCard(
        id="llama3.2:3b",
        digest=own,
        size_bytes=2_019_393_189,
        modified_at=1_700_000_000.5,
        format="gguf",
        family="mllama",
        families=("mllama", "clip"),
        parameter_count=3_212_749_888,
        quantization="Q4_K_M",
    )
    (model,) = await tags(site(await of(Resting("gpu1", "ollama", "http://10.0.0.1:11434", card))), "gpu1")
    assert model == {
        "name": "llama3.2:3b",
        "model": "llama3.2:3b",
        "provider": "ollama",
        "backend": "gpu1",
        "modified_at": "2023-11-14T22:13:20.500000Z",
        "size": 2_019_393_189,
        "digest": f"sha256:{own}",
        "details": {
            "format": "gguf",
            "family": "mllama",
            "families": ["mllama", "clip"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        },
    }


async def test_a_model_that_has_no_time_has_that_of_the_installation() -> None:
    (model,) = await tags(site(await of(vendor(ModelCard(id="m")))), "router")
    shown = moment(INSTALLED)
    assert shown is not None and model["modified_at"] == shown.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("id", "family"),
    [
        ("openai/gpt-4o", "gpt"),
        ("anthropic/Claude-3", "claude"),
        ("meta/llama-3:free", "llama"),
        ("google/gemini-pro", "gemini"),
        ("mistral/large", "openrouter"),
    ],
)
async def test_a_family_that_nobody_tells_stands_in_the_id_or_is_the_providers(id: str, family: str) -> None:
    (model,) = await tags(site(await of(vendor(ModelCard(id=id)))), "router")
    assert (model["details"]["family"], model["details"]["families"]) == (family, [family])


async def test_names_are_those_of_the_listing() -> None:
    roster = await of(vendor(ModelCard(id="openai/gpt-4o"), ModelCard(id="meta/llama-3:free")))
    for tagged, names in (
        (True, ["openai/gpt-4o:latest", "meta/llama-3:free"]),
        (False, ["openai/gpt-4o", "meta/llama-3:free"]),
    ):
        assert [model["name"] for model in await tags(site(roster, tagged=tagged), "router")] == names


async def test_what_is_hidden_is_not_listed() -> None:
    seat = Seat(patterns=Patterns(exclude=("b/*",)))
    roster = await of(vendor(ModelCard(id="a/shown"), ModelCard(id="b/hidden")), seat=seat)
    assert [model["name"] for model in await tags(site(roster), "router")] == ["a/shown:latest"]


async def test_a_model_that_several_have_is_listed_once_and_one_that_is_offline_lists_none() -> None:
    shared = ModelCard(id="shared")
    one, two = vendor(shared, name="one"), vendor(shared, ModelCard(id="other"), name="two")
    roster = await of(one, two)
    pages = site(roster)
    assert [(model["name"], model["backend"]) for model in await tags(pages, "openrouter")] == [
        ("shared:latest", "one"),
        ("other:latest", "two"),
    ]
    roster.entries["one"].state = State.OFFLINE
    assert [(model["name"], model["backend"]) for model in await tags(pages, "openrouter")] == [
        ("shared:latest", "two"),
        ("other:latest", "two"),
    ]
    assert await tags(pages, "one") == []


def test_digests_are_of_backend_and_id_and_of_nothing_else() -> None:
    plain = ModelCard(id="m")
    found = digest("one", plain)
    assert found == digest("one", ModelCard(id="m", context_length=7, capabilities=frozenset({Capability.TOOLS})))
    assert len({found, digest("two", plain), digest("one", ModelCard(id="n"))}) == 3
    for nonsense in ("", "abc", "sha256:xyz", "z" * 64):
        assert digest("one", ModelCard(id="m", digest=nonsense)) == found
    assert digest("one", ModelCard(id="m", digest="sha256:" + "AB" * 32)) == "sha256:" + "ab" * 32


async def test_a_digest_of_two_texts_cannot_be_that_of_two_others() -> None:
    assert digest("a", ModelCard(id="bc")) != digest("ab", ModelCard(id="c"))
