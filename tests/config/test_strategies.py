from pathlib import Path
from typing import get_args

import pytest

from arriero.config.draft import Draft
from arriero.config.environment import Variables
from arriero.config.schema import Policy
from arriero.config.strategies import (
    FALLBACKS,
    STRATEGIES,
    Fallback,
    Routing,
    Strategy,
    fallback_of,
    read_fallback,
    strategy_of,
    take,
    word_of,
)


def taken(env: dict[str, str], routing: object = None, *, with_file: bool = True) -> tuple[Routing, Draft]:
    draft = Draft(Path("/"), Path("/"))
    if routing is not None:
        draft.data["routing"] = routing
    return take(draft, Variables(env), with_file), draft


def test_every_word_has_a_policy() -> None:
    assert [row.policy for row in STRATEGIES if row.policy not in get_args(Policy)] == []


@pytest.mark.parametrize("word", [row.word for row in STRATEGIES])
def test_the_spellings_of_a_strategy(word: str) -> None:
    for spelling in (word, word.upper(), word.title().replace("_", "-"), f" {word} "):
        assert strategy_of(spelling).word == word


@pytest.mark.parametrize("row", FALLBACKS, ids=lambda row: row.word)
def test_the_spellings_of_a_fallback(row: Fallback) -> None:
    for spelling in (row.word, row.word.upper(), row.word.replace("_", "-")):
        assert read_fallback(spelling) == row.settings


def test_an_unknown_word_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^is not one of none, next_available, retry_same, best_alternative$"):
        read_fallback("round_robin")
    with pytest.raises(ValueError, match=r"^is not one of round_robin, least_loaded, .*, manual$"):
        strategy_of("none")


@pytest.mark.parametrize("row", STRATEGIES, ids=lambda row: row.word)
def test_a_policy_is_told_by_its_word(row: Strategy) -> None:
    assert word_of(row.policy) == row.word


def test_a_policy_that_ollama_proxy_has_no_word_for_keeps_its_own() -> None:
    assert [word_of(policy) for policy in get_args(Policy) if policy not in [row.policy for row in STRATEGIES]] == [
        "weighted"
    ]


@pytest.mark.parametrize(
    ("attempts", "where", "word"),
    [
        (1, "elsewhere", "none"),
        (1, "same", "none"),
        (2, "elsewhere", "next_available"),
        (3, "same", "retry_same"),
    ],
)
def test_what_follows_a_failure_is_told_by_its_word(attempts: int, where: str, word: str) -> None:
    assert fallback_of(attempts, where) == word


@pytest.mark.parametrize(
    ("env", "routing", "with_file", "expected"),
    [
        ({}, None, False, Routing(said=False, ranked=True)),
        ({}, None, True, Routing(said=False, ranked=False)),
        ({}, {"policy": "priority"}, True, Routing(said=False, ranked=True)),
        ({}, {"policy": []}, True, Routing(said=False, ranked=False)),
        ({}, "text", True, Routing(said=False, ranked=False)),
        ({"ROUTING_STRATEGY": "manual"}, None, True, Routing(said=True, ranked=True)),
        (
            {"ROUTING_STRATEGY": "cost_optimized"},
            None,
            False,
            Routing(said=True, ranked=False, spread="cost_optimized"),
        ),
        ({"ENABLE_LOAD_BALANCING": "false"}, None, False, Routing(said=True, ranked=True)),
        ({"ENABLE_LOAD_BALANCING": "true"}, None, True, Routing(said=False, ranked=False)),
    ],
)
def test_what_the_variables_say(env: dict[str, str], routing: object, with_file: bool, expected: Routing) -> None:
    assert taken(env, routing, with_file=with_file)[0] == expected


def test_a_strategy_that_spreads_is_not_overruled_by_what_is_loaded() -> None:
    assert taken({"ROUTING_STRATEGY": "round_robin"})[1].data["routing"] == {
        "policy": "round-robin",
        "prefer_loaded": False,
    }
    named = taken({"ROUTING_STRATEGY": "round_robin"}, {"prefer_loaded": True})[1]
    assert named.data["routing"] == {"policy": "round-robin", "prefer_loaded": True}
    assert taken({"ROUTING_STRATEGY": "manual"})[1].data["routing"] == {"policy": "priority"}
