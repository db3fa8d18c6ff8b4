"""Execution, as Go does it."""

import pytest

from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.parse import parse
from arriero.dialects.ollama.gotemplate.render import render
from arriero.dialects.ollama.gotemplate.values import JsonMap, Record

PROPERTY = Record("api.ToolProperty", {"Type": "x"}, {"type": "integer"})
VALUES = {
    "Text": "hi",
    "Empty": "",
    "Zero": 0,
    "Two": 2,
    "List": ("a", "b", "c"),
    "None": (),
    "Map": {"b": 2, "a": 1},
    "Struct": Record("api.Message", {"Role": "user"}, {"role": "user"}),
    "Call": JsonMap(b=1, a=2),
    "Property": PROPERTY,
}

TWO = "can't use a number to iterate over with more than one variable"
DOUBLING = "".join(
    f'{{{{define "{n}"}}}}{{{{template "{n + 1}"}}}}{{{{template "{n + 1}"}}}}{{{{end}}}}' for n in range(40)
)


def rendered(text: str) -> str:
    tree = parse(text)
    return render(tree, tree.root, VALUES, "2026-01-02")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("", ""),
        ("a {{- .Text -}} b", "ahib"),
        ("{{ .Missing }}|{{ .Text }}", "<no value>|hi"),
        ("{{ if .Text }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if .Empty }}1{{ else if .Zero }}2{{ else }}3{{ end }}", "3"),
        ("{{ with .Text }}[{{ . }}]{{ end }}{{ with .Empty }}x{{ else }}[{{ .Two }}]{{ end }}", "[hi][2]"),
        ("{{ with .Empty }}{{ else with .Text }}{{ . }}{{ end }}", "hi"),
        ("{{ range .List }}{{ . }},{{ end }}", "a,b,c,"),
        ("{{ range $i, $x := .List }}{{ $i }}{{ $x }}{{ $.Two }}{{ end }}", "0a21b22c2"),
        ("{{ range $x := .List }}{{ $x }}{{ end }}", "abc"),
        ("{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ range 3 }}{{ . }}{{ end }}{{ range $i := .Two }}{{ $i }}{{ end }}", "01201"),
        ("{{ range .None }}x{{ else }}none{{ end }}{{ range .Missing }}x{{ else }}none{{ end }}", "nonenone"),
        ("{{ range .List }}{{ if eq . `b` }}{{ continue }}{{ end }}{{ . }}{{ end }}", "ac"),
        ("{{ range .List }}{{ if eq . `b` }}{{ break }}{{ end }}{{ . }}{{ end }}!", "a!"),
        (
            "{{ range $x := .List }}{{ range $.List }}{{ if eq $x . }}{{ break }}{{ end }}{{ . }}{{ end }}.{{ end }}",
            ".a.ab.",
        ),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ $x }}{{ end }}{{ $x }}", "32"),
        ("{{ $x := 0 }}{{ $y := `` }}{{ range $x, $y = .List }}{{ end }}{{ $x }}{{ $y }}", "2c"),
        ("{{ $x := .List }}{{ index $x 1 }}{{ len $x }}", "b3"),
        ("{{ .Text | printf `%s-%s` `a` | len }}", "4"),
        (
            "{{ and .Text .Two }}{{ and .Empty .Missing.Field }}{{ or .Empty .Two }}{{ or .Text .Missing.Field }}",
            "22hi",
        ),
        ("{{ .Empty | or .Zero }}|{{ 1 | and 2 }}", "|1"),
        ("{{ eq .Text `a` `hi` }} {{ not .Zero }} {{ gt (len (slice .List 1)) 1 }}", "true true true"),
        ("{{ (index .Map `a`) }}{{ .Map.b }}{{ (.Struct).Role }}{{ .Struct.Role }}", "12useruser"),
        (
            "{{ .Call }} {{ .Call.String }} {{ .Call.b }} {{ .Property.ToTypeScriptType }}",
            '{"b":1,"a":2} {"b":1,"a":2} 1 number',
        ),
        (
            '{{ define "t" }}<{{ . }}{{ $ }}>{{ end }}{{ template "t" .Text }}{{ template "t" }}',
            "<hihi><<no value><no value>>",
        ),
        ('{{ block "t" .Two }}[{{ . }}]{{ end }}', "[2]"),
        ('{{ define "n" }}{{ .Role }}{{ $.Role.More }}{{ end }}{{ template "n" }}', "<no value><no value>"),
        ("{{ currentDate }} {{ yesterdayDate }} {{ currentDate | len }}", "2026-01-02 2026-01-01 10"),
        ('{{ `raw\n` }}{{ "q\\"" }}{{ \'a\' }}{{ 1.50 }}{{ 0x10 }}{{ true }}', 'raw\nq"971.516true'),
    ],
)
def test_output(text: str, output: str) -> None:
    assert rendered(text) == output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ .Text.X }}", ':1:8: executing "" at <.Text.X>: can\'t evaluate field X in type interface {}'),
        ("\n{{ .Struct.X }}", ':2:10: executing "" at <.Struct.X>: can\'t evaluate field X in type interface {}'),
        (
            "{{ with .Struct }}{{ .X }}{{ end }}",
            ':1:21: executing "" at <.X>: can\'t evaluate field X in type api.Message',
        ),
        ("{{ $x := 1 }}{{ $x.X }}", ':1:18: executing "" at <$x.X>: can\'t evaluate field X in type int'),
        ("{{ .Missing.X }}", ':1:11: executing "" at <.Missing.X>: nil pointer evaluating interface {}.X'),
        ("{{ .Text 1 }}", ':1:3: executing "" at <.Text>: Text is not a method but has arguments'),
        ("{{ 1 | .Text }}", ':1:7: executing "" at <.Text>: Text is not a method but has arguments'),
        (
            "{{ with .Struct }}{{ .Role 1 }}{{ end }}",
            ':1:21: executing "" at <.Role>: Role has arguments but cannot be invoked as function',
        ),
        ("{{ 1 2 }}", ':1:3: executing "" at <1>: can\'t give argument to non-function 1'),
        ("{{ nil }}", ':1:3: executing "" at <nil>: nil is not a command'),
        ("{{ and }}", ':1:3: executing "" at <and>: wrong number of args for and: want at least 1 got 0'),
        ("{{ len .Two }}", ':1:3: executing "" at <len .Two>: error calling len: len of type int'),
        ("{{ call .Text }}", ':1:3: executing "" at <call .Text>: error calling call: non-function of type string'),
        ("{{ not 1 2 }}", ':1:3: executing "" at <not>: wrong number of args for not: want 1 got 2'),
        ("{{ range .Text }}{{ end }}", ':1:9: executing "" at <.Text>: range can\'t iterate over hi'),
        ("{{ range .Struct }}{{ end }}", ':1:9: executing "" at <.Struct>: range can\'t iterate over {user}'),
        ("{{ range $i, $x := 3 }}{{ end }}", ':1:9: executing "" at <$i, $x := 3>: ' + TWO),
        ('{{ template "t" }}', ':1:12: executing "" at <{{template "t"}}>: template "t" not defined'),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        rendered(text)
    assert caught.value.message == f"template: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{range 1000}}" * 4 + "x" + "{{end}}" * 4, "the template takes more than 500000 steps"),
        ("{{range 99999999999}}{{end}}", "the template takes more than 500000 steps"),
        (
            "{{$x := `0123456789`}}{{range 99}}{{$x = print $x $x}}{{end}}",
            "the template makes more than 33554432 characters",
        ),
        ('{{define "t"}}{{template "t"}}{{end}}{{template "t"}}', "exceeded maximum template depth (150)"),
        (DOUBLING + '{{define "40"}}{{1}}{{end}}{{template "0"}}', "the template takes more than 500000 steps"),
    ],
)
def test_what_would_never_end_ends(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        rendered(text)
    assert caught.value.message == message


def test_a_value_nested_too_deeply() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    tree = parse("{{ . }}")
    with pytest.raises(TemplateError, match="nested too deeply"):
        render(tree, tree.root, {"x": value}, "2026-01-02")
