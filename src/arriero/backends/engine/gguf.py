"""The header of a GGUF file, read by ourselves: metadata, tensor table, parameter count, and whether the file is whole.

Long arrays (vocabularies) are stepped over, so a header with 128,000 tokens costs tens of milliseconds and a few
megabytes. The file is read, never mapped: a map of a file that is cut short meanwhile kills the process. Every length
is checked before it is believed, and all that is kept or counted has a bound, since a file may be anybody's: no file
takes longer than a second or more than tens of megabytes. The engine aborts on some of what is refused here. What the
metadata means is `card`'s; loading is the child process's.

Layout (little-endian, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, u32 version, u64 tensors,
u64 keys; per key: string, u32 type, value; per tensor: string, u32 dims, u64 each dim, u32 type, u64 offset; padding to
`general.alignment`; tensor data.
"""

import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from arriero.backends.engine.gguf_bytes import Bytes, quoted
from arriero.backends.engine.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from arriero.errors import ModelBroken

VERSIONS: Final = (2, 3)
MAX_KEYS: Final = 1 << 14
MAX_TENSORS: Final = 1 << 16
MAX_STRINGS: Final = 1 << 21
"""Texts in all arrays together. The largest vocabularies have 260,000 tokens and 515,000 merges."""
MAX_KEPT: Final = 1 << 21
"""Elements of arrays that are kept together; further arrays are stepped over, whatever was asked for."""
MAX_TEXT: Final = 8 << 20
"""Bytes of text outside of arrays that are kept together, names and keys among them."""
LONG_TEXT: Final = 1 << 20
"""A text that is longer is stepped over: a whole `tokenizer.json` stands in some files."""
MAX_ARRAY_TEXT: Final = 24 << 20
"""The same for arrays where all are asked for, else it is `MAX_TEXT`; what is too much is stepped over."""
MAX_NAME: Final = 1024
MAX_DIMS: Final = 4
MAX_ELEMENTS: Final = (1 << 63) - 1
"""llama.cpp counts in 64 bits with a sign."""
SHORT_ARRAY: Final = 64
"""Arrays up to this length are decoded; of longer ones only element type and count are kept."""

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

_INFILL_TEXTS: Final = frozenset(token.encode() for token in INFILL_TOKENS)
_INFILL: Final = tuple(len(token).to_bytes(8, "little") + token for token in _INFILL_TEXTS)


class LongArray(Struct, frozen=True):
    """An array that was stepped over: the name of its element type and its length. A long text is one of `char`."""

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
    """Read and check the header. Blocks for the disk. `whole_arrays` decodes the long arrays too, which takes three
    times as long and some fifty megabytes for a large vocabulary.

    Raises `ModelBroken` with a sentence that says what is wrong, and `OSError` where the file cannot be read.
    """
    with _opened(path) as (descriptor, size):
        if size < 24:
            raise ModelBroken("not a GGUF file")
        return _Reader(Bytes(descriptor, size), whole_arrays).header()


def repeated_token(path: Path, header: GgufHeader) -> str | None:
    """The first token that stands twice in the vocabulary: llama.cpp aborts on it. `None` if there is none.

    Raises `ModelBroken` where the file is not the one that the header was read from, and `OSError`.
    """
    count = header.count(TOKENS_KEY)
    if header.tokens_at is None or count is None:
        return None
    seen: set[bytes] = set()
    with _opened(path) as (descriptor, size):
        data = Bytes(descriptor, size, start=header.tokens_at)
        for tokens in data.strings(TOKENS_KEY, count):
            for token in tokens:
                # Empty tokens get names of their own from llama.cpp.
                if token and token in seen:
                    return token.decode(errors="replace")
                seen.add(token)
    return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Descriptor and size. What is no regular file is refused: a pipe of that name would be waited for without end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ModelBroken("not a file")
        yield descriptor, found.st_size
    finally:
        os.close(descriptor)


