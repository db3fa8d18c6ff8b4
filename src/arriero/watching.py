"""Whether any of a few files has changed: the file system tells, and they are looked at now and then where it does not.

Editors put another file in the place of the old one, and Kubernetes another folder behind a link: so the folders are
watched, along all links, and what counts is what stands behind each path.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import structlog

QUIET_MS = 200
"""Nothing more has to happen for this long: files are written in pieces."""

LONGEST_MS = 1000
"""In a folder that is never quiet, a look comes after this time."""

LOOK_MS = 5000
"""A look comes at the latest after this time: network file systems and the like tell of nothing."""

LINKS = 40
"""More links than this are not followed."""

Stamp: TypeAlias = tuple[tuple[int, int, int, int] | None, ...]
"""What stands behind each path: device, inode, size, time of the last change; `None` for nothing."""

log = structlog.get_logger("arriero.reload")


def stamp(paths: Sequence[Path]) -> Stamp:
    """What stands there now."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # the second: a path that no file can have
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def folders(paths: Sequence[Path]) -> frozenset[Path]:
    """The folders in which something happens when another file comes to stand behind one of the paths."""
    found: set[Path] = set()
    followed: set[Path] = set()
    left = [path.absolute() for path in paths]
    while left and len(followed) < LINKS:
        path = left.pop()
        if path in followed:
            continue
        followed.add(path)
        found.add(path.parent)
        for part in (path, *path.parents):
            if (target := _target(part)) is not None:
                found.add(part.parent)
                left.append(target / path.relative_to(part))
    return frozenset(folder for folder in found if folder.is_dir())


def _target(path: Path) -> Path | None:
    """Where a link leads; `None` for anything else."""
    try:
        return Path(os.path.normpath(path.parent / path.readlink()))
    except (OSError, ValueError):
        return None


async def watch(paths: Sequence[Path], seen: Stamp, changed: Callable[[], None], stop: asyncio.Event) -> None:
    """Calls `changed` whenever something else stands behind a path than at the last look, `seen` being the first.
    Returns soon after `stop` is set.
    """
    while not stop.is_set():
        where = folders(paths)
        async with aclosing(_looks(where, stop)) as looks:
            async for _ in looks:
                now = stamp(paths)
                if now != seen:
                    seen = now
                    changed()
                if folders(paths) != where:
                    break


async def _looks(where: frozenset[Path], stop: asyncio.Event) -> AsyncGenerator[None, None]:
    """One item for each time that a look is due, the first at once: something may have happened before."""
    yield
    # Not at the start of the program, which has better things to do.
    watchfiles = await asyncio.to_thread(__import__, "watchfiles")
    try:
        async with aclosing(
            watchfiles.awatch(
                *where,
                watch_filter=None,
                debounce=LONGEST_MS,
                step=QUIET_MS,
                stop_event=stop,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                recursive=False,
            )
        ) as changes:
            async for _ in changes:
                yield
    except (OSError, RuntimeError) as error:
        # No watches left in the kernel, or the folder has just gone.
        log.debug("the file system does not tell of changes", error=str(error))
    while not stop.is_set():
        try:
            async with asyncio.timeout(LOOK_MS / 1000):
                await stop.wait()
        except TimeoutError:
            yield
