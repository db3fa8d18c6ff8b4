"""A member, a card and a moment in, a score out; and what the scores make of many requests."""

from collections import Counter
from math import exp, inf, isclose
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.catalog import ModelCard
from arriero.config.schema import RoutingConfig
from arriero.routing.fleet import Member, Speed
from arriero.routing.policies import (
    ANSWER_TOKENS,
    CAPABILITY,
    FADES_S,
    POLICIES,
    SMOOTHING,
    Score,
    cheapest,
    fastest,
    least_connections,
    measured,
    price_of,
    round_robin,
    seconds_of,
    weighted,
)

CARD = ModelCard(id="m")


def member(**known: object) -> Member:
    return Member("a", "openai", **known)  # type: ignore[arg-type]


def priced(prompt: float | None, answer: float | None) -> ModelCard:
    return ModelCard(id="m", input_price=prompt, output_price=answer)


@pytest.mark.parametrize(
    ("in_flight", "weight", "score"),
    [(0, 1.0, (0.0,)), (3, 1.0, (3.0,)), (3, 2.0, (1.5,)), (1, 0.25, (4.0,))],
)
def test_the_load_counts_by_weight(in_flight: int, weight: float, score: Score) -> None:
    assert least_connections(member(in_flight=in_flight, weight=weight), CARD, 0.0) == score


def test_in_turn_nothing_counts_but_the_turn() -> None:
    busy = member(in_flight=9, weight=3.0, stride=7.0, speed=Speed(5.0, 1.0, 0.0))
    assert round_robin(busy, CARD, 0.0) == round_robin(member(), CARD, 0.0) == ()


def test_by_share_the_stride_counts_and_nothing_else() -> None:
    assert weighted(member(stride=2.5, in_flight=9), CARD, 0.0) == (2.5,)


# ---- fastest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "now", "seconds"),
    [
        (Speed(), 0.0, 0.0),
        (Speed(None, 50.0, 0.0), 0.0, 0.0),  # without a first byte nothing was measured
        (Speed(0.5, None, 10.0), 10.0, 0.5),
        (Speed(0.5, 0.0, 10.0), 10.0, 0.5),
        (Speed(0.5, 50.0, 10.0), 10.0, 0.5 + ANSWER_TOKENS / 50),
        (Speed(0.5, 50.0, 10.0), 10.0 + FADES_S, (0.5 + ANSWER_TOKENS / 50) * exp(-1)),
        (Speed(0.5, None, 10.0), 9.0, 0.5),  # a clock that is asked a moment too early is no reason to be slower
    ],
)
def test_the_time_of_an_answer(speed: Speed, now: float, seconds: float) -> None:
    assert isclose(seconds_of(speed, now), seconds)


def test_who_is_busy_is_slower_and_who_was_not_measured_comes_first() -> None:
    quick, slow = Speed(0.1, 100.0, 0.0), Speed(0.3, 100.0, 0.0)
    assert fastest(member(speed=quick), CARD, 0.0) < fastest(member(speed=slow), CARD, 0.0)
    assert fastest(member(speed=slow), CARD, 0.0) < fastest(member(speed=quick, in_flight=1), CARD, 0.0)
    assert fastest(member(in_flight=7), CARD, 0.0) < fastest(member(speed=quick), CARD, 0.0)
    assert fastest(member(), CARD, 0.0) < fastest(member(in_flight=1), CARD, 0.0)


