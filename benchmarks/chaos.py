"""Three backends, many clients, and somebody who kills one backend after another: what do the clients see?

Everything is a process of its own: `arriero serve` in front of three `arriero scripted`, one of them reached by its
OpenAI API alone. A killed one (SIGKILL) comes back on the same port. Clients send one request after another, in both
dialects, streamed and whole. What they see is the measurement; how soon a dead backend is left alone is read from
arriero's log, how soon a revived one is asked again from what has come in there.
"""

import asyncio
import json
import os
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.asking import Connection, Got, Question, Verdict, verdict
from benchmarks.processes import NotStarted, free_port

CHECK_SECONDS = 1.0
"""How often arriero asks each backend whether it is there."""

START_SECONDS = 20.0
RETURN_SECONDS = 10.0
"""How long a revived backend is watched for its first request."""

HOSTS = ("north", "south", "openai")
_INFERENCE = ("/api/chat", "/api/generate", "/api/embed", "/v1/chat/completions", "/v1/embeddings")

_SHORT = " ".join(f"word{number}" for number in range(10))
_LONG = " ".join(f"word{number}" for number in range(25))

MODELS: Mapping[str, tuple[Mapping[str, object], Sequence[str]]] = {
    "swift:1b": ({"say": _SHORT, "delay_ms": {"head": 50, "piece": 100}}, HOSTS),
    "steady:4b": ({"say": _LONG, "delay_ms": {"head": 200, "piece": 110}}, HOSTS),
    "pair:7b": ({"say": _LONG, "delay_ms": {"head": 100, "piece": 60}}, HOSTS[:2]),
    "whole:1b": ({"say": _SHORT, "delay_ms": 900}, HOSTS),
    "drip:1b": ({"say": _SHORT, "fault": "slow", "delay_ms": {"piece": 2}}, HOSTS),
    "embed:1b": ({"delay_ms": 200}, HOSTS),
}
"""What each model plays, and who has it. `drip` answers byte by byte, so that a whole answer can be cut within."""

