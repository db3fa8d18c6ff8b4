"""The roster: what backends offer, whether they answer, what counts as loaded."""

import asyncio

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import FOREVER
from arriero.errors import (
    BackendBroken,
    BackendFailed,
    BackendRefused,
    BackendUnauthorized,
    BackendUnreachable,
    ClientGone,
    ModelBroken,
    ModelNotFound,
)
from arriero.gateway import roster as module
from arriero.gateway.entry import Failure, Seat
from arriero.gateway.roster import MAX_USED, Bylaws, Roster
from arriero.gateway.told import Told
from arriero.routing.fleet import Member, State
from support.gateway import Played, gateway, http
from support.plain import Lists, Plain, seated


def plain(name: str, lists: Lists) -> Plain:
    """A backend whose model list is a function."""
    backend = Plain(name)
    backend.list_answer = lists
    return backend


def listing(*ids: str) -> Lists:
    async def lists() -> tuple[ModelCard, ...]:
        return tuple(ModelCard(id=id) for id in ids)

    return lists


def ids(roster: Roster) -> list[str]:
    return [offer.card.id for offer in roster.names.offers]


async def test_models_are_known_after_the_start() -> None:
    one, two = plain("one", listing("a", "b")), plain("two", listing("b:latest"))
    roster = Roster(seated(one, two))
    await roster.start()
    assert [(offer.backend, offer.card.id) for offer in roster.names.offers] == [
        ("one", "a"),
        ("one", "b"),
        ("two", "b:latest"),
    ]
    await roster.close()
    assert one.closed and two.closed


async def test_a_model_that_a_backend_lists_twice_is_offered_once() -> None:
    """In whatever spelling: else a request would be sent there as often."""
    roster = Roster(seated(plain("one", listing("a", "b", "a:latest", "A", "b"))))
    await roster.refresh()
    assert ids(roster) == ["a", "b"]
    await roster.close()


async def test_a_slow_backend_does_not_hold_up_the_start() -> None:
    release = asyncio.Event()

    async def slow() -> tuple[ModelCard, ...]:
        await release.wait()
        return (ModelCard(id="late"),)

    roster = Roster(seated(plain("slow", slow), plain("quick", listing("a")), seat=Seat(check_timeout=60)))
    async with asyncio.timeout(5):
        await roster.start()
    assert ids(roster) == ["a"]
    assert roster.entries["slow"].state is State.UNKNOWN
    release.set()
    assert (await roster.resolve("late"))[0].backend == "slow"
    await roster.close()


async def test_a_disk_that_does_not_answer_holds_up_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says counts when it has said it."""
    monkeypatch.setattr(module, "LOCAL_SECONDS", 0.01)
    said = asyncio.Event()

    async def slow() -> tuple[ModelCard, ...]:
        await said.wait()
        return (ModelCard(id="new"),)

    disk, far = plain("disk", listing("old")), plain("far", listing("a"))
    disk.curated = True
    roster = Roster(seated(disk, far))
    await roster.refresh()
    disk.list_answer = slow
    await roster.refresh_local()
    assert (ids(roster), far.asked) == (["old", "a"], ["list"])
    said.set()
    await roster.refresh_local()
    assert (ids(roster), disk.asked) == (["new", "a"], ["list", "list"])


async def test_who_hangs_is_waited_for_a_moment_when_somebody_wants_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says then counts when it has said it."""
    monkeypatch.setattr(module, "BACK_SECONDS", 0.01)
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.0)
    said = asyncio.Event()

    async def hangs() -> tuple[ModelCard, ...]:
        await said.wait()
        return (ModelCard(id="a"),)

    one = plain("one", listing("a"))
    roster = Roster(seated(one, seat=Seat(check_timeout=5.0)))
    await roster.refresh()
    entry = roster.entries["one"]
    entry.state = State.OFFLINE
    one.list_answer = one.check_answer = hangs
    await roster.recheck(roster.names.offers)
    assert entry.state.value == "offline"
    said.set()
    monkeypatch.setattr(module, "BACK_SECONDS", 5.0)
    await roster.recheck(roster.names.offers)
    assert entry.state.value == "healthy"
    await roster.close()


async def test_a_backend_without_an_interval_is_asked_once() -> None:
    """0 seconds between two looks means no further look, not one after the other."""
    asked = 0

    async def counts() -> tuple[ModelCard, ...]:
        nonlocal asked
        asked += 1
        return (ModelCard(id="a"),)

    roster = Roster(seated(plain("one", counts), seat=Seat(check_interval=0)))
    await roster.start()
    await asyncio.sleep(0.05)
    await roster.close()
    assert asked == 1


async def test_a_failing_backend_is_down_and_harms_nobody() -> None:
    async def fails() -> tuple[ModelCard, ...]:
        raise BackendBroken("not a list")

    roster = Roster(seated(plain("bad", fails), plain("good", listing("a"))))
    await roster.refresh()
    bad = roster.entries["bad"]
    assert (bad.state, bad.error and bad.error.message, ids(roster)) == (State.UNHEALTHY, "not a list", ["a"])
    await roster.close()


