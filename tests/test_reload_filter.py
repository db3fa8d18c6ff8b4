"""A filter file that changes while the program runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from arriero.config import Flags, load
from arriero.reload import FILTER, Running, read_again
from arriero.routing.model_filter import EVERYTHING, ModelFilter
from support.engine import eventually
from support.program import write_config

SAME = "the configuration was read again and is the same"


class Folder:
    """A folder to run in, whose configuration names a filter file."""

    def __init__(self, path: Path) -> None:
        self.rules = path / "rules.txt"
        extra = {"name": "a", "kind": "openai", "url": "http://127.0.0.1:9/v1", "extra_models": ["gpt-4o", "llama3"]}
        write_config(path / "arriero.yaml", [extra], models={"filter_file": "rules.txt"}, server={"watch": False})
        self.again = partial(load, Flags(), {}, path, path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.rules.write_text("gpt-4o\n")
    return made


@asynccontextmanager
async def running(folder: Folder) -> AsyncIterator[Running]:
    made = Running(folder.again(), folder.again, every=3600)
    try:
        await made.start()
        await made.app.roster.refresh()
        yield made
    finally:
        async with asyncio.timeout(5):
            await made.close()
            await made.app.roster.close()


def shown(made: Running) -> list[str]:
    return sorted(made.app.roster.names.models)


async def told(made: Running, event: str) -> list[EventDict]:
    """What is logged of a reading until a line says this."""
    with structlog.testing.capture_logs() as logs:
        made.ask()
        await eventually(lambda: any(line["event"] == event for line in logs))
        await asyncio.sleep(0)
    return [line for line in logs if not line["event"].startswith("backend ")]


async def test_other_rules_count_at_once_and_the_log_counts_the_models(folder: Folder) -> None:
    async with running(folder) as made:
        assert shown(made) == ["gpt-4o"]
        backend = made.app.roster.entries["a"].backend
        folder.rules.write_text("!gpt-4o\n!x*\n")
        first, second = await told(made, "the filter has changed")
        assert (first["event"], first["sections"]) == ("the configuration has changed", [FILTER])
        assert second == {
            "event": "the filter has changed",
            "log_level": "info",
            "file": str(folder.rules),
            "rules": 2,
            "shown": 1,
            "hidden": 1,
        }
        assert shown(made) == ["llama3"]
        assert made.app.roster.entries["a"].backend is backend


async def test_the_same_rules_in_other_words_are_no_change(folder: Folder) -> None:
    async with running(folder) as made:
        table = made.app.table
        folder.rules.write_text("# the good one\r\n\r\n  gpt-4o\r\ngpt-4o")
        lines = await told(made, SAME)
        assert ([line["event"] for line in lines], made.app.table is table) == ([SAME], True)


async def test_of_one_that_cannot_be_read_the_old_rules_stay_as_often_as_it_is_read(folder: Folder) -> None:
    async with running(folder) as made:
        folder.rules.write_bytes(b"\xff\n")
        for _ in range(2):
            lines = await told(made, "the filter stays as it was")
            assert lines[1:] == [
                {
                    "event": "the filter stays as it was",
                    "log_level": "error",
                    "problem": f"{folder.rules}:1: this is not UTF-8; save the file as text in UTF-8",
                    "rules": 1,
                }
            ]
            assert shown(made) == ["gpt-4o"]
        folder.rules.write_text("gpt-4o\n")
        assert [line["event"] for line in await told(made, SAME)] == [SAME]


async def test_a_file_that_is_gone_hides_nothing(folder: Folder) -> None:
    async with running(folder) as made:
        folder.rules.unlink()
        lines = await told(made, "the filter has changed")
        await asyncio.sleep(0)
        warning = f"models.filter_file: there is no file {folder.rules}; every model is allowed"
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == [warning]
        assert shown(made) == ["gpt-4o", "llama3"]


async def test_a_faulty_line_that_comes_back_is_told_again(folder: Folder) -> None:
    async with running(folder) as made:
        found = []
        for text in ("gpt-4o\n!\n", "gpt-4o\n!\n!\n", "gpt-4o\n", "gpt-4o\n!\n"):
            folder.rules.write_text(text)
            lines = await told(made, SAME)
            found.append([line["event"].split(": ")[0] for line in lines if line["log_level"] == "warning"])
        at = f"{folder.rules}:"
        assert found == [[f"{at}2"], [f"{at}3"], [], [f"{at}2"]]


def test_what_was_read_before_goes_into_what_is_read_again(folder: Folder) -> None:
    before = folder.again()
    folder.rules.unlink()
    folder.rules.mkdir()
    assert folder.again().filter == EVERYTHING
    after = read_again(folder.again, before)
    assert (after.filter, after.filter_problem, after.warnings) == (
        ModelFilter(["gpt-4o"]),
        f"{folder.rules} is a folder; name the file in it",
        (),
    )