QUESTIONS = (
    Question("/api/chat", "swift:1b", stream=True, text=_SHORT),
    Question("/v1/chat/completions", "swift:1b", stream=True, text=_SHORT),
    Question("/api/generate", "steady:4b", stream=True, text=_LONG),
    Question("/v1/chat/completions", "steady:4b", stream=True, text=_LONG),
    Question("/api/chat", "pair:7b", stream=True, text=_LONG),
    Question("/v1/chat/completions", "pair:7b", stream=True, text=_LONG),
    Question("/api/chat", "whole:1b", text=_SHORT),
    Question("/v1/chat/completions", "whole:1b", text=_SHORT),
    Question("/api/chat", "drip:1b", text=_SHORT),
    Question("/v1/chat/completions", "drip:1b", text=_SHORT),
    Question("/api/embed", "embed:1b", inputs=3),
    Question("/v1/embeddings", "embed:1b", inputs=3),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`clients` for `seconds`; every `every` seconds the next backend is killed, and started again `down` later.

    Nobody is killed before the one before is back: a model that two have is always somewhere.
    """

    seconds: float
    clients: int
    every: float
    down: float


FULL = Plan(seconds=60.0, clients=200, every=5.0, down=2.0)
SHORT = Plan(seconds=12.0, clients=60, every=3.0, down=1.0)


@dataclass(slots=True)
class Kill:
    """One backend's death and return, in unix time. `asked_at`: its first request after that, `None`: none was seen.

    `refused_at`: when arriero noted a connection that this backend refused while it was away.
    """

    host: str
    killed_at: float
    listening_at: float = 0.0
    asked_at: float | None = None
    refused_at: list[float] = field(default_factory=list)

    @property
    def back_seconds(self) -> float | None:
        """From its return to its first request."""
        return None if self.asked_at is None else max(0.0, self.asked_at - self.listening_at)

    @property
    def left_alone_seconds(self) -> float:
        """From the first refused connection to the last."""
        return max(self.refused_at) - min(self.refused_at) if self.refused_at else 0.0


@dataclass(slots=True)
class Report:
    """What the clients saw, and what became of each killed backend. `moved`: whole answers that another backend gave
    than the one asked first. `left`: places still taken at the end. `odd` are requests that should not have ended as
    they did, in words.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    moved: int = 0
    left: int = 0
    odd: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """All that were sent."""
        return self.verdicts.total()

    def note(self, question: Question, got: Got) -> None:
        """One more answer."""
        found = verdict(question, got)
        self.verdicts[found] += 1
        self.moved += found is Verdict.COMPLETE and got.attempts > 1
        if found not in (Verdict.COMPLETE, Verdict.TOLD):
            tail = got.body[-300:].decode("utf-8", "replace")
            self.odd.append(
                f"{found.value} at {got.asked_at:.3f}: {question.path} {question.model}: {got.status} {tail}"
            )

    @property
    def back_seconds(self) -> float | None:
        """The longest time that a revived backend waited for its first request; `None` where one got none."""
        times = [kill.back_seconds for kill in self.kills]
        known = [seconds for seconds in times if seconds is not None]
        return max(known, default=0.0) if len(known) == len(times) else None

    @property
    def left_alone_seconds(self) -> float:
        """The longest time between the first and the last connection that a dead backend refused."""
        return max((kill.left_alone_seconds for kill in self.kills), default=0.0)


# ---- the processes -------------------------------------------------------------------------------------------------


class Host:
    """A scripted backend that dies and comes back."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._script = folder / f"{name}.json"
        self._script.write_text(json.dumps(script(name)))
        self._process: Process | None = None

    @property
    def backend(self) -> dict[str, object]:
        """Its part of arriero's configuration."""
        kind, root = ("openai", "/v1") if self.name == "openai" else ("ollama", "")
        checks = {"check_interval": CHECK_SECONDS, "check_timeout": 2}
        return {"name": self.name, "kind": kind, "url": f"http://127.0.0.1:{self.port}{root}", **checks}

    async def start(self) -> float:
        """Returns when it listens, with the unix time of that. Raises `NotStarted`."""
        command = ["scripted", "--port", str(self.port), "--script", str(self._script), "--name", self.name]
        self._process = await _arriero(self._folder, *command, log=f"{self.name}.log")
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await self._process.stdout.readline()
        if not line.startswith(b"http://"):
            raise NotStarted(f"{self.name} does not listen: {line!r}")
        return time.time()

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            await _end(self._process)
            self._process = None

    async def first_asked(self, seconds: float = RETURN_SECONDS) -> float | None:
        """The unix time at which a request was seen to have come in since its start; `None` if none comes."""
        connection = Connection(self.port, seconds)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                seen = await connection.get("/_scripted/seen?last=0")
                if seen is not None and any(path in seen["paths"] for path in _INFERENCE):
                    return time.time()
                await asyncio.sleep(0.02)
            return None
        finally:
            connection.close()


def script(name: str) -> dict[str, object]:
    """What a host plays."""
    own = {model: play for model, (play, hosts) in MODELS.items() if name in hosts}
    return {
        "models": [{"name": model} for model in own],
        "rules": [{"when": {"model": model}, "play": play} for model, play in own.items()],
    }


async def _arriero(folder: Path, *arguments: str, log: str) -> Process:
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    with (folder / log).open("ab") as output:
        command = [sys.executable, "-m", "arriero", *arguments]
        return await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=output, env=env, cwd=folder, start_new_session=True
        )


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _gateway(folder: Path, hosts: Sequence[Host], plan: Plan) -> tuple[Process, int]:
    """arriero itself, when it knows that all hosts are well."""
    port = free_port()
    # Together they have room for all clients, and two of them have not: some have to wait while one is away.
    most = max(1, plan.clients * 9 // 20)
    config = {
        "server": {"host": "127.0.0.1", "port": port},
        "backends": [{**host.backend, "max_concurrency": most} for host in hosts],
        "logging": {"format": "json"},
    }
    (folder / "arriero.yaml").write_text(json.dumps(config))  # JSON is YAML
    process = await _arriero(folder, "serve", "--config", str(folder / "arriero.yaml"), log="arriero.log")
    connection = Connection(port, 5.0)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.returncode is None:
        told = await connection.get("/internal/status/endpoints")
        if told is not None and all(endpoint["status"] == "healthy" for endpoint in told["endpoints"]):
            connection.close()
            return process, port
        await asyncio.sleep(0.05)
    connection.close()
    await _end(process)
    raise NotStarted(f"arriero is not ready:\n{(folder / 'arriero.log').read_text()[-2000:]}")


# ---- the run -------------------------------------------------------------------------------------------------------


async def run(folder: Path, plan: Plan) -> Report:
    """The whole play; logs stay in `folder`. Raises `NotStarted`."""
    report = Report()
    async with AsyncExitStack() as stack:
        hosts = [Host(name, folder) for name in HOSTS]
        for host in hosts:
            stack.push_async_callback(host.kill)
        await asyncio.gather(*(host.start() for host in hosts))
        gateway, port = await _gateway(folder, hosts, plan)
        stack.push_async_callback(_end, gateway)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(plan.clients):
                group.create_task(_client(port, number, over, report))
            await _kill_in_turn(hosts, plan, report)
            over.set()
        report.left = await _left(port)
    note_refused(report.kills, (folder / "arriero.log").read_text())
    return report


async def _client(port: int, number: int, over: asyncio.Event, report: Report) -> None:
    connection = Connection(port)
    choose = random.Random(number)
    await asyncio.sleep(choose.random())
    while not over.is_set():
        question = choose.choice(QUESTIONS)
        report.note(question, await connection.ask("POST", question.path, question.body))
    connection.close()


async def _kill_in_turn(hosts: Sequence[Host], plan: Plan, report: Report) -> None:
    """Returns when the time is over, and the last one killed is back."""
    begun = time.monotonic()
    for number in range(1, ceil(plan.seconds / plan.every)):
        await asyncio.sleep(begun + number * plan.every - time.monotonic())
        host = hosts[(number - 1) % len(hosts)]
        kill = Kill(host.name, time.time())
        report.kills.append(kill)
        await host.kill()
        await asyncio.sleep(plan.down)
        kill.listening_at = await host.start()
        kill.asked_at = await host.first_asked()
    await asyncio.sleep(begun + plan.seconds - time.monotonic())


async def _left(port: int, seconds: float = 5.0) -> int:
    """Places that arriero still holds taken when nobody asks any more, and requests that wait there."""
    connection = Connection(port, seconds)
    end = time.monotonic() + seconds
    try:
        while True:
            system = (await connection.get("/internal/status"))["system"]
            left: int = system["active_connections"] + system["queued_requests"]
            if not left or time.monotonic() > end:
                return left
            await asyncio.sleep(0.05)
    finally:
        connection.close()


def note_refused(kills: Sequence[Kill], log: str) -> None:
    """Every attempt on a dead backend that arriero's log (JSON lines) tells of, to the death that it belongs to."""
    for at, backend in refusals(log):
        for kill in kills:
            if kill.host == backend and kill.killed_at <= at <= kill.listening_at:
                kill.refused_at.append(at)


def refusals(log: str) -> Iterator[tuple[float, str]]:
    """(unix time, backend) of each attempt that found nobody listening."""
    for line in log.splitlines():
        found: Any = {}
        with suppress(ValueError):
            found = json.loads(line)
        if found.get("event") in ("attempt failed", "exchange failed") and "refused" in found.get("error", ""):
            yield datetime.fromisoformat(found["timestamp"]).timestamp(), found.get("backend", "")
