"""Which models exist, under which names, and why some files are none."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.models import Broken, Models, model_id
from arriero.backends.engine.store.store import Store, Stored
from support.gguf import random_llama, truncated
from support.store import model, name


@pytest.mark.parametrize(
    ("stem", "id"),
    [
        ("Qwen2-0.5B-Q4_K_M", "qwen2-0.5b-q4_k_m:latest"),
        ("My Model (v2)", "my-model-v2:latest"),
        ("..odd..", "odd:latest"),
        ("a:b", "a-b:latest"),
        ("ünï", "n:latest"),
        ("!!!", "model:latest"),
        ("x" * 100, "x" * 80 + ":latest"),
    ],
)
def test_a_name_is_made_of_the_files_name(stem: str, id: str) -> None:
    assert model_id(stem) == id


def test_files_here_and_one_level_deep_are_models(tmp_path: Path) -> None:
    random_llama(tmp_path / "B.gguf")
    (tmp_path / "folder" / "deeper").mkdir(parents=True)
    random_llama(tmp_path / "folder" / "a.gguf")
    random_llama(tmp_path / "folder" / "deeper" / "c.gguf")
    random_llama(tmp_path / ".hidden.gguf")
    (tmp_path / "notes.txt").write_text("no model")
    listing = Models(Store(tmp_path)).scan()
    assert list(listing.models) == ["a:latest", "b:latest"]
    assert listing.broken == {}
    assert listing.models["b:latest"].path == tmp_path / "B.gguf"


@pytest.mark.parametrize("store", [None, Store(Path("/nonexistent/models"))])
def test_no_directory_holds_no_models(store: Store | None) -> None:
    assert Models(store).scan().models == {}


def test_the_demo_model_comes_first_and_keeps_its_name(tmp_path: Path) -> None:
    demo = random_llama(tmp_path / "some-file.gguf")
    (tmp_path / "models").mkdir()
    rival = random_llama(tmp_path / "models" / "arriero-demo.gguf")
    listing = Models(Store(tmp_path / "models"), demo=demo).scan()
    model = listing.models[DEMO_ID]
    assert model.path == demo
    assert model.sampling == {"temp": 0.0}
    assert model.detail(verbose=False).parameters == {"temperature": 0}
    assert listing.broken == {rival: Broken(DEMO_ID, f"the name {DEMO_ID} is taken by the demo model")}


def test_an_absent_demo_model_is_not_listed(tmp_path: Path) -> None:
    assert Models(Store(tmp_path), demo=tmp_path / "absent.gguf").scan().models == {}


def test_damaged_files_are_listed_with_their_reason(tmp_path: Path) -> None:
    path = truncated(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_text("<html>")
    listing = Models(Store(tmp_path)).scan()
    assert listing.models == {}
    assert listing.broken[path].reason.startswith("truncated: tensor blk.0.ffn_down.weight ends at")
    assert listing.broken[tmp_path / "b.gguf"] == Broken("b:latest", "not a GGUF file")


def test_a_split_model_is_one_model(tmp_path: Path) -> None:
    first = random_llama(tmp_path / "Big-00001-of-00002.gguf", part=(0, 2))
    second = random_llama(tmp_path / "Big-00002-of-00002.gguf", part=(1, 2))
    model = Models(Store(tmp_path)).scan().models["big:latest"]
    assert model.parts == (first, second)
    assert model.path == first
    assert model.size_bytes == first.stat().st_size + second.stat().st_size
    assert model.card.parameter_count == 2 * 118_080
    second.unlink()
    listing = Models(Store(tmp_path)).scan()
    assert listing.models == {}
    assert listing.broken == {first: Broken("big:latest", "part 2 of 2 is missing: Big-00002-of-00002.gguf")}


def test_changes_are_seen_on_the_next_scan(tmp_path: Path) -> None:
    models = Models(Store(tmp_path))
    assert models.scan().models == {}
    path = truncated(tmp_path / "a.gguf")
    assert list(models.scan().broken) == [path]
    random_llama(path)
    before = models.scan().models["a:latest"]
    assert before.unchanged()
    random_llama(path, context_length=4096)
    os.utime(path, (1, 1))
    assert not before.unchanged()
    assert models.scan().models["a:latest"].card.context_length == 4096
    path.unlink()
    assert models.scan().models == {}
    assert not before.unchanged()


def test_a_model_of_the_store_that_is_changed_under_the_look(tmp_path: Path) -> None:
    """Another program may overwrite or delete a model between the look at its manifest and the one at its blobs."""
    weights = random_llama(tmp_path / "a").read_bytes()
    mine, others = Store(tmp_path / "models"), Store(tmp_path / "models")

    class Late(Store):
        """The others act right behind its look."""

        then: list[Callable[[], object]] = []  # noqa: RUF012

        def scan(self) -> tuple[list[Stored], dict[Path, str]]:
            found = super().scan()
            for act in self.then:
                act()
            return found

    mine.write(name("one"), model(mine, weights, b"old"))
    mine.write(name("two"), model(mine, weights, b"two"))
    late = Late(tmp_path / "models")
    late.then = [
        lambda: others.write(name("one"), model(others, weights, b"new")),
        lambda: others.delete(name("two")),
    ]
    listing = Models(late).scan()
    assert (list(listing.models), listing.broken) == (["one:latest"], {})
    assert listing.models["one:latest"].layers.licenses == ("new",)


def test_a_blob_that_goes_from_a_known_model_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    stored, _ = store.write(name("one"), model(store, random_llama(tmp_path / "a").read_bytes()))
    models = Models(store)
    path = models.scan().models["one:latest"].path
    path.unlink()
    digest = path.name.replace("-", ":")
    reason = f"its blob {digest} is missing: pull or create the model again"
    for _ in range(2):
        listing = models.scan()
        assert (listing.models, listing.broken) == ({}, {stored.path: Broken("one:latest", reason)})


def test_a_header_is_read_once(tmp_path: Path) -> None:
    random_llama(tmp_path / "a.gguf")
    models = Models(Store(tmp_path))
    first, second = (models.scan().models["a:latest"].header for _ in range(2))
    assert first is second


def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    assert Models(Store(tmp_path)).scan().broken == {path: Broken("a:latest", "cannot be read: Permission denied")}


def test_a_link_to_a_model_is_a_model(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    shutil.move(random_llama(tmp_path / "x.gguf"), store / "blob")
    (tmp_path / "linked.gguf").symlink_to(store / "blob")
    (tmp_path / "dangling.gguf").symlink_to(store / "nothing")
    assert list(Models(Store(tmp_path)).scan().models) == ["linked:latest"]
