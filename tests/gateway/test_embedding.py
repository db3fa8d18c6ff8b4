"""Embeddings that are transcoded: batches, lengths, dimensions."""

import json
from typing import Any

import msgspec
import pytest

from arriero.dialects import profiles
from arriero.gateway.embedding import cut
from support.gateway import Played, gateway, http
from support.raw_backend import Peer


def vectors(*found: list[float]) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(found)]
    return http(json.dumps({"data": data, "usage": {"prompt_tokens": 2 * len(found)}}).encode())


async def test_vectors_come_back_in_order_and_of_length_1() -> None:
    swapped = {"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}], "usage": None}
    backend = Played("openai", http(json.dumps(swapped).encode()))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": ["a", "b"]})
    assert backend.bodies[0]["input"] == ["a", "b"]
    assert json.loads(lane.body)["embeddings"] == [[0.6, 0.8], [0, 1]]


async def test_the_old_route_gives_the_vector_as_it_is() -> None:
    async with gateway(Played("openai", vectors([3, 4]))) as gate:
        lane = await gate.ask("/api/embeddings", {"model": "gpt-x", "prompt": "a"})
    assert json.loads(lane.body) == {"embedding": [3, 4]}


async def test_a_long_list_is_asked_for_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Played("openai", vectors([1, 0], [0, 1]), vectors([1, 1]))
    async with gateway(backend) as gate:
        entry = gate.roster.entries["openai"]
        entry.backend.profile = msgspec.structs.replace(profiles.profile_of("generic"), embed_batch=2)
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": ["a", "b", "c"]})
    assert [body["input"] for body in backend.bodies] == [["a", "b"], ["c"]]
    answer = json.loads(lane.body)
    assert (len(answer["embeddings"]), answer["prompt_eval_count"]) == (3, 6)


async def test_too_few_vectors_are_the_backends_fault() -> None:
    async with gateway(Played("openai", vectors([1, 0]))) as gate:
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": ["a", "b"]})
    assert (lane.status, json.loads(lane.body)["error"]) == (502, "the backend gave 1 vectors for 2 inputs")


TOO_LONG: dict[str, Any] = {"error": {"message": "This model's maximum context length is 4 tokens", "code": "x"}}


async def test_texts_that_are_too_long_are_shortened() -> None:
    async def picky(peer: Peer) -> None:
        await peer.say(http(json.dumps(TOO_LONG).encode(), status="400 Bad Request"))
        while True:
            _, _, body = (await peer.request()).partition(b"\r\n\r\n")
            longest = max(map(len, json.loads(body)["input"]))
            seen.append(longest)
            refused = http(json.dumps(TOO_LONG).encode(), status="400 Bad Request")
            await peer.say(refused if longest > 4 else vectors([3, 4], [1, 0]))

    seen: list[int] = []
    async with gateway(Played("openai", picky)) as gate:
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": ["x" * 16, "ab"]})
    assert seen == [8, 4]
    assert json.loads(lane.body)["embeddings"] == [[0.6, 0.8], [1, 0]]


async def test_unless_the_client_forbids_it() -> None:
    backend = Played("openai", http(json.dumps(TOO_LONG).encode(), status="400 Bad Request"))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": "x" * 16, "truncate": False})
    assert (lane.status, json.loads(lane.body)["error"]) == (400, "the input length exceeds the context length")
    assert len(backend.seen) == 1


@pytest.mark.parametrize(
    ("vector", "dimensions", "expected"),
    [
        ((3.0, 4.0, 12.0), 2, (0.6, 0.8)),
        ((3.0, 4.0), None, (3.0, 4.0)),
        ((3.0, 4.0), 2, (3.0, 4.0)),
        ((3.0, 4.0), 5, (3.0, 4.0)),
        ((0.0, 0.0, 1.0), 2, (0.0, 0.0)),
    ],
)
def test_cut(vector: tuple[float, ...], dimensions: int | None, expected: tuple[float, ...]) -> None:
    assert cut(vector, dimensions) == pytest.approx(expected)
