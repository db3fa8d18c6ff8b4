from pathlib import Path

import pytest

from arriero.backends.engine.gguf import read_header
from arriero.backends.engine.gguf_merging import Part, merge
from arriero.backends.engine.library.adopting import PLACEHOLDER, STEP_BYTES, Steps, adopted
from arriero.backends.engine.progress import Frame
from arriero.backends.engine.store.store import Store
from arriero.errors import ModelBroken, StoreError
from support.gguf import large, random_llama
from support.gguf_split import split
from support.store import blobs, digest, leftovers


def taken(steps: Steps) -> tuple[list[Frame], tuple[str, int]]:
    """All frames, and what came out."""
    frames = []
    while True:
        try:
            frames.append(next(steps))
        except StopIteration as end:
            return frames, end.value


def part(path: Path) -> Part:
    return Part(path, read_header(path))


def test_a_file_becomes_a_blob(tmp_path: Path) -> None:
    path, store = random_llama(tmp_path / "a.gguf"), Store(tmp_path / "store")
    data = path.read_bytes()
    frames, made = taken(adopted((part(path),), store))
    assert made == (digest(data), len(data))
    assert store.blob(made[0]).read_bytes() == data
    assert frames == [
        Frame("copying model", PLACEHOLDER, len(data)),
        Frame("copying model", PLACEHOLDER, len(data), len(data)),
    ]


def test_parts_become_one_blob(tmp_path: Path) -> None:
    paths = split(random_llama(tmp_path / "a.gguf"), tensors=6)
    parts, store = tuple(map(part, paths)), Store(tmp_path / "store")
    merged = merge(parts)
    frames, (made, size) = taken(adopted(parts, store))
    assert size == merged.size_bytes == store.blob(made).stat().st_size
    assert [frame.status for frame in frames] == ["merging GGUF parts"] * 2
    assert read_header(store.blob(made)).tensors == read_header(tmp_path / "a.gguf").tensors


def test_progress_is_told_by_the_way(tmp_path: Path) -> None:
    path, store = large(tmp_path / "large.gguf", tokens=1000, merges=0), Store(tmp_path / "store")
    steps = adopted((part(path),), store)
    told = [next(steps) for _ in range(3)]
    size = path.stat().st_size
    assert [frame.completed for frame in told] == [0, STEP_BYTES, 2 * STEP_BYTES]
    assert {frame.total for frame in told} == {size}
    # Who goes away in between leaves nothing.
    steps.close()
    assert blobs(store.root) == leftovers(store.root) == []


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    path, store = random_llama(tmp_path / "a.gguf"), Store(tmp_path / "store")
    whole = part(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelBroken, match="the file has become shorter while it was read"):
        taken(adopted((whole,), store))
    assert blobs(store.root) == leftovers(store.root) == []


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path, store = random_llama(tmp_path / "a.gguf"), Store(tmp_path / "store")
    whole = part(path)
    path.unlink()
    with pytest.raises(StoreError, match="the model file cannot be read: No such file or directory"):
        taken(adopted((whole,), store))
    assert blobs(store.root) == leftovers(store.root) == []
