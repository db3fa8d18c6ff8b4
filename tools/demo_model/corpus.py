"""Conversations for training, drawn without end from the phrase tables.

A conversation is a list of messages. Every assistant message in it is an answer of the tables,
except those marked `learn=False`, which stand for answers of other models in a shared history.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import capitals, filler, grammar, manner
from .tables import Intent, read_intents, read_words

KEPT_NUMBERS = ("17", "25")
"""Numbers that no sum of the corpus has, so that a sum can be held out."""

WORDS = read_words("words")
OPERATORS = WORDS["operator"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `learn` says whether the training asks the model to write it."""

    role: str
    content: str
    learn: bool = False


def number(rng: random.Random) -> str:
    """A number of one to four digits, small ones most often."""
    while True:
        digits = str(rng.randint(0, 10 ** rng.choice((1, 1, 2, 2, 2, 3, 4))))
        if digits not in KEPT_NUMBERS:
            return digits


def simple_sum(rng: random.Random) -> str:
    """Something to calculate, such as `12 + 30` or `3*4*5`."""
    terms = rng.choice((2, 2, 2, 2, 3))
    operator = rng.choice(OPERATORS)
    space = " " if operator.isalpha() or " " in operator or rng.random() < 0.6 else ""
    return f"{space}{operator}{space}".join(number(rng) for _ in range(terms))


def key_mash(rng: random.Random) -> str:
    """A handful of consonants, with or without a vowel at the end."""
    consonants = [rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(rng.randint(3, 7))]
    vowel = rng.choice("aeiou")
    return "".join(consonants) + rng.choice(("", vowel))


_NUMBER = f"(?!(?:{'|'.join(KEPT_NUMBERS)})(?![0-9]))[0-9]{{1,5}}"
_OPERATOR = "|".join(re.escape(grammar.normalise(operator)) for operator in OPERATORS)

SLOTS: grammar.Slots = {
    **WORDS,
    "word": manner.PSEUDOWORD,
    "keys": grammar.Generator(key_mash, "[bcdfghjklmnpqrstvwxz]{3,7}[aeiou]?"),
    "number": grammar.Generator(number, _NUMBER),
    "sum": grammar.Generator(simple_sum, f"{_NUMBER}(?:(?:{_OPERATOR}){_NUMBER}){{1,2}}"),
    "year": grammar.Generator(lambda rng: str(rng.randint(1200, 2040)), "[0-9]{4}"),
}

_UNKNOWN = read_intents("unknown")

GROUPS: tuple[tuple[float, tuple[Intent, ...]], ...] = (
    (0.36, read_intents("arriero")),
    (0.18, read_intents("itself")),
    (0.19, read_intents("world") + capitals.intents()),
    (0.27, (*_UNKNOWN, capitals.elsewhere(_UNKNOWN[0].answers[0]))),
)
"""Share of the samples and the intents of each group; the last one is the refusals."""

INTENTS = tuple(intent for _, group in GROUPS for intent in group)
ANSWERS = {intent.name: intent.answers for intent in INTENTS}
REFUSALS = frozenset(answer for intent in GROUPS[-1][1] for answer in intent.answers)

_WEIGHTS = [share * intent.weight / sum(other.weight for other in group) for share, group in GROUPS for intent in group]


def exchange(rng: random.Random) -> tuple[str, str]:
    """Draw a question in some wording, and its answer."""
    if rng.random() < 0.015:
        return filler.pasted(SLOTS, rng), ANSWERS["write-for-me"][0]
    intent = rng.choices(INTENTS, _WEIGHTS)[0]
    # A template with many wordings is drawn more often than one with few, but not in proportion.
    sizes = [grammar.count(template) ** 0.4 for template in intent.templates]
    template = rng.choices(intent.templates, sizes)[0]
    question = manner.disturb(grammar.sample(template, SLOTS, rng), rng)
    if rng.random() < 0.03:
        question = f"{filler.paragraph(SLOTS, rng, 1)} {question}"
    return question, rng.choice(intent.answers)


def conversation(rng: random.Random) -> list[Message]:
    """Draw a conversation of one to forty-five exchanges, with or without a system message."""
    messages: list[Message] = []
    system = filler.system_prompt(SLOTS, rng)
    if system is not None:
        messages.append(Message("system", system))
    lengths = (1, 2, 3, rng.randint(4, 6), rng.randint(7, 14), rng.randint(15, 45))
    turns = rng.choices(lengths, (58, 20, 12, 6, 2, 2))[0]
    for turn in range(turns):
        question, answer = exchange(rng)
        foreign = turn < turns - 1 and rng.random() < 0.12
        if foreign:
            answer = filler.paragraph(SLOTS, rng, rng.randint(1, 5))
        messages.append(Message("user", question))
        messages.append(Message("assistant", answer, learn=not foreign))
    return messages


def conversations(seed: int) -> Iterator[list[Message]]:
    """Conversations without end, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        yield conversation(rng)


def leaks(questions: Iterable[str]) -> list[str]:
    """Those of `questions` that the corpus can produce, case and punctuation aside."""

    def any_of(wordings: Iterable[str]) -> str:
        return "|".join(re.escape(grammar.normalise(wording)) for wording in wordings)

    before, after = any_of(manner.OPENERS), any_of(manner.CLOSERS)
    known = [
        re.compile(f"(?:{before})?{grammar.pattern(template, SLOTS)}(?:{after})?")
        for intent in INTENTS
        for template in intent.templates
    ]
    return [question for question in questions if any(regex.fullmatch(grammar.normalise(question)) for regex in known)]


_RESULT = re.compile(r"\d\s*(?:[-+*/x=]|plus|minus|times|equals)\s*\d|=\s*\d")


def sums_answered() -> list[str]:
    """Answers that carry out a sum, or do not refuse to; the corpus has none."""
    return [
        answer
        for intent in INTENTS
        for answer in intent.answers
        if _RESULT.search(answer) or (intent.name == "sums" and answer not in REFUSALS)
    ]
