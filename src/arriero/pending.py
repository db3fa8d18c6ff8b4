"""Settings that the configuration knows and this version does not carry out yet.

A setting that is read and ignored in silence is worse than none: whoever sets one of these is told at the start.
"""

from arriero.config import Config

PENDING: tuple[str, ...] = (
    "server.workers",
    "limits.requests_per_minute",
    "limits.requests_per_minute_per_address",
    "limits.burst",
    "limits.trusted_proxies",
    "models.filter_file",
    "routing.prefer_loaded",
    "routing.fallback",
    "routing.retry.statuses",
    "routing.retry.budget_seconds",
    "routing.breaker",
    "routing.queue",
    "routing.sticky",
)
"""Each has no effect whatever its value is."""

POLICIES = ("least-connections", "priority")
"""The policies that there are: both prefer the higher priority, and then whoever has the least to do."""


def without_effect(config: Config) -> list[str]:
    """A sentence for each setting that differs from its default and has no effect."""
    default = Config()
    found = [
        f"{name} has no effect in this version" for name in PENDING if _value(config, name) != _value(default, name)
    ]
    policy = config.routing.policy
    if policy not in POLICIES:
        found.append(f"routing.policy: {policy} is not there in this version; least-connections is used instead")
    return found


def _value(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config
