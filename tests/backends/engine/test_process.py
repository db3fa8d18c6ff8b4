"""One supervised child: ready, last words, every way to end, and nothing left behind."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from arriero.backends.engine.process import Child, ChildSettings, failure, inheritable, reason, socket_directory
from arriero.errors import EngineCrashed, EngineError, EngineMissing, ModelBroken, ModelTooLarge
from support.engine import alive, engine_processes, eventually, needs_engine, state
from support.gguf import REFUSED_BY_ENGINE, repeated_tokens


def settings(model: Path) -> ChildSettings:
    return ChildSettings(model=str(model), alias="it:latest", context_length=512, threads=1)


async def start(model: Path, sockets: Path, ready_seconds: float = 20.0) -> Child:
    return await Child.start(
        settings(model), ready_seconds=ready_seconds, environment={"XDG_RUNTIME_DIR": str(sockets)}
    )


@needs_engine
async def test_start_and_stop(shelf: Path, sockets: Path) -> None:
    child = await start(shelf / "hello.gguf", sockets)
    assert engine_processes() == [child.pid]
    assert stat.S_IMODE(child.socket.parent.stat().st_mode) == 0o700
    assert os.getsid(child.pid) == child.pid
    assert (child.exit_code, child.failure()) == (None, None)
    calls: list[str] = []
    child.on_exit(lambda: calls.append("gone"))
    await child.stop()
    await child.stop()
    assert (child.exit_code, child.failure(), calls) == (0, None, ["gone"])
    child.on_exit(lambda: calls.append("late"))
    assert calls == ["gone", "late"]
    assert engine_processes() == []


@needs_engine
async def test_a_child_that_does_not_listen_is_killed(shelf: Path, sockets: Path) -> None:
    child = await start(shelf / "hello.gguf", sockets)
    os.kill(child.pid, signal.SIGSTOP)
    await eventually(lambda: state(child.pid) == "T")
    await child.stop(grace_seconds=0.1)
    assert child.exit_code == -signal.SIGKILL
    assert child.failure() is None


@needs_engine
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, "the engine's process for it:latest was killed, likely because memory ran out"),
        (signal.SIGSEGV, "the engine crashed on it:latest (SIGSEGV)"),
        (signal.SIGTERM, "the engine crashed on it:latest (SIGTERM)"),
    ],
)
async def test_a_child_that_dies_tells_why(number: signal.Signals, sentence: str, shelf: Path, sockets: Path) -> None:
    child = await start(shelf / "hello.gguf", sockets)
    os.kill(child.pid, number)
    async with asyncio.timeout(5):
        assert await child.gone() == -number
    error = child.failure()
    assert isinstance(error, EngineCrashed)
    assert error.message == sentence


@needs_engine
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("bad-template", "it:latest cannot be loaded: Unexpected token: %} of type 9"),
        (
            "missing-layers",
            "it:latest cannot be loaded: check_tensor_dims: tensor 'blk.2.attn_norm.weight' not found",
        ),
    ],
)
async def test_a_refused_model_gives_the_engines_reason(
    damage: str, sentence: str, sockets: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelBroken) as raised:
        await start(REFUSED_BY_ENGINE[damage](tmp_path / "a.gguf"), sockets)
    assert raised.value.message == sentence
    assert engine_processes() == []


@needs_engine
async def test_an_abort_while_loading_is_a_crash(sockets: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineCrashed) as raised:
        await start(repeated_tokens(tmp_path / "a.gguf"), sockets)
    assert raised.value.message == (
        "the engine crashed on it:latest (SIGABRT): GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed"
    )
    assert engine_processes() == []


@needs_engine
async def test_a_child_takes_no_more_memory_than_it_may(shelf: Path, sockets: Path) -> None:
    with pytest.raises(EngineCrashed) as raised:
        await Child.start(
            msgspec.structs.replace(settings(shelf / "hello.gguf"), own_bytes=64 << 20),
            environment={"XDG_RUNTIME_DIR": str(sockets)},
        )
    assert raised.value.message.startswith("the engine crashed on it:latest (SIGABRT)")
    assert engine_processes() == []


@needs_engine
async def test_a_deadline_for_loading(shelf: Path, sockets: Path) -> None:
    with pytest.raises(EngineError) as raised:
        await start(shelf / "hello.gguf", sockets, ready_seconds=0.01)
    assert raised.value.message == "it:latest was not loaded within 0.01 seconds"
    assert engine_processes() == []


@needs_engine
async def test_a_cancelled_start_leaves_nothing(shelf: Path, sockets: Path) -> None:
    for seconds in (0.0, 0.005, 0.03):
        task = asyncio.create_task(start(shelf / "hello.gguf", sockets))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await eventually(lambda: not engine_processes())


async def test_a_python_that_is_not_there(shelf: Path, sockets: Path) -> None:
    with pytest.raises(EngineError, match="the engine's process cannot be started"):
        await Child.start(
            settings(shelf / "hello.gguf"), environment={"XDG_RUNTIME_DIR": str(sockets)}, python="/nonexistent/python"
        )


@needs_engine
def test_a_killed_gateway_leaves_no_orphan(shelf: Path, sockets: Path) -> None:
    gateway = textwrap.dedent(
        """
        import asyncio, sys
        from arriero.backends.engine.process import Child, ChildSettings

        async def main():
            settings = ChildSettings(model=sys.argv[1], alias="it", context_length=512, threads=1)
            child = await Child.start(settings, environment={"XDG_RUNTIME_DIR": sys.argv[2]})
            print(child.pid, flush=True)
            await child.gone()

        asyncio.run(main())
        """
    )
    command = [sys.executable, "-c", gateway, str(shelf / "hello.gguf"), str(sockets)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    deadline = time.monotonic() + 5
    while (alive(pid) or list(sockets.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not alive(pid)
    assert list(sockets.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "lines", "kind", "sentence"),
    [
        (3, (), ModelBroken, "it cannot be loaded: the engine gave no reason"),
        (
            3,
            ("0.34.394.484 E ggml_aligned_malloc: insufficient memory (attempted to allocate 97656.25 MB)",),
            ModelTooLarge,
            "it does not fit into memory: insufficient memory (attempted to allocate 97656.25 MB)",
        ),
        (4, ("the engine cannot be imported: no",), EngineMissing, "the engine cannot be imported: no"),
        (-signal.SIGILL, (), EngineMissing, "the engine needs a CPU with AVX2, and this CPU lacks AVX2"),
        (-signal.SIGSEGV, (), EngineCrashed, "the engine crashed on it (SIGSEGV)"),
        (
            1,
            ("KeyError: 'x'",),
            EngineCrashed,
            "the engine's process for it ended with code 1: KeyError: 'x'",
        ),
    ],
)
def test_what_an_exit_code_means(code: int, lines: tuple[str, ...], kind: type[EngineError], sentence: str) -> None:
    error = failure(code, lines, "it")
    assert type(error) is kind
    assert error.message == sentence


def test_the_reason_is_the_line_that_says_most() -> None:
    first = "0.00.003.522 E gguf_init_from_reader: invalid magic characters: 'GGML', expected 'GGUF'"
    second = "0.00.003.627 E llama_model_load: error loading model: llama_model_loader: failed to load model from x"
    third = "0.00.004.002 E srv          init: exiting due to model loading error"
    precise = "0.00.003.627 E llama_model_load: error loading model: unknown model architecture: 'x'"
    assert reason((first, second, third)) == "invalid magic characters: 'GGML', expected 'GGUF'"
    assert reason((first, precise, third)) == "unknown model architecture: 'x'"
    assert reason(("terminate called after throwing", "  what():  no thread")) == "no thread"
    assert reason(("anything",)) == "anything"
    assert reason(()) is None


def test_a_child_sees_no_keys() -> None:
    environment = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "OPENAI_API_KEY": "secret", "PYTHONPATH": "x"}
    assert inheritable(environment) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1"}


def test_a_path_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    directory = socket_directory({"XDG_RUNTIME_DIR": str(long)})
    directory.rmdir()
    assert directory.parent != long
    assert list(long.iterdir()) == []