class _Reader:
    """One walk over a header, with what it has met so far."""

    def __init__(self, data: Bytes, whole_arrays: bool) -> None:
        self._data = data
        self._whole_arrays = whole_arrays
        self._tokens_at: int | None = None
        self._infill = False
        self._strings_met = 0
        self._kept = 0
        self._text_bytes = 0
        self._array_bytes = 0

    def header(self) -> GgufHeader:
        data = self._data
        if data.raw(4, "the magic") != b"GGUF":
            raise ModelBroken("not a GGUF file")
        version = data.number("I", "the version")
        if version not in VERSIONS:
            if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
                raise ModelBroken("a big-endian GGUF file, which the engine here does not read")
            raise ModelBroken(f"GGUF version {version} is not known")
        tensor_count = data.number("Q", "the tensor count")
        key_count = data.number("Q", "the key count")
        if key_count > MAX_KEYS:
            raise ModelBroken(f"{key_count} metadata keys are announced, more than {MAX_KEYS} are not believed")
        if tensor_count > MAX_TENSORS:
            raise ModelBroken(f"{tensor_count} tensors are announced, more than {MAX_TENSORS} are not believed")
        metadata = self._metadata(key_count)
        entries = [self._tensor(index) for index in range(tensor_count)]
        self._check_extents(entries, metadata)
        parameter_count = sum(math.prod(tensor.shape) for tensor, _ in entries)
        if parameter_count > MAX_ELEMENTS:
            raise ModelBroken(f"its tensors have {parameter_count} elements, which cannot be")
        digest = data.digest()
        digest.update(data.size.to_bytes(8, "little"))
        return GgufHeader(
            version=version,
            metadata=metadata,
            tensors=tuple(tensor for tensor, _ in entries),
            parameter_count=parameter_count,
            length=data.position,
            size_bytes=data.size,
            digest=digest.hexdigest(),
            infill=self._infill,
            tokens_at=self._tokens_at,
        )

    # ---- metadata ----------------------------------------------------------------------------------------------------

    def _metadata(self, count: int) -> dict[str, Value]:
        metadata: dict[str, Value] = {}
        for index in range(count):
            key = self._name(f"key {index}")
            if not key:
                raise ModelBroken(f"metadata key {index} is empty")
            if key in metadata:
                raise ModelBroken(f"metadata key {quoted(key)} stands twice")
            metadata[key] = self._value(key, quoted(key))
        return metadata

    def _value(self, key: str, what: str) -> Value:
        kind = self._data.number("I", f"the type of {what}")
        if kind == STRING:
            length = self._data.number("Q", what)
            if length <= LONG_TEXT:
                return self._text(length, what)
            self._data.skip(length, what)
            return LongArray("char", length)
        if kind == ARRAY:
            return self._array(key, what)
        if kind not in SCALARS:
            raise ModelBroken(f"{what} has the value type {kind}, which is not known")
        (value,) = self._data.numbers(SCALARS[kind][1], 1, what)
        result: bool | int | float = value
        return result

    def _array(self, key: str, what: str) -> Value:
        kind = self._data.number("I", f"the element type of {what}")
        count = self._data.number("Q", f"the length of {what}")
        keep = (count <= SHORT_ARRAY or self._whole_arrays) and self._kept + count <= MAX_KEPT
        if keep:
            self._kept += count
        if kind == STRING:
            return self._strings(key, what, count, keep)
        if kind not in SCALARS:
            raise ModelBroken(f"{what} is an array of type {kind}, which is not known")
        name, code = SCALARS[kind]
        if keep:
            return self._data.numbers(code, count, what)
        self._data.skip(count * struct.calcsize("<" + code), what)
        return LongArray(name, count)

    def _strings(self, key: str, what: str, count: int, keep: bool) -> Value:
        data = self._data
        if count > (data.size - data.position) // 8:
            data.past_end(what, data.position + 8 * count)
        self._strings_met += count
        if self._strings_met > MAX_STRINGS:
            raise ModelBroken(f"{what} makes it more than {MAX_STRINGS} texts in arrays, which are not believed")
        vocabulary = key == TOKENS_KEY
        if vocabulary:
            self._tokens_at = data.position
        if not keep:
            for window, start, end in data.skip_strings(what, count):
                self._infill |= vocabulary and any(window.find(token, start, end) >= 0 for token in _INFILL)
            return LongArray("string", count)
        kept: list[str] = []
        for texts in data.strings(what, count):
            self._array_bytes += sum(map(len, texts))
            if self._array_bytes <= (MAX_ARRAY_TEXT if self._whole_arrays else MAX_TEXT):
                kept += [text.decode(errors="replace") for text in texts]
            self._infill |= vocabulary and not _INFILL_TEXTS.isdisjoint(texts)
        return tuple(kept) if len(kept) == count else LongArray("string", count)

    # ---- tensors -----------------------------------------------------------------------------------------------------

    def _tensor(self, index: int) -> tuple[Tensor, int | None]:
        """An entry and the bytes of its data, `None` for a tensor type that is not known here."""
        name = self._name(f"the name of tensor {index}")
        what = quoted(name)
        dims = self._data.number("I", f"the dimensions of {what}")
        if dims > MAX_DIMS:
            raise ModelBroken(f"tensor {what} has {dims} dimensions, more than {MAX_DIMS} are not known")
        shape = self._data.numbers("Q", dims, what)
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS or any(length > MAX_ELEMENTS for length in shape):
            raise ModelBroken(f"tensor {what} has the shape {shape}, which cannot be")
        kind = self._data.number("I", f"the type of {what}")
        offset = self._data.number("Q", f"the offset of {what}")
        if kind not in TENSOR_TYPES:
            return Tensor(name, f"type {kind}", shape, offset), None
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        row = shape[0] if shape else 1
        if row % block:
            raise ModelBroken(f"tensor {what} is {type_name} with rows of {row}, which is no multiple of {block}")
        return Tensor(name, type_name, shape, offset), elements // block * block_bytes

    def _check_extents(self, entries: list[tuple[Tensor, int | None]], metadata: Mapping[str, Value]) -> None:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            shown = f"{alignment}, which" if isinstance(alignment, bool | int | float) else "no number, which"
            raise ModelBroken(f"general.alignment is {shown} is no power of two")
        data_start = -(-self._data.position // alignment) * alignment
        names: set[str] = set()
        for tensor, length in entries:
            what = quoted(tensor.name)
            if tensor.name in names:
                raise ModelBroken(f"tensor {what} stands twice")
            names.add(tensor.name)
            if tensor.offset % alignment:
                raise ModelBroken(f"tensor {what} starts at {tensor.offset}, no multiple of {alignment}")
            end = data_start + tensor.offset + (length or 0)
            if end > self._data.size:
                raise ModelBroken(f"truncated: tensor {what} ends at {end} but the file has {self._data.size} bytes")

    # ---- text --------------------------------------------------------------------------------------------------------

    def _name(self, what: str) -> str:
        length = self._data.number("Q", what)
        if length > MAX_NAME:
            if self._data.position + length > self._data.size:
                self._data.past_end(what, self._data.position + length)
            raise ModelBroken(f"{what} is a name of {length} bytes, more than {MAX_NAME} are not believed")
        return self._text(length, what)

    def _text(self, length: int, what: str) -> str:
        self._text_bytes += length
        if self._text_bytes > MAX_TEXT:
            raise ModelBroken(f"{what} makes it more than {MAX_TEXT} bytes of text, which are not believed")
        return self._data.raw(length, what).decode(errors="replace")
