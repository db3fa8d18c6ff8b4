"""Makes a blob of files that lie elsewhere, or of several parts: copies and hashes, and tells how far it is."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from arriero.backends.engine.gguf_merging import Merged, Part, Piece, merge
from arriero.backends.engine.progress import Frame
from arriero.backends.engine.store.store import Store
from arriero.errors import ModelBroken, StoreError

STEP_BYTES: Final = 64 << 20
"""How much is copied between two frames."""
READ_BYTES: Final = 1 << 20
PLACEHOLDER: Final = "0" * 19
"""Stands for a digest that is not known yet: clients make one bar of frames with the same one."""

Steps: TypeAlias = Generator[Frame, None, tuple[str, int]]
"""Frames, and at the end digest and size of the blob."""


def adopted(parts: tuple[Part, ...], store: Store) -> Steps:
    """A blob with the content of a file, or of several parts put together. Blocks for the disk.

    Raises `StoreError`, and `ModelBroken` for parts that are no model or a file that ends too early.
    """
    if len(parts) == 1:
        whole = Piece(parts[0].path, 0, parts[0].header.size_bytes, 0)
        merged, status = Merged(b"", (whole,)), "copying model"
    else:
        merged, status = merge(parts), "merging GGUF parts"
    size = merged.size_bytes
    yield Frame(status, PLACEHOLDER, size)
    told = 0
    with store.incoming() as blob:
        blob.write(merged.head)
        for data in _read(merged.pieces):
            blob.write(data)
            if blob.size - told >= STEP_BYTES:
                told = blob.size
                yield Frame(status, PLACEHOLDER, size, told)
        digest = blob.commit()
    yield Frame(status, PLACEHOLDER, size, size)
    return digest, size


def _read(pieces: tuple[Piece, ...]) -> Iterator[bytes | memoryview]:
    opened: Path | None = None
    buffer = memoryview(bytearray(READ_BYTES))
    file = None
    try:
        for piece in pieces:
            if piece.path != opened:
                if file is not None:
                    file.close()
                file, opened = piece.path.open("rb", buffering=0), piece.path
            assert file is not None
            file.seek(piece.start)
            left = piece.length
            while left:
                count = file.readinto(buffer[: min(left, READ_BYTES)])
                if not count:
                    raise ModelBroken("the file has become shorter while it was read")
                yield buffer[:count]
                left -= count
            yield bytes(piece.padding)
    except OSError as error:
        raise StoreError(f"the model file cannot be read: {error.strerror}") from None
    finally:
        if file is not None:
            file.close()
