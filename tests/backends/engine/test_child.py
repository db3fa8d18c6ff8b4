"""The child as a program: a line on standard output, alive until standard input closes. No arriero around it."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine import child
from support.engine import needs_engine
from support.gguf import REFUSED_BY_ENGINE, repeated_tokens

pytestmark = needs_engine


def settings(model: Path, directory: Path, **more: object) -> str:
    return json.dumps(
        {
            "model": str(model),
            "alias": "it",
            "socket": str(directory / "llama.sock"),
            "context_length": 512,
            "parallel": 2,
            "threads": 1,
            "embedding": False,
            "pooling": None,
            "repack": True,
            "sampling": {},
            "projector": None,
            "adapters": [],
            "template": None,
            "batch": 512,
            "mmap": True,
            "own_bytes": None,
            **more,
        }
    )


def spawn(text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", child.__file__, text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What it wrote until it ended by itself: standard input stays open, closing it would end it."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdin, process.stdout, process.stderr:
        output, errors = process.stdout.read(), process.stderr.read()
        process.wait(timeout=10)
    return output, errors


def first_line(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def http(path: Path, target: str) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def private(sockets: Path) -> Path:
    directory = sockets / "private"
    directory.mkdir(mode=0o700)
    return directory


def test_ready_settings_and_the_end_of_standard_input(shelf: Path, private: Path) -> None:
    started = time.monotonic()
    process = spawn(settings(shelf / "hello.gguf", private, sampling={"temp": 0.25}, own_bytes=1 << 31))
    line = first_line(process)
    seconds = time.monotonic() - started
    path = private / "llama.sock"
    assert line == {"ready": f"unix://{path}"}
    assert stat.S_ISSOCK(path.stat().st_mode)
    # Measured: 60 ms; a busy machine gets more.
    assert seconds < 5

    props = http(path, "/props")
    assert props["model_alias"] == "it"
    assert props["total_slots"] == 2
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["default_generation_settings"]["params"]["temperature"] == 0.25
    assert [slot["n_ctx"] for slot in http(path, "/slots")] == [512, 512]
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "500"
    assert f"{1 << 31} {1 << 31} bytes" in re.sub(" +", " ", Path(f"/proc/{process.pid}/limits").read_text())

    _, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (0, b"")
    # The child sweeps up itself: a gateway that was killed cannot.
    assert not private.exists()


@pytest.mark.parametrize("damage", REFUSED_BY_ENGINE)
def test_a_refused_model(damage: str, private: Path, tmp_path: Path) -> None:
    process = spawn(settings(REFUSED_BY_ENGINE[damage](tmp_path / "a.gguf"), private))
    output, errors = finish(process)
    assert process.returncode == child.REFUSED
    assert set(json.loads(output)) == {"failed"}
    assert b" E " in errors
    assert not private.exists()


def test_an_abort_ends_the_child_and_nothing_else(private: Path, tmp_path: Path) -> None:
    process = spawn(settings(repeated_tokens(tmp_path / "a.gguf"), private))
    output, errors = finish(process)
    assert process.returncode == -signal.SIGABRT
    assert output == b""
    assert b"GGML_ASSERT" in errors
    for left in private.iterdir():
        left.unlink()
    private.rmdir()


def test_it_imports_nothing_of_arriero() -> None:
    source = Path(child.__file__).read_text()
    assert "import arriero" not in source
    assert "from arriero" not in source


def test_standard_output_is_for_the_one_line_only() -> None:
    code = (
        "import os, runpy; child = runpy.run_path(os.sys.argv[1]); channel = child['private_stdout']();"
        "os.write(1, b'noise'); channel.write('line'); channel.flush()"
    )
    done = subprocess.run([sys.executable, "-c", code, child.__file__], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"line", b"noise")


def test_an_unknown_setting_is_refused(shelf: Path, private: Path) -> None:
    process = spawn(settings(shelf / "hello.gguf", private, sampling={"no_such_knob": 1}))
    output, _ = finish(process)
    assert process.returncode == child.REFUSED
    assert "no_such_knob" in json.loads(output)["failed"]
    assert not private.exists()


def test_parameters_of_an_embedding_child() -> None:
    class Namespace:
        def __init__(self, **values: object) -> None:
            self.__dict__.update(values)

    params = Namespace(model=Namespace(), cpuparams=Namespace(), cpuparams_batch=Namespace(), sampling=Namespace())
    engine = Namespace(llama_pooling_type=Namespace(LLAMA_POOLING_TYPE_MEAN="the mean"))
    told = json.loads(settings(Path("/m"), Path("/d"), embedding=True, pooling="mean", repack=False, parallel=3))
    child.apply(told, params, engine)
    values = vars(params)
    assert values["embedding"] is True
    assert values["pooling_type"] == "the mean"
    assert (values["n_ctx"], values["kv_unified_per_slot"], values["n_batch"], values["n_ubatch"]) == (
        1536,
        512,
        512,
        512,
    )
    assert values["no_extra_bufts"] is True
    assert (values["ui"], values["cache_ram_mib"], values["hostnames"]) == (False, 0, ["/d/llama.sock"])
    assert os.environ.get("GGML_NO_BACKTRACE") is None


def test_parameters_of_a_chat_child_with_all_its_parts() -> None:
    class Namespace:
        def __init__(self, **values: object) -> None:
            self.__dict__.update(values)

    params = Namespace(model=Namespace(), mmproj=Namespace(), cpuparams=Namespace(), cpuparams_batch=Namespace())
    engine = Namespace(
        llama_load_mode=Namespace(LLAMA_LOAD_MODE_NONE="read it"), CommonAdapterLoraInfo=lambda: Namespace()
    )
    parts: dict[str, object] = {"projector": "/p", "adapters": ["/a", "/b"], "template": "{{ messages }}"}
    told = json.loads(settings(Path("/m"), Path("/d"), batch=1024, mmap=False, **parts))
    child.apply(told, params, engine)
    values = vars(params)
    assert vars(values["mmproj"]) == {"path": "/p"}
    assert [vars(each) for each in values["lora_adapters"]] == [
        {"path": "/a", "scale": 1.0},
        {"path": "/b", "scale": 1.0},
    ]
    assert (values["chat_template"], values["load_mode"]) == ("{{ messages }}", "read it")
    assert (values["n_batch"], values["n_ubatch"]) == (1024, 512)
