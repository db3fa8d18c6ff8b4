"""Offers and a snapshot in, one backend and the reason out."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.canonical.catalog import Capability, ModelCard
from arriero.errors import Busy, NoBackend
from arriero.routing.decide import CROWDED, Decision, Rules, decide, weigh
from arriero.routing.fleet import LAST_RESORT, ROUTABLE, Member, Speed, State
from arriero.routing.names import Offer, key_of
from arriero.routing.needs import Needs, fitting
from arriero.routing.needs import can as can_do
from arriero.routing.policies import POLICIES

RULES, ABLE = Rules(), Rules("capability")


def offer(text: str) -> Offer:
    """`backend/model`, or `backend/model+tools+vision` where the catalog says that it can do these."""
    backend, _, model = text.partition("/")
    id, *words = model.split("+")
    return Offer(backend, ModelCard(id=id, capabilities=able(*words) if words else None))


def able(*words: str) -> frozenset[Capability]:
    return frozenset({Capability.COMPLETION, *(Capability(word) for word in words)})


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
    offers: str,
    *members: Member,
    tried: str = "",
    lost: str = "",
    pinned: str | None = None,
    preferred: str = "",
    needs: str | None = None,
    rules: Rules = RULES,
) -> str:
    """What is chosen of `offers`, as `backend/model: reason`. With `needs` the policy is `capability`."""
    fleet = {member.name: member for member in members}
    pairs, rather = ([(made.backend, made.card.id) for made in offers_of(listed)] for listed in (tried, preferred))
    wanted = None
    if needs is not None:
        wanted, rules = Needs(able(*needs.split())), Rules("capability", rules.prefer_loaded)
    decision = decide(
        offers_of(offers),
        fleet,
        rules,
        0.0,
        tried=pairs,
        lost=lost.split(),
        pinned=pinned,
        preferred=rather,
        needs=wanted,
    )
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
        # 2: those already tried are out.
        ("a/m b/m", (A, B), "a/m", "b/m: only one left"),
        ("a/m b/m c/m", (A, B, C), "b/m", "a/m: least-connections"),
        ("a/m a/n", (A,), "a/m", "a/n: only one left"),
        # 3: offline, an open breaker, and the wish to be left alone.
        ("a/m b/m", (OFF_A, B), "", "b/m: only one free"),
        ("a/m b/m", (OPEN_A, B), "", "b/m: only one free"),
        ("a/m b/m", (A, COOL_B), "", "a/m: only one free"),
        ("a/m b/m", (member("a", state=State.RATE_LIMITED), B), "", "b/m: only one free"),
        # 3: a check that went badly makes the last resort; unknown is as good as well.
        ("a/m b/m", (ILL_A, B), "", "b/m: only one free"),
        ("a/m b/m", (member("a", state=State.UNHEALTHY, priority=200), B), "", "b/m: only one free"),
        ("a/m b/m", (ILL_A, member("b", state=State.UNKNOWN)), "", "b/m: only one free"),
        ("a/m b/m", (ILL_A, ILL_B), "", "a/m: least-connections"),
        ("a/m b/m", (ILL_A, OFF_B), "", "a/m: only one free"),
        ("a/m b/m", (ILL_A, B), "b/m", "a/m: only one left"),
        # 4: full ones are out.
        ("a/m b/m", (FULL_A, B), "", "b/m: only one free"),
        # 8: the first model of an alias that can be had.
        ("a/big b/small", (A, member("b", priority=200)), "", "a/big: only"),
        ("a/big b/big c/small", (A, B, C), "", "a/big: least-connections"),
        ("a/big b/small", (FULL_A, B), "", "b/small: only"),
        ("a/big b/small", (OFF_A, B), "", "b/small: only"),
        ("a/big b/small", (ILL_A, B), "", "b/small: only"),
        ("a/big b/small", (ILL_A, ILL_B), "", "a/big: only"),
        ("a/big b/small", (A, B), "a/big", "b/small: only one left"),
        ("a/m:latest b/M", (A, member("b", priority=200)), "", "b/M: priority"),
        # 10: in memory; but not where there is a crowd already, and no limit to what it may grow to.
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m")), "", "b/m: loaded"),
        ("a/m b/m", (member("a", priority=200, loaded=""), member("b", loaded="m")), "", "b/m: loaded"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=CROWDED - 1)), "", "b/m: loaded"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=CROWDED)), "", "a/m: least-connections"),
        ("a/m b/m", (member("a", loaded=""), member("b", loaded="m", busy=8, most=9)), "", "b/m: loaded"),
        ("a/m b/m c/m", (A, member("b", loaded="m", busy=1), member("c", loaded="m")), "", "c/m: least-connections"),
        ("a/m b/m", (A, member("b", loaded="other")), "", "a/m: least-connections"),
        # 11: priority, then load for its weight, then the last turn, then configuration order.
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


BUSY_B, HIGH_A, WARM_A = member("b", busy=3), member("a", priority=200), member("a", loaded="m")


@pytest.mark.parametrize(
    ("offers", "members", "preferred", "tried", "answer"),
    [
        # Who is preferred comes before load, memory and priority, under whatever name it has the model.
        ("a/m b/m", (A, BUSY_B), "b/m", "", "b/m: provider"),
        ("a/m b/m", (WARM_A, B), "b/m", "", "b/m: provider"),
        ("a/m b/m", (HIGH_A, B), "b/m", "", "b/m: provider"),
        ("b/x/m a/m", (A, B), "b/x/m", "", "b/x/m: provider"),
        ("a/m b/x/m", (A, B), "b/x/m", "", "b/x/m: provider"),
        # Among several that are preferred it goes on as ever, and so it does where all are.
        ("a/m b/m c/m", (A, BUSY_B, C), "b/m c/m", "", "c/m: least-connections"),
        ("a/m b/m", (A, BUSY_B), "a/m b/m", "", "a/m: least-connections"),
        # It is a preference: who cannot take the request is passed over.
        ("a/m b/m", (A, FULL_B), "b/m", "", "a/m: only one free"),
        ("a/m b/m", (A, OFF_B), "b/m", "", "a/m: only one free"),
        ("a/m b/m", (A, COOL_B), "b/m", "", "a/m: only one free"),
        ("a/m b/m", (A, ILL_B), "b/m", "", "a/m: only one free"),
        ("a/m b/m", (A, B), "b/m", "b/m", "a/m: only one left"),
        ("a/m b/m", (A, B), "c/m", "", "a/m: least-connections"),
        # Of an alias it is another model that comes first.
        ("a/big b/small", (A, B), "b/small", "", "b/small: provider"),
        ("a/m", (A,), "a/m", "", "a/m: only"),
    ],
)
def test_who_is_preferred(offers: str, members: tuple[Member, ...], preferred: str, tried: str, answer: str) -> None:
    assert ask(offers, *members, preferred=preferred, tried=tried) == answer


def test_a_session_that_is_elsewhere_follows_the_preference() -> None:
    assert ask("a/m b/m c/m", A, B, C, preferred="b/m c/m", pinned="c") == "c/m: session"
    assert ask("a/m b/m c/m", A, BUSY_B, C, preferred="b/m c/m", pinned="a") == "c/m: least-connections"


@pytest.mark.parametrize(
    ("offers", "members", "needs", "tried", "answer"),
    [
        # 1: whom the catalog denies is out, whatever else speaks for it.
        ("a/m+tools b/m+vision", (A, BUSY_B), "vision", "", "b/m: capability"),
        ("a/m+tools b/m+vision", (WARM_A, B), "vision", "", "b/m: capability"),
        ("a/m+tools b/m+vision", (HIGH_A, B), "vision", "", "b/m: capability"),
        ("a/m+tools b/m", (A, B), "vision", "", "b/m: capability"),
        ("a/m+tools b/m+vision c/m+vision", (A, BUSY_B, C), "vision", "", "c/m: capability"),
        ("a/m+tools b/m+vision c/m+vision", (A, B, member("c", loaded="m")), "vision", "", "c/m: loaded"),
        ("a/m+tools b/m+vision c/m+vision", (A, FULL_B, C), "vision", "", "c/m: capability"),
        # Not brought back by the failure of those that can.
        ("a/m+tools b/m+vision c/m+vision", (A, B, C), "vision", "b/m", "c/m: only one left"),
        # 7: known comes before unknown, as long as it is free.
        ("a/m b/m+vision", (A, BUSY_B), "vision", "", "b/m: capability"),
        ("a/m b/m+vision", (HIGH_A, B), "vision", "", "a/m: priority"),
        ("a/m b/m+vision", (A, FULL_B), "vision", "", "a/m: only one free"),
        ("a/m b/m c/m+tools", (A, member("b", busy=1), C), "vision", "", "a/m: capability"),
        # What needs nothing in particular goes where it would.
        ("a/m b/m+vision", (A, BUSY_B), "", "", "a/m: capability"),
        ("a/m b/m+vision", (A, member("b", priority=200)), "", "", "b/m: priority"),
        # Nobody can: as if nobody had asked.
        ("a/m+tools b/m+tools", (A, member("b", busy=1)), "vision", "", "a/m: capability"),
        ("a/m+tools", (A,), "vision", "", "a/m: only"),
        # An alias: the first of its models that can.
        ("a/text+tools b/eyes+vision", (A, B), "vision", "", "b/eyes: capability"),
        ("a/text+tools b/eyes+vision", (A, B), "", "", "a/text: only"),
        ("a/text b/eyes+vision", (A, B), "vision", "", "a/text: only"),
        ("a/text+tools a/eyes+vision", (A,), "vision", "", "a/eyes: capability"),
    ],
)
def test_who_can_do_what_is_needed(
    offers: str, members: tuple[Member, ...], needs: str, tried: str, answer: str
) -> None:
    assert ask(offers, *members, needs=needs, tried=tried) == answer


def test_the_preference_counts_among_those_that_may_be_able() -> None:
    assert ask("a/m+vision b/m+tools", A, B, preferred="b/m", needs="vision") == "a/m: capability"
    assert ask("a/m+vision b/m", A, B, preferred="b/m", needs="vision") == "b/m: provider"
    assert ask("a/m+vision b/m c/m+vision", A, B, C, preferred="b/m c/m", needs="vision") == "c/m: capability"


def test_a_model_in_anothers_place_comes_behind_whatever_speaks_for_it() -> None:
    own = [("a", "m"), ("b", "m")]

    def chosen(offers: str, *members: Member, rules: Rules = RULES, **more: Any) -> str:
        found = decide(offers_of(offers), {one.name: one for one in members}, rules, 0.0, own=own, **more)
        return f"{found.offer.backend}: {found.reason}"

    sees = Needs(able("vision"))
    assert chosen("a/m c/n+vision", A, C, rules=ABLE, needs=sees) == "a: only"
    assert chosen("a/m+tools c/n+vision", A, C, rules=ABLE, needs=sees) == "c: capability"
    assert chosen("a/m b/m c/n", A, BUSY_B, C, preferred=[("c", "n")]) == "a: least-connections"
    assert chosen("a/m c/n", OFF_A, C) == "c: only"


def test_those_that_can_are_worth_a_wait() -> None:
    with pytest.raises(Busy):
        ask("a/m+tools b/m+vision", A, FULL_B, needs="vision")
    with pytest.raises(NoBackend) as raised:
        ask("a/m+tools b/m+vision", A, OFF_B, needs="vision")
    assert raised.value.message == "no backend can serve this model now (b: offline)"


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
        ((OPEN_A, OFF_B), "Circuit breaker open for a, for another 12 s; b: offline", 12.0),
        (
            (OPEN_A, COOL_B),
            "Circuit breaker open for a, for another 12 s; b: it wants to be left alone for another 30 s",
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


def test_what_the_catalog_says_against_one() -> None:
    fleet = {"a": A, "b": FULL_B, "c": C}
    offers, wanted = offers_of("a/m+tools b/m+vision c/m"), Needs(able("vision"))
    weighed = weigh(offers, fleet, Rules("capability"), 0.0, needs=wanted)
    assert [(one.out, one.chosen) for one in weighed] == [
        ("it cannot do vision", False),
        ("all its places are taken", False),
        (None, True),
    ]
    nobody = weigh(offers[:1], fleet, Rules("capability"), 0.0, needs=wanted)
    assert [(one.out, one.chosen) for one in nobody] == [(None, True)]
    preferred = weigh(offers_of("a/m c/m"), fleet, RULES, 0.0, preferred=[("c", "m")])
    assert [one.chosen for one in preferred] == [False, True]


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
    st.builds(
        Offer,
        st.sampled_from(NAMES),
        st.builds(
            ModelCard,
            id=st.sampled_from(["m", "m:latest", "n"]),
            capabilities=st.sampled_from([None, able(), able("tools"), able("tools", "vision")]),
            context_length=st.sampled_from([None, 4096, 100_000]),
        ),
    ),
    unique_by=lambda made: (made.backend, made.card.id),
    min_size=1,
)
NEEDS = st.builds(
    Needs, st.sampled_from([able(), able("tools"), able("vision")]), st.sampled_from([0, 4096, 5000, 200_000])
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
    **more: Any,
) -> Decision | type[Exception]:
    fleet = {member.name: member for member in members}
    try:
        return decide(offers, fleet, rules, 0.0, tried=tried or (), lost=lost or (), pinned=pinned, **more)
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


def is_free(one: Member, beside: Member) -> bool:
    """Whether it could have been taken as well as the other one was."""
    return not one.full and can(one, ROUTABLE if can(beside, ROUTABLE) else LAST_RESORT)


@given(OFFERS, MEMBERS, NEEDS, TRIED, LOST, TRIED)
def test_whoever_cannot_do_it_is_not_asked_while_somebody_may(
    offers: list[Offer], members: tuple[Member, ...], needs: Needs, tried: Tried, lost: set[str], preferred: Tried
) -> None:
    decision = said(offers, members, ABLE, tried, lost, needs=needs, preferred=preferred)
    if isinstance(decision, Decision) and can_do(needs, decision.offer.card) is False:
        assert all(can_do(needs, made.card) is False for made in offers)


@given(OFFERS, MEMBERS, NEEDS)
def test_whoever_is_known_to_be_able_comes_before_those_who_may_be(
    offers: list[Offer], members: tuple[Member, ...], needs: Needs
) -> None:
    fleet = {member.name: member for member in members}
    decision = said(offers, members, ABLE, needs=needs)
    if isinstance(decision, Decision) and can_do(needs, decision.offer.card) is None:
        chosen = fleet[decision.offer.backend]
        assert not any(can_do(needs, made.card) and is_free(fleet[made.backend], chosen) for made in offers)


@given(OFFERS, MEMBERS, NEEDS, TRIED)
def test_those_who_cannot_do_it_are_as_if_they_were_not_there(
    offers: list[Offer], members: tuple[Member, ...], needs: Needs, tried: Tried
) -> None:
    before = said(offers, members, ABLE, tried, needs=needs)
    after = said(list(fitting(offers, needs)), members, ABLE, tried, needs=needs)
    if isinstance(before, Decision) and isinstance(after, Decision):
        assert before.offer == after.offer
    else:
        assert before is after


@given(OFFERS, MEMBERS, TRIED)
def test_where_nobody_can_do_it_nothing_changes(offers: list[Offer], members: tuple[Member, ...], tried: Tried) -> None:
    nobody = Needs(frozenset({Capability.AUDIO}))
    assume(all(made.card.capabilities is not None for made in offers))
    assert said(offers, members, ABLE, tried, needs=nobody) == said(offers, members, ABLE, tried)


@given(OFFERS, MEMBERS, ANY_RULES, TRIED, TRIED, st.none() | st.sampled_from(NAMES))
def test_a_preference_counts_as_long_as_one_of_them_is_free(
    offers: list[Offer],
    members: tuple[Member, ...],
    rules: Rules,
    tried: Tried,
    preferred: Tried,
    pinned: str | None,
) -> None:
    fleet = {member.name: member for member in members}
    decision = said(offers, members, rules, tried, pinned=pinned, preferred=preferred)
    plain = said(offers, members, rules, tried, pinned=pinned)
    if not isinstance(decision, Decision):
        assert decision is plain  # it costs nobody an answer
        return
    chosen = fleet[decision.offer.backend]
    missed = [
        made
        for made in offers
        if (made.backend, made.card.id) in preferred - tried and is_free(fleet[made.backend], chosen)
    ]
    if (decision.offer.backend, decision.offer.card.id) not in preferred:
        assert (missed, decision) == ([], plain)
