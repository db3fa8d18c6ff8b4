"""Asking the backends: whether they answer, which models they have, and which of them are loaded.

Every backend is asked at the start, then at its own interval, and whenever somebody needs to know. One question at a
time for each: whoever comes meanwhile waits for the same answer.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from arriero.canonical.catalog import LoadedModel, ModelCard
from arriero.errors import (
    ArrieroError,
    BackendOverloaded,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnconfigured,
    BackendUnreachable,
    InternalError,
)
from arriero.gateway.entry import Entry
from arriero.routing.fleet import State
from arriero.routing.names import key_of

BUSY_SECONDS = 10.0
"""A backend that takes longer to answer a check is busy."""

BACK_OFF = (1, 1, 2, 4, 8, 12)
"""Intervals between checks after so many failures of a backend that answers and is not well. One that cannot be reached
is asked at its interval: a refused connection costs nothing, and it should be seen as soon as it is back."""

BACK_OFF_SECONDS = 60.0
"""The back-off is no longer than this, unless the interval is."""

MAX_COOLING_SECONDS = 3600.0
"""No backend is left alone for longer, whatever its `Retry-After` says: it may have meant milliseconds."""

LIMITED_SECONDS = 30.0
"""How long a backend is left alone that answers 429 to a check and does not say how long."""

TRIES = 2
"""A check that ran out of time is made once more: a busy machine misses one."""

log = structlog.get_logger("arriero.roster")


def state_of(error: ArrieroError) -> State:
    """What a failed question shows."""
    match error:
        case BackendUnreachable() | BackendTimeout():
            return State.OFFLINE
        case BackendUnauthorized() | BackendUnconfigured():
            return State.CONFIG_ERROR
        case BackendOverloaded(status=429):
            return State.RATE_LIMITED
        case _:
            return State.UNHEALTHY


def pause_of(entry: Entry, now: float) -> float:
    """Seconds until the next check; who wants to be left alone is."""
    interval = entry.seat.check_interval
    if entry.state is State.RATE_LIMITED:
        return max(interval, entry.cooling_until - now)
    if entry.well or entry.state is State.OFFLINE:
        return interval
    factor = BACK_OFF[min(entry.failures, len(BACK_OFF)) - 1] if entry.failures else 1
    return min(interval * factor, max(interval, BACK_OFF_SECONDS))


class Checks:
    """The asking side of a roster, which learns of changes by `listed` (other models), `failed` and `recovered`."""

    def __init__(
        self,
        *,
        listed: Callable[[Entry, Sequence[ModelCard]], None],
        failed: Callable[[Entry, ArrieroError], None],
        recovered: Callable[[Entry], None],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = listed
        self._failed = failed
        self._recovered = recovered
        self._wall = wall
        self._clock = clock
        self._keepers: dict[Entry, asyncio.Task[None]] = {}
        self._closed = False
        self._lists: set[Entry] = set()  # those whose running question has to bring the models

    # ---- life ------------------------------------------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Ask this backend from now on, at its interval."""
        if entry.seat.check_interval and entry not in self._keepers:
            self._keepers[entry] = asyncio.create_task(self._keep(entry))

    def keep_anew(self, entry: Entry) -> None:
        """The interval is another one: it begins now."""
        if (task := self._keepers.pop(entry, None)) is not None:
            task.cancel()
            self.keep(entry)

    def drop(self, entry: Entry) -> None:
        """Ask it no more. A question that is on its way ends here: whoever asks next asks anew."""
        for task in (self._keepers.pop(entry, None), entry.asking):
            if task is not None:
                task.cancel()
        entry.asking = None
        self._lists.discard(entry)

    async def close(self, entries: Iterable[Entry]) -> None:
        """Ask nobody any more; returns when every question has ended."""
        self._closed = True
        tasks = [*self._keepers.values(), *(entry.asking for entry in entries if entry.asking is not None)]
        self._keepers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, entry: Entry) -> None:
        while True:
            pause = pause_of(entry, self._clock())
            entry.next_check_at = self._wall() + pause
            await asyncio.sleep(pause)
            # The list is due a little early rather than one check late.
            due = self._clock() - entry.listed + pause / 2 >= (entry.seat.models_interval or 0.0)
            await asyncio.wait([self.ask(entry, models=due)])

    # ---- one question ----------------------------------------------------------------------------------------------

    def ask(self, entry: Entry, *, models: bool = True) -> "asyncio.Task[None]":
        """Ask a backend; with `models`, for its list as well."""
        if models:
            self._lists.add(entry)
        if entry.asking is None or not entry.is_asked:
            entry.asking = asyncio.create_task(self._question(entry))
        return entry.asking

    async def _question(self, entry: Entry) -> None:
        if self._closed:
            return  # somebody was late; the backend is closed as well
        begun = self._clock()
        models = entry in self._lists or not entry.well or not entry.cards
        if models:
            entry.asked = begun
        try:
            for attempt in range(TRIES):
                try:
                    cards = await self._answer(entry, models)
                    break
                except BackendTimeout:
                    if attempt == TRIES - 1:
                        raise
            self._note_answer(entry, cards, self._clock() - begun)
            if entry.backend.has_memory:
                await self.look_at_memory(entry)
        except ArrieroError as error:
            self._note_failure(entry, error)
        except Exception as error:
            # A fault of arriero's in reading one backend's list must not end the asking, nor hide.
            name = entry.backend.name
            log.error("a model list met a fault of arriero", backend=name, exc_info=error)
            self._note_failure(
                entry, InternalError(f"arriero could not read the model list of {name}; its log says more")
            )
        else:
            if cards is None and entry in self._lists:
                await self._question(entry)  # somebody came for the list when it was too late to ask for it
        # Not where the question was dropped: then all this is the next one's.
        self._lists.discard(entry)
        entry.check_at = self._wall()

    async def _answer(self, entry: Entry, models: bool) -> tuple[ModelCard, ...] | None:
        """The models, `None` where they were not asked for. Raises what the backend raises, and `BackendTimeout`."""
        backend, seat = entry.backend, entry.seat
        try:
            async with asyncio.timeout(seat.check_timeout):
                if seat.models_interval is not None or not models:
                    await backend.check()
                if not models:
                    if entry not in self._lists:
                        return None
                    entry.asked = self._clock()
                return await backend.list_models()
        except TimeoutError:
            raise BackendTimeout(f"{backend.name} did not answer its check within {seat.check_timeout:g} s") from None

    def _note_failure(self, entry: Entry, error: ArrieroError) -> None:
        entry.failures += 1
        if state_of(error) is State.RATE_LIMITED:
            wait = LIMITED_SECONDS if error.retry_after is None else error.retry_after
            entry.cooling_until = max(entry.cooling_until, self._clock() + min(wait, MAX_COOLING_SECONDS))
        self._failed(entry, error)

    def _note_answer(self, entry: Entry, cards: tuple[ModelCard, ...] | None, seconds: float) -> None:
        was = entry.state
        entry.failures = 0
        entry.error = None
        entry.check_seconds = seconds
        entry.state = State.BUSY if seconds > BUSY_SECONDS else State.HEALTHY
        if was is State.RATE_LIMITED or was is State.OFFLINE:
            entry.cooling_until = 0.0  # it takes questions again, or has been away and begins anew
        if cards is not None:
            entry.listed = self._clock()
            entry.models_at = self._wall()
            self._listed(entry, cards)
        if was is not entry.state and entry.state is State.HEALTHY:
            log.info("backend answers", backend=entry.backend.name, models=len(entry.cards))
        if not (was is State.HEALTHY or was is State.BUSY):
            self._recovered(entry)

    # ---- memory ----------------------------------------------------------------------------------------------------

    async def look_at_memory(self, entry: Entry) -> None:
        """Which models the backend has loaded now; unknown where it does not say."""
        try:
            async with asyncio.timeout(entry.seat.check_timeout):
                found = await entry.backend.list_loaded()
        except (TimeoutError, ArrieroError) as error:
            log.debug("backend does not say what it has loaded", backend=entry.backend.name, error=str(error))
            entry.loaded, entry.loaded_cards = None, ()
        except Exception as error:
            # A fault of arriero's in reading the answer says nothing against the backend.
            name = entry.backend.name
            log.error("a list of loaded models met a fault of arriero", backend=name, exc_info=error)
            entry.loaded, entry.loaded_cards = None, ()
        else:
            note_memory(entry, found)


def note_memory(entry: Entry, found: Sequence[LoadedModel]) -> None:
    """What the backend says of its memory replaces what was believed."""
    entry.loaded_cards = tuple(found)
    entry.loaded = frozenset(key_of(model.card.id) for model in found)
