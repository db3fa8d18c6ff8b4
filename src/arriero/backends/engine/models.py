"""Which models exist: GGUF files in the models directory and the demo model that ships with arriero.

A file's name is its stem in lower case, whatever is outside Ollama's grammar turned into `-`, with the tag `latest`:
`Qwen2-0.5B-Q4_K_M.gguf` is `qwen2-0.5b-q4_k_m:latest`. Looked at are the directory and its sub-directories, one level
deep. Of a model in several files (`x-00001-of-00003.gguf`) the first part stands for all, under the name `x`. Of two
files with one name the first in path order has it. What cannot be used is listed with the reason.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.card import check_model, model_card, model_detail
from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.canonical.catalog import ModelCard, ModelDetail
from arriero.errors import ModelBroken

DEMO_PATH: Final = Path(__file__).parents[2] / "models" / "arriero-demo-q8_0.gguf"
NAME_LENGTH: Final = 80

_PART = re.compile(r"^(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_OUTSIDE_GRAMMAR = re.compile(r"[^a-z0-9_.-]+")

Fingerprint = tuple[str, int, int]
"""Path, size in bytes, modification time in nanoseconds: the same three, the same model."""


class ModelFile(Struct, frozen=True, kw_only=True):
    """A usable model. `parts` are all its files, the first one first; `fingerprint` is the first one's.

    `sampling` are defaults in llama.cpp's words, `parameters` the same in Ollama's.
    """

    id: str
    parts: tuple[Path, ...]
    fingerprint: Fingerprint
    header: GgufHeader
    card: ModelCard
    sampling: dict[str, float] = {}
    parameters: dict[str, object] = {}

    @property
    def path(self) -> Path:
        return self.parts[0]

    @property
    def size_bytes(self) -> int:
        return self.card.size_bytes or 0

    def unchanged(self) -> bool:
        """Whether the file on disk is still the one that was read."""
        try:
            return fingerprint(self.path) == self.fingerprint
        except OSError:
            return False

    def detail(self, *, verbose: bool) -> ModelDetail:
        """For `/api/show`; `verbose` reads the file again, with its long arrays."""
        header = read_header(self.path, whole_arrays=True) if verbose else self.header
        return model_detail(self.card, header, verbose=verbose, parameters=self.parameters)


class Listing(Struct, frozen=True):
    """Models by id, in order of id; and what cannot be used, path -> reason."""

    models: Mapping[str, ModelFile]
    broken: Mapping[Path, str]


class Models:
    """The models directory, read anew on each `scan`; a header is read once for as long as its file stays as it is."""

    def __init__(self, directory: Path | None, *, demo: Path | None = None) -> None:
        self._directory = directory
        self._demo = demo
        self._headers: dict[Fingerprint, GgufHeader | str] = {}

    def scan(self) -> Listing:
        """Look at the directory now. Blocks for the disk: call it in a thread. A missing directory holds no models."""
        models: dict[str, ModelFile] = {}
        broken: dict[Path, str] = {}
        seen: dict[Fingerprint, GgufHeader | str] = {}
        for path in self._files():
            found = _PART.match(path.stem)
            if found and found["number"] != "00001":
                continue
            try:
                model = self._model(path, model_id(found["name"] if found else path.stem), seen)
                if model.id in models:
                    raise ModelBroken(f"the name {model.id} is taken by {models[model.id].path.name}")
                models[model.id] = model
            except ModelBroken as error:
                broken[path] = error.message
            except OSError as error:
                broken[path] = f"cannot be read: {error.strerror or error}"
        self._headers = seen
        return Listing(dict(sorted(models.items())), broken)

    def _files(self) -> Iterator[Path]:
        """The demo model first, so that no file can take its name."""
        if self._demo is not None and self._demo.is_file():
            yield self._demo
        if self._directory is None:
            return
        folders = [self._directory, *sorted(entry for entry in _entries(self._directory) if entry.is_dir())]
        for folder in folders:
            yield from sorted(entry for entry in _entries(folder) if entry.suffix == ".gguf" and entry.is_file())

    def _model(self, path: Path, id: str, seen: dict[Fingerprint, GgufHeader | str]) -> ModelFile:
        header = self._header(path, seen)
        check_model(header)
        parts = tuple(_parts(path))
        headers = [header, *(self._header(part, seen) for part in parts[1:])]
        demo = path == self._demo
        mark = fingerprint(path)
        return ModelFile(
            id=DEMO_ID if demo else id,
            parts=parts,
            fingerprint=mark,
            header=header,
            card=model_card(
                DEMO_ID if demo else id,
                header,
                size_bytes=sum(each.size_bytes for each in headers),
                parameter_count=sum(each.parameter_count for each in headers),
                modified_at=mark[2] / 1e9,
            ),
            # A phrase book answers best when it does not roll dice.
            sampling={"temp": 0.0} if demo else {},
            parameters={"temperature": 0} if demo else {},
        )

    def _header(self, path: Path, seen: dict[Fingerprint, GgufHeader | str]) -> GgufHeader:
        mark = fingerprint(path)
        known = seen.get(mark) or self._headers.get(mark)
        if known is None:
            try:
                known = read_header(path)
            except ModelBroken as error:
                known = error.message
        seen[mark] = known
        if isinstance(known, str):
            raise ModelBroken(known)
        return known


def model_id(stem: str) -> str:
    """The name of a file, from its name without `.gguf`."""
    name = _OUTSIDE_GRAMMAR.sub("-", stem.lower()).strip("-.")[:NAME_LENGTH].rstrip("-.")
    return f"{name or 'model'}:latest"


def fingerprint(path: Path) -> Fingerprint:
    """What a file is known by. Raises `OSError`."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []


def _parts(path: Path) -> Iterator[Path]:
    """All files of a model, by the first one. Raises `ModelBroken` if one is missing."""
    found = _PART.match(path.stem)
    if not found:
        yield path
        return
    count = int(found["count"])
    for number in range(1, count + 1):
        part = path.with_name(f"{found['name']}-{number:05d}-of-{count:05d}.gguf")
        if not part.is_file():
            raise ModelBroken(f"part {number} of {count} is missing: {part.name}")
        yield part
