"""What a template tells of its model: tools, fill in the middle, thinking and its tags."""

from collections.abc import Iterator

from msgspec import Struct

from arriero.dialects.ollama.gotemplate.nodes import (
    Block,
    Field,
    If,
    Node,
    Range,
    Text,
    Variable,
    With,
    fields,
    operands,
    pipe_of,
)
from arriero.dialects.ollama.gotemplate.parse import Tree


class Tells(Struct, frozen=True):
    """`think_tags` are the texts around a message's thinking, where the template shows them."""

    tools: bool
    insert: bool
    thinking: bool
    think_tags: tuple[str, str] | None


def variables(tree: Tree) -> frozenset[str]:
    """Every field that the template or one that it defines mentions, in lower case."""
    blocks = (tree.root, *tree.defined.values())
    return frozenset(name.lower() for block in blocks for name in fields(block))


def tells(tree: Tree) -> Tells:
    """What the template tells. Thinking wants tags around `.Thinking`, or a switch (`.Think`, `.ThinkLevel`)."""
    known = variables(tree)
    tags = think_tags(tree)
    return Tells(
        tools="tools" in known,
        insert="suffix" in known,
        thinking=tags is not None or not known.isdisjoint({"think", "thinklevel"}),
        think_tags=tags,
    )


def think_tags(tree: Tree) -> tuple[str, str] | None:
    """The texts that stand before and after `.Thinking` where messages are walked through; `None` if none do."""
    for block in (tree.root, *tree.defined.values()):
        for found in _tags(block, in_messages=block is not tree.root):
            return found
    return None


def _tags(block: Block, *, in_messages: bool) -> Iterator[tuple[str, str]]:
    for at, node in enumerate(block):
        if in_messages and not isinstance(node, If | With | Range) and _names(node, "Thinking"):
            opening = next((text for text in map(_text, reversed(block[:at])) if text), "")
            closing = next((text for text in map(_text, block[at + 1 :]) if text), "")
            # A tag is the last word before, the first word after: other text may stand around it.
            if opening and closing:
                yield opening.split()[-1], closing.split()[0]
        if isinstance(node, If | With | Range):
            inside = in_messages or (isinstance(node, Range) and _names(node, "Messages"))
            yield from _tags(node.body, in_messages=inside)
            yield from _tags(node.otherwise, in_messages=inside)


def _names(node: Node, name: str) -> bool:
    """Whether the statement's own pipeline mentions a field."""
    return any(isinstance(word, Field | Variable) and name in word.names for word in operands(pipe_of(node)))


def _text(node: Node) -> str:
    return node.text.strip() if isinstance(node, Text) else ""
