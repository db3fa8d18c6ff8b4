"""Parameters: what was asked, and what is told to somebody who asked for nonsense."""

import pytest

from arriero.errors import BadRequest
from arriero.server.olla.asked import flag, parameters, word
from support.lanes import inbound


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", {}),
        (b"a=1&b=two%20words&c=x+y", {"a": "1", "b": "two words", "c": "x y"}),
        (b"a=1&a=2", {"a": "1"}),
        (b"a=&b", {}),
        (b"a=%20%20", {}),
        (b"name=%C3%A9t%C3%A9", {"name": "été"}),
        (b"\xff=\xff&&=&%", {"ÿ": "ÿ"}),
    ],
)
def test_parameters_are_read_as_they_come(query: bytes, found: dict[str, str]) -> None:
    assert parameters(inbound("GET", "/", query=query)) == found


def test_a_word_of_a_closed_set_is_read_without_regard_to_case() -> None:
    assert word({"format": "OpenAI"}, "format", ("unified", "openai")) == "openai"
    assert word({}, "format", ("unified", "openai")) is None


def test_another_word_is_refused_with_all_that_are_allowed() -> None:
    with pytest.raises(BadRequest, match=r"^format=xml is not understood: format may be unified, openai$"):
        word({"format": "xml"}, "format", ("unified", "openai"))


@pytest.mark.parametrize(
    ("value", "means"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False), ("no", False)]
)
def test_yes_and_no_have_several_spellings(value: str, means: bool) -> None:
    assert flag({"available": value}, "available") is means


def test_a_flag_that_is_neither_is_refused() -> None:
    assert flag({}, "available") is None
    with pytest.raises(BadRequest, match=r"^available=maybe is not understood: available may be true or false$"):
        flag({"available": "maybe"}, "available")
