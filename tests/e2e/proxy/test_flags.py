"""Each flag of ollama-proxy on the running program: it has an effect, and is stronger than its variable and `.env`."""

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.drop_in import run, serving
from support.hosts import Witness, chat
from support.program import Program, free_port, until
from support.proxied import LIST, MODELS

KEY = "sk-or-v1-of-the-flag"
OTHER_KEY = "sk-or-v1-of-the-environment"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Witness]:
    """OpenRouter, whose requests can be read to the byte."""
    rules = [{"when": {"path": "/v1/models"}, "play": {"body": LIST}}]
    found = Witness({"speaks": ["openai"], "models": [{"name": name} for name in MODELS], "rules": rules})
    yield found
    found.close()


@contextmanager
def started(
    folder: Path, vendor: Witness, *flags: str, env: Sequence[str] = (), dotenv: Sequence[str] = ()
) -> Iterator[Program]:
    """A program over that vendor alone, with variables as `NAME=value`."""
    (folder / ".env").write_text("\n".join(dotenv))
    variables = {
        "HOST": "127.0.0.1",
        "ARRIERO_DISCOVER": "false",
        "OPENROUTER_API_KEY": OTHER_KEY,
        "OPENROUTER_BASE_URL": f"{vendor.url}/v1",
    }
    variables |= {name: value for name, _, value in (one.partition("=") for one in env)}
    port = free_port()
    given = flags if "--port" in flags else ("--port", str(port), *flags)
    used = int(given[given.index("--port") + 1])
    with serving(folder, [*given, "--no-demo-model"], used, variables) as running:
        until(lambda: "openai/gpt-4o:latest" in names(running) or "--models-filter" in flags)
        yield running


def names(running: Program) -> list[str]:
    """What is listed."""
    return [model["name"] for model in running.get("/api/tags")["models"]]


def refuses(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) != 0


def test_flag_host(tmp_path: Path, vendor: Witness) -> None:
    with started(tmp_path, vendor, "--host", "127.0.0.1", env=["HOST=127.0.0.2"]) as running:
        assert not refuses("127.0.0.1", running.port)
        assert refuses("127.0.0.2", running.port)


def test_flag_port(tmp_path: Path, vendor: Witness) -> None:
    flag, variable, file = free_port(), free_port(), free_port()
    given = {"env": [f"PORT={variable}"], "dotenv": [f"PORT={file}"]}
    with started(tmp_path, vendor, "--port", str(flag), **given) as running:
        assert running.get("/api/version")
        assert refuses("127.0.0.1", variable) and refuses("127.0.0.1", file)


def test_flag_api_key(tmp_path: Path, vendor: Witness) -> None:
    with started(tmp_path, vendor, "--api-key", KEY, dotenv=[f"OPENROUTER_API_KEY={OTHER_KEY}"]) as running:
        assert running.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
        assert vendor.requests("/v1/chat/completions")[-1].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in running.printed + running.log


def test_flag_models_filter(tmp_path: Path, vendor: Witness) -> None:
    (tmp_path / "models-filter.txt").write_text("gpt-4o:latest\n")
    (tmp_path / "mine.txt").write_text("gemini-pro:latest\n")
    with started(tmp_path, vendor, "--models-filter", "mine.txt", env=["MODELS_FILTER_PATH=other.txt"]) as running:
        until(lambda: names(running) == ["google/gemini-pro:latest"])
        assert running.post("/api/chat", chat("openai/gpt-4o"))[0] == 403


def test_flag_models_filter_of_nothing_switches_it_off(tmp_path: Path, vendor: Witness) -> None:
    (tmp_path / "models-filter.txt").write_text("gpt-4o:latest\n")
    with started(tmp_path, vendor, "--models-filter", "", env=["MODELS_FILTER_PATH=models-filter.txt"]) as running:
        until(lambda: len(names(running)) == len(MODELS) + 1)


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_flag_log_level(tmp_path: Path, vendor: Witness, level: str) -> None:
    with started(tmp_path, vendor, "--log-level", level, env=["LOG_LEVEL=info", "LOG_FORMAT=json"]) as running:
        assert running.post("/api/chat", chat("openai/gpt-4o"))[0] == 200
        assert running.stop(signal.SIGTERM) == 0
        assert ('"level":"info"' in running.log) is (level in ("DEBUG", "INFO"))


def test_flag_reload(tmp_path: Path, vendor: Witness) -> None:
    """What it was for, without a restart: files are watched, though the configuration says not to."""
    (tmp_path / "arriero.yaml").write_text("server: {watch: false}\nmodels: {filter_file: models-filter.txt}\n")
    (tmp_path / "models-filter.txt").write_text("*\n")
    with started(tmp_path, vendor, "--reload") as running:
        (tmp_path / "models-filter.txt").write_text("gemini-pro\n")
        until(lambda: names(running) == ["google/gemini-pro:latest"])


def test_flag_dry_run(tmp_path: Path, vendor: Witness) -> None:
    before = len(vendor.all())
    done = run(tmp_path, "serve", "--dry-run", "--api-key", KEY, OPENROUTER_BASE_URL=f"{vendor.url}/v1")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{vendor.url}/v1" in done.stdout and KEY not in done.stdout
    assert len(vendor.all()) == before  # nobody was asked
