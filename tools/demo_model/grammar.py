"""A small language for wordings, and the noise that people add to them.

A template is text with alternatives in brackets and slots in angle brackets:

    [how do I|how can I] add [a|another] backend [|to arriero]
    tell me about <topic>

An empty alternative is allowed, alternatives nest, and runs of spaces collapse. One template stands
for many wordings: `sample` draws one, `count` says how many there are, `pattern` is a regular
expression of all of them.

What is said (phrases) and in which shares (corpus) is not decided here.
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
                    values.draw(rng) if isinstance(values, Generator) else rng.choice(values)
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


def normalise(text: str) -> str:
    """Lower case, letters and digits only, single spaces: what makes two wordings the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


def pattern(template: str, slots: Slots) -> str:
    """A regular expression that matches `normalise(w)` of every wording `w`, spaces left out."""
    return _pattern(parse(template), slots)


def _pattern(sequence: Sequence, slots: Slots) -> str:
    parts: list[str] = []
    for node in sequence:
        match node:
            case Text(text):
                parts.append(_squeeze(text))
            case Slot(name):
                values = slots[name]
                parts.append(
                    values.pattern
                    if isinstance(values, Generator)
                    else f"(?:{'|'.join(map(_squeeze, values))})"
                )
            case Choice(options):
                parts.append(f"(?:{'|'.join(_pattern(option, slots) for option in options)})")
    return "".join(parts)


def _squeeze(text: str) -> str:
    return normalise(text).replace(" ", "")


CONSONANTS = tuple("b c d f g h j k l m n p r s t v w z bl cl dr fl gr pr sk st tr".split())
VOWELS = tuple("a e i o u ai ea oo".split())
ENDINGS = ("", "n", "r", "s", "l", "t", "x")


def pseudoword(rng: random.Random) -> str:
    """A made-up word of one to three syllables, which stands for every word not in the corpus."""
    syllables = (rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
    return "".join(syllables) + rng.choice(ENDINGS)


PSEUDOWORD = Generator(
    pseudoword,
    f"(?:(?:{'|'.join(CONSONANTS)})(?:{'|'.join(VOWELS)})){{1,3}}(?:{'|'.join(ENDINGS)})",
)

OPENERS = (
    "please", "hey,", "hi,", "hello,", "ok,", "okay", "so", "so,", "well,", "um,", "sorry,", "and",
    "and now", "now", "quick question:", "question:", "one more thing:", "one question:", "arriero,",
    "also,", "but", "just wondering,", "can I ask:", "I have a question.", "I am new here.",
    "I just installed this.", "I am trying this out.", "this is a test.", "good.", "I see.", "next,",
    "I wonder,", "dear model,",
)  # fmt: skip
CLOSERS = (
    "please", "thanks", "then", "now", "exactly", "again", "by the way", "for me", "actually",
    "anyway", "though", "really", "today", "pls", "in short", "briefly", "thank you", "in general",
)  # fmt: skip

_QUESTION_WORDS = frozenset(
    "what what's whats who who's why why's how how's where when which is are do does did can could "
    "will would should may must am has have".split()
)
_SHORT_FORMS = (
    ("what is ", "what's "), ("who is ", "who's "), ("how is ", "how's "), ("do not ", "don't "),
    ("I am ", "I'm "), ("I have ", "I've "), ("I would ", "I'd "), ("cannot ", "can't "),
    ("you are ", "you're "), ("where is ", "where's "), ("why is ", "why's "), ("it is ", "it's "),
)  # fmt: skip


def disturb(wording: str, rng: random.Random) -> str:
    """Say a wording as people type it: short forms, openers, closers, case, punctuation, typos."""
    for long, short in _SHORT_FORMS:
        if rng.random() < 0.3:
            wording = wording.replace(long, short)
    asks = wording.split()[0].lower() in _QUESTION_WORDS
    if rng.random() < 0.16:
        wording = f"{rng.choice(OPENERS)} {wording}"
    if rng.random() < 0.12:
        wording = f"{wording}{rng.choice(('', ','))} {rng.choice(CLOSERS)}"
    if rng.random() < 0.14:
        wording = mistype(wording, rng)
    return _punctuate(_recase(wording, rng), asks, rng)


def mistype(text: str, rng: random.Random) -> str:
    """Drop, swap or double a letter, once or twice."""
    for _ in range(rng.choice((1, 1, 2))):
        if len(text) < 5:
            break
        at = rng.randrange(1, len(text) - 1)
        here, after = text[at], text[at + 1]
        match rng.choice(("drop", "swap", "double")):
            case "drop":
                text = text[:at] + text[at + 1 :]
            case "swap":
                text = text[:at] + after + here + text[at + 2 :]
            case _:
                text = text[:at] + here + text[at:]
    return text


def _recase(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.45:
        return text[0].upper() + text[1:]
    if draw < 0.49:
        return text.upper()
    if draw < 0.53:
        return text.title()
    if draw < 0.75:
        return text.lower()
    return text


def _punctuate(text: str, asks: bool, rng: random.Random) -> str:
    if text[-1] in ".?!":
        return text
    ends = ("?",) * 8 + ("", "", "", "", "??", ".") if asks else ("", "", "", "", ".", ".", "!", "?")
    return text + rng.choice(ends)
