"""The configuration as it runs now: what was loaded, the addresses behind its names, the local servers found.

One place changes the running application, whoever asks for it: a SIGHUP, a changed file, a name with other addresses, a
local server that came up. What cannot be carried out is told, and everything stays as it was.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from arriero import compose
from arriero.config import BackendConfig, Config, ConfigError, Loaded
from arriero.config.filter_file import unread
from arriero.config.local import is_own_address
from arriero.config.members import hosts_of, present
from arriero.discovery import Addresses, LocalServers, Resolve, resolve
from arriero.errors import ArrieroError
from arriero.pending import without_effect
from arriero.watching import stamp, watch

LOOK_SECONDS = 10.0
"""How often names are looked up, and local servers looked for."""

START_SECONDS = 1.0
"""How long the start waits for what is looked for."""

FIXED = ("server.host", "server.port", "server.listen", "server.workers", "logging.level", "logging.format")
"""What a process has from its start to its end."""

FILTER = "models.filter_file"
"""The section that has changed where other rules stand in the filter file."""

STAYS = "the configuration stays as it was"

log = structlog.get_logger("arriero.reload")


class Change(NamedTuple):
    """How one configuration differs from another: backends by name, sections by theirs; never a value."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()

    @property
    def told(self) -> dict[str, list[str]]:
        """What there is to tell."""
        return {name: list(found) for name, found in self._asdict().items() if found}


