"""A model that can be loaded: its files, what they say of themselves, and what belongs to it besides.

Which models exist is `models`', how one of the store is put together `stored`'s business.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from arriero.backends.engine.card import header_info, model_detail
from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.backends.engine.store.manifest import Config
from arriero.backends.engine.store.store import Stored
from arriero.canonical.catalog import ModelCard, ModelDetail

Fingerprint = tuple[str, int, int]
"""Path, size in bytes, modification time in nanoseconds: the same three, the same model."""


class Layers(Struct, frozen=True, kw_only=True):
    """What the store keeps of a model besides its weights, for those who show it or make another one of it.

    `template` is Go's text, `None` where the GGUF file's own is used; `messages` are turns as clients send them.
    """

    config: Config = Config()
    template: str | None = None
    system: str | None = None
    messages: tuple[dict[str, object], ...] = ()
    licenses: tuple[str, ...] = ()


class ModelFile(Struct, frozen=True, kw_only=True):
    """A usable model. `parts` are all its files, the first one first; `fingerprint` is that of the file which it is
    known by: of a model of the store its manifest, else the first part.

    `sampling` are defaults in llama.cpp's words, `parameters` the same in Ollama's. `projector` and `adapters` are GGUF
    files that are loaded with it; `template` is a jinja text in place of the file's own, and `refused` says why a
    template cannot be used. `stored` and `layers` are there for a model of the store.
    """

    id: str
    parts: tuple[Path, ...]
    fingerprint: Fingerprint
    header: GgufHeader
    card: ModelCard
    sampling: dict[str, float] = {}
    parameters: dict[str, object] = {}
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    template: str | None = None
    refused: str | None = None
    stored: Stored | None = None
    layers: Layers = Layers()

    @property
    def path(self) -> Path:
        return self.parts[0]

    @property
    def size_bytes(self) -> int:
        return self.card.size_bytes or 0

    def unchanged(self) -> bool:
        """Whether the file on disk is still the one that was read."""
        try:
            return fingerprint(Path(self.fingerprint[0])) == self.fingerprint
        except OSError:
            return False

    def detail(self, *, verbose: bool) -> ModelDetail:
        """For `/api/show`; `verbose` reads the file again, with its long arrays."""
        header = read_header(self.path, whole_arrays=True) if verbose else self.header
        detail = model_detail(self.card, header, verbose=verbose, parameters=self.parameters)
        if self.stored is None:
            return detail
        layers, projector = self.layers, self.projector
        sees = None if projector is None else read_header(projector, whole_arrays=verbose)
        return msgspec.structs.replace(
            detail,
            template=layers.template,
            system=layers.system,
            messages=tuple((str(turn.get("role", "")), str(turn.get("content", ""))) for turn in layers.messages),
            licenses=layers.licenses,
            renderer=layers.config.renderer or None,
            parser=layers.config.parser or None,
            requires=layers.config.requires or None,
            projector=None if sees is None else header_info(sees, verbose=verbose),
        )


def fingerprint(path: Path) -> Fingerprint:
    """What a file is known by. Raises `OSError`."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