@given(st.floats(0.001, 600), st.floats(0.1, 1000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_slow_answer_counts_for_less_the_longer_ago_it_was(
    first: float, rate: float, earlier: float, more: float
) -> None:
    speed = Speed(first, rate, 0.0)
    assert 0.0 <= seconds_of(speed, earlier + more) <= seconds_of(speed, earlier) <= seconds_of(speed, 0.0)


def test_the_first_measurement_is_believed() -> None:
    assert measured(Speed(), 0.5, 20.0, 7.0) == Speed(0.5, 20.0, 7.0)
    assert measured(Speed(0.5, 20.0, 7.0), None, None, 8.0) == Speed(0.5, 20.0, 8.0)
    assert measured(Speed(0.5, None, 7.0), None, 30.0, 8.0) == Speed(0.5, 30.0, 8.0)


def test_a_turn_for_the_worse_is_believed_at_once_and_a_recovery_slowly() -> None:
    assert measured(Speed(0.5, 20.0, 0.0), 5.0, 2.0, 1.0) == Speed(5.0, 2.0, 1.0)
    better = measured(Speed(5.0, 2.0, 0.0), 0.5, 20.0, 1.0)
    assert better.first_byte_s is not None and better.tokens_per_s is not None
    assert isclose(better.first_byte_s, 5.0 + SMOOTHING * (0.5 - 5.0))
    assert isclose(better.tokens_per_s, 2.0 + SMOOTHING * (20.0 - 2.0))


@given(st.lists(st.tuples(st.floats(0.001, 600), st.floats(0.1, 1000)), min_size=1))
def test_an_average_stays_among_what_was_measured(values: list[tuple[float, float]]) -> None:
    speed = Speed()
    for at, (first, rate) in enumerate(values):
        speed = measured(speed, first, rate, float(at))
    assert speed.first_byte_s is not None and speed.tokens_per_s is not None
    firsts, rates = zip(*values, strict=True)
    assert min(firsts) * 0.999999 <= speed.first_byte_s <= max(firsts) * 1.000001
    assert min(rates) * 0.999999 <= speed.tokens_per_s <= max(rates) * 1.000001
    assert speed.at == len(values) - 1


# ---- cheapest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "card", "price"),
    [
        ("openai", priced(0.5, 1.5), 2.0),
        ("openai", priced(0.5, None), 0.5),
        ("openai", priced(None, 1.5), 1.5),
        ("openai", priced(0.0, 0.0), 0.0),
        ("openai", CARD, inf),
        ("ollama", CARD, 0.0),
        ("engine", CARD, 0.0),
        ("scripted", CARD, 0.0),
        ("ollama", priced(0.1, 0.1), 0.2),  # the operator pays for his electricity
    ],
)
def test_prices(kind: str, card: ModelCard, price: float) -> None:
    assert price_of(Member("a", kind), card) == price


def test_between_equal_prices_the_load_decides() -> None:
    assert cheapest(member(in_flight=3, weight=2.0), priced(1.0, 1.0), 0.0) == (2.0, 1.5)


# ---- over many requests --------------------------------------------------------------------------------------------


def test_every_word_of_the_configuration_is_there() -> None:
    assert set(POLICIES) == set(get_args(RoutingConfig.model_fields["policy"].annotation))


def test_who_is_able_is_decided_before_and_then_it_is_the_load() -> None:
    assert POLICIES[CAPABILITY](member(in_flight=3, weight=2.0), CARD, 0.0) == (1.5,)


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=2, max_size=5), st.integers(1, 40))
def test_shares_are_by_weight_at_any_moment(weights: list[float], rounds: int) -> None:
    """Nobody is ever further from his due than there are rivals, whatever the weights are."""
    strides = [0.0] * len(weights)
    turns = [0] * len(weights)
    given_to: Counter[int] = Counter()
    for turn in range(1, rounds + 1):
        members = [member(stride=stride) for stride in strides]
        taken = min(range(len(weights)), key=lambda at: (weighted(members[at], CARD, 0.0), turns[at]))
        strides[taken] += 1.0 / weights[taken]
        turns[taken] = turn
        given_to[taken] += 1
        for at, weight in enumerate(weights):
            due = turn * weight / sum(weights)
            assert due - len(weights) <= given_to[at] <= due + len(weights)


@given(
    st.sampled_from(sorted(POLICIES)),
    st.builds(
        Member,
        st.just("a"),
        st.sampled_from(["openai", "ollama"]),
        weight=st.floats(0.01, 100),
        in_flight=st.integers(0, 10_000),
        speed=st.builds(Speed, st.none() | st.floats(0, 600), st.none() | st.floats(0, 1e6), st.floats(0, 1e6)),
        stride=st.floats(0, 1e9),
    ),
    st.builds(
        ModelCard,
        id=st.just("m"),
        input_price=st.none() | st.floats(0, 1e6),
        output_price=st.none() | st.floats(0, 1e6),
    ),
    st.floats(0, 1e9),
)
def test_a_score_is_always_a_number_that_can_be_compared(policy: str, one: Member, card: ModelCard, now: float) -> None:
    score = POLICIES[policy](one, card, now)
    assert all(part >= 0 for part in score)  # false of what is not a number
