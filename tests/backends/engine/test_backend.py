"""The engine as a backend: places, listings, loads."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from arriero.backends.base import Backend, Tuning, Want
from arriero.backends.engine.backend import EngineBackend
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Call, Timeouts
from arriero.canonical.catalog import Capability
from support.engine import needs_engine
from support.gguf import random_llama

pytestmark = needs_engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineBackend]:
    random_llama(tmp_path / "tiny.gguf", special=("<|fim_prefix|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    backend = EngineBackend(
        "local",
        store=Store(tmp_path),
        demo_model=False,
        keep_alive=300.0,
        max_loaded=None,
        num_parallel=1,
        context_length=256,
        max_queue=8,
        threads=1,
        timeouts=Timeouts(),
    )
    yield backend
    await backend.close()


async def test_a_place_answers_and_is_given_back(engine: EngineBackend) -> None:
    as_backend: Backend = engine
    place = await as_backend.reach(Want("tiny:latest"))
    body = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2})
    head, answer = await place.pool.fetch(Call("POST", "/v1/chat/completions", as_backend.headers, body))
    assert (head.status, json.loads(answer)["usage"]["completion_tokens"]) == (200, 2)
    assert [model.card.id for model in await engine.list_loaded()] == ["tiny:latest"]
    place.release(0)
    await engine.load(Want("tiny:latest"), 0)
    assert await engine.list_loaded() == ()


async def test_a_model_that_chats_and_embeds_is_listed_once(engine: EngineBackend) -> None:
    await engine.load(Want("tiny:latest"), None)
    place = await engine.reach(Want("tiny:latest", embedding=True))
    place.release(float("inf"))
    (loaded,) = await engine.list_loaded()
    assert (loaded.card.id, loaded.expires_at) == ("tiny:latest", float("inf"))


async def test_fill_in_the_middle_is_not_offered(engine: EngineBackend) -> None:
    (card,) = await engine.list_models()
    assert card.capabilities is not None and Capability.INSERT not in card.capabilities
    assert (await engine.show(card, False)).card.capabilities == card.capabilities


async def test_a_load_takes_what_the_request_asks_for(engine: EngineBackend) -> None:
    await engine.load(Want("tiny:latest", context_length=1024, tuning=Tuning(threads=2)), None)
    (loaded,) = await engine.list_loaded()
    assert loaded.context_length == 1024
    await engine.load(Want("tiny:latest", embedding=True), None)
    assert len(engine.engine.loaded()) == 2
