"""Check the corpus without a model: `python -m tools.demo_model.check` prints one JSON object.

Says how many held-out questions there are, which of them the corpus can produce (none may), which
answers carry out a sum (none may), and the share of refusals among sampled answers.
"""

from __future__ import annotations

import json
from itertools import islice

from . import corpus, grammar
from .heldout import HELD_OUT


def refusal_share(conversations: int = 2000) -> float:
    """Share of refusals among the answers that the model learns."""
    answers = [
        message.content
        for messages in islice(corpus.conversations(seed=0), conversations)
        for message in messages
        if message.learn
    ]
    return sum(answer in corpus.REFUSALS for answer in answers) / len(answers)


def sampled_twins(conversations: int = 20_000) -> list[str]:
    """Held-out questions that turn up, word for word, in a sample of the corpus."""
    held = {grammar.normalise(question.text): question.text for question in HELD_OUT}
    said = {
        grammar.normalise(message.content)
        for messages in islice(corpus.conversations(seed=0), conversations)
        for message in messages
    }
    return [text for wording, text in held.items() if wording in said]


def main() -> None:
    """Run every check."""
    texts = [question.text for question in HELD_OUT]
    findings = {
        "held_out": len(set(texts)),
        "held_out_in_corpus": sorted({*corpus.leaks(texts), *sampled_twins()}),
        "sums_answered": corpus.sums_answered(),
        "refusal_share": round(refusal_share(), 3),
        "intents": len(corpus.INTENTS),
        "templates": sum(len(intent.templates) for intent in corpus.INTENTS),
    }
    print(json.dumps(findings, indent=2))


if __name__ == "__main__":
    main()
