"""Where things lie in a store, and what their names may be: digests, blob file names, the path of a model's manifest.

    manifests/<host>/<namespace>/<model>/<tag>
    blobs/sha256-<hex>                            (in old stores sha256:<hex>)
    blobs/sha256-<hex>-partial[-<N>]              a download on its way
    blobs/arriero-<hex>, manifests/arriero-<hex>  a file of ours on its way, to Ollama neither a blob nor a model

Pure: nothing here looks at a disk.
"""

import re
from pathlib import Path
from typing import Final

from arriero.dialects.ollama.names import Name, parse
from arriero.errors import BadRequest

BLOBS: Final = "blobs"
MANIFESTS: Final = "manifests"
LOCK: Final = "arriero.lock"
TEMPORARY: Final = "arriero-"
PARTIAL: Final = "-partial"
LEVELS: Final = 4
"""Host, namespace, model, tag: no deeper, no shallower."""

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})", re.ASCII)
_PARTIAL = re.compile(rf"sha256-[0-9a-f]{{64}}{PARTIAL}(?:-\d+)?", re.ASCII)
_TEMPORARY = re.compile(r"arriero-[0-9a-f]{16}", re.ASCII)


def known_digest(text: str) -> str | None:
    """The canonical form, `sha256:` and 64 lower-case digits; `None` if the text is no digest."""
    found = _DIGEST.fullmatch(text)
    return f"sha256:{found[1].lower()}" if found else None


def check_digest(text: str) -> str:
    """The canonical form. Raises `BadRequest`."""
    digest = known_digest(text)
    if digest is None:
        raise BadRequest("invalid digest format")
    return digest


def blob_file(digest: str) -> str:
    """The file name of a canonical digest."""
    return digest.replace(":", "-", 1)


def old_blob_file(digest: str) -> str:
    """The file name that old stores have."""
    return digest


def blob_digest(file: str) -> str | None:
    """The digest that a file in `blobs/` is named for, today's way or the old one; `None` for any other file."""
    digest = known_digest(file)
    return digest if digest is not None and file in (blob_file(digest), old_blob_file(digest)) else None


def is_temporary(file: str) -> bool:
    """Whether a file is ours, on its way."""
    return _TEMPORARY.fullmatch(file) is not None


def is_partial(file: str) -> bool:
    """Whether a file belongs to a download on its way."""
    return _PARTIAL.fullmatch(file) is not None


def partial_path(blob: Path) -> Path:
    """Where the download of a blob is, beside it."""
    return blob.with_name(f"{blob.name}{PARTIAL}")


def download(file: str) -> str:
    """The blob file that a partial one is to become."""
    return file.partition(PARTIAL)[0]


def is_stray(file: str) -> bool:
    """Whether a file in `blobs/` came from making a blob and is none: what a cut upload or download left there."""
    return is_temporary(file) or (file.startswith("sha256") and blob_digest(file) is None)


def parts(name: Name) -> tuple[str, str, str, str]:
    """The four directory and file names, outermost first. Raises `BadRequest` for what is no name, `..` above all."""
    if parse(name.full) != name:
        raise BadRequest("invalid model name")
    return name.host, name.namespace, name.model, name.tag


def manifest_path(root: Path, name: Name) -> Path:
    """Where the manifest of a name lies, in exactly this spelling. Raises `BadRequest`."""
    return root.joinpath(MANIFESTS, *parts(name))


def name_of(host: str, namespace: str, model: str, tag: str) -> Name | None:
    """The name that a manifest's place stands for; `None` where it cannot be one."""
    name = Name(model, tag, namespace, host)
    return name if parse(name.full) == name else None
