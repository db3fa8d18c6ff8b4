"""A model of the store: its layers put together to a model that can be loaded and shown.

The store's own words (manifests, layers, blobs) end here; what a GGUF file says of itself is `card`'s.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from arriero.backends.engine.card import TEMPLATE_KEY, check_model, model_card
from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.model import Layers, ModelFile
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.manifest import Config, Layer, read_config
from arriero.backends.engine.store.store import Store, Stored
from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.ollama.defaults import read_defaults
from arriero.dialects.ollama.gotemplate import Tells, TemplateError, parse_template
from arriero.errors import ModelBroken

STUB: Final = "it is a stub of a cloud model, and the cloud is not reached from here"
MLX: Final = "this model requires MLX support, but the MLX runtime is not available"

MAX_LICENSE_BYTES: Final = 4 << 20
"""Of all licenses of a model together; the longest that people use have 50 kB."""

ReadHeader = Callable[[Path], GgufHeader]
"""Reads a file's header, or knows it. Raises `ModelBroken`, `OSError`."""

_params = msgspec.json.Decoder(dict[str, Any]).decode
_messages = msgspec.json.Decoder(list[dict[str, Any]]).decode
_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def stored_model(store: Store, stored: Stored, read: ReadHeader) -> ModelFile:
    """Put a model together. Raises `ModelBroken` or another `ArrieroError` that says what is wrong, and `OSError`."""
    last, every = _by_type(stored.manifest.layers)
    config = read_config(store.read(stored.manifest.config))
    if config.remote_host:
        raise ModelBroken(STUB)
    weights = last.get(media.MODEL)
    if weights is None:
        raise ModelBroken(MLX if media.TENSOR in last else "its manifest names no weights")
    header = _header(store, weights, read)
    check_model(header)
    projector = last.get(media.PROJECTOR)
    sees = None if projector is None else _header(store, projector, read)
    params = _object(store, last.get(media.PARAMS))
    layers = Layers(
        config=config,
        template=_text(store, last.get(media.TEMPLATE) or last.get(media.PROMPT)),
        system=_text(store, last.get(media.SYSTEM)),
        messages=_turns(store, last.get(media.MESSAGES)),
        licenses=_licenses(store, every.get(media.LICENSE, ())),
    )
    spoken = _spoken(layers, header)
    card = model_card(
        stored.name.shortest,
        header,
        size_bytes=stored.manifest.size_bytes,
        parameter_count=header.parameter_count,
        modified_at=stored.modified_at,
        template=layers.template if spoken.tells is not None else None,
        projector=sees,
    )
    return ModelFile(
        id=stored.name.shortest,
        parts=(store.blob(weights.digest),),
        fingerprint=stored.mark,
        header=header,
        card=msgspec.structs.replace(
            _by_config(_by_template(card, spoken.tells), config),
            digest=stored.digest,
            defaults=read_defaults(params, layers.system, layers.messages),
        ),
        parameters=params,
        projector=None if projector is None else store.blob(projector.digest),
        adapters=tuple(store.blob(layer.digest) for layer in every.get(media.ADAPTER, ())),
        template=spoken.jinja,
        refused=spoken.refused,
        stored=stored,
        layers=layers,
    )


def _by_type(layers: tuple[Layer, ...]) -> tuple[Mapping[str, Layer], Mapping[str, tuple[Layer, ...]]]:
    """By media type: the last layer, which counts where there may be one only, and all of them."""
    every: dict[str, tuple[Layer, ...]] = {}
    for layer in layers:
        every[layer.media_type] = (*every.get(layer.media_type, ()), layer)
    return {kind: found[-1] for kind, found in every.items()}, every


def _header(store: Store, layer: Layer, read: ReadHeader) -> GgufHeader:
    try:
        return read(store.blob(layer.digest))
    except FileNotFoundError:
        raise ModelBroken(f"its blob {layer.digest} is missing: pull or create the model again") from None


def _by_config(card: ModelCard, config: Config) -> ModelCard:
    """The card with what the config says: whoever made the model may know better than its file."""
    told = {
        "family": config.model_family or None,
        "families": config.model_families,
        "parameter_size": config.model_type or None,
        "quantization": config.file_type or None,
        "context_length": config.context_length,
        "embedding_length": config.embedding_length,
    }
    known = {word.value: word for word in Capability}
    added = frozenset(known[word] for word in config.capabilities or () if word in known)
    return msgspec.structs.replace(
        card,
        capabilities=(card.capabilities or frozenset()) | added or None,
        **{key: value for key, value in told.items() if value is not None},
    )


def _by_template(card: ModelCard, tells: Tells | None) -> ModelCard:
    """The card with what the template can do; what it says of itself counts more than words that stand in it."""
    able = card.capabilities
    if tells is None or able is None or able == frozenset({Capability.EMBEDDING}):
        return card
    facts = {
        Capability.TOOLS: tells.tools,
        Capability.THINKING: tells.thinking,
        Capability.INSERT: tells.insert,
    }
    able = (able - facts.keys()) | {word for word, fact in facts.items() if fact}
    return msgspec.structs.replace(card, capabilities=frozenset(able))


def _spoken(layers: Layers, header: GgufHeader) -> "Spoken":
    """What the model's template is for the engine; nothing where the file's own is used."""
    renderer = layers.config.renderer
    if renderer:
        # Ollama writes such prompts by a program of its own, and the template is none: often no more than the prompt.
        if header.text(TEMPLATE_KEY) is not None:
            return Spoken()
        return Spoken(refused=f"its prompts are written by Ollama's renderer {renderer}, and its file has no template")
    return Spoken() if layers.template is None else _translated(layers.template)


class Spoken(Struct, frozen=True):
    """A template of Ollama's: the same for llama.cpp, or why there is none; and what it tells."""

    jinja: str | None = None
    refused: str | None = None
    tells: Tells | None = None


@lru_cache(maxsize=256)
def _translated(text: str) -> Spoken:
    try:
        template = parse_template(text)
    except TemplateError as error:
        return Spoken(refused=error.message)
    try:
        return Spoken(template.to_jinja(), tells=template.tells)
    except TemplateError as error:
        return Spoken(refused=error.message, tells=template.tells)


# ---- small layers --------------------------------------------------------------------------------------------------


def _text(store: Store, layer: Layer | None) -> str | None:
    return None if layer is None else _decoded(store.read(layer))


def _licenses(store: Store, layers: tuple[Layer, ...]) -> tuple[str, ...]:
    """All of them. A manifest may name one large blob a thousand times."""
    size = sum(layer.size for layer in layers)
    if size > MAX_LICENSE_BYTES:
        raise ModelBroken(f"its licenses have {size} bytes, and {MAX_LICENSE_BYTES} are read at most")
    return tuple(_decoded(store.read(layer)) for layer in layers)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _object(store: Store, layer: Layer | None) -> dict[str, Any]:
    try:
        return {} if layer is None else _params(store.read(layer))
    except _FAULTS as error:
        raise ModelBroken(f"its parameters cannot be read: {error}") from None


def _turns(store: Store, layer: Layer | None) -> tuple[dict[str, Any], ...]:
    try:
        return () if layer is None else tuple(_messages(store.read(layer)))
    except _FAULTS as error:
        raise ModelBroken(f"its messages cannot be read: {error}") from None
