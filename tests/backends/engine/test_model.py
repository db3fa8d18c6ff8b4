"""A model and its files: when it is still the same, and what is told of it."""

import os
from pathlib import Path

from arriero.backends.engine.model import fingerprint
from arriero.backends.engine.models import Models
from arriero.backends.engine.store.store import Store
from support.gguf import random_llama


def test_a_model_is_the_same_until_its_file_changes(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf")
    model = Models(Store(tmp_path)).scan().models["a:latest"]
    assert (model.path, model.size_bytes, model.fingerprint) == (path, path.stat().st_size, fingerprint(path))
    assert model.unchanged()
    os.utime(path, (1, 1))
    assert not model.unchanged()
    path.unlink()
    assert not model.unchanged()


def test_what_is_told_of_a_file_is_what_it_says_itself(tmp_path: Path) -> None:
    random_llama(tmp_path / "a.gguf")
    model = Models(Store(tmp_path)).scan().models["a:latest"]
    brief, whole = model.detail(verbose=False), model.detail(verbose=True)
    assert (brief.template, brief.licenses, brief.system) == (None, ("apache-2.0",), None)
    assert brief.chat_template is not None
    assert brief.info["tokenizer.ggml.tokens"] is None
    tokens = whole.info["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list) and len(tokens) > 256
