"""How people type: the noise on top of a wording, and made-up words."""

from __future__ import annotations

import random

from .grammar import SHORT_FORMS, Generator
from .tables import read_words

_WORDS = read_words("manner", separator=";")
OPENERS = _WORDS["openers"]
CLOSERS = _WORDS["closers"]
EXTRAS = _WORDS["extras"]
SMALL_WORDS = frozenset(_WORDS["small-words"])
QUESTION_WORDS = frozenset(_WORDS["question-words"])
CONSONANTS, VOWELS, ENDINGS = _WORDS["consonants"], _WORDS["vowels"], _WORDS["endings"]


def pseudoword(rng: random.Random) -> str:
    """A made-up word of one to three syllables: it stands for all words that the corpus lacks."""
    syllables = (rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
    return "".join(syllables) + rng.choice(ENDINGS)


PSEUDOWORD = Generator(
    pseudoword,
    f"(?:(?:{'|'.join(CONSONANTS)})(?:{'|'.join(VOWELS)})){{1,3}}(?:{'|'.join(ENDINGS)})",
)


def disturb(wording: str, rng: random.Random) -> str:
    """Say a wording as people type it: short, loose, wordy, in any case, with typos."""
    for long, short in SHORT_FORMS:
        if rng.random() < 0.3:
            wording = wording.replace(long, short)
    asks = wording.split()[0].lower() in QUESTION_WORDS
    if rng.random() < 0.2:
        wording = loosen(wording, rng)
    if rng.random() < 0.18:
        wording = f"{rng.choice(OPENERS)} {wording}"
    if rng.random() < 0.13:
        wording = f"{wording}{rng.choice(('', ','))} {rng.choice(CLOSERS)}"
    if rng.random() < 0.14:
        wording = mistype(wording, rng)
    return _punctuate(_recase(wording, rng), asks, rng)


def loosen(wording: str, rng: random.Random) -> str:
    """Drop small words, add others, or swap two neighbours: the words that matter stay."""
    words = wording.split()
    kept = [word for word in words if word.lower() not in SMALL_WORDS or rng.random() < 0.6]
    words = kept or words
    if rng.random() < 0.6:
        extra = pseudoword(rng) if rng.random() < 0.25 else rng.choice(EXTRAS)
        words.insert(rng.randint(0, len(words)), extra)
    if len(words) > 2 and rng.random() < 0.3:
        at = rng.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


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
