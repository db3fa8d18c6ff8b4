"""Damaged models through the running program: each gets a sentence or an answer, in time, and a sound model still
answers after each.

What llama.cpp says is told by its beginning: the rest is its own affair.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.card import check_model
from arriero.backends.engine.gguf import read_header
from arriero.errors import ModelBroken
from support.damaged import DAMAGES, damaged, sound
from support.engine import engine_processes, needs_engine
from support.gguf import scripted
from support.program import Program, program
from support.store import check_store, digest, models

pytestmark = needs_engine

SENTENCE = "Hello to the world of small llamas."
HI = [{"role": "user", "content": "hi"}]
SECONDS = 10.0
"""A load takes a tenth of a second; three crashes in a row wait for each other."""

ANSWERS = {
    "key-not-utf8",
    "name-not-utf8",
    "token-empty",
    "token-not-utf8",
    "end-token-out-of-range",
    "merge-without-space",
    "merge-empty",
    "weights-nan",
    "weights-infinite",
    "template-not-utf8",
}
"""Damaged, and llama.cpp does not mind."""

REFUSED = {
    "tensor-count-one-less": "check_tensor_dims: tensor 'blk.1.ffn_down.weight' not found",
    "architecture-unknown": "unknown model architecture: 'no-such-thing'",
    "blocks-five": "check_tensor_dims: tensor 'blk.2.attn_norm.weight' not found",
    "blocks-missing": "error loading model hyperparameters: key not found in model: llama.block_count",
    "width-wrong": "error loading model hyperparameters: invalid n_rot",
    "heads-none": "check_tensor_dims: tensor 'blk.0.attn_q.weight' has wrong shape",
    "heads-three": "error loading model hyperparameters: invalid n_rot",
    "heads-most": "error loading model hyperparameters: invalid n_rot",
    "rope-odd": "error loading model hyperparameters: invalid n_rot",
    "tokens-missing": "error loading model vocabulary: cannot find tokenizer vocab in model file",
    "tokenizer-unknown": "error loading model vocabulary: unknown tokenizer: 'no-such-thing'",
    "token-twice": "the token 'Ā' stands twice in its vocabulary",
    "end-token-negative": "error loading model vocabulary: key tokenizer.ggml.eos_token_id has wrong type",
    "merges-missing": "error loading model vocabulary: cannot find tokenizer merges in model file",
    "tensor-type-unknown": "tensor 'output.weight' has invalid ggml type 99",
    "tensor-type-wider": "tensor 'blk.0.attn_norm.weight' has offset 71936",
    "tensor-shape-wrong": "tensor 'blk.0.attn_norm.weight' has offset 71936",
    "tensor-shape-none": "tensor 'blk.0.attn_norm.weight' has offset 71936",
    "tensors-overlapping": "tensor 'output.weight' has offset 0",
    "tensor-missing": "tensor 'output.weight' has offset 36096",
    "tensor-name-long": "tensor name 2 is too long: 200 >= 64",
    "template-broken": "Unexpected token",
    "template-raising": "init: chat template parsing error",
}
"""The process refuses it, and says why."""

CHANGED = 48
"""So many more have one bit of their header changed, always the same ones."""

CRASHES = {"template-deep": "(SIGSEGV)"}
"""The process dies of it."""


def changed(seed: int) -> bytes:
    """The sound file, but for one bit of its header behind the counts."""
    dice = random.Random(seed)
    content = bytearray(sound().whole())
    content[dice.randrange(24, len(sound().header()))] ^= 1 << dice.randrange(8)
    return bytes(content)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program that has all of them, and `hello`, which is sound."""
    folder = tmp_path_factory.mktemp("damaged")
    shelf = folder / "models"
    shelf.mkdir()
    for name in DAMAGES:
        damaged(shelf / f"{name}.gguf", name)
    for number in range(CHANGED):
        (shelf / f"changed-{number}.gguf").write_bytes(changed(number))
    scripted(shelf / "hello.gguf", SENTENCE)
    backend = {
        "name": "local",
        "kind": "engine",
        "models_dir": shelf,
        "demo_model": False,
        "max_loaded": 2,
        "context_length": 512,
        "threads": 1,
    }
    with program(folder, [backend]) as running:
        yield running


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program with an empty store, beside the sound model; it can be seen that the store is well at the end."""
    folder = tmp_path_factory.mktemp("damaged-store")
    store = folder / "models"
    store.mkdir()
    scripted(store / "hello.gguf", SENTENCE)
    backend = {
        "name": "local",
        "kind": "engine",
        "models_dir": store,
        "demo_model": False,
        "max_loaded": 2,
        "context_length": 512,
        "threads": 1,
    }
    with program(folder, [backend]) as running:
        yield running
    check_store(store)
    assert models(store) == {}


def ask(running: Program, model: str, **more: object) -> tuple[int, Any]:
    begun = time.monotonic()
    body = {"model": model, "messages": HI, "stream": False, "options": {"num_predict": 8}, **more}
    status, answer = running.post("/api/chat", body)
    assert time.monotonic() - begun < SECONDS
    return status, answer


def still_well(running: Program) -> None:
    """The sound model answers; at most the two that may be loaded have a process."""
    status, answer = ask(running, "hello", options={})
    assert (status, answer["message"]["content"]) == (200, SENTENCE)
    assert running.process.poll() is None
    assert len(engine_processes(running.pid)) <= 2


def reason(name: str, folder: Path) -> str | None:
    """What the check before loading says."""
    try:
        check_model(read_header(damaged(folder / "a.gguf", name)))
    except ModelBroken as error:
        return error.message
    return None


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_told_of_and_nobody_else_minds(name: str, running: Program, tmp_path: Path) -> None:
    status, answer = ask(running, name)
    refused = reason(name, tmp_path)
    if name in ANSWERS:
        assert (status, answer["message"]["role"], answer["done"]) == (200, "assistant", True)
    elif refused is not None:
        assert (status, answer) == (
            500,
            {"error": f"{name}:latest on local cannot be used: {refused}", "type": "engine_error"},
        )
    elif name in CRASHES:
        assert (status, answer["type"]) == (500, "engine_error")
        assert answer["error"].startswith(f"the engine crashed on {name}:latest {CRASHES[name]}")
    else:
        assert (status, answer["type"]) == (500, "engine_error")
        assert answer["error"].startswith(f"{name}:latest cannot be loaded: {REFUSED[name]}")
    assert running.folder.name not in str(answer), "no path of the disk"
    still_well(running)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_model_is_made_of_a_damaged_blob_or_not(name: str, library: Program, tmp_path: Path) -> None:
    content = damaged(tmp_path / "a.gguf", name).read_bytes()
    blob = digest(content)
    assert library.ask("POST", f"/api/blobs/{blob}", content)[0] == 201
    status, answer = library.post("/api/create", {"model": name, "files": {"a.gguf": blob}, "stream": False})
    refused = reason(name, tmp_path)
    if refused is None:
        assert (status, answer) == (200, {"status": "success"})
        status, answer = ask(library, name)
        assert status == (200 if name in ANSWERS else 500)
        said = (REFUSED | CRASHES).get(name)
        assert said is None or said in answer["error"]
        assert library.ask("DELETE", "/api/delete", {"model": name})[0] == 200
    else:
        assert status in (400, 500)
        assert answer["error"] in (
            "supplied file was not in GGUF format",
            'there is no model among the files: "a.gguf"',
            f'"a.gguf" cannot be used: {refused}',
        )
        assert library.ask("DELETE", "/api/delete", {"model": name})[0] == 404
    assert library.folder.name not in str(answer), "no path of the disk"
    still_well(library)


def test_only_what_may_load_is_listed(running: Program, tmp_path: Path) -> None:
    names = {model["name"] for model in running.get("/api/tags")["models"]}
    listed = {name for name in names if not name.startswith("changed-")}
    assert listed == {f"{name}:latest" for name in DAMAGES if reason(name, tmp_path) is None} | {"hello:latest"}


def test_every_listed_one_can_be_shown_whole(running: Program) -> None:
    for model in running.get("/api/tags")["models"]:
        status, shown = running.post("/api/show", {"model": model["name"], "verbose": True})
        assert (status, shown["details"]["format"]) == (200, "gguf")


def test_one_that_crashes_again_and_again_is_left_alone(running: Program) -> None:
    answers = [ask(running, "template-deep") for _ in range(4)]
    assert {status for status, _ in answers} == {500}
    assert "template-deep:latest crashed 3 times in 60 seconds" in answers[-1][1]["error"]
    still_well(running)


def test_a_changed_byte_of_the_header_hurts_nobody_but_its_own_process(running: Program) -> None:
    """Some load, some are refused by either side, and some abort llama.cpp."""
    statuses: list[int] = []
    for number in range(CHANGED):
        status, answer = ask(running, f"changed-{number}")
        if status == 200:
            assert answer["done"]
        else:
            assert answer.keys() <= {"error", "type"} and answer["error"].isprintable()
        statuses.append(status)
        still_well(running)
    # A context of next to nothing may be too short for the question.
    assert {200, 500} <= set(statuses) <= {200, 400, 500}
