"""Offers and a snapshot in, one backend and the reason out."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.canonical.catalog import ModelCard
from arriero.errors import Busy, NoBackend
from arriero.routing.decide import CROWDED, Decision, Rules, decide, weigh
from arriero.routing.fleet import LAST_RESORT, ROUTABLE, Member, Speed, State
from arriero.routing.names import Offer, key_of
from arriero.routing.policies import POLICIES

RULES = Rules()


def offer(text: str) -> Offer:
    """`backend/model`."""
    backend, _, model = text.partition("/")
    return Offer(backend, ModelCard(id=model))


def offers_of(text: str) -> list[Offer]:
    return [offer(one) for one in text.split()]


def member(
    name: str,
    *,
    priority: int = 100,
    weight: float = 1.0,
    busy: int = 0,
    most: int | None = None,
    state: State = State.HEALTHY,
    open_s: float = 0.0,
    cooling_s: float = 0.0,
    loaded: str | None = None,
    turn: int = 0,
    stride: float = 0.0,
    why: str | None = None,
) -> Member:
    keys = None if loaded is None else frozenset(loaded.split())
    shut = open_s > 0
    return Member(
        name,
        "ollama",
        priority,
        weight,
        most,
        busy,
        state,
        shut,
        open_s,
        cooling_s,
        keys,
        Speed(),
        turn,
        stride,
        why,
    )


def ask(
    offers: str, *members: Member, tried: str = "", lost: str = "", pinned: str | None = None, rules: Rules = RULES
) -> str:
    """What is chosen of `offers`, as `backend/model: reason`."""
    fleet = {member.name: member for member in members}
    pairs = [(made.backend, made.card.id) for made in offers_of(tried)]
    decision = decide(offers_of(offers), fleet, rules, 0.0, tried=pairs, lost=lost.split(), pinned=pinned)
    return f"{decision.offer.backend}/{decision.offer.card.id}: {decision.reason}"


A, B, C = member("a"), member("b"), member("c")
FULL_A, FULL_B = member("a", busy=2, most=2), member("b", busy=1, most=1)
ILL_A, ILL_B = member("a", state=State.UNHEALTHY), member("b", state=State.CONFIG_ERROR)
OFF_A, OFF_B = member("a", state=State.OFFLINE), member("b", state=State.OFFLINE)
OPEN_A, COOL_B = member("a", open_s=12.0), member("b", cooling_s=30.0)


@pytest.mark.parametrize(
    ("offers", "members", "tried", "answer"),
    [
        # One offer.
        ("a/m", (A,), "", "a/m: only"),
        ("a/m", (ILL_A,), "", "a/m: only"),
        ("a/m", (member("a", busy=1, most=2),), "", "a/m: only"),
        ("a/m", (member("a", state=State.BUSY),), "", "a/m: only"),
        # Configuration order, where nothing else tells them apart.
        ("a/m b/m", (A, B), "", "a/m: least-connections"),
        ("b/m a/m", (A, B), "", "b/m: least-connections"),
        # 1: those already tried are out.
        ("a/m b/m", (A, B), "a/m", "b/m: only one left"),
        ("a/m b/m c/m", (A, B, C), "b/m", "a/m: least-connections"),
        ("a/m a/n", (A,), "a/m", "a/n: only one left"),
        # 2: offline, an open breaker, and the wish to be left alone.
        ("a/m b/m", (OFF_A, B), "", "b/m: only one free"),
        ("a/m b/m", (OPEN_A, B), "", "b/m: only one free"),
        ("a/m b/m", (A, COOL_B), "", "a/m: only one free"),
        ("a/m b/m", (member("a", state=State.RATE_LIMITED), B), "", "b/m: only one free"),
        # 2: a check that went badly makes the last resort; unknown is as good as well.
        ("a/m b/m", (ILL_A, B), "", "b/m: only one free"),
        ("a/m b/m", (member("a", state=State.UNHEALTHY, priority=200), B), "", "b/m: only one free"),
        ("a/m b/m", (ILL_A, member("b", state=State.UNKNOWN)), "", "b/m: only one free"),
        ("a/m b/m", (ILL_A, ILL_B), "", "a/m: least-connections"),
        ("a/m b/m", (ILL_A, OFF_B), "", "a/m: only one free"),
        ("a/m b/m", (ILL_A, B), "b/m", "a/m: only one left"),
        # 3: full ones are out.
        ("a/m b/m", (FULL_A, B), "", "b/m: only one free"),
        # 4: the first model of an alias that can be had.
        ("a/big b/small", (A, member("b", priority=200)), "", "a/big: only"),
        ("a/big b/big c/small", (A, B, C), "", "a/big: least-connections"),
        ("a/big b/small", (FULL_A, B), "", "b/small: only"),
        ("a/big b/small", (OFF_A, B), "", "b/small: only"),
        ("a/big b/small", (ILL_A, B), "", "b/small: only"),
        ("a/big b/small", (ILL_A, ILL_B), "", "a/big: only"),
        ("a/big b/small", (A, B), "a/big", "b/small: only one left"),
        ("a/m:latest b/M", (A, member("b", priority=200)), "", "b/M: priority"),
        # 6: in memory; but not where there is a crowd already, and no limit to what it may grow to.
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m")), "", "b/m: loaded"),
        ("a/m b/m", (member("a", priority=200, loaded=""), member("b", loaded="m")), "", "b/m: loaded"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=CROWDED - 1)), "", "b/m: loaded"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=CROWDED)), "", "a/m: least-connections"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=8, most=9)), "", "b/m: loaded"),
        ("a/m b/m c/m", (A, member("b", loaded="m", busy=1), member("c", loaded="m")), "", "c/m: least-connections"),
        ("a/m b/m", (A, member("b", loaded="other")), "", "a/m: least-connections"),
        # 7: priority, then load for its weight, then the last turn, then configuration order.
        ("a/m b/m", (A, member("b", priority=101)), "", "b/m: priority"),
        ("a/m b/m", (A, member("b", priority=101, busy=9)), "", "b/m: priority"),
        ("a/m b/m", (member("a", busy=1), B), "", "b/m: least-connections"),
        ("a/m b/m", (member("a", busy=2, weight=4), member("b", busy=1)), "", "a/m: least-connections"),
        ("a/m b/m", (member("a", busy=2, weight=2), member("b", busy=1)), "", "a/m: least-connections"),
        ("a/m b/m", (member("a", turn=2), member("b", turn=1)), "", "b/m: least-connections"),
    ],
)
def test_decisions(offers: str, members: tuple[Member, ...], tried: str, answer: str) -> None:
    assert ask(offers, *members, tried=tried) == answer


@pytest.mark.parametrize(
    ("policy", "members", "answer"),
    [
        ("round-robin", (member("a", turn=7, busy=0), member("b", turn=3, busy=3)), "b/m: round-robin"),
        ("weighted", (member("a", stride=2.0), member("b", stride=1.5, busy=3)), "b/m: weighted"),
        ("priority", (member("a", busy=1), B), "b/m: priority"),
        ("priority", (member("a", priority=200, busy=1), B), "a/m: priority"),
    ],
)
def test_policies_decide_among_equals(policy: str, members: tuple[Member, ...], answer: str) -> None:
    assert ask("a/m b/m", *members, rules=Rules(policy)) == answer


def test_a_session_stays_where_it_is_if_it_can() -> None:
    warm = member("c", loaded="m")
    assert ask("a/m b/m c/m", A, member("b", busy=3), warm, pinned="b") == "b/m: session"
    assert ask("a/m b/m c/m", A, FULL_B, C, pinned="b") == "a/m: least-connections"
    assert ask("a/m b/m c/m", A, OFF_B, C, pinned="b") == "a/m: least-connections"
    assert ask("a/m b/m c/m", A, B, C, tried="b/m", pinned="b") == "a/m: least-connections"
    assert ask("a/m b/m", A, B, pinned="gone") == "a/m: least-connections"


def test_a_lost_backend_is_out_for_all_its_models() -> None:
    assert ask("a/big a/small b/small", A, B, lost="a") == "b/small: only one left"
    assert ask("a/big a/small b/small", A, B, tried="a/big") == "a/small: least-connections"


def test_loaded_models_attract_only_if_they_are_to() -> None:
    assert ask("a/m b/m", A, member("b", loaded="m"), rules=Rules(prefer_loaded=False)) == "a/m: least-connections"


@pytest.mark.parametrize(
    ("offers", "members", "tried"),
    [
        ("a/m", (FULL_A,), ""),
        ("a/m b/m", (FULL_A, FULL_B), ""),
        ("a/m b/m", (FULL_A, B), "b/m"),
        ("a/m b/m", (FULL_A, ILL_B), ""),  # who is well is worth the wait
        ("a/m b/m", (FULL_A, OFF_B), ""),
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


@pytest.mark.parametrize(
    ("members", "told", "retry_after"),
    [
        ((OFF_A, OFF_B), "a: offline; b: offline", 5.0),
        ((member("a", state=State.OFFLINE, why="no route"), OFF_B), "a: offline (no route); b: offline", 5.0),
        ((OPEN_A, OFF_B), "a: its breaker is open for another 12 s; b: offline", 12.0),
        (
            (OPEN_A, COOL_B),
            "a: its breaker is open for another 12 s; b: it wants to be left alone for another 30 s",
            12.0,
        ),
        (
            (member("a", state=State.UNHEALTHY, cooling_s=3.0), OFF_B),
            "a: it wants to be left alone for another 3 s; b: offline",
            3.0,
        ),
    ],
)
def test_nobody_can_serve_now(members: tuple[Member, ...], told: str, retry_after: float) -> None:
    with pytest.raises(NoBackend) as raised:
        ask("a/m b/m", *members)
    assert raised.value.message == f"no backend can serve this model now ({told})"
    assert raised.value.retry_after == retry_after


def test_what_speaks_for_and_against_each() -> None:
    fleet = {
        "a": member("a", busy=1),
        "b": member("b", loaded="m", busy=2, turn=5),
        "c": OFF_A,
        "d": FULL_B,
        "e": ILL_A,
    }
    weighed = weigh(offers_of("a/m b/m c/m d/m e/m"), fleet, RULES, 0.0)
    assert [(one.offer.backend, one.out, one.score, one.loaded, one.chosen) for one in weighed] == [
        ("a", None, (1.0, 0), False, False),
        ("b", None, (2.0, 5), True, True),
        ("c", "offline", (0.0, 0), False, False),
        ("d", "all its places are taken", (1.0, 0), False, False),
        ("e", "unhealthy, taken only if no other is left", (0.0, 0), False, False),
    ]
    assert not any(one.chosen for one in weigh(offers_of("c/m d/m"), fleet, RULES, 0.0))


# ---- properties ----------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "d")
SECONDS = st.sampled_from([0.0, 0.0, 3.0])


def some_member(name: str) -> st.SearchStrategy[Member]:
    return st.builds(
        member,
        st.just(name),
        priority=st.integers(0, 2),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        busy=st.integers(0, 5),
        most=st.none() | st.integers(1, 3),
        state=st.sampled_from([*State, State.HEALTHY, State.HEALTHY]),
        open_s=SECONDS,
        cooling_s=SECONDS,
        loaded=st.sampled_from([None, "", "m", "n m"]),
        turn=st.integers(0, 3),
        stride=st.sampled_from([0.0, 0.5, 2.0]),
    )


MEMBERS = st.tuples(*map(some_member, NAMES))
OFFERS = st.lists(
    st.builds(Offer, st.sampled_from(NAMES), st.builds(ModelCard, id=st.sampled_from(["m", "m:latest", "n"]))),
    unique=True,
    min_size=1,
)
TRIED = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(["m", "m:latest", "n"])))
LOST = st.sets(st.sampled_from(NAMES), max_size=2)
ANY_RULES = st.builds(Rules, st.sampled_from(sorted(POLICIES)), st.booleans())

Tried = set[tuple[str, str]]


def said(
    offers: Sequence[Offer],
    members: tuple[Member, ...],
    rules: Rules,
    tried: Tried | None = None,
    lost: set[str] | None = None,
    pinned: str | None = None,
) -> Decision | type[Exception]:
    fleet = {member.name: member for member in members}
    try:
        return decide(offers, fleet, rules, 0.0, tried=tried or (), lost=lost or (), pinned=pinned)
    except (Busy, NoBackend) as error:
        return type(error)


def can(one: Member, states: frozenset[State]) -> bool:
    return one.state in states and not one.open and not one.cooling_s


@given(OFFERS, MEMBERS, ANY_RULES, TRIED, LOST, st.none() | st.sampled_from(NAMES))
def test_only_who_can_and_may_is_chosen(
    offers: list[Offer], members: tuple[Member, ...], rules: Rules, tried: Tried, lost: set[str], pinned: str | None
) -> None:
    fleet = {member.name: member for member in members}
    left = [fleet[o.backend] for o in offers if (o.backend, o.card.id) not in tried and o.backend not in lost]
    able = [one for one in left if can(one, ROUTABLE)] or [one for one in left if can(one, LAST_RESORT)]
    match said(offers, members, rules, tried, lost, pinned):
        case Decision(chosen):
            assert chosen in offers
            assert fleet[chosen.backend] in able
            assert not fleet[chosen.backend].full
        case error:
            assert error is (Busy if able else NoBackend)
            assert all(one.full for one in able)


@given(OFFERS, MEMBERS, ANY_RULES, TRIED)
def test_those_who_offer_nothing_change_nothing(
    offers: list[Offer], members: tuple[Member, ...], rules: Rules, tried: Tried
) -> None:
    concerned = {made.backend for made in offers}
    few = tuple(member for member in members if member.name in concerned)
    assert said(offers, few, rules, tried) == said(offers, members, rules, tried)


@given(OFFERS, MEMBERS, ANY_RULES, TRIED)
def test_the_tried_are_as_if_they_were_not_there(
    offers: list[Offer], members: tuple[Member, ...], rules: Rules, tried: Tried
) -> None:
    before = said(offers, members, rules, tried)
    few = [made for made in offers if (made.backend, made.card.id) not in tried]
    after = said(few, members, rules)
    assume(isinstance(before, Decision) and isinstance(after, Decision))
    assert isinstance(before, Decision) and isinstance(after, Decision)
    assert after.offer == before.offer


@given(OFFERS, MEMBERS, ANY_RULES)
def test_nobody_better_was_left_out(offers: list[Offer], members: tuple[Member, ...], rules: Rules) -> None:
    fleet = {member.name: member for member in members}
    decision = said(offers, members, rules)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    chosen, key = fleet[decision.offer.backend], key_of(decision.offer.card.id)

    def warm(one: Member) -> bool:
        crowd = one.max_concurrency is None and one.in_flight >= CROWDED
        return rules.prefer_loaded and one.loaded is not None and key in one.loaded and not crowd

    def rank(one: Member, made: Offer) -> tuple[object, ...]:
        return (not warm(one), -one.priority, POLICIES[rules.policy](one, made.card, 0.0), one.turn)

    rivals = [
        made
        for made in offers
        if key_of(made.card.id) == key
        and not fleet[made.backend].full
        and can(fleet[made.backend], ROUTABLE if can(chosen, ROUTABLE) else LAST_RESORT)
    ]
    assert rank(chosen, decision.offer) == min(rank(fleet[made.backend], made) for made in rivals)


@given(OFFERS, MEMBERS, ANY_RULES)
def test_what_is_explained_is_what_is_done(offers: list[Offer], members: tuple[Member, ...], rules: Rules) -> None:
    fleet = {member.name: member for member in members}
    weighed = weigh(offers, fleet, rules, 0.0)
    chosen = [one.offer for one in weighed if one.chosen]
    decision = said(offers, members, rules)
    assert chosen == ([decision.offer] if isinstance(decision, Decision) else [])
    assert all(one.out is None or fleet[one.offer.backend].state in LAST_RESORT for one in weighed if one.chosen)
