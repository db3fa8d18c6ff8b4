"""The page about the filter file says what is true."""

import re
from pathlib import Path

import pytest

from arriero.routing.model_filter import MAX_RULE, ModelFilter, names_of, parse

PAGE = (Path(__file__).parents[2] / "docs" / "filter-file.md").read_text()


def rows(table: str) -> list[list[list[str]]]:
    """The rows of a marked table: the words in code of each cell."""
    text = PAGE.split(f"<!-- {table} -->")[1].split("<!-- end -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("id", "names"), rows("names"))
def test_the_names_of_a_model(id: list[str], names: list[str]) -> None:
    assert names_of(id[0]) == tuple(names)


@pytest.mark.parametrize(("line", "fits", "others"), rows("rules"))
def test_what_a_line_fits(line: list[str], fits: list[str], others: list[str]) -> None:
    for text, shown in ((line[0], True), (f"!{line[0]}", False)):
        found, _ = parse(text)
        assert {id: found.admit(id) for id in fits} == dict.fromkeys(fits, shown)
        assert {id: found.admit(id) for id in others} == dict.fromkeys(others, not shown)


def test_the_example_is_read_without_a_fault() -> None:
    found, faults = parse(PAGE.split("```text\n")[1].split("```")[0])
    include = ["gpt-4o:latest", "claude-3*:latest", "*gemini*:*"]
    assert (found, faults) == (ModelFilter(include, ["*-preview:*", "google/gemini-ultra"]), ())
    models = [
        "openai/gpt-4o",
        "anthropic/claude-3-haiku",
        "google/gemini-pro",
        "google/gemini-ultra",
        "x/gemini-preview",
    ]
    assert [id for id in models if found.admit(id)] == models[:3]


def test_the_longest_rule() -> None:
    assert f"more than {MAX_RULE:,} characters" in PAGE
