"""What a list of thousands of models costs the gateway: over the running program, and the first one as well."""

import json
import statistics
import sys
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks import rig
from benchmarks.cases import Wrong
from benchmarks.processes import cpu_seconds, free_port, running

MODELS = 5_000
PATHS = ("/api/tags", "/v1/models")


@dataclass(frozen=True, slots=True)
class Listing:
    """CPU milliseconds of one list: the first one that is written, and those after it."""

    path: str
    first_ms: float
    again_ms: float


def run(folder: Path, starts: int, times: int) -> list[Listing]:
    """The medians over so many starts, with so many lists after each. Raises `Wrong` and `NotStarted`."""
    script, port = folder / "models.json", free_port()
    script.write_text(json.dumps({"models": [{"name": f"team{n % 97}/model-{n}:8b"} for n in range(MODELS)]}))
    server = [sys.executable, "-m", "arriero.backends.scripted", "--port", str(port), "--script", str(script)]
    # Asked once: a refresh in the midst of it would be measured as well.
    backends: list[dict[str, object]] = [
        {"name": "many", "kind": "ollama", "url": f"http://127.0.0.1:{port}", "check_interval": 3600}
    ]
    first: dict[str, list[float]] = {path: [] for path in PATHS}
    again: dict[str, list[float]] = {path: [] for path in PATHS}
    with running(server, log=folder / "models.log", port=port, cpu=rig.RIG_CPU):
        for start in range(starts):
            # Whoever comes first pays for the index of names too, so they take turns.
            order = PATHS if start % 2 == 0 else PATHS[::-1]
            with rig.serving(backends, log=folder / "arriero-models.log") as peer:
                _until_listed(peer)
                for path in order:
                    first[path].append(_cost_ms(peer, path, 1))
                    again[path].append(_cost_ms(peer, path, times))
    return [Listing(path, statistics.median(first[path]), statistics.median(again[path])) for path in PATHS]


def _until_listed(peer: rig.Peer, seconds: float = 15.0) -> None:
    """Returns when the backend has told its models; asks for nothing that would write a list."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _get(peer, "/readyz")[0] == 200:
            return
        time.sleep(0.05)
    raise Wrong("no list of models came from the backend")


def _get(peer: rig.Peer, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", peer.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _cost_ms(peer: rig.Peer, path: str, times: int) -> float:
    before = cpu_seconds(peer.pid)
    for _ in range(times):
        _, listed = _get(peer, path)
        if listed.count(b'"team') < MODELS:
            raise Wrong(f"{path} lists less than {MODELS} models: {listed[:300]!r}")
    return (cpu_seconds(peer.pid) - before) * 1e3 / times
