"""A file on the disk in, its rules and what is wrong with it out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.config.filter_file import MAX_BYTES, TOLD, FilterFile, read, summary, unread
from arriero.routing.model_filter import EVERYTHING, ModelFilter

RULES = ModelFilter(["gpt-4o"], ["*:free"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models-filter.txt"


def test_no_file_is_named() -> None:
    assert read(None) == FilterFile(EVERYTHING)


@pytest.mark.parametrize(
    "data",
    [
        b"gpt-4o\n!*:free\n",
        b"\xef\xbb\xbfgpt-4o\n!*:free",
        b"# mine\r\n\r\n gpt-4o \r\n!*:free\r\n",
    ],
)
def test_its_rules(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert read(path) == FilterFile(RULES)


def test_an_empty_file_allows_everything(path: Path) -> None:
    path.touch()
    assert (read(path), read(Path(os.devnull))) == (FilterFile(EVERYTHING), FilterFile(EVERYTHING))


def test_a_file_that_is_not_there_allows_everything_and_is_told(path: Path) -> None:
    for missing in (path, path / "below"):
        warning = f"models.filter_file: there is no file {missing}; every model is allowed"
        assert read(missing) == FilterFile(EVERYTHING, (warning,), missing=True)
    path.touch()
    below = path / "below"
    assert read(below).warnings == (f"models.filter_file: there is no file {below}; every model is allowed",)


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


def locked(path: Path) -> None:
    path.touch(mode=0)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Path.mkdir, "{} is a folder; name the file in it"),
        (os.mkfifo, "{} is no regular file"),
        (lambda path: path.symlink_to(path), "{} cannot be read (Too many levels of symbolic links)"),
        (lambda path: path.write_bytes(b"a\nb\nc\xff\n"), "{}:3: this is not UTF-8; save the file as text in UTF-8"),
        (
            lambda path: path.write_bytes("gpt-4o".encode("utf-16")),
            "{}:1: this is not UTF-8; save the file as text in UTF-8",
        ),
        (large, "{} has more than 64 MiB, which no filter file has"),
        pytest.param(
            locked,
            "{} cannot be read (Permission denied)",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything"),
        ),
    ],
)
def test_what_cannot_be_read_allows_everything_and_says_why(
    path: Path, make: Callable[[Path], object], problem: str
) -> None:
    make(path)
    told = problem.format(path)
    assert read(path) == FilterFile(EVERYTHING, (unread(told),), told)
    assert unread(told) == f"models.filter_file: {told}; every model is allowed"


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    found = read(tmp_path / ("x" * 5000))
    assert found.problem == f"{tmp_path / ('x' * 5000)} cannot be read (File name too long)"
    assert read(Path("a\x00b")).problem == "a\x00b cannot be read (ValueError)"


def test_a_faulty_line_is_told_with_file_and_line_and_never_with_its_text(path: Path) -> None:
    path.write_bytes(b"OPENROUTER_API_KEY=sk-or-1 # key\n!\ngpt-4o\n")
    found = read(path)
    assert found == FilterFile(
        ModelFilter(["OPENROUTER_API_KEY=sk-or-1 # key", "gpt-4o"]),
        (
            f"{path}:1: blanks are part of a name here: write one name a line, and comments on lines of their own",
            f"{path}:2: a ! excludes what stands behind it, and nothing does: write !gpt-4o:latest or the like; "
            "the line is left out",
        ),
    )
    assert "sk-or-1" not in "".join(found.warnings) + repr(found)


def test_of_many_faulty_lines_some_are_told(path: Path) -> None:
    path.write_text("!\n" * 100_000)
    found = read(path)
    assert (found.rules, len(found.warnings)) == (EVERYTHING, TOLD + 1)
    assert found.warnings[-1] == f"{path}: 99980 more lines have faults such as these"


def test_its_line_in_a_report(path: Path) -> None:
    assert summary(None, EVERYTHING) == "none"
    assert summary(path, RULES) == f"{path} (1 rule that includes, 1 that excludes)"
    assert summary(path, EVERYTHING, missing=True) == f"{path} (missing: every model is allowed)"
    assert summary(path, EVERYTHING, unusable=True) == f"{path} (cannot be read: every model is allowed)"
    assert summary(path, ModelFilter(["a", "b"])) == f"{path} (2 rules that include, 0 that exclude)"
