"""Talk to a llama.cpp server over a pool, and see what processes there are."""

import asyncio
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine import child
from arriero.backends.engine.machine import Machine
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.models import Models
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Call, Head, Upstream
from arriero.backends.http.pool import Pool
from arriero.errors import BackendError

needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="the engine's package is not installed"
)
JSON = ((b"content-type", b"application/json"),)


async def post(pool: Pool, target: str, **fields: object) -> tuple[int, dict[str, Any]]:
    """Status and body of a JSON call."""
    head, body = await pool.fetch(Call("POST", target, JSON, json.dumps(fields).encode()))
    return head.status, json.loads(body)


async def get(pool: Pool, target: str) -> Any:
    """The body of a JSON answer."""
    _, body = await pool.fetch(Call("GET", target))
    return json.loads(body)


async def ask(pool: Pool, text: str, **fields: object) -> dict[str, Any]:
    """The message that a model answers with."""
    status, body = await post(pool, "/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)
    assert status == 200, body
    message: dict[str, Any] = body["choices"][0]["message"]
    return message


class Stream:
    """A receiver that keeps what comes. `error` is how it ended, `None` for well."""

    def __init__(self) -> None:
        self.data = b""
        self.error: BackendError | None = None
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.upstream: Upstream | None = None

    @classmethod
    async def endless(cls, pool: Pool, max_tokens: int = 100_000) -> "Stream":
        """A stream of random tokens that goes on until the context is full; answers when the first ones are there."""
        fields = {
            "messages": [{"role": "user", "content": "go"}],
            "stream": True,
            "max_tokens": max_tokens,
            "ignore_eos": True,
        }
        stream = cls()
        stream.upstream = await pool.open(
            Call("POST", "/v1/chat/completions", JSON, json.dumps(fields).encode()), stream
        )
        async with asyncio.timeout(10):
            await stream.begun.wait()
        return stream

    def on_head(self, head: Head) -> None:
        assert head.status == 200

    def on_body(self, data: bytes) -> None:
        self.data += data
        self.begun.set()

    def on_end(self) -> None:
        self.ended.set()

    def on_error(self, error: BackendError) -> None:
        self.error = error
        self.ended.set()


class FakeMachine(Machine):
    """A machine with as much memory, and as many faults, as a test wants."""

    def __init__(self, available: int | None = None, missing: str | None = None) -> None:
        super().__init__()
        self.available = available
        self.lacks = missing

    def missing(self) -> str | None:
        return self.lacks

    def cores(self) -> int:
        return 1

    def available_bytes(self) -> int | None:
        return self.available


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it holds. For what other processes do: no event of this loop tells of it."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def models_in(directory: Path) -> Mapping[str, ModelFile]:
    """The usable models of a directory, by name."""
    return Models(Store(directory)).scan().models


def engine_processes(parent: int | None = None) -> list[int]:
    """Process ids of engine children, of this process or of another. Zombies count: they have not been reaped."""
    wanted = os.getpid() if parent is None else parent
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # A zombie has no command line.
            ours = child.__file__.encode() in command or after_name[0] == "Z"
            if int(after_name[1]) == wanted and ours:
                found.append(int(entry.name))
    return found


def state(pid: int) -> str:
    """The kernel's letter for what a process does: `T` stopped, `Z` waiting to be reaped; empty if there is none."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether the process runs."""
    return state(pid) not in ("", "Z")
