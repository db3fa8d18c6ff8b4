"""Requests that take and release models at given times, and what is in memory then."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.scripted.memory import KEEP_ALIVE_SECONDS, Memory, read_keep_alive


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_model_stays_for_its_keep_alive_after_the_last_request() -> None:
    clock = Clock()
    memory = Memory(clock)
    assert memory.take("a", 10, 0) == 0
    clock.now += 60
    assert memory.loaded() == (("a", 1070),)  # in use
    memory.release("a")
    clock.now += 9
    assert memory.loaded() == (("a", 1070),)
    clock.now += 1
    assert memory.loaded() == ()


@pytest.mark.parametrize(("keep_alive", "end"), [(None, 1000 + KEEP_ALIVE_SECONDS), (7, 1007), (inf, inf)])
def test_what_the_last_request_said_counts(keep_alive: float | None, end: float) -> None:
    memory = Memory(Clock())
    memory.take("a", 10, 0)
    memory.take("a", keep_alive, 0)
    assert memory.loaded() == (("a", end),)


def test_no_keep_alive_is_the_end_with_the_request() -> None:
    memory = Memory(Clock())
    memory.take("a", 0, 0)
    memory.take("a", 0, 0)
    memory.release("a")
    assert memory.loaded() == (("a", 1000),)
    memory.release("a")
    assert memory.loaded() == ()


def test_unloading_waits_for_those_who_use_it() -> None:
    memory = Memory(Clock())
    memory.take("a", None, 0)
    memory.unload("a")
    assert memory.loaded() == (("a", 1000),)
    memory.release("a")
    assert memory.loaded() == ()
    memory.keep("a")
    memory.unload("a")
    memory.unload("b")
    assert memory.loaded() == ()


def test_a_cold_start_delays_all_who_come_while_it_lasts() -> None:
    clock = Clock()
    memory = Memory(clock)
    assert memory.take("a", 5, 3) == 3
    clock.now += 1
    assert memory.take("a", 5, 3) == 2
    assert memory.loaded() == ()
    memory.release("a")
    memory.release("a")  # both have left: it is loaded all the same
    clock.now += 2
    assert memory.loaded() == (("a", 1008),)
    assert memory.take("a", 5, 3) == 0
    memory.release("a")
    clock.now += 5
    assert memory.take("a", 5, 3) == 3


def test_what_is_kept_forgotten_and_never_taken() -> None:
    memory = Memory(Clock())
    memory.keep("a")
    memory.keep("b")
    assert memory.loaded() == (("a", inf), ("b", inf))
    assert memory.take("a", None, 9) == 0
    assert memory.loaded() == (("b", inf), ("a", 1300))
    memory.forget("a")
    memory.release("a")
    memory.release("b")
    assert memory.loaded() == (("b", inf),)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0),
        (1.5, 1.5),
        (-1, inf),
        (10**400, inf),
        (inf, inf),
        ("0", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("-1m", inf),
        ("+2s", 2),
    ],
)
def test_keep_alive(given: Any, seconds: float | None) -> None:
    assert read_keep_alive(given) == seconds


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("-1", 'time: missing unit in duration "-1"'),
        ("soon", 'time: invalid duration "soon"'),
        ("", 'time: invalid duration ""'),
        (True, "Unsupported type: 'bool'"),
        ([5], "Unsupported type for keep_alive"),
    ],
)
def test_what_is_no_keep_alive(given: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_keep_alive(given)
    assert str(raised.value) == message


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    assert read_keep_alive(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds
