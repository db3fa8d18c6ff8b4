"""A frozen picture of the backends, as far as one decision needs it."""

from msgspec import Struct


class Member(Struct, frozen=True):
    """One backend at one moment. A higher `priority` is preferred; `healthy` is `None` until the first probe.

    `max_concurrency` `None` is no limit; `in_flight` counts the leases that are out.
    """

    name: str
    kind: str
    priority: int = 100
    weight: float = 1.0
    max_concurrency: int | None = None
    in_flight: int = 0
    healthy: bool | None = None

    @property
    def full(self) -> bool:
        """Whether every place is taken."""
        return self.max_concurrency is not None and self.in_flight >= self.max_concurrency
