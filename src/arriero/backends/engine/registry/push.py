"""A model of the store to its registry: every blob that the registry lacks, then the manifest, byte for byte.

The frames are the contract's (registry-and-store.md, section 6), and each blob ends with a full one.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Struct

from arriero.backends.engine.progress import FRAME_SECONDS, Frame, Report
from arriero.backends.engine.registry.asking import Asking, Sleep, pause_after
from arriero.backends.engine.registry.outgoing import Blob
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.refusals import codes_of
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.registry.upload import Upload
from arriero.backends.engine.store.manifest import MANIFEST_TYPE, TENSOR, Layer
from arriero.backends.engine.store.store import Store, Stored
from arriero.dialects.ollama.names import Name, parse
from arriero.errors import StoreError

ROUNDS = 3
"""So often blobs are looked for that the registry had, and misses when the manifest names them: it was cleaned up
meanwhile, or another push of the same blobs is just ending."""

_TAKEN = frozenset({200, 201, 202, 204})
_LOST = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "DIGEST_INVALID"})


class _Kind(Struct):
    media_type: str = msgspec.field(default="", name="mediaType")


async def push(
    store: Store,
    registries: Registries,
    name: Name,
    *,
    insecure: bool,
    report: Report,
    sizes: Sizes | None = None,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Send a model to the registry of its name. Raises RegistryError, StoreError."""
    report(Frame("retrieving manifest"))
    stored = await store.threads.run(store.find, name)
    if stored is None:
        raise unread(name.shortest, report)
    data = await store.threads.run(_manifest_bytes, stored)
    asking = Asking(registries.session(name, insecure=insecure), sleep=sleep)
    tell = _Telling(stored, report)
    headers = ((b"content-type", _content_type(data).encode("ascii", "replace")),)
    doing = "take the manifest"
    for attempt in range(ROUNDS):
        for layer in stored.manifest.blobs:
            await _push_blob(store, asking, name, layer, tell, sizes or Sizes(), sleep, again=attempt > 0)
        if attempt == 0:
            report(Frame("pushing manifest"))
        head, body = await asking.surely("PUT", f"manifests/{name.tag}", headers, data, doing=doing)
        if head.status in _TAKEN:
            break
        if attempt == ROUNDS - 1 or not codes_of(body) & _LOST:
            raise asking.refused(doing, head, body)
        await sleep(pause_after(attempt + 1, None))
    report(Frame("success"))


def unread(model: str, report: Report) -> StoreError:
    """The error for a model that is not in the store, and the frame before it. To Ollama it is a file that cannot be
    opened, and no model that is not found.
    """
    report(Frame("couldn't retrieve manifest"))
    return StoreError(f"open {model}: no such file or directory")


async def _push_blob(
    store: Store,
    asking: Asking,
    name: Name,
    layer: Layer,
    tell: "_Telling",
    sizes: Sizes,
    sleep: Sleep,
    *,
    again: bool,
) -> None:
    """`again`: only what has to go up once more is told of."""
    doing = "tell whether it has a blob"
    head, body = await asking.surely("HEAD", f"blobs/{layer.digest}", doing=doing)
    if head.status == 404:
        blob = Blob(layer.digest, layer.size, store.blob(layer.digest), _mount(layer, name))
        await _check(store, name, layer)
        upload = Upload(asking, blob, threads=store.threads, sizes=sizes, sleep=sleep)
        await _shown(upload.run(), lambda: tell(layer, upload.completed))
    elif head.status != 200:
        raise asking.refused(doing, head, body)
    elif again:
        return
    tell.end(layer)


async def _check(store: Store, name: Name, layer: Layer) -> None:
    """Raises StoreError for a blob that is not there, or not whole."""
    found = await store.threads.run(store.size, layer.digest)
    if found == layer.size:
        return
    how = "missing in the store" if found is None else f"damaged: it has {found} bytes, not {layer.size}"
    raise StoreError(f"model '{name.shortest}': its blob {layer.digest} is {how}; pull or create the model again")


async def _shown(work: Coroutine[Any, Any, None], tell: Callable[[], None]) -> None:
    """The work, told of at its beginning and every 60 ms."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not task.done():
            tell()
            await asyncio.wait((task,), timeout=FRAME_SECONDS)
        task.result()
    finally:
        task.cancel()
        await asyncio.wait((task,))


class _Telling:
    """The frames of the blobs: each for itself, or one count over all of them where a model has a blob per tensor."""

    def __init__(self, stored: Stored, report: Report) -> None:
        blobs = stored.manifest.blobs
        self._report = report
        self._whole = any(layer.media_type == TENSOR for layer in blobs)
        self._total = sum(layer.size for layer in blobs)
        self._ended = 0

    def __call__(self, layer: Layer, completed: int) -> None:
        if self._whole:
            self._report(Frame("pushing model", "sha256:model", self._total, min(self._ended + completed, self._total)))
        else:
            self._report(Frame(f"pushing {layer.short_digest}", layer.digest, layer.size, completed))

    def end(self, layer: Layer) -> None:
        self(layer, layer.size)
        self._ended = min(self._ended + layer.size, self._total)


def _mount(layer: Layer, name: Name) -> str:
    """The repository from which the registry may take a layer, where it came from a model of the same registry."""
    origin = parse(layer.origin) if layer.origin else None
    if origin is None or origin.host != name.host or (origin.namespace, origin.model) == (name.namespace, name.model):
        return ""
    return f"{origin.namespace}/{origin.model}"


def _manifest_bytes(stored: Stored) -> bytes:
    """Blocks. Raises StoreError if the model was changed or deleted since it was found."""
    try:
        data = stored.path.read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != stored.digest:
        raise StoreError(f"model '{stored.name.shortest}' was changed while it was pushed: push it again")
    return data


def _content_type(manifest: bytes) -> str:
    """What a manifest says of itself: Docker's, or OCI's of a model that was pulled so."""
    try:
        told = msgspec.json.decode(manifest, type=_Kind).media_type
    except msgspec.DecodeError:
        told = ""
    return told if told.isascii() and told.isprintable() and told else MANIFEST_TYPE
