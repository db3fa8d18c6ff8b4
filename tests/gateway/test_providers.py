"""Words for providers in, backends out; and what a model means to who would rather have one of them."""

import pytest

from arriero.dialects.profiles import PROFILES, profile_of
from arriero.errors import AmbiguousModel, ModelForbidden, ModelNotFound
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.providers import KINDS, TYPES, Preferring, is_known, meaning, named, preferring, type_of, word_of
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.names import Patterns
from support.choosing import fleet
from support.lanes import inbound
from support.plain import Plain, seated


def backend(name: str, *ids: str, profile: str = "generic", kind: str = "openai") -> Plain:
    made = Plain(name, *ids)
    made.profile, made.kind = profile_of(profile), kind
    return made


def entries(*backends: Plain) -> dict[str, Entry]:
    return {made.name: Entry(*seated(made)[0]) for made in backends}


FLEET = entries(
    backend("Router", profile="openrouter"),
    backend("gpu1", kind="ollama", profile="ollama"),
    backend("gpu2", kind="ollama", profile="ollama"),
    backend("gpt", profile="openai"),
    backend("lab", profile="vllm"),
    backend("other"),
    backend("aws", profile="bedrock"),
    backend("local", kind="engine"),
)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        # ollama-proxy's types.
        ("openrouter", ("Router",)),
        ("openai", ("gpt",)),
        ("aws_bedrock", ("aws",)),
        ("ollama", ("gpu1", "gpu2")),
        ("google", ()),
        ("huggingface", ()),
        # The names of the backends, whatever their letter case; profiles and kinds.
        ("router", ("Router",)),
        (" GPU2 ", ("gpu2",)),
        ("vllm", ("lab",)),
        ("bedrock", ("aws",)),
        ("engine", ("local",)),
        ("anthropic", ()),
        ("nobody", ()),
        ("", ()),
    ],
)
def test_whom_a_word_means(word: str, names: tuple[str, ...]) -> None:
    assert named(word, FLEET) == names


def test_a_backends_own_name_is_stronger() -> None:
    fleet_ = entries(backend("ollama", profile="vllm"), backend("gpu", kind="ollama"), backend("x", profile="openai"))
    assert named("ollama", fleet_) == ("ollama",)
    assert named("openai", fleet_) == ("x",)


def test_a_kind_is_meant_where_no_vendor_is() -> None:
    fleet_ = entries(
        backend("lab", profile="vllm"),
        backend("other"),
        backend("gpu", kind="ollama"),
        backend("router", profile="openrouter"),
    )
    assert named("openai", fleet_) == ("lab", "other")
    assert [type_of(entry) for entry in fleet_.values()] == ["vllm", "openai", "ollama", "openrouter"]


@pytest.mark.parametrize("profile", ["openrouter", "groq", "azure", "anthropic"])
def test_no_vendor_stands_for_another_one(profile: str) -> None:
    fleet_ = entries(backend("vendor", profile=profile), backend("local", kind="engine"))
    assert named("openai", fleet_) == ()


def test_a_vendor_with_several_wires_is_one_provider() -> None:
    fleet_ = entries(backend("new", profile="azure"), backend("old", profile="azure-deployments"))
    assert (named("azure", fleet_), named("azure-deployments", fleet_)) == (("new", "old"), ("old",))
    assert [type_of(entry) for entry in fleet_.values()] == ["azure", "azure"]


def test_every_type_leads_to_a_profile_or_a_kind() -> None:
    assert {*TYPES.values()} <= {*PROFILES, *KINDS}


@pytest.mark.parametrize("word", [*TYPES, *KINDS, "vllm", " OpenRouter "])
def test_words_that_could_name_a_provider(word: str) -> None:
    assert is_known(word) is True


@pytest.mark.parametrize("word", ["", "x", "gpu1", "open router"])
def test_words_that_could_not(word: str) -> None:
    assert is_known(word) is False


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("Router", "openrouter"),
        ("gpu1", "ollama"),
        ("gpt", "openai"),
        ("lab", "vllm"),
        ("other", "openai"),
        ("aws", "aws_bedrock"),
        ("local", "engine"),
    ],
)
def test_what_a_backends_type_is_called(name: str, type: str) -> None:
    assert type_of(FLEET[name]) == type


# ---- a preference --------------------------------------------------------------------------------------------------


async def two(**bylaws: object) -> Roster:
    router = backend("router", "openai/gpt-4o", "meta/llama", "other/llama", "both", profile="openrouter")
    gpu = backend("gpu", "gpt-4o", "both", "mine", kind="ollama")
    return await fleet(gpu, router, bylaws=Bylaws(**bylaws))  # type: ignore[arg-type]


def told(found: Preferring) -> tuple[list[str], list[str]]:
    return [f"{offer.backend}/{offer.card.id}" for offer in found.offers], sorted(map("/".join, found.preferred))


