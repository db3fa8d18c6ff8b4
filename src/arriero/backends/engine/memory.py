"""How much memory a model needs, and what to say when it is more than there is.

An estimate from the header, on the safe side: weights, the second copy that llama.cpp makes of quantized weights for
speed, the keys and values of the context, and room for one batch. What is free is `machine`'s to say.
"""

from pathlib import Path
from typing import Final

from msgspec import Struct

from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.model import ModelFile
from arriero.errors import ModelTooLarge

PROCESS_BYTES: Final = 40 << 20
FENCE_BYTES: Final = 2 << 30
BATCH_TOKENS: Final = 512
"""llama.cpp's default `n_ubatch`; an embedding model's batch is its whole context."""

PLAIN_TYPES: Final = frozenset({"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"})


class Need(Struct, frozen=True):
    """Bytes. `cache` is for the whole context, `copy` is zero where the weights are used as they lie in the file.
    `beside` are the projector and the adapters.
    """

    weights: int
    copy: int
    cache: int
    scratch: int
    beside: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.copy + self.cache + self.scratch + self.beside


def need(model: ModelFile, *, context_length: int, parallel: int, embedding: bool, repack: bool) -> Need:
    """What a child with these settings takes. `context_length` is tokens per request."""
    header = model.header
    width = header.integer("embedding_length") or 0
    outputs = 0 if embedding else header.count("tokenizer.ggml.tokens") or 0
    batch = context_length if embedding else min(BATCH_TOKENS, context_length)
    quantized = any(tensor.type not in PLAIN_TYPES for tensor in header.tensors)
    # What the store counts as the model's size are all of its layers.
    weights = model.size_bytes if model.stored is None else model.header.size_bytes
    return Need(
        weights=weights,
        copy=weights if repack and quantized else 0,
        cache=cache_bytes_per_token(header) * context_length * parallel,
        scratch=PROCESS_BYTES + 4 * batch * (outputs + 12 * width),
        beside=_beside(model, embedding),
    )


def _beside(model: ModelFile, embedding: bool) -> int:
    """Files that are loaded with the weights. A projector needs room to work in, which grows with it."""
    projector = 0 if embedding or model.projector is None else _size(model.projector)
    return 2 * projector + sum(_size(path) for path in model.adapters)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # loading will say what is wrong with it


def own_bytes(wanted: Need) -> int:
    """What a child may take at most before it is stopped: far more than it needs, and less than everything."""
    return 2 * wanted.total + FENCE_BYTES


def cache_bytes_per_token(header: GgufHeader) -> int:
    """Keys and values of one token in all layers, in the 16 bits of the default cache."""
    layers = header.integer("block_count") or 0
    heads = header.integer("attention.head_count") or 1
    # Per layer in some models, with zero where a layer has no attention.
    per_layer = header.metadata.get(f"{header.architecture}.attention.head_count_kv")
    if isinstance(per_layer, tuple):
        kv_heads = sum(count for count in per_layer if isinstance(count, int))
    else:
        kv_heads = layers * (header.integer("attention.head_count_kv") or heads)
    head_width = (header.integer("embedding_length") or 0) // max(1, heads)
    key_width = header.integer("attention.key_length") or head_width
    value_width = header.integer("attention.value_length") or head_width
    return kv_heads * (key_width + value_width) * 2


def too_large(model: ModelFile, wanted: Need, available: int, *, context_length: int, parallel: int) -> ModelTooLarge:
    """The error for a model that does not fit even without the second copy; it says what would."""
    text = (
        f"{model.id} needs about {_gib(wanted.total)} of memory with a context of {context_length} tokens, "
        f"and {_gib(available)} are available: "
    )
    per_token = cache_bytes_per_token(model.header) * parallel
    left = available - wanted.weights - wanted.scratch - wanted.beside
    tokens = left // per_token // 256 * 256 if per_token and left > 0 else 0
    if tokens >= 256:
        return ModelTooLarge(text + f"it would fit with num_ctx {min(tokens, context_length)}")
    room = available - wanted.cache - wanted.scratch - wanted.beside
    if room > 0:
        return ModelTooLarge(text + f"a file of up to {_gib(room)} would fit")
    return ModelTooLarge(text + "no model fits")


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 29 else f"{count / (1 << 20):.0f} MiB"
