"""Offers and a snapshot in, one backend and the reason out."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.canonical.catalog import ModelCard
from arriero.errors import Busy, NoBackend
from arriero.routing.decide import Decision, decide
from arriero.routing.fleet import Member
from arriero.routing.names import Offer, key_of


def offer(text: str) -> Offer:
    """`backend/model`."""
    backend, _, model = text.partition("/")
    return Offer(backend, ModelCard(id=model))


def member(
    name: str,
    *,
    priority: int = 100,
    weight: float = 1.0,
    busy: int = 0,
    most: int | None = None,
    healthy: bool | None = True,
) -> Member:
    return Member(name, "ollama", priority, weight, most, busy, healthy)


def ask(offers: str, *members: Member, tried: str = "") -> str:
    """What is chosen of `offers`, as `backend/model: reason`."""
    fleet = {member.name: member for member in members}
    pairs = [(made.backend, made.card.id) for made in map(offer, tried.split())]
    decision = decide([offer(text) for text in offers.split()], fleet, pairs)
    return f"{decision.offer.backend}/{decision.offer.card.id}: {decision.reason}"


A, B, C = member("a"), member("b"), member("c")
FULL_A, FULL_B = member("a", busy=2, most=2), member("b", busy=1, most=1)
DOWN_A, DOWN_B = member("a", healthy=False), member("b", healthy=False)


@pytest.mark.parametrize(
    ("offers", "members", "tried", "answer"),
    [
        # One offer.
        ("a/m", (A,), "", "a/m: only"),
        ("a/m", (DOWN_A,), "", "a/m: only"),
        ("a/m", (member("a", busy=1, most=2),), "", "a/m: only"),
        # Configuration order, where nothing else tells them apart.
        ("a/m b/m", (A, B), "", "a/m: least-connections"),
        ("b/m a/m", (A, B), "", "b/m: least-connections"),
        # 1: those already tried are out.
        ("a/m b/m", (A, B), "a/m", "b/m: only one left"),
        ("a/m b/m c/m", (A, B, C), "b/m", "a/m: least-connections"),
        ("a/m a/n", (A,), "a/m", "a/n: only one left"),
        # 2: full ones are out.
        ("a/m b/m", (FULL_A, B), "", "b/m: only one free"),
        ("a/m b/m", (FULL_A, DOWN_B), "", "b/m: only one free"),
        # 3: those that failed their probe are the last resort; unknown is as good as well.
        ("a/m b/m", (DOWN_A, B), "", "b/m: only one free"),
        ("a/m b/m", (member("a", healthy=False, priority=200), B), "", "b/m: only one free"),
        ("a/m b/m", (DOWN_A, member("b", healthy=None)), "", "b/m: only one free"),
        ("a/m b/m", (DOWN_A, DOWN_B), "", "a/m: least-connections"),
        ("a/m b/m", (DOWN_A, B), "b/m", "a/m: only one left"),
        # 4: the first model of an alias that can be had.
        ("a/big b/small", (A, member("b", priority=200)), "", "a/big: only"),
        ("a/big b/big c/small", (A, B, C), "", "a/big: least-connections"),
        ("a/big b/small", (FULL_A, B), "", "b/small: only"),
        ("a/big b/small", (DOWN_A, B), "", "b/small: only"),
        ("a/big b/small", (DOWN_A, DOWN_B), "", "a/big: only"),
        ("a/big b/small", (A, B), "a/big", "b/small: only one left"),
        ("a/m:latest b/M", (A, member("b", priority=200)), "", "b/M: priority"),
        # 5: priority, then load for its weight, then configuration order.
        ("a/m b/m", (A, member("b", priority=101)), "", "b/m: priority"),
        ("a/m b/m", (A, member("b", priority=101, busy=9)), "", "b/m: priority"),
        ("a/m b/m", (member("a", busy=1), B), "", "b/m: least-connections"),
        ("a/m b/m", (member("a", busy=2, weight=4), member("b", busy=1)), "", "a/m: least-connections"),
        ("a/m b/m", (member("a", busy=2, weight=2), member("b", busy=1)), "", "a/m: least-connections"),
    ],
)
def test_decisions(offers: str, members: tuple[Member, ...], tried: str, answer: str) -> None:
    assert ask(offers, *members, tried=tried) == answer


@pytest.mark.parametrize(
    ("offers", "members", "tried"),
    [
        ("a/m", (FULL_A,), ""),
        ("a/m b/m", (FULL_A, FULL_B), ""),
        ("a/m b/m", (FULL_A, B), "b/m"),
        ("a/big b/small", (FULL_A, FULL_B), ""),
    ],
)
def test_busy_where_all_that_are_left_are_full(offers: str, members: tuple[Member, ...], tried: str) -> None:
    with pytest.raises(Busy) as raised:
        ask(offers, *members, tried=tried)
    assert (raised.value.status, raised.value.retry_after) == (503, 1.0)


@pytest.mark.parametrize(("offers", "tried"), [("", ""), ("a/m", "a/m"), ("a/m b/m", "b/m a/m"), ("a/m", "a/m x/y")])
def test_nothing_is_left_to_try(offers: str, tried: str) -> None:
    with pytest.raises(NoBackend):
        ask(offers, A, B, tried=tried)


NAMES = ("a", "b", "c", "d")
MEMBERS = st.tuples(
    *(
        st.builds(
            Member,
            st.just(name),
            st.just("ollama"),
            st.integers(0, 2),
            st.sampled_from([0.5, 1.0, 3.0]),
            st.none() | st.integers(1, 3),
            st.integers(0, 3),
            st.none() | st.booleans(),
        )
        for name in NAMES
    )
)
OFFERS = st.lists(
    st.builds(Offer, st.sampled_from(NAMES), st.builds(ModelCard, id=st.sampled_from(["m", "m:latest", "n"]))),
    unique=True,
    min_size=1,
)
TRIED = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(["m", "m:latest", "n"])))


def said(offers: list[Offer], members: tuple[Member, ...], tried: set[tuple[str, str]]) -> Decision | type[Exception]:
    try:
        return decide(offers, {member.name: member for member in members}, tried)
    except (Busy, NoBackend) as error:
        return type(error)


@given(OFFERS, MEMBERS, TRIED)
def test_never_one_that_was_tried_or_is_full(
    offers: list[Offer], members: tuple[Member, ...], tried: set[tuple[str, str]]
) -> None:
    fleet = {member.name: member for member in members}
    left = [made for made in offers if (made.backend, made.card.id) not in tried]
    match said(offers, members, tried):
        case Decision(chosen):
            assert chosen in left
            assert not fleet[chosen.backend].full
        case error:
            assert error is (Busy if left else NoBackend)
            assert all(fleet[made.backend].full for made in left)


@given(OFFERS, MEMBERS, TRIED)
def test_those_who_offer_nothing_change_nothing(
    offers: list[Offer], members: tuple[Member, ...], tried: set[tuple[str, str]]
) -> None:
    concerned = {made.backend for made in offers}
    few = tuple(member for member in members if member.name in concerned)
    assert said(offers, few, tried) == said(offers, members, tried)


@given(OFFERS, MEMBERS, TRIED)
def test_without_the_full_and_the_tried_the_same_one_is_chosen(
    offers: list[Offer], members: tuple[Member, ...], tried: set[tuple[str, str]]
) -> None:
    fleet = {member.name: member for member in members}
    before = said(offers, members, tried)
    assume(isinstance(before, Decision))
    few = [made for made in offers if (made.backend, made.card.id) not in tried and not fleet[made.backend].full]
    after = said(few, members, set())
    assert isinstance(before, Decision) and isinstance(after, Decision)
    assert after.offer == before.offer


@given(OFFERS, MEMBERS)
def test_nobody_better_was_left_out(offers: list[Offer], members: tuple[Member, ...]) -> None:
    fleet = {member.name: member for member in members}
    decision = said(offers, members, set())
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    chosen = fleet[decision.offer.backend]
    for made in offers:
        other = fleet[made.backend]
        if other.full or key_of(made.card.id) != key_of(decision.offer.card.id):
            continue
        if (other.healthy is False) != (chosen.healthy is False):
            assert chosen.healthy is not False
            continue
        assert chosen.priority >= other.priority
        if chosen.priority == other.priority:
            assert chosen.in_flight / chosen.weight <= other.in_flight / other.weight
