"""Models made for a measurement, with nothing but Python: one that talks without end, and the header of a large one.

Both are sparse files: what they weigh on the disk is a few hundred kilobytes, and the large one's header.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
WIDE, HALF, Q4 = 0, 1, 2
"""Tensor types: 32 bits, 16 bits, 4 bits in blocks of 32."""
ALIGNMENT = 32
ONE, TEN = 0x3C00, 0x4900
"""In 16 bits."""

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = tuple(f"\u0120word{number}" for number in range(40))
"""What the endless model says, over and over. The first letter is the vocabulary's for a space."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

Value = int | float | bool | str | Sequence[int] | Sequence[str]
Tensor = tuple[str, tuple[int, ...], int]
"""Name, shape with the fastest dimension first, type."""


def endless(path: Path, *, width: int = 512, layers: int = 2, inner: int = 2048, context: int = 8192) -> Path:
    """A model of which every token is the next one of `WORDS`, at every temperature, until it is stopped.

    Embeddings are one-hot, layers are zero, and the output matrix is the table of which token follows which. The
    layers take the time that they would take with weights: some milliseconds for a token, as given.
    """
    letters = _byte_letters()
    tokens = [*letters, *SPECIAL, f"{letters[32]}t", *WORDS]
    first = len(tokens) - len(WORDS)
    kinds = [3 if token in SPECIAL else 1 for token in tokens]
    keys = _shape("endless", width, layers, inner, max(1, width // 64), context)
    keys |= _vocabulary(tokens, kinds, [f"{letters[32]} t"])
    table = [
        ("token_embd.weight", (width, len(tokens)), HALF),
        ("output_norm.weight", (width,), WIDE),
        ("output.weight", (width, len(tokens)), HALF),
        *_layers(width, layers, inner, width, HALF),
    ]
    with path.open("wb") as file:
        starts = _write(file, keys, table)
        state = [0] * first + list(range(1, len(WORDS) + 1))
        for token, place in enumerate(state):
            _put(file, starts["token_embd.weight"] + 2 * (token * width + place), ONE)
        for number in range(len(WORDS)):
            # A word follows the one before it, and the first one also whatever is no word, as what begins.
            for place in (0, len(WORDS)) if number == 0 else (number,):
                _put(file, starts["output.weight"] + 2 * ((first + number) * width + place), TEN)
        for name, start in starts.items():
            if name.endswith("_norm.weight"):
                file.seek(start)
                file.write(struct.pack("<f", 1.0) * width)
    return path


def large(path: Path, *, tokens: int = 128_256, merges: int = 280_147) -> Path:
    """The header of an 8B model over 4.5 GB of nothing. Never to be loaded."""
    width, layers, inner = 4096, 32, 14336
    keys = _shape("large", width, layers, inner, 32, 131_072)
    names = [f"tok{number}" for number in range(tokens)]
    keys |= _vocabulary(names, [1] * tokens, [f"a{number} b{number}" for number in range(merges)])
    table = [
        ("token_embd.weight", (width, tokens), Q4),
        ("output_norm.weight", (width,), WIDE),
        ("output.weight", (width, tokens), Q4),
        *_layers(width, layers, inner, width // 4, Q4),
    ]
    with path.open("wb") as file:
        _write(file, keys, table)
    return path


def _shape(name: str, width: int, layers: int, inner: int, heads: int, context: int) -> dict[str, Value]:
    return {
        "general.architecture": "llama",
        "general.name": name,
        "general.file_type": 1,
        "llama.context_length": context,
        "llama.embedding_length": width,
        "llama.block_count": layers,
        "llama.feed_forward_length": inner,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": heads,
        "llama.rope.dimension_count": width // heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }


def _vocabulary(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str]) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    if SPECIAL[0] in tokens:
        keys["tokenizer.ggml.eos_token_id"] = tokens.index(SPECIAL[2])
    return keys


def _layers(width: int, layers: int, inner: int, narrow: int, kind: int) -> list[Tensor]:
    found: list[Tensor] = []
    for layer in range(layers):
        prefix = f"blk.{layer}."
        found += [(f"{prefix}{name}.weight", (width,), WIDE) for name in ("attn_norm", "ffn_norm")]
        found += [
            (f"{prefix}attn_q.weight", (width, width), kind),
            (f"{prefix}attn_k.weight", (width, narrow), kind),
            (f"{prefix}attn_v.weight", (width, narrow), kind),
            (f"{prefix}attn_output.weight", (width, width), kind),
            (f"{prefix}ffn_gate.weight", (width, inner), kind),
            (f"{prefix}ffn_up.weight", (width, inner), kind),
            (f"{prefix}ffn_down.weight", (inner, width), kind),
        ]
    return found


def _write(file: BinaryIO, keys: Mapping[str, Value], table: Sequence[Tensor]) -> dict[str, int]:
    """The header, and zeros for the rest; where in the file each tensor starts."""
    pieces = [b"GGUF", struct.pack("<IQQ", 3, len(table), len(keys))]
    pieces += [_text(name) + _value(value) for name, value in keys.items()]
    offset, offsets = 0, {}
    for name, shape, kind in table:
        pieces += [_text(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)]
        offsets[name] = offset
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        offset += -(-{WIDE: 4 * count, HALF: 2 * count, Q4: count // 32 * 18}[kind] // ALIGNMENT) * ALIGNMENT
    header = b"".join(pieces)
    start = -(-len(header) // ALIGNMENT) * ALIGNMENT
    file.write(header)
    file.truncate(start + offset)
    return {name: start + offset for name, offset in offsets.items()}


def _value(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", U32, value)
        case float():
            return struct.pack("<If", F32, value)
        case str():
            return struct.pack("<I", STRING) + _text(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(_text(str(text)) for text in value)
    return struct.pack(f"<IIQ{len(value)}i", ARRAY, I32, len(value), *value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _put(file: BinaryIO, at: int, half: int) -> None:
    file.seek(at)
    file.write(struct.pack("<H", half))


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for every byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
