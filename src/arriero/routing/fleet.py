"""A frozen picture of the backends, as far as one decision needs it."""

from enum import Enum

from msgspec import Struct


class State(Enum):
    """What the last question to a backend, or the last attempt on it, has shown."""

    UNKNOWN = "unknown"  # not asked yet
    HEALTHY = "healthy"
    BUSY = "busy"  # it answers, slowly
    RATE_LIMITED = "rate_limited"  # it asked to be left alone for a while
    CONFIG_ERROR = "config_error"  # it refuses the gateway's credentials
    UNHEALTHY = "unhealthy"  # it answers, and not well
    OFFLINE = "offline"  # no connection, or no answer in time

    __hash__ = object.__hash__  # Enum's own is a function in Python, and every decision asks of every candidate


ROUTABLE = frozenset({State.UNKNOWN, State.HEALTHY, State.BUSY})
"""In these states a backend takes its ordinary share of the requests."""

LAST_RESORT = frozenset({State.UNHEALTHY, State.CONFIG_ERROR})
"""In these only where nobody else is left: the question may be wrong, and the client's request the better one."""


class Speed(Struct, frozen=True, gc=False):
    """What was measured of a backend: seconds to the first byte and tokens a second, as moving averages that follow a
    turn for the worse at once. `None` is not measured yet; `at` is the moment of the last measurement.
    """

    first_byte_s: float | None = None
    tokens_per_s: float | None = None
    at: float = 0.0


class Member(Struct, frozen=True, gc=False):
    """One backend at one moment. A higher `priority` is preferred.

    `max_concurrency` `None` is no limit; `in_flight` counts the leases that are out, and the places promised. `open`:
    its breaker lets nothing pass for another `open_s` seconds. `cooling_s`: seconds for which it wants to be left
    alone. `loaded`: keys of the models in its memory, `None` where it cannot say. `turn` and `stride` are about the
    model in question: when it was last given to this backend, and how far the backend is in its share. `why`: what
    was wrong with it, in a sentence.
    """

    name: str
    kind: str
    priority: int = 100
    weight: float = 1.0
    max_concurrency: int | None = None
    in_flight: int = 0
    state: State = State.UNKNOWN
    open: bool = False
    open_s: float = 0.0
    cooling_s: float = 0.0
    loaded: frozenset[str] | None = None
    speed: Speed = Speed()
    turn: int = 0
    stride: float = 0.0
    why: str | None = None

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return self.max_concurrency is not None and self.in_flight >= self.max_concurrency
