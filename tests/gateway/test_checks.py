"""Asking the backends: what an answer shows, when the next question is due, and that nothing ends the asking."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from arriero.canonical.catalog import LoadedModel, ModelCard
from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    EngineCrashed,
    InternalError,
)
from arriero.gateway.checks import (
    BACK_OFF,
    BUSY_SECONDS,
    LIMITED_SECONDS,
    MAX_COOLING_SECONDS,
    Checks,
    pause_of,
    state_of,
)
from arriero.gateway.entry import Entry, Seat
from arriero.routing.fleet import State
from support.plain import Plain, seated, settled
from support.raw_backend import eventually

A, B = ModelCard(id="a"), ModelCard(id="b")
REFUSED = BackendUnreachable("refused")


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Checks over backends, with a note of what they told, in order."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.faulty = False
        self.checks = Checks(
            listed=self._listed,
            failed=self._failed,
            recovered=lambda entry: self.told.append(f"{entry.backend.name} recovered"),
            wall=lambda: self.clock.now + 1_000_000,
            clock=self.clock,
        )
        self.entries: list[Entry] = []

    def _listed(self, entry: Entry, cards: Sequence[ModelCard]) -> None:
        if self.faulty:
            raise KeyError("a fault of the roster's")
        entry.cards = tuple(cards)
        self.told.append(f"{entry.backend.name} lists {' '.join(card.id for card in cards)}".rstrip())

    def _failed(self, entry: Entry, error: ArrieroError) -> None:
        entry.state, entry.error = state_of(error), error
        self.told.append(f"{entry.backend.name} failed: {error.message}")

    def seat(self, backend: Plain, **seat: Any) -> Entry:
        entry = Entry(*seated(backend, seat=Seat(**{"check_interval": 0.0, **seat}))[0])
        self.entries.append(entry)
        return entry

    async def ask(self, entry: Entry, *, models: bool = True) -> None:
        async with asyncio.timeout(5):
            await asyncio.wait([self.checks.ask(entry, models=models)])

    def takes(self, backend: Plain, seconds: float, *ids: str) -> None:
        """Its list takes so long from now on, by this clock."""

        async def slow() -> tuple[ModelCard, ...]:
            self.clock.now += seconds
            return tuple(ModelCard(id=id) for id in ids)

        backend.list_answer = slow


def never() -> Any:
    """An answer that does not come."""

    async def waits() -> Any:
        await asyncio.Event().wait()

    return waits


# ---- what an answer shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (BackendUnreachable("x"), State.OFFLINE),
        (BackendTimeout("x"), State.OFFLINE),
        (BackendUnauthorized("x"), State.CONFIG_ERROR),
        (BackendOverloaded("x", status=429), State.RATE_LIMITED),
        (BackendOverloaded("x", status=503), State.UNHEALTHY),
        (BackendOverloaded("x", status=529), State.UNHEALTHY),
        (BackendFailed("x", status=500), State.UNHEALTHY),
        (BackendRefused("x", status=404), State.UNHEALTHY),
        (BackendBroken("x"), State.UNHEALTHY),
        (EngineCrashed("x"), State.UNHEALTHY),
        (InternalError("x"), State.UNHEALTHY),
    ],
)
async def test_states(error: ArrieroError, state: State) -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    backend.list_answer = error
    await desk.ask(entry)
    assert (state_of(error), entry.state, entry.error, entry.failures) == (state, state, error, 1)
    assert desk.told == ["one failed: x"]


async def test_a_good_answer() -> None:
    desk, backend = Desk(), Plain("one", "a", "b")
    entry = desk.seat(backend)
    desk.takes(backend, 0.25, "a", "b")
    await desk.ask(entry)
    assert desk.told == ["one lists a b", "one recovered"]
    assert (entry.state, entry.error, entry.failures, entry.check_seconds) == (State.HEALTHY, None, 0, 0.25)
    assert (entry.asked, entry.listed, entry.models_at, entry.check_at) == (100.0, 100.25, 1_000_100.25, 1_000_100.25)


async def test_one_that_was_well_has_not_recovered() -> None:
    desk = Desk()
    entry = desk.seat(Plain("one", "a"))
    await desk.ask(entry)
    await desk.ask(entry)
    assert desk.told == ["one lists a", "one recovered", "one lists a"]


async def test_a_failure_and_the_way_back() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    await desk.ask(entry)
    backend.list_answer = BackendFailed("no", status=500)
    await desk.ask(entry)
    await desk.ask(entry)
    assert (entry.state, entry.failures, [card.id for card in entry.cards]) == (State.UNHEALTHY, 2, ["a"])
    backend.offers("b")
    await desk.ask(entry)
    assert (entry.state, entry.failures, entry.error) == (State.HEALTHY, 0, None)
    assert desk.told[-2:] == ["one lists b", "one recovered"]


@pytest.mark.parametrize(
    ("seconds", "state"), [(BUSY_SECONDS, State.HEALTHY), (BUSY_SECONDS + 0.001, State.BUSY), (0.0, State.HEALTHY)]
)
async def test_a_slow_answer_is_busy(seconds: float, state: State) -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    desk.takes(backend, seconds, "a")
    await desk.ask(entry)
    assert (entry.state, entry.well) == (state, True)


async def test_from_busy_to_healthy_is_no_recovery() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    desk.takes(backend, 60, "a")
    await desk.ask(entry)
    desk.takes(backend, 0, "a")
    await desk.ask(entry)
    assert (entry.state, desk.told.count("one recovered")) == (State.HEALTHY, 1)


# ---- how it asks ---------------------------------------------------------------------------------------------------


async def test_a_check_that_ran_out_of_time_is_made_once_more() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, check_timeout=0.02)
    answers = [never(), (A,)]

    async def second_time() -> Any:
        answer = answers.pop(0)
        return await answer() if callable(answer) else answer

    backend.list_answer = second_time
    await desk.ask(entry)
    assert (entry.state, backend.asked) == (State.HEALTHY, ["list", "list"])


async def test_twice_without_an_answer_is_offline() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend, check_timeout=0.02)
    backend.list_answer = never()
    await desk.ask(entry)
    assert (entry.state, entry.failures, backend.asked) == (State.OFFLINE, 1, ["list", "list"])
    assert desk.told == ["one failed: one did not answer its check within 0.02 s"]


async def test_another_failure_is_not_asked_twice() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    backend.list_answer = REFUSED
    await desk.ask(entry)
    assert backend.asked == ["list"]


async def test_one_question_at_a_time() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    released = asyncio.Event()

    async def waits() -> Any:
        await released.wait()
        return (A,)

    backend.list_answer = waits
    first = desk.checks.ask(entry)
    await settled()
    assert entry.is_asked
    assert desk.checks.ask(entry) is first
    assert desk.checks.ask(entry, models=False) is first
    released.set()
    await first
    assert (backend.asked, entry.is_asked) == (["list"], False)


async def test_a_well_backend_is_only_checked_where_nobody_needs_its_list() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    await desk.ask(entry, models=False)  # it has no models yet
    desk.clock.now += 10
    await desk.ask(entry, models=False)
    assert (backend.asked, entry.asked, entry.listed) == (["list", "check"], 100.0, 100.0)
    backend.check_answer = REFUSED
    await desk.ask(entry, models=False)
    assert entry.state is State.OFFLINE
    backend.check_answer = None
    await desk.ask(entry, models=False)  # it is back: its models may be others
    assert (backend.asked[2:], entry.state) == (["check", "list"], State.HEALTHY)


async def test_with_an_interval_for_its_models_the_check_comes_first() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, models_interval=60.0)
    await desk.ask(entry)
    assert backend.asked == ["check", "list"]
    backend.check_answer = BackendFailed("unwell", status=503)
    await desk.ask(entry)
    assert (backend.asked, entry.state, entry.asked) == (["check", "list", "check"], State.UNHEALTHY, 100.0)


async def test_who_comes_for_the_list_during_a_check_gets_it() -> None:
    for late in (False, True):
        desk, backend = Desk(), Plain("one", "a", memory=late)
        entry = desk.seat(backend)
        await desk.ask(entry)
        backend.offers("a", "new")
        released = asyncio.Event()

        async def waits(released: asyncio.Event = released) -> Any:
            await released.wait()
            return ()

        # In the middle of the check, or when the check is over and only the memory is looked at.
        if late:
            backend.loaded_answer = waits
        else:
            backend.check_answer = waits
        running = desk.checks.ask(entry, models=False)
        await settled()
        waiting = asyncio.create_task(desk.ask(entry))
        await settled()
        released.set()
        await waiting
        assert (running.done(), [card.id for card in entry.cards]) == (True, ["a", "new"])
        desk.told.clear()
        await desk.ask(entry, models=False)
        assert desk.told == []  # and no list is owed to anybody


async def test_a_check_without_the_list_is_no_answer_to_whoever_misses_a_model() -> None:
    desk = Desk()
    entry = desk.seat(Plain("one", "a"))
    await desk.ask(entry)
    desk.clock.now += 100
    await desk.ask(entry, models=False)
    assert entry.asked == 100.0


async def test_one_that_is_offline_was_asked_whatever_it_did_not_answer() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, models_interval=60.0)
    backend.check_answer = REFUSED
    await desk.ask(entry)
    desk.clock.now += 100
    await desk.ask(entry, models=False)
    assert entry.asked == 200.0


# ---- those who want to be left alone -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(None, LIMITED_SECONDS), (7.0, 7.0), (0.0, 0.0), (1e9, MAX_COOLING_SECONDS)],
)
async def test_a_backend_that_limits_checks_is_left_alone(told: float | None, seconds: float) -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    backend.list_answer = BackendOverloaded("slow", status=429, retry_after=told)
    await desk.ask(entry)
    assert (entry.state, entry.cooling_until) == (State.RATE_LIMITED, 100.0 + seconds)
    backend.offers("a")
    await desk.ask(entry)
    assert (entry.state, entry.cooling_until) == (State.HEALTHY, 0.0)


async def test_a_longer_time_that_was_told_before_stays() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    entry.cooling_until = 500.0
    backend.list_answer = BackendOverloaded("slow", status=429, retry_after=7.0)
    await desk.ask(entry)
    assert entry.cooling_until == 500.0


async def test_what_a_request_was_told_stays_where_the_checks_were_always_well() -> None:
    desk = Desk()
    entry = desk.seat(Plain("one", "a"))
    await desk.ask(entry)
    entry.cooling_until = 500.0
    await desk.ask(entry)
    assert entry.cooling_until == 500.0


async def test_an_overloaded_backend_is_not_left_alone_for_a_503_to_a_check() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    backend.list_answer = BackendOverloaded("loading", status=503, retry_after=7.0)
    await desk.ask(entry)
    assert (entry.state, entry.cooling_until) == (State.UNHEALTHY, 0.0)


# ---- faults of arriero's own ---------------------------------------------------------------------------------------


async def test_a_fault_in_reading_a_list_is_told_and_ends_nothing() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    backend.list_answer = ZeroDivisionError("a fault")
    await desk.ask(entry)
    assert (entry.state, type(entry.error)) == (State.UNHEALTHY, InternalError)
    assert desk.told == ["one failed: arriero could not read the model list of one; its log says more"]
    backend.offers("a")
    await desk.ask(entry)
    assert entry.state is State.HEALTHY


async def test_a_fault_in_taking_a_list_over_is_none_of_the_asking() -> None:
    desk = Desk()
    entry = desk.seat(Plain("one", "a"))
    desk.faulty = True
    await desk.ask(entry)
    assert (entry.state, type(entry.error)) == (State.UNHEALTHY, InternalError)
    assert entry.asking is not None and entry.asking.exception() is None


# ---- memory --------------------------------------------------------------------------------------------------------


async def test_what_is_loaded_is_asked_with_every_good_check() -> None:
    desk, backend = Desk(), Plain("one", "a", memory=True)
    entry = desk.seat(backend)
    backend.loaded_answer = (LoadedModel(card=ModelCard(id="A:latest")),)
    await desk.ask(entry)
    assert (entry.loaded, backend.asked) == (frozenset({"a"}), ["list", "loaded"])
    await desk.ask(entry, models=False)
    assert backend.asked == ["list", "loaded", "check", "loaded"]
    backend.check_answer = REFUSED
    await desk.ask(entry, models=False)
    assert backend.asked[4:] == ["check"]


@pytest.mark.parametrize("answer", [REFUSED, BackendBroken("no JSON"), KeyError("a fault"), TimeoutError()])
async def test_unknown_memory_says_nothing_against_a_backend(answer: Exception) -> None:
    desk, backend = Desk(), Plain("one", "a", memory=True)
    entry = desk.seat(backend)
    backend.loaded_answer = (LoadedModel(card=A),)
    await desk.ask(entry)
    backend.loaded_answer = answer
    await desk.ask(entry)
    assert (entry.loaded, entry.loaded_cards, entry.state) == (None, (), State.HEALTHY)
    assert entry.asking is not None and entry.asking.exception() is None


async def test_memory_that_does_not_answer_holds_up_nobody() -> None:
    desk, backend = Desk(), Plain("one", "a", memory=True)
    entry = desk.seat(backend, check_timeout=0.02)
    backend.loaded_answer = never()
    await desk.ask(entry)
    assert (entry.loaded, entry.state) == (None, State.HEALTHY)


async def test_one_without_a_memory_is_not_asked_for_it() -> None:
    desk, backend = Desk(), Plain("one", "a")
    await desk.ask(desk.seat(backend))
    assert backend.asked == ["list"]


# ---- pauses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "pauses"),
    [
        (5.0, [5, 5, 10, 20, 40, 60, 60]),
        (1.0, [1, 1, 2, 4, 8, 12, 12]),
        (30.0, [30, 30, 60, 60, 60, 60]),
        (120.0, [120, 120, 120, 120]),
    ],
)
@pytest.mark.parametrize("state", [State.UNHEALTHY, State.CONFIG_ERROR])
def test_one_that_answers_and_is_not_well_is_asked_less_and_less(
    interval: float, pauses: list[float], state: State
) -> None:
    entry = Desk().seat(Plain("one"), check_interval=interval)
    entry.state = state
    found = []
    for failures in range(1, len(pauses) + 1):
        entry.failures = failures
        found.append(pause_of(entry, 0.0))
    assert found == pauses


def test_one_that_wants_to_be_left_alone_is_asked_when_that_is_over() -> None:
    entry = Desk().seat(Plain("one"), check_interval=5.0)
    entry.state, entry.cooling_until = State.RATE_LIMITED, 130.0
    assert [pause_of(entry, now) for now in (100.0, 124.0, 126.0, 140.0)] == [30.0, 6.0, 5.0, 5.0]


@pytest.mark.parametrize("state", [State.UNKNOWN, State.HEALTHY, State.BUSY, State.OFFLINE])
def test_the_others_are_asked_at_their_interval(state: State) -> None:
    entry = Desk().seat(Plain("one"), check_interval=7.0)
    entry.state = state
    for entry.failures in (0, 1, 100):
        assert pause_of(entry, 0.0) == 7.0


def test_one_that_an_attempt_has_shown_to_be_unwell_is_asked_at_its_interval() -> None:
    entry = Desk().seat(Plain("one"), check_interval=7.0)
    entry.state, entry.failures = State.UNHEALTHY, 0
    assert pause_of(entry, 0.0) == 7.0
    assert list(BACK_OFF) == sorted(BACK_OFF)


# ---- keeping -------------------------------------------------------------------------------------------------------


async def test_who_is_kept_is_asked_again_and_again_whatever_it_answers() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, check_interval=0.005)
    for answer in (
        (A,),
        REFUSED,
        ZeroDivisionError("a fault"),
        BackendOverloaded("slow", status=429, retry_after=0.0),
        (A, B),
    ):
        backend.list_answer = answer
        count = len(backend.asked)
        desk.checks.keep(entry)
        entry.failures = 0  # no back-off for this test
        await eventually(lambda count=count: len(backend.asked) > count + 1)  # type: ignore[misc]
    assert (entry.state, [card.id for card in entry.cards]) == (State.HEALTHY, ["a", "b"])
    await desk.checks.close(desk.entries)


async def test_the_next_check_is_foretold() -> None:
    desk = Desk()
    entry = desk.seat(Plain("one"), check_interval=30.0)
    assert entry.next_check_at is None
    desk.checks.keep(entry)
    await settled()
    assert entry.next_check_at == 1_000_130.0
    await desk.checks.close(desk.entries)


async def test_without_an_interval_nobody_is_kept() -> None:
    desk, backend = Desk(), Plain("one")
    entry = desk.seat(backend)
    desk.checks.keep(entry)
    await settled()
    assert (entry.next_check_at, backend.asked) == (None, [])
    await desk.checks.close(desk.entries)


async def test_the_list_comes_at_its_own_interval() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, check_interval=0.004, models_interval=60.0)
    await desk.ask(entry)
    desk.checks.keep(entry)
    await eventually(lambda: backend.asked.count("check") > 4)
    assert backend.asked.count("list") == 1
    desk.clock.now += 60
    await eventually(lambda: backend.asked.count("list") == 2)
    checks = backend.asked.count("check")
    await eventually(lambda: backend.asked.count("check") > checks + 2)
    assert backend.asked.count("list") == 2
    await desk.checks.close(desk.entries)


async def test_one_that_is_dropped_is_asked_no_more() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend, check_interval=0.005)
    desk.checks.keep(entry)
    await eventually(lambda: len(backend.asked) > 1)
    desk.checks.drop(entry)
    await settled()
    count = len(backend.asked)
    await asyncio.sleep(0.03)
    assert len(backend.asked) == count


async def test_who_asks_one_that_was_dropped_in_the_middle_of_a_question_gets_an_answer() -> None:
    """A reload changes what is said of a backend while it is asked: the question of before is nobody's answer."""
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    await desk.ask(entry)
    backend.list_answer = never()
    old = desk.checks.ask(entry)
    await settled()
    desk.checks.drop(entry)
    backend.offers("a", "b")
    await desk.ask(entry)
    assert (old.cancelled(), [card.id for card in entry.cards]) == (True, ["a", "b"])


async def test_one_that_was_dropped_before_its_question_began() -> None:
    desk, backend = Desk(), Plain("one", "a")
    entry = desk.seat(backend)
    desk.checks.ask(entry)
    desk.checks.drop(entry)
    await settled()
    assert (backend.asked, entry.check_at) == ([], None)
    await desk.ask(entry)
    await desk.ask(entry, models=False)
    assert backend.asked == ["list", "check"]


async def test_at_the_end_nothing_is_asked() -> None:
    desk, backend, other = Desk(), Plain("one", "a"), Plain("two")
    kept, waiting = desk.seat(backend, check_interval=60.0), desk.seat(other)
    desk.checks.keep(kept)
    other.list_answer = never()
    question = desk.checks.ask(waiting)
    await settled()
    async with asyncio.timeout(5):
        await desk.checks.close(desk.entries)
    assert (question.cancelled(), waiting.is_asked) == (True, False)
    assert len(asyncio.all_tasks()) == 1
