"""The store as a whole: names, manifests and blobs that stay together."""

import os
import time
from pathlib import Path

import pytest

from arriero.backends.engine.store.manifest import CONFIG_TYPE, MODEL, SYSTEM, Layer, Manifest, write_manifest
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest, ModelNotFound, StoreError
from support.store import blobs, check_store, digest, layer, leftovers, model, models, name

HOUR = 3600.0
LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def listed(store: Store) -> list[str]:
    stored, broken = store.scan()
    assert broken == {}
    return [each.name.shortest for each in stored]


def test_nothing_is_made_before_the_first_write(store: Store) -> None:
    assert store.scan() == ([], {})
    assert store.find(name("x")) is None
    assert store.size(digest(b"x")) is None
    assert store.blob(digest(b"x")) == store.root / "blobs" / f"sha256-{digest(b'x')[7:]}"
    store.writable()
    store.tidy(time.time())
    with pytest.raises(ModelNotFound, match=r"^model 'x:latest' not found$"):
        store.delete(name("x"))
    with pytest.raises(ModelNotFound, match=r"^model 'x:latest' not found$"):
        store.copy(name("x"), name("y"))
    assert not store.root.exists()


def test_a_model_is_written_found_and_listed(store: Store) -> None:
    data = model(store, b"weights", b"license")
    stored, gone = store.write(name("Tiny"), data, modified_at=1_700_000_000.0)
    assert gone == 0
    assert stored == store.find(name("tiny:latest"))
    assert stored.name == Name("Tiny")
    assert stored.path == store.root / "manifests" / LIBRARY / "Tiny" / "latest"
    assert stored.path.read_bytes() == data
    assert stored.digest == digest(data)[7:]
    assert stored.modified_at == 1_700_000_000.0
    assert [store.read(each) for each in stored.manifest.layers] == [b"weights", b"license"]
    assert store.scan() == ([stored], {})
    check_store(store.root)
    assert leftovers(store.root) == []


def test_a_manifest_is_kept_byte_for_byte(store: Store) -> None:
    weights = layer(store, b"weights")
    data = (
        b'{ "layers" : [],\n "odd": 1, "config": {"mediaType": "x", "digest": "%s", "size": 7}, "schemaVersion":2}'
        % (weights.digest.encode())
    )
    stored, _ = store.write(name("odd"), data)
    assert stored.path.read_bytes() == data


def test_a_manifest_never_names_what_is_not_there(store: Store) -> None:
    config = layer(store, b"{}", CONFIG_TYPE)
    absent = Layer(MODEL, digest(b"absent"), 6)
    with pytest.raises(StoreError) as raised:
        store.write(name("x"), write_manifest(Manifest(config, (absent,))))
    assert raised.value.message == f"the blob {absent.digest} is missing: send or pull it again"
    with pytest.raises(StoreError, match="the manifest is damaged"):
        store.write(name("x"), b"<html>")
    assert models(store.root) == {}
    assert not (store.root / "manifests").exists()


def test_a_write_takes_the_spelling_that_is_there(store: Store) -> None:
    store.write(name("Tiny"), model(store, b"one"))
    stored, _ = store.write(name("TINY:Latest"), model(store, b"two"))
    assert stored.name == Name("Tiny")
    assert list(models(store.root)) == [f"{LIBRARY}/Tiny/latest"]


def test_overwriting_removes_what_only_the_old_one_named(store: Store) -> None:
    store.write(name("a"), model(store, b"old", b"shared", b"kept"))
    store.write(name("b"), model(store, b"shared"))
    _, gone = store.write(name("a"), model(store, b"new", b"kept"))
    assert gone == 1
    assert store.size(digest(b"old")) is None
    assert leftovers(store.root) == []
    check_store(store.root)
    _, gone = store.write(name("a"), model(store, b"new", b"kept"))
    assert gone == 0


def test_deleting_removes_what_nobody_else_names(store: Store) -> None:
    twice = layer(store, b"twice")
    config = layer(store, b"{}", CONFIG_TYPE)
    system = Layer(SYSTEM, twice.digest, twice.size)
    store.write(name("a"), write_manifest(Manifest(config, (twice, system, layer(store, b"alone")))))
    store.write(name("ns/b:v1"), write_manifest(Manifest(config, (twice,))))
    store.delete(name("A"))
    assert listed(store) == ["ns/b:v1"]
    assert blobs(store.root) == sorted([twice.digest, config.digest])
    assert not (store.root / "manifests" / LIBRARY).exists()
    check_store(store.root)
    store.delete(name("ns/b:v1"))
    assert blobs(store.root) == []
    assert os.listdir(store.root / "manifests") == []
    with pytest.raises(ModelNotFound):
        store.delete(name("ns/b:v1"))


