"""The parts of a split GGUF file as one file: the first part's metadata without the marks of the split, every tensor
of every part, in order. What is made is a head and a list of pieces to copy; whoever stores it does the copying.

Layout as in `gguf`. llama.cpp wants the data in the order of the tensor table, each tensor at the alignment and no
farther, so every tensor is moved on its own.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from arriero.backends.engine.card import check_model, split_count
from arriero.backends.engine.gguf import GgufHeader, Tensor
from arriero.backends.engine.gguf_bytes import quoted
from arriero.backends.engine.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from arriero.errors import ModelBroken

SPLIT: Final = "split."
"""Keys that start so tell of the split."""

MAX_ALIGNMENT: Final = 1 << 16

_KINDS: Final[Mapping[str, tuple[int, int, int]]] = {
    name: (number, block, size) for number, (name, block, size) in TENSOR_TYPES.items()
}
_COUNTS_AT: Final = 8
_KEYS_AT: Final = 24

_length_at = struct.Struct("<Q").unpack_from
_kind_at = struct.Struct("<I").unpack_from


class Part(Struct, frozen=True):
    """One file of a set, and its header."""

    path: Path
    header: GgufHeader


class Piece(Struct, frozen=True):
    """`length` bytes of a file from `start` on, then `padding` zero bytes."""

    path: Path
    start: int
    length: int
    padding: int


class Merged(Struct, frozen=True):
    """A file to be made: its first bytes, then the pieces."""

    head: bytes
    pieces: tuple[Piece, ...]

    @property
    def size_bytes(self) -> int:
        return len(self.head) + sum(piece.length + piece.padding for piece in self.pieces)


class Placed(Struct, frozen=True):
    """Where a file stands in its set, from 0, and how many there are; `stem` is what the set is called."""

    stem: str
    number: int
    count: int


_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def placed(name: str, header: GgufHeader) -> Placed | None:
    """The place of a file in a set, `None` for a file of its own. The header knows better than the file's name."""
    found = _NAME.fullmatch(name)
    stem = found["stem"] if found else ""
    count, number = split_count(header), header.metadata.get("split.no")
    if count > 1 and isinstance(number, int):
        return Placed(stem, number, count)
    if found and int(found["count"]) > 1 and int(found["number"]) >= 1:
        return Placed(stem, int(found["number"]) - 1, int(found["count"]))
    return None


def merge(parts: Sequence[Part]) -> Merged:
    """Plan one file of all parts, in order. Blocks for the disk, to read the first part's metadata.

    Raises `ModelBroken` where the parts do not make one model, and `OSError`.
    """
    first = parts[0].header
    tensors = [(part, tensor) for part in parts for tensor in part.header.tensors]
    _check(first, [tensor for _, tensor in tensors])
    alignment = _alignment(first)
    table, pieces, offset = bytearray(), [], 0
    for part, tensor in tensors:
        kind, size = _extent(tensor)
        table += _entry(tensor, kind, offset)
        start = _up(part.header.length, _alignment(part.header)) + tensor.offset
        padding = _up(size, alignment) - size
        pieces.append(Piece(part.path, start, size, padding))
        offset += size + padding
    if offset > sum(part.header.size_bytes for part in parts) + len(tensors) * alignment:
        raise ModelBroken("the tensors overlap")
    keys = kept_keys(parts[0])
    head = b"".join((b"GGUF", struct.pack("<IQQ", first.version, len(tensors), len(keys)), *keys, bytes(table)))
    return Merged(head.ljust(_up(len(head), alignment), b"\0"), tuple(pieces))


def kept_keys(part: Part) -> list[bytes]:
    """The metadata of a file, key by key as it stands there, without the marks of a split."""
    with part.path.open("rb") as file:
        data = file.read(part.header.length)
    try:
        count = _length_at(data, _COUNTS_AT + 8)[0]
        kept, at = [], _KEYS_AT
        for _ in range(count):
            start = at
            name_end = _past_text(data, at)
            at = _past_value(data, name_end + 4, _kind_at(data, name_end)[0])
            if not data[start + 8 : name_end].startswith(SPLIT.encode()):
                kept.append(data[start:at])
    except (struct.error, KeyError):
        # It was whole when its header was read.
        raise ModelBroken("the file has changed while it was read") from None
    return kept


def _check(first: GgufHeader, tensors: Sequence[Tensor]) -> None:
    """Raises `ModelBroken` unless the first part's metadata and all tensors are a model."""
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise ModelBroken(f"tensor {quoted(tensor.name)} stands in two parts")
        names.add(tensor.name)
    announced = first.metadata.get("split.tensors.count")
    if isinstance(announced, int) and announced != len(tensors):
        raise ModelBroken(f"the parts hold {len(tensors)} tensors, {announced} are announced")
    metadata = {key: value for key, value in first.metadata.items() if not key.startswith(SPLIT)}
    check_model(msgspec.structs.replace(first, metadata=metadata, tensors=tuple(tensors)))


def _entry(tensor: Tensor, kind: int, offset: int) -> bytes:
    name = tensor.name.encode()
    dims = len(tensor.shape)
    return struct.pack(f"<Q{len(name)}sI{dims}QIQ", len(name), name, dims, *tensor.shape, kind, offset)


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The number of a tensor's type, and the bytes of its data."""
    if tensor.type not in _KINDS:
        raise ModelBroken(
            f"tensor {quoted(tensor.name)} is of a type that is not known, so the parts cannot be put together"
        )
    number, block, size = _KINDS[tensor.type]
    return number, math.prod(tensor.shape) // block * size


def _alignment(header: GgufHeader) -> int:
    alignment = header.metadata.get("general.alignment", 32)
    assert isinstance(alignment, int), "the reader has checked it"
    if alignment > MAX_ALIGNMENT:
        raise ModelBroken(f"general.alignment is {alignment}, more than {MAX_ALIGNMENT} is not believed")
    return alignment


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _past_text(data: bytes, at: int) -> int:
    return at + 8 + int(_length_at(data, at)[0])


def _past_value(data: bytes, at: int, kind: int) -> int:
    if kind == STRING:
        return _past_text(data, at)
    if kind != ARRAY:
        return at + struct.calcsize("<" + SCALARS[kind][1])
    kind, count = _kind_at(data, at)[0], _length_at(data, at + 4)[0]
    at += 12
    if kind != STRING:
        return at + int(count) * struct.calcsize("<" + SCALARS[kind][1])
    for _ in range(count):
        at = _past_text(data, at)
    return at
