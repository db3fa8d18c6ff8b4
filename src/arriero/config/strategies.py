"""The words of `ROUTING_STRATEGY` and `FALLBACK_STRATEGY`, by which ollama-proxy names a way of routing, and what each
is here.

Only words and what they set; how a policy chooses lives in `arriero.routing`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from arriero.config.values import parse_truth

if TYPE_CHECKING:
    from arriero.config.draft import Draft
    from arriero.config.environment import Variables


class Strategy(NamedTuple):
    """One word of `ROUTING_STRATEGY`. `spreads`: several providers shall share the requests, so that none may come
    first by its priority."""

    word: str
    policy: str
    spreads: bool
    meaning: str


class Fallback(NamedTuple):
    """One word of `FALLBACK_STRATEGY`, with the settings it sets."""

    word: str
    settings: Mapping[str, Any]
    meaning: str


STRATEGIES: tuple[Strategy, ...] = (
    Strategy("round_robin", "round-robin", True, "everyone in turn"),
    Strategy("least_loaded", "least-connections", True, "who has the least to do"),
    Strategy("fastest_response", "fastest", True, "whose answers were the fastest lately"),
    Strategy("cost_optimized", "cheapest", True, "who asks the least for a token, by the prices that are known"),
    Strategy("capability_based", "capability", False, "who can do what the request needs, by priority"),
    Strategy("manual", "priority", False, "by priority alone"),
)
FALLBACKS: tuple[Fallback, ...] = (
    Fallback("none", {"routing.retry.attempts": 1}, "a failure is the answer"),
    Fallback("next_available", {"routing.retry.where": "elsewhere"}, "the next backend is tried"),
    Fallback("retry_same", {"routing.retry.where": "same"}, "the same backend is tried again, at last another"),
    Fallback("best_alternative", {"routing.retry.where": "elsewhere"}, "the next backend by the policy is tried"),
)
BY_PRIORITY = ("priority", "capability")
"""Policies under which the ranks of the providers count."""

STRATEGY_VARIABLE = "ROUTING_STRATEGY"
BALANCING_VARIABLE = "ENABLE_LOAD_BALANCING"
POLICY, PREFER_LOADED = "routing.policy", "prefer_loaded"


class Routing(NamedTuple):
    """What the variables say. `ranked`: the providers' ranks count. `spread`: the word that takes the meaning from a
    priority that somebody set, if there is one."""

    said: bool
    ranked: bool
    spread: str | None = None


def _folded(text: str) -> str:
    return text.strip().lower().replace("-", "_")


def strategy_of(text: str) -> Strategy:
    """The strategy of a word, in any case, with `-` or `_`. Raises `ValueError` that lists the words."""
    for row in STRATEGIES:
        if row.word == _folded(text):
            return row
    raise ValueError(f"is not one of {', '.join(row.word for row in STRATEGIES)}")


def read_fallback(text: str) -> Mapping[str, Any]:
    """The settings of a word of `FALLBACK_STRATEGY`. Raises `ValueError` that lists the words."""
    for row in FALLBACKS:
        if row.word == _folded(text):
            return row.settings
    raise ValueError(f"is not one of {', '.join(row.word for row in FALLBACKS)}")


def word_of(policy: str) -> str:
    """The word of a policy, for those who read ollama-proxy's; a policy that it has none for keeps its own."""
    return next((row.word for row in STRATEGIES if row.policy == policy), policy.replace("-", "_"))


def fallback_of(attempts: int, where: str) -> str:
    """The word for what follows a failure, the first that sets the same."""
    if attempts <= 1:
        return "none"
    return next(row.word for row in FALLBACKS if row.settings.get("routing.retry.where") == where)


def take(draft: "Draft", variables: "Variables", with_file: bool) -> Routing:
    """Put the policy that the variables name into the draft. Without a file, ollama-proxy's default holds."""
    found, balanced = variables.find(STRATEGY_VARIABLE), variables.find(BALANCING_VARIABLE)
    strategy = None if found is None else draft.read(found, strategy_of)
    if balanced is not None and draft.read(balanced, parse_truth) is False:
        draft.set(POLICY, "priority", balanced.origin)
        if strategy is not None and strategy.policy != "priority":
            draft.warnings.append(f"{STRATEGY_VARIABLE} has no effect with {BALANCING_VARIABLE}=false")
        return Routing(said=True, ranked=True)
    section = draft.data.get("routing")
    section = section if isinstance(section, dict) else {}
    if strategy is None or found is None:
        policy = section.get("policy", "least-connections" if with_file else "capability")
        return Routing(said=False, ranked=policy in BY_PRIORITY)
    draft.set(POLICY, strategy.policy, found.origin)
    if strategy.spreads and PREFER_LOADED not in section:
        # A strategy that is named does what its name says; arriero's own preference would overrule it.
        draft.set(f"routing.{PREFER_LOADED}", False, found.origin)
    return Routing(said=True, ranked=not strategy.spreads, spread=strategy.word if strategy.spreads else None)
