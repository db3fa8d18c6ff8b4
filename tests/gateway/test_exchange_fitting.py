"""A place that has something to say to each request before it goes out."""

import json

from msgspec.structs import replace

from arriero.backends.base import Want
from arriero.backends.remote import FixedPlace, OpenAI
from arriero.canonical.requests import CompletionRequest, Request
from arriero.errors import BadRequest, ModelNotFound
from support.gateway import Gateway, Played, gateway, http

TEXT = {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "c", "finish_reason": "stop"}]}
ANSWER = http(json.dumps(TEXT).encode())


class FussyPlace(FixedPlace):
    """Takes no suffix but in the prompt, and no prompt that is empty."""

    async def fit(self, request: Request) -> Request:
        assert isinstance(request, CompletionRequest)
        if not request.prompt:
            raise BadRequest("say something")
        if request.suffix is None:
            return request
        return replace(request, prompt=f"<{request.prompt}|{request.suffix}>", suffix=None)


def fussy(gate: Gateway) -> OpenAI:
    """Makes the one backend of a gateway fussy, and ignorant of what it cannot do."""
    backend = gate.roster.entries["openai"].backend
    assert isinstance(backend, OpenAI)

    async def reach(want: Want) -> FussyPlace:
        if want.model != "gpt-x":
            raise ModelNotFound("somebody else")
        return FussyPlace(backend.pool, want.model)

    backend.silent = True
    backend.at_hand = lambda want: None  # type: ignore[assignment, method-assign, return-value]
    backend.reach = reach  # type: ignore[method-assign]
    return backend


async def test_what_it_takes_as_it_is_goes_out_in_the_clients_own_bytes() -> None:
    backend = Played("openai", ANSWER)
    async with gateway(backend) as gate:
        fussy(gate)
        lane = await gate.ask("/v1/completions", b'{"model": "gpt-x",  "prompt": "a", "odd": 1}')
    assert (lane.status, backend.seen[0][2]) == (200, b'{"model": "gpt-x",  "prompt": "a", "odd": 1}')
    assert json.loads(lane.body) == TEXT


async def test_what_it_changes_is_said_anew() -> None:
    backend = Played("openai", ANSWER)
    async with gateway(backend) as gate:
        fussy(gate)
        lane = await gate.ask("/v1/completions", {"model": "gpt-x", "prompt": "a", "suffix": "b", "odd": 1})
    assert backend.bodies == [{"model": "gpt-x", "prompt": "<a|b>", "stream": False, "odd": 1}]
    assert (lane.status, json.loads(lane.body)["choices"][0]["text"]) == (200, "c")


async def test_what_it_refuses_never_goes_out() -> None:
    backend = Played("openai", ANSWER)
    async with gateway(backend) as gate:
        fussy(gate)
        lane = await gate.ask("/v1/completions", {"model": "gpt-x", "prompt": ""})
    assert (lane.status, json.loads(lane.body)["error"]["message"], backend.seen) == (400, "say something", [])


async def test_a_model_that_went_is_missing_by_the_name_that_was_typed() -> None:
    models = b'{"object":"list","data":[{"id":"gone"}]}'
    async with gateway(Played("openai", ANSWER, models=models)) as gate:
        fussy(gate)
        lane = await gate.ask("/api/generate", {"model": "Gone", "prompt": "a", "raw": True})
    assert (lane.status, json.loads(lane.body)["error"]) == (404, "model 'Gone' not found")
