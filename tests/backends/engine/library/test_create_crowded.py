"""Creates while others change the same models, and creates whose clients go away."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.library.create import create
from arriero.backends.engine.progress import Frame
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.faults import BlobMissing
from arriero.backends.engine.store.manifest import (
    Layer,
    Manifest,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import (
    StoreReadOnly,
)
from support.store import check_store, digest, leftovers, models
from support.workshop import NOW, Workshop


async def test_two_creates_of_one_name_end_well(shop: Workshop, weights: str) -> None:
    bodies = [{"model": "tiny", "files": {"a": weights}, "system": f"number {number % 3}"} for number in range(12)]

    async def one(body: dict[str, Any]) -> list[str]:
        frames: list[Frame] = []
        text = json.dumps(body).encode()
        await create(text, shop.store, report=frames.append, find=shop.find, fetch=shop.fetch, now=lambda: NOW)
        return [frame.status for frame in frames]

    said = await asyncio.gather(*map(one, bodies))
    assert [each[-1] for each in said] == ["success"] * 12
    check_store(shop.store.root)
    ((kind, text),) = shop.texts()
    assert kind == "system" and text.startswith("number ")


class Crowded(Store):
    """A store in which somebody removes a small layer just before the manifest is written."""

    stolen: bytes | None = None
    times = 1

    def write(self, *arguments: Any, **more: Any) -> Any:
        if self.times:
            self.times -= 1
            if self.stolen is not None:
                self.blob(digest(self.stolen)).unlink()
        return super().write(*arguments, **more)


async def test_a_small_layer_that_was_removed_meanwhile_is_put_back(shop: Workshop, weights: str) -> None:
    shop.store = store = Crowded(shop.store.root)
    store.stolen = b"be kind"
    await shop.make(files={"a": weights}, system="be kind")
    assert shop.texts() == [("system", "be kind")]


class Restored(Store):
    """A store in which somebody removes a small layer while the manifest is written, and has put it back by the time
    the error comes.
    """

    times = 3

    def write(self, *arguments: Any, **more: Any) -> Any:
        if not self.times:
            return super().write(*arguments, **more)
        self.times -= 1
        raise BlobMissing(digest(b"be kind"))


async def test_a_small_layer_that_is_back_already_is_no_reason_to_give_up(shop: Workshop, weights: str) -> None:
    shop.store = Restored(shop.store.root)
    await shop.make(files={"a": weights}, system="be kind")
    assert shop.texts() == [("system", "be kind")]


class Overtaken(Store):
    """A store in which somebody overwrites the base just before the first manifest is written."""

    manifest: bytes = b""

    def write(self, name: Name, manifest: bytes, **more: Any) -> Any:
        if self.manifest:
            other, self.manifest = self.manifest, b""
            super().write(Name("base"), other)
        return super().write(name, manifest, **more)


async def test_a_base_that_was_overwritten_meanwhile_is_looked_at_again(shop: Workshop, weights: str) -> None:
    await shop.make("base", files={"a": weights}, system="old")
    shop.store = store = Overtaken(shop.store.root)
    manifest = shop.manifest("base")
    text = b"new"
    layers = (*manifest.layers[:1], Layer(media.SYSTEM, store.put(text)[0], len(text)))
    store.manifest = write_manifest(Manifest(manifest.config, layers))
    said = await shop.make(**{"from": "base"}, license="MIT")
    assert shop.texts() == [("system", "new"), ("license", "MIT")]
    assert said[-2:] == ["writing manifest", "success"] and said.count("success") == 1


async def test_weights_that_were_removed_meanwhile_are_told(shop: Workshop, tmp_path: Path, weights: str) -> None:
    shop.store = store = Crowded(shop.store.root)
    store.stolen = store.blob(weights).read_bytes()
    error, _ = await shop.fails(files={"a": weights}, system="be kind")
    assert (type(error), error.message) == (BlobMissing, f"the blob {weights} is missing: send or pull it again")


async def test_who_goes_away_leaves_nothing_half_done(shop: Workshop) -> None:
    told = asyncio.Event()

    def report(frame: Frame) -> None:
        told.set()

    body = json.dumps({"model": "tiny", "from": "arriero-demo"}).encode()
    task = asyncio.create_task(
        create(body, shop.store, report=report, find=shop.find, fetch=shop.fetch, now=lambda: NOW)
    )
    await told.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models(shop.store.root) == {}
    # At most a whole blob that nobody names, which tidying clears.
    check_store(shop.store.root)
    assert [one for one in leftovers(shop.store.root) if not one.startswith("blobs/sha256-")] == []
    assert (await shop.make(**{"from": "arriero-demo"}))[-1] == "success"


class Slow(Store):
    """A store that takes its time over a small layer."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.entered, self.goes_on = threading.Event(), threading.Event()

    def put(self, data: bytes) -> tuple[str, bool]:
        self.entered.set()
        assert self.goes_on.wait(10)
        return super().put(data)


async def test_who_goes_away_in_the_middle_of_a_step_waits_for_it(shop: Workshop, weights: str) -> None:
    store = Slow(shop.store.root)
    body = json.dumps({"model": "tiny", "files": {"a": weights}, "system": "x"}).encode()
    report = shop.frames.append
    task = asyncio.create_task(create(body, store, report=report, find=shop.find, fetch=shop.fetch, now=lambda: NOW))
    assert await asyncio.to_thread(store.entered.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    store.goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models(store.root) == {}
    check_store(store.root)


async def test_frames_are_told_on_the_loop(shop: Workshop, weights: str) -> None:
    threads: set[int] = set()
    body = json.dumps({"model": "tiny", "files": {"a": weights}}).encode()
    await create(
        body,
        shop.store,
        report=lambda frame: threads.add(threading.get_ident()),
        find=shop.find,
        fetch=shop.fetch,
        now=lambda: NOW,
    )
    assert threads == {threading.get_ident()}


async def test_a_store_that_is_read_only(shop: Workshop, weights: str) -> None:
    shop.store = Store(shop.store.root, read_only=True)
    error, _ = await shop.fails(files={"a": weights}, system="x")
    assert isinstance(error, StoreReadOnly)
