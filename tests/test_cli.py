import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from arriero import __version__
from arriero.cli import _client_url, _is_here, app
from support.answering import Answer, answering, ndjson
from support.engine import needs_engine

SECRET = "MARKER5ECRET"


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program in an empty folder that is its home, with no variables but these."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "200", **(env or {})}
    command = [sys.executable, "-m", "arriero", *arguments]
    return subprocess.run(command, cwd=folder, env=clean, input=stdin, capture_output=True, text=True, timeout=60)


def test_the_version(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"arriero {__version__}\n", "")


def test_help_names_the_commands_and_the_flags(tmp_path: Path) -> None:
    assert {"serve", "check", "ask", "pull", "scripted"} <= set(re.findall(r"\w+", run(tmp_path, "--help").stdout))
    text = run(tmp_path, "serve", "--help").stdout
    for flag in ("--config", "--host", "--port", "--api-key", "--base-url", "--capabilities", "-c", "--models", "-m"):
        assert flag in text


@pytest.mark.parametrize("command", ["serve", "check"])
def test_help_shows_the_defaults(tmp_path: Path, command: str) -> None:
    text = " ".join(re.sub(r"[^\w.:()/-]+", " ", run(tmp_path, command, "--help").stdout).split())
    shown = re.findall(r"--([a-z-]+)(?: --[a-z-]+)* (?:(?!--).)*?\(default: ([^)]+)\)", text)
    assert shown == [
        ("host", "127.0.0.1"),
        ("port", "11434"),
        ("models-filter", "./models-filter.txt"),
        ("demo-model", "yes"),
        ("reload", "yes"),
        ("log-level", "info"),
    ]


