"""Makes a model of the store: of uploaded GGUF files, of another model, or of a file beside the store.

What it will be made of is decided in `plan`; here files are looked at, bytes are moved, and every step is told. All
of it that blocks runs in threads, one step at a time; cut off between two steps it leaves nothing but what `tidy`
clears, for the manifest comes last.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.card import Kind, check_model
from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.backends.engine.gguf_merging import Part
from arriero.backends.engine.lasting import to_its_end
from arriero.backends.engine.library.adopting import Steps, adopted
from arriero.backends.engine.library.create_body import CLOUD, Wanted, is_safetensors, read_create
from arriero.backends.engine.library.grouping import Given, check_adapter, grouped
from arriero.backends.engine.library.plan import (
    Fresh,
    Ground,
    check_quantization,
    check_sizes,
    plan_config,
    plan_layers,
)
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.faults import BlobMissing
from arriero.backends.engine.store.manifest import Config, Layer, Manifest, read_config, write_config, write_manifest
from arriero.backends.engine.store.store import Store, Stored
from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.names import Name, parse
from arriero.errors import BadRequest, Forbidden, ModelBroken, ModelNotFound, NotImplementedHere, StoreError

Find: TypeAlias = Callable[[str], Awaitable[ModelFile | None]]
"""The model of a name, be it in the store or beside it."""

Fetch: TypeAlias = Callable[[Name, Report], Awaitable[None]]
"""Pulls a model into the store."""

TRIES: Final = 40
"""How often a model is made at most, and its manifest written, while others overwrite what it is made of. Each try that
fails is a create of somebody else that did not, so this many of one name may be at it at once.
"""

_TYPES: Final[Mapping[Kind, str]] = {
    Kind.MODEL: media.MODEL,
    Kind.ADAPTER: media.ADAPTER,
    Kind.PROJECTOR: media.PROJECTOR,
}
_GGUF: Final = frozenset({media.MODEL, media.ADAPTER, media.PROJECTOR})
_CONVERSION: Final = (
    "safetensors files cannot be converted here: convert them with convert_hf_to_gguf.py of llama.cpp and create the "
    "model from the GGUF file"
)
_MAGIC: Final = b"GGUF"

_parameters = msgspec.json.Decoder(dict[str, Any]).decode


async def create(
    body: bytes, store: Store, *, report: Report, find: Find, fetch: Fetch, now: Callable[[], float]
) -> None:
    """Make the model that a body asks for. `now` is in Unix seconds.

    Raises `BadRequest` before anything is reported for what can be seen in the body; `ModelBroken` for a damaged file;
    `NotImplementedHere` for conversions; `StoreError`; and whatever `find` and `fetch` raise.
    """
    wanted = read_create(body)
    taken = await find(wanted.name.shortest)
    if taken is not None and taken.stored is None:
        # It would hide the new one, or be hidden by it.
        raise BadRequest(f"the name {quote(wanted.name.shortest)} is that of {_place(taken)}: choose another one")
    for rest in reversed(range(TRIES)):
        base = await _base(wanted, store, report, find, fetch) if wanted.base else None
        try:
            return await _run(_made(wanted, base, store, now), store, report)
        except StoreError:
            # Somebody may have overwritten the base meanwhile, and its layers are gone with it.
            if not rest or not isinstance(base, Stored) or not await store.threads.run(_is_another, base, store):
                raise


def _place(model: ModelFile) -> str:
    if model.id == DEMO_ID:
        return "the model that comes with arriero"
    return f"the file {model.path.name} beside the store"


async def _base(wanted: Wanted, store: Store, report: Report, find: Find, fetch: Fetch) -> ModelFile | Stored:
    """What the model is made from, fetched if it is nowhere."""
    name = parse(wanted.base)
    assert name is not None, "the body has been checked"
    base = await _known(wanted.base, name, store, find)
    if base is None:
        await fetch(name, report)
        base = await _known(wanted.base, name, store, find)
    if base is None:
        raise ModelNotFound(name.shortest)
    return base


async def _known(typed: str, name: Name, store: Store, find: Find) -> ModelFile | Stored | None:
    model = await find(typed)
    if model is None:
        # What the engine cannot run is not found, and may still be what another model is made of.
        return await store.threads.run(store.find, name)
    return model.stored or model


def _is_another(base: Stored, store: Store) -> bool:
    """Whether the name stands for another model by now."""
    found = store.find(base.name)
    return found is not None and found.mark != base.mark


async def _run(steps: Generator[Frame, None, None], store: Store, report: Report) -> None:
    """Take the steps in threads, one after the other. Cancelled, it waits for the one that is being taken."""
    try:
        while True:
            frame = await to_its_end(store.threads.run(next, steps, None))
            if frame is None:
                return
            report(frame)
    finally:
        await to_its_end(store.threads.run(steps.close))


# ---- in a thread ---------------------------------------------------------------------------------------------------


def _made(
    wanted: Wanted, base: ModelFile | Stored | None, store: Store, now: Callable[[], float]
) -> Generator[Frame, None, None]:
    """All steps. The frames are those of Ollama's server, in its order."""
    match base:
        case None:
            ground = yield from _of_files(wanted.files or {}, store)
        case Stored():
            ground = _of_stored(base, wanted, store)
        case ModelFile():
            ground = yield from _of_loose(base, store)
    if wanted.adapters is not None:
        ground = ground.joined((yield from _adapters(wanted.adapters, ground, store)))
    check_quantization(ground, wanted)
    config = Fresh(media.CONFIG_TYPE, write_config(plan_config(ground, wanted)))
    parts = plan_layers(ground, wanted)
    check_sizes(parts)
    layers: list[Layer] = []
    for part in parts:
        layer, new = _put(part, store) if isinstance(part, Fresh) else (part, False)
        layers.append(layer)
        yield Frame(f"{'creating new' if new else 'using existing'} layer {layer.digest}")
    yield Frame("writing manifest")
    manifest = Manifest(_put(config, store)[0], tuple(layers))
    _write(wanted.name, manifest, [config, *(part for part in parts if isinstance(part, Fresh))], store, now())
    yield Frame("success")


