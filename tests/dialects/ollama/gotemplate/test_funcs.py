"""The functions of templates."""

from collections.abc import Sequence

import pytest

from arriero.dialects.ollama.gotemplate.funcs import Misused, call, joined, type_script
from arriero.dialects.ollama.gotemplate.values import Record

TODAY = "2026-03-01"
ITEMS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("not", [""], True),
        ("eq", [1, 2, 1], True),
        ("eq", ["a", "b"], False),
        ("ne", ["a", "b"], True),
        ("lt", [1, 2], True),
        ("le", [2, 2], True),
        ("gt", [1, 2], False),
        ("ge", ["b", "a"], True),
        ("len", ["é"], 2),
        ("len", [ITEMS], 3),
        ("len", [{"a": 1}], 1),
        ("index", [ITEMS, 1], "b"),
        ("index", [{"a": ITEMS}, "a", 2], "c"),
        ("index", [{"a": 1}, "b"], None),
        ("index", ["a", 0], 97),
        ("index", [ITEMS], ITEMS),
        ("slice", [ITEMS, 1], ["b", "c"]),
        ("slice", [ITEMS, 1, 2], ["b"]),
        ("slice", [ITEMS, 0, 1, 2], ["a"]),
        ("slice", ["abc", 1, 3], "bc"),
        ("slice", [ITEMS], ITEMS),
        ("print", [1, 2, "a", "b", 3, None], "1 2ab3 <nil>"),
        ("println", ["a", 1], "a 1\n"),
        ("printf", ["%s-%d-%v-%q-%t-%%", "a", 7, 1.5, 'x"', True], 'a-7-1.5-"x\\""-true-%'),
        (
            "printf",
            ["%5d|%-5s|%05d|%+d|%.2f|%x|%X|%c", 7, "a", 7, 7, 1.234, 255, "é", 233],
            "    7|a    |00007|+7|1.23|ff|C3A9|é",
        ),
        ("printf", ["%s %d %d", 1, "a"], "%!s(int=1) %!d(string=a) %!d(MISSING)"),
        ("printf", ["x", 1, "a"], "x%!(EXTRA int=1, string=a)"),
        ("printf", ["%"], "%!(NOVERB)"),
        ("printf", ["%d", None], "%!d(<nil>)"),
        ("html", ["<a href='x'>\"&\0"], "&lt;a href=&#39;x&#39;&gt;&#34;&amp;\ufffd"),
        ("js", ["'<\n=&\""], "\\'\\u003C\\u000A\\u003D\\u0026\\\""),
        ("urlquery", ["a b/é~"], "a+b%2F%C3%A9~"),
        ("json", [{"b": 1, "a": "<"}], '{"b":1,"a":"\\u003c"}'),
        ("currentDate", ["2006-01-02"], TODAY),
        ("yesterdayDate", [], "2026-02-28"),
        ("toTypeScriptType", [{"type": "integer"}], "number"),
    ],
)
def test_answers(name: str, arguments: Sequence[object], answer: object) -> None:
    assert call(name, arguments, TODAY) == answer


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("not", [], "wrong number of args for not: want 1 got 0"),
        ("ne", [1, 2, 3], "wrong number of args for ne: want 2 got 3"),
        ("eq", [], "wrong number of args for eq: want at least 1 got 0"),
        ("eq", [1], "error calling eq: missing argument for comparison"),
        ("eq", [1, "a"], "error calling eq: incompatible types for comparison"),
        ("lt", [True, False], "error calling lt: incompatible types for comparison"),
        ("len", [5], "error calling len: len of type int"),
        ("len", [None], "error calling len: len of nil pointer"),
        ("index", [None, 1], "error calling index: index of untyped nil"),
        ("index", [ITEMS, 3], "error calling index: index out of range: 3"),
        ("index", [ITEMS, -1], "error calling index: index out of range: -1"),
        ("index", [ITEMS, "a"], "error calling index: cannot index slice/array with type string"),
        ("index", [{}, 1], "error calling index: value has type int; should be string"),
        ("index", [1, 1], "error calling index: can't index item of type int"),
        ("index", [Record("api.Tool", {}, {}), "A"], "error calling index: can't index item of type api.Tool"),
        ("slice", [None], "error calling slice: slice of untyped nil"),
        ("slice", [{}, 1], "error calling slice: can't slice item of type map[string]interface {}"),
        ("slice", [ITEMS, 4], "error calling slice: index out of range: 4"),
        ("slice", [ITEMS, 2, 1], "error calling slice: invalid slice index: 2 > 1"),
        ("slice", ["abc", 0, 1, 2], "error calling slice: cannot 3-index slice a string"),
        ("printf", [1], "error calling printf: wrong type for value; expected string; got int"),
        ("printf", ["%999999999d", 1], "error calling printf: the width 999999 is more than 1000"),
    ],
)
def test_misuse(name: str, arguments: Sequence[object], message: str) -> None:
    with pytest.raises(Misused) as caught:
        call(name, arguments, TODAY)
    assert str(caught.value) == message


def test_a_day_that_is_none() -> None:
    with pytest.raises(Misused):
        call("yesterdayDate", [], "today")


def test_a_space_stands_between_two_that_are_no_texts() -> None:
    assert joined([1, True, "a", "b", 2.5, None]) == "1 trueab2.5 <nil>"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "array"}, "any[]"),
        ({"type": "object"}, "Record<string, any>"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "other"}]}, "number | any"),
        ({}, "any"),
        ({"type": []}, "any"),
        ({"type": 1}, "any"),
        (None, "any"),
    ],
)
def test_types_of_properties(schema: object, kind: str) -> None:
    assert type_script(schema) == kind
