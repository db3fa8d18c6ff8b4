"""The shipped demo model and the corpus it comes from.

The model runs in a child process, because llama.cpp can abort or hang the process it runs in.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "arriero" / "models" / "arriero-demo-q8_0.gguf"


def run(module: str, *arguments: str) -> str:
    """Run a module of tools/demo_model in a child; its standard output."""
    command = [sys.executable, "-m", f"tools.demo_model.{module}", *arguments]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    findings: dict[str, Any] = json.loads(run("check"))
    return findings


@pytest.fixture(scope="module")
def places() -> dict[str, dict[str, Any]]:
    """The held-out scores by place: the question alone, after a system prompt, late in a chat."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the engine extra is not installed")
    scores = json.loads(run("evaluate", "--everywhere", "--json"))
    return {score["place"]: score for score in scores}


def test_the_held_out_list_has_sixty_questions(corpus: dict[str, Any]) -> None:
    assert corpus["held_out"] == 60


def test_no_held_out_question_is_in_the_corpus(corpus: dict[str, Any]) -> None:
    assert corpus["held_out_in_corpus"] == []


def test_no_answer_of_the_corpus_carries_out_a_sum(corpus: dict[str, Any]) -> None:
    assert corpus["sums_answered"] == []


def test_about_a_quarter_of_the_answers_are_refusals(corpus: dict[str, Any]) -> None:
    assert 0.2 <= corpus["refusal_share"] <= 0.35


def test_the_file_is_small() -> None:
    assert SHIPPED.stat().st_size < 1_900_000


def test_the_card_says_how_large_the_file_is() -> None:
    card = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    assert f"{SHIPPED.stat().st_size:,} bytes" in card


def test_the_held_out_score(places: dict[str, dict[str, Any]]) -> None:
    misses = [answer for answer in places["plain"]["answers"] if not answer["right"]]
    assert places["plain"]["share"] >= 0.85, misses


@pytest.mark.parametrize("place", ["short system prompt", "long system prompt", "third turn", "twenty-first turn"])
def test_what_stands_before_a_question_does_not_matter(places: dict[str, dict[str, Any]], place: str) -> None:
    assert places[place]["share"] >= 0.75


def test_answers_end_by_themselves(places: dict[str, dict[str, Any]]) -> None:
    """Always where the question stands alone, and all but a few late in a long chat."""
    assert all(answer["ended"] for answer in places["plain"]["answers"])
    ended = [answer["ended"] for score in places.values() for answer in score["answers"]]
    assert sum(ended) >= 0.98 * len(ended)


@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the engine extra is not installed")
def test_the_questions_that_people_try_first() -> None:
    answers = run("ask", "Why is the sky blue?", "hello", "what is arriero", "how do I add a backend")
    sky, hello, arriero, backend = answers.strip().split("\n\n")
    assert "scatters" in sky
    assert "Hello!" in hello
    assert "gateway" in arriero
    assert "arriero.yaml" in backend
