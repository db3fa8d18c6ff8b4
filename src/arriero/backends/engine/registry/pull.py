"""Pull: a model from a registry into the store, and what is told while it comes.

| step                               | frames                                                             |
|------------------------------------|--------------------------------------------------------------------|
| the manifest is fetched            | `pulling manifest`                                                 |
| each blob, layers first            | `pulling <12 hex>` every 60 ms, the last with all bytes; just that |
|                                    | one where the blob is already there                                |
| each was hashed while it came      | `verifying sha256 digest`                                          |
| the manifest is written            | `writing manifest`                                                 |
| blobs that nobody names any more   | `removing unused layers`, if there were any                        |
| done                               | `success`                                                          |
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.registry.download import DigestMismatch, Downloads
from arriero.backends.engine.registry.session import Refused, Registries, Session
from arriero.backends.engine.store.faults import BlobMissing
from arriero.backends.engine.store.layout import partial_path
from arriero.backends.engine.store.manifest import (
    MANIFEST_TYPE,
    MAX_MANIFEST_BYTES,
    TENSOR,
    Layer,
    Manifest,
    read_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.canonical.sizes import file_size
from arriero.dialects.ollama.names import Name
from arriero.errors import RegistryError, StoreError

MAX_BLOBS = 1000
"""Models have about ten; those in hundreds of files are split GGUFs."""

ROUNDS = 3
"""So often blobs that vanish before the manifest is written are fetched again."""

_ACCEPT = ((b"accept", f"{MANIFEST_TYPE}, application/vnd.oci.image.manifest.v1+json".encode()),)


async def pull(
    store: Store,
    registries: Registries,
    downloads: Downloads,
    name: Name,
    *,
    insecure: bool,
    report: Report,
) -> None:
    """Returns when the model is in the store. Raises RegistryError and StoreError; `insecure` asks over plain http.

    Cancelled, it leaves what has come to the next pull.
    """
    report(Frame("pulling manifest"))
    await store.threads.run(store.writable)
    session = registries.session(name, insecure=insecure)
    data, manifest = await _manifest(session, name)
    store.keep(layer.digest for layer in manifest.blobs)
    for attempt in range(ROUNDS):
        await store.threads.run(_check_room, store, manifest.blobs)
        for layer in manifest.blobs:
            # What came in the first round has been told; only what has to come again is told again.
            await _blob(store, session, downloads, layer, report, tell=attempt == 0)
        if attempt == 0:
            report(Frame("verifying sha256 digest"))
            report(Frame("writing manifest"))
        try:
            _, gone = await store.threads.run(store.write, name, data)
        except BlobMissing:
            # Somebody else has removed it; another one may have brought it back by now.
            if attempt == ROUNDS - 1:
                raise
        else:
            break
    if gone:
        report(Frame("removing unused layers"))
    report(Frame("success"))


async def _manifest(session: Session, name: Name) -> tuple[bytes, Manifest]:
    """As it came, byte for byte, and as it reads."""
    path = f"manifests/{name.tag}"
    try:
        _, data = await session.request("GET", path, _ACCEPT, limit_bytes=MAX_MANIFEST_BYTES)
        manifest = await asyncio.to_thread(read_manifest, data)
        check(manifest)
    except Refused as refused:
        text = "file does not exist" if refused.answered == 404 else refused.message
        raise RegistryError(f"pull model manifest: {text}") from refused
    except (RegistryError, StoreError) as error:
        raise RegistryError(f"pull model manifest: {error.message}") from error
    return data, manifest


def check(manifest: Manifest) -> None:
    """Raises RegistryError for a manifest of what cannot run here, or of what is no model."""
    if any(layer.media_type == TENSOR for layer in manifest.layers):
        raise RegistryError("this model requires MLX support, but the MLX runtime is not available")
    if len(manifest.layers) > MAX_BLOBS:
        raise RegistryError(f"the manifest has {len(manifest.layers)} layers, and a model has at most {MAX_BLOBS}")
    if not manifest.layers:
        raise RegistryError("the manifest has no layers: this is no model")
    sizes: dict[str, int] = {}
    for layer in (*manifest.layers, manifest.config):
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise RegistryError(f"the manifest gives two sizes for the blob {layer.digest}")


async def _blob(
    store: Store, session: Session, downloads: Downloads, layer: Layer, report: Report, *, tell: bool
) -> None:
    status = f"pulling {layer.short_digest}"

    def watch(completed: int) -> None:
        report(Frame(status, layer.digest, layer.size, completed))

    if await store.threads.run(store.size, layer.digest) == layer.size:
        if tell:
            watch(layer.size)
        return
    try:
        await downloads.fetch(store, session, layer, watch)
    except DigestMismatch:
        report(Frame("verifying sha256 digest"))
        raise


def _check_room(store: Store, layers: Sequence[Layer]) -> None:
    """Raises StoreError where the disk has less room than what is still to come."""
    missing = [layer for layer in layers if store.size(layer.digest) != layer.size]
    needed = sum(max(0, layer.size - _held(store.blob(layer.digest))) for layer in missing)
    folder = store.root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        disk = os.statvfs(folder)
    except OSError:
        return  # The write will tell.
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise StoreError(
            f"no room left on the device of the model store: the model needs {file_size(needed)} more, "
            f"and {file_size(free)} are free; delete models or free some space"
        )


def _held(blob: Path) -> int:
    """Bytes on the disk of an earlier download."""
    try:
        return partial_path(blob).stat().st_blocks * 512
    except OSError:
        return 0
