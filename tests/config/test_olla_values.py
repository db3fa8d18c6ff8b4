from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.config import olla_values
from arriero.config.olla_values import Reader

WORDS = {"priority": "p", "round-robin": "r"}


@pytest.mark.parametrize(
    ("reader", "given", "value"),
    [
        (olla_values.text, " a ", "a"),
        (olla_values.text, 5, "5"),
        (olla_values.text, True, "true"),
        (olla_values.texts, ["a", 5], ["a", "5"]),
        (olla_values.texts, "a, b,,c", ["a", "b", "c"]),
        (olla_values.texts, [], []),
        (olla_values.named_texts, {"A": "x", "B": 5}, {"A": "x", "B": "5"}),
        (olla_values.truth, True, True),
        (olla_values.truth, "T", True),
        (olla_values.truth, "0", False),
        (olla_values.truth, 1, True),
        (olla_values.whole, 0, 0),
        (olla_values.whole, " 12 ", 12),
        (olla_values.port, "40114", 40114),
        (olla_values.duration, "30s", 30.0),
        (olla_values.duration, "1h30m", 5400.0),
        (olla_values.duration, "250ms", 0.25),
        (olla_values.duration, "0s", 0.0),
        (olla_values.duration, 0, 0.0),
        (olla_values.duration, "0", 0.0),
        (olla_values.size, 52428800, 52428800),
        (olla_values.size, "52428800", 52428800),
        (olla_values.size, "100MB", 104857600),
        (olla_values.size, "50MiB", 52428800),
        (olla_values.size, "1.5 kb", 1536),
        (olla_values.size, "2g", 2147483648),
        (olla_values.with_zero(None, olla_values.duration), "0s", None),
        (olla_values.with_zero(None, olla_values.duration), "1s", 1.0),
        (olla_values.word(WORDS), "Round-Robin", "r"),
        (olla_values.words(WORDS), ["round-robin", "priority"], ["r", "p"]),
        (olla_values.anything, {"a": 1}, {"a": 1}),
    ],
)
def test_what_is_read(reader: Reader, given: Any, value: object) -> None:
    assert reader(given) == value


@pytest.mark.parametrize(
    ("reader", "given", "problem"),
    [
        (olla_values.text, [1], "is not a text"),
        (olla_values.texts, {"a": 1}, "is not a list of texts"),
        (olla_values.texts, 5, "is not a list of texts"),
        (olla_values.named_texts, ["a"], "is not a mapping of names to texts"),
        (olla_values.truth, "maybe", "is not true or false"),
        (olla_values.truth, 2, "is not true or false"),
        (olla_values.truth, 1.0, "is not true or false"),
        (olla_values.whole, True, "is not a whole number"),
        (olla_values.whole, "1.5", "is not a whole number"),
        (olla_values.whole, -1, "must be at least 0"),
        (olla_values.whole, "9" * 5000, "is not a whole number"),
        (olla_values.port, 0, "is not a port from 1 to 65535"),
        (olla_values.port, 65536, "is not a port from 1 to 65535"),
        (olla_values.duration, 30, "is not a duration such as 30s, 5m or 1h30m; the unit must be there"),
        (olla_values.duration, "30", "is not a duration such as 30s, 5m or 1h30m; the unit must be there"),
        (olla_values.duration, "soon", "is not a duration such as 30s, 5m or 1h30m; the unit must be there"),
        (olla_values.duration, True, "is not a duration such as 30s, 5m or 1h30m; the unit must be there"),
        (olla_values.duration, "-5s", "must not be negative"),
        (olla_values.size, "big", "is not a size such as 52428800, 100MB or 50MiB"),
        (olla_values.size, -1, "is not a size such as 52428800, 100MB or 50MiB"),
        (olla_values.word(WORDS), "round_robin", "is not one of priority, round-robin; did you mean round-robin?"),
        (olla_values.word(WORDS), "x", "is not one of priority, round-robin"),
        (olla_values.words(WORDS), ["priority", "x"], "is not one of priority, round-robin"),
    ],
)
def test_what_is_refused(reader: Reader, given: Any, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        reader(given)
    assert str(caught.value) == problem


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = SCALARS | st.lists(SCALARS) | st.dictionaries(st.text(), SCALARS)
READERS = [
    olla_values.text,
    olla_values.texts,
    olla_values.named_texts,
    olla_values.truth,
    olla_values.whole,
    olla_values.port,
    olla_values.duration,
    olla_values.size,
    olla_values.word(WORDS),
    olla_values.words(WORDS),
]


@given(st.sampled_from(READERS), VALUES)
def test_a_reader_answers_or_raises_a_value_error_that_does_not_repeat_the_value(reader: Reader, value: Any) -> None:
    marked = f"MARKER{value}" if isinstance(value, str) else value
    try:
        reader(marked)
    except ValueError as error:
        assert "MARKER" not in str(error)
