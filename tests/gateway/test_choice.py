"""Which backend is next: offers and what has happened in, leases and errors out. Nothing is sent."""

import json
from typing import Any

import pytest

from arriero.backends.http.call import Headers
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    BadRequest,
    ContextExceeded,
    ModelForbidden,
    ModelMissing,
    ModelNotFound,
    NoBackend,
    UnsupportedContent,
)
from arriero.gateway.choice import MAX_FALLBACKS, Retrying, Routing
from arriero.gateway.door import Door
from arriero.gateway.roster import Bylaws
from arriero.routing.decide import Rules
from arriero.routing.fleet import State
from arriero.routing.names import Patterns
from arriero.routing.sticky import Sessions, Stick
from support.choosing import Asked, Clock, fleet, loads
from support.plain import Plain

IN_TURN = Routing(rules=Rules("round-robin"))
REFUSED = BackendUnreachable("refused")


# ---- what the model means ------------------------------------------------------------------------------------------


async def test_a_known_model_is_found_without_asking_anybody() -> None:
    one, two = Plain("one", "m"), Plain("two", "m:latest")
    roster = await fleet(one, two)
    request = Asked(roster)
    request.choice.find_at_once("M")
    assert (request.outcome.candidates, request.outcome.alias, request.outcome.loose) == (2, None, False)
    assert [request.take(), request.take()] == ["one/m: least-connections", "two/m:latest: only one left"]
    assert (one.asked, two.asked) == (["list"], ["list"])
    with pytest.raises(NoBackend, match="no backend is left to try"):
        request.take()


async def test_an_unknown_model_is_asked_for_once_more() -> None:
    clock, one = Clock(), Plain("one", "m")
    roster = await fleet(one, clock=clock)
    one.offers("m", "new")
    with pytest.raises(ModelNotFound):
        Asked(roster).choice.find_at_once("new")
    with pytest.raises(ModelNotFound):
        await Asked(roster).find("new")  # it was asked a moment ago
    clock.now += 10
    assert (await Asked(roster).find("new")).take() == "one/new: only"


async def test_a_model_that_nobody_lists_goes_anywhere_if_the_operator_says_so() -> None:
    one, two = Plain("one", "m"), Plain("two")
    two.curated = True
    request = await Asked(await fleet(one, two, bylaws=Bylaws(unknown_model="any"))).find("made/up")
    assert (request.outcome.loose, request.outcome.candidates) == (True, 1)
    assert request.take() == "one/made/up: only"


async def test_a_model_that_somebody_lists_is_not_loose() -> None:
    request = await Asked(await fleet(Plain("one", "m"), bylaws=Bylaws(unknown_model="any"))).find("M:latest")
    assert request.outcome.loose is False


async def test_what_is_hidden_or_ambiguous_stays_so() -> None:
    bylaws = Bylaws(overall=Patterns(exclude=("secret*",)))
    roster = await fleet(Plain("one", "secret", "a/x", "b/x", "m"), bylaws=bylaws)
    with_fallback: Headers = ((b"x-arriero-fallback", b"m"),)
    for model, error in (("secret", ModelForbidden), ("x", AmbiguousModel)):
        for headers in ((), with_fallback):
            with pytest.raises(error):
                await Asked(roster, headers=headers).find(model)
            with pytest.raises(error):
                Asked(roster, headers=headers).choice.find_at_once(model)


async def test_without_a_model_anybody_will_do_but_those_who_only_run_their_own() -> None:
    one, two, three = Plain("one", "m"), Plain("two"), Plain("three", "x")
    three.curated = True
    request = Asked(await fleet(one, two, three))
    request.choice.anywhere()
    assert [request.take(), request.take()] == ["one/: least-connections", "two/: only one left"]


# ---- aliases and fallbacks -----------------------------------------------------------------------------------------


async def test_an_alias_is_told_and_goes_by_preference() -> None:
    bylaws = Bylaws(aliases={"fast": ["big", "small"]})
    request = await Asked(await fleet(Plain("one", "small"), Plain("two", "big", "small"), bylaws=bylaws)).find("FAST")
    assert (request.outcome.alias, request.outcome.candidates) == ("FAST", 2)
    assert request.take() == "two/big: only"
    assert request.fails(BackendFailed("no", status=500))
    assert request.take() == "one/small: least-connections"
    assert request.outcome.fallback is False


