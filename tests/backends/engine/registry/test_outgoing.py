"""The bytes of a blob that goes up: pieces in order, counts, sums, and files that cannot be read."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.backends.engine.lasting import Threads
from arriero.backends.engine.registry.outgoing import PIECE_BYTES, Blob, Outgoing, Part, parts_of
from arriero.backends.engine.registry.parts import Sizes
from arriero.errors import StoreError
from support.registry import digest_of

SIZES = Sizes(smallest=1000)
DATA = bytes(range(256)) * 8
DIGEST = digest_of(DATA)


def outgoing(path: Path, data: bytes = DATA, sizes: Sizes = SIZES) -> Outgoing:
    path.write_bytes(data)
    return Outgoing(Blob(digest_of(data), len(data), path), parts_of(len(data), sizes), Threads())


async def sent(blob: Outgoing, part: Part, start: int | None = None) -> bytes:
    return b"".join([piece async for piece in blob.pieces(part, part.start if start is None else start)])


def etag(*parts: bytes) -> str:
    return f"{hashlib.md5(b''.join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"


def test_the_parts_of_a_blob_are_a_sixteenth_within_bounds() -> None:
    assert parts_of(0, SIZES) == ()
    assert parts_of(1, SIZES) == (Part(0, 0, 1),)
    assert parts_of(2001, SIZES) == (Part(0, 0, 1000), Part(1, 1000, 2000), Part(2, 2000, 2001))
    assert len(parts_of(160_000, SIZES)) == 16
    assert parts_of(250_000_000, Sizes())[-1] == Part(2, 200_000_000, 250_000_000)
    assert parts_of(20_000_000_000, Sizes())[0] == Part(0, 0, 1_000_000_000)


async def test_parts_are_read_counted_and_summed(tmp_path: Path) -> None:
    blob = outgoing(tmp_path / "blob")
    assert [await sent(blob, part) for part in blob.parts] == [DATA[:1000], DATA[1000:2000], DATA[2000:]]
    assert (blob.completed, blob.read_to, blob.etag) == (2048, 2048, etag(DATA[:1000], DATA[1000:2000], DATA[2000:]))


async def test_a_piece_counts_when_the_next_one_is_asked_for(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE_BYTES + 1)
    blob = outgoing(tmp_path / "blob", data, Sizes())
    counts = [(len(piece), blob.completed, blob.read_to) async for piece in blob.pieces(blob.parts[0], 0)]
    assert counts == [
        (PIECE_BYTES, 0, PIECE_BYTES),
        (PIECE_BYTES, PIECE_BYTES, 2 * PIECE_BYTES),
        (1, 2 * PIECE_BYTES, len(data)),
    ]
    assert blob.completed == len(data)


async def test_what_is_sent_twice_is_summed_once(tmp_path: Path) -> None:
    blob = outgoing(tmp_path / "blob")
    first, second, third = blob.parts
    await sent(blob, third)
    await sent(blob, first)
    assert await sent(blob, first, 400) == DATA[400:1000]
    await sent(blob, second)
    await sent(blob, second)
    assert blob.etag == etag(DATA[:1000], DATA[1000:2000], DATA[2000:])


async def test_what_begins_again_counts_from_nothing(tmp_path: Path) -> None:
    blob = outgoing(tmp_path / "blob")
    await sent(blob, blob.parts[0])
    blob.rewind()
    assert (blob.completed, blob.read_to) == (0, 1000)
    blob.arrive()
    assert blob.completed == 2048


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(DATA[:1500]), f"the blob {DIGEST} is cut short: pull or create the model again"),
        (lambda path: path.unlink(), f"the blob {DIGEST} was deleted while it was pushed"),
        (lambda path: (path.unlink(), path.mkdir()), f"the blob {DIGEST} cannot be read: Is a directory"),
    ],
)
async def test_a_file_that_cannot_be_read(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    blob = outgoing(tmp_path / "blob")
    spoil(tmp_path / "blob")
    with pytest.raises(StoreError) as raised:
        await sent(blob, blob.parts[1])
    assert raised.value.message == message
    assert blob.broken is raised.value
