"""The program started as ollama-proxy was: variables, a `.env` and a filter file, and no configuration file."""

import json
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.drop_in import run, serving
from support.hosts import Host, chat
from support.program import Program, free_port
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


# ---- providers that tell nothing -----------------------------------------------------------------------------------


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[Program]:
    """A program from these variables alone, beside its engine with the demo model."""
    port = free_port()
    with serving(folder, ["--port", str(port)], port, {"ARRIERO_DISCOVER": "false", **variables}) as running:
        yield running


def asked(running: Program, path: str = "/api/chat") -> tuple[int, Mapping[str, str]]:
    status, _, body = running.ask("POST", path, chat("gpt-4o"))
    return status, json.loads(body)


def health(running: Program) -> tuple[int, str, dict[str, bool], int]:
    """Status code and word, who is healthy, and how many count."""
    status, _, body = running.ask("GET", "/health")
    told = json.loads(body)
    healthy = {name: one["healthy"] for name, one in told["providers"].items()}
    return status, told["status"], healthy, told["metrics"]["active_providers"]


def test_openrouter_that_cannot_be_reached(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with started(tmp_path, OPENROUTER_API_KEY=SECRET, OPENROUTER_BASE_URL=f"{url}/v1") as running:
        told = {"error": f"cannot reach {url}: connection refused", "type": "network_error"}
        assert asked(running) == (503, told)
        assert asked(running, "/olla/proxy/api/chat")[0] == 404
        assert health(running) == (503, "unhealthy", {"openrouter": False, "local": True}, 1)
        assert running.post("/api/chat", chat("arriero-demo"))[0] == 200
        assert '"model":"arriero-demo"' in running.printed  # the only one that answers


def test_a_key_that_is_wrong(tmp_path: Path) -> None:
    host = Host("vendor", tmp_path / "vendor", ["gpt-4o"], speaks=["openai"], key="another-key")
    host.start()
    try:
        with started(tmp_path, OPENAI_API_KEY=SECRET, OPENAI_BASE_URL=f"{host.url}/v1") as running:
            told = (
                "the backend refuses the gateway's key, HTTP 401 (look at OPENAI_API_KEY, or at api_key of the backend)"
            )
            for path in ("/api/chat", "/olla/proxy/api/chat"):
                status, answer = asked(running, path)
                assert (status, answer["error"]) == (502, told)
            assert re.search(rf"^openai +openai +\S+ +{re.escape(told)} +-$", running.printed, re.MULTILINE)
            assert health(running) == (503, "unhealthy", {"openai": False, "local": True}, 1)
    finally:
        host.kill()


@pytest.mark.parametrize(
    ("play", "status", "type", "error"),
    [
        ({"fault": "hang"}, 504, "network_error", "openai did not answer its check within .*"),
        (
            {"status": 404, "body": {"detail": "Not Found"}},
            503,
            "no_backend",
            r"the models of openai are not known: the list of models is not there \(HTTP 404 at /v1/models\): .* -m .*",
        ),
        (
            {"status": 429, "headers": {"Retry-After": "60"}, "body": {"error": {"message": "slow down"}}},
            503,
            "no_backend",
            "the models of openai are not known: .*slow down.*",
        ),
    ],
    ids=["hangs", "no list", "limited"],
)
def test_a_server_that_does_not_tell_its_models(
    tmp_path: Path, play: Mapping[str, object], status: int, type: str, error: str
) -> None:
    host = Host("lab", tmp_path / "lab", [], speaks=["openai"], rules=[{"when": {"path": "*"}, "play": play}])
    host.start()
    config = tmp_path / "arriero.yaml"
    backend = {"name": "openai", "kind": "openai", "url": f"{host.url}/v1", "check_timeout": 0.3}
    config.write_text(json.dumps({"backends": [backend, {"name": "local", "kind": "engine"}]}))
    try:
        with started(tmp_path) as running:
            found, answer = asked(running)
            assert (found, answer["type"]) == (status, type)
            assert re.fullmatch(error, answer["error"]), answer
            assert asked(running, "/olla/proxy/api/chat")[0] == 404
    finally:
        host.kill()


def test_a_server_without_a_list_has_the_models_that_are_named(tmp_path: Path) -> None:
    missing = {"when": {"path": "/v1/models"}, "play": {"status": 404, "body": {"detail": "Not Found"}}}
    host = Host("lab", tmp_path / "lab", ["mine"], speaks=["openai"], rules=[missing])
    host.start()
    try:
        with started(tmp_path, OPENAI_BASE_URL=f"{host.url}/v1", MODELS="mine") as running:
            assert running.post("/api/chat", chat("mine"))[0] == 200
            assert health(running)[:2] == (200, "healthy")
            assert re.search(r"^openai +openai +\S+ +ready +1: mine$", running.printed, re.MULTILINE)
            assert '"model":"mine"' in running.printed
        done = run(tmp_path, "check", OPENAI_BASE_URL=f"{host.url}/v1", MODELS="mine")
        assert re.search(r"^openai +openai +\S+ +answers +1: mine *$", done.stdout, re.MULTILINE)
    finally:
        host.kill()


def test_openai_is_not_meant_where_openrouter_is_alone(openrouter: Host, tmp_path: Path) -> None:
    with started(tmp_path, OPENROUTER_API_KEY=SECRET, OPENROUTER_BASE_URL=f"{openrouter.url}/v1") as running:
        for path in ("/api/providers/openai/stats", "/api/tags/openai", "/health/providers/openai"):
            status, _, body = running.ask("GET", path)
            assert (status, json.loads(body)["error"]) == (404, "Provider openai not configured"), path
        question = chat("openai/gpt-4o", "Why is the sky blue?")
        status, headers, _ = running.ask("POST", "/api/chat", question, {"x-provider": "openai"})
        assert (status, headers["x-arriero-backend"], headers["x-arriero-reason"]) == (200, "openrouter", "only")
        assert health(running)[:2] == (200, "healthy")
