"""Settings without effect are named at the start."""

import pytest

from arriero.config import Config
from arriero.pending import PENDING, without_effect
from arriero.routing.policies import POLICIES


def test_the_defaults_need_no_word() -> None:
    assert without_effect(Config()) == []


def test_every_listed_setting_is_one() -> None:
    for name in PENDING:
        value: object = Config()
        for part in name.split("."):
            value = getattr(value, part)


def test_what_is_set_and_does_nothing_is_named() -> None:
    config = Config.model_validate({"server": {"workers": 2}})
    assert without_effect(config) == [
        "server.workers has no effect in this version",
    ]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_policies_that_are_there_need_no_word(policy: str) -> None:
    assert without_effect(Config.model_validate({"routing": {"policy": policy}})) == []


def test_an_alias_that_leads_to_aliases_is_named() -> None:
    """In a circle, in a chain, to itself; not where a model of its own name comes first among several."""
    aliases = {"a": ["b:latest"], "b": ["A"], "c": "b", "d": ["d"], "e": ["e", "qwen3:4b"]}
    nowhere = "is an alias; aliases stand for models, so it counts here only where a backend has a model of this name"
    assert without_effect(Config.model_validate({"routing": {"aliases": aliases}})) == [
        f"routing.aliases.a: b:latest {nowhere}",
        f"routing.aliases.b: A {nowhere}",
        f"routing.aliases.c: b {nowhere}",
        f"routing.aliases.d: d {nowhere}",
    ]


def test_two_spellings_of_one_alias_are_named() -> None:
    config = Config.model_validate({"routing": {"aliases": {"fast": ["a"], "Fast": ["b"]}}})
    assert without_effect(config) == [
        "routing.aliases: fast and Fast are one name for clients; only the last one counts"
    ]
