"""Library operations: relayed to the backend that manages models, or refused with a way out."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from arriero.compose import DIALECTS
from arriero.gateway.lane import Inbound
from arriero.gateway.library import Library
from support.gateway import Gateway, Played, gateway, http, stream
from support.lanes import KeptLane, inbound

DIGEST = f"sha256:{'a' * 64}"
FRAMES = b'{"status":"pulling manifest"}\n', b'{"status":"success"}\n'


async def carry(gate: Gateway, request: Inbound) -> KeptLane:
    lane = KeptLane()
    await Library(gate.roster, DIALECTS["ollama"]).run(request, lane)
    return lane


async def test_a_pull_is_relayed_frame_by_frame() -> None:
    backend = Played("ollama", stream(*FRAMES, type="application/x-ndjson"))
    async with gateway(backend) as gate:
        lane = await carry(gate, inbound("POST", "/api/pull", b'{"model":"tiny"}'))
    assert (backend.seen[0][0], backend.seen[0][2]) == ("POST /api/pull HTTP/1.1", b'{"model":"tiny"}')
    assert (lane.status, lane.body, lane.end) == (200, b"".join(FRAMES), "finish")
    assert lane.field(b"x-arriero-backend") == b"ollama"


async def test_without_a_backend_that_manages_models_it_is_501_and_says_what_to_do() -> None:
    async with gateway(Played("openai", http(b"{}"))) as gate:
        lane = await carry(gate, inbound("POST", "/api/pull", b'{"model":"tiny"}'))
    answer = json.loads(lane.body)
    assert (lane.status, answer["type"]) == (501, "not_implemented")
    assert "/api/pull needs a backend of kind ollama" in answer["error"]


async def test_a_blob_is_streamed_with_its_length() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"GG"
        yield b"UF"

    backend = Played("ollama", http(b"", status="201 Created"))
    request = inbound("POST", f"/api/blobs/{DIGEST}", headers=((b"content-length", b"4"),))
    async with gateway(backend) as gate:
        lane = await carry(gate, msgspec.structs.replace(request, upload=aiter(pieces())))
    first, head, body = backend.seen[0]
    assert (first, head["content-length"], body) == (f"POST /api/blobs/{DIGEST} HTTP/1.1", "4", b"GGUF")
    assert (lane.status, lane.body) == (201, b"")


async def test_the_header_names_the_backend() -> None:
    first = Played("ollama", http(b"", status="200 OK"), name="one")
    second = Played("ollama", http(b"", status="200 OK"), name="two")
    async with gateway(first, second) as gate:
        await carry(gate, inbound("DELETE", "/api/delete", b"{}", headers=((b"x-arriero-backend", b"two"),)))
        unknown = await carry(gate, inbound("DELETE", "/api/delete", b"{}", headers=((b"x-arriero-backend", b"x"),)))
    assert (len(first.seen), len(second.seen)) == (0, 1)
    assert (unknown.status, json.loads(unknown.body)["error"]) == (404, "no backend named 'x' manages models")


async def test_a_refusal_keeps_the_backends_words() -> None:
    said = b'{"error":"model \'x\' not found"}'
    async with gateway(Played("ollama", http(said, status="404 Not Found"))) as gate:
        lane = await carry(gate, inbound("DELETE", "/api/delete", b'{"model":"x"}'))
    assert (lane.status, lane.body) == (404, said)


async def test_a_cut_in_the_middle_is_told() -> None:
    async with gateway(Played("ollama", stream(FRAMES[0], type="application/x-ndjson", end=False))) as gate:
        lane = await carry(gate, inbound("POST", "/api/pull", b'{"model":"tiny"}'))
    first, last = lane.body.splitlines()
    assert (first + b"\n", list(json.loads(last))) == (FRAMES[0], ["error"])


@pytest.mark.parametrize("name", ["../../admin", f"{DIGEST}/..", f"{DIGEST}?x=y", "sha256:aa", DIGEST + "\n", ".."])
async def test_only_a_digest_stands_behind_blobs(name: str) -> None:
    backend = Played("ollama", http(b""))
    async with gateway(backend) as gate:
        lane = await carry(gate, inbound("POST", f"/api/blobs/{name}", b"x"))
    assert (lane.status, json.loads(lane.body)["error"]) == (400, "invalid digest format")
    assert backend.seen == []