def test_an_unknown_flag_names_the_nearest(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--prot", "1")
    assert done.returncode == 2
    assert "No such option: --prot" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize("command", ["serve", "check"])
def test_problems_are_told_in_full_without_a_traceback(tmp_path: Path, command: str) -> None:
    (tmp_path / "arriero.yaml").write_text("server: {prot: 1}\nrouting: {policy: fast}\n")
    done = run(tmp_path, command, env={"OLLAMA_KEEP_ALIVE": "x"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"arriero: {tmp_path}/arriero.yaml:1: server.prot: unknown key; the nearest known one is 'port'",
        "arriero: OLLAMA_KEEP_ALIVE: is not a number of seconds or a duration such as 5m or 1h30m",
        f"arriero: {tmp_path}/arriero.yaml:2: routing.policy: is not one of priority, round-robin, least-connections, "
        "weighted, fastest, cheapest, capability; did you mean fastest?",
    ]


def test_a_flag_that_cannot_be(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--port", "high", "--models", "a")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "arriero: --models: needs a backend of the OpenAI API: give --base-url or --api-key as well",
        "arriero: --port: is not a whole number",
    ]


def test_a_port_in_use(tmp_path: Path) -> None:
    with answering({"/api/version": Answer(b'{"version":"0.12.3"}')}) as server:
        done = run(tmp_path, "serve", "--port", str(server.port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"arriero: port {server.port} on 127.0.0.1 is taken by an Ollama server (version 0.12.3).\n"
        "  Use another port:  arriero serve --port "
    )


# ---- check ----------------------------------------------------------------------------------------------------------


def test_check_shows_settings_with_their_origin_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text(
        f"server: {{host: 127.0.0.1}}\nbackends:\n  - {{name: a, kind: ollama, url: 'http://h', api_key: {SECRET}}}\n"
    )
    (tmp_path / ".env").write_text("CAPACITIES=tools\nLOG_LEVEL=warn\n")
    env = {
        "OPENAI_API_KEY": SECRET,
        "OPENAI_BASE_URL": "http://h2/v1",
        "PORT": "1234",
        "HTTPS_PROXY": f"http://{SECRET}@p",
    }
    done = run(tmp_path, "check", "--no-probe", env=env)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr == "arriero: warning: .env: CAPACITIES is deprecated: use CAPABILITIES\n"
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert lines["File:"] == [f"{tmp_path}/arriero.yaml"]
    assert lines["server.host"] == ["127.0.0.1", "arriero.yaml:1"]
    assert lines["server.port"] == ["1234", "PORT"]
    assert "server.workers" not in lines
    assert lines["logging.level"] == ["warning", ".env:", "LOG_LEVEL"]
    assert lines["backends.a.api_key"] == ["set", "(from", "arriero.yaml:3)", "arriero.yaml:3"]
    assert lines["backends.openai.api_key"] == ["set", "(from", "OPENAI_API_KEY)", "OPENAI_API_KEY"]
    assert lines["proxy.https"] == ["set", "(from", "HTTPS_PROXY)", "HTTPS_PROXY"]
    assert "timeouts.idle" not in lines
    everything = run(tmp_path, "check", "--no-probe", "--all", env=env).stdout
    assert "timeouts.idle" in everything and "server.workers" in everything
    assert "\x1b[" not in done.stdout


def test_check_of_ollas_file_is_what_validating_it_was(tmp_path: Path) -> None:
    file = tmp_path / "olla.yaml"
    endpoint = f"{{url: 'http://h:1', name: a, type: ollama, auth: {{type: bearer, token: {SECRET}}}}}"
    file.write_text(f"proxy:\n  engine: olla\ndiscovery: {{static: {{endpoints: [{endpoint}]}}}}\n")
    done = run(tmp_path, "check", "--olla-config", "olla.yaml", "--no-probe", env={"OLLA_SERVER_PORT": "8080"})
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "arriero: warning: olla.yaml:2: proxy.engine is ignored: " in done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert lines["File:"] == [str(file)]
    assert lines["server.port"] == ["8080", "OLLA_SERVER_PORT"]
    assert lines["server.host"] == ["localhost", "Olla's", "default"]
    assert lines["backends.a.url"] == ["http://h:1", "olla.yaml:3"]
    file.write_text("proxy: {load_balancer: fair}\nserver: {prot: 1}\n")
    for command in (["check", "--no-probe"], ["serve"]):
        done = run(tmp_path, *command, "--olla-config", "olla.yaml")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines() == [
            f"arriero: {file}:1: proxy.load_balancer: is not one of least-connections, priority, round-robin",
            f"arriero: {file}:2: server.prot: unknown key, in Olla too; the nearest known one is 'port'",
        ]


def test_check_asks_each_backend(tmp_path: Path) -> None:
    models = Answer(b'{"data":[{"id":"m1"},{"id":"m2"}]}', headers={"Content-Type": "application/json"})
    with answering({"/v1/models": models}) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        (tmp_path / "arriero.yaml").write_text(f"backends: [{{name: a, kind: openai, url: '{url}'}}]")
        done = run(tmp_path, "check")
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(rf"^a +openai +{url} +answers +2: m1, m2", done.stdout, re.MULTILINE)
        (tmp_path / "arriero.yaml").write_text(f"backends: [{{name: a, kind: openai, url: '{url}/no'}}]")
        done = run(tmp_path, "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(rf"^a +openai +{url}/no +fails +\S", done.stdout, re.MULTILINE)


def test_check_of_a_file_that_names_no_backend(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text("backends: []")
    done = run(tmp_path, "check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "No backend is configured.")


PROXY_ENV = f"""\
# copied from the program before
export OPENROUTER_API_KEY="sk-or-{SECRET}"
OPENAI_API_KEY={SECRET}
OPENAI_ENABLED=false
OPENROUTER_TIMEOUT=60
ANYTHING_ELSE={SECRET}
not a line
"""


def test_check_tells_what_was_understood_of_each_provider(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbf" + PROXY_ENV.replace("\n", "\r\n").encode())
    done = run(tmp_path, "check", "--no-probe", env={"OPENROUTER_PRIORITY": "3", "GOOGLE_ENABLED": "true"})
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        "arriero: warning: .env:7: cannot be read and is ignored",
        "arriero: warning: GOOGLE_ENABLED is true, but GOOGLE_API_KEY is not set: google is left out",
    ]
    shown = [re.split(r" {2,}", line.rstrip()) for line in done.stdout.splitlines()]
    providers = shown[shown.index(["provider", "what", "value", "origin"]) : shown.index([""])]
    assert providers == [
        ["provider", "what", "value", "origin"],
        ["openrouter", "enabled", "yes", ".env: OPENROUTER_API_KEY"],
        ["openrouter", "url", "https://openrouter.ai/api/v1", "default"],
        ["openrouter", "profile", "openrouter", "default"],
        ["openrouter", "api_key", "set", ".env: OPENROUTER_API_KEY"],
        ["openrouter", "priority", "97 (rank 3)", "OPENROUTER_PRIORITY"],
        ["openrouter", "check_interval", "30", "default"],
        ["openrouter", "timeout first_byte", "60", ".env: OPENROUTER_TIMEOUT"],
        ["openrouter", "timeout idle", "60", ".env: OPENROUTER_TIMEOUT"],
        ["openai", "enabled", "no: OPENAI_ENABLED is false", ".env: OPENAI_ENABLED"],
        ["google", "enabled", "no: GOOGLE_API_KEY is not set", "-"],
        ["others", "enabled", "no: nothing is set for anthropic, azure, aws_bedrock, ollama", "-"],
    ]


@pytest.mark.parametrize("command", [["check", "--no-probe"], ["serve", "--dry-run"]])
def test_the_flags_of_serve_are_tried_without_serving(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "mine.txt").write_text("gpt-4:latest\n")
    flags = ["--port", "0", "--api-key", f"sk-or-{SECRET}", "--models-filter", "mine.txt", "--log-level", "WARN"]
    (tmp_path / "arriero.yaml").write_text("server: {watch: false}\nlogging: {level: dbg}\n")
    done = run(tmp_path, *command, *flags, "--reload")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert lines["backends.openrouter.api_key"] == ["set", "(from", "--api-key)", "--api-key"]
    assert lines["models.filter_file"] == [f"{tmp_path}/mine.txt", "--models-filter"]
    assert lines["logging.level"] == ["warning", "--log-level"]
    assert lines["server.watch"] == ["true", "--reload"]
    done = run(tmp_path, *command, env={"OPENROUTER_TIMEOUT": "0", "OPENROUTER_API_KEY": SECRET})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "arriero: OPENROUTER_TIMEOUT: is not a number of seconds from 1 to 3600\n"


def test_check_takes_the_flags_of_serve() -> None:
    command = typer.main.get_command(app)
    flags = {
        name: {flag for option in found.params for flag in (*option.opts, *option.secondary_opts)}
        for name, found in command.commands.items()  # type: ignore[attr-defined]
        if name in ("serve", "check")
    }
    assert flags["serve"] - flags["check"] == {"--dry-run"}


def test_an_empty_filter_flag_switches_the_filter_off(tmp_path: Path) -> None:
    (tmp_path / "models-filter.txt").write_text("gpt-4:latest\n")
    assert "models-filter.txt" in run(tmp_path, "check", "--no-probe").stdout
    assert "models-filter.txt" not in run(tmp_path, "check", "--no-probe", "--models-filter", "").stdout


# ---- ask ------------------------------------------------------------------------------------------------------------


def message(content: str, done: bool = False) -> dict[str, object]:
    return {"message": {"role": "assistant", "content": content}, "done": done}


def test_ask(tmp_path: Path) -> None:
    answer = Answer(ndjson(message("Because "), message("it is."), message("", done=True)))
    with answering({"/api/chat": answer}) as server:
        env = {"OLLAMA_HOST": f"0.0.0.0:{server.port}", "OLLAMA_API_KEY": "k"}
        done = run(tmp_path, "ask", "m", "-", "--system", "short", env=env, stdin="why?")
        assert (done.returncode, done.stdout, done.stderr) == (0, "Because it is.\n", "")
        by_flag = run(tmp_path, "ask", "m", "why?", "--host", f"http://127.0.0.1:{server.port}")
        assert by_flag.stdout == "Because it is.\n"
        by_port = run(tmp_path, "ask", "m", "why?", env={"PORT": str(server.port)})
        assert by_port.stdout == "Because it is.\n"
        by_url = run(tmp_path, "ask", "m", "why?", env={"OLLAMA_HOST": f"http://127.0.0.1:{server.port}/"})
        assert by_url.stdout == "Because it is.\n"
    _, headers, body = server.seen[0]
    assert headers["authorization"] == "Bearer k"
    assert json.loads(body)["messages"] == [{"role": "system", "content": "short"}, {"role": "user", "content": "why?"}]


def test_ask_when_nobody_listens(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    done = run(tmp_path, "ask", "m", "why?", env={"OLLAMA_HOST": f":{port}"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"arriero: nothing listens at http://127.0.0.1:{port} (Connection refused).\n"
        "  Start arriero in another terminal:  arriero serve\n"
    )


# ---- scripted -------------------------------------------------------------------------------------------------------


def scripted(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """The process and the line that it prints."""
    command = [sys.executable, "-m", "arriero", "scripted", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline()


def asked(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_scripted_is_commanded_killed_and_revived_on_its_port(tmp_path: Path) -> None:
    script = tmp_path / "play.yaml"
    script.write_text('{name: old, models: [{name: tiny}], rules: [{play: {say: "I am {name}"}}]}')
    chat = '{"model": "tiny", "stream": false, "messages": [{"role": "user", "content": "hi"}]}'
    process, line = scripted("--script", str(script), "--name", "gpu1")
    with process:
        port = int(line.rpartition(":")[2])
        assert line == f"http://127.0.0.1:{port}\n"
        assert asked(port, "POST", "/api/chat", chat)[1]["message"]["content"] == "I am gpu1"
        assert asked(port, "POST", "/_scripted/fault/hang?path=/api/chat") == (200, {"name": "gpu1", "commanded": 1})
        with socket.create_connection(("127.0.0.1", port), 20) as hanging:
            request = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: {len(chat)}\r\n\r\n{chat}"
            hanging.sendall(request.encode())
            process.kill()
            assert process.wait(20) == -signal.SIGKILL
            with pytest.raises(ConnectionRefusedError):
                asked(port, "GET", "/api/tags")
            revived, line = scripted("--port", str(port))
            with revived:
                assert line == f"http://127.0.0.1:{port}\n"
                assert asked(port, "GET", "/_scripted/seen")[1]["requests"] == 0
                assert asked(port, "GET", "/api/tags")[1]["models"][0]["name"] == "scripted:latest"
                revived.terminate()
                assert revived.wait(20) == 0


def test_scripted_on_a_port_in_use(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        done = run(tmp_path, "scripted", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"arriero: port {port} on 127.0.0.1 is taken by another program; give another --port, or 0 for a free one\n"
    )


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("h", "http://h:11434"),
        (":1", "http://127.0.0.1:1"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("::1", "http://[::1]:11434"),
        ("https://h", "https://h:443"),
        ("https://h:8443/base/", "https://h:8443/base"),
    ],
)
def test_where_a_client_goes(text: str, url: str) -> None:
    assert _client_url(text) == url


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("", True),
        ("localhost", True),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("127.1.2.3:1", True),
        ("gpu1:11434", False),
        ("10.0.0.5", False),
        ("https://127.example.com", False),
    ],
)
def test_whether_a_client_stays_on_this_machine(text: str, here: bool) -> None:
    assert _is_here(_client_url(text)) is here


@needs_engine
def test_check_tells_what_the_stores_hold(tmp_path: Path) -> None:
    (tmp_path / ".ollama" / "models" / "manifests" / "registry.ollama.ai").mkdir(parents=True)
    (tmp_path / ".arriero" / "models").mkdir(parents=True)
    for letter in "abcd":
        (tmp_path / ".arriero" / "models" / f"{letter}.gguf").write_bytes(b"none")
    shown = run(tmp_path, "check", env={"ARRIERO_DISCOVER": "false"}).stdout.splitlines()
    assert shown[shown.index("Store ~/.arriero/models: empty") :] == [
        "Store ~/.arriero/models: empty",
        *(f"  cannot be used: {letter}:latest: not a GGUF file" for letter in "abcd"),
        "Ollama's models in ~/.ollama/models are not served; to do so:  "
        "ARRIERO_READ_ONLY=1 arriero serve --models-dir ~/.ollama/models",
    ]


# ---- the start ------------------------------------------------------------------------------------------------------


def test_the_command_line_imports_little() -> None:
    """What only some commands need, or only a start with a file, is not imported by the others."""
    code = "import sys, arriero.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = set(loaded.stdout.split())
    heavy = {
        "rich",
        "yaml",
        "dotenv",
        "uvicorn",
        "starlette",
        "asyncio",
        "http.client",
        "arriero.run",
        "arriero.server",
    }
    assert heavy & modules == set()
