"""Bringing one model up: what is checked before, what is learnt after, what is left when it fails."""

import asyncio
from pathlib import Path

import pytest

from arriero.backends.engine.loading import Loaded, load
from arriero.backends.engine.models import ModelFile, Models
from arriero.backends.engine.process import ChildSettings
from arriero.backends.http.call import Timeouts
from arriero.errors import ModelBroken
from support.engine import ask, engine_processes, eventually, needs_engine, post
from support.gguf import PLAIN_TEMPLATE, QWEN_TEMPLATE, repeated_tokens, scripted

pytestmark = needs_engine


def model_of(path: Path) -> ModelFile:
    (model,) = Models(path.parent).scan().models.values()
    return model


async def load_it(model: ModelFile, sockets: Path, *, embedding: bool = False) -> Loaded:
    return await load(
        model,
        ChildSettings(
            model=str(model.path),
            alias=model.id,
            context_length=512,
            threads=1,
            embedding=embedding,
            pooling="mean" if embedding else None,
        ),
        label="local",
        ready_seconds=20,
        timeouts=Timeouts(),
        environment={"XDG_RUNTIME_DIR": str(sockets)},
    )


@pytest.mark.parametrize(("template", "supports_tools"), [(PLAIN_TEMPLATE, False), (QWEN_TEMPLATE, True)])
async def test_it_answers_and_tells_about_tools(
    template: str, supports_tools: bool, tmp_path: Path, sockets: Path
) -> None:
    model = model_of(scripted(tmp_path / "a.gguf", "Hello there, traveller.", template=template))
    loaded = await load_it(model, sockets)
    assert loaded.supports_tools is supports_tools
    assert (await ask(loaded.pool, "hi"))["content"] == "Hello there, traveller."
    assert loaded.pool.label == "local (a:latest)"
    loaded.pool.close()
    await loaded.child.stop()


async def test_a_chat_model_embeds_by_the_mean(tmp_path: Path, sockets: Path) -> None:
    model = model_of(scripted(tmp_path / "a.gguf", "Hello there, traveller."))
    loaded = await load_it(model, sockets, embedding=True)
    assert loaded.supports_tools is None
    status, body = await post(loaded.pool, "/v1/embeddings", input=["one", "two"])
    assert (status, [len(item["embedding"]) for item in body["data"]]) == (200, [64, 64])
    loaded.pool.close()
    await loaded.child.stop()


async def test_what_llama_cpp_would_abort_on_never_reaches_it(tmp_path: Path, sockets: Path) -> None:
    model = model_of(repeated_tokens(tmp_path / "a.gguf"))
    with pytest.raises(ModelBroken) as raised:
        await load_it(model, sockets)
    assert raised.value.message == "a:latest cannot be loaded: the token 'Ā' stands twice in its vocabulary"


async def test_cancelled_at_any_time_it_leaves_no_process(shelf: Path, sockets: Path) -> None:
    model = Models(shelf).scan().models["hello:latest"]
    for seconds in (0.01, 0.04, 0.06, 0.08):
        task = asyncio.create_task(load_it(model, sockets))
        await asyncio.sleep(seconds)
        task.cancel()
        try:
            loaded = await task
        except asyncio.CancelledError:
            pass
        else:
            loaded.pool.close()
            await loaded.child.stop()
    await eventually(lambda: not engine_processes())
