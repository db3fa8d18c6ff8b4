import asyncio

import pytest

from arriero.backends.http.call import Timeouts
from arriero.backends.http.sweep import LONGEST_TICK, Phase, Sweep, tick_for


class Answer:
    """A watched answer that stands in one phase and writes down its end."""

    def __init__(self, sweep: "Sweep[Socket]", phase: Phase, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.started = self.since = 0.0
        self.touched = False
        self.now_in = phase
        self.expiries: list[str] = []
        self._sweep = sweep
        sweep.watch(self, tick_for(timeouts))

    def phase(self) -> Phase:
        return self.now_in

    def expire(self, what: str) -> None:
        self.expiries.append(what)
        self._sweep.forget(self)


class Socket:
    def __init__(self, parked_at: float) -> None:
        self.parked_at = parked_at
        self.closed = False

    def close(self) -> None:
        self.closed = True


SHORT = Timeouts(first_byte=10, idle=4, total=None)


@pytest.mark.parametrize(
    ("phase", "limit", "what"),
    [
        (Phase.WAITING, 10, "did not begin its answer within 10 s"),
        (Phase.ANSWERING, 4, "sent nothing for 4 s"),
        (Phase.SENDING, 4, "took nothing of the request for 4 s"),
    ],
)
async def test_each_phase_has_its_deadline(phase: Phase, limit: float, what: str) -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)
    answer = Answer(sweep, phase, SHORT)
    sweep.check(limit - 0.1)
    assert answer.expiries == []
    sweep.check(limit)
    assert answer.expiries == [what]
    assert sweep.open == set()
    sweep.stop()


async def test_a_sign_of_life_begins_the_time_anew() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)
    answer = Answer(sweep, Phase.ANSWERING, SHORT)
    answer.touched = True
    sweep.check(3.0)
    sweep.check(6.9)
    assert answer.expiries == []
    sweep.check(7.0)
    assert answer.expiries == ["sent nothing for 4 s"]
    sweep.stop()


async def test_while_it_is_held_only_the_total_runs() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)
    answer = Answer(sweep, Phase.HELD, Timeouts(first_byte=1, idle=1, total=100))
    sweep.check(99.0)
    assert answer.expiries == []
    answer.now_in = Phase.ANSWERING
    sweep.check(99.9)
    assert answer.expiries == []
    sweep.check(100.0)
    assert answer.expiries == ["did not finish its answer within 100 s"]
    sweep.stop()


async def test_none_is_no_limit() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)
    unlimited = Timeouts(connect=None, first_byte=None, idle=None, total=None)
    answers = [Answer(sweep, phase, unlimited) for phase in Phase]
    sweep.check(1e9)
    assert [answer.expiries for answer in answers] == [[], [], [], []]
    sweep.stop()


async def test_an_answer_that_another_expiry_ended_is_left_alone() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)

    class Both(Answer):
        def expire(self, what: str) -> None:
            super().expire(what)
            sweep.open.clear()

    answers = [Both(sweep, Phase.ANSWERING, SHORT) for _ in range(2)]
    sweep.check(5.0)
    assert sorted(len(answer.expiries) for answer in answers) == [0, 1]
    sweep.stop()


async def test_what_is_parked_too_long_is_closed_from_the_oldest_on() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60)
    sockets = [Socket(0.0), Socket(10.0), Socket(30.0)]
    sweep.parked.extend(sockets)
    sweep.check(75.0)
    assert [socket.closed for socket in sockets] == [True, True, False]
    assert sweep.parked == sockets[2:]


@pytest.mark.parametrize(
    ("timeouts", "tick"),
    [
        (Timeouts(), LONGEST_TICK),
        (Timeouts(first_byte=None, idle=None), LONGEST_TICK),
        (Timeouts(idle=0.5), 0.25),
        (Timeouts(idle=0.5, total=0.1), 0.05),
        (Timeouts(total=0.0), 0.005),
    ],
)
def test_the_tick_sees_the_smallest_timeout_in_time(timeouts: Timeouts, tick: float) -> None:
    assert tick_for(timeouts) == tick


async def test_it_ticks_while_something_is_watched_and_then_stops() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=60, clock=lambda: 5.0)
    assert not sweep.ticking
    slow = Answer(sweep, Phase.ANSWERING, Timeouts())
    # A smaller timeout does not wait for the running tick of a second.
    quick = Answer(sweep, Phase.WAITING, Timeouts(first_byte=0.02))
    async with asyncio.timeout(0.5):
        while not quick.expiries:  # noqa: ASYNC110 - the sweep has no event
            await asyncio.sleep(0.005)
    assert quick.expiries == ["did not begin its answer within 0.02 s"] and slow.expiries == []
    assert sweep.ticking
    sweep.forget(slow)
    sweep.stop()
    assert not sweep.ticking


async def test_an_expiry_that_raises_stops_no_other() -> None:
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context.get("exception")))
    sweep: Sweep[Socket] = Sweep(idle_seconds=60, clock=lambda: 5.0)
    fault = LookupError("a receiver's own")

    class Faulty(Answer):
        def expire(self, what: str) -> None:
            super().expire(what)
            raise fault

    answers = [Faulty(sweep, Phase.WAITING, Timeouts(first_byte=0.02)) for _ in range(3)]
    async with asyncio.timeout(0.5):
        while sweep.ticking:  # noqa: ASYNC110 - the sweep has no event
            await asyncio.sleep(0.005)
    assert [len(answer.expiries) for answer in answers] == [1, 1, 1]
    assert heard == [fault, fault, fault]


async def test_it_stops_by_itself_once_it_is_empty() -> None:
    sweep: Sweep[Socket] = Sweep(idle_seconds=0.02)
    sweep.forget(Answer(sweep, Phase.WAITING, Timeouts(first_byte=0.02)))
    socket = Socket(0.0)
    sweep.parked.append(socket)
    async with asyncio.timeout(0.5):
        while sweep.ticking:  # noqa: ASYNC110 - the sweep has no event
            await asyncio.sleep(0.005)
    assert socket.closed
