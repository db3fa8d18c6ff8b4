"""What a GGUF header means: capabilities, sizes and names in the words of the catalog, and whether they can be true.

The bytes are `gguf`'s business; where the file lies is `models`'.
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from arriero.backends.engine.gguf import GgufHeader, LongArray
from arriero.backends.engine.gguf_bytes import quoted
from arriero.backends.engine.gguf_types import FILE_TYPES
from arriero.canonical.catalog import Capability, ModelCard, ModelDetail
from arriero.dialects.ollama.sizes import parameter_size
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

MAX_VOCABULARY: Final = 1 << 20
"""Tokens. The largest vocabularies have 260,000."""

MAX_NAME: Final = 256
"""Characters of `general.name`; a longer one is no name, and would stand in every listing."""

_ARCHITECTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BOUNDS: Final = (("block_count", 1, MAX_LAYERS), ("context_length", 2, 1 << 30), ("embedding_length", 1, 1 << 20))
"""Keys below the architecture's, least and most. llama.cpp aborts on more layers, and with a context of one token."""

# In the words of jinja and in those of Ollama's own templates.
_TOOLS = re.compile(r"\btools\b|\.Tools\b")
_THINKING = re.compile(r"\benable_thinking\b|<think>|\.Think(?:ing)?\b")
_SUFFIX = re.compile(r"\.Suffix\b")
_SAID_CHARACTERS: Final = 1 << 20
"""So much of a template is looked at: a longer one cannot be used, and to search 16 MiB stops all other threads."""


class Kind(Enum):
    """What a GGUF file holds."""

    MODEL = "model"
    ADAPTER = "adapter"
    PROJECTOR = "mmproj"
    OTHER = "other"


def kind_of(header: GgufHeader) -> Kind:
    """By `general.type`, and by the architecture where older files do not have it."""
    said = header.text("general.type")
    if header.architecture == "clip" or said == "mmproj" or said == "projector":
        return Kind.PROJECTOR
    if said == "adapter" or (said is None and "adapter.type" in header.metadata):
        return Kind.ADAPTER
    return Kind.MODEL if said in (None, "model") else Kind.OTHER


def check_model(header: GgufHeader) -> None:
    """Raise `ModelBroken` where the file is no language model, or where its numbers cannot be true."""
    kind = kind_of(header)
    if kind is not Kind.MODEL:
        said = quoted(header.text("general.type") or "") if kind is Kind.OTHER else kind.value
        raise ModelBroken(f"not a model of its own: a GGUF file of the type {said}")
    architecture = header.architecture
    if not architecture:
        raise ModelBroken("general.architecture is missing")
    if not _ARCHITECTURE.fullmatch(architecture):
        raise ModelBroken(f"general.architecture is {quoted(architecture)}, which is no name")
    if not header.tensors and split_count(header) < 2:
        raise ModelBroken("it holds no tensors")
    for key, least, most in _BOUNDS:
        value = header.integer(key)
        if value is not None and not least <= value <= most:
            raise ModelBroken(f"{architecture}.{key} is {value}, which cannot be")
    for key, epsilon in header.metadata.items():
        # llama.cpp aborts on these.
        if key.endswith("_epsilon") and isinstance(epsilon, float) and not 0 <= epsilon < math.inf:
            raise ModelBroken(f"{quoted(key)} is {epsilon}, which cannot be")
    tokens = header.count("tokenizer.ggml.tokens")
    if tokens is not None and tokens > MAX_VOCABULARY:
        raise ModelBroken(f"tokenizer.ggml.tokens has {tokens} entries, more than {MAX_VOCABULARY} are not believed")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        count = header.count(key)
        if tokens is not None and count is not None and count != tokens:
            raise ModelBroken(f"{key} has {count} entries for {tokens} tokens")


def check_parts(headers: Sequence[GgufHeader]) -> None:
    """Raise `ModelBroken` where the files, in order, are not the parts of one model."""
    for number, header in enumerate(headers):
        count, place = split_count(header), header.metadata.get("split.no", 0)
        if (count, place) != (len(headers), number):
            said = f"part {place + 1} of {count}" if isinstance(place, int) and count > 1 else "a file of its own"
            raise ModelBroken(f"part {number + 1} of {len(headers)} says that it is {said}")


