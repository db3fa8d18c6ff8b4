"""What the engine's tests share: models, a short directory for sockets, engines that are closed and leave nothing."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from arriero.backends.engine.engine import Engine
from arriero.backends.engine.store.store import Store
from support.engine import FakeMachine, engine_processes
from support.gguf import QWEN_TEMPLATE, random_llama, scripted

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound models, built once: `random` (goes on until its 8,000 tokens are full), `hello`, `embed`."""
    shelf = tmp_path_factory.mktemp("shelf")
    random_llama(shelf / "random.gguf", context_length=8192)
    random_llama(shelf / "embed.gguf", pooling="mean")
    scripted(shelf / "hello.gguf", "Hello there, traveller.", template=QWEN_TEMPLATE)
    return shelf


@pytest.fixture
def models(shelf: Path, tmp_path: Path) -> Path:
    """A models directory of the test's own, with the sound models in it."""
    directory = tmp_path / "models"
    shutil.copytree(shelf, directory)
    return directory


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory with a path short enough for sockets, which has to be empty again at the end."""
    directory = Path(tempfile.mkdtemp(prefix="ar-"))
    yield directory
    left = list(directory.rglob("*"))
    shutil.rmtree(directory)
    assert left == []


@pytest_asyncio.fixture
async def make_engine(models: Path, sockets: Path) -> AsyncIterator[MakeEngine]:
    """Builds engines over `models`; at the end they are closed, and no child may be left."""
    made: list[Engine] = []

    def make(**settings: Any) -> Engine:
        settings = {"demo_model": False, "threads": 1, "machine": FakeMachine(), **settings}
        engine = Engine("local", Store(models), environment={"XDG_RUNTIME_DIR": str(sockets)}, **settings)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.close()
    assert engine_processes() == []
