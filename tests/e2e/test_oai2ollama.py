"""All that oai2ollama documents, on the real program: each variable, each flag, and each route has its test here.

One program is started as oai2ollama is, from a `.env`, in front of a server of the OpenAI API that wants a key and
whose requests can be read. Variables and flags that it was not started with are seen in what would run.
"""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.drop_in import Finished, run, serving
from support.hosts import Witness, chat, opened
from support.program import Program, free_port

KEY = "sk-MARKER5ECRET"
LISTED = ("qwen3-coder", "deepseek-ai/DeepSeek-V3")
EXTRA = "custom/extra"
URL = "http://10.0.0.9:8000/v1"
NAMED = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": URL}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Witness]:
    """The server of the OpenAI API."""
    rules: list[dict[str, Any]] = [
        {"when": {"contains": "too much"}, "play": {"status": 429, "body": {"error": {"message": "slow down"}}}},
        {"when": {"contains": "sky"}, "play": {"say": ["The", " sky", " is", " blue", "."]}},
    ]
    entries: list[dict[str, Any]] = [
        {"id": name, "object": "model", "created": 1, "owned_by": "vendor"} for name in LISTED
    ]
    entries[1]["context_length"] = 32768
    rules.append({"when": {"path": "/v1/models"}, "play": {"body": {"object": "list", "data": entries}}})
    models = [{"name": name} for name in LISTED]
    witness = Witness({"speaks": ["openai"], "key": KEY, "models": models, "rules": rules})
    yield witness
    witness.close()


