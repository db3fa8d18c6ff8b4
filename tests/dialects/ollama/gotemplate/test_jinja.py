"""Whole templates to jinja; that llama.cpp then makes the same prompts is `test_jinja_in_llama_cpp`'s to prove."""

import pytest

from arriero.dialects.ollama.gotemplate import TemplateError, parse_template

PROLOGUE = """\
{%- set go = namespace(messages=[], system='', systems=0, calls=[], more=0, think=false) -%}
{%- for m in messages -%}
{%- set c = m.content if m.content is string else '' -%}
{%- if go.messages and go.messages[-1].role == m.role and m.role != 'tool' -%}
{%- set l = go.messages[-1] -%}{%- set c = l.content ~ '\\n\\n' ~ c -%}
{%- set go.messages = go.messages[:-1] + [{'role': l.role, 'content': c}] -%}
{%- else -%}
{%- set go.messages = go.messages + [{'role': m.role, 'content': c}] -%}
{%- endif -%}
{%- endfor -%}
"""


def test_a_whole_translation() -> None:
    text = "{{ range $i, $m := .Messages }}<{{ .Role }}>\n{{ $m.Content }}{{ end }}<assistant>"
    assert parse_template(text).to_jinja() == (
        PROLOGUE
        + """\
{%- for d1 in go.messages -%}
{%- set go.v2 = loop.index0 -%}
{%- set go.v3 = d1 -%}
{{- '<' -}}
{{- d1.role -}}
{{- '>\\n' -}}
{{- go.v3.content -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<assistant>' -}}
{%- endif -%}"""
    )


def test_what_a_conversation_never_has_is_left_out() -> None:
    text = "{{ if .Suffix }}fim{{ else }}{{ range .Messages }}{{ .Role }}{{ end }}{{ end }}{{ with .X }}y{{ end }}"
    assert "fim" not in parse_template(text).to_jinja()
    assert "'y'" not in parse_template(text).to_jinja()


def test_a_loop_is_left_by_a_mark() -> None:
    text = "{{ range .Messages }}a{{ if .Content }}b{{ break }}c{{ end }}d{{ end }}"
    assert (
        parse_template(text).to_jinja().removeprefix(PROLOGUE)
        == """\
{%- set go.s1 = 0 -%}
{%- for d1 in go.messages -%}
{%- if go.s1 != 2 -%}{%- set go.s1 = 0 -%}
{{- 'a' -}}
{%- if d1.content -%}
{{- 'b' -}}
{%- set go.s1 = 2 -%}
{%- endif -%}
{%- if go.s1 == 0 -%}
{{- 'd' -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}"""
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ range .Messages }}\n{{ html .Content }}{{ end }}", "html at 2:3: it cannot be called so there"),
        (
            "{{ range $k, $v := .Messages }}{{ $k = .Role }}{{ end }}",
            "$k = .Role at 1:34: the variable gets a value of another type",
        ),
        (
            "{{ range .Messages }}{{ range .Content }}{{ end }}{{ end }}",
            "range .Content at 1:30: it cannot be walked through",
        ),
        (
            "{{ range .Messages }}{{ range .ToolCalls }}{{ range .Function.Arguments.x }}{{ end }}{{ end }}{{ end }}",
            "range .Function.Arguments.x at 1:52: a value of which the kind is not known cannot be walked through",
        ),
        ("{{ .Messages }}", ".Messages at 1:3: a list cannot be printed"),
        ("{{ range .Messages }}{{ and .Role 1 }}{{ end }}", "and .Role 1 at 1:24: a value of either of two types"),
        ("{{ $x := and .System 1 }}{{ .Response }}", "$x := and .System 1 at 1:3: a value of either of two types"),
        (
            '{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}{{ .Messages }}',
            'template "a" at 1:28: it calls itself',
        ),
        ('{{ template "b" }}{{ .Response }}', 'template "b" at 1:12: it is not defined'),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text).to_jinja()
    assert caught.value.message == f"the template cannot be translated for the engine: {message}"


def test_a_translation_has_an_end() -> None:
    doubling = "".join(
        f'{{{{define "{n}"}}}}{{{{template "{n + 1}"}}}}{{{{template "{n + 1}"}}}}{{{{end}}}}' for n in range(40)
    )
    with pytest.raises(TemplateError, match="it calls templates too often"):
        parse_template(doubling + '{{define "40"}}x{{end}}{{template "0"}}').to_jinja()
    with pytest.raises(TemplateError, match="more than 1048576 characters"):
        parse_template("x" * (1 << 20)).to_jinja()
