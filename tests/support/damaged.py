"""Damaged GGUF files by name: one sound random llama, each time with one thing wrong.

What is done to it is done to a draft of the file, by parts, so that everything else stays as it should be. What the
engine makes of each was seen with the llama.cpp that is pinned; some load all the same, and some abort it.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import gguf
import numpy as np

from support.gguf import random_llama

U32, I32, F32, STRING, ARRAY, U64 = 4, 5, 6, 8, 9, 10
ALIGNMENT: Final = 32


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@dataclass
class Entry:
    """A line of the tensor table."""

    name: bytes
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass
class Draft:
    """A file that is not written yet. Counts of `None` are the true ones; `cut` is how much of it is there."""

    keys: dict[bytes, bytes]
    tensors: list[Entry]
    data: bytes
    magic: bytes = b"GGUF"
    version: bytes = struct.pack("<I", 3)
    key_count: int | None = None
    tensor_count: int | None = None
    more: list[bytes] = field(default_factory=list)
    alignment: int = ALIGNMENT

    def header(self) -> bytes:
        """All up to the padding. Values hold their type in front; `more` are entries that no mapping could hold."""
        keys = [_text(name) + value for name, value in self.keys.items()] + self.more
        counts = (
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(keys) if self.key_count is None else self.key_count,
        )
        table = [
            _text(entry.name)
            + struct.pack(f"<I{len(entry.shape)}QIQ", len(entry.shape), *entry.shape, entry.type, entry.offset)
            for entry in self.tensors
        ]
        return b"".join([self.magic, self.version, struct.pack("<QQ", *counts), *keys, *table])

    def whole(self) -> bytes:
        """The file."""
        header = self.header()
        return header + bytes(-len(header) % self.alignment) + self.data

    def entry(self, name: bytes) -> Entry:
        """A tensor by its name."""
        return next(entry for entry in self.tensors if entry.name == name)


Damage = Callable[[Draft], bytes | None]
"""Changes the draft, or gives the bytes of the file itself."""


def number(value: int) -> bytes:
    """A value of 32 bits."""
    return struct.pack("<II", U32, value)


def text(value: str | bytes) -> bytes:
    """A text as a value."""
    return struct.pack("<I", STRING) + _text(value.encode() if isinstance(value, str) else value)


def texts(values: list[bytes], count: int | None = None) -> bytes:
    """An array of texts as a value; `count` is what it says of its length."""
    said = len(values) if count is None else count
    return struct.pack("<IIQ", ARRAY, STRING, said) + b"".join(map(_text, values))


def damaged(path: Path, name: str) -> Path:
    """The file of this name."""
    draft = sound()
    written = DAMAGES[name](draft)
    path.write_bytes(draft.whole() if written is None else written)
    return path


def sound() -> Draft:
    """A draft of the sound file."""
    keys, tensors, data = _parts()
    return Draft(dict(keys), [Entry(*entry) for entry in tensors], data)


def vocabulary() -> list[bytes]:
    """The tokens of the sound file."""
    return list(_vocabulary())


# ---- what can be done ----------------------------------------------------------------------------------------------


def cut(share: float) -> Damage:
    """So much of the whole file."""
    return lambda draft: draft.whole()[: int(len(draft.whole()) * share)]


def cut_at(length: int) -> Damage:
    """So many bytes; a negative number leaves out as many at the end."""
    return lambda draft: draft.whole()[:length]


def cut_in(mark: bytes) -> Damage:
    """Up to a byte behind the end of what stands there only once."""
    return lambda draft: draft.whole()[: draft.whole().index(mark) + len(mark) + 1]


def given(**counts: int) -> Damage:
    """Other counts than the true ones."""

    def change(draft: Draft) -> None:
        for name, value in counts.items():
            setattr(draft, name, value)

    return change


def miscounted(*, keys: int = 0, tensors: int = 0) -> Damage:
    """So many more than there are, or fewer."""

    def change(draft: Draft) -> None:
        draft.key_count = len(draft.keys) + keys
        draft.tensor_count = len(draft.tensors) + tensors

    return change


def said(**fields: bytes) -> Damage:
    """Another magic or version."""

    def change(draft: Draft) -> None:
        for name, value in fields.items():
            setattr(draft, name, value)

    return change


def key(name: str, value: bytes) -> Damage:
    """A key with another value, or a new one."""

    def change(draft: Draft) -> None:
        draft.keys[name.encode()] = value

    return change


def without(*names: str) -> Damage:
    """Keys left out."""

    def change(draft: Draft) -> None:
        for name in names:
            del draft.keys[name.encode()]

    return change


def tensor(name: str, **fields: object) -> Damage:
    """A tensor's entry with other fields."""

    def change(draft: Draft) -> None:
        for each, value in fields.items():
            setattr(draft.entry(name.encode()), each, value)

    return change


