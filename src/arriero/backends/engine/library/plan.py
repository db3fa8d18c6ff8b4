"""What a new model is made of, decided from what it is made from and what is wanted. Pure: digests in, layers out.

What is taken over keeps its place, so that a model made anew from its own Modelfile gets the same manifest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from arriero.backends.engine.card import quantization
from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.library.create_body import QUANTIZATIONS, Wanted
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.blobs import MAX_READ_BYTES
from arriero.backends.engine.store.manifest import Config, Layer
from arriero.backends.engine.stored import MAX_LICENSE_BYTES
from arriero.dialects.ollama.sizes import parameter_size
from arriero.errors import BadRequest, NotImplementedHere

UNQUANTIZED: Final = ("F32", "F16", "BF16")


class Fresh(Struct, frozen=True):
    """A layer that is not in the store yet, or may not be: its content goes there."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the content."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


Part: TypeAlias = Layer | Fresh


class Ground(Struct, frozen=True):
    """What a model is made from: layers, and the headers of those that are GGUF files, as (media type, header).

    `config` is the one of a stored model, `parameters` are what its params layer says.
    """

    layers: tuple[Layer, ...] = ()
    headers: tuple[tuple[str, GgufHeader], ...] = ()
    config: Config | None = None
    parameters: dict[str, object] = {}

    @property
    def model(self) -> GgufHeader | None:
        """The header of the weights, if they are in a GGUF file."""
        return next((header for kind, header in self.headers if kind == media.MODEL), None)

    def joined(self, other: "Ground") -> "Ground":
        """With the layers of another one behind its own."""
        return msgspec.structs.replace(
            self, layers=(*self.layers, *other.layers), headers=(*self.headers, *other.headers)
        )


def plan_layers(ground: Ground, wanted: Wanted) -> tuple[Part, ...]:
    """The layers of the new model in order."""
    parts: list[Part] = list(ground.layers)
    if wanted.template:
        parts = _replaced(parts, Fresh(media.TEMPLATE, wanted.template.encode()), media.TEMPLATE, media.PROMPT)
    if wanted.system:
        parts = _replaced(parts, Fresh(media.SYSTEM, wanted.system.encode()), media.SYSTEM)
    for license in wanted.licenses:
        parts = _added(parts, Fresh(media.LICENSE, license.encode()))
    if wanted.parameters or ground.parameters:
        merged = {key: value for key, value in {**ground.parameters, **wanted.parameters}.items() if value is not None}
        if merged != ground.parameters or not _has(parts, media.PARAMS):
            parts = _replaced(parts, Fresh(media.PARAMS, write_parameters(merged)) if merged else None, media.PARAMS)
    if wanted.messages:
        parts = _replaced(parts, Fresh(media.MESSAGES, write_messages(wanted.messages)), media.MESSAGES)
    return tuple(parts)


def check_sizes(parts: Sequence[Part]) -> None:
    """Raises `BadRequest` for texts that are too long to be read again: the model could not be used."""
    for part in parts:
        if isinstance(part, Fresh) and len(part.data) > MAX_READ_BYTES:
            what = part.media_type.removeprefix(media.MEDIA)
            raise BadRequest(f"{what} has {len(part.data)} bytes, and {MAX_READ_BYTES} are possible")
    sizes = (
        part.size if isinstance(part, Layer) else len(part.data) for part in parts if part.media_type == media.LICENSE
    )
    if (size := sum(sizes)) > MAX_LICENSE_BYTES:
        raise BadRequest(f"the licenses have {size} bytes, and {MAX_LICENSE_BYTES} are possible")


def plan_config(ground: Ground, wanted: Wanted) -> Config:
    """The config of the new model: what was asked for, else what the files say, else what the base says."""
    base = ground.config or Config()
    model = ground.model
    config = Config(
        model_format=base.model_format,
        renderer=wanted.renderer or base.renderer,
        parser=wanted.parser or base.parser,
        requires=wanted.requires or base.requires,
        capabilities=_joined(base.capabilities or (), wanted.info.capabilities),
        draft=base.draft,
    )
    if model is None:
        config = msgspec.structs.replace(
            base, **{key: getattr(config, key) for key in ("renderer", "parser", "requires", "capabilities")}
        )
    else:
        config = msgspec.structs.replace(
            config,
            model_format=base.model_format or "gguf",
            model_family=model.architecture,
            model_families=_joined((), [header.architecture for _, header in ground.headers]),
            model_type=parameter_size(model.parameter_count),
            file_type=quantization(model) or "unknown",
        )
    return msgspec.structs.replace(config, **_told(wanted))


def check_quantization(ground: Ground, wanted: Wanted) -> None:
    """Raises `BadRequest` for what no server can do, `NotImplementedHere` for what this one cannot.

    Nothing is raised where the weights have the wanted type already: there is nothing to do then.
    """
    level = wanted.quantize
    model = ground.model
    if not level or model is None:
        return
    if level not in QUANTIZATIONS:
        kinds = ", ".join(QUANTIZATIONS)
        raise BadRequest(f"unsupported quantization type {level} - supported types are {kinds}", status=500)
    current = quantization(model)
    if current not in UNQUANTIZED:
        raise BadRequest("quantization is only supported for F16, BF16 and F32 models", status=500)
    if current != level:
        raise NotImplementedHere(
            f"this engine cannot quantize {current} to {level}: quantize the GGUF file with llama.cpp's llama-quantize "
            "and create the model from the result, or pull a model that is quantized"
        )


def write_parameters(parameters: Mapping[str, object]) -> bytes:
    """The params layer, as Ollama writes it: sorted, with a newline."""
    return msgspec.json.encode(dict(sorted(parameters.items()))) + b"\n"


def write_messages(messages: Sequence[tuple[str, str]]) -> bytes:
    """The messages layer, as Ollama writes it."""
    return msgspec.json.encode([{"role": role, "content": content} for role, content in messages]) + b"\n"


def _replaced(parts: list[Part], fresh: Fresh | None, *kinds: str) -> list[Part]:
    """With `fresh` in the place of the first of these kinds, at the end where there is none; `None` takes them away."""
    found = [part for part in parts if part.media_type in kinds]
    if fresh is None:
        return [part for part in parts if part.media_type not in kinds]
    if not found:
        return [*parts, fresh]
    # Of two of a kind the later counts; it may already be what is wanted.
    kept = next((part for part in found if part.digest == fresh.digest and part.media_type == fresh.media_type), fresh)
    return [kept if part is found[0] else part for part in parts if part.media_type not in kinds or part is found[0]]


def _added(parts: list[Part], fresh: Fresh) -> list[Part]:
    """With `fresh` behind the last of its kind, unless it is there."""
    if any(part.media_type == fresh.media_type and part.digest == fresh.digest for part in parts):
        return parts
    last = max((at for at, part in enumerate(parts) if part.media_type == fresh.media_type), default=len(parts) - 1)
    return [*parts[: last + 1], fresh, *parts[last + 1 :]]


def _has(parts: Sequence[Part], kind: str) -> bool:
    return any(part.media_type == kind for part in parts)


def _joined(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys((*some, *others))) or None


def _told(wanted: Wanted) -> dict[str, object]:
    """What the request says of the model, by the keys of the config."""
    info = wanted.info
    told = {
        "model_family": info.model_family,
        "base_name": info.base_name,
        "model_type": info.parameter_size,
        "file_type": info.quantization_level,
        "context_length": info.context_length,
        "embedding_length": info.embedding_length,
    }
    return {key: value for key, value in told.items() if value not in (None, "")}
