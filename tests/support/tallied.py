"""Exchanges for a tally, and how to look at a count whole."""

from arriero.gateway.counts import Count, Histogram
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import Tally
from support.lanes import inbound

CHAT = inbound("POST", "/api/chat")
START_NS = CHAT.received_ns
START = START_NS / 1e9


def slots(count: Count) -> dict[str, object]:
    """Every plain count that is not at rest, in the order of their names."""
    fresh = type(count)()
    names = [name for kind in type(count).__mro__ for name in getattr(kind, "__slots__", ())]
    values = {name: getattr(count, name) for name in names}
    return {
        name: value
        for name, value in sorted(values.items())
        if not isinstance(value, Histogram) and value != getattr(fresh, name)
    }


def good(**told: object) -> Outcome:
    """An exchange that went well on `gpu1`."""
    fields: dict[str, object] = {"model": "qwen3:4b", "backend": "gpu1", "attempts": 1, "relayed": True, "status": 200}
    return Outcome(**{**fields, **told})  # type: ignore[arg-type]


def recorded(*outcomes: Outcome, ms: int = 100) -> Tally:
    """A tally of these, each of which took `ms`."""
    tally = Tally()
    for outcome in outcomes:
        if outcome.backend is not None:
            tally.attempt(outcome.backend, outcome.error)
        tally.record(outcome, CHAT, START_NS + ms * 1_000_000)
    return tally