def split_count(header: GgufHeader) -> int:
    """Of how many files the model is, by this one; 1 where it does not say."""
    count = header.metadata.get("split.count")
    return count if isinstance(count, int) and count > 1 else 1


def capabilities(
    header: GgufHeader, *, template: str | None = None, projector: GgufHeader | None = None
) -> frozenset[Capability]:
    """What the files promise. The engine corrects `TOOLS` once it has parsed the template.

    `template` stands in for the file's own. `projector` is the header of the file that reads images or sound for it.
    """
    if header.architecture in ENCODERS or header.integer("pooling_type"):
        return frozenset({Capability.EMBEDDING})
    found = {Capability.COMPLETION}
    said = ((header.text(TEMPLATE_KEY) if template is None else template) or "")[:_SAID_CHARACTERS]
    if _TOOLS.search(said):
        found.add(Capability.TOOLS)
    if _THINKING.search(said):
        found.add(Capability.THINKING)
    if header.infill or _SUFFIX.search(said):
        found.add(Capability.INSERT)
    return frozenset(found | senses(projector)) if projector is not None else frozenset(found)


def senses(projector: GgufHeader) -> frozenset[Capability]:
    """What a projector can read: images, sound, or both. Older files hold no word of it, and read images."""
    found = {
        sense
        for sense, key in ((Capability.VISION, "vision"), (Capability.AUDIO, "audio"))
        if projector.metadata.get(f"clip.has_{key}_encoder") is True or f"clip.{key}.block_count" in projector.metadata
    }
    return frozenset(found or {Capability.VISION})


def quantization(header: GgufHeader) -> str | None:
    """`Q4_K_M` and the like; `unknown` for a number without a name, `None` where the file does not say."""
    value = header.metadata.get("general.file_type")
    return FILE_TYPES.get(value, "unknown") if isinstance(value, int) else None


def model_card(
    id: str,
    header: GgufHeader,
    *,
    size_bytes: int,
    parameter_count: int,
    modified_at: float,
    template: str | None = None,
    projector: GgufHeader | None = None,
) -> ModelCard:
    """The catalog's entry. Size and count are given, because a model may be split over several files."""
    families: tuple[str, ...] = (header.architecture,)
    if projector is not None and _ARCHITECTURE.fullmatch(projector.architecture):
        families += (projector.architecture,)
    name = header.text("general.name")
    return ModelCard(
        id=id,
        capabilities=capabilities(header, template=template, projector=projector),
        context_length=header.integer("context_length"),
        embedding_length=header.integer("embedding_length"),
        size_bytes=size_bytes,
        digest=header.digest,
        modified_at=modified_at,
        created=int(modified_at),
        owned_by="library",
        display_name=name if name is not None and len(name) <= MAX_NAME else None,
        format="gguf",
        family=header.architecture,
        families=families,
        parameter_count=parameter_count,
        parameter_size=parameter_size(parameter_count),
        quantization=quantization(header),
    )


def header_info(header: GgufHeader, *, verbose: bool) -> dict[str, object]:
    """The metadata as `/api/show` has it, for `model_info` and `projector_info`. Arrays are `None` unless `verbose`;
    the header must then have been read with them.
    """
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
    info["general.parameter_count"] = header.parameter_count
    return info


def model_detail(
    card: ModelCard, header: GgufHeader, *, verbose: bool, parameters: Mapping[str, object] | None = None
) -> ModelDetail:
    """What `/api/show` tells, with the parameter count of the card, which counts all parts of a model."""
    licensed = header.text("general.license")
    return ModelDetail(
        card=card,
        info=header_info(header, verbose=verbose) | {"general.parameter_count": card.parameter_count},
        chat_template=header.text(TEMPLATE_KEY),
        parameters=dict(parameters or {}),
        licenses=(licensed,) if licensed else (),
        tensors=tuple((tensor.name, tensor.type, tensor.shape) for tensor in header.tensors),
        stored=True,
    )
