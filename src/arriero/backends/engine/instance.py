"""A loaded model and a request's hold on it. When to load, whom to serve next and when to unload is `scheduler`'s."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from arriero.backends.engine.memory import Need
from arriero.backends.engine.models import ModelFile
from arriero.backends.engine.process import Child
from arriero.backends.http.pool import Pool
from arriero.errors import EngineCrashed

FOREVER: Final = math.inf
"""A keep-alive without end."""

Key = tuple[str, bool]
"""Path of the model and whether for embeddings: llama.cpp decides at loading which of the two a process can do."""


class State(Enum):
    """A process on its way: it is not served from before READY, nor after."""

    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Instance:
    """One child process and what is known of it. `context_length` is tokens per request; times are unix seconds.

    `retired` instances take no new request and end with their last one.
    """

    model: ModelFile
    embedding: bool
    context_length: int
    need: Need
    keep_alive: float
    deadline: float
    used_at: float
    state: State = State.LOADING
    child: Child | None = None
    pool: Pool | None = None
    runs: int = 0
    retired: bool = False
    loader: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def key(self) -> Key:
        return str(self.model.path), self.embedding

    @property
    def idle(self) -> bool:
        return self.state is State.READY and self.runs == 0

    def suits(self, model: ModelFile, context_length: int) -> bool:
        """Whether a request for this file and context can be served without a reload."""
        return self.model.fingerprint == model.fingerprint and self.context_length >= context_length


class Lease:
    """A request's place on a loaded model. Give it back with `release`, in a `finally`.

    `pool` leads to llama.cpp's server, `model_alias` is the model's name there, `context_length` is tokens per request.
    """

    __slots__ = ("_instance", "_released", "_returned", "context_length", "model_alias", "pool")

    def __init__(self, instance: Instance, pool: Pool, returned: Callable[[Instance, float | None], None]) -> None:
        self.pool = pool
        self.model_alias = instance.model.id
        self.context_length = instance.context_length
        self._instance = instance
        self._returned = returned
        self._released = False

    def release(self, keep_alive: float | None = None) -> None:
        """Give the place back; only the first call counts. The model stays for `keep_alive` seconds from now.

        `None` is the engine's default, 0 unloads as soon as nobody uses it, `FOREVER` or a negative number never.
        """
        if not self._released:
            self._released = True
            self._returned(self._instance, keep_alive)

    async def diagnose(self, seconds: float = 1.0) -> EngineCrashed | None:
        """Why an answer was cut: the crash of the process, `None` if it lives.

        A cut connection is seen before the end of the process is, so this waits for it, up to `seconds`.
        """
        child = self._instance.child
        if child is None:
            return None
        await child.settle(seconds)
        failure = child.failure()
        return failure if isinstance(failure, EngineCrashed) else None