async def test_a_429_loses_the_pair_and_the_hosts_other_model_is_tried() -> None:
    bylaws = Bylaws(aliases={"fast": ["big", "small"]})
    request = await Asked(await fleet(Plain("one", "big", "small"), bylaws=bylaws)).find("fast")
    assert request.take() == "one/big: only"
    assert request.fails(BackendOverloaded("slow down", status=429))
    assert request.take() == "one/small: only one left"


@pytest.mark.parametrize(
    "error",
    [REFUSED, BackendTimeout("late"), BackendBroken("cut"), BackendUnauthorized("bad key")],
)
async def test_a_failure_of_the_host_loses_all_its_models(error: ArrieroError) -> None:
    bylaws = Bylaws(aliases={"fast": ["big", "small"]})
    request = await Asked(await fleet(Plain("one", "big", "small"), Plain("two", "small"), bylaws=bylaws)).find("fast")
    assert request.take() == "one/big: only"
    assert request.fails(error)
    assert request.take() == "two/small: only one left"
    assert request.fails(error)
    with pytest.raises(NoBackend):
        request.take()


async def test_the_operators_fallback() -> None:
    routing = Routing(fallback={"big": ["nowhere", "small"]})
    request = await Asked(await fleet(Plain("one", "big"), Plain("two", "small")), routing).find("BIG:latest")
    assert (request.take(), request.outcome.fallback) == ("one/big: only", False)
    assert request.fails(BackendFailed("no", status=503))
    assert (request.take(), request.outcome.fallback) == ("two/small: only one left", True)


async def test_the_fallback_counts_at_once_too() -> None:
    routing = Routing(fallback={"big": ["small"]})
    roster = await fleet(Plain("one", "big"), Plain("two", "small"), most=1)
    request, other = Asked(roster, routing), Asked(roster, routing)
    for each in (request, other):
        each.choice.find_at_once("big")
    assert (request.take(), other.take()) == ("one/big: only", "two/small: only")
    assert (request.outcome.fallback, other.outcome.fallback) == (False, True)
    request.end()
    other.end()


async def test_a_fallback_of_the_request_stands_before_the_operators() -> None:
    routing = Routing(fallback={"big": ["small"]})
    roster = await fleet(Plain("one", "small"), Plain("two", "other"))
    headers = ((b"x-arriero-fallback", b" nope,, other ,"),)
    assert (await Asked(roster, routing, headers=headers).find("big")).take() == "two/other: only"
    none = ((b"x-arriero-fallback", b""),)
    with pytest.raises(ModelNotFound):
        await Asked(roster, routing, headers=none).find("big")


async def test_an_unknown_model_with_a_fallback_is_no_error() -> None:
    routing = Routing(fallback={"big": ["small"]})
    request = await Asked(await fleet(Plain("one", "small")), routing).find("big")
    assert (request.take(), request.outcome.fallback) == ("one/small: only", True)
    with pytest.raises(ModelNotFound):
        await Asked(await fleet(Plain("one", "x")), routing).find("big")


async def test_a_model_that_nobody_could_look_up_has_a_fallback_too() -> None:
    away, local = Plain("away"), Plain("local", "small")
    away.list_answer, local.curated = BackendUnreachable("refused"), True
    roster = await fleet(away, local)
    request = await Asked(roster, Routing(fallback={"big": ["small"]})).find("big")
    assert (request.take(), request.outcome.fallback) == ("local/small: only", True)
    with pytest.raises(BackendUnreachable):
        await Asked(roster, Routing(fallback={"big": ["nowhere"]})).find("big")


async def test_only_so_many_fallbacks_are_read() -> None:
    roster = await fleet(Plain("one", "last"))
    names = ["nope"] * MAX_FALLBACKS
    for told, found in ((["last", *names], True), ([*names[1:], "last"], True), ([*names, "last"], False)):
        headers = ((b"x-arriero-fallback", ",".join(told).encode()),)
        try:
            await Asked(roster, headers=headers).find("big")
        except ModelNotFound:
            assert not found
        else:
            assert found


async def test_a_fallback_of_bytes_that_are_no_text_is_just_unknown() -> None:
    with pytest.raises(ModelNotFound):
        await Asked(await fleet(Plain("one", "m")), headers=((b"x-arriero-fallback", b"\xff\xfe"),)).find("big")


async def test_a_fallback_that_is_the_model_itself_is_no_second_chance() -> None:
    request = await Asked(await fleet(Plain("one", "m")), Routing(fallback={"m": ["m"]})).find("m")
    assert (request.take(), request.outcome.fallback) == ("one/m: only", False)
    assert request.fails(BackendFailed("no", status=500))
    with pytest.raises(NoBackend):
        request.take()


