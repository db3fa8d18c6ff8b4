"""The one log line of each library operation, whatever becomes of it."""

import asyncio
import json
from typing import Any

import pytest

from support.fleet import Fleet, Played, fleet, nobody_listens, scripted
from support.gateway import http, stream
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, eventually

DIGEST = f"sha256:{'a' * 64}"


def book(gate: Fleet) -> list[bytes]:
    """From now on its lines come in here."""
    writes: list[bytes] = []
    gate.roster.journal.open(writes.append)
    return writes


def told(gate: Fleet, writes: list[bytes]) -> dict[str, Any]:
    """The one line, as far as it says anything, without its times."""
    gate.roster.journal.flush()
    (text,) = b"".join(writes).splitlines()
    line = json.loads(text)
    assert line.pop("timestamp") and line.pop("total_ms") >= 0
    return {key: value for key, value in line.items() if value is not None and value != []}


COMMON = {"request_id": "req1", "dialect": "ollama"}
WELL = {**COMMON, "event": "exchange", "level": "info", "status": 200}


async def test_a_pull() -> None:
    async with fleet(gpu1=scripted(), gpu2=scripted()) as gate:
        writes = book(gate)
        await gate.pull("new")
        line = told(gate, writes)
    asked = {"path": "/api/pull", "operation": "pull", "model": "new"}
    assert line == {**WELL, **asked, "backend": "gpu1", "attempts": 1}


async def test_a_pull_to_several() -> None:
    async with fleet(gpu1=scripted(), gpu2=scripted()) as gate:
        writes = book(gate)
        await gate.pull("new", to="*")
        line = told(gate, writes)
    asked = {"path": "/api/pull", "operation": "pull", "model": "new"}
    assert line == {**WELL, **asked, "backend": "gpu1,gpu2", "attempts": 2}


async def test_a_delete() -> None:
    async with fleet(gpu1=scripted("tiny"), gpu2=scripted("tiny")) as gate:
        writes = book(gate)
        await gate.ask("DELETE", "/api/delete", b'{"model": "tiny"}')
        line = told(gate, writes)
    asked = {"path": "/api/delete", "operation": "delete", "model": "tiny"}
    assert line == {**WELL, **asked, "backend": "gpu1,gpu2", "attempts": 2}


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_a_blob(method: str) -> None:
    status = {"HEAD": "200 OK", "POST": "201 Created"}[method]
    async with fleet(gpu1=Played(http(b"", status=status))) as gate:
        writes = book(gate)
        await gate.ask(method, f"/api/blobs/{DIGEST}", b"")
        line = told(gate, writes)
    asked = {"path": f"/api/blobs/{DIGEST}", "operation": "blobs", "status": int(status[:3])}
    assert line == {**WELL, **asked, "backend": "gpu1", "attempts": 1}


async def test_a_blob_that_one_of_several_does_not_have() -> None:
    async with fleet(gpu1=Played(http(b"")), gpu2=Played(http(b"", status="404 Not Found"))) as gate:
        writes = book(gate)
        await gate.ask("HEAD", f"/api/blobs/{DIGEST}", to="*")
        line = told(gate, writes)
    assert (line["event"], line["status"], line["backend"]) == ("exchange", 404, "gpu1,gpu2")


async def test_nobody_is_there() -> None:
    async with fleet(gpu1=nobody_listens()) as gate:
        writes = book(gate)
        lane = await gate.pull("new")
        line = told(gate, writes)
    assert (line["event"], line["level"], line["status"]) == ("exchange failed", "warning", lane.status)
    assert (line["backend"], line["model"]) == ("gpu1", "new") and "cannot reach" in line["error"]


async def test_nobody_has_it() -> None:
    async with fleet(gpu1=scripted()) as gate:
        writes = book(gate)
        lane = await gate.ask("DELETE", "/api/delete", b'{"model": "tiny"}')
        line = told(gate, writes)
    assert lane.status == 404
    assert (line["event"], line["level"], line["status"]) == ("exchange failed", "info", 404)
    assert (line["error_type"], line["attempts"]) == ("model_not_found", 0)


async def test_an_answer_that_ends_in_an_error() -> None:
    cut = stream(b'{"status":"pulling manifest"}\n', type="application/x-ndjson", end=False)
    async with fleet(gpu1=Played(cut)) as gate:
        writes = book(gate)
        lane = await gate.pull("new")
        line = told(gate, writes)
    assert lane.status == 200 and b'"error"' in lane.body
    assert (line["event"], line["level"], line["status"]) == ("exchange failed", "warning", 200)


async def test_several_of_which_one_fails() -> None:
    async with fleet(gpu1=scripted(), gpu2=nobody_listens()) as gate:
        writes = book(gate)
        await gate.pull("new", to="*")
        line = told(gate, writes)
    assert (line["event"], line["status"]) == ("exchange failed", 200)
    assert line["error"].startswith("pulled on gpu1; gpu2: ")


async def test_a_client_that_leaves() -> None:
    came = asyncio.Event()

    async def silent(peer: Peer) -> None:
        came.set()
        await peer.gone()

    async with fleet(gpu1=Played(silent)) as gate:
        writes, lane = book(gate), KeptLane()
        asking = asyncio.create_task(gate.carry(inbound("POST", "/api/pull", b'{"model": "new"}'), lane))
        await came.wait()
        lane.leave()
        await eventually(asking.done)
        line = told(gate, writes)
    assert (line["event"], line["level"], line["status"]) == ("exchange failed", "info", 499)
    assert (line["error_type"], line["backend"]) == ("client_gone", "gpu1")
