"""Which models exist: those of the store, GGUF files that lie in its directory, and the demo model of the package.

A file's name is its stem in lower case, whatever is outside Ollama's grammar turned into `-`, with the tag `latest`:
`Qwen2-0.5B-Q4_K_M.gguf` is `qwen2-0.5b-q4_k_m:latest`. Looked at are the directory and its sub-directories, one level
deep. Of a model in several files (`x-00001-of-00003.gguf`) the first part stands for all, under the name `x`. Of two
with one name the demo model has it before the store, the store before a file, and of two files the first in path order.
What cannot be used is listed with the reason.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.card import check_model, check_parts, model_card
from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.backends.engine.model import Fingerprint, ModelFile, fingerprint
from arriero.backends.engine.store.layout import BLOBS, MANIFESTS
from arriero.backends.engine.store.store import Store, Stored
from arriero.backends.engine.stored import stored_model
from arriero.dialects.ollama.names import parse
from arriero.errors import ArrieroError, ModelBroken

DEMO_PATH: Final = Path(__file__).parents[2] / "models" / "arriero-demo-q8_0.gguf"
NAME_LENGTH: Final = 80
LOOKS: Final = 5
"""How often a model is looked at that somebody is just changing."""

_PART = re.compile(r"^(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_OUTSIDE_GRAMMAR = re.compile(r"[^a-z0-9_.-]+")


class _Gone(Exception):
    """It was there a moment ago."""


class Broken(Struct, frozen=True):
    """The name that a model would have, and why it cannot be used."""

    id: str
    reason: str


class Listing(Struct, frozen=True):
    """Models by id, in order; what cannot be used, by the path of its file or manifest; and the ids by their keys."""

    models: Mapping[str, ModelFile] = {}
    broken: Mapping[Path, Broken] = {}
    ids: Mapping[str, str] = {}

    def find(self, name: str) -> ModelFile | None:
        """The model of that name, however it is written."""
        id = self.ids.get(key(name))
        return None if id is None else self.models[id]


class Models:
    """What there is, looked at anew on each `scan`; what is known of a file holds for as long as it stays as it is."""

    def __init__(self, store: Store | None, *, demo: Path | None = None) -> None:
        self._store = store
        self._demo = demo
        self._headers: dict[Fingerprint, GgufHeader | str] = {}
        self._stored: dict[Fingerprint, ModelFile] = {}

    def scan(self) -> Listing:
        """Look now. Blocks for the disk: call it in a thread. A missing directory holds no models.

        Raises `StoreError` where the store cannot be looked into.
        """
        models: dict[str, ModelFile] = {}
        broken: dict[Path, Broken] = {}
        ids: dict[str, str] = {}
        seen: dict[Fingerprint, GgufHeader | str] = {}
        sources: list[tuple[Path, str, Callable[[], ModelFile]]] = []
        if self._demo is not None and self._demo.is_file():
            sources.append((self._demo, DEMO_ID, partial(self._model, self._demo, DEMO_ID, seen)))
        if self._store is not None:
            found, unreadable = self._store.scan()
            broken.update((path, Broken(_id_at(path), reason)) for path, reason in unreadable.items())
            sources += [(one.path, one.name.shortest, partial(self._of_store, one, seen)) for one in found]
        sources += [(path, id, partial(self._model, path, id, seen)) for path, id in self._loose()]
        for path, id, read in sources:
            try:
                model = read()
                taken = ids.setdefault(key(model.id), model.id)
                if taken in models:
                    raise ModelBroken(f"the name {model.id} is taken by {_place(models[taken])}")
                models[model.id] = model
            except _Gone:
                continue
            except ArrieroError as error:
                broken[path] = Broken(id, error.message)
            except OSError as error:
                broken[path] = Broken(id, f"cannot be read: {error.strerror or error}")
        self._headers = seen
        self._stored = {model.fingerprint: model for model in models.values() if model.stored is not None}
        return Listing(dict(sorted(models.items())), broken, ids)

    def _of_store(self, stored: Stored, seen: dict[Fingerprint, GgufHeader | str]) -> ModelFile:
        """One that is changed while it is looked at is looked at again. Raises `_Gone` where it has been deleted."""
        assert self._store is not None
        read = partial(self._header, seen=seen)
        for _ in range(LOOKS):
            try:
                known = self._stored.get(stored.mark)
                if known is None:
                    return stored_model(self._store, stored, read)
                for path in (*known.parts, *([known.projector] if known.projector else [])):
                    read(path)
                return known
            except (ArrieroError, FileNotFoundError):
                now = self._store.find(stored.name)
                if now is None:
                    raise _Gone from None
                if now.mark == stored.mark and stored.mark not in self._stored:
                    raise
                self._stored.pop(stored.mark, None)  # its blobs have gone: what is said of that is said anew
                stored = now
        raise ModelBroken("it is changed all the time: try again")

    def _loose(self) -> Iterator[tuple[Path, str]]:
        """GGUF files that lie about, with the names that they have."""
        for path in self._files():
            found = _PART.match(path.stem)
            if found is None or found["number"] == "00001":
                yield path, model_id(found["name"] if found else path.stem)

    def _files(self) -> Iterator[Path]:
        if self._store is None:
            return
        root = self._store.root
        inner = sorted(entry for entry in _entries(root) if entry.name not in (BLOBS, MANIFESTS) and entry.is_dir())
        folders = [root, *inner]
        for folder in folders:
            yield from sorted(entry for entry in _entries(folder) if entry.suffix == ".gguf" and entry.is_file())

    def _model(self, path: Path, id: str, seen: dict[Fingerprint, GgufHeader | str]) -> ModelFile:
        header = self._header(path, seen)
        check_model(header)
        parts = tuple(_parts(path))
        headers = [header, *(self._header(part, seen) for part in parts[1:])]
        check_parts(headers)
        demo = path == self._demo
        mark = fingerprint(path)
        return ModelFile(
            id=id,
            parts=parts,
            fingerprint=mark,
            header=header,
            card=model_card(
                id,
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


def key(id: str) -> str:
    """Equal for all spellings of one model's name."""
    name = parse(id)
    return name.key if name is not None else id.strip().casefold()


def _id_at(path: Path) -> str:
    """The name of the model whose manifest lies there."""
    host, namespace, model, tag = path.parts[-4:]
    name = parse(f"{host}/{namespace}/{model}:{tag}")
    return name.shortest if name is not None else f"{model}:{tag}"


def _place(model: ModelFile) -> str:
    if model.id == DEMO_ID:
        return "the demo model"
    return "a model of the store" if model.stored is not None else model.path.name


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