def _put(fresh: Fresh, store: Store) -> tuple[Layer, bool]:
    digest, new = store.put(fresh.data)
    return Layer(media_type=fresh.media_type, digest=digest, size=len(fresh.data)), new


def _write(name: Name, manifest: Manifest, small: Sequence[Fresh], store: Store, now: float) -> None:
    """Somebody may overwrite the model meanwhile, and remove with the old one a small layer that it had too; and the
    next one may have put it back by the time it is looked for.
    """
    data = write_manifest(manifest)
    own = {part.digest for part in small}
    for rest in reversed(range(TRIES)):
        try:
            store.write(name, data, modified_at=now)
            return
        except BlobMissing:
            if not rest or any(store.size(each.digest) is None for each in manifest.blobs if each.digest not in own):
                raise
            for part in small:
                store.put(part.data)


# ---- where it comes from -------------------------------------------------------------------------------------------


def _of_stored(base: Stored, wanted: Wanted, store: Store) -> Ground:
    """The layers of another model, by reference."""
    config = read_config(store.read(base.manifest.config))
    if config.remote_host:
        raise Forbidden(CLOUD)
    origin = "" if base.name.key == wanted.name.key else base.name.shortest
    layers = tuple(
        layer if layer.origin else msgspec.structs.replace(layer, origin=origin) for layer in base.manifest.layers
    )
    headers = [
        (layer.media_type, _header(layer.digest, f"a file of {base.name.shortest}", store))
        for layer in layers
        if layer.media_type in _GGUF
    ]
    params = next((layer for layer in reversed(layers) if layer.media_type == media.PARAMS), None)
    return Ground(layers, tuple(headers), config, _read_parameters(params, store))


def _of_loose(base: ModelFile, store: Store) -> Generator[Frame, None, Ground]:
    """A file beside the store, or the demo model: it becomes a blob."""
    ground = Ground(config=Config(), parameters=dict(base.parameters))
    files = [
        (media.MODEL, base.parts),
        *((media.ADAPTER, (path,)) for path in base.adapters),
        *((media.PROJECTOR, (path,)) for path in ((base.projector,) if base.projector else ())),
    ]
    for kind, paths in files:
        parts = tuple(Part(path, read_header(path)) for path in paths)
        ground = ground.joined((yield from _adopted(kind, parts, store)))
    return ground


