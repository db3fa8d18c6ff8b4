"""Starting and stopping, seen from outside: what is printed and logged, which status is left, what stays behind."""

import asyncio
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from arriero.config import Address
from arriero.run import _listening
from support.engine import alive, eventually, needs_engine
from support.gateway import Played, http, stream
from support.gguf import scripted
from support.program import STOP_SECONDS, Program, command, environment, free_port, program, until, write_config
from support.raw_backend import Peer

SECRETS = ("sk-very-secret", "team-secret")
HI = [{"role": "user", "content": "hi"}]


def sse(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


WORDS = stream(sse("Hel"), sse("lo"), b"data: [DONE]\n\n")


@asynccontextmanager
async def serving(folder: Path, played: Played, **sections: Any) -> AsyncIterator[Program]:
    """The program in front of a backend that plays in this loop."""
    async with played.raw as raw:
        backend = {
            "name": "lab",
            "kind": "openai",
            "url": f"{raw.url}/v1",
            "api_key": SECRETS[0],
            "headers": {"X-Team": SECRETS[1]},
        }
        running = program(folder, [backend], **sections)
        entered = await asyncio.to_thread(running.__enter__)
        try:
            yield entered
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


@asynccontextmanager
async def streaming(running: Program) -> AsyncIterator[asyncio.StreamReader]:
    """A streamed chat of which the first word is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    body = json.dumps({"model": "gpt-x", "messages": HI}).encode()
    writer.write(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    try:
        async with asyncio.timeout(10):
            await reader.readuntil(b"Hel")
        yield reader
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def run(folder: Path, *arguments: str, seconds: float = 20.0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


# ---- starting ------------------------------------------------------------------------------------------------------


async def test_the_start_table_goes_to_stdout_and_the_log_to_stderr(tmp_path: Path) -> None:
    async with serving(tmp_path, Played("openai", WORDS)) as running:
        await asyncio.to_thread(until, lambda: "gpt-x" in running.printed)
        assert f"listens on {running.url}" in running.printed
        assert re.search(r"lab +openai +http://127\.0\.0\.1:\d+\S* +ready +1: gpt-x", running.printed)
        lines = running.lines
    assert [line["event"] for line in lines] == ["backend answers"]
    assert {"level", "timestamp", "backend", "models"} <= lines[0].keys()


async def test_a_hidden_model_is_not_the_one_to_try(tmp_path: Path) -> None:
    listed = b'{"data":[{"id":"gpt-secret"},{"id":"gpt-x"}]}'
    async with serving(tmp_path, Played("openai", WORDS, models=listed), models={"exclude": ["*secret"]}) as running:
        await asyncio.to_thread(until, lambda: "gpt-x" in running.printed)
        assert "ready  1: gpt-x\n" in running.printed
        assert '"model":"gpt-x"' in running.printed


async def test_nothing_that_is_printed_or_logged_or_answered_holds_a_secret(tmp_path: Path) -> None:
    """Not even where a backend says it back."""
    echo = http(b'{"error":{"message":"Incorrect API key: sk-very-secret, team-secret"}}', status="401 Unauthorized")
    async with serving(tmp_path, Played("openai", echo), logging={"level": "debug"}) as running:
        ask = {"model": "gpt-x", "messages": HI}
        answers = [
            await asyncio.to_thread(running.ask, "POST", path, ask, {"authorization": "Bearer client-secret"})
            for path in ("/api/chat", "/v1/chat/completions")
        ]
        for path in ("/api/tags", "/api/ps", "/v1/models"):
            answers.append(await asyncio.to_thread(running.ask, "GET", path))
        answers.append(await asyncio.to_thread(running.ask, "POST", "/api/show", {"model": "gpt-x"}))
        await asyncio.to_thread(until, lambda: running.log.count("exchange failed") == 2)
        said = running.printed + running.log + "".join(f"{headers} {body!r}" for _, headers, body in answers)
    assert [status for status, _, _ in answers[:2]] == [502, 502]
    assert "exchange failed" in said
    assert not [secret for secret in (*SECRETS, "client-secret") if secret in said]


@pytest.mark.parametrize("path", ["/api/chat", "/olla/proxy/v1/rerank"])
async def test_a_stranger_does_not_get_another_share_by_another_x_forwarded_for(tmp_path: Path, path: str) -> None:
    """Neither on the fast lane nor on the other one, where the server below has its own opinion of proxies."""
    limits = {"requests_per_minute_per_address": 1, "burst": 1}
    async with serving(tmp_path, Played("openai", WORDS), limits=limits) as running:
        ask = {"model": "nobody-has-it", "messages": HI}
        answers = [
            await asyncio.to_thread(running.ask, "POST", path, ask, {"x-forwarded-for": f"192.0.2.{number}"})
            for number in range(2)
        ]
    assert [status for status, _, _ in answers] == [404, 429]


def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        config = write_config(tmp_path / "a.yaml", [], server={"port": port})
        done = run(tmp_path, "serve", "--config", str(config))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port} on 127.0.0.1 is taken by another program" in done.stderr
    assert "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_configuration_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    backend = {"name": "a", "kind": "openai", "url": "http://127.0.0.1:1/v1", "tls": {"ca_file": "/nowhere.pem"}}
    https = {**backend, "url": "https://127.0.0.1:1/v1"}
    config = write_config(tmp_path / "a.yaml", [https], server={"port": free_port()})
    done = run(tmp_path, "serve", "--config", str(config))
    assert done.returncode == 1
    assert done.stderr.startswith("arriero: ") and "a: " in done.stderr and "Traceback" not in done.stderr


def test_a_member_of_a_name_that_cannot_be_built_is_said_in_a_sentence(tmp_path: Path) -> None:
    """It turns out when the name has been looked up: the loop runs already."""
    https = {"name": "a", "kind": "ollama", "url": "https://127.0.0.1:1", "tls": {"ca_file": "/nowhere.pem"}}
    config = write_config(tmp_path / "a.yaml", [{**https, "discover": "dns"}], server={"port": free_port()})
    done = run(tmp_path, "serve", "--config", str(config))
    assert (done.returncode, done.stdout) == (1, "")
    reason = "ca_file '/nowhere.pem' cannot be read: No such file or directory"
    assert done.stderr == f"arriero: backend a-127.0.0.1: {reason}\n"


@needs_engine
def test_a_bare_machine_answers_a_chat(tmp_path: Path) -> None:
    """No file, no variable: the built-in model is there, and the program says how to ask it."""
    port = free_port()
    out, err = (tmp_path / "stdout").open("wb"), (tmp_path / "stderr").open("wb")
    with out, err:
        process = subprocess.Popen(
            command("serve", "--port", str(port)),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    running = Program(process, port, tmp_path)
    try:
        running.wait_ready()
        until(lambda: "curl" in running.printed)
        status, answer = running.post("/api/chat", {"model": "arriero-demo", "messages": HI, "stream": False})
        assert (status, answer["done"]) == (200, True), answer
        assert answer["message"]["content"].strip()
        assert running.stop() == 0
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


# ---- sockets -------------------------------------------------------------------------------------------------------


def test_every_form_of_a_name_is_listened_on_at_one_port() -> None:
    sockets = _listening(Address("localhost", 0))
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert socket.AF_INET in {sock.family for sock in sockets}
        assert not any(sock.getblocking() for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_taken_address_is_an_error_with_the_place() -> None:
    (holder,) = _listening(Address("127.0.0.1", 0))
    with closing(holder):
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            _listening(Address("127.0.0.1", port))
    with pytest.raises(OSError, match=r"cannot listen on 203\.0\.113\.7, port 0"):
        _listening(Address("203.0.113.7", 0))


def test_several_addresses(tmp_path: Path) -> None:
    one, other = free_port(), free_port()
    listen = [f"127.0.0.1:{one}", f"127.0.0.1:{other}"]
    config = write_config(tmp_path / "a.yaml", [], server={"listen": listen})
    with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command("serve", "--config", str(config)), cwd=tmp_path, env=environment(tmp_path), stdout=out, stderr=err
        )
    try:
        for port in (one, other):
            Program(process, port, tmp_path).wait_listening()
        assert Program(process, one, tmp_path).stop() == 0
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


# ---- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_an_open_stream_end(tmp_path: Path, by: signal.Signals) -> None:
    told = asyncio.Event()

    async def slow(peer: Peer) -> None:
        half = WORDS.index(sse("lo"))
        await peer.say(WORDS[:half])
        async with asyncio.timeout(10):
            await told.wait()
        await peer.say(WORDS[half:])

    async with (
        serving(tmp_path, Played("openai", slow), server={"shutdown_seconds": 10}) as running,
        streaming(running) as reader,
    ):
        running.process.send_signal(by)
        await asyncio.sleep(0.3)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", running.port)
        told.set()
        async with asyncio.timeout(10):
            rest = await reader.read()
        status = await asyncio.to_thread(running.process.wait, STOP_SECONDS)
        log = running.log
    assert b'"done":true' in rest and rest.endswith(b"0\r\n\r\n")
    assert (status, "Traceback" in log) == (0, False)


async def test_a_stream_that_does_not_end_is_cut_when_the_time_is_over(tmp_path: Path) -> None:
    async def endless(peer: Peer) -> None:
        await peer.say(WORDS[: WORDS.index(sse("lo"))])
        await peer.gone()

    async with (
        serving(tmp_path, Played("openai", endless), server={"shutdown_seconds": 1}) as running,
        streaming(running) as reader,
    ):
        status = await asyncio.to_thread(running.stop)
        async with asyncio.timeout(10):
            try:
                rest = await reader.read()
            except ConnectionResetError:
                rest = b""
    assert (status, b'"done":true' in rest) == (0, False)


@needs_engine
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_the_engines_children_end_with_it(tmp_path: Path, by: signal.Signals) -> None:
    models = tmp_path / "models"
    models.mkdir()
    scripted(models / "hello.gguf", "Hello to the world.")
    backend = {"name": "local", "kind": "engine", "models_dir": models, "demo_model": False}
    with program(tmp_path, [backend]) as running:
        assert running.post("/api/generate", {"model": "hello"})[0] == 200
        children = running.children()
        assert children
        status = running.stop(by)
        await eventually(lambda: not any(alive(child) for child in children))
    assert status == (0 if by is signal.SIGTERM else -signal.SIGKILL)
