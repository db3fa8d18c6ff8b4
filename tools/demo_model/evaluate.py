"""Score a model file: `python -m tools.demo_model.evaluate`.

Asks every held-out question greedily and prints the score and the misses. An answer is right if it
fits the question's pattern and ends by itself. With `--everywhere` the questions are asked again
after system prompts and other turns, with `--json` the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import SHIPPED
from .heldout import HELD_OUT, Question
from .runner import Runner, leave
from .surroundings import SURROUNDINGS, Messages
from .tuning import TUNING


@dataclass(frozen=True, slots=True)
class Answer:
    """How one question went."""

    question: str
    text: str
    right: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class Score:
    """All answers in one place, and the longest prompt in tokens."""

    place: str
    answers: tuple[Answer, ...]
    longest_prompt: int

    @property
    def right(self) -> int:
        """Number of right answers."""
        return sum(answer.right for answer in self.answers)

    @property
    def share(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right / len(self.answers)

    def __str__(self) -> str:
        total, ended = len(self.answers), sum(answer.ended for answer in self.answers)
        return (
            f"{self.place}: {self.right} of {total} right ({self.share:.0%}), {ended} ended, "
            f"prompts up to {self.longest_prompt} tokens"
        )


def score(runner: Runner, questions: Sequence[Question], place: str, before: Messages) -> Score:
    """Ask each question after the messages `before`."""
    answers: list[Answer] = []
    longest = 0
    for question in questions:
        reply = runner.ask([*before, {"role": "user", "content": question.text}])
        ended = reply.finish == "stop"
        right = ended and question.accepts(reply.text)
        answers.append(Answer(question.text, reply.text, right, ended))
        longest = max(longest, reply.prompt_tokens)
    return Score(place, tuple(answers), longest)


def report(scores: Sequence[Score], every_miss: bool) -> None:
    """Print the scores, and the misses of the first place or of all."""
    for number, result in enumerate(scores):
        print(result)
        if number == 0 or every_miss:
            for answer in result.answers:
                if not answer.right:
                    print(f"  miss: {answer.question!r} -> {answer.text!r}")


def main() -> None:
    """Read the command line, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--list", choices=("held-out", "tuning"), default="held-out")
    parser.add_argument("--everywhere", action="store_true", help="also after other messages")
    parser.add_argument("--misses", action="store_true", help="print the misses of every place")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    questions = HELD_OUT if options.list == "held-out" else TUNING
    places = SURROUNDINGS if options.everywhere else {"plain": SURROUNDINGS["plain"]}
    runner = Runner(options.model)
    scores = [score(runner, questions, place, before) for place, before in places.items()]
    if options.json:
        print(json.dumps([asdict(result) | {"share": result.share} for result in scores]))
    else:
        report(scores, options.misses)
    leave()


if __name__ == "__main__":
    main()
