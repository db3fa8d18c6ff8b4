"""One model in Olla's words: every name once, with all who offer it and all it is called."""

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.routing.names import Names, Offer
from arriero.server.olla.models import last_seen, loaded_on, models_of, type_word, words_of
from support.olla_fleet import SEEN, fleet


def offer(backend: str, id: str) -> Offer:
    return Offer(backend, ModelCard(id=id))


def test_every_model_is_there_once_with_all_who_offer_it() -> None:
    names = Names([offer("one", "a:latest"), offer("two", "b:7b"), offer("two", "A"), offer("two", "a:latest")])
    assert [(model.key, model.name, model.backends) for model in models_of(names)] == [
        ("a", "a:latest", ("one", "two")),
        ("b:7b", "b:7b", ("two",)),
    ]


def test_aliases_are_the_configured_ones_and_the_other_spelling() -> None:
    names = Names(
        [offer("one", "a:latest"), offer("one", "vendor/b"), offer("one", "c:free")],
        aliases={"Fast": ["a", "b"], "only-b": ["vendor/b"], "lost": ["nobody"], "c:free": ["a"], "A": ["a"]},
    )
    assert {model.name: model.aliases for model in models_of(names)} == {
        "a:latest": ("Fast", "a"),
        "vendor/b": ("Fast", "only-b", "vendor/b:latest"),
        "c:free": (),
    }


@pytest.mark.parametrize(
    ("able", "word"),
    [
        (None, None),
        ({Capability.COMPLETION}, "llm"),
        ({Capability.COMPLETION, Capability.VISION}, "vlm"),
        ({Capability.EMBEDDING}, "embeddings"),
        ({Capability.EMBEDDING, Capability.COMPLETION}, "llm"),
        ({Capability.IMAGE}, "llm"),
    ],
)
def test_a_model_is_of_one_sort(able: set[Capability] | None, word: str | None) -> None:
    assert type_word(None if able is None else frozenset(able)) == word


def test_capabilities_stand_in_the_order_of_their_table() -> None:
    able = frozenset({Capability.THINKING, Capability.COMPLETION, Capability.TOOLS})
    assert words_of(able) == ("completion", "tools", "thinking")


@pytest.mark.parametrize(
    ("card", "params"),
    [
        (ModelCard(id="a", parameter_size="8.0B", parameter_count=1), "8.0B"),
        (ModelCard(id="a", parameter_count=3_212_749_888), "3.2B"),
        (ModelCard(id="a"), ""),
    ],
)
def test_the_count_of_parameters_is_the_backends_or_printed(card: ModelCard, params: str) -> None:
    assert models_of(Names([Offer("one", card)]))[0].params == params


async def test_it_is_known_where_a_model_is_loaded_and_when_it_was_seen() -> None:
    roster = await fleet()
    entries = roster.entries
    llama = models_of(roster.names)[0]
    assert (llama.name, loaded_on(llama, entries), last_seen(llama, entries)) == ("llama3.2:latest", ["alpha"], SEEN)
    entries["gamma"].models_at = SEEN + 60
    assert last_seen(llama, entries) == SEEN + 60
    for entry in entries.values():
        entry.models_at = entry.loaded = None
    assert (loaded_on(llama, entries), last_seen(llama, entries)) == ([], None)
