"""The contract read as rows: a request as people write it down, and what has to come back; and a registry to ask."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from support.program import Program
from support.registry import ScriptedRegistry
from support.store import digest

JSON: Final = "application/json; charset=utf-8"
INSTEAD_OF_FRAMES: Final = "application/json"
FRAMES: Final = "application/x-ndjson"
NOTHING: Final = None

REGISTRY_SECONDS = 10.0


def asked(running: Program, request: str, body: object = None, **headers: str) -> tuple[int, str | None, list[Any]]:
    """Status, content type and lines of the answer to `POST /api/copy`; lines of JSON are read, others are text."""
    method, _, path = request.partition(" ")
    status, fields, answer = running.ask(method, path, body, headers)
    lines = [_line(line) for line in answer.decode().splitlines()]
    return status, fields.get("content-type"), lines


def said(running: Program, request: str, body: object = None, **headers: str) -> tuple[int, list[Any]]:
    """The same without the type. Of a refusal only the text stays: its type is arriero's own."""
    status, _, lines = asked(running, request, body, **headers)
    return status, [line["error"] if isinstance(line, dict) and "error" in line else line for line in lines]


def words(lines: list[Any]) -> list[str]:
    """What frames say, without the numbers; an error is its text."""
    return [line if isinstance(line, str) else line["status"] for line in lines]


def uploaded(running: Program, file: Path) -> str:
    """The digest of a file that was sent."""
    name = digest(file.read_bytes())
    status, _, _ = running.ask("POST", f"/api/blobs/{name}", file.read_bytes())
    assert status in (200, 201)
    return name


def created(running: Program, model: str, **fields: object) -> None:
    """A model is made."""
    assert said(running, "POST /api/create", {"model": model, "stream": False, **fields}) == (
        200,
        [{"status": "success"}],
    )


def named(running: Program) -> list[str]:
    """What /api/tags lists, in its order."""
    return [model["name"] for model in running.get("/api/tags")["models"]]


@contextmanager
def registry_beside() -> Iterator[ScriptedRegistry]:
    """A registry in a thread of its own: those who ask it may block."""
    found: list[ScriptedRegistry] = []
    up, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def stand() -> None:
        async with ScriptedRegistry() as registry:
            loops.append(asyncio.get_running_loop())
            found.append(registry)
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(stand()), daemon=True)
    thread.start()
    assert up.wait(REGISTRY_SECONDS)
    try:
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(REGISTRY_SECONDS)


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line
