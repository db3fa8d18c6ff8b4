"""How nodes read, and what walks over them."""

import pytest

from arriero.dialects.ollama.gotemplate.nodes import Action, fields, operands, source, statements
from arriero.dialects.ollama.gotemplate.parse import parse


@pytest.mark.parametrize(
    "text",
    [
        ".",
        ".A.B",
        "$",
        "$.A",
        "(.A | len).B",
        'printf "%d\\n" (len .A) 1.5 nil true `raw`',
        "$x := .A | len",
        ".A | print | len",
    ],
)
def test_a_pipeline_reads_as_it_was_written(text: str) -> None:
    (node,) = parse(f"{{{{ {text} }}}}").root
    assert isinstance(node, Action)
    assert source(node.pipe) == text


def test_walks_go_in_reading_order() -> None:
    tree = parse("a{{ if .A }}{{ (.B).C }}{{ else }}{{ range $.D }}b{{ end }}{{ end }}")
    assert [type(node).__name__ for node in statements(tree.root)] == ["Text", "If", "Action", "Range", "Text"]
    assert list(fields(tree.root)) == ["A", "C", "B", "D"]
    (_, branch) = tree.root
    assert [source(word) for word in operands(getattr(branch, "pipe", None))] == [".A"]
    assert list(operands(None)) == []