class Running:
    """One application, and the configuration that it follows. `again` reads the configuration once more, `by` looks
    names up; this and the looking for local servers is done `every` so many seconds.
    """

    def __init__(
        self,
        loaded: Loaded,
        again: Callable[[], Loaded] | None = None,
        *,
        by: Resolve = resolve,
        every: float = LOOK_SECONDS,
    ) -> None:
        """Raises `ArrieroError` for a backend that cannot be built. Nobody is asked anything yet."""
        self.loaded = loaded
        self.config = present(loaded.config, {})
        self.app = compose.build(self.config, loaded.environ, loaded.filter)
        self._again = again
        self._every = every
        self._started = loaded.config
        self._addresses = Addresses(by)
        self._locals = LocalServers()
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()
        self._seen = stamp(loaded.watched)
        self._watched: Sequence[Path] = ()
        self._end_of_watch = asyncio.Event()
        self._said = {*loaded.warnings, *without_effect(loaded.config)}
        self._refused: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    # ---- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look who is there, for a moment, and follow every change from now on. Raises `ArrieroError`."""
        first = _spawn(self._look(), self._tasks)
        await asyncio.wait([first], timeout=START_SECONDS)
        if first.done() and (error := first.exception()) is not None:
            raise error
        _spawn(self._keep_looking(first), self._tasks)
        if self._again is not None:
            _spawn(self._keep_reading(self._again), self._tasks)
            self._follow_files()

    async def close(self) -> None:
        """Follow nothing any more."""
        self._end_of_watch.set()  # and no more: its thread has to see it
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._watches, return_exceptions=True)

    def ask(self) -> None:
        """Read the configuration again, and look who is there, soon."""
        self._asked.set()

    def _note_files(self) -> None:
        """What the watching sees; nothing new where a reading has begun since."""
        if stamp(self.loaded.watched) != self._seen:
            self.ask()

    def _follow_files(self) -> None:
        """Begin to watch, or end it, as the configuration says."""
        wanted = self.loaded.watched if self.loaded.config.server.watch else ()
        if wanted == self._watched:
            return
        self._end_of_watch.set()
        self._watched = wanted
        if wanted:
            self._end_of_watch = asyncio.Event()
            seen = self._seen if len(self._seen) == len(wanted) else stamp(wanted)
            _spawn(watch(wanted, seen, self._note_files, self._end_of_watch), self._watches)

    # ---- the file --------------------------------------------------------------------------------------------------

    async def _keep_reading(self, again: Callable[[], Loaded]) -> None:
        """One reading after the other: what changes meanwhile is read after it."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._read(again)
            except Exception as error:
                # A fault of arriero's in one reading must not end the readings, nor hide.
                log.error(STAYS, problem="a fault of arriero", exc_info=error)

    async def _read(self, again: Callable[[], Loaded]) -> None:
        self._seen = stamp(self.loaded.watched)
        try:
            loaded = await asyncio.to_thread(read_again, again, self.loaded)
            await asyncio.gather(
                self._addresses.look(hosts_of(loaded.config)),
                self._locals.look(loaded.config, self._others(loaded)),
            )
            change = await self._take(loaded)
        except ConfigError as error:
            for problem in error.problems:
                log.error(STAYS, problem=problem)
            return
        except ArrieroError as error:
            log.error(STAYS, problem=error.message)
            return
        self._tell(loaded, change)
        self._tell_filter(loaded, change)
        self._follow_files()

    def _tell(self, loaded: Loaded, change: Change) -> None:
        file = {} if loaded.file is None else {"file": str(loaded.file)}
        if change == Change():
            log.info("the configuration was read again and is the same", **file)
        else:
            log.info("the configuration has changed", **file, **change.told)
        if fixed := fixed_of(self._started, loaded.config):
            log.warning("restart arriero for these settings: they do not change while it runs", settings=fixed)
        warnings = {*loaded.warnings, *without_effect(loaded.config)}
        for warning in sorted(warnings - self._said):
            log.warning(warning)
        self._said = warnings

    def _tell_filter(self, loaded: Loaded, change: Change) -> None:
        if loaded.filter_problem is not None:
            log.error("the filter stays as it was", problem=loaded.filter_problem, rules=len(loaded.filter))
        elif FILTER in change.sections:
            names, path = self.app.roster.names, loaded.config.models.filter_file
            file = {} if path is None else {"file": str(path)}
            counts = {"rules": len(loaded.filter), "shown": len(names.models), "hidden": len(names.hidden)}
            log.info("the filter has changed", **file, **counts)

    # ---- who is there ----------------------------------------------------------------------------------------------

    async def _keep_looking(self, first: "asyncio.Task[None]") -> None:
        await asyncio.wait([first])
        self._note(first.exception())
        while True:
            await asyncio.sleep(self._every)
            try:
                await self._look()
            except Exception as error:
                self._note(error)
            else:
                self._note(None)

    async def _look(self) -> None:
        loaded = self.loaded
        await asyncio.gather(
            self._addresses.look(hosts_of(loaded.config)),
            self._locals.look(loaded.config, self._others(loaded)),
        )
        change = await self._take(None)
        if change != Change():
            log.info("backends have come or gone", **change.told)

    def _note(self, error: BaseException | None) -> None:
        """What cannot be carried out is told once, and not every ten seconds."""
        told = None if error is None else str(error)
        if error is not None and told != self._refused:
            fault = {} if isinstance(error, ArrieroError) else {"exc_info": error}
            log.error(STAYS, problem=told, **fault)
        self._refused = told

    # ---- the change ------------------------------------------------------------------------------------------------

    async def _take(self, loaded: Loaded | None) -> Change:
        """Run by this configuration (`None`: by the one that is there) and by what is known now. Raises `ArrieroError`,
        and then nothing has changed.
        """
        async with self._turn:
            wanted = loaded or self.loaded
            before, filter = self.config, self.loaded.filter
            held = self._held(wanted.config)
            after = present(held, self._addresses.known, self._others(wanted), self._locals.found)
            if after != before or wanted.filter != filter:
                await compose.adopt(self.app, before, after, wanted.environ, wanted.filter)
            self.loaded, self.config = wanted, after
            change = change_of(before, after)
            return change if wanted.filter == filter else change._replace(sections=(*change.sections, FILTER))

    def _others(self, loaded: Loaded) -> list[BackendConfig]:
        """The candidates that are not arriero itself, wherever it would listen after a restart."""
        held = self._held(loaded.config)
        return [one for one in loaded.candidates if not is_own_address(held, getattr(one, "url", ""))]

    def _held(self, config: Config) -> Config:
        """With the addresses that arriero listens on in truth: what depends on them must not follow others."""
        start = self._started.server
        held = {name: getattr(start, name) for name in ("host", "port", "listen", "workers")}
        return config.model_copy(update={"server": config.server.model_copy(update=held)})


def _spawn(work: Coroutine[Any, Any, None], tasks: "set[asyncio.Task[None]]") -> "asyncio.Task[None]":
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def read_again(again: Callable[[], Loaded], before: Loaded) -> Loaded:
    """The configuration as it is now. Raises `ConfigError`, also for what only a running arriero must not take for it:
    its file is gone, or empty (somebody is just writing it). Of a filter file that cannot be read the old rules stay.
    """
    file = before.file
    if file is not None and file.exists() and not file.is_file() and str(file) != os.devnull:
        raise ConfigError([f"{file}: is no file, and cannot be read a second time"])
    loaded = again()
    if file is not None and loaded.file != file and not file.exists():
        raise ConfigError([f"{file}: is gone"])
    if loaded.file is not None and loaded.file.is_file() and not loaded.file.stat().st_size:
        raise ConfigError([f"{loaded.file}: is empty; write {{}} into it if nothing shall be set"])
    if (problem := loaded.filter_problem) is not None:
        warnings = tuple(text for text in loaded.warnings if text != unread(problem))
        return replace(loaded, filter=before.filter, warnings=warnings)
    return loaded


def change_of(before: Config, after: Config) -> Change:
    """How they differ. `backends` among the sections: those that are in both stand in another order."""
    old = {backend.name: backend for backend in before.backends}
    new = {backend.name: backend for backend in after.backends}
    sections = [
        name for name in Config.model_fields if name != "backends" and getattr(before, name) != getattr(after, name)
    ]
    if [name for name in old if name in new] != [name for name in new if name in old]:
        sections.append("backends")
    return Change(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in new if name in old and old[name] != new[name]),
        sections=tuple(sections),
    )


def fixed_of(start: Config, now: Config) -> list[str]:
    """The settings that differ and cannot change while arriero runs."""
    return [name for name in FIXED if _value(start, name) != _value(now, name)]


def _value(config: Config, setting: str) -> object:
    section, _, name = setting.partition(".")
    return getattr(getattr(config, section), name)
