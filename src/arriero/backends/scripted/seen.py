"""What has come to a scripted server, counted. Credentials are masked when a request is noted."""

import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

KEPT = 100
"""How many of the last requests are kept."""

MAX_NAMES = 1000
"""How many paths and models are counted by name; what comes beyond them is counted as `OTHERS`."""

OTHERS = "(others)"
MASK = "***"

_CREDENTIAL = re.compile(r"auth|cookie|token|secret|passw|credential|api[-_]?key", re.IGNORECASE)


class Seen:
    """Counts of requests. Commands are none of them."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """All counts from zero; what is in flight stays so."""
        self.requests = 0
        self.gone = 0
        self.paths: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self._last: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def came(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """A request has come in whole."""
        self.requests += 1
        self.in_flight += 1
        _count(self.paths, target.partition("?")[0])
        if (model := model_of(body)) is not None:
            _count(self.models, model)
        fields = {name: MASK if _CREDENTIAL.search(name) else value for name, value in headers.items()}
        self._last.append({"method": method, "path": _masked(target), "headers": fields})

    def ended(self, *, gone: bool) -> None:
        """A request has had its answer, or its sender has left before."""
        self.in_flight -= 1
        self.gone += gone

    def value(self, last: int) -> dict[str, Any]:
        """What is shown: the counts, and the `last` requests, the newest at the end."""
        kept = list(self._last)
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "gone": self.gone,
            "paths": dict(self.paths),
            "models": dict(self.models),
            "last": kept[max(0, len(kept) - last) :],
        }


class _Named(Struct):
    model: str | None = None
    name: str | None = None


_named = msgspec.json.Decoder(_Named)


def model_of(body: bytes) -> str | None:
    """The model that a request names, as it is written there."""
    try:
        found = _named.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.model if found.model is not None else found.name


def _masked(target: str) -> str:
    """A request's target without the values of a query that may be credentials."""
    path, mark, query = target.partition("?")
    words = [word.partition("=") for word in query.split("&")] if query else []
    shown = [
        f"{name}={MASK}" if equals and (name.lower() == "key" or _CREDENTIAL.search(name)) else name + equals + value
        for name, equals, value in words
    ]
    return path + mark + "&".join(shown)


def _count(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < MAX_NAMES else OTHERS] += 1
