"""Bringing one model up: what is checked before, what is learnt after, what is left when it fails."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from arriero.backends.engine.instance import Learnt
from arriero.backends.engine.loading import Loaded, load, template_of
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.process import ChildSettings
from arriero.backends.http.call import Timeouts
from arriero.errors import ModelBroken
from support.engine import ask, engine_processes, eventually, models_in, needs_engine, post
from support.gguf import PLAIN_TEMPLATE, QWEN_TEMPLATE, adapter, projector, random_llama, repeated_tokens, scripted

pytestmark = needs_engine


def model_of(path: Path) -> ModelFile:
    (model,) = models_in(path.parent).values()
    return model


async def load_it(
    model: ModelFile, sockets: Path, *, embedding: bool = False, path: str = "", **settings: Any
) -> Loaded:
    return await load(
        model,
        ChildSettings(
            model=str(model.path),
            alias=model.id,
            context_length=512,
            threads=1,
            embedding=embedding,
            pooling="mean" if embedding else None,
            template=template_of(model),
            **settings,
        ),
        label="local",
        ready_seconds=20,
        timeouts=Timeouts(),
        environment={"XDG_RUNTIME_DIR": str(sockets), "PATH": path},
    )


@pytest.mark.parametrize(("template", "supports_tools"), [(PLAIN_TEMPLATE, False), (QWEN_TEMPLATE, True)])
async def test_it_answers_and_tells_about_tools(
    template: str, supports_tools: bool, tmp_path: Path, sockets: Path
) -> None:
    model = model_of(scripted(tmp_path / "a.gguf", "Hello there, traveller.", template=template))
    loaded = await load_it(model, sockets)
    assert loaded.learnt == Learnt(tools=supports_tools, vision=False, audio=False)
    assert (await ask(loaded.pool, "hi"))["content"] == "Hello there, traveller."
    assert loaded.pool.label == "local (a:latest)"
    loaded.pool.close()
    await loaded.child.stop()


async def test_a_chat_model_embeds_by_the_mean(tmp_path: Path, sockets: Path) -> None:
    model = model_of(scripted(tmp_path / "a.gguf", "Hello there, traveller."))
    loaded = await load_it(model, sockets, embedding=True)
    assert loaded.learnt == Learnt()
    status, body = await post(loaded.pool, "/v1/embeddings", input=["one", "two"])
    assert (status, [len(item["embedding"]) for item in body["data"]]) == (200, [64, 64])
    loaded.pool.close()
    await loaded.child.stop()


async def test_a_model_without_a_template_reads_plain_text(tmp_path: Path, sockets: Path) -> None:
    loaded = await load_it(model_of(random_llama(tmp_path / "a.gguf", template=None)), sockets)
    turns = [("system", "Be kind."), ("user", "Hello"), ("user", "world"), ("assistant", "Hm"), ("user", "!")]
    messages = [{"role": role, "content": text} for role, text in turns]
    _, body = await post(loaded.pool, "/apply-template", messages=messages)
    assert body["prompt"] == "Be kind.\n\nHello\n\nworldHm!"
    _, body = await post(loaded.pool, "/apply-template", messages=[{"role": "user", "content": "Once upon"}])
    assert body["prompt"] == "Once upon"
    loaded.pool.close()
    await loaded.child.stop()


async def test_a_template_in_place_of_the_files_own(tmp_path: Path, sockets: Path) -> None:
    model = replace(
        model_of(random_llama(tmp_path / "a.gguf")), template="{% for m in messages %}[{{ m.content }}]{% endfor %}"
    )
    loaded = await load_it(model, sockets)
    _, body = await post(loaded.pool, "/apply-template", messages=[{"role": "user", "content": "hi"}])
    assert body["prompt"] == "[hi]"
    loaded.pool.close()
    await loaded.child.stop()


async def test_a_projector_and_an_adapter(tmp_path: Path, sockets: Path) -> None:
    model = model_of(random_llama(tmp_path / "a.gguf"))
    parts = projector(tmp_path / "eyes.bin"), adapter(tmp_path / "lora.bin")
    plain = await load_it(model, sockets)
    bent = await load_it(model, sockets, projector=str(parts[0]), adapters=(str(parts[1]),))
    assert (plain.learnt.vision, bent.learnt.vision) == (False, True)
    said = [(await ask(loaded.pool, "hello", max_tokens=8, temperature=0))["content"] for loaded in (plain, bent)]
    assert said[0] != said[1]
    for loaded in (plain, bent):
        loaded.pool.close()
        await loaded.child.stop()


async def test_bytes_that_are_no_picture_start_no_program(tmp_path: Path, sockets: Path) -> None:
    """llama.cpp asks ffprobe about what it cannot decode itself."""
    trace = tmp_path / "started"
    for tool in ("ffprobe", "ffmpeg"):
        (tmp_path / tool).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (tmp_path / tool).chmod(0o755)
    model = model_of(random_llama(tmp_path / "a.gguf"))
    eyes = str(projector(tmp_path / "eyes.bin"))
    loaded = await load_it(model, sockets, projector=eyes, path=f"{tmp_path}:{os.environ['PATH']}")
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\nand no more").decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    status, body = await post(loaded.pool, "/v1/chat/completions", messages=[{"role": "user", "content": content}])
    assert (status, body["error"]["message"]) == (400, "Failed to load image or audio file")
    assert not trace.exists()
    loaded.pool.close()
    await loaded.child.stop()


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("no eyes", "Failed to load CLIP model from the projector of a:latest"),
        ("narrow eyes", "mismatch between text model (n_embd = 64) and mmproj (n_embd = 32)"),
        ("cut lora", "failed to apply lora adapter"),
        ("no lora", "expect general.type to be 'adapter'"),
        ("template", "Unexpected token"),
        ("long template", "its chat template is too long"),
    ],
)
async def test_a_part_that_cannot_be_used_is_named(part: str, text: str, tmp_path: Path, sockets: Path) -> None:
    model, other = model_of(random_llama(tmp_path / "a.gguf")), tmp_path / "part.bin"
    settings: dict[str, Any] = {}
    match part:
        case "no eyes":
            settings["projector"] = str(random_llama(other))
        case "narrow eyes":
            settings["projector"] = str(projector(other, width=32))
        case "cut lora":
            other.write_bytes(adapter(other).read_bytes()[:500])
            settings["adapters"] = (str(other),)
        case "no lora":
            settings["adapters"] = (str(random_llama(other)),)
        case "template":
            model = replace(model, template="{% if %}")
        case _:
            model = replace(model, template="x" * 200_000)
    with pytest.raises(ModelBroken) as raised:
        await load_it(model, sockets, **settings)
    assert raised.value.message.startswith("a:latest cannot be loaded: ")
    assert text in raised.value.message
    assert str(tmp_path) not in raised.value.message


async def test_what_llama_cpp_would_abort_on_never_reaches_it(tmp_path: Path, sockets: Path) -> None:
    model = model_of(repeated_tokens(tmp_path / "a.gguf"))
    with pytest.raises(ModelBroken) as raised:
        await load_it(model, sockets)
    assert raised.value.message == "a:latest cannot be loaded: the token 'Ā' stands twice in its vocabulary"


async def test_cancelled_at_any_time_it_leaves_no_process(shelf: Path, sockets: Path) -> None:
    model = models_in(shelf)["hello:latest"]
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
