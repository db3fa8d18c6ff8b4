import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from arriero import compose
from arriero.backends.engine.store.store import Store
from arriero.config import Config, EngineConfig, ScriptedConfig
from arriero.holdings import Holdings, holdings_of, home_of, lines_of
from support.engine import needs_engine
from support.gguf import random_llama, truncated
from support.store import model, name

ROOT = Path("/home/ana/.arriero/models")
HOME = Path("/home/ana")


def lines(*stores: Holdings, most: int | None = 3) -> list[str]:
    return lines_of(stores, HOME, beside_ollama=False, most=most)


# ---- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "line"),
    [
        (Holdings(ROOT, 3, 4_100_000_000), "Store ~/.arriero/models: 3 models, 4.1 GB"),
        (Holdings(ROOT, 1, 131_000), "Store ~/.arriero/models: 1 model, 131 KB"),
        (Holdings(ROOT), "Store ~/.arriero/models: empty; to fill it:  arriero pull NAME"),
        (Holdings(ROOT, read_only=True), "Store ~/.arriero/models: empty, read-only"),
        (Holdings(Path("/srv/m"), 2, 0, read_only=True), "Store /srv/m: 2 models, 0 B, read-only"),
        (Holdings(Path("/srv/\x1b[2J")), "Store /srv/\ufffd[2J: empty; to fill it:  arriero pull NAME"),
    ],
)
def test_a_store_is_a_line(store: Holdings, line: str) -> None:
    assert lines(store) == [line]


def test_a_pull_names_the_address_where_it_would_not_find_it() -> None:
    assert lines_of([Holdings(ROOT)], HOME, beside_ollama=False, host="127.0.0.1:8080") == [
        "Store ~/.arriero/models: empty; to fill it:  arriero pull NAME --host 127.0.0.1:8080"
    ]


BROKEN = {"b:1": "not a GGUF file", "a\x07:1": "x" * 500, "c:1": "", "d:1": "gone"}


def test_what_is_broken_is_named_with_the_reason() -> None:
    assert lines(Holdings(ROOT, broken=BROKEN)) == [
        "Store ~/.arriero/models: empty",
        f"  cannot be used: a\ufffd:1: {'x' * 160}...",
        "  cannot be used: b:1: not a GGUF file",
        "  cannot be used: c:1: ",
        "  and 1 more:  arriero check",
    ]
    assert lines(Holdings(ROOT, broken=BROKEN), most=None)[-1] == "  cannot be used: d:1: gone"


def test_two_engines_with_one_store_have_one_line() -> None:
    other = Holdings(Path("/srv/m"), 1, 5)
    assert lines(Holdings(ROOT, 1, 5), other, Holdings(ROOT, 1, 5)) == [
        "Store ~/.arriero/models: 1 model, 5 B",
        "Store /srv/m: 1 model, 5 B",
    ]


# ---- Ollama's -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which Ollama has kept models."""
    (tmp_path / ".ollama" / "models" / "manifests" / "registry.ollama.ai").mkdir(parents=True)
    return tmp_path


def of_ollama(home: Path | None, *roots: Path, beside_ollama: bool = False) -> list[str]:
    """The lines but for those of the stores."""
    return lines_of([Holdings(root, 1) for root in roots], home, beside_ollama=beside_ollama)[len(roots) :]


def test_how_to_serve_what_ollama_keeps(home: Path) -> None:
    assert of_ollama(home, ROOT) == [
        "Ollama's models in ~/.ollama/models are not served; to do so:  "
        "ARRIERO_READ_ONLY=1 arriero serve --models-dir ~/.ollama/models"
    ]


def test_nothing_of_ollama_where_it_is_served_or_not_wanted(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home / ".ollama" / "models")
    assert of_ollama(home, ROOT, home / ".ollama" / "models") == []
    assert of_ollama(home, link) == []
    assert of_ollama(home, ROOT, beside_ollama=True) == []
    assert of_ollama(home) == []
    assert of_ollama(None, ROOT) == []
    assert of_ollama(tmp_path / "elsewhere", ROOT) == []
    (home / ".ollama" / "models" / "manifests" / "registry.ollama.ai").rmdir()
    assert of_ollama(home, ROOT) == []


@pytest.mark.parametrize(("environ", "home"), [({"HOME": "/home/ana"}, HOME), ({"HOME": ""}, None), ({}, None)])
def test_the_home(environ: Mapping[str, str], home: Path | None) -> None:
    assert home_of(environ) == home


# ---- of a backend ---------------------------------------------------------------------------------------------------


def looked(root: Path, **settings: bool) -> Holdings | None:
    """What is known of a store once its models have been listed."""

    async def look() -> Holdings | None:
        backend = compose.build_backend(Config(), EngineConfig(name="local", models_dir=root, **settings))
        try:
            await backend.list_models()
            return holdings_of(backend)
        finally:
            await backend.close()

    return asyncio.run(look())


@needs_engine
def test_models_share_files_and_the_demo_model_is_none_of_the_store(tmp_path: Path) -> None:
    root = tmp_path / "models"
    assert looked(root) == Holdings(root)
    store = Store(root)
    store.write(name("tiny"), model(store, random_llama(tmp_path / "a.gguf").read_bytes(), b"a license"))
    store.copy(name("tiny"), name("copy"))
    loose = random_llama(root / "loose.gguf")
    truncated(root / "cut.gguf")
    found = looked(root, read_only=True)
    blobs = sum(path.stat().st_size for path in (root / "blobs").iterdir())
    assert found is not None
    assert found._replace(broken={}) == Holdings(root, 3, blobs + loose.stat().st_size, read_only=True)
    assert list(found.broken) == ["cut:latest"]


def test_other_backends_have_no_store() -> None:
    async def look() -> Holdings | None:
        backend = compose.build_backend(Config(), ScriptedConfig(name="plays"))
        try:
            return holdings_of(backend)
        finally:
            await backend.close()

    assert asyncio.run(look()) is None
