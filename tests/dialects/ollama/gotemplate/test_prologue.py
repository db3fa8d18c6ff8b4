"""What a translation begins with."""

import pytest

from arriero.dialects.ollama.gotemplate import parse_template
from arriero.dialects.ollama.gotemplate.prologue import MACROS, prologue
from support.prompts import FAMILIES


def said(*used: str, legacy: bool = False) -> str:
    return "\n".join(prologue(set(used), legacy=legacy))


def test_the_least() -> None:
    assert (
        said()
        == """\
{%- set go = namespace(messages=[], system='', systems=0, calls=[], more=0, think=false) -%}
{%- for m in messages -%}
{%- set c = m.content if m.content is string else '' -%}
{%- if go.messages and go.messages[-1].role == m.role and m.role != 'tool' -%}
{%- set l = go.messages[-1] -%}{%- set c = l.content ~ '\\n\\n' ~ c -%}
{%- set go.messages = go.messages[:-1] + [{'role': l.role, 'content': c}] -%}
{%- else -%}
{%- set go.messages = go.messages + [{'role': m.role, 'content': c}] -%}
{%- endif -%}
{%- endfor -%}"""
    )


@pytest.mark.parametrize(
    ("used", "line"),
    [
        ("go.more", "{%- if not add_generation_prompt -%}{%- set go.more = 1 -%}{%- endif -%}"),
        ("Think", "{%- if enable_thinking is defined and enable_thinking -%}{%- set go.think = true -%}{%- endif -%}"),
        ("ThinkLevel", "{%- set go.think_level = 'medium' if go.think else '' -%}"),
        ("ToolCalls", "{%- set go.calls = [] -%}{%- for f in m.tool_calls or [] -%}"),
        (
            "Thinking",
            "{%- set go.messages = go.messages + "
            "[{'role': m.role, 'content': c, 'thinking': m.reasoning_content or ''}] -%}",
        ),
        (
            "ToolName",
            "{%- set go.messages = go.messages[:-1] + [{'role': l.role, 'content': c, 'tool_name': l.tool_name}] -%}",
        ),
        *((name, text.partition("\n")[0]) for name, text in MACROS.items()),
    ],
)
def test_what_each_use_adds(used: str, line: str) -> None:
    assert line in said(used).splitlines()
    assert line not in said().splitlines()


def test_turns_of_the_old_kind() -> None:
    assert said(legacy=True).startswith(said())
    assert "{%- set go.turns = go.turns + [{'system': go.s, 'prompt': go.p, 'response': go.r}] -%}" in said(legacy=True)


def test_only_what_a_template_uses_is_prepared() -> None:
    plain = parse_template("{{ range .Messages }}{{ .Content }}{{ end }}").to_jinja()
    for name in ("tool_calls", "reasoning_content", "tools", "enable_thinking", "macro"):
        assert name not in plain
    full = parse_template(FAMILIES["gpt-oss"]).to_jinja()
    for name in ("tool_calls", "reasoning_content", "tools", "enable_thinking", "macro go_type_script"):
        assert name in full