@pytest.fixture(scope="module")
def program(upstream: Witness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program, with the lists as oai2ollama has them."""
    folder = tmp_path_factory.mktemp("oai2ollama")
    lines = [
        f"OPENAI_API_KEY={KEY}",
        f"OPENAI_BASE_URL={upstream.url}/v1/",
        "HOST=127.0.0.1",
        'CAPABILITIES=["tools","vision"]',
        f'MODELS=["{EXTRA}","{LISTED[0]}"]',
    ]
    (folder / ".env").write_text("\n".join(lines))
    (folder / "arriero.yaml").write_text("models: {listing: verbatim}\n")
    port = free_port()
    flags = ["--port", str(port), "--no-demo-model"]
    with serving(folder, flags, port, {"ARRIERO_DISCOVER": "false"}) as running:
        yield running
        assert running.stop(signal.SIGTERM) == 0
        assert KEY not in running.printed + running.log


def shown(folder: Path, *flags: str, **variables: str) -> dict[str, tuple[str, str]]:
    """What would run: each setting, with where it comes from; what stands under a provider as `provider what`."""
    done = run(folder, "serve", "--dry-run", *flags, **variables)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    rows = [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines()]
    found = {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}
    return found | {f"{row[0]} {row[1]}": (row[2], row[3]) for row in rows if len(row) == 4}


def refused(done: Finished) -> list[str]:
    """The problems of a start that failed."""
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


# ---- variables ------------------------------------------------------------------------------------------------------


def test_openai_api_key(tmp_path: Path) -> None:
    found = shown(tmp_path, OPENAI_API_KEY=KEY)
    assert found["openai api_key"] == ("set", "OPENAI_API_KEY")
    assert found["openai url"] == ("https://api.openai.com/v1", "default")


def test_openai_base_url(tmp_path: Path) -> None:
    assert shown(tmp_path, **NAMED)["openai url"] == (URL, "OPENAI_BASE_URL")


def test_api_key_and_base_url(tmp_path: Path) -> None:
    found = shown(tmp_path, api_key=KEY, base_url=URL)
    assert (found["openai api_key"], found["openai url"]) == (("set", "api_key"), (URL, "base_url"))


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::1"])
def test_host(tmp_path: Path, host: str) -> None:
    assert shown(tmp_path, HOST=host, **NAMED)["server.host"] == (host, "HOST")


def test_host_where_nothing_is_said(tmp_path: Path) -> None:
    assert "server.host" not in shown(tmp_path, **NAMED)
    told = run(tmp_path, "check", "--all", "--no-probe", **NAMED).stdout
    assert re.search(r"^server\.host +127\.0\.0\.1 +default *$", told, re.MULTILINE)


CAPABLE = "backends.openai.models.capabilities"


def test_capabilities(tmp_path: Path) -> None:
    words = ["tools", "insert", "vision", "embedding", "thinking"]
    found = shown(tmp_path, CAPABILITIES=json.dumps(words), **NAMED)
    assert found[CAPABLE] == (f"*: completion, {', '.join(words)}", "CAPABILITIES")


def test_models(tmp_path: Path) -> None:
    found = shown(tmp_path, MODELS='["a","b"]', **NAMED)
    assert found["openai extra_models"] == ("a, b", "MODELS")


def test_capacities(tmp_path: Path) -> None:
    assert shown(tmp_path, CAPACITIES='["tools"]', **NAMED)[CAPABLE] == ("*: completion, tools", "CAPACITIES")
    told = run(tmp_path, "serve", "--dry-run", CAPACITIES='["tools"]', **NAMED).stderr
    assert told == "arriero: warning: CAPACITIES is deprecated: use CAPABILITIES\n"


def test_a_dotenv_file_is_weaker_than_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={URL}\nMODELS=a,b\nHOST=10.0.0.1\n")
    found = shown(tmp_path, HOST="127.0.0.1")
    assert found["openai url"] == (URL, ".env: OPENAI_BASE_URL")
    assert found["openai extra_models"] == ("a, b", ".env: MODELS")
    assert found["server.host"] == ("127.0.0.1", "HOST")


# ---- flags ----------------------------------------------------------------------------------------------------------


def test_flag_api_key(tmp_path: Path) -> None:
    assert shown(tmp_path, "--api-key", KEY, **NAMED)["openai api_key"] == ("set", "--api-key")


def test_flag_base_url(tmp_path: Path) -> None:
    assert shown(tmp_path, "--base-url", "http://h:1/v1", **NAMED)["openai url"] == ("http://h:1/v1", "--base-url")


@pytest.mark.parametrize(
    "typed",
    [
        ["--capabilities", "tools,vision"],
        ["--capabilities", '["tools","vision"]'],
        ["--capabilities", "tools", "--capabilities", "vision"],
        ["--capabilities=tools", "-c", "vision"],
    ],
)
def test_flag_capabilities(tmp_path: Path, typed: list[str]) -> None:
    assert shown(tmp_path, *typed, **NAMED)[CAPABLE] == ("*: completion, tools, vision", "--capabilities")


def test_flag_c(tmp_path: Path) -> None:
    found = shown(tmp_path, "-c", "tools", "-c", "thinking", CAPABILITIES="vision", **NAMED)
    assert found[CAPABLE] == ("*: completion, tools, thinking", "--capabilities")


@pytest.mark.parametrize("typed", [["--models", "a,b"], ["--models", '["a","b"]'], ["--models", "a", "--models", "b"]])
def test_flag_models(tmp_path: Path, typed: list[str]) -> None:
    assert shown(tmp_path, *typed, **NAMED)["openai extra_models"] == ("a, b", "--models")


def test_flag_m(tmp_path: Path) -> None:
    found = shown(tmp_path, "-m", "a", "-m", "b", MODELS="c", **NAMED)
    assert found["openai extra_models"] == ("a, b", "--models")


def test_flag_host(tmp_path: Path) -> None:
    assert shown(tmp_path, "--host", "0.0.0.0", HOST="127.0.0.1", **NAMED)["server.host"] == ("0.0.0.0", "--host")


def test_flag_port(tmp_path: Path) -> None:
    assert shown(tmp_path, "--port", "8081", **NAMED)["server.port"] == ("8081", "--port")


# ---- what is wrong --------------------------------------------------------------------------------------------------


def test_a_capability_that_is_none(tmp_path: Path) -> None:
    (problem,) = refused(run(tmp_path, "serve", "-c", "tool", **NAMED))
    assert problem.startswith("arriero: --capabilities: ") and problem.endswith("did you mean tools?")


def test_a_url_that_is_none(tmp_path: Path) -> None:
    (problem,) = refused(run(tmp_path, "serve", OPENAI_API_KEY=KEY, OPENAI_BASE_URL="api.example.com"))
    assert problem.startswith("arriero: OPENAI_BASE_URL: ")
    assert problem.endswith("is not a URL that starts with http:// or https://")


def test_models_without_a_server(tmp_path: Path) -> None:
    assert refused(run(tmp_path, "serve", "-m", "a")) == [
        "arriero: --models: needs a backend of the OpenAI API: give --base-url or --api-key as well"
    ]


# ---- routes ---------------------------------------------------------------------------------------------------------


def test_get_api_tags(program: Program) -> None:
    """The server's ids and the extra ones, each once, without `:latest`; the newest come first."""
    models = program.get("/api/tags")["models"]
    assert [(model["name"], model["model"]) for model in models] == [(id, id) for id in (EXTRA, *LISTED)]


@pytest.mark.parametrize(("model", "context"), [(LISTED[0], None), (LISTED[1], 32768), (EXTRA, None)])
def test_post_api_show(program: Program, model: str, context: int | None) -> None:
    status, told = program.post("/api/show", {"model": model})
    assert status == 200
    info = told["model_info"]
    assert info["general.basename"] == model
    assert info.get(f"{info['general.architecture']}.context_length") == context
    assert told["capabilities"] == ["completion", "tools", "vision"]


def test_post_api_show_without_a_model(program: Program) -> None:
    assert program.post("/api/show", {}) == (400, {"error": "model is required", "type": "validation_error"})


def test_get_v1_models(program: Program) -> None:
    told = program.get("/v1/models")
    assert told["object"] == "list"
    assert [entry["id"] for entry in told["data"]] == [*LISTED, EXTRA]
    assert told["data"][0]["owned_by"] == "vendor"


def test_post_v1_chat_completions(program: Program, upstream: Witness) -> None:
    body: dict[str, Any] = chat(LISTED[1], "Why is the sky blue?", vendor_field={"a": [1]})
    status, told = program.post("/v1/chat/completions", body)
    assert (status, told["choices"][0]["message"]["content"]) == (200, "The sky is blue.")
    request = upstream.requests("/v1/chat/completions")[-1]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.body) == body


