"""The `manifests/` directory of a store: which models it names, in which spelling, and what could not be read of it.

Four levels deep and no deeper. Links are followed as long as they stay inside; nothing but a plain file is a manifest.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from arriero.backends.engine.store.blobs import (
    STALE_SECONDS,
    create,
    idle,
    sync_directory,
    temporary_name,
    write_all,
)
from arriero.backends.engine.store.faults import read_fault
from arriero.backends.engine.store.layout import LEVELS, MANIFESTS, is_temporary, manifest_path, name_of, parts
from arriero.backends.engine.store.manifest import MAX_MANIFEST_BYTES, Manifest, read_manifest
from arriero.dialects.ollama.names import Name
from arriero.errors import StoreError

Mark: TypeAlias = tuple[str, int, int]
"""Path, size in bytes, modification time in nanoseconds: the same three, the same manifest."""

_Seen: TypeAlias = tuple[int, int, int, int]
"""Inode, size, modification and change time: a manifest that replaced another one of the same size is told apart."""

_Listed: TypeAlias = tuple[int, int, tuple[str, ...]]
"""Inode and modification time of a directory, and what it holds."""

_TICK_NS: Final = 3_000_000_000
"""Longer than the coarsest clock of any file system."""

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class Stored(Struct, frozen=True):
    """A model of the store. `digest` is that of the manifest's bytes, 64 hex; `modified_at` in Unix seconds."""

    name: Name
    manifest: Manifest
    digest: str
    path: Path
    mark: Mark
    modified_at: float


