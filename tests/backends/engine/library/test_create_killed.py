"""Creates that are killed, and creates of one name in two processes: the store is whole at every moment."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

import support.create_churn
from arriero.backends.engine.store.store import Store
from support.gguf import random_llama
from support.gguf_split import split
from support.store import check_store, models

KILLS: Final = 8
LONGEST_SECONDS: Final = 0.15


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return split(random_llama(tmp_path / "a.gguf"), tensors=8)


def start(root: Path, model: str, rounds: int, parts: list[Path]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "support.create_churn", str(root), model, str(rounds), *map(str, parts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(support.create_churn.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_create_that_is_killed_at_any_point(tmp_path: Path, parts: list[Path]) -> None:
    root, dice = tmp_path / "store", random.Random(20)
    made = 0
    for _ in range(KILLS):
        process = start(root, "tiny", 100_000, parts)
        time.sleep(dice.uniform(0.0, LONGEST_SECONDS))
        process.kill()
        process.communicate(timeout=10)
        if root.exists():
            check_store(root)
            found, broken = Store(root).scan()
            assert broken == {}
            made += len(found)
    assert made > KILLS // 3, "it was always killed before it had made anything"
    last = start(root, "tiny", 1, parts)
    last.communicate(timeout=10)
    assert last.returncode == 0
    Store(root).tidy(time.time() + 7200)
    check_store(root)
    assert list(models(root)) == ["registry.ollama.ai/library/tiny/latest"]


def test_two_processes_make_one_model_at_once(tmp_path: Path, parts: list[Path]) -> None:
    root = tmp_path / "store"
    processes = [start(root, "tiny", 40, parts) for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, end[1].decode()[-2000:]) for process, end in zip(processes, ends, strict=True)] == [
        (0, ""),
        (0, ""),
    ]
    check_store(root)
    assert list(models(root)) == ["registry.ollama.ai/library/tiny/latest"]
