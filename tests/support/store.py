"""Model stores for tests: small models to put in, and a check that finds whatever a store must not hold.

The check reads the disk by itself and trusts nothing of the store's own code.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    LICENSE,
    MODEL,
    Config,
    Layer,
    Manifest,
    write_config,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name, parse

_BLOB = re.compile(r"sha256-([0-9a-f]{64})")
_ON_ITS_WAY = re.compile(r"arriero-[0-9a-f]{16}|sha256-[0-9a-f]{64}-partial(-\d+)?")


def name(text: str) -> Name:
    found = parse(text)
    assert found is not None, text
    return found


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(store: Store, data: bytes, media_type: str = MODEL) -> Layer:
    """Bytes put into the store, as a layer."""
    return Layer(media_type, store.put(data)[0], len(data))


def model(store: Store, *contents: bytes, family: str = "llama") -> bytes:
    """The manifest of a model whose blobs are in the store: weights first, the rest licenses; its config is small."""
    layers = tuple(layer(store, data, LICENSE if number else MODEL) for number, data in enumerate(contents))
    return write_manifest(Manifest(layer(store, write_config(Config(model_family=family)), CONFIG_TYPE), layers))


def models(root: Path) -> dict[str, list[str]]:
    """`host/namespace/model/tag` -> the digests that its manifest names, layers first."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "manifests").glob("*/*/*/*")):
        assert path.is_file(), f"{path} is no file"
        manifest = json.loads(path.read_bytes())
        names = [each["digest"] for each in (*manifest["layers"], manifest["config"])]
        found[str(path.relative_to(root / "manifests"))] = names
    return found


def blobs(root: Path) -> list[str]:
    """The digests of the blobs, in order."""
    found = (_BLOB.fullmatch(path.name) for path in sorted((root / "blobs").glob("*")))
    return [f"sha256:{match[1]}" for match in found if match]


def leftovers(root: Path) -> list[str]:
    """Paths below the root of what is no part of a model: files on their way, blobs that nobody names, odd files."""
    named = {each for digests in models(root).values() for each in digests}
    left: list[str] = []
    for folder, _, files in os.walk(root):
        for file in files:
            path = (Path(folder) / file).relative_to(root)
            blob = _BLOB.fullmatch(file) if folder == str(root / "blobs") else None
            is_part = (
                (blob is not None and f"sha256:{blob[1]}" in named)
                or (path.parts[0] == "manifests" and len(path.parts) == 5)
                or path == Path("arriero.lock")
            )
            if not is_part:
                left.append(str(path))
    return sorted(left)


def check_store(root: Path) -> None:
    """Every manifest is whole, every blob that it names is there, of its size and digest, nothing odd lies about."""
    for place, digests in models(root).items():
        manifest = json.loads((root / "manifests" / place).read_bytes())
        assert manifest["schemaVersion"] == 2, place
        sizes = [each["size"] for each in (*manifest["layers"], manifest["config"])]
        for each, size in zip(digests, sizes, strict=True):
            path = root / "blobs" / each.replace(":", "-")
            assert path.is_file(), f"{place} names {each}, which is missing"
            assert path.stat().st_size == size, f"{place} says that {each} has {size} bytes"
    for each in blobs(root):
        with (root / "blobs" / each.replace(":", "-")).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        assert f"sha256:{found}" == each, f"the bytes of {each} are others"
    for left in leftovers(root):
        path = Path(left)
        is_known = path.parent == Path("blobs") and (_BLOB.fullmatch(path.name) or _ON_ITS_WAY.fullmatch(path.name))
        is_known = is_known or (path.parent == Path("manifests") and _ON_ITS_WAY.fullmatch(path.name))
        beside = path.suffix == ".gguf"  # a model that lies beside the store
        assert is_known or beside, f"{left} is nothing that tidying would clear"
