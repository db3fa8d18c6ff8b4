"""Where the blobs are that clients have uploaded: what a model is created of must be on the backend that creates it."""

import time
from collections.abc import Callable, Iterable

MOST = 1000
"""Blobs that are remembered; the one whose last use is oldest goes."""

SECONDS = 3600.0
"""For so long. Ollama clears away what no model uses when it is an hour old and the server starts."""


class Placed:
    """Digest to the names of the backends that have it. Forgets by number and by time."""

    def __init__(
        self, *, most: int = MOST, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._places: dict[str, tuple[float, frozenset[str]]] = {}

    def put(self, digest: str, names: Iterable[str]) -> None:
        """These backends have it as well from now on."""
        key = _key(digest)
        places = self.find(digest) | frozenset(names)
        if not places:
            return
        self._places.pop(key, None)
        if len(self._places) >= self._most:
            del self._places[next(iter(self._places))]
        self._places[key] = (self._clock(), places)

    def find(self, digest: str) -> frozenset[str]:
        """Who has it, as far as is known here."""
        at, places = self._places.get(_key(digest), (0.0, frozenset[str]()))
        return places if self._clock() - at < self._seconds else frozenset()

    def __len__(self) -> int:
        return len(self._places)


def _key(digest: str) -> str:
    """One digest in its two spellings, `sha256:` and `sha256-`."""
    return digest.casefold().replace("-", ":", 1)
