"""What the engine costs is measured over the real one; how much it is is for people to judge."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from arriero.backends.engine.gguf import LongArray, read_header
from benchmarks import engine_costs, models, rig
from benchmarks.cases import OLLAMA, OPENAI
from support.engine import needs_engine


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    rig.RUN.mkdir(parents=True, exist_ok=True)
    yield tmp_path
    rig.clear()


@needs_engine
def test_a_token_is_measured_through_both_apis(folder: Path) -> None:
    found = engine_costs.tokens(folder, 60, 1)
    assert [one.path for one in found] == [OLLAMA, OPENAI]
    assert all(0 < one.us < 10_000 and one.per_second > 1 for one in found)


@needs_engine
def test_the_start_of_a_process_is_measured() -> None:
    assert 0.01 < engine_costs.ready_seconds(1) < 20


def test_a_header_is_measured_and_the_file_is_gone(folder: Path) -> None:
    found = engine_costs.header(folder, 1)
    assert 1 < found.ms < 5_000
    assert 0 <= found.mib < 50
    assert list(folder.iterdir()) == []


def test_the_large_header_is_that_of_a_model(tmp_path: Path) -> None:
    path = models.large(tmp_path / "large.gguf", tokens=1_000, merges=2_000)
    header = read_header(path)
    assert header.metadata["tokenizer.ggml.tokens"] == LongArray("string", 1_000)
    assert header.metadata["tokenizer.ggml.merges"] == LongArray("string", 2_000)
    assert len(header.tensors) == 291
    assert header.size_bytes > 1 << 30
    assert path.stat().st_blocks * 512 < 1 << 20


def test_the_endless_model_is_read_by_others(tmp_path: Path) -> None:
    path = models.endless(tmp_path / "endless.gguf", width=64, layers=1, inner=64)
    theirs = gguf.GGUFReader(path)
    header = read_header(path)
    assert [(tensor.name, tensor.shape) for tensor in header.tensors] == [
        (tensor.name, tuple(map(int, tensor.shape))) for tensor in theirs.tensors
    ]
    assert header.parameter_count == sum(int(tensor.n_elements) for tensor in theirs.tensors)
    first = next(tensor for tensor in theirs.tensors if tensor.name == "output_norm.weight")
    assert first.data.tolist() == [1.0] * 64


def test_a_reader_that_fails_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "not.gguf").write_bytes(b"no")
    command = [sys.executable, "-m", "benchmarks.engine_costs", str(tmp_path / "not.gguf"), "1", "0"]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], timeout=30)
    assert done.returncode == 1
    assert b"not a GGUF file" in done.stderr
