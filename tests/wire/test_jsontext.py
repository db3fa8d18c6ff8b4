"""JSON texts in ASCII, and float32 values in their shortest form."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from arriero.wire.jsontext import float32_list, float32_text, json_string, json_text

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


class Line(Struct):
    """A value as encoders write it: fields, and JSON that was there before."""

    content: str
    raw: Raw


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", b'"plain"'),
        ('"\\\n', rb'"\"\\\n"'),
        ("ñ", rb'"\u00f1"'),
        ("\u2028\u2029\u0085", rb'"\u2028\u2029\u0085"'),
        ("🦙", rb'"\ud83e\udd99"'),
        ("\ud83e", rb'"\ud83e"'),
    ],
)
def test_strings_are_ascii(text: str, written: bytes) -> None:
    assert json_string(text) == written
    assert json_text(text) == written
    assert json.loads(written) == text


def test_raw_json_keeps_its_numbers_and_key_order() -> None:
    assert json_text(Line("a", Raw(b'{"z":1.50,"a":1e2}'))) == b'{"content":"a","raw":{"z":1.50,"a":1e2}}'
    assert (
        json_text(Line("ñ", Raw('{"z":1.50,"ñ":1}'.encode()))) == rb'{"content":"\u00f1","raw":{"z":1.50,"\u00f1":1}}'
    )


def test_a_lone_surrogate_beside_raw_json() -> None:
    value = {"line": Line("\ud83e", Raw(b'{"z":1.50}')), "list": (1, None, True, "ñ")}
    assert json_text(value) == rb'{"line":{"content":"\ud83e","raw":{"z":1.50}},"list":[1,null,true,"\u00f1"]}'


def test_bytes_that_are_not_utf8_become_the_replacement_character() -> None:
    assert json_text({"raw": Raw(b'"\xff"')}) == rb'{"raw":"\ufffd"}'


@given(JSON)
def test_any_value_reads_back_and_is_ascii(value: object) -> None:
    written = json_text(value)
    assert written.isascii()
    assert json.loads(written) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1, "0.1"),
        (1 / 3, "0.33333334"),
        (16777216.0, "16777216"),
        (1e-6, "0.000001"),
        (9.5e-7, "9.5e-07"),
        (1e-45, "1e-45"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (3.4028234663852886e38, "3.4028235e+38"),
    ],
)
def test_float32_texts(value: float, text: str) -> None:
    assert float32_text(value) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_reads_back(value: float) -> None:
    text = float32_text(value)
    assert json.loads(text) is not None
    assert struct.pack("<f", float(text)) == struct.pack("<f", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e39])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"JSON has no|is not a float32"):
        float32_text(value)


def test_a_list_of_them() -> None:
    assert float32_list([0.5, -1, 0.1]) == b"[0.5,-1,0.1]"
    assert float32_list([]) == b"[]"
