"""The large fleet is as large as it says, its decisions can be made, and its catalog stays within its goal."""

import asyncio
from collections import Counter

from arriero.dialects.ollama.catalog import read_tags
from arriero.routing.policies import POLICIES
from benchmarks import decisions
from benchmarks.run import CATALOG_GOAL_MIB


def test_every_model_is_where_it_should_be() -> None:
    places = decisions.placed()
    counts = Counter(number for models in places for number in models)
    assert len(places) == decisions.BACKENDS
    assert len(counts) == decisions.MODELS + 1
    assert Counter(counts.values()) == {1: 1667, 3: 1667, 10: 1666, decisions.BACKENDS: 1}
    assert all(len(models) == len(set(models)) for models in places)


def test_two_backends_tell_of_one_model_in_bytes_of_their_own() -> None:
    (here,), (there,) = (read_tags(decisions.tags([5], backend)) for backend in (1, 2))
    assert (here.id, here.digest, here.size_bytes) == (there.id, there.digest, there.size_bytes)
    assert here != there


def test_a_decision_of_every_policy_can_be_measured() -> None:
    with asyncio.Runner() as runner:
        roster = runner.run(decisions.fleet())
        costs = decisions.measure(roster, 2)
    assert [cost.candidates for cost in costs] == [*decisions.COPIES, decisions.BACKENDS]
    assert all(cost.us.keys() == POLICIES.keys() for cost in costs)
    assert {entry.in_flight for entry in roster.entries.values()} == {0}


def test_the_catalog_is_within_its_goal() -> None:
    weight = decisions.asked("weigh")
    assert weight["offers"] == decisions.BACKENDS + 1667 * 1 + 1667 * 3 + 1666 * 10
    assert weight["allocated_mib"] <= CATALOG_GOAL_MIB
