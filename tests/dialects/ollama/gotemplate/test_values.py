"""Go's truth, printing, JSON and order."""

import math

import pytest

from arriero.dialects.ollama.gotemplate.values import (
    JsonList,
    JsonMap,
    Names,
    Record,
    equal,
    kind_of,
    less,
    plain,
    show,
    sprint,
    to_json,
    truth,
)

STRUCT = Record("api.Thing", {"A": 1, "B": "x"}, {"b": "x", "a": 1})
PRINTING = Record("api.Thing", {"A": 1}, {"b": "<x>", "a": 1}, prints=True)


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", (), [], {}, JsonMap(), Names()])
def test_what_is_false(value: object) -> None:
    assert truth(value) is False


@pytest.mark.parametrize("value", [True, -1, 0.1, math.nan, " ", (0,), {"a": 0}, STRUCT, Record("api.Empty", {}, {})])
def test_what_is_true(value: object) -> None:
    assert truth(value) is True


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, "<nil>"),
        (True, "true"),
        (7, "7"),
        (2.5, "2.5"),
        (3.0, "3"),
        (1e21, "1e+21"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
        ("a<b", "a<b"),
        ((1, "a", None), "[1 a <nil>]"),
        ({"b": 1, "a": {"c": False}}, "map[a:map[c:false] b:1]"),
        (STRUCT, "{1 x}"),
        (PRINTING, '{"b":"\\u003cx\\u003e","a":1}'),
        (JsonMap(b=1, a=2), '{"b":1,"a":2}'),
        (JsonList((PRINTING,)), '[{"b":"\\u003cx\\u003e","a":1}]'),
        ((PRINTING,), '[{"b":"\\u003cx\\u003e","a":1}]'),
        (Names(("string",)), "string"),
        (Names(("string", "null")), "[string null]"),
    ],
)
def test_printing(value: object, printed: str) -> None:
    assert sprint(value) == printed


def test_nil_alone_is_no_value() -> None:
    assert (show(None), show((None,))) == ("<no value>", "[<nil>]")


def test_json_keeps_the_order_of_keys_and_escapes_for_pages() -> None:
    value = {
        "b": [1, 2.0, 1e21, None, True],
        "a": "é\u2028<&>\n",
        "n": Names(("x",)),
        "m": Names(("x", "y")),
        "s": STRUCT,
    }
    assert to_json(value) == (
        '{"b":[1,2,1e+21,null,true],"a":"é\\u2028\\u003c\\u0026\\u003e\\n","n":"x","m":["x","y"],"s":{"b":"x","a":1}}'
    )


def test_a_map_may_stand_for_another_value() -> None:
    properties = JsonMap(a=STRUCT)
    properties.value = {"z": 1}
    assert plain(properties) == {"z": 1}


@pytest.mark.parametrize(
    ("one", "other", "same", "before"),
    [
        (1, 1, True, False),
        (1, 1.5, False, True),
        ("a", "b", False, True),
        (True, True, True, None),
        (True, 1, None, None),
        ("1", 1, None, None),
        (None, None, True, None),
        (None, "", False, None),
        (Names(("string",)), "string", True, None),
        ("x", Names(("string",)), False, None),
        ((), (), None, None),
    ],
)
def test_comparison(one: object, other: object, same: bool | None, before: bool | None) -> None:
    assert (equal(one, other), less(one, other)) == (same, before)


def test_the_names_of_types() -> None:
    values: tuple[object, ...] = (None, True, 1, 1.5, "", STRUCT, {}, ())
    assert [kind_of(value) for value in values] == [
        "nil",
        "bool",
        "int",
        "float64",
        "string",
        "api.Thing",
        "map[string]interface {}",
        "[]interface {}",
    ]


def test_what_is_no_value_of_a_template() -> None:
    with pytest.raises(TypeError, match="no value of a template"):
        sprint(object())
