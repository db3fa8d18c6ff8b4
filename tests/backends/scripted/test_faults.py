"""Words in, rules out."""

from typing import get_args

import pytest

from arriero.backends.scripted.faults import CHECKS, INFERENCE, WORDS, rules_of
from arriero.backends.scripted.script import Fault, Play, Rule, ScriptError, When

LATER = {"Retry-After": "2"}


@pytest.mark.parametrize(
    ("word", "rules"),
    [
        ("hang", (Rule(Play(fault="hang")),)),
        ("slow", (Rule(Play(fault="slow")),)),
        ("error", (Rule(Play(status=500), When(path=INFERENCE)),)),
        ("flaky", (Rule(Play(status=500), When(path=INFERENCE, every=2)),)),
        ("overloaded", (Rule(Play(status=503, headers=LATER), When(path=INFERENCE)),)),
        ("rate_limited", (Rule(Play(status=429, headers=LATER), When(path=INFERENCE)),)),
        ("unhealthy", (Rule(Play(status=503), When(path=CHECKS)),)),
        ("none", ()),
    ],
)
def test_each_word_is_short_for_a_rule(word: str, rules: tuple[Rule, ...]) -> None:
    assert rules_of(word, (), None, "the command") == rules


def test_paths_and_times_are_those_of_the_command() -> None:
    (rule,) = rules_of("error", ("/api/tags", "/v1/*"), 3, "the command")
    assert rule == Rule(Play(status=500), When(path=("/api/tags", "/v1/*"), times=3))
    assert rules_of("hang", (), 1, "the command") == (Rule(Play(fault="hang"), When(times=1)),)


def test_every_fault_is_a_word() -> None:
    for word in get_args(Fault):
        assert rules_of(word, (), None, "the command") == (Rule(Play(fault=word)),)
    assert set(get_args(Fault)) < set(WORDS)


def test_an_unknown_word_is_told_with_the_known_ones() -> None:
    with pytest.raises(ScriptError) as raised:
        rules_of("boom", (), None, "the command")
    assert str(raised.value) == f"the command: Invalid enum value 'boom'; the words are {', '.join(WORDS)}"
