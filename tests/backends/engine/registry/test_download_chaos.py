"""Downloads from a registry that fails at random: the blob is right in the end, and cancelling loses nothing."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.registry.download import Downloads, Pace
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.manifest import MODEL, Layer
from arriero.backends.engine.store.store import Store
from support.registry import ScriptedRegistry, digest_of


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(800_000)
    layer = Layer(MODEL, digest_of(data), len(data))
    store, registries = Store(tmp_path), Registries(user_agent="x")
    async with ScriptedRegistry() as registry, asyncio.timeout(30):
        registry.hold("library/tiny:latest", data)
        registry.direct = chance.choice([None, 302, 307])
        for _ in range(12):
            fault: dict[str, Any] = chance.choice(
                [
                    {"cut": chance.randrange(60_000)},
                    {"stall": chance.randrange(60_000)},
                    {"status": chance.choice([408, 416, 429, 500, 503])},
                    {"pace": 0.001, "piece": 5000},
                    {"endless": True},
                    {"lose": True},
                ]
            )
            registry.fault(digest_of(data), "GET", after=chance.randrange(12), **fault)
        session = registries.session(registry.name("tiny"), insecure=True)
        registry.fault(digest_of(data), "GET", times=None, pace=0.003, piece=10_000)
        told: list[int] = []
        cancels = 0
        while True:
            downloads = Downloads(
                sizes=Sizes(smallest=chance.choice([30_000, 100_000, 800_000])),
                pace=Pace(few=2, most=2, tries=20, stall=0.05, save=0.01, look=0.02),
                sleep=no_pause,
            )
            fetching = asyncio.create_task(downloads.fetch(store, session, layer, told.append))
            done, _ = await asyncio.wait({fetching}, timeout=chance.uniform(0.0, 0.04))
            if done:
                break
            fetching.cancel()
            await asyncio.wait({fetching})
            if not fetching.cancelled():
                break  # It had just ended.
            cancels += 1
    assert (fetching.exception(), cancels > 0) == (None, True)
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == [digest_of(data).replace(":", "-")]
    assert store.blob(layer.digest).read_bytes() == data
    await registries.close()
