# mypy: no-warn-unused-ignores
# Tensor.backward is untyped where torch is installed, and Any where it is not.
"""Train the tokenizer and the network: `python -m tools.demo_model.train --out DIR`.

One thread, no GPU. Writes `tokenizer.json`, `weights.pt` and `training.json` into the output
folder, every 100 steps. The same seed, versions and machine give the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

from . import corpus
from .network import Llama, Shape

END_OF_TEXT, START, END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

ANSWER_WEIGHT = 1.0
QUESTION_WEIGHT = 0.05
"""Weight in the loss of what the model says and of what is said to it; the rest has none."""

PEAK_RATE = 3e-3
WARM_UP_STEPS = 100
CUT_SHARE = 0.7
CUT_TOKENS = (5, 16)
"""How many conversations stop within the last answer, and after how many tokens of it. Which answer
it is shows in its first words, so the rest of it needs to be learned less often."""

TOKENS_PER_STEP = 3072
"""Upper bound of a batch, padding included."""

Sample = tuple[list[int], list[float]]


def train_tokenizer(vocabulary: int, seed: int, conversations: int = 20_000) -> Tokenizer:
    """Byte-level pair encoding with the splitting rule of gpt-2, so that any text has tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    source = corpus.conversations(seed)
    texts = (message.content for _ in range(conversations) for message in [*_roles(), *next(source)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _roles() -> list[corpus.Message]:
    return [corpus.Message("", role) for role in ("system", "user", "assistant")]


def encode(tokenizer: Tokenizer, messages: Sequence[corpus.Message], limit: int) -> Sample:
    """Token ids and loss weights of a conversation; whole messages only, at most `limit` tokens."""
    ids: list[int] = []
    weights: list[float] = []
    for message in messages:
        head = tokenizer.encode(f"{START}{message.role}\n").ids
        body = tokenizer.encode(f"{message.content}{END}").ids
        tail = tokenizer.encode("\n").ids
        if len(ids) + len(head) + len(body) + len(tail) > limit:
            break
        weight = QUESTION_WEIGHT if message.role == "user" else 0.0
        ids += head + body + tail
        weights += [0.0] * len(head)
        weights += [ANSWER_WEIGHT if message.learn else weight] * len(body)
        weights += [0.0] * len(tail)
    return ids, weights


def cut(sample: Sample, rng: random.Random) -> Sample:
    """Most often the sample up to a place within its last answer, else the whole sample."""
    ids, weights = sample
    if rng.random() > CUT_SHARE:
        return sample
    end = len(weights) - weights[::-1].index(ANSWER_WEIGHT)
    start = end
    while weights[start - 1] == ANSWER_WEIGHT:
        start -= 1
    keep = min(end, start + rng.randint(*CUT_TOKENS))
    return ids[:keep], weights[:keep]


def batches(tokenizer: Tokenizer, shape: Shape, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of ids and weights [batch, time], of conversations of similar length."""
    rng = random.Random(seed)
    source = corpus.conversations(seed)
    while True:
        pool = [encode(tokenizer, next(source), shape.train_length) for _ in range(1000)]
        pool = [cut(sample, rng) for sample in pool if ANSWER_WEIGHT in sample[1]]
        pool.sort(key=lambda sample: len(sample[0]))
        groups: list[list[Sample]] = [[]]
        for sample in pool:
            if (len(groups[-1]) + 1) * len(sample[0]) > TOKENS_PER_STEP:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        yield from map(pad, filter(None, groups))


def pad(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Make one rectangle of samples; what is added has weight 0."""
    length = max(len(ids) for ids, _ in samples)
    ids = torch.zeros(len(samples), length, dtype=torch.long)
    weights = torch.zeros(len(samples), length)
    for row, (sample_ids, sample_weights) in enumerate(samples):
        ids[row, : len(sample_ids)] = torch.tensor(sample_ids)
        weights[row, : len(sample_ids)] = torch.tensor(sample_weights)
    return ids, weights


def losses(network: Llama, ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss to minimise, and the loss per token of the answers alone (nats)."""
    asked = weights[:, 1:] > 0
    logits = network.logits(network(ids[:, :-1])[asked])
    each = functional.cross_entropy(logits, ids[:, 1:][asked], reduction="none")
    kept = weights[:, 1:][asked]
    answers = (kept == ANSWER_WEIGHT).float()
    return (each * kept).sum() / kept.sum(), (each * answers).sum() / answers.sum()


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: a short warm-up, then half a cosine down to 1 % of the peak."""
    decay = 0.5 * (1 + math.cos(math.pi * step / steps))
    return peak * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.99 * decay + 0.01)


def optimiser(network: Llama) -> torch.optim.AdamW:
    """AdamW, with weight decay for matrices only."""
    matrices = [weight for weight in network.parameters() if weight.dim() > 1]
    gains = [weight for weight in network.parameters() if weight.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": gains, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.98),
    )


def validate(network: Llama, held: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Mean answer loss over fixed batches of another seed."""
    with torch.no_grad():
        return sum(float(losses(network, *batch)[1]) for batch in held) / len(held)


def save(out: Path, network: Llama, record: dict[str, Any]) -> None:
    """Write the weights and what is known of them."""
    torch.save(network.state_dict(), out / "weights.pt")
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def train(out: Path, shape: Shape, steps: int, seed: int, peak: float, start: Path | None) -> None:
    """Train and save. Progress is printed as one line per 100 steps.

    `start` is a folder with a tokenizer and weights to carry on from.
    """
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    network = Llama(shape)
    if start is None:
        tokenizer = train_tokenizer(shape.vocabulary, seed)
    else:
        tokenizer = Tokenizer.from_file(str(start / "tokenizer.json"))
        network.load_state_dict(torch.load(start / "weights.pt", weights_only=True))
    tokenizer.save(str(out / "tokenizer.json"))
    update = optimiser(network)
    source = batches(tokenizer, shape, seed + 1)
    other = batches(tokenizer, shape, seed + 2)
    held = [next(other) for _ in range(8)]
    seen = 0
    print(f"{network.size():,} parameters", flush=True)
    for step in range(1, steps + 1):
        for group in update.param_groups:
            group["lr"] = rate(step - 1, steps, peak)
        ids, weights = next(source)
        loss, _ = losses(network, ids, weights)
        update.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        update.step()
        seen += ids.numel()
        if step % 100 and step != steps:
            continue
        answers = validate(network, held)
        cpu = round(time.process_time())
        print(f"step {step} tokens {seen} cpu {cpu} s answers {answers:.4f}", flush=True)
        record = {
            "shape": dataclasses.asdict(shape),
            "parameters": network.size(),
            "steps": step,
            "tokens": seen,
            "cpu_seconds": cpu,
            "answer_loss": round(answers, 4),
            "date": datetime.date.today().isoformat(),
            "seed": seed,
        }
        save(out, network, record)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "work")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peak", type=float, default=PEAK_RATE, help="highest learning rate")
    parser.add_argument("--start", type=Path, help="carry on from the weights in this folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options.out, Shape(), options.steps, options.seed, options.peak, options.start)


if __name__ == "__main__":
    main()