def _of_files(files: Mapping[str, str], store: Store) -> Generator[Frame, None, Ground]:
    """Uploaded blobs: a model in one file or several, and what belongs to it."""
    _check_kinds(files, store)
    ground = Ground()
    for group in grouped((yield from _parsed(files, store))):
        kind = _TYPES[group.kind]
        if len(group.files) == 1:
            given = group.files[0]
            ground = ground.joined(_existing(kind, given, store))
        else:
            parts = tuple(Part(store.blob(given.digest), given.header) for given in group.files)
            ground = ground.joined((yield from _adopted(kind, parts, store)))
    return ground


def _adapters(files: Mapping[str, str], ground: Ground, store: Store) -> Generator[Frame, None, Ground]:
    """One LoRA that fits the model."""
    _check_kinds(files, store)
    if len(files) > 1:
        raise BadRequest("only one adapter is currently supported")
    (given,) = yield from _parsed(files, store)
    model = ground.model
    if model is None:
        raise BadRequest("there are no GGUF weights that the adapter could be for")
    check_adapter(given, model)
    return _existing(media.ADAPTER, given, store)


def _check_kinds(files: Mapping[str, str], store: Store) -> None:
    """Raises `BadRequest` for files that are not there or no kind of weights, `NotImplementedHere` for safetensors."""
    if not files:
        raise BadRequest("no files provided to convert")
    for digest in files.values():
        if store.size(digest) is None:
            raise BadRequest(f"blob {quote(digest)} not found: send it with POST /api/blobs/{digest} first")
    if any(is_safetensors(name) for name in files):
        raise NotImplementedHere(_CONVERSION)
    if not any(name.endswith(".gguf") or _starts_as_gguf(digest, store) for name, digest in files.items()):
        raise BadRequest("unknown type")


def _parsed(files: Mapping[str, str], store: Store) -> Generator[Frame, None, list[Given]]:
    given: list[Given] = []
    for name, digest in sorted(files.items()):
        yield Frame("parsing GGUF")
        if not _starts_as_gguf(digest, store):
            raise BadRequest("supplied file was not in GGUF format")
        given.append(Given(name, digest, _header(digest, quote(name), store)))
    return given


def _existing(kind: str, given: Given, store: Store) -> Ground:
    """A blob as it is."""
    size = store.size(given.digest)
    if size is None:
        raise StoreError(f"the blob {given.digest} is missing: send it again")
    return Ground((Layer(media_type=kind, digest=given.digest, size=size),), ((kind, given.header),))


def _adopted(kind: str, parts: tuple[Part, ...], store: Store) -> Generator[Frame, None, Ground]:
    layer = yield from _layer_of(kind, adopted(parts, store))
    header = _header(layer.digest, "the file", store)
    if kind == media.MODEL:
        check_model(header)
    return Ground((layer,), ((kind, header),))


def _layer_of(kind: str, steps: Steps) -> Generator[Frame, None, Layer]:
    digest, size = yield from steps
    return Layer(media_type=kind, digest=digest, size=size)


# ---- what the store holds ------------------------------------------------------------------------------------------


def _starts_as_gguf(digest: str, store: Store) -> bool:
    try:
        with store.blob(digest).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise StoreError(f"the blob {digest} cannot be read: {error.strerror}") from None


def _header(digest: str, what: str, store: Store) -> GgufHeader:
    """The header of a blob. Raises `ModelBroken`, which names it by `what`, and `StoreError`."""
    try:
        return read_header(store.blob(digest))
    except ModelBroken as error:
        raise ModelBroken(f"{what} cannot be used: {error.message}") from None
    except OSError as error:
        raise StoreError(f"the blob {digest} cannot be read: {error.strerror}") from None


def _read_parameters(layer: Layer | None, store: Store) -> dict[str, object]:
    try:
        return {} if layer is None else _parameters(store.read(layer))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StoreError("the parameters of the model that it is made from are damaged") from None
