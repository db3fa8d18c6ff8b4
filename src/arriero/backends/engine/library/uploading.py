"""A blob that a client sends: to disk as it comes, hashed on the way, never held as a whole.

While one piece is written in a thread and hashed in another the next is read from the socket.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from arriero.backends.engine.lasting import to_its_end
from arriero.backends.engine.store.blobs import Incoming
from arriero.backends.engine.store.store import Store

PIECE_BYTES: Final = 2 << 20
"""Bytes that are gathered for one write: a thread's turn costs as much as writing a few thousand of them."""


async def receive(store: Store, pieces: AsyncIterator[bytes]) -> str:
    """Store what comes, under the digest that it turns out to have. Raises `StoreError`; then, and where the client
    leaves before the end, nothing stays.
    """
    opening = asyncio.ensure_future(store.threads.run(store.incoming))
    writing: asyncio.Future[None] | None = None
    gathered: list[bytes] = []
    size = 0
    try:
        incoming = await asyncio.shield(opening)
        async for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                if writing is not None:
                    await asyncio.shield(writing)
                writing = asyncio.ensure_future(_put(store, incoming, gathered))
                gathered, size = [], 0
        if writing is not None:
            await asyncio.shield(writing)
        writing = asyncio.ensure_future(_put(store, incoming, gathered))
        await asyncio.shield(writing)
        return await to_its_end(store.threads.run(incoming.commit))
    finally:
        await to_its_end(_leave(store, opening, writing))


async def _put(store: Store, incoming: Incoming, pieces: Sequence[bytes]) -> None:
    hashing = asyncio.ensure_future(store.threads.run(incoming.hash, pieces))
    try:
        await store.threads.run(incoming.append, pieces)
    finally:
        await hashing


async def _leave(store: Store, opening: asyncio.Future[Incoming], writing: asyncio.Future[None] | None) -> None:
    """Leave nothing behind. The file is not closed before its threads have ended: another one could have its number by
    then, and be written to.
    """
    if writing is not None:
        await asyncio.wait({writing})
        writing.exception()  # Whoever waited for it has heard of it.
    await asyncio.wait({opening})
    if opening.exception() is None:
        await store.threads.run(opening.result().abort)
