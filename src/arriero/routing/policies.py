"""The policies: how one of several backends that can take a request is chosen. A policy is one function that scores an
offer; the least score wins, and between equals whoever had the model's last request longest ago.

To add one, write its function and name it in `POLICIES`.
"""

from collections.abc import Callable, Mapping
from math import exp, inf
from typing import TypeAlias

from arriero.canonical.catalog import ModelCard
from arriero.routing.fleet import Member, Speed

Score: TypeAlias = tuple[float, ...]
Policy: TypeAlias = Callable[[Member, ModelCard, float], Score]
"""`(member, card, now) -> score`; `now` is on the clock of `Speed.at`."""

FADES_S = 60.0
"""A slow answer counts for less and less, so that a backend that was slow once is tried again."""

ANSWER_TOKENS = 100
"""Tokens of the answer for which the time is estimated."""

SMOOTHING = 0.3
"""Share of a new measurement in an average that gets better."""

CAPABILITY = "capability"
"""The one policy that looks at what a request needs."""

_OWN = frozenset({"ollama", "engine", "scripted"})
"""Kinds whose tokens cost nothing unless the operator says otherwise."""


def least_connections(member: Member, card: ModelCard, now: float) -> Score:
    """The least to do for its weight."""
    return (member.in_flight / member.weight,)


def round_robin(member: Member, card: ModelCard, now: float) -> Score:
    """Everyone in turn: `turn` alone decides."""
    return ()


def weighted(member: Member, card: ModelCard, now: float) -> Score:
    """By share: who is least far in it (stride scheduling)."""
    return (member.stride,)


def fastest(member: Member, card: ModelCard, now: float) -> Score:
    """The least time that an answer of a hundred tokens is likely to take; who was not measured yet comes first."""
    return (seconds_of(member.speed, now) * (member.in_flight + 1), member.in_flight / member.weight)


def cheapest(member: Member, card: ModelCard, now: float) -> Score:
    """The lowest price for a token of prompt and of answer; an unknown price comes last."""
    return (price_of(member, card), member.in_flight / member.weight)


POLICIES: Mapping[str, Policy] = {
    "priority": least_connections,  # the tiers are everyone's; inside one it is the load that decides
    "round-robin": round_robin,
    "least-connections": least_connections,
    "weighted": weighted,
    "fastest": fastest,
    "cheapest": cheapest,
    CAPABILITY: least_connections,  # who can do it is decided before, see `needs`; then it is the load
}


def price_of(member: Member, card: ModelCard) -> float:
    """US dollars for a million tokens each of prompt and answer; infinite where nobody knows."""
    if card.input_price is None and card.output_price is None:
        return 0.0 if member.kind in _OWN else inf
    return (card.input_price or 0.0) + (card.output_price or 0.0)


def seconds_of(speed: Speed, now: float) -> float:
    """The time of an answer, as far as it was measured, less the longer ago that was."""
    if speed.first_byte_s is None:
        return 0.0
    writing = ANSWER_TOKENS / speed.tokens_per_s if speed.tokens_per_s else 0.0
    return (speed.first_byte_s + writing) * exp(-max(0.0, now - speed.at) / FADES_S)


def measured(speed: Speed, first_byte_s: float | None, tokens_per_s: float | None, now: float) -> Speed:
    """The averages after another answer."""
    return Speed(
        _following(speed.first_byte_s, first_byte_s, worse=max),
        _following(speed.tokens_per_s, tokens_per_s, worse=min),
        now,
    )


def _following(before: float | None, value: float | None, *, worse: Callable[[float, float], float]) -> float | None:
    if before is None or value is None:
        return before if value is None else value
    # A peak is believed at once, a recovery slowly: many requests would pay for the other mistake.
    return value if worse(before, value) == value else before + SMOOTHING * (value - before)
