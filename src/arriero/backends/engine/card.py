"""What a GGUF header means: capabilities, sizes and names in the words of the catalog, and whether they can be true.

The bytes are `gguf`'s business; where the file lies is `models`'.
"""

import re
from collections.abc import Mapping
from typing import Final

from arriero.backends.engine.gguf import GgufHeader, LongArray
from arriero.canonical.catalog import Capability, ModelCard, ModelDetail
from arriero.errors import ModelBroken

TEMPLATE_KEY: Final = "tokenizer.chat_template"
HIDDEN_KEYS: Final = frozenset({"general.name", TEMPLATE_KEY})
"""Not in `/api/show`'s model_info, as in Ollama."""

ENCODERS: Final = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
"""Architectures that embed and never chat, even where no pooling type is written down."""

MAX_LAYERS: Final = 512
"""llama.cpp's LLAMA_MAX_LAYERS; it aborts above."""

FILE_TYPES: Final[Mapping[int, str]] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
}
"""`general.file_type` -> quantization level."""

_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"\benable_thinking\b|<think>")


def check_model(header: GgufHeader) -> None:
    """Raise `ModelBroken` where the file is no language model, or where its numbers cannot be true."""
    kind = header.text("general.type") or "model"
    if kind != "model" or header.architecture == "clip":
        raise ModelBroken(f"not a model of its own: a GGUF file of the type {'mmproj' if kind == 'model' else kind}")
    if not header.architecture:
        raise ModelBroken("general.architecture is missing")
    if not header.tensors:
        raise ModelBroken("it holds no tensors")
    for key, most in (("block_count", MAX_LAYERS), ("context_length", 1 << 30), ("embedding_length", 1 << 20)):
        value = header.integer(key)
        if value is not None and not 1 <= value <= most:
            raise ModelBroken(f"{header.architecture}.{key} is {value}, which cannot be")
    tokens = header.count("tokenizer.ggml.tokens")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        count = header.count(key)
        if tokens is not None and count is not None and count != tokens:
            raise ModelBroken(f"{key} has {count} entries for {tokens} tokens")


def capabilities(header: GgufHeader) -> frozenset[Capability]:
    """What the file promises. The engine corrects `TOOLS` once it has parsed the template."""
    if header.architecture in ENCODERS or header.integer("pooling_type"):
        return frozenset({Capability.EMBEDDING})
    found = {Capability.COMPLETION}
    template = header.text(TEMPLATE_KEY) or ""
    if _TOOLS.search(template):
        found.add(Capability.TOOLS)
    if _THINKING.search(template):
        found.add(Capability.THINKING)
    if header.infill:
        found.add(Capability.INSERT)
    return frozenset(found)


def parameter_size(count: int) -> str:
    """A count as Ollama prints it: `8.0B` (`8B` if whole), `1.50M` (`2M`), `935K`, `12`."""
    if count >= 1_000_000_000:
        return f"{count // 1_000_000_000}B" if count % 1_000_000_000 == 0 else f"{count / 1e9:.1f}B"
    if count >= 1_000_000:
        return f"{count // 1_000_000}M" if count % 1_000_000 == 0 else f"{count / 1e6:.2f}M"
    return f"{count / 1e3:.0f}K" if count >= 1_000 else str(count)


def quantization(header: GgufHeader) -> str | None:
    """`Q4_K_M` and the like; `unknown` for a number without a name, `None` where the file does not say."""
    value = header.metadata.get("general.file_type")
    return FILE_TYPES.get(value, "unknown") if isinstance(value, int) else None


def model_card(id: str, header: GgufHeader, *, size_bytes: int, parameter_count: int, modified_at: float) -> ModelCard:
    """The catalog's entry. Size and count are given, because a model may be split over several files."""
    return ModelCard(
        id=id,
        capabilities=capabilities(header),
        context_length=header.integer("context_length"),
        embedding_length=header.integer("embedding_length"),
        size_bytes=size_bytes,
        digest=header.digest,
        modified_at=modified_at,
        created=int(modified_at),
        owned_by="library",
        display_name=header.text("general.name"),
        format="gguf",
        family=header.architecture,
        families=(header.architecture,),
        parameter_count=parameter_count,
        parameter_size=parameter_size(parameter_count),
        quantization=quantization(header),
    )


def model_detail(
    card: ModelCard, header: GgufHeader, *, verbose: bool, parameters: Mapping[str, object] | None = None
) -> ModelDetail:
    """What `/api/show` tells. Arrays are `None` unless `verbose`; the header must then have been read with them."""
    info: dict[str, object] = {}
    for key, value in header.metadata.items():
        if key in HIDDEN_KEYS:
            continue
        if isinstance(value, LongArray):
            info[key] = None
        elif isinstance(value, tuple):
            info[key] = list(value) if verbose or not value else None
        else:
            info[key] = value
    info["general.parameter_count"] = card.parameter_count
    return ModelDetail(
        card=card,
        info=info,
        template=header.text(TEMPLATE_KEY),
        parameters=dict(parameters or {}),
        license=header.text("general.license"),
        tensors=tuple((tensor.name, tensor.type, tensor.shape) for tensor in header.tensors),
    )
