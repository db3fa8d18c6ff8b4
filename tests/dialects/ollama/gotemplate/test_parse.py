"""The grammar, and Go's words for its faults."""

import pytest

from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.nodes import (
    Action,
    Call,
    Command,
    Field,
    Function,
    If,
    Literal,
    Pipe,
    Range,
    Text,
    Variable,
)
from arriero.dialects.ollama.gotemplate.parse import parse


def test_a_condition() -> None:
    assert parse("{{if .A}}x{{else if eq $.B 1}}y{{end}}").root == (
        If(
            Pipe((Command((Field(("A",), 5),), 5),), 5),
            (Text("x", 9),),
            (
                If(
                    Pipe((Command((Function("eq", 20), Variable("$", ("B",), 24), Literal(1, "1", 27)), 20),), 20),
                    (Text("y", 30),),
                    (),
                    17,
                ),
            ),
            2,
        ),
    )


def test_a_loop_and_its_variables() -> None:
    (loop,) = parse("{{range $i, $m := .A}}{{$i}}{{break}}{{else}}{{end}}").root
    assert isinstance(loop, Range)
    assert (loop.pipe.names, loop.pipe.assigns) == (("$i", "$m"), False)
    assert [type(node).__name__ for node in loop.body] == ["Action", "Break"]


def test_templates_in_a_template() -> None:
    tree = parse('{{define "a"}}A{{end}}{{template "a" .}}{{block "b" .X}}B{{end}}{{template `c`}}')
    assert dict(tree.defined) == {"a": (Text("A", 14),), "b": (Text("B", 56),)}
    calls = [(node.name, node.pipe is None) for node in tree.root if isinstance(node, Call)]
    assert calls == [("a", False), ("b", False), ("c", True)]


def test_an_empty_definition_gives_way() -> None:
    assert dict(parse('{{define "a"}} {{end}}{{define "a"}}A{{end}}{{define "a"}}{{end}}').defined) == {
        "a": (Text("A", 36),)
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("+7", 7),
        ("017", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("0o17", 15),
        ("1_000", 1000),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("0x1p4", 16.0),
        ("'a'", 97),
        (r"'\n'", 10),
        (r"'\''", 39),
        ("true", True),
        ('"a\\n\\t\\"\\\\\\x41\\u00e9\\101"', 'a\n\t"\\A\u00e9A'),
        ("`a\\n`", "a\\n"),
    ],
)
def test_constants(written: str, value: object) -> None:
    (action,) = parse(f"{{{{ {written} }}}}").root
    assert isinstance(action, Action)
    (literal,) = action.pipe.commands[0].words
    assert isinstance(literal, Literal)
    assert (literal.value, type(literal.value), literal.source) == (value, type(value), written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ }}", ":1: missing value for command"),
        ("{{ if }}{{ end }}", ":1: missing value for if"),
        ("{{ if .A }}", ":1: unexpected EOF"),
        ("a\n{{ end }}", ":2: unexpected {{end}}"),
        ("{{ else }}", ":1: unexpected {{else}}"),
        ("{{ if .A }}{{ else }}{{ else }}{{ end }}", ":1: expected end; found {{else}}"),
        ("{{ if .A }}{{ end x }}", ':1: unexpected "x" in end'),
        ("{{ nothing }}", ':1: function "nothing" not defined'),
        ("{{ $x }}", ':1: undefined variable "$x"'),
        ("{{ $x = 1 }}", ':1: undefined variable "$x"'),
        ("{{ if $x := 1 }}{{ end }}{{ $x }}", ':1: undefined variable "$x"'),
        ('{{ $x := 1 }}{{ define "a" }}{{ $x }}{{ end }}', ':1: undefined variable "$x"'),
        ("{{ $x, $y := .A }}", ":1: too many declarations in command"),
        ("{{ range $x, 1 := .A }}{{ end }}", ":1: range can only initialize variables"),
        ("{{ range $x, $y, $z := .A }}{{ end }}", ":1: too many declarations in range"),
        ("{{ break }}", ":1: {{break}} outside {{range}}"),
        ("{{ range .A }}{{ end }}{{ continue }}", ":1: {{continue}} outside {{range}}"),
        ("{{ (.A }}", ":1: unclosed left paren"),
        ("{{ .A) }}", ':1: unexpected ")" in command'),
        ("{{ { .A }}", ':1: unexpected "{" in command'),
        ("{{ .A.B. }}", ":1: unexpected <.> in operand"),
        ("{{ 08 }}", ':1: illegal number syntax: "08"'),
        ("{{ end }}{{ :x }}", ":1: unexpected {{end}}"),
        ("{{ :x }}", ":1: expected :="),
        ("{{ .A | 1 }}", ":1: non executable command in pipeline stage 2"),
        ("{{ | .A }}", ':1: unexpected "|" in command'),
        ("{{ 1.A }}", ':1: bad number syntax: "1.A"'),
        ('{{ "a".B }}', ':1: unexpected . after term "\\"a\\""'),
        ("{{ 1x }}", ':1: bad number syntax: "1x"'),
        ("{{ 1e999 }}", ':1: illegal number syntax: "1e999"'),
        ("{{ 99999999999999999999 }}", ':1: integer overflow: "99999999999999999999"'),
        ("{{ 'ab' }}", ":1: malformed character constant: 'ab'"),
        ('{{ "\\q" }}', ":1: invalid syntax"),
        ('{{ "\\ud800" }}', ":1: invalid syntax"),
        ("{{ template .A }}", ':1: unexpected ".A" in template clause'),
        ('{{ if .A }}{{ define "a" }}{{ end }}{{ end }}', ":1: unexpected {{define}}"),
        ('{{ define "a" }}A{{ else }}{{ end }}', ":1: unexpected {{else}} in define clause"),
        ('{{ define "a" }}A{{ end }}{{ define "a" }}B{{ end }}', ':1: template: multiple definition of template "a"'),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text)
    assert caught.value.message == f"template: {message}"


@pytest.mark.parametrize(
    "text", ["{{if 1}}" * 8000, "{{" + "(" * 10000 + "1" + ")" * 10000 + "}}", "{{if 1}}" + "{{else if 1}}" * 6000]
)
def test_nesting_has_an_end(text: str) -> None:
    with pytest.raises(TemplateError, match="nested deeper than 100 levels"):
        parse(text)
