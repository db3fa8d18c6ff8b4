"""The filter file read from the disk. What its lines mean is said in `routing.model_filter`.

A file that is not there hides nothing. One that is there and cannot be read hides nothing either at the start; while
arriero runs, the rules that were read before stay.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from arriero.routing.model_filter import EVERYTHING, Fault, ModelFilter, parse

NAME = "models-filter.txt"
"""Where the file stands, in the folder that arriero is started in, if it is not told."""

MAX_BYTES = 64 * 1024 * 1024
"""A larger file is another one than was meant."""

TOLD = 20
"""So many faulty lines are told one by one."""


@dataclass(frozen=True)
class FilterFile:
    """What was read. `problem` says why a file that is there cannot be read; it has no rules then, and the warning says
    so. `missing`: no file is there.
    """

    rules: ModelFilter = EVERYTHING
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    missing: bool = False


def read(path: Path | None) -> FilterFile:
    """The rules of the file, of none where no file is named."""
    if path is None:
        return FilterFile()
    try:
        found = path.stat()
        if str(path) == os.devnull:
            return FilterFile()
        if stat.S_ISDIR(found.st_mode):
            return _failed(f"{path} is a folder; name the file in it")
        if not stat.S_ISREG(found.st_mode):
            return _failed(f"{path} is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        told = f"models.filter_file: there is no file {path}; every model is allowed"
        return FilterFile(warnings=(told,), missing=True)
    except (OSError, ValueError) as error:
        return _failed(f"{path} cannot be read ({_reason(error)})")
    if len(data) > MAX_BYTES:
        return _failed(f"{path} has more than {MAX_BYTES // 1024 // 1024} MiB, which no filter file has")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _failed(f"{path}:{line}: this is not UTF-8; save the file as text in UTF-8")
    rules, faults = parse(text)
    return FilterFile(rules, _told(path, faults))


def summary(path: Path | None, rules: ModelFilter, *, missing: bool = False, unusable: bool = False) -> str:
    """One line about the file and its rules; `unusable`: it is there and could not be read."""
    if path is None:
        return "none"
    if missing or unusable:
        return f"{path} ({'missing' if missing else 'cannot be read'}: every model is allowed)"
    include, exclude = len(rules.include), len(rules.exclude)
    includes = "1 rule that includes" if include == 1 else f"{include} rules that include"
    return f"{path} ({includes}, {exclude} that exclude{'s' if exclude == 1 else ''})"


def unread(problem: str) -> str:
    """The warning about a file that cannot be read, where no rules were read before."""
    return f"models.filter_file: {problem}; every model is allowed"


def _failed(problem: str) -> FilterFile:
    return FilterFile(EVERYTHING, (unread(problem),), problem)


def _told(path: Path, faults: tuple[Fault, ...]) -> tuple[str, ...]:
    told = [f"{path}:{line}: {problem}" for line, problem in faults[:TOLD]]
    if len(faults) > TOLD:
        told.append(f"{path}: {len(faults) - TOLD} more lines have faults such as these")
    return tuple(told)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