@pytest.mark.parametrize(
    ("model", "word", "offers", "preferred"),
    [
        # The provider's own model of this name comes first, and the exact one of another is next.
        ("gpt-4o", "openrouter", ["router/openai/gpt-4o", "gpu/gpt-4o"], ["router/openai/gpt-4o"]),
        ("both", "openrouter", ["router/both", "gpu/both"], ["router/both"]),
        ("both", "gpu", ["gpu/both", "router/both"], ["gpu/both"]),
        # Whom it means has no such model.
        ("mine", "openrouter", ["gpu/mine"], []),
        # A text that pins a backend stays one.
        ("gpu/both", "openrouter", ["gpu/both"], []),
        # A word that means nobody.
        ("both", "azure", ["gpu/both", "router/both"], []),
        ("both", "", ["gpu/both", "router/both"], []),
        ("both", None, ["gpu/both", "router/both"], []),
    ],
)
async def test_what_a_model_means_to_who_prefers_one(
    model: str, word: str | None, offers: list[str], preferred: list[str]
) -> None:
    assert told(await meaning(model, word, await two(), None)) == (offers, preferred)


async def test_a_preference_settles_what_is_ambiguous_among_all() -> None:
    one = backend("one", "a/x", profile="openrouter")
    roster = await fleet(one, backend("two", "b/x"))
    assert told(await meaning("x", "openrouter", roster, None)) == (["one/a/x"], ["one/a/x"])
    for word in (None, "nobody", "google"):
        with pytest.raises(AmbiguousModel):
            await meaning("x", word, roster, None)


async def test_what_is_ambiguous_among_the_preferred_is_looked_for_among_all() -> None:
    with pytest.raises(AmbiguousModel):
        await meaning("llama", "openrouter", await two(), None)
    roster = await fleet(backend("gpu", "llama"), backend("r", "a/llama", "b/llama", profile="openrouter"))
    assert told(await meaning("llama", "openrouter", roster, None)) == (["gpu/llama"], [])


async def test_an_alias_begins_with_the_model_that_the_preferred_have() -> None:
    roster = await two(aliases={"fast": ["mine", "openai/gpt-4o"]})
    assert told(await meaning("fast", "openrouter", roster, None)) == (
        ["router/openai/gpt-4o", "gpu/mine"],
        ["router/openai/gpt-4o"],
    )


async def test_a_vendor_that_is_not_here_is_no_preference() -> None:
    roster = await fleet(backend("router", "x", profile="openrouter"), backend("gpu", "x", kind="ollama"))
    assert told(await meaning("x", "openai", roster, None)) == (["router/x", "gpu/x"], [])


async def test_everybody_is_no_preference() -> None:
    roster = await fleet(backend("a", "x", profile="vllm"), backend("b", "x", profile="vllm"))
    found = preferring("vllm", "x", roster.names.resolve("x"), roster, None)
    assert [offer.backend for offer in found.offers] == ["a", "b"]


async def test_what_is_hidden_stays_so() -> None:
    roster = await two(overall=Patterns(exclude=("*gpt-4o",)))
    with pytest.raises(ModelForbidden):
        await meaning("gpt-4o", "openrouter", roster, None)
    seats = [Seat(check_interval=0, patterns=Patterns(exclude=("gpt-4o",))), Seat(check_interval=0)]
    router = backend("router", "openai/gpt-4o", profile="openrouter")
    only_there = await fleet(backend("gpt", "gpt-4o", profile="openai"), router, seats=seats)
    assert told(await meaning("gpt-4o", "openrouter", only_there, None))[0] == ["router/openai/gpt-4o"]


async def test_what_nobody_has_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        await meaning("nope", "openrouter", await two(), None)


async def test_behind_a_door_only_those_there_can_be_preferred() -> None:
    lab = backend("lab", "x", profile="vllm")
    roster = await fleet(lab, backend("router", "x", profile="openrouter"))
    assert told(await meaning("x", "openrouter", roster, "vllm")) == (["lab/x"], [])


async def test_a_changed_list_is_taken_up() -> None:
    gpu, router = backend("gpu", "x"), backend("router", "a/x", profile="openrouter")
    roster = await fleet(gpu, router)
    assert told(await meaning("x", "openrouter", roster, None))[0] == ["router/a/x", "gpu/x"]
    router.offers("b/x")
    await roster.refresh()
    assert told(await meaning("x", "openrouter", roster, None))[0] == ["router/b/x", "gpu/x"]


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ((), None),
        (((b"x-provider", b"OpenRouter"),), "OpenRouter"),
        (((b"x-provider", b"a"), (b"x-provider", b"b")), "a"),
        (((b"x-provider", b"\xff"),), "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_word_of_a_request(headers: tuple[tuple[bytes, bytes], ...], word: str | None) -> None:
    assert word_of(inbound("POST", "/api/chat", headers=headers)) == word
