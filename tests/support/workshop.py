"""A place where models are created, for tests: a store, what lies beside it, and what was told."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from arriero.backends.engine.library.create import create
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.models import DEMO_PATH, Models
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.manifest import (
    Config,
    Manifest,
    read_config,
)
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import (
    ArrieroError,
    RegistryError,
)
from support.store import check_store, models, name

NOW: Final = 1_700_000_000.5


class Workshop:
    """A store, what is known beside it, and the frames of what was made last."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        self.models = Models(self.store, demo=DEMO_PATH)
        self.frames: list[Frame] = []
        self.on_fetch: Callable[[Name, Report], None] | None = None

    async def make(self, model: str = "tiny", /, **fields: Any) -> list[str]:
        """Create a model; what the frames say."""
        body = json.dumps({"model": model, **fields}).encode()
        self.frames = []
        await create(body, self.store, report=self.frames.append, find=self.find, fetch=self.fetch, now=lambda: NOW)
        check_store(self.store.root)
        return [frame.status for frame in self.frames]

    async def fails(self, **fields: Any) -> tuple[ArrieroError, list[str]]:
        """Fail to create a model; the error, and what the frames had said. The store is as it was."""
        before = models(self.store.root)
        with pytest.raises(ArrieroError) as raised:
            await self.make(**fields)
        assert models(self.store.root) == before
        check_store(self.store.root)
        return raised.value, [frame.status for frame in self.frames]

    async def find(self, text: str) -> ModelFile | None:
        return (await asyncio.to_thread(self.models.scan)).find(text)

    async def fetch(self, name: Name, report: Report) -> None:
        if self.on_fetch is None:
            raise RegistryError("pull model manifest: file does not exist")
        self.on_fetch(name, report)

    def upload(self, path: Path) -> str:
        return self.store.put(path.read_bytes())[0]

    def manifest(self, model: str = "tiny") -> Manifest:
        found = self.store.find(name(model))
        assert found is not None
        return found.manifest

    def config(self, model: str = "tiny") -> Config:
        return read_config(self.store.read(self.manifest(model).config))

    def texts(self, model: str = "tiny") -> list[tuple[str, str]]:
        """The small layers: the last word of the media type, and the content."""
        return [
            (layer.media_type.removeprefix(media.MEDIA), self.store.read(layer).decode())
            for layer in self.manifest(model).layers
            if layer.media_type not in (media.MODEL, media.ADAPTER, media.PROJECTOR)
        ]

    def kinds(self, model: str = "tiny") -> list[str]:
        return [layer.media_type.removeprefix(media.MEDIA) for layer in self.manifest(model).layers]
