"""Text that the model has to read past: system prompts, pasted text, other models' answers.

Clients put all sorts of things before a question. The texts made here never decide the answer of a
conversation, except that a pasted text with a task gets a refusal.
"""

from __future__ import annotations

import random

from . import grammar
from .tables import read_lines

LINES = read_lines("around")


def paragraph(slots: grammar.Slots, rng: random.Random, sentences: int) -> str:
    """So many sentences, joined by spaces or line ends."""
    joint = rng.choice((" ", " ", "\n"))
    return joint.join(grammar.sample(rng.choice(LINES["sentences"]), slots, rng) for _ in range(sentences))


def system_prompt(slots: grammar.Slots, rng: random.Random) -> str | None:
    """A system prompt, or None: none 55 %, one line 25 %, a paragraph 15 %, a page 5 %."""
    draw = rng.random()
    if draw < 0.55:
        return None
    if draw < 0.80:
        return grammar.sample(rng.choice(LINES["short-system"]), slots, rng)
    if draw < 0.95:
        return paragraph(slots, rng, rng.randint(2, 8))
    return paragraph(slots, rng, rng.randint(10, 36))


def pasted(slots: grammar.Slots, rng: random.Random) -> str:
    """A task with a text to work on."""
    task = grammar.sample(rng.choice(LINES["paste-tasks"]), slots, rng)
    text = paragraph(slots, rng, rng.randint(1, 9))
    after = f"{text}\n\n{task.rstrip(':')}"
    return rng.choice((f"{task} {text}", f"{task}\n\n{text}", after, text))
