"""Which models a scripted server has in memory, and until when. The clock is given; nothing waits here."""

import re
from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any

KEEP_ALIVE_SECONDS = 300.0
"""How long a model stays after its last request, where the request does not say."""

_UNITS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_PART = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")


class Memory:
    """Models by their listed name. `clock` is unix time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def keep(self, key: str) -> None:
        """In memory from now on, without an end."""
        self._held[key] = _Held(ready_at=self._clock(), seconds=inf)

    def take(self, key: str, keep_alive: float | None, load_seconds: float) -> float:
        """A request begins to use a model; the seconds that it has to wait until the model is loaded.

        One that is not there is loaded, which takes `load_seconds`. Every `take` has its `release`.
        """
        now = self._clock()
        held = self._there(key, now) or _Held(ready_at=now + load_seconds)
        held.seconds = KEEP_ALIVE_SECONDS if keep_alive is None else keep_alive
        held.users += 1
        self._held.pop(key, None)  # to the end: the listing shows the model that was used last at its end
        self._held[key] = held
        return max(0.0, held.ready_at - now)

    def release(self, key: str) -> None:
        """The request has ended; the model's time begins with the last one's end."""
        held = self._held.get(key)
        if held is not None and held.users:
            held.users -= 1
            held.idle_at = max(self._clock(), held.ready_at)

    def unload(self, key: str) -> None:
        """Gone now, or when the requests that use it have ended."""
        if held := self._held.get(key):
            held.seconds = 0.0
            held.idle_at = self._clock()

    def forget(self, key: str) -> None:
        """Gone now."""
        self._held.pop(key, None)

    def loaded(self) -> tuple[tuple[str, float], ...]:
        """What is in memory, with the unix time of its end; `inf` for none. One that still loads is not there yet."""
        now = self._clock()
        there = [(key, held) for key in tuple(self._held) if (held := self._there(key, now)) is not None]
        return tuple((key, held.until(now)) for key, held in there if held.ready_at <= now)

    def _there(self, key: str, now: float) -> "_Held | None":
        held = self._held.get(key)
        if held is not None and not held.users and held.until(now) <= now:
            del self._held[key]
            return None
        return held


class _Held:
    """A model in memory. `seconds` is its keep-alive, counted from `idle_at`, when the last request ended."""

    __slots__ = ("idle_at", "ready_at", "seconds", "users")

    def __init__(self, *, ready_at: float, seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self.ready_at = ready_at
        self.idle_at = ready_at
        self.seconds = seconds
        self.users = 0

    def until(self, now: float) -> float:
        return (now if self.users else self.idle_at) + self.seconds


def read_keep_alive(given: Any) -> float | None:
    """Seconds, `inf` for ever, `None` where nothing is said. Raises ValueError in the words of an Ollama server."""
    match given:
        case None:
            return None
        case bool():
            raise ValueError("Unsupported type: 'bool'")
        case int() | float():
            seconds = inf if abs(given) > 1e18 else float(given)
        case str():
            seconds = _duration(given)
        case _:
            raise ValueError("Unsupported type for keep_alive")
    return inf if seconds < 0 or isnan(seconds) else seconds


def _duration(text: str) -> float:
    if text == "0":
        return 0.0
    found = _DURATION.fullmatch(text)
    if found is None:
        if re.fullmatch(rf"[+-]?{_NUMBER}", text):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
    return -seconds if found[1] == "-" else seconds
