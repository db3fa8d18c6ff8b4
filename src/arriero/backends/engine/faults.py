"""Models that fail: which files are known to be broken, and how long one that crashes has to wait. No clock, no I/O."""

from collections import deque
from typing import Final, TypeAlias

from arriero.backends.engine.instance import Key, key_of, weights_of
from arriero.backends.engine.model import Fingerprint, ModelFile
from arriero.errors import EngineCrashed, EngineError, ModelBroken

CRASHES: Final = 3
WINDOW_SECONDS: Final = 60.0
BACK_OFF_SECONDS: Final = (1.0, 2.0, 4.0)
"""Before the restart after the first, second, third crash within the window."""


_Parts: TypeAlias = tuple[Fingerprint | None, Key]


class Faults:
    """The record of one engine. Times are of one clock, in seconds; a changed file has a clean record.

    What is wrong with a model is its own; crashes are shared by all names of the same parts, as their process is.
    """

    def __init__(self) -> None:
        self._broken: dict[Fingerprint, ModelBroken] = {}
        self._crashes: dict[_Parts, deque[tuple[float, str]]] = {}

    def note(self, model: ModelFile, error: EngineError, now: float) -> None:
        """Remember a failed load or a crash. What is neither the file's nor the process's fault is forgotten."""
        if isinstance(error, ModelBroken):
            self._broken[model.fingerprint] = error
        elif isinstance(error, EngineCrashed):
            self._crashes.setdefault(_parts(model), deque(maxlen=CRASHES)).append((now, error.message))

    def refusal(self, model: ModelFile, now: float) -> ModelBroken | None:
        """Why the model is not to be loaded now; `retry_after` tells when a crashing one may be tried again."""
        broken = self._broken.get(model.fingerprint)
        if broken is not None:
            # A fresh one: an exception that is raised twice drags its first traceback along.
            return ModelBroken(broken.message)
        recent = self._recent(model, now)
        if len(recent) < CRASHES:
            return None
        return ModelBroken(
            f"{model.id} crashed {CRASHES} times in {WINDOW_SECONDS:g} seconds: {recent[-1][1]}",
            retry_after=recent[0][0] + WINDOW_SECONDS - now,
        )

    def not_before(self, model: ModelFile, now: float) -> float:
        """The earliest time of the next start; `now` where there is nothing to wait for."""
        recent = self._recent(model, now)
        return max(now, recent[-1][0] + BACK_OFF_SECONDS[len(recent) - 1]) if recent else now

    def reason(self, model: ModelFile, now: float) -> str | None:
        """Why the model counts as broken, if it does."""
        refusal = self.refusal(model, now)
        return refusal.message if refusal is not None else None

    def _recent(self, model: ModelFile, now: float) -> list[tuple[float, str]]:
        crashes = self._crashes.get(_parts(model), ())
        return [(at, text) for at, text in crashes if now - at < WINDOW_SECONDS]


def _parts(model: ModelFile) -> _Parts:
    return weights_of(model), key_of(model, embedding=False)
