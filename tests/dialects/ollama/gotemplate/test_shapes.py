"""Shapes, tests and literals of the translation."""

import pytest

from arriero.dialects.ollama.gotemplate.shapes import (
    BOOL,
    FALSE,
    JSON,
    MESSAGE,
    NONE,
    NUMBER,
    TEXT,
    TRUE,
    Shape,
    Typed,
    boolean,
    negation,
    quoted,
    truth,
)


@pytest.mark.parametrize(
    ("value", "test"),
    [
        (Typed("x", TEXT), "x"),
        (Typed("x", JSON), "x"),
        (Typed("x", BOOL), "x"),
        (Typed("x", NUMBER), "(x != 0)"),
        (Typed("x", Shape("list", TEXT)), "(x|length > 0)"),
        (Typed("x", MESSAGE), "true"),
        (Typed("none", NONE), "false"),
        (Typed("''", TEXT, literal=""), "false"),
        (Typed("2", NUMBER, literal=2), "true"),
        (Typed("x", TEXT, "y"), "y"),
        (TRUE, "true"),
        (FALSE, "false"),
    ],
)
def test_truth(value: Typed, test: str) -> None:
    assert truth(value) == test


def test_tests() -> None:
    assert (boolean("true"), boolean("false"), boolean("x")) == (TRUE, FALSE, Typed("x", BOOL, "x"))
    assert (negation("true"), negation("false"), negation("x")) == ("false", "true", "(not x)")


def test_a_literal_escapes_only_what_llama_cpp_knows() -> None:
    assert quoted("a'\\\n\t\r\"{{ é\x01") == "'a\\'\\\\\\n\\t\\r\"{{ é\x01'"
