"""Template text to tokens."""

import pytest

from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.scan import Kind, scan


def tokens(text: str) -> list[tuple[str, str]]:
    """Kind and text of each token but spaces and the end."""
    return [(token.kind.name, token.text) for token in scan(text) if token.kind not in (Kind.SPACE, Kind.END)]


def texts(text: str) -> list[str]:
    return [token.text for token in scan(text) if token.kind is Kind.TEXT]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("plain } {", ["plain } {"]),
        ("a {{ 1 }} b", ["a ", " b"]),
        ("a {{- 1 -}} b", ["a", "b"]),
        ("a \n\t{{- 1 }} b", ["a", " b"]),
        ("a {{ 1   -}}\r\n b", ["a ", "b"]),
        ("a {{-1}} b", ["a ", " b"]),
        (" {{- 1 -}} {{- 2 -}} ", []),
        ("a {{/* } {{ */}} b", ["a ", " b"]),
        ("a {{- /* c */ -}} b", ["a", "b"]),
        ("{{ `}}` }}x", ["x"]),
    ],
)
def test_text_and_what_trims_it(text: str, found: list[str]) -> None:
    assert texts(text) == found


def test_what_stands_in_an_action() -> None:
    assert tokens("{{ $a, $b := .X.Y | printf \"%d\" (len `r`) 'c' -1.5e3 nil true . 0x_1F if }}") == [
        ("OPEN", "{{"),
        ("VARIABLE", "$a"),
        ("OTHER", ","),
        ("VARIABLE", "$b"),
        ("DECLARE", ":="),
        ("FIELD", ".X"),
        ("FIELD", ".Y"),
        ("PIPE", "|"),
        ("WORD", "printf"),
        ("STRING", '"%d"'),
        ("LEFT", "("),
        ("WORD", "len"),
        ("RAW", "`r`"),
        ("RIGHT", ")"),
        ("CHAR", "'c'"),
        ("NUMBER", "-1.5e3"),
        ("NIL", "nil"),
        ("BOOL", "true"),
        ("DOT", "."),
        ("NUMBER", "0x_1F"),
        ("KEYWORD", "if"),
        ("CLOSE", "}}"),
    ]


def test_offsets() -> None:
    assert [(token.text, token.at) for token in scan("ab {{- .X }}")] == [
        ("ab", 0),
        ("{{", 3),
        (".X", 7),
        (" ", 9),
        ("}}", 10),
        ("", 12),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{", "unclosed action"),
        ("\n{{ .X", "unclosed action"),
        ("{{/* }}", "unclosed comment"),
        ("{{/* */ }}", "comment ends before closing delimiter"),
        ('{{ "a }}', "unterminated quoted string"),
        ('{{ "a\n" }}', "unterminated quoted string"),
        ("{{ `a }}", "unterminated raw quoted string"),
        ("{{ 'a }}", "unterminated character constant"),
        ("{{ .X+1 }}", "bad character U+002B '+'"),
        ("{{ :x }}", "expected :="),
        ("{{ \x01 }}", "unrecognized character in action: U+0001"),
    ],
)
def test_what_cannot_be_read_is_the_last_token(text: str, message: str) -> None:
    fault = scan(text)[-1]
    assert (fault.kind, fault.text) == (Kind.FAULT, message)


def test_a_comment_begins_right_after_the_braces() -> None:
    assert ("OTHER", "/") in tokens("{{ /* c */ }}")


def test_limits() -> None:
    with pytest.raises(TemplateError, match="longer than 1048576 characters"):
        scan("x" * ((1 << 20) + 1))
    with pytest.raises(TemplateError, match="more than 50000 tokens"):
        scan("{{1}}" * 20_000)
