"""docs/scripted.md against the values it describes."""

import re
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct
from msgspec.structs import fields

from arriero.backends.scripted.script import Fault, Form, Model, Play, Script, ToolCall, Usage, When, parse_script

TEXT = (Path(__file__).parents[3] / "docs" / "scripted.md").read_text("utf-8")


@pytest.mark.parametrize("part", [Script, Model, When, Play, Form, ToolCall, Usage])
def test_every_word_is_described(part: type[Struct]) -> None:
    words = {field.encode_name for field in fields(part)} - {"exact"}
    assert {word for word in words if f"`{word}`" not in TEXT} == set()


def test_every_fault_is_described() -> None:
    assert {fault for fault in get_args(Fault) if f"| `{fault}` |" not in TEXT} == set()


def test_the_examples_are_scripts() -> None:
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if text.startswith("models:")]
    assert len(examples) == 1
    script = parse_script(examples[0])
    assert (len(script.models), len(script.rules)) == (1, 3)
