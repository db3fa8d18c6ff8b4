"""A loaded model and a request's hold on it. When to load, whom to serve next and when to unload is `scheduler`'s."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from arriero.backends.base import Tuning
from arriero.backends.engine.memory import Need
from arriero.backends.engine.model import Fingerprint, ModelFile
from arriero.backends.engine.process import Child
from arriero.backends.http.pool import Pool
from arriero.errors import EngineCrashed

FOREVER: Final = math.inf
"""A keep-alive without end."""

LEAST_CONTEXT: Final = 256
"""Tokens: whoever asks for fewer gets these, since llama.cpp takes no context of one token."""


MOST_THREADS: Final = 128
MOST_BATCH: Final = 8192
"""More are not started, nor reserved, whatever a client asks for."""


class Key(NamedTuple):
    """What a process is made of. All names of the same parts share one, whatever else they bring along.

    `sampling` are defaults that the process itself knows. Whether it is for embeddings llama.cpp decides at loading.
    """

    weights: Path
    projector: Path | None
    adapters: tuple[Path, ...]
    template: str | None
    sampling: tuple[tuple[str, float], ...]
    embedding: bool


def key_of(model: ModelFile, *, embedding: bool) -> Key:
    """The process that a model needs."""
    if embedding:
        # Neither pictures nor turns are embedded.
        return Key(model.path, None, model.adapters, None, (), True)
    sampling = tuple(sorted(model.sampling.items()))
    return Key(model.path, model.projector, model.adapters, model.template, sampling, False)


def bounded(tuning: Tuning) -> Tuning:
    """As far as a client may have its way."""
    threads = None if tuning.threads is None else min(tuning.threads, MOST_THREADS)
    batch = None if tuning.batch is None else min(tuning.batch, MOST_BATCH)
    return Tuning(threads, batch, tuning.mmap)


def weights_of(model: ModelFile) -> Fingerprint | None:
    """What tells one state of a model's file from another; `None` for one of the store, which never changes."""
    return model.fingerprint if model.stored is None else None


class Learnt(Struct, frozen=True):
    """What llama.cpp made of a model: a template may name tools and not take them, a projector be for pictures or for
    sounds. `None` where it was not asked.
    """

    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None


NOTHING_LEARNT: Final = Learnt()


class State(Enum):
    """A process on its way: it is not served from before READY, nor after."""

    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Instance:
    """One child process and what is known of it. `context_length` is tokens per request; times are unix seconds.

    `model` is the one that it was loaded for; others of the same key use it too. `tuning` has a value for everything.
    `retired` instances take no new request and end with their last one; who is `leaving` was to go before it was
    loaded, and ends when nobody uses it.
    """

    model: ModelFile
    embedding: bool
    context_length: int
    tuning: Tuning
    need: Need
    keep_alive: float
    deadline: float
    used_at: float
    state: State = State.LOADING
    child: Child | None = None
    pool: Pool | None = None
    learnt: Learnt = NOTHING_LEARNT
    runs: int = 0
    retired: bool = False
    leaving: bool = False
    loader: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def key(self) -> Key:
        return key_of(self.model, embedding=self.embedding)

    @property
    def idle(self) -> bool:
        return self.state is State.READY and self.runs == 0

    def suits(self, model: ModelFile, context_length: int, tuning: Tuning) -> bool:
        """Whether a request for this file and context, tuned so, can be served without a reload."""
        return (
            weights_of(self.model) == weights_of(model)
            and self.context_length >= context_length
            and tuning.threads in (None, self.tuning.threads)
            and (self.embedding or tuning.batch in (None, self.tuning.batch))
            and tuning.mmap in (None, self.tuning.mmap)
        )


class Lease:
    """A request's place on a loaded model. Give it back with `release`, in a `finally`.

    `pool` leads to llama.cpp's server, `model_alias` is the model's name there, `context_length` is tokens per request.
    `model` is the one that was asked for.
    """

    __slots__ = ("_instance", "_released", "_returned", "context_length", "model", "model_alias", "pool")

    def __init__(
        self, instance: Instance, model: ModelFile, pool: Pool, returned: Callable[[Instance, float | None], None]
    ) -> None:
        self.model = model
        self.pool = pool
        self.model_alias = instance.model.id
        self.context_length = instance.context_length
        self._instance = instance
        self._returned = returned
        self._released = False

    @property
    def learnt(self) -> Learnt:
        """What the process has told of itself."""
        return self._instance.learnt

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
