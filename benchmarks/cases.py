"""What is measured: the requests, the streams, and how a number comes out of each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from json import dumps, loads
from typing import Any

from benchmarks import chaos, rig
from benchmarks.chaos import Plan
from benchmarks.processes import cpu_seconds, rss_mib
from benchmarks.rig import Load, Peer

OPENAI, OLLAMA = "/v1/chat/completions", "/api/chat"
DEMO_MODEL = "arriero-demo"


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `goal` is a ratio to nginx on the same path in the same run; only arriero reads `model`."""

    name: str
    path: str
    model: str
    stream: bool
    goal: float


CASES = (
    Case("request, relayed (OpenAI to OpenAI)", OPENAI, "gpt-bench", False, 4.0),
    Case("request, relayed (Ollama to Ollama)", OLLAMA, "llama-bench", False, 4.0),
    Case("request, translated (Ollama to OpenAI)", OLLAMA, "gpt-bench", False, 4.0),
    Case("lone chunk, relayed (OpenAI to OpenAI)", OPENAI, "gpt-bench", True, 2.5),
    Case("lone chunk, relayed (Ollama to Ollama)", OLLAMA, "llama-bench", True, 2.5),
    Case("lone chunk, translated (Ollama to OpenAI)", OLLAMA, "gpt-bench", True, 2.5),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. Streams send a chunk each `pace_us`; all loops end by count or by `limit_seconds`.

    `decisions` of each kind are made, `lists` of thousands of models are read after each start, the engine says so many
    `tokens`, blobs have so many MiB; none of them, and no `chaos`, leave their rows out.
    """

    rounds: int
    requests: int
    connections: int
    streams: int
    chunks: int
    pace_us: int
    starts: int
    open_streams: int
    limit_seconds: float
    decisions: int = 0
    chaos: Plan | None = None
    lists: int = 0
    tokens: int = 0
    blob_mib: int = 0


FULL = Effort(3, 30_000, 16, 50, 600, 5_000, 5, 1_000, 30.0, 1_600, chaos.FULL, 20, 2_000, 2_048)
QUICK = Effort(1, 4_000, 16, 50, 200, 5_000, 1, 200, 10.0, 400, chaos.SHORT, 5, 500, 256)
TINY = Effort(1, 50, 4, 5, 10, 5_000, 0, 0, 5.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds for one request or one chunk, with what the load generator saw."""

    us: float
    load: Load


class Wrong(RuntimeError):
    """A peer did not answer what it was asked, so its numbers mean nothing."""


def body(case: Case, effort: Effort) -> dict[str, object]:
    """The request of a case. The stream's length and pace stand in the prompt, where every translation leaves them."""
    prompt = f"chunks={effort.chunks} pace={effort.pace_us} " if case.stream else "Why is the sky blue? "
    messages = [
        {"role": "system", "content": "You are a helpful assistant that answers in one sentence."},
        {"role": "user", "content": prompt + "Explain it to a child of five years, please. " * 4},
    ]
    return {"model": case.model, "messages": messages, "stream": case.stream}


def measure(case: Case, peer: Peer, effort: Effort) -> Cost:
    """What one request, or one chunk of a stream, costs a peer. Raises `Wrong` where answers are not as asked."""
    count = effort.streams if case.stream else effort.requests
    connections = effort.streams if case.stream else effort.connections
    if not case.stream:
        _run(case, peer, effort, connections, max(connections, effort.requests // 10))  # warm connections and caches
    before = cpu_seconds(peer.pid)
    load = _run(case, peer, effort, connections, count)
    spent = cpu_seconds(peer.pid) - before
    units = load.chunks if case.stream else load.answers
    if load.refused or load.broken or not units or (case.stream and units < count * effort.chunks * 0.99):
        raise Wrong(f"{peer.name}, {case.name}: {load}")
    return Cost(spent * 1e6 / units, load)


def _run(case: Case, peer: Peer, effort: Effort, connections: int, count: int) -> Load:
    return rig.load(
        peer.port,
        case.path,
        body(case, effort),
        connections=connections,
        requests=count,
        seconds=effort.limit_seconds,
    )


def until_ready(peer: Peer, seconds: float = 15.0) -> None:
    """Returns when every model of the cases is answered; raises `Wrong` otherwise."""
    deadline = time.monotonic() + seconds
    waiting = {(case.path, case.model) for case in CASES}
    last = ""
    while waiting and time.monotonic() < deadline:
        for path, model in sorted(waiting):
            request = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": False}
            status, answer = post(peer.port, path, request)
            last = f"{path} {model}: {status} {answer!r:.300}"
            if status == 200:
                waiting.discard((path, model))
        if waiting:
            time.sleep(0.05)
    if waiting:
        raise Wrong(f"{peer.name} does not answer {last}")


def post(port: int, path: str, request: Mapping[str, object], seconds: float = 10.0) -> tuple[int, Any]:
    """Status and JSON of one answer; status 0 where there was none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", path, dumps(request), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, loads(response.read() or b"null")
    except (OSError, HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()


def start_seconds(limit_seconds: float = 30.0) -> tuple[float, float]:
    """Seconds from the start of the process to its first whole answer of the built-in model, and its memory then.

    The memory is that of the gateway and of the engine's child, in MiB. Raises `Wrong`, `NotStarted`.
    """
    started = time.monotonic()
    backends: list[dict[str, object]] = [
        {"name": "local", "kind": "engine", "models_dir": str(rig.RUN / "models"), "demo_model": True}
    ]
    request = {"model": DEMO_MODEL, "messages": [{"role": "user", "content": "Who are you?"}], "stream": False}
    with rig.serving(backends, log=rig.RUN / "arriero-engine.log") as peer:
        while time.monotonic() - started < limit_seconds:
            status, answer = post(peer.port, OLLAMA, request)
            if status == 200:
                return time.monotonic() - started, rss_mib(peer.pid)
            time.sleep(0.01)
        raise Wrong(f"the built-in model does not answer: {status} {answer!r:.300}")


def open_streams_mib(peer: Peer, effort: Effort) -> float:
    """How much more memory a peer holds with `open_streams` translated streams open, scaled to 1,000, in MiB."""
    case = CASES[-1]
    pace_us = 200_000
    slow = Effort(1, 0, 0, effort.open_streams, 15, pace_us, 0, 0, 10.0)
    before = rss_mib(peer.pid)
    highest = before
    with rig.background_load(
        peer.port, case.path, body(case, slow), effort.open_streams, slow.limit_seconds
    ) as process:
        while process.poll() is None:
            highest = max(highest, rss_mib(peer.pid))
            time.sleep(0.05)
    return (highest - before) * 1_000 / effort.open_streams
