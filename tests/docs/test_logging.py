"""The page about logs says what is true."""

import json
import re
from pathlib import Path

import pytest

from arriero.config.values import read_level
from arriero.dialects.base import Operation
from arriero.gateway.journal import FAILED, PROMPT_BYTES, REFUSED, WELL, Line, Telling
from arriero.logs import DROPPED, HELD_BYTES, LEVELS
from arriero.server.surface import LIBRARY_ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()


def rows(table: str) -> list[list[list[str]]]:
    """The rows of a marked table: the words in code of each cell."""
    text = PAGE.split(f"<!-- table: {table} -->")[1].split("<!-- end -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")] for line in lines]


def test_every_key_has_its_row_in_the_order_of_the_line() -> None:
    assert [key for keys, _ in rows("keys") for key in keys] == list(Line.__struct_fields__)
    assert "key `body`" in PAGE and Telling.__struct_fields__[-1] == "body"


def test_the_example_is_such_a_line() -> None:
    assert list(json.loads(PAGE.split("```json\n")[1].split("```")[0])) == list(Line.__struct_fields__)


def test_every_operation_is_named() -> None:
    (named,) = [words for (key, *_), words in rows("keys") if key == "operation"]
    library = dict.fromkeys(path.split("/")[2] for path, _ in LIBRARY_ROUTES)
    assert named == [*(operation.value for operation in Operation), *library]


@pytest.mark.parametrize(("level", "spellings"), rows("levels"))
def test_the_spellings_of_the_levels(level: list[str], spellings: list[str]) -> None:
    for spelling in spellings:
        assert {read_level(spelling), read_level(spelling.upper())} == set(level)
    assert [name for (name,), _ in rows("levels")] == list(LEVELS)


def test_events_and_sizes() -> None:
    assert all(f"`{event}`" in PAGE for event in (WELL, FAILED, REFUSED, DROPPED))
    assert (PROMPT_BYTES, HELD_BYTES) == (8 * 1024, 1024 * 1024)
    assert "first 8 KiB" in PAGE and "a megabyte waits" in PAGE
