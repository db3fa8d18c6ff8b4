"""The filter in the roster: what is listed, what a name means, what counts as loaded."""

import pytest

from arriero.canonical.catalog import ModelCard
from arriero.errors import ModelForbidden
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.model_filter import ModelFilter
from arriero.routing.names import Patterns
from support.plain import Plain, seated


def plain(name: str, *ids: str) -> Plain:
    backend = Plain(name)

    async def lists() -> tuple[ModelCard, ...]:
        return tuple(ModelCard(id=id) for id in ids)

    backend.list_answer = lists
    return backend


def ids(roster: Roster, scope: str | None = None) -> list[str]:
    return [offer.card.id for offer in roster.view(scope).names.offers]


def test_bylaws_admit_what_both_the_filter_and_the_patterns_do() -> None:
    bylaws = Bylaws(overall=Patterns(exclude=("*-mini",)), filter=ModelFilter(["gpt*"]))
    assert [bylaws.admit(id) for id in ("x/gpt-4o", "x/gpt-4o-mini", "llama3")] == [True, False, False]


async def test_what_is_hidden_is_hidden_behind_every_door() -> None:
    bylaws = Bylaws(filter=ModelFilter(exclude=["llama*"]))
    roster = Roster(seated(plain("one", "gpt-4o", "llama3"), plain("two", "llama3:latest", "qwen3")), bylaws)
    await roster.refresh()
    assert (ids(roster), ids(roster, "openai")) == (["gpt-4o", "qwen3"], ["gpt-4o", "qwen3"])
    for scope in (None, "openai"):
        with pytest.raises(ModelForbidden):
            await roster.resolve("llama3", scope)
    await roster.close()


async def test_another_filter_counts_from_the_next_request_on() -> None:
    one = plain("one", "gpt-4o", "llama3")
    roster = Roster(seated(one), Bylaws(filter=ModelFilter(["gpt-4o"])))
    await roster.refresh()
    assert ids(roster) == ["gpt-4o"]
    await roster.adopt(seated(one), Bylaws(filter=ModelFilter(["llama3"])))
    assert ids(roster) == ["llama3"]
    await roster.adopt(seated(one), Bylaws())
    assert ids(roster) == ["gpt-4o", "llama3"]
    await roster.close()


async def test_a_name_that_nobody_lists_is_held_against_the_filter_where_any_may_have_it() -> None:
    bylaws = Bylaws(filter=ModelFilter(exclude=["*:free"]), overall=Patterns(exclude=("x/*",)), unknown_model="any")
    roster = Roster(seated(plain("one", "gpt-4o")), bylaws)
    await roster.refresh()
    for text in ("llama-3:free", " a/b:free ", "x/new"):
        with pytest.raises(ModelForbidden) as raised:
            await roster.resolve(text)
        assert raised.value.message == f"Model '{text}' is not allowed by the filter"
    assert [offer.card.id for offer in await roster.resolve("y/new")] == ["y/new"]
    await roster.close()


async def test_a_model_that_is_to_be_made_is_held_against_it_as_well() -> None:
    roster = Roster(seated(plain("one")), Bylaws(filter=ModelFilter(["gpt*"])))
    roster.check_admitted("gpt-5")
    with pytest.raises(ModelForbidden):
        roster.check_admitted("llama3")
    await roster.close()


async def test_what_is_hidden_does_not_count_as_loaded() -> None:
    roster = Roster(seated(plain("one", "gpt-4o", "llama3")), Bylaws(filter=ModelFilter(exclude=["llama3"])))
    await roster.refresh()
    roster.touch("one", "gpt-4o", None)
    roster.touch("one", "llama3", None)
    assert [model.card.id for _, model in await roster.loaded()] == ["gpt-4o"]
    await roster.close()


async def test_each_model_is_held_against_the_rules_once() -> None:
    """However many backends have it, doors lead to it and lists change."""
    asked: list[str] = []

    class Counting(ModelFilter):
        def admit(self, id: str) -> bool:
            asked.append(id)
            return super().admit(id)

    one, two = plain("one", "gpt-4o", "llama3"), plain("two", "gpt-4o")
    roster = Roster(seated(one, two), Bylaws(filter=Counting(["gpt-4o"])))
    await roster.refresh()
    assert [ids(roster), ids(roster, "openai")] == [["gpt-4o", "gpt-4o"]] * 2
    assert asked == ["gpt-4o", "llama3"]
    await roster.close()


async def test_a_hidden_model_cannot_be_named_to_somebody_else_either() -> None:
    bylaws = Bylaws(filter=ModelFilter(exclude=["*:free", "llama3"]))
    roster = Roster(seated(plain("one", "gpt-4o", "llama3")), bylaws)
    await roster.refresh()
    assert roster.hides
    for text in ("llama3", "llama3:latest", "x/new:free"):
        with pytest.raises(ModelForbidden):
            roster.check_named(text, None)
    roster.check_named("gpt-4o", None)
    roster.check_named("x/new", None)
    await roster.adopt(seated(plain("one", "gpt-4o")), Bylaws())
    assert not roster.hides
    await roster.close()
