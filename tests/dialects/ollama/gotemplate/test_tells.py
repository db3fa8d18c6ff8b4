"""What templates tell of their models."""

import pytest

from arriero.dialects.ollama.gotemplate.parse import parse
from arriero.dialects.ollama.gotemplate.tells import Tells, tells, think_tags, variables
from support.prompts import FAMILIES

PLAIN = Tells(tools=False, insert=False, thinking=False, think_tags=None)
TOOLS = Tells(tools=True, insert=False, thinking=False, think_tags=None)
INSERT = Tells(tools=False, insert=True, thinking=False, think_tags=None)
TOLD = {
    "chatml": PLAIN,
    "qwen": Tells(tools=True, insert=True, thinking=False, think_tags=None),
    "qwen-thinking": Tells(tools=True, insert=False, thinking=True, think_tags=("<think>", "</think>")),
    "llama3": TOOLS,
    "mistral": TOOLS,
    "gemma": PLAIN,
    "command-r": TOOLS,
    "deepseek": Tells(tools=False, insert=False, thinking=True, think_tags=("<think>", "</think>")),
    "granite": Tells(tools=True, insert=False, thinking=True, think_tags=None),
    "phi3": PLAIN,
    "alpaca": PLAIN,
    "llama2": PLAIN,
    "vicuna": PLAIN,
    "zephyr": PLAIN,
    "code": INSERT,
    "starcoder": INSERT,
    "nothing": PLAIN,
    "prompt": PLAIN,
}


@pytest.mark.parametrize("family", TOLD)
def test_families(family: str) -> None:
    assert tells(parse(FAMILIES[family])) == TOLD[family]


def test_variables_are_fields_in_lower_case_wherever_they_stand() -> None:
    tree = parse('{{ define "a" }}{{ .Deep }}{{ end }}{{ if and .A $.B.C }}{{ (.D).E }}{{ end }}{{ $x := 1 }}')
    assert variables(tree) == {"deep", "a", "b", "c", "d", "e"}


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("{{ range .Messages }}{{ if .Thinking }}<t>{{ .Thinking }}</t>{{ end }}{{ end }}", ("<t>", "</t>")),
        ("{{ range $i, $m := $.Messages }}x <t>\n{{ $m.Thinking }}\n</t> y{{ end }}", ("<t>", "</t>")),
        ('{{ define "m" }}[THINK]{{ .Thinking }}[/THINK]{{ end }}', ("[THINK]", "[/THINK]")),
        ("{{ range .Messages }}{{ .Thinking }}{{ end }}", None),
        ("<t>{{ .Thinking }}</t>", None),
        ("{{ range .Messages }}<t>{{ if .Thinking }}{{ end }}</t>{{ end }}", None),
    ],
)
def test_the_tags_around_thinking(text: str, tags: tuple[str, str] | None) -> None:
    assert think_tags(parse(text)) == tags
