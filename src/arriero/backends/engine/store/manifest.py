"""What lies in a store, as values: the manifest of a model, its layers, and the config blob. Bytes in, bytes out.

A pulled manifest is kept byte for byte; these values are a reading of it. Unknown keys and media types are passed over.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from arriero.backends.engine.store.layout import known_digest
from arriero.errors import StoreError

MEDIA: Final = "application/vnd.ollama.image."
MODEL: Final = MEDIA + "model"
ADAPTER: Final = MEDIA + "adapter"
PROJECTOR: Final = MEDIA + "projector"
DRAFT: Final = MEDIA + "draft"
TEMPLATE: Final = MEDIA + "template"
PROMPT: Final = MEDIA + "prompt"
"""The old name of `TEMPLATE`."""
SYSTEM: Final = MEDIA + "system"
PARAMS: Final = MEDIA + "params"
MESSAGES: Final = MEDIA + "messages"
LICENSE: Final = MEDIA + "license"
TENSOR: Final = MEDIA + "tensor"
JSON: Final = MEDIA + "json"
EMBED: Final = MEDIA + "embed"
"""Obsolete, to be passed over."""

MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"

MAX_MANIFEST_BYTES: Final = 16 << 20
"""A model of 50,000 tensors, each a layer of its own, needs about 12 MB."""

_Size = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Layer(Struct, frozen=True, omit_defaults=True):
    """One blob of a model: what it is, `sha256:<hex>`, bytes; the model or file it came from, the name of a tensor."""

    media_type: str = field(name="mediaType")
    digest: str
    size: _Size
    origin: str = field(default="", name="from")
    name: str = ""

    @property
    def short_digest(self) -> str:
        """The twelve digits that people are shown."""
        return self.digest.removeprefix("sha256:")[:12]


class Manifest(Struct, frozen=True):
    """What a model is made of. The same blob may stand in several layers."""

    config: Layer
    layers: tuple[Layer, ...] = ()

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Layers in order, then the config: one for each distinct digest."""
        distinct: dict[str, Layer] = {}
        for layer in (*self.layers, self.config):
            distinct.setdefault(layer.digest, layer)
        return tuple(distinct.values())

    @property
    def size_bytes(self) -> int:
        """Config and all layers, as listings print it."""
        return self.config.size + sum(layer.size for layer in self.layers)


class _Read(Struct):
    """Docker's and OCI's manifest alike; Go writes an empty list as null."""

    config: Layer | None = None
    layers: list[Layer] | None = None


class _Written(Struct, kw_only=True):
    """The order of the keys is the one that Ollama writes."""

    schema_version: int = field(name="schemaVersion")
    media_type: str = field(name="mediaType")
    config: Layer
    layers: tuple[Layer, ...]


_READER = msgspec.json.Decoder(_Read)
_ENCODER = msgspec.json.Encoder()


def read_manifest(data: bytes) -> Manifest:
    """Docker's manifest or OCI's. Raises `StoreError`, whose message stands on its own behind a model's name."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise StoreError(f"the manifest is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
    try:
        found = _READER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"the manifest is damaged: {error}") from error
    if found.config is None:
        raise StoreError("the manifest is damaged: it is not the manifest of one model, its config is missing")
    return Manifest(_checked(found.config), tuple(_checked(layer) for layer in found.layers or ()))


def write_manifest(manifest: Manifest) -> bytes:
    """Compact JSON and a newline, as manifests made on the spot end."""
    written = _Written(schema_version=2, media_type=MANIFEST_TYPE, config=manifest.config, layers=manifest.layers)
    return _ENCODER.encode(written) + b"\n"


def _checked(layer: Layer) -> Layer:
    digest = known_digest(layer.digest)
    if digest is None:
        raise StoreError("the manifest is damaged: invalid digest format")
    return layer if digest == layer.digest else msgspec.structs.replace(layer, digest=digest)


class Draft(Struct, frozen=True, omit_defaults=True):
    """The draft model of speculative decoding."""

    model_format: str = ""
    architecture: str = ""
    tensor_prefix: str = ""
    config: Any = None


class Config(Struct, frozen=True, kw_only=True):
    """The config blob, in its own words. An empty text is not known; `file_type` is the quantization level."""

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    base_name: str = ""
    draft: Draft | None = None
    architecture: str = "amd64"
    os: str = "linux"


_ALWAYS = frozenset({"model_format", "model_family", "model_families", "model_type", "file_type", "architecture", "os"})
_CONFIG_READER = msgspec.json.Decoder(Config)


def read_config(data: bytes) -> Config:
    """The config blob; what it holds beyond these keys is passed over. Raises `StoreError`."""
    try:
        return _CONFIG_READER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"the model's config is damaged: {error}") from error


def write_config(config: Config) -> bytes:
    """Compact JSON and a newline; keys that may be left out are where they say nothing."""
    values = {key: getattr(config, key) for key in config.__struct_fields__}
    return _ENCODER.encode({key: value for key, value in values.items() if value or key in _ALWAYS}) + b"\n"
