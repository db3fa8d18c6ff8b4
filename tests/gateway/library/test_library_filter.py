"""Library operations on what the filter hides, or would."""

import json

import pytest

from arriero.gateway.roster import Bylaws
from arriero.routing.model_filter import ModelFilter
from support.fleet import Fleet, fleet, scripted
from support.lanes import KeptLane


async def filtered(gate: Fleet, *exclude: str) -> None:
    seats = [(entry.backend, entry.seat) for entry in gate.roster.entries.values()]
    await gate.roster.adopt(seats, Bylaws(filter=ModelFilter(exclude=exclude)))


def refused(lane: KeptLane, model: str) -> bool:
    told = {"error": f"Model '{model}' is not allowed by the filter", "type": "model_forbidden"}
    return (lane.status, json.loads(lane.body)) == (403, told)


@pytest.mark.parametrize("to", [None, "gpu1", "*"])
async def test_what_it_would_hide_is_not_made(to: str | None) -> None:
    gpu1 = scripted("tiny")
    async with fleet(gpu1=gpu1) as gate:
        await filtered(gate, "secret*")
        assert refused(await gate.pull("secret:1b", to=to), "secret:1b")
        assert refused(await gate.pull("hf.co/x/secret-GGUF", to=to), "hf.co/x/secret-GGUF")
        assert refused(await gate.copy("tiny", "secret", to=to), "secret")
        created = await gate.ask("POST", "/api/create", {"model": "secret", "from": "tiny"}, to=to)
        assert refused(created, "secret")
        assert gate.listed == {"tiny": ["gpu1"]}
        assert {request.path for request in gpu1.requests} == {"/api/tags", "/api/ps"}
        await gate.pull("other", to=to)
        assert gate.listed == {"tiny": ["gpu1"], "other": ["gpu1"]}


async def test_what_it_hides_is_not_touched() -> None:
    gpu1 = scripted("tiny", "secret")
    async with fleet(gpu1=gpu1) as gate:
        await filtered(gate, "secret")
        assert refused(await gate.delete("secret"), "secret")
        assert refused(await gate.copy("secret", "other"), "secret")
        made = await gate.ask("POST", "/api/create", {"model": "other", "from": "SECRET:latest"})
        assert refused(made, "SECRET:latest")
        assert made.field(b"content-type") == b"application/json"
        assert refused(await gate.ask("POST", "/api/push", {"model": "Secret:latest"}), "Secret:latest")
        assert {request.path for request in gpu1.requests} == {"/api/tags", "/api/ps"}
