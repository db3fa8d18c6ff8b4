"""Threads and processes that change one store at once: a manifest never names what is gone."""

import threading
import time
from pathlib import Path

from arriero.backends.engine.store.store import Store, Stored
from arriero.errors import ModelNotFound, StoreError
from support.store import blobs, check_store, digest, leftovers, model, models, name
from support.store_churn import HOUR, start

SECONDS = 60.0


def dangling(store: Store, stored: Stored) -> list[str]:
    """The blobs that a model names and that are not there, if it is still the same model."""
    missing = [layer.digest for layer in stored.manifest.blobs if store.size(layer.digest) is None]
    return missing if missing and store.find(stored.name) == stored else []


def test_processes_that_share_blobs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(name("mine"), model(store, b"mine"))
    processes = [start("loop", tmp_path, seed, 120) for seed in range(3)]
    looks = 0
    end = time.monotonic() + SECONDS
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < end
        stored, broken = store.scan()
        assert broken == {}
        assert [each for model in stored for each in dangling(store, model)] == []
        looks += 1
    for process in processes:
        with process:
            assert process.returncode == 0
    assert looks > 5
    check_store(tmp_path)
    assert len(models(tmp_path)) > 1
    store.tidy(time.time() + 2 * HOUR)
    assert leftovers(tmp_path) == []
    check_store(tmp_path)


def test_threads_that_make_and_delete_one_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed: list[Exception] = []

    def work(number: int) -> None:
        own = Store(tmp_path) if number % 2 else store
        for turn in range(20):
            try:
                own.write(name("x"), model(own, b"shared", bytes([number, turn])))
                own.delete(name("x"))
            except ModelNotFound:
                continue
            except StoreError as error:
                # Two stores know nothing of each other's uploads; one of them does.
                if "is missing: send or pull it again" not in error.message:
                    failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert failed == []
    check_store(tmp_path)
    store.tidy(time.time() + 2 * HOUR)
    assert leftovers(tmp_path) == []


def test_two_uploads_of_one_blob(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.incoming() as first, store.incoming() as second:
        for blob in (first, second):
            blob.write(b"weights")
        assert first.commit() == second.commit() == digest(b"weights")
        assert (first.is_new, second.is_new) == (True, False)
    assert blobs(tmp_path) == [digest(b"weights")]
    check_store(tmp_path)
