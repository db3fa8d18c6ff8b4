from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.config.values import (
    FOREVER,
    LEVELS,
    Address,
    HostPort,
    check_name,
    check_url,
    parse_keep_alive,
    parse_list,
    parse_listen,
    parse_ollama_host,
    parse_seconds,
    parse_seconds_within,
    parse_truth,
    parse_whole_within,
    read_level,
)


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [
        (5, 5),
        (0.5, 0.5),
        ("5", 5.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("-1", -1.0),
        ("-5m", -300.0),
        (" 10s ", 10.0),
        (None, None),
    ],
)
def test_seconds(given_value: object, seconds: object) -> None:
    assert parse_seconds(given_value) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m", "5 m", "fast", "1h-30m", "5m!"])
def test_not_seconds(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of seconds"):
        parse_seconds(text)


@pytest.mark.parametrize(("value", "expected"), [("-1", FOREVER), (-1, FOREVER), ("-5m", FOREVER), (0, 0), ("5m", 300)])
def test_a_negative_keep_alive_is_for_ever(value: object, expected: float) -> None:
    assert parse_keep_alive(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ('["a", "b,c"]', ["a", "b,c"]),
        ("[]", []),
        ("", []),
    ],
)
def test_lists(text: str, expected: list[str]) -> None:
    assert parse_list(text) == expected


@pytest.mark.parametrize("text", ["[a", "[1]", '["a", null]'])
def test_not_lists(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON list"):
        parse_list(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", HostPort("http", "", None)),
        ("1.2.3.4", HostPort("http", "1.2.3.4", None)),
        ("example.com", HostPort("http", "example.com", None)),
        ("example.com:56789", HostPort("http", "example.com", 56789)),
        (":56789", HostPort("http", "", 56789)),
        ("http://example.com", HostPort("http", "example.com", 80)),
        ("https://example.com", HostPort("https", "example.com", 443)),
        ("https://example.com:8443/base/", HostPort("https", "example.com", 8443, "/base/")),
        ("[::1]", HostPort("http", "::1", None)),
        ("::1", HostPort("http", "::1", None)),
        ("[::1]:1234", HostPort("http", "::1", 1234)),
        ("ollama.com", HostPort("https", "ollama.com", 443)),
        ("foo://h", HostPort("foo", "h", None)),
        (" '0.0.0.0:80' ", HostPort("http", "0.0.0.0", 80)),
        ("h:99999", HostPort("http", "h", None, "", True)),
        ("h:x", HostPort("http", "h", None, "", True)),
        ("http://h:-1", HostPort("http", "h", 80, "", True)),
    ],
)
def test_ollama_host(text: str, expected: HostPort) -> None:
    assert parse_ollama_host(text) == expected


@given(st.text())
def test_ollama_host_never_raises(text: str) -> None:
    assert isinstance(parse_ollama_host(text), HostPort)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0.0.0:80", Address("0.0.0.0", 80)), ("[::]:80", Address("::", 80)), (":80", Address("", 80))],
)
def test_listen(text: str, expected: Address) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["localhost", "http://localhost:80", "h:x", "h:1/path"])
def test_not_listen(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address of the form host:port"):
        parse_listen(text)


def test_a_url_loses_its_trailing_slash() -> None:
    assert check_url("http://h:1/v1/") == "http://h:1/v1"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("h:1", "starts with http"),
        ("ftp://h", "starts with http"),
        ("http://", "starts with http"),
        ("http://h:port", "is not a URL"),
        ("http://[h", "is not a URL"),
        ("http://user:marker@h", "must not hold a user name"),
        ("http://h?key=marker", "must not hold a query"),
    ],
)
def test_not_a_url(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        check_url(text)
    assert "marker" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "gpu-1", "a.b_c", "1"])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "ä", "a:b"])
def test_not_names(name: str) -> None:
    with pytest.raises(ValueError, match="may hold only"):
        check_name(name)


def test_a_parser_leaves_other_types_to_the_model() -> None:
    values: list[Any] = [True, [], {}]
    assert [parse_seconds(value) for value in values] == values


@pytest.mark.parametrize(("level", "spelling"), [(level, word) for level, words in LEVELS.items() for word in words])
def test_log_levels(level: str, spelling: str) -> None:
    assert (read_level(spelling), read_level(f" {spelling.upper()} ")) == (level, level)


def test_no_log_level() -> None:
    values: list[object] = ["loud", 5, None, ["debug"]]
    assert [read_level(value) for value in values] == values


@pytest.mark.parametrize(
    ("text", "truth"),
    [("true", True), ("YES", True), (" on ", True), ("1", True), ("False", False), ("no", False), ("0", False)],
)
def test_truth(text: str, truth: bool) -> None:
    assert parse_truth(text) is truth


@pytest.mark.parametrize("text", ["", "2", "maybe", "truee"])
def test_no_truth(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not true or false$"):
        parse_truth(text)


@pytest.mark.parametrize(("text", "number"), [("1", 1), (" 10 ", 10), ("007", 7)])
def test_whole_numbers_within(text: str, number: int) -> None:
    assert parse_whole_within(text, 1, 10) == number


@pytest.mark.parametrize("text", ["0", "11", "1.5", "-1", "x", "", "٣", "9" * 5000])
def test_whole_numbers_outside(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a whole number from 1 to 10$"):
        parse_whole_within(text, 1, 10)


def test_a_whole_number_without_an_upper_limit() -> None:
    assert parse_whole_within("1000000", 5) == 1000000
    with pytest.raises(ValueError, match=r"^is not a whole number of at least 5$"):
        parse_whole_within("4", 5)


@pytest.mark.parametrize(("text", "seconds"), [("1", 1.0), ("2.5", 2.5), ("1m", 60.0)])
def test_seconds_within(text: str, seconds: float) -> None:
    assert parse_seconds_within(text, 1, 60) == seconds


@pytest.mark.parametrize("text", ["0.5", "61", "1h", "x", "", "-1", "nan", "inf"])
def test_seconds_outside(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a number of seconds from 1 to 60$"):
        parse_seconds_within(text, 1, 60)


def test_seconds_without_an_upper_limit() -> None:
    assert parse_seconds_within("1h", 10) == 3600.0
    with pytest.raises(ValueError, match=r"^is not a number of seconds of at least 10$"):
        parse_seconds_within("9", 10)