def test_a_copy_is_another_name_of_the_same(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"), modified_at=1.0)
    store.copy(name("A"), name("hf.co/me/b:q8"))
    assert listed(store) == ["hf.co/me/b:q8", "a:latest"]
    copied, source = (store.find(name(each)) for each in ("hf.co/me/b:q8", "a"))
    assert copied is not None
    assert source is not None
    assert copied.path.read_bytes() == source.path.read_bytes()
    assert copied.digest == source.digest
    assert copied.modified_at > time.time() - 60
    store.delete(name("a"))
    assert store.size(digest(b"weights")) == 7
    check_store(store.root)


def test_a_copy_onto_another_model_replaces_it(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"))
    store.write(name("b"), model(store, b"other"))
    store.copy(name("a"), name("B"))
    assert listed(store) == ["a:latest", "b:latest"]
    assert store.size(digest(b"other")) is None
    before = store.find(name("a"))
    store.copy(name("a"), name("A:LATEST"))
    assert store.find(name("a")) == before
    assert leftovers(store.root) == []


def test_without_pruning_blobs_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, prune=False)
    store.write(name("a"), model(store, b"one"))
    _, gone = store.write(name("a"), model(store, b"two"))
    store.delete(name("a"))
    store.tidy(time.time() + 2 * HOUR)
    assert gone == 0
    assert {digest(b"one"), digest(b"two")} <= set(blobs(tmp_path))
    assert models(tmp_path) == {}


def test_a_blob_that_cannot_go_keeps_nobody_from_deleting(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"))
    weights = store.blob(digest(b"weights"))
    weights.unlink()
    weights.mkdir()
    store.delete(name("a"))
    assert models(store.root) == {}
    assert weights.is_dir()


def test_while_a_manifest_cannot_be_read_no_blob_goes(store: Store) -> None:
    store.write(name("a"), model(store, b"one"))
    store.write(name("b"), model(store, b"two"))
    broken = store.root / "manifests" / LIBRARY / "c" / "latest"
    broken.parent.mkdir()
    broken.write_bytes(b"<html>")
    before = blobs(store.root)
    store.delete(name("a"))
    _, gone = store.write(name("b"), model(store, b"two", b"three"))
    store.tidy(time.time() + 2 * HOUR)
    assert gone == 0
    assert set(before) < set(blobs(store.root))
    assert store.scan()[1] == {broken: "the manifest is damaged: JSON is malformed: invalid character (byte 0)"}
    store.delete(name("c"))
    assert listed(store) == ["b:latest"]
    store.tidy(time.time() + 2 * HOUR)
    assert leftovers(store.root) == []
    check_store(store.root)


def test_a_damaged_manifest_can_be_overwritten(store: Store) -> None:
    data = model(store, b"one")
    stored, _ = store.write(name("a"), data)
    stored.path.write_bytes(b"")
    with pytest.raises(StoreError, match="the manifest of a:latest cannot be used: the manifest is damaged"):
        store.copy(name("a"), name("b"))
    stored, _ = store.write(name("A"), data)
    assert store.scan() == ([stored], {})


def test_a_fresh_upload_is_not_deleted_with_a_model_that_had_the_same(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"))
    store.put(b"weights")
    store.delete(name("a"))
    assert blobs(store.root) == [digest(b"weights")]
    store.write(name("b"), model(store, b"weights"))
    store.delete(name("b"))
    assert blobs(store.root) == []


def test_what_is_about_to_be_named_is_kept(store: Store) -> None:
    store.write(name("base"), model(store, b"weights", b"license"))
    store.keep([digest(b"weights")])
    store.delete(name("base"))
    assert blobs(store.root) == [digest(b"weights")]
    with pytest.raises(BadRequest, match="invalid digest format"):
        store.keep(["x"])


def test_tidying_clears_what_is_left_over(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"))
    store.put(b"unnamed")
    old = store.root / "blobs" / digest(b"old")
    old.write_bytes(b"old")
    weights = store.blob(digest(b"weights"))
    weights.rename(weights.with_name(digest(b"weights")))
    (store.root / "blobs" / f"sha256-{'a' * 64}-partial-0").write_text("{}")
    (store.root / "manifests" / "h" / "n").mkdir(parents=True)
    os.utime(store.blob(digest(b"unnamed")), (1, 1))
    store.tidy(time.time())
    assert [Path(left).name for left in leftovers(store.root)] == sorted(
        [
            f"sha256-{digest(b'old')[7:]}",
            f"sha256-{digest(b'unnamed')[7:]}",
            f"sha256-{'a' * 64}-partial-0",
        ]
    )
    assert os.listdir(store.root / "manifests") == ["registry.ollama.ai"]
    store.tidy(time.time() + 2 * HOUR)
    assert leftovers(store.root) == []
    check_store(store.root)
    assert listed(store) == ["a:latest"]


def test_files_of_others_are_left_alone(store: Store) -> None:
    store.write(name("a"), model(store, b"weights"))
    notes = [store.root / "notes.txt", store.root / "blobs" / "notes.txt", store.root / "manifests" / "notes.txt"]
    for path in notes:
        path.write_text("mine")
        os.utime(path, (1, 1))
    store.tidy(time.time() + 2 * HOUR)
    store.delete(name("a"))
    assert [path.read_text() for path in notes] == ["mine"] * 3


def test_bad_digests_and_names(store: Store) -> None:
    for attempt in (store.blob, store.size):
        with pytest.raises(BadRequest, match="invalid digest format"):
            attempt("sha256:../../etc/passwd")
    store.write(name("a"), model(store, b"weights"))
    data = model(store, b"weights")
    long = name("h" * 300 + "/n/m:t")
    evil = Name("..", namespace="..")
    for refused in (
        lambda: store.write(evil, data),
        lambda: store.copy(name("a"), evil),
        lambda: store.copy(evil, name("b")),
        lambda: store.delete(evil),
        lambda: store.find(evil),
        lambda: store.write(long, data),
        lambda: store.copy(name("a"), long),
    ):
        with pytest.raises(BadRequest) as raised:
            refused()
        assert raised.value.message == "invalid model name"
    assert store.find(long) is None
    assert listed(store) == ["a:latest"]
    check_store(store.root)
