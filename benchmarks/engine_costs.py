"""What the embedded engine costs: the gateway's share of a token, a model's start, and the header of a large file."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from arriero.backends.engine.gguf import read_header
from arriero.backends.engine.models import DEMO_PATH
from arriero.backends.engine.process import Child, ChildSettings
from arriero.errors import EngineError
from benchmarks import models, rig
from benchmarks.cases import OLLAMA, OPENAI, Wrong
from benchmarks.processes import own_cpu_seconds

STREAMS = 4
"""At once: what a token costs matters where there is more than one."""

ASKED = {"messages": [{"role": "user", "content": "Go on."}], "stream": True}
BODIES = {
    OLLAMA: lambda tokens: ASKED | {"model": "endless", "options": {"num_predict": tokens, "num_ctx": 4096}},
    OPENAI: lambda tokens: ASKED | {"model": "endless", "max_tokens": tokens},
}
"""Path -> the request for a stream of so many tokens."""


@dataclass(frozen=True, slots=True)
class Token:
    """CPU microseconds of the gateway's own process for a token, and how fast they came."""

    path: str
    us: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Header:
    """What reading a header takes: milliseconds, and MiB at the highest over what the process had."""

    first_ms: float
    ms: float
    mib: float


def tokens(folder: Path, count: int, rounds: int) -> list[Token]:
    """The medians of so many streams through each API, of `count` tokens in all. Raises `Wrong` and `NotStarted`."""
    shelf = folder / "endless"
    shelf.mkdir()
    models.endless(shelf / "endless.gguf")
    backends: list[dict[str, object]] = [
        {"name": "local", "kind": "engine", "models_dir": str(shelf), "demo_model": False, "num_parallel": STREAMS}
    ]
    found: dict[str, list[Token]] = {path: [] for path in BODIES}
    with rig.serving(backends, log=folder / "arriero-tokens.log") as peer:
        for path in BODIES:
            _streams(peer, path, 20, STREAMS)  # loads the model
        for _ in range(rounds):
            for path in BODIES:
                found[path].append(_streams(peer, path, count // STREAMS, STREAMS))
    return [
        Token(path, statistics.median(one.us for one in all_), statistics.median(one.per_second for one in all_))
        for path, all_ in found.items()
    ]


def ready_seconds(starts: int) -> float:
    """From the spawn of the built-in model's process until it says that it is ready; the median. Raises `Wrong`."""

    async def one() -> float:
        settings = ChildSettings(model=str(DEMO_PATH), alias="demo", context_length=512, parallel=2)
        begun = time.perf_counter()
        child = await Child.start(settings, environment=os.environ)
        taken = time.perf_counter() - begun
        await child.stop()
        return taken

    async def several() -> list[float]:
        return [await one() for _ in range(starts)]

    try:
        return statistics.median(asyncio.run(several()))
    except EngineError as error:
        raise Wrong(f"the built-in model does not start: {error.message}") from error


def header(folder: Path, times: int, *, whole_arrays: bool = False) -> Header:
    """The header of a file with 128,000 tokens and 280,000 merges, read in a process of its own."""
    path = models.large(folder / "large.gguf")
    try:
        command = [sys.executable, "-m", "benchmarks.engine_costs", str(path), str(times), str(int(whole_arrays))]
        done = subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=Path(__file__).parents[1])
        return Header(**json.loads(done.stdout))
    finally:
        path.unlink()


def _streams(peer: rig.Peer, path: str, count: int, streams: int) -> Token:
    """So many streams of `count` tokens at once."""
    with ThreadPoolExecutor(streams) as pool:
        before, begun = own_cpu_seconds(peer.pid), time.perf_counter()
        told = list(pool.map(lambda _: _stream(peer, path, count), range(streams)))
        spent, taken = own_cpu_seconds(peer.pid) - before, time.perf_counter() - begun
    return Token(path, spent * 1e6 / sum(told), sum(told) / taken)


def _stream(peer: rig.Peer, path: str, count: int) -> int:
    """The tokens that came."""
    connection = HTTPConnection("127.0.0.1", peer.port, timeout=120)
    try:
        connection.request("POST", path, json.dumps(BODIES[path](count)), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        heard = answer.read()
    finally:
        connection.close()
    said = heard.count(b'" word')
    # A long answer may end some tokens early, where a text was still waiting for its next byte.
    if answer.status != 200 or said < count - 5:
        raise Wrong(f"{path} does not answer {count} tokens: {answer.status} {heard[-300:]!r}")
    return said


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main(path: str, times: str, whole_arrays: str) -> None:
    """The numbers of `header` as JSON."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest counts from here
    before = _peak_kib()
    taken: list[float] = []
    for _ in range(int(times)):
        begun = time.perf_counter()
        read_header(Path(path), whole_arrays=bool(int(whole_arrays)))
        taken.append((time.perf_counter() - begun) * 1e3)
    found = Header(taken[0], statistics.median(taken), (_peak_kib() - before) / 1024)
    print(json.dumps({"first_ms": found.first_ms, "ms": found.ms, "mib": found.mib}))


if __name__ == "__main__":
    main(*sys.argv[1:])
