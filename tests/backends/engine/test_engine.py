"""The engine as a backend: listing, details, leases, real answers, and what a crash looks like from outside."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.engine import FOREVER, Engine
from arriero.backends.engine.models import DEMO_PATH
from arriero.backends.engine.store.manifest import (
    ADAPTER,
    CONFIG_TYPE,
    PROJECTOR,
    Config,
    Manifest,
    write_config,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.canonical.catalog import Capability
from arriero.errors import EngineCrashed, EngineMissing, ModelBroken, ModelNotFound
from support.engine import FakeMachine, Stream, alive, ask, engine_processes, eventually, get, needs_engine, post
from support.gguf import (
    DAMAGED,
    PLAIN_TEMPLATE,
    QWEN_TEMPLATE,
    adapter,
    projector,
    scripted,
    thinking,
    tool_call,
    truncated,
)
from support.store import layer, name

MakeEngine = Callable[..., Engine]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# ---- what there is ---------------------------------------------------------------------------------------------------


async def test_models_are_listed_and_changes_are_seen(make_engine: MakeEngine, models: Path) -> None:
    engine = make_engine()
    cards = {card.id: card for card in await engine.list_models()}
    assert list(cards) == ["embed:latest", "hello:latest", "random:latest"]
    assert cards["embed:latest"].capabilities == frozenset({Capability.EMBEDDING})
    assert cards["random:latest"].parameter_size == "118K"
    truncated(models / "half.gguf")
    (models / "random.gguf").unlink()
    assert [card.id for card in await engine.list_models()] == ["embed:latest", "hello:latest"]
    assert list(engine.broken) == [models / "half.gguf"]


async def test_the_demo_model_can_be_had_or_not(models: Path, shelf: Path) -> None:
    with_demo = Engine("local", None, shelf / "hello.gguf")
    assert [card.id for card in await with_demo.list_models()] == ["arriero-demo:latest"]
    assert (await with_demo.show("arriero-demo")).parameters == {"temperature": 0}
    without = Engine("local", None, False)
    assert await without.list_models() == ()


async def test_show(make_engine: MakeEngine) -> None:
    engine = make_engine()
    detail = await engine.show("Hello:latest")
    assert detail.info["general.architecture"] == "llama"
    assert detail.info["tokenizer.ggml.tokens"] is None
    assert (detail.template, detail.chat_template) == (None, QWEN_TEMPLATE)
    verbose = await engine.show("hello", verbose=True)
    assert len(verbose.info["tokenizer.ggml.tokens"]) == 263  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound, match="model 'nobody' not found"):
        await engine.show("nobody")


@pytest.mark.parametrize("damage", DAMAGED)
async def test_a_damaged_file_is_refused_with_its_reason(damage: str, make_engine: MakeEngine, models: Path) -> None:
    engine = make_engine()
    path = DAMAGED[damage](models / "bad.gguf")
    with pytest.raises(ModelBroken) as raised:
        await engine.acquire("bad")
    assert raised.value.message == f"bad:latest cannot be used: {engine.broken[path].reason}"
    with pytest.raises(ModelBroken):
        await engine.show("bad")


@needs_engine
async def test_what_llama_cpp_refuses_is_remembered_until_the_file_changes(
    make_engine: MakeEngine, models: Path
) -> None:
    engine = make_engine()
    path = scripted(models / "odd.gguf", "never said", template="{% if %}")
    for _ in range(2):
        with pytest.raises(ModelBroken, match=r"odd:latest cannot be loaded: Unexpected token"):
            await engine.acquire("odd")
    assert engine.broken[path].reason.startswith("odd:latest cannot be loaded")
    scripted(path, "said after all")
    lease = await engine.acquire("odd")
    assert (await ask(lease.pool, "hi"))["content"] == "said after all"
    lease.release()
    assert engine.broken == {}


async def test_without_the_engine_models_are_listed_and_not_loaded(make_engine: MakeEngine) -> None:
    sentence = "the engine is not installed: pip install 'arriero[engine]'"
    engine = make_engine(machine=FakeMachine(missing=sentence))
    assert len(await engine.list_models()) == 3
    assert engine.missing() == sentence
    with pytest.raises(EngineMissing) as raised:
        await engine.acquire("hello")
    assert raised.value.message == sentence


# ---- answers ---------------------------------------------------------------------------------------------------------


@needs_engine
async def test_a_chat_and_what_is_loaded(make_engine: MakeEngine) -> None:
    engine = make_engine(clock=lambda: 5000.0)
    assert engine.loaded() == ()
    lease = await engine.acquire("HELLO")
    assert lease.model_alias == "hello:latest"
    assert (await ask(lease.pool, "hi", model=lease.model_alias))["content"] == "Hello there, traveller."
    (busy,) = engine.loaded()
    assert (busy.card.id, busy.expires_at, busy.context_length, busy.vram_bytes) == ("hello:latest", 5300.0, 4096, 0)
    lease.release(keep_alive=60.0)
    assert engine.loaded()[0].expires_at == 5060.0
    (await engine.acquire("hello")).release(FOREVER)
    assert engine.loaded()[0].expires_at == FOREVER
    await engine.unload("hello")
    assert engine.loaded() == ()


@needs_engine
@pytest.mark.skipif(not DEMO_PATH.is_file(), reason="the demo model is not in this tree")
async def test_the_demo_model_answers(make_engine: MakeEngine) -> None:
    engine = make_engine(demo_model=True)
    lease = await engine.acquire("arriero-demo")
    assert lease.context_length == (await engine.show("arriero-demo")).card.context_length
    first, second = [(await ask(lease.pool, "hi"))["content"] for _ in range(2)]
    lease.release()
    assert first
    # Its temperature is 0 unless a request says otherwise.
    assert first == second


@needs_engine
async def test_two_requests_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(num_parallel=2)
    long, short = await asyncio.gather(engine.acquire("random"), engine.acquire("random"))
    stream = await Stream.endless(long.pool)
    assert (await ask(short.pool, "hi", max_tokens=3))["content"]
    assert not stream.ended.is_set()
    assert stream.upstream is not None
    stream.upstream.abort()
    long.release()
    short.release()


@needs_engine
async def test_num_ctx_is_what_a_request_may_use(make_engine: MakeEngine) -> None:
    engine = make_engine(num_parallel=2)
    lease = await engine.acquire("random", num_ctx=512)
    assert (await get(lease.pool, "/props"))["default_generation_settings"]["n_ctx"] == 512
    status, body = await post(lease.pool, "/v1/chat/completions", messages=[{"role": "user", "content": "x" * 1000}])
    assert (status, body["error"]["type"]) == (400, "exceed_context_size_error")
    lease.release()
    beyond = await engine.acquire("random", num_ctx=1_000_000)
    assert beyond.context_length == 8192
    beyond.release()
    usual = await engine.acquire("hello")
    assert usual.context_length == 4096
    usual.release()


@needs_engine
async def test_a_configured_context_is_the_default(make_engine: MakeEngine) -> None:
    lease = await make_engine(context_length=1024).acquire("random")
    assert lease.context_length == 1024
    lease.release()


@needs_engine
@pytest.mark.parametrize("id", ["embed", "hello"])
async def test_embeddings(id: str, make_engine: MakeEngine) -> None:
    engine = make_engine()
    lease = await engine.acquire(id, embedding=True)
    status, body = await post(lease.pool, "/v1/embeddings", input=["one", "two " * 300])
    assert status == 200
    vectors = [item["embedding"] for item in body["data"]]
    assert [len(vector) for vector in vectors] == [64, 64]
    assert sum(value * value for value in vectors[1]) == pytest.approx(1, abs=1e-3)
    lease.release()


@needs_engine
async def test_an_embedding_model_needs_no_asking(make_engine: MakeEngine) -> None:
    engine = make_engine()
    first, second = await engine.acquire("embed"), await engine.acquire("embed", embedding=True)
    assert first.pool is second.pool
    first.release()
    second.release()


@needs_engine
async def test_tools_and_thoughts_are_taken_apart(make_engine: MakeEngine, models: Path) -> None:
    scripted(models / "agent.gguf", [thinking("Where is it cold?"), tool_call("get_weather", city="Oslo")])
    engine = make_engine()
    lease = await engine.acquire("agent")
    message: dict[str, Any] = await ask(lease.pool, "cold?", tools=[WEATHER])
    lease.release()
    assert message["reasoning_content"].strip() == "Where is it cold?"
    (call,) = message["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("get_weather", '{"city": "Oslo"}')
    (card,) = (card for card in await engine.list_models() if card.id == "agent:latest")
    assert card.capabilities == frozenset({Capability.COMPLETION, Capability.TOOLS, Capability.THINKING})


@needs_engine
async def test_the_engine_corrects_a_template_that_only_talks_of_tools(make_engine: MakeEngine, models: Path) -> None:
    scripted(models / "poser.gguf", "I have tools.", template="{# no tools here #}" + PLAIN_TEMPLATE)
    engine = make_engine()
    before = (await engine.show("poser")).card.capabilities
    assert before == frozenset({Capability.COMPLETION, Capability.TOOLS})
    (await engine.acquire("poser")).release()
    assert (await engine.show("poser")).card.capabilities == frozenset({Capability.COMPLETION})
    assert engine.loaded()[0].card.capabilities == frozenset({Capability.COMPLETION})


@needs_engine
async def test_eyes_are_believed_until_the_engine_has_looked(make_engine: MakeEngine, models: Path) -> None:
    store = Store(models)
    weights = layer(store, (models / "random.gguf").read_bytes())
    config = layer(store, write_config(Config()), CONFIG_TYPE)
    for id, kind in (("eyes", projector), ("blind", adapter)):
        part = layer(store, kind(models / "part.bin").read_bytes(), PROJECTOR if kind is projector else ADAPTER)
        store.write(name(id), write_manifest(Manifest(config, (weights, part))))
    engine = make_engine()
    for _ in range(2):
        cards = {card.id: card.capabilities for card in await engine.list_models()}
        assert cards["eyes:latest"] == frozenset({Capability.COMPLETION, Capability.VISION})
        assert cards["blind:latest"] == frozenset({Capability.COMPLETION})
        (await engine.acquire("eyes")).release()
        (await engine.acquire("blind")).release()


@needs_engine
async def test_three_crashes_make_a_model_broken_for_a_minute(make_engine: MakeEngine, models: Path) -> None:
    now = [5000.0]
    engine = make_engine(clock=lambda: now[0])
    for _ in range(3):
        lease = await engine.acquire("hello")
        os.kill(engine_processes()[0], signal.SIGSEGV)
        assert isinstance(await lease.diagnose(), EngineCrashed)
        lease.release()
        now[0] += 4
    (broken,) = engine.broken.values()
    assert broken.id == "hello:latest"
    assert broken.reason.startswith("hello:latest crashed 3 times in 60 seconds: the engine crashed on hello:latest")
    now[0] += 60
    assert engine.broken == {}


@needs_engine
async def test_json_by_schema(make_engine: MakeEngine, models: Path) -> None:
    scripted(models / "json.gguf", ['{"answer"', ": 42", "}"])
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    engine = make_engine()
    lease = await engine.acquire("json")
    wanted = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    assert (await ask(lease.pool, "?", response_format=wanted))["content"] == '{"answer": 42}'
    lease.release()


# ---- crashes ---------------------------------------------------------------------------------------------------------


@needs_engine
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_crash_in_mid_stream(number: signal.Signals, make_engine: MakeEngine) -> None:
    engine = make_engine()
    lease = await engine.acquire("random", num_ctx=8192)
    stream = await Stream.endless(lease.pool)
    (pid,) = engine_processes()
    os.kill(pid, number)
    async with asyncio.timeout(5):
        await stream.ended.wait()
    assert stream.error is not None
    assert b"[DONE]" not in stream.data
    assert isinstance(await lease.diagnose(), EngineCrashed)
    assert engine.loaded() == ()
    lease.release()

    again = await engine.acquire("random")
    assert engine_processes() != [pid]
    assert await again.diagnose(seconds=0.01) is None
    assert (await ask(again.pool, "hi", max_tokens=3))["content"]
    again.release()


@needs_engine
async def test_a_client_that_goes_frees_its_slot(make_engine: MakeEngine) -> None:
    engine = make_engine(num_parallel=1)
    lease = await engine.acquire("random", num_ctx=8192)
    stream = await Stream.endless(lease.pool)
    assert stream.upstream is not None
    stream.upstream.abort()
    lease.release()
    lease = await engine.acquire("random")
    async with asyncio.timeout(5):
        while (await get(lease.pool, "/slots"))[0]["is_processing"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    lease.release()


@needs_engine
async def test_a_cycle_of_loads_leaks_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine()
    descriptors = []
    for _ in range(5):
        lease = await engine.acquire("hello")
        await ask(lease.pool, "hi")
        lease.release(keep_alive=0)
        await eventually(lambda: not engine.loaded() and not engine_processes())
        await asyncio.sleep(0.02)
        descriptors.append(len(os.listdir("/proc/self/fd")))
    assert descriptors[-1] <= descriptors[0]


@needs_engine
def test_a_killed_gateway_leaves_no_orphans(models: Path, sockets: Path) -> None:
    gateway = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from arriero.backends.engine.engine import Engine
        from arriero.backends.engine.store.store import Store

        async def main():
            store, sockets = Store(Path(sys.argv[1])), {"XDG_RUNTIME_DIR": sys.argv[2]}
            engine = Engine("local", store, False, environment=sockets, threads=1)
            await asyncio.gather(engine.acquire("hello"), engine.acquire("random"))
            print("ready", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    command = [sys.executable, "-c", gateway, str(models), str(sockets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = engine_processes(process.pid)
        assert len(children) == 2
        process.kill()
    deadline = time.monotonic() + 5
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not any(map(alive, children))