async def test_a_backend_that_does_not_answer_in_time_is_down() -> None:
    async def hangs() -> tuple[ModelCard, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    roster = Roster(seated(plain("slow", hangs), seat=Seat(check_timeout=0.05)))
    await roster.refresh()
    error = roster.entries["slow"].error
    assert error is not None and error.message == "slow did not answer its check within 0.05 s"
    await roster.close()


async def test_what_a_backend_had_stays_while_it_is_down() -> None:
    answers: list[tuple[ModelCard, ...]] = [(ModelCard(id="a"),)]

    async def once() -> tuple[ModelCard, ...]:
        if answers:
            return answers.pop()
        raise BackendUnreachable("refused")

    roster = Roster(seated(plain("one", once)))
    await roster.refresh()
    await roster.refresh()
    assert (roster.entries["one"].state, ids(roster)) == (State.OFFLINE, ["a"])
    await roster.close()


async def test_an_unknown_name_makes_everybody_be_asked_again() -> None:
    models = ["a"]

    async def grows() -> tuple[ModelCard, ...]:
        return tuple(ModelCard(id=id) for id in models)

    now = [0.0]
    roster = Roster(seated(plain("one", grows)), clock=lambda: now[0])
    await roster.refresh()
    models.append("new")
    with pytest.raises(ModelNotFound):
        await roster.resolve("new")  # asked a moment ago: a client that guesses names must not cause a storm
    now[0] = 10.0
    assert (await roster.resolve("new"))[0].card.id == "new"
    await roster.close()


async def test_who_hangs_holds_up_no_question_for_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again all the same: its answer counts when it comes."""
    monkeypatch.setattr(module, "MISS_SECONDS", 0.0)
    monkeypatch.setattr(module, "START_SECONDS", 0.01)
    release, hung = asyncio.Event(), plain("hung", listing("late"))

    async def hangs() -> tuple[ModelCard, ...]:
        await release.wait()
        return (ModelCard(id="late"),)

    async def refuses() -> tuple[ModelCard, ...]:
        raise BackendUnreachable("refused")

    hung.list_answer = refuses
    roster = Roster(seated(hung, plain("well", listing("a")), seat=Seat(check_timeout=60)))
    await roster.refresh()
    assert roster.entries["hung"].state is State.OFFLINE
    hung.list_answer = hangs
    async with asyncio.timeout(5):
        with pytest.raises(ModelNotFound):
            await roster.resolve("late")
    release.set()
    assert (await roster.resolve("late"))[0].backend == "hung"
    await roster.close()


async def test_any_takes_an_unknown_model_to_whoever_may_have_it() -> None:
    roster = Roster(seated(plain("one", listing())), Bylaws(unknown_model="any"))
    await roster.refresh()
    offers = await roster.resolve("brand/new")
    assert [(offer.backend, offer.card.id) for offer in offers] == [("one", "brand/new")]
    await roster.close()


async def test_the_operator_adds_models_and_tells_what_nobody_else_does() -> None:
    async def tells() -> tuple[ModelCard, ...]:
        return (
            ModelCard(id="mute"),
            ModelCard(id="told", capabilities=frozenset({Capability.EMBEDDING}), context_length=5),
        )

    both = frozenset({Capability.COMPLETION, Capability.TOOLS})
    told = Told({"*": both}, {"*": 4096})
    roster = Roster(seated(plain("one", tells), seat=Seat(extra_models=("extra", "told:latest"))), Bylaws(told=told))
    await roster.refresh()
    assert [(card.id, card.capabilities, card.context_length) for card in roster.entries["one"].cards] == [
        ("mute", both, 4096),
        ("told", frozenset({Capability.EMBEDDING}), 5),
        ("extra", both, 4096),
    ]
    await roster.close()


async def test_extra_models_are_offered_even_by_a_backend_that_lists_nothing() -> None:
    async def fails() -> tuple[ModelCard, ...]:
        raise BackendBroken("no list here")

    roster = Roster(seated(plain("one", fails), seat=Seat(extra_models=("extra",))))
    await roster.refresh()
    assert ids(roster) == ["extra"]
    await roster.close()


async def test_the_picture_for_a_decision_is_frozen() -> None:
    roster = Roster(seated(plain("one", listing("a")), seat=Seat(priority=7, weight=2.0, max_concurrency=3)))
    await roster.refresh()
    roster.entries["one"].in_flight = 2
    members = roster.members(roster.names.offers, 0.0)
    assert members == {"one": Member("one", "openai", 7, 2.0, 3, 2, State.HEALTHY)}
    await roster.close()


async def test_only_a_backend_that_cannot_be_reached_counts_as_down_at_once() -> None:
    roster = Roster(seated(plain("one", listing("a"))))
    await roster.refresh()
    entry = roster.entries["one"]
    roster.note(entry, BackendFailed("odd"), 0.0, before_head=False)
    states = [entry.state]
    roster.note(entry, BackendUnreachable("refused"), 0.0, before_head=True)
    states.append(entry.state)
    await roster.refresh()
    assert [*states, entry.state] == [State.HEALTHY, State.OFFLINE, State.HEALTHY]
    await roster.close()


async def test_the_last_failure_of_a_backends_own_is_kept() -> None:
    roster = Roster(seated(plain("one", listing("a"))), wall=lambda: 1_700_000_000.0)
    await roster.refresh()
    entry = roster.entries["one"]
    for error in (None, BackendRefused("no such field"), ClientGone("left")):
        roster.note(entry, error, 0.0, before_head=False)
        assert entry.last_failure is None
    roster.note(entry, BackendFailed("odd", status=502, type="acme_error"), 0.0, before_head=False)
    roster.note(entry, None, 0.0, before_head=False)
    assert entry.last_failure == Failure(BackendFailed, "acme_error", 502, "odd", 1_700_000_000.0)
    await roster.close()


async def test_a_refused_connection_is_believed_whoever_met_it() -> None:
    roster = Roster(seated(plain("one", listing("a"))))
    await roster.refresh()
    entry = roster.entries["one"]
    roster.met(entry, BackendFailed("500", status=500))
    assert entry.state is State.HEALTHY
    roster.met(entry, BackendUnreachable("refused"))
    assert (entry.state, entry.error and entry.error.message) == (State.OFFLINE, "refused")
    await roster.close()


async def test_a_model_counts_as_loaded_for_its_keep_alive() -> None:
    now = [1000.0]
    roster = Roster(seated(plain("one", listing("a", "b", "c"))), wall=lambda: now[0])
    await roster.refresh()
    roster.touch("one", "a", None)
    roster.touch("one", "b", FOREVER)
    roster.touch("one", "c", 5)
    roster.touch("one", "c", 0)
    loaded = await roster.loaded()
    assert [(model.card.id, model.expires_at) for _, model in loaded] == [("a", 1300.0), ("b", FOREVER)]
    now[0] = 1301.0
    assert [model.card.id for _, model in await roster.loaded()] == ["b"]
    await roster.close()


async def test_a_model_that_cannot_be_used_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    one = plain("one", listing("a"))
    one.broken = {"bad:latest": "truncated"}  # type: ignore[misc]
    roster = Roster(seated(one))
    await roster.refresh()
    for name in ("bad", "BAD:latest"):
        with pytest.raises(ModelBroken, match="bad:latest on one cannot be used: truncated"):
            await roster.resolve(name)
    await roster.close()


async def test_a_fault_in_reading_a_list_is_told_and_does_not_end_the_asking() -> None:
    answers = ["fault"]

    async def faulty() -> tuple[ModelCard, ...]:
        if answers:
            raise KeyError(answers.pop())
        return (ModelCard(id="a"),)

    roster = Roster(seated(plain("one", faulty)))
    await roster.refresh()
    error = roster.entries["one"].error
    assert error is not None and error.status == 500
    await roster.refresh()
    assert ids(roster) == ["a"]
    await roster.close()


async def test_a_dead_server_comes_back_by_itself() -> None:
    backend = Played("openai", http(b"{}"))
    async with gateway(backend) as gate:
        entry = gate.roster.entries["openai"]
        gate.roster.note(entry, BackendUnreachable("refused"), 0.0, before_head=True)
        await gate.roster.refresh()
        assert (entry.state, [card.id for card in entry.cards]) == (State.HEALTHY, ["gpt-x"])


async def test_made_up_names_do_not_fill_the_memory() -> None:
    roster = Roster(seated(plain("one", listing("a"))))
    for number in range(MAX_USED + 10):
        roster.touch("one", f"made-up-{number}", FOREVER)
    used = roster.entries["one"].used
    assert (len(used), next(iter(used))) == (MAX_USED, "made-up-10")
    await roster.close()


async def test_an_unknown_name_where_nobody_could_be_asked_is_the_fault_of_who_refuses_the_key() -> None:
    refusal = BackendUnauthorized("look at KEY")

    async def refuses() -> tuple[ModelCard, ...]:
        raise refusal

    one = plain("one", refuses)
    roster = Roster(seated(one))
    await roster.refresh()
    with pytest.raises(BackendUnauthorized) as raised:
        await roster.resolve("gpt-4o")
    assert (raised.value.message, raised.value is refusal) == ("look at KEY", False)
    await roster.adopt(seated(one, plain("two", listing("qwen3"))), Bylaws())
    with pytest.raises(ModelNotFound):
        await roster.resolve("gpt-4o")
    await roster.close()
