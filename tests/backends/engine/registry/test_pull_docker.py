"""Pulls from Debian's docker-registry, which serves its blobs itself, without a `Location`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from arriero.backends.engine.progress import Frame
from arriero.backends.engine.registry.download import Downloads
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.pull import pull
from arriero.backends.engine.registry.push import push
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.store import Store
from arriero.errors import RegistryError
from support.docker_registry import DockerRegistry, running_docker_registry
from support.store import leftovers, model, models

WEIGHTS = bytes(n * n % 251 for n in range(300_000))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_docker_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest_asyncio.fixture
async def registries() -> AsyncIterator[Registries]:
    made = Registries(user_agent="x")
    yield made
    await made.close()


async def test_what_was_pushed_comes_back(registry: DockerRegistry, registries: Registries, tmp_path: Path) -> None:
    here, there, name = Store(tmp_path / "here"), Store(tmp_path / "there"), registry.name("tiny")
    manifest = model(here, WEIGHTS, b"a license")
    here.write(name, manifest)
    await push(here, registries, name, insecure=True, report=lambda frame: None)
    frames: list[Frame] = []
    downloads = Downloads(sizes=Sizes(smallest=40_000))
    await pull(there, registries, downloads, name, insecure=True, report=frames.append)
    assert [frame.status for frame in frames if not frame.digest] == [
        "pulling manifest",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    stored = there.find(name)
    assert stored is not None and stored.path.read_bytes() == manifest
    assert there.blob(stored.manifest.layers[0].digest).read_bytes() == WEIGHTS
    assert (models(tmp_path / "there"), leftovers(tmp_path / "there")) == (models(tmp_path / "here"), [])


async def test_a_model_that_it_does_not_have(registry: DockerRegistry, registries: Registries, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"^pull model manifest: file does not exist$"):
        await pull(
            Store(tmp_path),
            registries,
            Downloads(),
            registry.name("none"),
            insecure=True,
            report=lambda frame: None,
        )


async def test_it_is_not_asked_without_insecure(
    registry: DockerRegistry, registries: Registries, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"a registry without TLS is asked only with `insecure: true`$"):
        await pull(
            Store(tmp_path),
            registries,
            Downloads(),
            registry.name("tiny"),
            insecure=False,
            report=lambda frame: None,
        )