def test_post_v1_chat_completions_as_a_stream(program: Program) -> None:
    with opened(program, "/v1/chat/completions", chat(LISTED[0], "sky", stream=True)) as answer:
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.read().decode().splitlines() if line]
    assert events.pop() == "[DONE]"
    said = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
    assert [text for text in said if text] == ["The", " sky", " is", " blue", "."]


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_server_is_one_here(program: Program, stream: bool) -> None:
    status, told = program.post("/v1/chat/completions", chat(LISTED[0], "too much", stream=stream))
    assert (status, told["error"]["message"]) == (429, "slow down")


def test_get_api_version(program: Program) -> None:
    """Editors refuse anything below 0.6.4, and what is not digits and dots."""
    version = program.get("/api/version")["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


# ---- what oai2ollama has not ----------------------------------------------------------------------------------------


def test_get_and_head_root(program: Program) -> None:
    assert program.ask("GET", "/")[0::2] == (200, b"Ollama is running")
    assert program.ask("HEAD", "/")[0::2] == (200, b"")


def test_post_api_chat(program: Program) -> None:
    status, told = program.post("/api/chat", chat(LISTED[0], "Why is the sky blue?"))
    assert (status, told["message"]) == (200, {"role": "assistant", "content": "The sky is blue."})


def test_a_model_that_no_list_has(program: Program, upstream: Witness) -> None:
    before = len(upstream.requests("/v1/chat/completions"))
    status, told = program.post("/v1/chat/completions", chat("nobody", "sky"))
    assert (status, told["error"]["code"]) == (404, "model_not_found")
    assert len(upstream.requests("/v1/chat/completions")) == before
