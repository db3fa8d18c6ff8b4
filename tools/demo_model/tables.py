"""Reads the phrase tables in `phrases/`.

A table is plain text of at most 100 columns:

    # a comment
    == add-backend x 2.5          a section: an intent or a word list, and its weight (1 if absent)
    > Add it under backends ...   an answer; `\\n` in it is a line end
      and start arriero again.    two spaces carry on the line before
    <how> add <backend>           a template, in the form that `grammar` describes

The lines of a word list are joined and split at commas, or at semicolons where the words hold
commas. `words.txt` and `manner.txt` are word lists, `around.txt` has templates only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "phrases"


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that people ask, in many wordings, and what the model answers to it."""

    name: str
    templates: tuple[str, ...]
    answers: tuple[str, ...]
    weight: float = 1.0
    """Share of the samples, relative to the other intents of the same table."""


def read_intents(table: str) -> tuple[Intent, ...]:
    """The intents of `phrases/<table>.txt`, in order."""
    return tuple(
        Intent(
            name,
            tuple(line for line in lines if not line.startswith("> ")),
            tuple(line[2:].replace("\\n", "\n") for line in lines if line.startswith("> ")),
            weight,
        )
        for name, weight, lines in _sections(table)
    )


def read_words(table: str, separator: str = ",") -> dict[str, tuple[str, ...]]:
    """The word lists of `phrases/<table>.txt` by name."""
    return {
        name: tuple(word.strip() for word in " ".join(lines).split(separator)) for name, _, lines in _sections(table)
    }


def read_lines(table: str) -> dict[str, tuple[str, ...]]:
    """The templates of `phrases/<table>.txt` by section."""
    return {name: tuple(lines) for name, _, lines in _sections(table)}


def _sections(table: str) -> Iterator[tuple[str, float, list[str]]]:
    """Name, weight and lines of each section, continued lines joined."""
    name, weight = "", 1.0
    lines: list[str] = []
    for line in (FOLDER / f"{table}.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            if name:
                yield name, weight, lines
            name, _, factor = line[3:].partition(" x ")
            weight, lines = float(factor or 1), []
        elif line.startswith("  "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    yield name, weight, lines
