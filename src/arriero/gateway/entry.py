"""One live backend: where it sits in the fleet, and what is known of it now. Mutable, and only `roster` and those who
hold a lease change it.
"""

import asyncio

from msgspec import Struct

from arriero.backends.base import Backend
from arriero.canonical.catalog import LoadedModel, ModelCard
from arriero.errors import ArrieroError
from arriero.gateway.told import Told
from arriero.routing.breaker import Breaker, admits, remaining
from arriero.routing.fleet import ROUTABLE, Member, Speed, State
from arriero.routing.names import Patterns

CLOSED = Breaker()
NO_TURN = (0, 0.0)


class Seat(Struct, frozen=True, kw_only=True):
    """How a backend is placed in the fleet: what the operator said of it. Times are seconds; a `check_interval` of 0
    asks only at the start and when somebody needs to know. `models_interval` `None` reads the list at each check.
    """

    priority: int = 100
    weight: float = 1.0
    max_concurrency: int | None = None
    check_interval: float = 30.0
    check_timeout: float = 2.0
    models_interval: float | None = None
    patterns: Patterns = Patterns()
    extra_models: tuple[str, ...] = ()
    told: Told = Told()


class Failure(Struct, frozen=True):
    """An attempt that failed by the backend's fault. `at` is unix time. Without the error itself: it would hold on to
    the request.
    """

    kind: type[ArrieroError]
    type: str
    status: int
    message: str
    at: float


class Entry:
    """One backend and what is known of it now. `asked` (for its models, the last time) and
    `cooling_until` are on the monotonic clock; what ends in `_at` is unix time, `None` for never.
    """

    __slots__ = (
        "asked",
        "asking",
        "backend",
        "breaker",
        "broken",
        "cards",
        "check_at",
        "check_seconds",
        "cooling_until",
        "errands",
        "error",
        "failures",
        "in_flight",
        "last_failure",
        "left",
        "listed",
        "loaded",
        "loaded_cards",
        "models_at",
        "next_check_at",
        "own",
        "reserved",
        "seat",
        "speed",
        "state",
        "turns",
        "used",
    )

    def __init__(self, backend: Backend, seat: Seat) -> None:
        self.backend = backend
        self.seat = seat
        self.cards: tuple[ModelCard, ...] = ()
        self.own: tuple[ModelCard, ...] = ()  # the same as the backend lists them, without what the operator says
        self.left = False  # it is in no fleet any more: its last requests run to their end
        self.broken: dict[str, str] = {}
        self.state = State.UNKNOWN
        self.error: ArrieroError | None = None  # why it is not healthy
        self.failures = 0  # checks that failed in a row
        self.last_failure: Failure | None = None
        self.breaker = CLOSED
        self.cooling_until = 0.0
        self.in_flight = 0
        self.errands = 0  # library operations on their way, which take no place
        self.reserved = 0  # places promised to requests that were waiting and have not taken them yet
        self.turns: dict[str, tuple[int, float]] = {}  # model key -> (turn, stride)
        self.speed = Speed()
        self.loaded: frozenset[str] | None = None  # keys of the models in its memory
        self.loaded_cards: tuple[LoadedModel, ...] = ()
        self.used: dict[str, float] = {}  # model id -> unix time until which it counts as loaded
        self.asked = float("-inf")
        self.listed = float("-inf")
        self.asking: asyncio.Task[None] | None = None
        self.check_at: float | None = None
        self.check_seconds: float | None = None  # how long the last good check took
        self.next_check_at: float | None = None
        self.models_at: float | None = None

    @property
    def well(self) -> bool:
        """Whether the last thing known of it is good; also before anything is known."""
        return self.state in ROUTABLE

    def routable(self, now: float) -> bool:
        """Whether decisions use it now: a good state, a breaker that lets an attempt start, no wish to be left alone.
        `now` is on the monotonic clock.
        """
        return self.state in ROUTABLE and admits(self.breaker, now) and self.cooling_until <= now

    def up(self, now: float) -> bool:
        """Whether it is routable, and has answered at least once."""
        return self.state is not State.UNKNOWN and self.routable(now)

    @property
    def is_asked(self) -> bool:
        """Whether a question to it is on its way."""
        return self.asking is not None and not self.asking.done()

    @property
    def is_free(self) -> bool:
        """Whether it can take any request with nothing to think of: it is well, and nobody has anything against it."""
        most = self.seat.max_concurrency
        return (
            self.state in ROUTABLE
            and self.breaker is CLOSED
            and not self.cooling_until
            and (most is None or self.in_flight + self.reserved < most)
        )

    def member(self, key: str, now: float) -> Member:
        """The frozen picture for a decision about the model of this key. `now` is on the monotonic clock."""
        breaker = self.breaker
        shut = breaker is not CLOSED and not admits(breaker, now)
        turn, stride = self.turns.get(key, NO_TURN)
        seat = self.seat
        return Member(
            self.backend.name,
            self.backend.kind,
            seat.priority,
            seat.weight,
            seat.max_concurrency,
            self.in_flight + self.reserved,
            self.state,
            shut,
            remaining(breaker, now) if shut else 0.0,
            max(0.0, self.cooling_until - now) if self.cooling_until else 0.0,
            self.loaded,
            self.speed,
            turn,
            stride,
            None if self.error is None else self.error.message,
        )