# ---- doors ---------------------------------------------------------------------------------------------------------


async def test_a_door_lets_through_only_to_those_behind_it() -> None:
    vllm, other = Plain("vllm", "m"), Plain("other", "m", "only-there")
    vllm.profile = _profile("vllm")
    roster = await fleet(vllm, other)
    door = Door("/olla/vllm", "vllm", olla=True)
    request = await Asked(roster, door=door).find("m")
    assert (request.take(), request.outcome.candidates) == ("vllm/m: only", 1)
    with pytest.raises(ModelNotFound):
        await Asked(roster, door=door).find("only-there")
    with pytest.raises(ModelNotFound):
        await Asked(roster, door=door, headers=((b"x-arriero-fallback", b"only-there"),)).find("nope")
    anybody = Asked(roster, door=door)
    anybody.choice.anywhere()
    assert anybody.take() == "vllm/: only"


def _profile(name: str) -> Any:
    from arriero.dialects.profiles import profile_of

    return profile_of(name)


# ---- whether another may follow ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (REFUSED, True),
        (BackendTimeout("late"), True),
        (BackendBroken("cut"), True),
        (BackendUnauthorized("key"), True),
        (ModelMissing("not here"), True),
        *((BackendFailed("no", status=status), True) for status in (500, 502, 504)),
        (BackendFailed("no", status=501), False),
        *((BackendOverloaded("no", status=status), True) for status in (429, 503, 529)),
        (BackendRefused("bad temperature", status=400), False),
        (BackendRefused("conflict", status=409), False),
        (ContextExceeded("too long"), False),
        (UnsupportedContent("no images"), False),
        (BadRequest("what?"), False),
    ],
)
async def test_after_which_errors_another_is_asked(error: ArrieroError, goes_on: bool) -> None:
    request = await Asked(await fleet(Plain("one", "m"), Plain("two", "m"))).find("m")
    request.take()
    assert request.fails(error) is goes_on


async def test_the_operator_chooses_the_statuses() -> None:
    routing = Routing(retrying=Retrying(statuses=frozenset({409})))
    request = await Asked(await fleet(Plain("one", "m"), Plain("two", "m")), routing).find("m")
    request.take()
    assert request.choice.goes_on(request.lease.offer, BackendRefused("conflict", status=409))
    assert not request.choice.goes_on(request.lease.offer, BackendFailed("no", status=500))
    assert request.choice.goes_on(request.lease.offer, REFUSED)  # that is no status
    request.end()


async def test_so_many_attempts_and_no_more() -> None:
    backends = [Plain(name, "m") for name in "abcd"]
    request = await Asked(await fleet(*backends), Routing(retrying=Retrying(attempts=2))).find("m")
    request.take()
    assert request.fails(BackendFailed("no", status=500))
    request.take()
    assert not request.fails(BackendFailed("no", status=500))


async def test_one_attempt_is_none_after_it() -> None:
    request = await Asked(await fleet(Plain("a", "m"), Plain("b", "m")), Routing(retrying=Retrying(attempts=1))).find(
        "m"
    )
    request.take()
    assert not request.fails(REFUSED)


async def test_no_attempt_begins_after_the_budget() -> None:
    for seconds, passed, goes_on in ((10.0, 9.9, True), (10.0, 10.0, False), (None, 1e9, True)):
        clock = Clock()
        roster = await fleet(Plain("a", "m"), Plain("b", "m"), clock=clock)
        request = await Asked(roster, Routing(retrying=Retrying(budget_seconds=seconds))).find("m")
        request.take()
        clock.now += passed
        assert request.fails(REFUSED) is goes_on


async def test_each_pair_once_and_from_the_beginning_when_all_begins_again() -> None:
    request = await Asked(await fleet(Plain("a", "m"), Plain("b", "m"))).find("m")
    first, second = request.take(), request.take()
    assert (first, second) == ("a/m: least-connections", "b/m: only one left")
    request.choice.begin_again()
    assert request.take() == "a/m: least-connections"


async def test_the_same_one_may_be_asked_in_other_words() -> None:
    request = await Asked(await fleet(Plain("a", "m"))).find("m")
    request.take()
    request.choice.allow(request.lease.offer)
    assert request.take() == "a/m: only"


# ---- sessions ------------------------------------------------------------------------------------------------------

