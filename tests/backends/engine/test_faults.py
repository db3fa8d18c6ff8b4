"""The record of models that fail, with a clock of numbers."""

import os
from pathlib import Path

import pytest

from arriero.backends.engine.faults import Faults
from arriero.backends.engine.model import ModelFile
from arriero.errors import EngineCrashed, EngineError, ModelBroken
from support.engine import models_in
from support.gguf import random_llama


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    random_llama(tmp_path / "a.gguf")
    return models_in(tmp_path)["a:latest"]


def test_a_broken_file_stays_broken_until_it_changes(model: ModelFile, tmp_path: Path) -> None:
    faults = Faults()
    assert faults.refusal(model, 0.0) is None
    faults.note(model, ModelBroken("no such architecture"), 0.0)
    refusal = faults.refusal(model, 1e9)
    assert refusal is not None
    assert refusal.message == "no such architecture"
    assert faults.reason(model, 1e9) == "no such architecture"
    os.utime(model.path, (5, 5))
    changed = models_in(tmp_path)["a:latest"]
    assert faults.refusal(changed, 0.0) is None


def test_each_crash_makes_the_next_start_later(model: ModelFile) -> None:
    faults = Faults()
    assert faults.not_before(model, 100.0) == 100.0
    faults.note(model, EngineCrashed("SIGSEGV"), 100.0)
    assert faults.not_before(model, 100.0) == 101.0
    faults.note(model, EngineCrashed("SIGSEGV"), 101.5)
    assert faults.not_before(model, 101.6) == 103.5
    assert faults.not_before(model, 104.0) == 104.0


def test_three_crashes_in_a_minute_are_enough_for_a_while(model: ModelFile) -> None:
    faults = Faults()
    for at in (100.0, 110.0, 120.0):
        assert faults.refusal(model, at) is None
        faults.note(model, EngineCrashed("SIGSEGV"), at)
    refusal = faults.refusal(model, 130.0)
    assert refusal is not None
    assert refusal.message == "a:latest crashed 3 times in 60 seconds: SIGSEGV"
    assert refusal.retry_after == 30.0
    assert faults.reason(model, 130.0) == refusal.message
    assert faults.reason(model, 160.0) is None
    assert faults.refusal(model, 160.0) is None


def test_other_errors_are_not_held_against_the_model(model: ModelFile) -> None:
    faults = Faults()
    for _ in range(5):
        faults.note(model, EngineError("took too long"), 0.0)
    assert faults.refusal(model, 0.0) is None
    assert faults.not_before(model, 0.0) == 0.0
