"""The header of a GGUF file, read by ourselves: metadata, tensor table, parameter count, and whether the file is whole.

A memory map and a walk over the lengths; long arrays (vocabularies) are stepped over, so a header with 128,000 tokens
costs tens of milliseconds and a few megabytes. Every length is checked against the file before it is believed: the
engine aborts on some of what is refused here. What the metadata means is `card`'s; loading is the child process's.

Layout (little-endian, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, u32 version, u64 tensors,
u64 keys; per key: string, u32 type, value; per tensor: string, u32 dims, u64 each dim, u32 type, u64 offset; padding to
`general.alignment`; tensor data.
"""

import hashlib
import math
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

from arriero.errors import ModelBroken

VERSIONS: Final = (2, 3)
MAX_KEYS: Final = 1 << 16
MAX_TENSORS: Final = 1 << 17
MAX_STRING: Final = 16 << 20
MAX_DIMS: Final = 4
SHORT_ARRAY: Final = 64
"""Arrays up to this length are decoded; of longer ones only element type and count are kept."""

SCALARS: Final[Mapping[int, tuple[str, str]]] = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "?"),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
"""Value type -> name, struct code."""

STRING: Final = 8
ARRAY: Final = 9

TENSOR_TYPES: Final[Mapping[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Tensor type -> name, elements per block, bytes per block."""

TOKENS_KEY: Final = "tokenizer.ggml.tokens"
INFILL_TOKENS: Final = (
    "<|fim_prefix|>",
    "<fim_prefix>",
    "<fim-prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "[PREFIX]",
)
"""Vocabulary entries by which llama.cpp knows a model for text insertion."""


class LongArray(Struct, frozen=True):
    """An array that was stepped over: the name of its element type and its length."""

    element: str
    count: int


Value = bool | int | float | str | tuple[object, ...] | LongArray


class Tensor(Struct, frozen=True):
    """An entry of the tensor table. `shape` as in the file, fastest dimension first; `offset` into the data."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int


class GgufHeader(Struct, frozen=True):
    """What a file says of itself. `length` is the header's own bytes; `infill` tells of fill-in-the-middle tokens.

    `digest` is the SHA-256 of the header bytes and the file's size, as 64 hex digits: stable for a file and different
    for different models, without reading gigabytes. It is not the digest of the whole file. `tokens_at` is where the
    first token of the vocabulary starts, `None` without one.
    """

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    parameter_count: int
    length: int
    size_bytes: int
    digest: str
    infill: bool
    tokens_at: int | None

    @property
    def architecture(self) -> str:
        """`general.architecture`, empty where the file has none."""
        return self.text("general.architecture") or ""

    def text(self, key: str) -> str | None:
        """A string of the metadata, by its whole key."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """A whole number of the metadata, by its key without the architecture: `context_length`.

        Some models give one number per layer; the largest of them is meant then.
        """
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            numbers = [item for item in value if isinstance(item, int)]
            return max(numbers, default=None)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, key: str) -> int | None:
        """The length of an array of the metadata, by its whole key."""
        value = self.metadata.get(key)
        if isinstance(value, LongArray):
            return value.count
        return len(value) if isinstance(value, tuple) else None


def read_header(path: Path, *, whole_arrays: bool = False) -> GgufHeader:
    """Read and check the header. `whole_arrays` decodes the long arrays too, which takes memory and a second or so.

    Raises `ModelBroken` with a sentence that says what is wrong, and `OSError` where the file cannot be opened.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 24:
            raise ModelBroken("not a GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, whole_arrays).header()


def repeated_token(path: Path, header: GgufHeader) -> str | None:
    """The first token that stands twice in the vocabulary: llama.cpp aborts on it. `None` if there is none."""
    count = header.count(TOKENS_KEY)
    if header.tokens_at is None or count is None:
        return None
    seen: set[bytes] = set()
    length_at = struct.Struct("<Q").unpack_from
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = header.tokens_at
        for _ in range(count):
            if at + 8 > len(data):
                return None
            (length,) = length_at(data, at)
            token = data[at + 8 : at + 8 + length]
            # Empty tokens get names of their own from llama.cpp.
            if token and token in seen:
                return token.decode(errors="replace")
            seen.add(token)
            at += 8 + length
    return None


class _Reader:
    """One walk over a mapped file; `_at` is where it stands."""

    def __init__(self, data: mmap.mmap, whole_arrays: bool) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0
        self._whole_arrays = whole_arrays
        self._tokens_at: int | None = None
        self._infill = False

    def header(self) -> GgufHeader:
        if self._data[:4] != b"GGUF":
            raise ModelBroken("not a GGUF file")
        self._at = 4
        version = self._number("I", "the version")
        if version not in VERSIONS:
            if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
                raise ModelBroken("a big-endian GGUF file, which the engine here does not read")
            raise ModelBroken(f"GGUF version {version} is not known")
        tensor_count = self._number("Q", "the tensor count")
        key_count = self._number("Q", "the key count")
        if key_count > MAX_KEYS:
            raise ModelBroken(f"{key_count} metadata keys are announced, more than {MAX_KEYS} are not believed")
        if tensor_count > MAX_TENSORS:
            raise ModelBroken(f"{tensor_count} tensors are announced, more than {MAX_TENSORS} are not believed")
        metadata = self._metadata(key_count)
        entries = [self._tensor(index) for index in range(tensor_count)]
        self._check_extents(entries, metadata)
        digest = hashlib.sha256(self._data[: self._at])
        digest.update(self._size.to_bytes(8, "little"))
        return GgufHeader(
            version=version,
            metadata=metadata,
            tensors=tuple(tensor for tensor, _ in entries),
            parameter_count=sum(math.prod(tensor.shape) for tensor, _ in entries),
            length=self._at,
            size_bytes=self._size,
            digest=digest.hexdigest(),
            infill=self._infill,
            tokens_at=self._tokens_at,
        )

    # ---- metadata ----------------------------------------------------------------------------------------------------

    def _metadata(self, count: int) -> dict[str, Value]:
        metadata: dict[str, Value] = {}
        for index in range(count):
            key = self._string(f"key {index}")
            if not key:
                raise ModelBroken(f"metadata key {index} is empty")
            if key in metadata:
                raise ModelBroken(f"metadata key {key} stands twice")
            metadata[key] = self._value(key, self._number("I", f"the type of {key}"))
        return metadata

    def _value(self, key: str, kind: int) -> Value:
        if kind == STRING:
            return self._string(key)
        if kind == ARRAY:
            return self._array(key)
        if kind not in SCALARS:
            raise ModelBroken(f"{key} has the value type {kind}, which is not known")
        code = SCALARS[kind][1]
        (value,) = struct.unpack_from("<" + code, self._data, self._take(struct.calcsize("<" + code), key))
        result: bool | int | float = value
        return result

    def _array(self, key: str) -> Value:
        kind = self._number("I", f"the element type of {key}")
        count = self._number("Q", f"the length of {key}")
        keep = count <= SHORT_ARRAY or self._whole_arrays
        if kind == STRING:
            return self._strings(key, count, keep)
        if kind not in SCALARS:
            raise ModelBroken(f"{key} is an array of type {kind}, which is not known")
        name, code = SCALARS[kind]
        start = self._take(count * struct.calcsize("<" + code), key)
        return struct.unpack_from(f"<{count}{code}", self._data, start) if keep else LongArray(name, count)

    def _strings(self, key: str, count: int, keep: bool) -> Value:
        start = self._at
        if count > (self._size - start) // 8:
            self._past_end(key, start + 8 * count)
        length_at, data, size = struct.Struct("<Q").unpack_from, self._data, self._size
        at, last = start, size - 8
        kept: list[str] = []
        for _ in range(count):
            if at > last:
                self._past_end(key, at + 8)
            (length,) = length_at(data, at)
            if keep:
                kept.append(data[at + 8 : at + 8 + length].decode(errors="replace"))
            at += 8 + length
        if at > size:
            self._past_end(key, at)
        self._at = at
        if key == TOKENS_KEY:
            self._tokens_at = start
            self._infill = any(self._holds_token(token, start, at) for token in INFILL_TOKENS)
        return tuple(kept) if keep else LongArray("string", count)

    def _holds_token(self, token: str, start: int, end: int) -> bool:
        text = token.encode()
        return self._data.find(len(text).to_bytes(8, "little") + text, start, end) >= 0

    # ---- tensors -----------------------------------------------------------------------------------------------------

    def _tensor(self, index: int) -> tuple[Tensor, int | None]:
        """An entry and the bytes of its data, `None` for a tensor type that is not known here."""
        name = self._string(f"the name of tensor {index}")
        dims = self._number("I", f"the dimensions of {name}")
        if dims > MAX_DIMS:
            raise ModelBroken(f"tensor {name} has {dims} dimensions, more than {MAX_DIMS} are not known")
        shape: tuple[int, ...] = struct.unpack_from(f"<{dims}Q", self._data, self._take(8 * dims, name))
        kind = self._number("I", f"the type of {name}")
        offset = self._number("Q", f"the offset of {name}")
        if kind not in TENSOR_TYPES:
            return Tensor(name, f"type {kind}", shape, offset), None
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        if shape and shape[0] % block:
            raise ModelBroken(f"tensor {name} is {type_name} with rows of {shape[0]}, which is no multiple of {block}")
        return Tensor(name, type_name, shape, offset), math.prod(shape) // block * block_bytes

    def _check_extents(self, entries: list[tuple[Tensor, int | None]], metadata: Mapping[str, Value]) -> None:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ModelBroken(f"general.alignment is {alignment}, which is no power of two")
        data_start = -(-self._at // alignment) * alignment
        names: set[str] = set()
        for tensor, length in entries:
            if tensor.name in names:
                raise ModelBroken(f"tensor {tensor.name} stands twice")
            names.add(tensor.name)
            if tensor.offset % alignment:
                raise ModelBroken(f"tensor {tensor.name} starts at {tensor.offset}, no multiple of {alignment}")
            end = data_start + tensor.offset + (length or 0)
            if end > self._size:
                raise ModelBroken(f"truncated: tensor {tensor.name} ends at {end} but the file has {self._size} bytes")

    # ---- bytes -------------------------------------------------------------------------------------------------------

    def _take(self, length: int, what: str) -> int:
        """Step over `length` bytes and return where they start."""
        start = self._at
        if start + length > self._size:
            self._past_end(what, start + length)
        self._at = start + length
        return start

    def _number(self, code: str, what: str) -> int:
        (value,) = struct.unpack_from("<" + code, self._data, self._take(struct.calcsize("<" + code), what))
        number: int = value
        return number

    def _string(self, what: str) -> str:
        length = self._number("Q", what)
        start = self._take(length, what)
        if length > MAX_STRING:
            raise ModelBroken(f"{what} is a text of {length} bytes, more than {MAX_STRING} are not believed")
        return self._data[start : start + length].decode(errors="replace")

    def _past_end(self, what: str, end: int) -> NoReturn:
        raise ModelBroken(f"truncated: {what} ends at {end} but the file has {self._size} bytes")
