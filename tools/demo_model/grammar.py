"""A small language for wordings.

A template is text with alternatives in brackets and slots in angle brackets:

    [how do I|how can I] add [a|another] backend [|to arriero]
    tell me about <topic>

An empty alternative is allowed, alternatives nest, and runs of spaces collapse. One template stands
for many wordings: `sample` draws one, `count` says how many there are, `pattern` is a regular
expression of all of them.

What is said (`phrases/`), how people type it (`manner`) and in which shares (`corpus`) is not
decided here.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text."""

    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that is filled from a word list or by a generator."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several sequences."""

    options: tuple[Sequence, ...]


Node = Text | Slot | Choice
Sequence = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Generator:
    """A slot without a word list: `draw` makes a value, `pattern` matches every value it makes."""

    draw: Callable[[random.Random], str]
    pattern: str


Slots = Mapping[str, tuple[str, ...] | Generator]

_TOKEN = re.compile(r"[\[\]|]|<[a-z-]+>|[^\[\]|<]+|<")


@functools.cache
def parse(template: str) -> Sequence:
    """Parse a template. An unbalanced bracket is a `ValueError`."""
    tokens = _TOKEN.findall(template)
    options, end = _options(tokens, 0, template)
    if end != len(tokens):
        raise ValueError(f"']' without '[' in {template!r}")
    return options[0] if len(options) == 1 else (Choice(options),)


def _options(tokens: list[str], at: int, template: str) -> tuple[tuple[Sequence, ...], int]:
    """Parse alternatives from `at` to the closing bracket or the end; return them and the stop."""
    options: list[Sequence] = []
    current: list[Node] = []
    while at < len(tokens) and tokens[at] != "]":
        token = tokens[at]
        at += 1
        if token == "|":
            options.append(tuple(current))
            current = []
        elif token == "[":
            inner, at = _options(tokens, at, template)
            if at >= len(tokens):
                raise ValueError(f"'[' without ']' in {template!r}")
            current.append(Choice(inner))
            at += 1
        elif token.startswith("<") and token.endswith(">"):
            current.append(Slot(token[1:-1]))
        else:
            current.append(Text(token))
    options.append(tuple(current))
    return tuple(options), at


def sample(template: str, slots: Slots, rng: random.Random) -> str:
    """Draw one wording."""
    return " ".join(_sample(parse(template), slots, rng).split())


def _sample(sequence: Sequence, slots: Slots, rng: random.Random) -> str:
    parts: list[str] = []
    for node in sequence:
        match node:
            case Text(text):
                parts.append(text)
            case Slot(name):
                values = slots[name]
                parts.append(
                    values.draw(rng)
                    if isinstance(values, Generator)
                    else _sample(parse(rng.choice(values)), slots, rng)
                )
            case Choice(options):
                parts.append(_sample(rng.choice(options), slots, rng))
    return "".join(parts)


@functools.cache
def count(template: str) -> int:
    """How many wordings the brackets of a template give; a slot counts as 20."""
    return _count(parse(template))


def _count(sequence: Sequence) -> int:
    sizes = (
        sum(map(_count, node.options)) if isinstance(node, Choice) else 20
        for node in sequence
        if not isinstance(node, Text)
    )
    return math.prod(sizes)


SHORT_FORMS = (
    ("what is ", "what's "), ("who is ", "who's "), ("how is ", "how's "), ("do not ", "don't "),
    ("I am ", "I'm "), ("I have ", "I've "), ("I would ", "I'd "), ("cannot ", "can't "),
    ("you are ", "you're "), ("where is ", "where's "), ("why is ", "why's "), ("it is ", "it's "),
)  # fmt: skip
"""Long and short forms that count as the same wording."""


def normalise(text: str) -> str:
    """What makes two wordings the same: lower case, no short forms, no spaces, no punctuation."""
    text = text.lower().replace("\u2019", "'")
    for long, short in SHORT_FORMS:
        text = text.replace(short.lower(), long.lower())
    return re.sub(r"[^a-z0-9+*/=]", "", text)


def pattern(template: str, slots: Slots) -> str:
    """A regular expression that matches `normalise(w)` of every wording `w`."""
    return _pattern(parse(template), slots)


def _pattern(sequence: Sequence, slots: Slots) -> str:
    parts: list[str] = []
    for node in sequence:
        match node:
            case Text(text):
                parts.append(re.escape(normalise(text)))
            case Slot(name):
                values = slots[name]
                parts.append(
                    values.pattern
                    if isinstance(values, Generator)
                    else f"(?:{'|'.join(pattern(value, slots) for value in values)})"
                )
            case Choice(options):
                parts.append(f"(?:{'|'.join(_pattern(option, slots) for option in options)})")
    return "".join(parts)
