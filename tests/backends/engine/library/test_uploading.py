"""Blobs that clients send: whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arriero.backends.engine.library.uploading import PIECE_BYTES, receive
from arriero.backends.engine.store.store import Store
from arriero.errors import StoreReadOnly
from support.store import blobs, digest, leftovers


async def sent(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"tiny",),
        (b"a" * PIECE_BYTES,),
        (b"a" * (PIECE_BYTES - 1), b"b", b"c"),
        tuple(bytes([number % 256]) * 65536 for number in range(100)),
        (b"z" * (3 * PIECE_BYTES + 7), b"", b"end"),
    ],
    ids=["nothing", "one small piece", "one of the size of a write", "just over", "many", "large ones"],
)
async def test_what_comes_is_stored_under_its_digest(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    store, whole = Store(tmp_path), b"".join(pieces)
    assert await receive(store, sent(*pieces)) == digest(whole)
    assert blobs(tmp_path) == [digest(whole)]
    assert store.blob(digest(whole)).read_bytes() == whole


async def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a" * (2 * PIECE_BYTES)
        begun.set()
        await asyncio.sleep(60)

    receiving = asyncio.create_task(receive(Store(tmp_path), slowly()))
    await begun.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert list((tmp_path / "blobs").iterdir()) == []
    assert leftovers(tmp_path) == []


async def test_a_cut_upload_leaves_nothing(tmp_path: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"a" * (2 * PIECE_BYTES)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await receive(Store(tmp_path), cut())
    assert list((tmp_path / "blobs").iterdir()) == []


async def test_a_read_only_store_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnly):
        await receive(Store(tmp_path, read_only=True), sent(b"x"))
    assert leftovers(tmp_path) == []


async def test_a_client_that_leaves_at_once_leaves_nothing_however_often_it_is_told(tmp_path: Path) -> None:
    """A lost connection is told twice: as the end of the body, and by whoever carries the request."""
    store = Store(tmp_path)

    async def gone() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.001)
        raise ConnectionResetError("gone")
        yield b""

    for turns in range(40):
        receiving = asyncio.create_task(receive(store, gone()))
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        receiving.cancel()
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises((asyncio.CancelledError, ConnectionResetError)):
            await receiving
    assert leftovers(tmp_path) == []
