"""The program started as ollama-proxy was: variables, a `.env` and a filter file, and no configuration file."""

import signal
from pathlib import Path

import pytest

from support.drop_in import run, serving
from support.hosts import Host
from support.program import free_port
from support.proxied import MODELS

SECRET = "sk-or-MARKER5ECRET"


@pytest.fixture
def folder(tmp_path: Path, openrouter: Host) -> Path:
    """A folder with the `.env` of somebody who has always used ollama-proxy, as an editor on Windows saves it."""
    lines = [
        "# copied from the sample",
        f'export OPENROUTER_API_KEY="{SECRET}"',
        f"OPENROUTER_BASE_URL={openrouter.url}/v1",
        "HOST=127.0.0.1",
        "LOG_LEVEL=INFO",
        "DEBUG=false",
        "RELOAD=false",
        "MODELS_FILTER=models-filter.txt",
        "MAX_CONCURRENT_REQUESTS=100",
        "SOMETHING_ELSE=1",
    ]
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    (tmp_path / "models-filter.txt").write_text(f"# only one\n{MODELS[0]}\n")
    return tmp_path


def test_a_start_with_the_old_files(folder: Path) -> None:
    port = free_port()
    with serving(folder, ["--port", str(port)], port, {"ENVIRONMENT": "prod"}) as program:
        listed = [model["name"] for model in program.get("/api/tags")["models"]]
        assert listed == [f"{MODELS[0]}:latest"]
        body = {"model": MODELS[0], "stream": False, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
        status, answer = program.post("/api/chat", body)
        assert (status, answer["message"]["content"]) == (200, "The sky is blue.")
        assert program.get("/health")["environment"] == "production"
        assert program.stop(signal.SIGTERM) == 0
        assert SECRET not in program.printed + program.log


def test_a_dry_run_and_a_check_tell_the_same(folder: Path) -> None:
    dry = run(folder, "serve", "--dry-run")
    checked = run(folder, "check", "--no-probe")
    assert (dry.returncode, checked.returncode) == (0, 0)
    assert dry.stdout == checked.stdout
    assert "openrouter" in dry.stdout
    assert SECRET not in dry.stdout + dry.stderr