def merges(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    """Other merges."""
    return lambda draft: draft.keys.update({b"tokenizer.ggml.merges": texts(change([b"\xc4\xa0 t", b"h e"]))})


def tokens(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    """Another vocabulary."""
    return lambda draft: draft.keys.update({b"tokenizer.ggml.tokens": texts(change(vocabulary()))})


def appended(entry: bytes) -> Damage:
    """One more entry in the metadata, as raw bytes."""
    return lambda draft: draft.more.append(entry)


def weights(value: float) -> Damage:
    """All weights the same."""

    def change(draft: Draft) -> None:
        draft.data = np.full(len(draft.data) // 2, value, np.float16).tobytes()

    return change


def _twice(draft: Draft) -> None:
    draft.tensors.append(draft.tensors[-1])


def _dropped(name: bytes) -> Damage:
    return lambda draft: draft.tensors.remove(draft.entry(name))


def _renamed(draft: Draft) -> None:
    draft.entry(b"output.weight").name = b"o" * 200


def _overlapping(draft: Draft) -> None:
    draft.entry(b"output.weight").offset = 0


def _realigned(draft: Draft) -> None:
    draft.keys[b"general.alignment"] = number(3)


def _second(values: list[bytes], value: bytes) -> list[bytes]:
    return [values[0], value, *values[2:]]


DAMAGES: Final[Mapping[str, Damage]] = {
    # no file of this format, or not all of it
    "empty": lambda draft: b"",
    "one-byte": cut_at(1),
    "magic-only": cut_at(4),
    "cut-in-counts": cut_at(20),
    "cut-in-first-key": cut_at(30),
    "cut-in-metadata": cut_in(b"llama.embedding_length"),
    "cut-in-tokens": cut_in(b"tokenizer.ggml.tokens" + struct.pack("<II", ARRAY, STRING)),
    "cut-in-merges": cut_in(b"tokenizer.ggml.merges" + struct.pack("<II", ARRAY, STRING)),
    "cut-in-template": cut_in(b"{% for m in messages %}"),
    "cut-in-table": cut_in(b"output_norm.weight"),
    "cut-after-header": lambda draft: draft.header(),
    "cut-in-data": cut(0.6),
    "cut-last-byte": cut_at(-1),
    "html": lambda draft: b"<html><body>404 Not Found</body></html>",
    "zeros": lambda draft: bytes(65536),
    "noise": lambda draft: np.random.default_rng(3).bytes(65536),
    "wrong-magic": said(magic=b"GGML"),
    "version-0": said(version=struct.pack("<I", 0)),
    "version-1": said(version=struct.pack("<I", 1)),
    "version-9": said(version=struct.pack("<I", 9)),
    "big-endian": said(version=struct.pack(">I", 3)),
    # counts and lengths
    "tensor-count-huge": given(tensor_count=1 << 60),
    "tensor-count-most": given(tensor_count=(1 << 64) - 1),
    "tensor-count-one-more": miscounted(tensors=1),
    "tensor-count-one-less": miscounted(tensors=-1),
    "tensor-count-none": given(tensor_count=0),
    "key-count-huge": given(key_count=1 << 60),
    "key-count-one-more": miscounted(keys=1),
    "key-count-one-less": miscounted(keys=-1),
    "key-count-none": given(key_count=0),
    "key-length-huge": appended(struct.pack("<Q", 1 << 62)),
    "key-length-most": appended(struct.pack("<Q", (1 << 64) - 1)),
    "text-length-huge": key("general.name", struct.pack("<IQ", STRING, 1 << 40)),
    "text-length-most": key("general.name", struct.pack("<IQ", STRING, (1 << 64) - 1)),
    "array-length-huge": key("general.tags", struct.pack("<IIQ", ARRAY, U32, 1 << 61)),
    "array-length-most": key("general.tags", struct.pack("<IIQ", ARRAY, U64, (1 << 64) - 1)),
    "texts-count-huge": key("tokenizer.ggml.tokens", texts([b"a"], 1 << 50)),
    "token-length-huge": tokens(lambda values: [*values[:-1], b"x" * 2_000_000]),
    # types, keys and names
    "value-type-unknown": key("general.name", struct.pack("<II", 77, 0)),
    "element-type-unknown": key("general.tags", struct.pack("<IIQ", ARRAY, 77, 1)),
    "array-of-arrays": key("general.tags", struct.pack("<IIQIIQ", ARRAY, ARRAY, 1, ARRAY, ARRAY, 1) * 20),
    "empty-key": key("", number(1)),
    "key-twice": appended(struct.pack("<Q", 12) + b"general.name" + struct.pack("<IQ", STRING, 1) + b"x"),
    "key-not-utf8": lambda draft: draft.keys.update({b"general.\xff\xfe\x00": number(1)}),
    "name-not-utf8": key("general.name", text(b"\xc3\x28\x00\xf0\x9f")),
    "architecture-missing": without("general.architecture"),
    "architecture-unknown": key("general.architecture", text("no-such-thing")),
    "architecture-number": key("general.architecture", number(7)),
    "architecture-odd": key("general.architecture", text("../\n\x1b[31m{evil}")),
    "type-adapter": key("general.type", text("adapter")),
    "type-projector": key("general.architecture", text("clip")),
    "alignment-zero": key("general.alignment", number(0)),
    "alignment-three": _realigned,
    "alignment-huge": key("general.alignment", number(1 << 31)),
    "alignment-text": key("general.alignment", text("32")),
    # numbers that cannot be
    "blocks-million": key("llama.block_count", number(1_000_000)),
    "blocks-five": key("llama.block_count", number(5)),
    "blocks-none": key("llama.block_count", number(0)),
    "blocks-missing": without("llama.block_count"),
    "context-none": key("llama.context_length", number(0)),
    "context-one": key("llama.context_length", number(1)),
    "width-none": key("llama.embedding_length", number(0)),
    "width-wrong": key("llama.embedding_length", number(96)),
    "heads-none": key("llama.attention.head_count", number(0)),
    "heads-three": key("llama.attention.head_count", number(3)),
    "heads-most": key("llama.attention.head_count", number((1 << 32) - 1)),
    "epsilon-nan": key("llama.attention.layer_norm_rms_epsilon", struct.pack("<If", F32, float("nan"))),
    "rope-odd": key("llama.rope.dimension_count", number(15)),
    # vocabularies
    "tokens-missing": without("tokenizer.ggml.tokens"),
    "tokenizer-unknown": key("tokenizer.ggml.model", text("no-such-thing")),
    "token-twice": tokens(lambda values: _second(values, values[0])),
    "token-empty": tokens(lambda values: _second(values, b"")),
    "token-not-utf8": tokens(lambda values: _second(values, b"\xff\xfe\x00")),
    "token-types-short": key("tokenizer.ggml.token_type", struct.pack("<IIQ3i", ARRAY, I32, 3, 1, 1, 1)),
    "end-token-out-of-range": key("tokenizer.ggml.eos_token_id", number(999_999)),
    "end-token-negative": key("tokenizer.ggml.eos_token_id", struct.pack("<Ii", I32, -7)),
    "merges-missing": without("tokenizer.ggml.merges"),
    "merge-without-space": merges(lambda values: [b"abc", *values]),
    "merge-empty": merges(lambda values: [b"", *values]),
    # tensors
    "tensor-type-unknown": tensor("output.weight", type=99),
    "tensor-type-wider": tensor("output.weight", type=0),
    "tensor-type-odd": tensor("output_norm.weight", type=12),
    "tensor-shape-wrong": tensor("output.weight", shape=(32, 32)),
    "tensor-shape-huge": tensor("output.weight", shape=(1 << 40, 1 << 20)),
    "tensor-shape-overflow": tensor("output.weight", shape=(1 << 62, 1 << 62, 2, 2)),
    "tensor-shape-negative": tensor("output.weight", shape=((1 << 64) - 64, 280)),
    "tensor-shape-none": tensor("output.weight", shape=(0, 280)),
    "tensor-dimensions-nine": tensor("output.weight", shape=(1,) * 9),
    "tensor-unaligned": tensor("output_norm.weight", offset=35_841),
    "tensor-behind-end": tensor("output.weight", offset=1 << 40),
    "tensor-at-the-most": tensor("output.weight", offset=(1 << 64) - 32),
    "tensors-overlapping": _overlapping,
    "tensor-twice": _twice,
    "tensor-missing": _dropped(b"output_norm.weight"),
    "tensor-name-long": _renamed,
    "weights-nan": weights(float("nan")),
    "weights-infinite": weights(float("inf")),
    # templates
    "template-broken": key("tokenizer.chat_template", text("{% if %}{{ messages")),
    "template-raising": key("tokenizer.chat_template", text("{{ raise_exception('no') }}")),
    "template-deep": key("tokenizer.chat_template", text("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}")),
    "template-not-utf8": key("tokenizer.chat_template", text(b"{{ messages[0].content }}\xff\xfe")),
}
"""Name -> what is wrong."""


# ---- the sound file, by parts --------------------------------------------------------------------------------------


@cache
def _parts() -> tuple[dict[bytes, bytes], tuple[tuple[bytes, tuple[int, ...], int, int], ...], bytes]:
    """Keys with their raw values, the tensor table, and the data."""
    with TemporaryDirectory() as folder:
        path = random_llama(Path(folder) / "sound.gguf")
        reader = gguf.GGUFReader(path)
        keys = {}
        for name, found in reader.fields.items():
            if not name.startswith("GGUF."):
                # In front of the value stand its name's length and its name.
                keys[name.encode()] = b"".join(part.tobytes() for part in found.parts[2:])
        table = tuple(
            (
                found.name.encode(),
                tuple(map(int, found.shape)),
                int(found.tensor_type),
                int(found.data_offset) - int(reader.data_offset),
            )
            for found in reader.tensors
        )
        return keys, table, path.read_bytes()[reader.data_offset :]


@cache
def _vocabulary() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder:
        reader = gguf.GGUFReader(random_llama(Path(folder) / "sound.gguf"))
        field = reader.fields["tokenizer.ggml.tokens"]
        return tuple(field.parts[index].tobytes() for index in field.data)
