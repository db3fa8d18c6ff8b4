"""A pull in a process that is killed again and again: nothing is lost, nothing is wrong."""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

from arriero.backends.engine.registry.parts import read_states
from arriero.backends.engine.store.store import Store
from support.registry import ScriptedRegistry, digest_of
from support.store import leftovers, models

PULL = """
import asyncio, sys
from pathlib import Path
from arriero.backends.engine.registry.download import Downloads, Pace
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.pull import pull
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name

def report(frame):
    print(frame.status, frame.completed, sep=":", flush=True)

async def main():
    registries = Registries(user_agent="x")
    downloads = Downloads(sizes=Sizes(smallest=50_000), pace=Pace(few=2, most=2, save=0.01))
    name = Name("tiny", host=sys.argv[2])
    await pull(Store(Path(sys.argv[1])), registries, downloads, name, insecure=True, report=report)
    await registries.close()

asyncio.run(main())
"""

SIZE = 1_000_000
SECONDS = 60
POINTS = [0, 0, SIZE // 5, SIZE // 3, SIZE // 2, 4 * SIZE // 5, SIZE - 1, SIZE]


async def test_killed_at_any_point(tmp_path: Path) -> None:
    chance = random.Random(5)
    weights = chance.randbytes(SIZE)
    blob = tmp_path / "blobs" / digest_of(weights).replace(":", "-")
    saved = [0]
    async with ScriptedRegistry() as registry, asyncio.timeout(SECONDS):
        registry.hold("library/tiny:latest", weights, b"words")
        registry.fault("/blobs/", "GET", times=None, pace=0.005, piece=10_000)
        for point in POINTS:
            await _pull(tmp_path, registry, point, chance.uniform(0.0, 0.03))
            saved.append(_saved(blob, weights))
            assert blob.exists() or models(tmp_path) == {}
        await _pull(tmp_path, registry, None)
    assert saved == sorted(saved), "a pull lost what an earlier one had saved"
    assert saved[-1] > SIZE // 2
    stored = Store(tmp_path).find(registry.name("tiny"))
    assert stored is not None
    assert blob.read_bytes() == weights
    Store(tmp_path).tidy(time.time() + 7200)
    assert leftovers(tmp_path) == []
    assert models(tmp_path) != {}


def _saved(blob: Path, weights: bytes) -> int:
    """So many bytes are there, by the word of the state files, which has to be true."""
    if blob.exists():
        assert blob.read_bytes() == weights
        return len(weights)
    partial = blob.with_name(f"{blob.name}-partial")
    parts = read_states(partial, len(weights)) or []
    data = partial.read_bytes() if parts else b""
    for part in parts:
        assert data[part.offset : part.reached] == weights[part.offset : part.reached]
    return sum(part.completed for part in parts)


async def _pull(root: Path, registry: ScriptedRegistry, point: int | None, later: float = 0.0) -> None:
    """Run it; kill it `later` seconds after it has so many bytes, or let it end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PULL, str(root), registry.host, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while line := await process.stdout.readline():
            status, _, count = line.decode().rpartition(":")
            if point is not None and status != "pulling manifest" and int(count) >= point:
                await asyncio.sleep(later)
                break
        else:
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.stdout.read()
        await process.wait()