class Tree:
    """What `manifests/` holds, read anew on each look; a manifest is parsed once as long as its file stays as it is.

    Safe between threads. Nothing here takes the store's lock.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = str(root / MANIFESTS)
        self._known: dict[str, tuple[_Seen, Stored | str]] = {}
        self._listed: dict[str, _Listed] = {}

    def scan(self) -> tuple[list[Stored], dict[Path, str]]:
        """Models in order of their paths; unreadable manifests with the reason. Raises `StoreError`."""
        stored: list[Stored] = []
        broken: dict[Path, str] = {}
        known: dict[str, tuple[_Seen, Stored | str]] = {}
        listed: dict[str, _Listed] = {}
        before = self._known
        for path, names in self._places(listed, broken):
            found = self._look(path, names)
            if found is None:
                continue
            if path in before:
                known[path] = before[path]
            if isinstance(found, str):
                broken[Path(path)] = found
            else:
                stored.append(found)
        self._known, self._listed = known, listed
        return stored, broken

    def find(self, name: Name) -> Stored | None:
        """The model of that name, letter case aside; the exact spelling first.

        Raises `StoreError` for a manifest that cannot be read, `BadRequest` for what is no name.
        """
        for names in self._spellings(name):
            found = self._look(os.path.join(self._top, *names), names)
            if isinstance(found, str):
                raise StoreError(f"the manifest of {name.shortest} cannot be used: {found}")
            if found is not None:
                return found
        return None

    def path(self, name: Name) -> Path | None:
        """Where the manifest of that name lies, readable or not, letter case aside."""
        for names in self._spellings(name):
            path = os.path.join(self._top, *names)
            if self._look(path, names) is not None:
                return Path(path)
        return None

    def spelled(self, name: Name) -> Name:
        """The name as it has to be written: each part in the spelling that the store has for it already, if any."""
        wanted = parts(name)
        for names in self._spellings(name):
            if self._look(os.path.join(self._top, *names), names) is not None:
                return _name(names)
        seen: list[set[str]] = [set() for _ in range(LEVELS)]
        for _, names in self._places({}, {}):
            for level, part in enumerate(names):
                seen[level].add(part)
        host, namespace, model, tag = (
            part if part in there else min((each for each in there if each.lower() == part.lower()), default=part)
            for part, there in zip(wanted, seen, strict=True)
        )
        return Name(model, tag, namespace, host)

    def put(self, name: Name, data: bytes, modified_at: float | None) -> Stored:
        """Write a manifest in exactly this spelling, whole or not at all. Raises `OSError`, `StoreError`."""
        path = manifest_path(self._root, name)
        self._check_inside(path.parent)
        self._make(path.parent)
        # On the first level no file is a model, to Ollama neither, whatever it is called.
        temporary = os.path.join(self._top, temporary_name())
        file = create(Path(temporary))
        try:
            write_all(file, data)
            if modified_at is not None:
                os.utime(file, (modified_at, modified_at))
            os.fsync(file)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(file)
        sync_directory(path.parent)
        found = self._look(str(path), parts(name))
        if not isinstance(found, Stored):
            raise StoreError("the model store cannot be written: something removed its files meanwhile; try again")
        return found

    def remove(self, path: Path) -> None:
        """Remove a manifest and the directories that are empty without it. Raises `OSError`, `StoreError`."""
        self._check_inside(path.parent)
        path.unlink()
        sync_directory(path.parent)
        for folder in list(path.parents)[: LEVELS - 1]:
            if not _remove_empty(folder):
                break

    def remove_leftovers(self, now: float) -> None:
        """Remove empty directories, and files of ours that a killed process left more than an hour before `now`."""
        for entry in _entries(self._top):
            if not is_temporary(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError), idle(Path(entry.path)) as is_idle:
                if is_idle and entry.stat(follow_symlinks=False).st_mtime < now - STALE_SECONDS:
                    os.unlink(entry.path)
        self._remove_empty(self._top, LEVELS)

    def _remove_empty(self, folder: str, levels: int) -> None:
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                if levels > 1:
                    self._remove_empty(entry.path, levels - 1)
                _remove_empty(Path(entry.path))

    def _places(
        self, listed: dict[str, _Listed], broken: dict[Path, str]
    ) -> Iterator[tuple[str, tuple[str, str, str, str]]]:
        """Path and four parts of everything that stands where manifests stand.

        `listed` takes down what was seen, `broken` the directories that cannot be read.
        """

        def names(folder: str, *, folders: bool = True) -> tuple[str, ...]:
            try:
                return self._names(folder, listed, folders=folders)
            except OSError as error:
                if folder == self._top:
                    raise read_fault(error) from error
                broken[Path(folder)] = f"it cannot be read: {error.strerror}"
                return ()

        for host in names(self._top):
            for namespace in names(f"{self._top}/{host}"):
                path = f"{self._top}/{host}/{namespace}"
                for model in names(path):
                    folder = f"{path}/{model}"
                    for tag in names(folder, folders=False):
                        yield f"{folder}/{tag}", (host, namespace, model, tag)

    def _names(self, folder: str, listed: dict[str, _Listed], *, folders: bool) -> tuple[str, ...]:
        """What a directory holds, hidden files left out, in order; from memory if the directory is as it was.

        Raises `OSError`.
        """
        try:
            found = os.stat(folder)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return ()
            raise
        now = time.time_ns()
        known = self._listed.get(folder)
        if known is None or known[:2] != (found.st_ino, found.st_mtime_ns):
            names = (entry.name for entry in _entries(folder) if not folders or _is_folder(entry))
            known = (found.st_ino, found.st_mtime_ns, tuple(sorted(name for name in names if not name.startswith("."))))
        # A directory that has only just changed may change again before its clock ticks.
        if found.st_mtime_ns < now - _TICK_NS:
            listed[folder] = known
        return known[2]

    def _spellings(self, name: Name) -> Iterator[tuple[str, str, str, str]]:
        """Where a manifest of that name may stand, the exact spelling first."""
        exact = parts(name)
        yield exact
        wanted = [part.lower() for part in exact]
        for host in self._folded(self._top, wanted[0]):
            for namespace in self._folded(os.path.join(self._top, host), wanted[1]):
                for model in self._folded(os.path.join(self._top, host, namespace), wanted[2]):
                    for tag in self._folded(os.path.join(self._top, host, namespace, model), wanted[3]):
                        if (host, namespace, model, tag) != exact:
                            yield host, namespace, model, tag

    def _folded(self, folder: str, wanted: str) -> list[str]:
        try:
            return sorted(each for each in os.listdir(folder) if each.lower() == wanted)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise read_fault(error) from error

    def _look(self, path: str, names: tuple[str, str, str, str]) -> Stored | str | None:
        """The model at a path; why it is none; `None` where nothing stands, or a directory."""
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                if not self._inside(Path(path)):
                    return "it is a link that leads out of the store, or nowhere"
                found = os.stat(path)
        except OSError as error:
            return None if error.errno in _NOT_THERE else f"it cannot be read: {error.strerror}"
        if stat.S_ISDIR(found.st_mode):
            return None
        if not stat.S_ISREG(found.st_mode):
            return "it is no plain file"
        seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        result = self._read(path, names)
        if result is not None:
            self._known[path] = (seen, result)
        return result

    def _read(self, path: str, names: tuple[str, str, str, str]) -> Stored | str | None:
        name = name_of(*names)
        if name is None:
            return "its place in the store is no model name"
        if not self._inside(Path(path)):
            return "it lies behind a link that leads out of the store"
        try:
            # What has become a FIFO since would keep a blocking open waiting for ever.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(file, "rb") as source:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    return "it is no plain file"
                data = source.read(MAX_MANIFEST_BYTES + 1)
            manifest = read_manifest(data)
        except OSError as error:
            return None if error.errno in _NOT_THERE else f"it cannot be read: {error.strerror}"
        except StoreError as error:
            return error.message
        return Stored(
            name=name,
            manifest=manifest,
            digest=hashlib.sha256(data).hexdigest(),
            path=Path(path),
            mark=(path, found.st_size, found.st_mtime_ns),
            modified_at=found.st_mtime_ns / 1e9,
        )

    def _inside(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self._top))

    def _check_inside(self, folder: Path) -> None:
        if not self._inside(folder):
            raise StoreError("the model store cannot be written there: a link leads out of it")

    def _make(self, folder: Path) -> None:
        """The directories down to `folder`, their names on the disk. Raises `OSError`."""
        missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):
                each.mkdir(mode=0o755)
            if not each.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            sync_directory(each.parent)


def _name(names: tuple[str, str, str, str]) -> Name:
    host, namespace, model, tag = names
    return Name(model, tag, namespace, host)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return []
        raise


def _remove_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
