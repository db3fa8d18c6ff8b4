"""Go's own texts."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.dialects.ollama import golang


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("x", '"x"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("é模", '"é模"'),
        ("\u2028", r'"\u2028"'),
        ("<|end|>", '"<|end|>"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    assert golang.quote(text) == quoted


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5m", 300_000_000_000),
        ("5m0s", 300_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("300ms", 300_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("-1m", -60_000_000_000),
        ("+2us", 2_000),
        ("2µs", 2_000),
        ("7ns", 7),
    ],
)
def test_a_duration(text: str, nanoseconds: int) -> None:
    assert golang.duration_ns(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", 'time: missing unit in duration "-1"'),
        ("300", 'time: missing unit in duration "300"'),
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("abc", 'time: invalid duration "abc"'),
        ("1s.", 'time: invalid duration "1s."'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
    ],
)
def test_not_a_duration(text: str, message: str) -> None:
    with pytest.raises(golang.BadDuration) as caught:
        golang.duration_ns(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "read"),
    [("", ""), ("aGk=", "aGk="), ("aG\r\nk=\n", "aGk="), ("aGVs\nbG8=", "aGVsbG8="), ("aG==\n", "aG==")],
)
def test_base64_may_be_wrapped(text: str, read: str) -> None:
    assert golang.standard_base64(text) == read


@pytest.mark.parametrize(
    ("text", "byte"),
    [
        ("data:image/png;base64,aGk=", 4),
        ("aGk", 0),
        ("aGVsbG8", 4),
        ("a-_=", 1),
        ("aGk=aGk=", 4),
        ("a===", 1),
        ("aG=", 3),
        ("aG=x", 2),
        ("é", 0),
        ("\n\nx-", 3),
    ],
)
def test_base64_that_is_none_names_the_byte(text: str, byte: int) -> None:
    with pytest.raises(golang.BadBase64) as caught:
        golang.standard_base64(text)
    assert str(caught.value) == f"illegal base64 data at input byte {byte}"


@given(st.binary())
def test_all_base64_is_read(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert golang.standard_base64(text) == text
    assert golang.standard_base64(base64.encodebytes(data).decode()) == text


@pytest.mark.parametrize(
    ("value", "json", "printed"),
    [
        (0.0, "0", "0"),
        (1.0, "1", "1"),
        (0.1, "0.1", "0.1"),
        (0.10000000149011612, "0.10000000149011612", "0.10000000149011612"),
        (1e-06, "0.000001", "1e-06"),
        (1e-07, "1e-07", "1e-07"),
        (1048576.0, "1048576", "1.048576e+06"),
        (1e6, "1000000", "1e+06"),
        (262144.0, "262144", "262144"),
        (0.0001, "0.0001", "0.0001"),
        (1e21, "1e+21", "1e+21"),
        (-1.5e7, "-15000000", "-1.5e+07"),
    ],
)
def test_floats(value: float, json: str, printed: str) -> None:
    assert (golang.json_float(value), golang.print_float(value)) == (json, printed)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back(value: float) -> None:
    assert float(golang.json_float(value)) == value
    assert float(golang.print_float(value)) == value


def test_times() -> None:
    assert golang.second_prefix(1_787_338_102) == "2026-08-21T18:48:22"
    assert [golang.fraction(n) for n in (0, 1, 123_000_000, 123_456_789)] == ["", ".000000001", ".123", ".123456789"]
