"""Blocking work on a store, in threads of its own, and how to wait for what must not be left alone."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8


class Threads:
    """The threads of one store: they come with the first work, and end when nobody holds the store any more.

    A disk that hangs, or the store's lock in the hands of another process, may keep all of them waiting. The loop's own
    stay free for what has nothing to do with it: models that are looked at, names of hosts, other stores.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def run(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """What `work` returns or raises, while the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments, **options))


async def to_its_end(work: Awaitable[T]) -> T:
    """What `work` returns or raises. Cancelled, however often, this waits for its end and is cancelled then.

    A thread cannot be stopped, and what it uses must not be closed under it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        # Its own error has nobody to hear of it.
        task.cancelled() or task.exception()
        raise
