"""The head of an answer: its fields, and when its sender wants to be asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.http.call import MOST_SECONDS, Head


def test_the_first_field_of_a_name_is_found() -> None:
    head = Head(200, ((b"via", b"a"), (b"x", b"1"), (b"via", b"b")))
    assert [head.get(b"via"), head.get(b"x"), head.get(b"y")] == [b"a", b"1", None]


NOON = b"Mon, 01 Jan 2024 12:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "date", "seconds"),
    [
        (b"0", None, 0.0),
        (b"7", None, 7.0),
        (b"0120", None, 120.0),
        (b"9" * 400, None, MOST_SECONDS),
        (b"Mon, 01 Jan 2024 12:02:00 GMT", NOON, 120.0),
        (b"Mon, 01 Jan 2024 14:02:00 +0200", NOON, 120.0),
        (b"Mon, 01 Jan 2024 12:02:00 -0000", NOON, 120.0),
        (b"Monday, 01-Jan-24 12:02:00 GMT", NOON, 120.0),
        (b"Mon, 01 Jan 2024 11:00:00 GMT", NOON, 0.0),  # it is over
        (b"Fri, 31 Dec 9999 23:59:59 GMT", NOON, MOST_SECONDS),
        (b"Mon, 01 Jan 2024 12:02:00 GMT", None, None),  # by whose clock?
        (b"Mon, 01 Jan 2024 12:02:00 GMT", b"noon", None),
        (b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT", NOON, None),
        (b"Mon, 01 Jan 2024 12:02:00 +99999999999999999999", NOON, None),
        (b"Mon, 31 Feb 2024 12:02:00 GMT", NOON, None),
        (b"1.5", None, 1.5),
        (b"1.5.0", None, None),
        (b".5", None, None),
        (b"-7", None, None),
        (b"7 seconds", None, None),
        (b"soon", NOON, None),
        (b"\xb2", None, None),
        (b"", None, None),
    ],
)
def test_when_the_sender_wants_to_be_asked_again(told: bytes, date: bytes | None, seconds: float | None) -> None:
    fields = ((b"retry-after", told),) if date is None else ((b"date", date), (b"retry-after", told))
    assert Head(429, fields).retry_after_s == seconds


def test_it_does_not_say() -> None:
    assert Head(429, ((b"date", NOON),)).retry_after_s is None


MOMENTS = st.sampled_from(
    [b"Mon, ", b"01 ", b"Jan ", b"2024 ", b"12:00:00 ", b"GMT", b"+0200", b"99999999999", b"-", b":"]
)


@given(
    st.binary(max_size=40) | st.lists(MOMENTS, max_size=9).map(b"".join),
    st.binary(max_size=40) | st.just(NOON) | st.lists(MOMENTS, max_size=9).map(b"".join),
)
def test_whatever_is_said_it_is_a_number_or_nothing(told: bytes, date: bytes) -> None:
    seconds = Head(429, ((b"date", date), (b"retry-after", told))).retry_after_s
    assert seconds is None or 0.0 <= seconds <= MOST_SECONDS