SESSION: Headers = ((b"x-olla-session-id", b"s1"),)
STICKY = Routing(rules=Rules("round-robin"), sticky=("header",))


async def test_a_session_stays_where_it_was() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), sessions=Sessions())
    first = await Asked(roster, STICKY, headers=SESSION).find("m")
    assert first.take() == "one/m: round-robin"
    assert first.outcome.stick == Stick("miss", "session_header", "s1")
    first.end()
    for _ in range(3):
        later = await Asked(roster, STICKY, headers=SESSION).find("m")
        assert later.take() == "one/m: session"
        assert later.outcome.stick == Stick("hit", "session_header", "s1")
        later.end()


async def test_a_session_moves_when_its_backend_cannot() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), sessions=Sessions())
    (await Asked(roster, STICKY, headers=SESSION).find("m")).take()
    roster.entries["one"].state = State.OFFLINE
    moved = await Asked(roster, STICKY, headers=SESSION).find("m")
    assert moved.take() == "two/m: only one free"
    assert moved.outcome.stick == Stick("repin", "session_header", "s1")
    roster.entries["one"].state = State.HEALTHY
    stays = await Asked(roster, STICKY, headers=SESSION).find("m")
    assert (stays.take(), stays.outcome.stick) == ("two/m: session", Stick("hit", "session_header", "s1"))


async def test_a_session_moves_when_its_backend_fails_the_request() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), sessions=Sessions())
    request = await Asked(roster, STICKY, headers=SESSION).find("m")
    request.take()
    assert request.fails(BackendFailed("no", status=500))
    assert request.take() == "two/m: only one left"
    assert request.outcome.stick == Stick("repin", "session_header", "s1")
    request.end()
    assert (await Asked(roster, STICKY, headers=SESSION).find("m")).take() == "two/m: session"


async def test_another_model_is_another_session() -> None:
    roster = await fleet(Plain("one", "m", "n"), Plain("two", "m", "n"), sessions=Sessions())
    (await Asked(roster, STICKY, headers=SESSION).find("m")).take()
    assert (await Asked(roster, STICKY, headers=SESSION).find("n")).outcome.stick == Stick(
        "miss", "session_header", "s1"
    )


async def test_a_request_that_names_no_session() -> None:
    roster = await fleet(Plain("one", "m"), sessions=Sessions())
    request = await Asked(roster, STICKY).find("m")
    assert (request.take(), request.outcome.stick) == ("one/m: only", Stick("disabled"))


async def test_without_sessions_nothing_is_said_of_them() -> None:
    roster = await fleet(Plain("one", "m"))
    assert (await Asked(roster, headers=SESSION).find("m")).outcome.stick is None
    switched_off = await Asked(roster, STICKY, headers=SESSION).find("m")  # by a reload, a moment ago
    assert (switched_off.outcome.stick, switched_off.take()) == (Stick("disabled"), "one/m: only")


async def test_the_first_question_names_a_session_by_itself() -> None:
    roster = await fleet(Plain("one", "m"), Plain("two", "m"), sessions=Sessions())
    routing = Routing(rules=Rules("round-robin"), sticky=("header", "prefix"))
    messages = [{"role": "user", "content": "hello"}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    first = await Asked(roster, routing, body=body).find("m")
    assert first.take().startswith("one/m")
    more = [*messages, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and?"}]
    later = await Asked(roster, routing, body=json.dumps({"model": "m", "messages": more}).encode()).find("m")
    assert (later.take(), later.outcome.stick) == ("one/m: session", Stick("hit", "prefix_hash"))


# ---- turns ---------------------------------------------------------------------------------------------------------


async def test_strictly_in_turn() -> None:
    roster = await fleet(*(Plain(name, "m") for name in "abc"))
    taken = []
    for _ in range(6):
        request = await Asked(roster, IN_TURN).find("m")
        taken.append(request.take()[0])
        request.end()
    assert "".join(taken) == "abcabc"


async def test_a_turn_that_was_not_used_comes_again() -> None:
    """The short way takes a place and gives it back where a connection has to be opened first: whoever needs one each
    time would otherwise never have a turn.
    """
    roster = await fleet(Plain("a", "m"), Plain("b", "m"))
    taken = []
    for _ in range(4):
        request = await Asked(roster, IN_TURN).find("m")
        request.take()
        roster.take_back(request.lease.entry, request.lease.started)
        request.choice.begin_again()
        taken.append(request.take()[0])
        request.end()
    assert ("".join(taken), loads(roster)) == ("abab", [(0, 0), (0, 0)])
