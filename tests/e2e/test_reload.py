"""A configuration that changes while the program serves: model servers and the program are processes."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Host
from support.program import (
    STOP_SECONDS,
    Program,
    command,
    environment,
    free_port,
    program,
    read_until,
    until,
    write_config,
)

WORDS = 30
SLOW = {
    "when": {"contains": "slowly"},
    "play": {"say": [f"word{n} " for n in range(WORDS)], "delay_ms": {"piece": 100}},
}
KINDS = "ollama, openai, engine, scripted"
UP = "the configuration has changed"
STAYS = "the configuration stays as it was"


def chat(text: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": stream}


def backend(host: Host, **more: Any) -> dict[str, Any]:
    return {"name": host.name, "kind": "ollama", "url": host.url, **more}


@contextmanager
def hosts(folder: Path, *names: str) -> Iterator[Sequence[Host]]:
    """Model servers with one model, that may answer slowly."""
    with ExitStack() as stack:
        made = []
        for name in names:
            host = Host(name, folder / name, ["tiny"], rules=[SLOW])
            stack.callback(host.kill)
            host.start()
            made.append(host)
        yield made


class Config:
    """The file of a running program, put in the place of the old one as editors do."""

    def __init__(self, running: Program) -> None:
        self.path = running.folder / "arriero.yaml"
        self._server = json.loads(self.path.read_text())["server"]

    def write(self, backends: Sequence[Mapping[str, Any]], **sections: Any) -> None:
        new = self.path.with_suffix(".new")
        server = {**self._server, **sections.pop("server", {})}
        write_config(new, backends, server=server, **sections).replace(self.path)

    def tear(self, text: str) -> None:
        self.path.write_text(text)


def lines(running: Program, event: str) -> list[dict[str, Any]]:
    """What the log says with these words."""
    return [line for line in running.lines if line["event"] == event]


class Client(threading.Thread):
    """Asks all the time; `answers` has who answered, `errors` everything that was not an answer."""

    def __init__(self, running: Program) -> None:
        super().__init__(daemon=True)
        self.answers: list[str] = []
        self.errors: list[object] = []
        self._running = running
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                status, headers, body = self._running.ask("POST", "/api/chat", chat("hi"))
            except OSError as error:
                self.errors.append(error)
                continue
            if status == 200 and json.loads(body)["done"]:
                self.answers.append(headers["x-arriero-backend"])
            else:
                self.errors.append((status, body))

    def end(self) -> None:
        self._over.set()
        self.join(20)


@contextmanager
def clients(running: Program, count: int = 4) -> Iterator[list[Client]]:
    made = [Client(running) for _ in range(count)]
    for client in made:
        client.start()
    try:
        yield made
    finally:
        for client in made:
            client.end()


@contextmanager
def slow_stream(running: Program) -> Iterator[Callable[[], str]]:
    """A stream that has begun and goes on for some seconds; what is yielded waits for the text of the whole."""
    body = json.dumps(chat("slowly", stream=True)).encode()
    head = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    with running.connect(seconds=20) as sock:
        sock.sendall(head + body)
        begun = read_until(sock, b"word0 ")

        def rest() -> str:
            raw = begun
            while piece := sock.recv(65536):
                raw += piece
            assert raw.endswith(b"0\r\n\r\n"), raw[-200:]
            frames = [json.loads(line) for line in raw.split(b"\r\n") if line.startswith(b"{")]
            assert frames[-1]["done"] is True
            return "".join(frame["message"]["content"] for frame in frames)

        yield rest


def test_a_backend_goes_and_another_comes_while_a_stream_runs_and_everybody_asks(tmp_path: Path) -> None:
    with (
        hosts(tmp_path, "a", "c") as (a, c),
        program(tmp_path / "run", [backend(a)]) as running,
        clients(running) as asking,
        slow_stream(running) as whole,
    ):
        until(lambda: any(client.answers for client in asking))
        config = Config(running)
        config.write([backend(c)])
        until(lambda: bool(lines(running, UP)))
        before = [len(client.answers) for client in asking]
        seen = a.command("GET", "seen?last=0")["requests"]
        until(lambda: all(len(client.answers) > n + 20 for client, n in zip(asking, before, strict=True)))
        assert whole() == "".join(f"word{n} " for n in range(WORDS))
        for client in asking:
            client.end()
        assert [client.errors for client in asking] == [[]] * len(asking)
        # One of each client may have been on its way to the old one.
        assert [set(client.answers[n + 1 :]) for client, n in zip(asking, before, strict=True)] == [{"c"}] * len(asking)
        assert a.command("GET", "seen?last=0")["requests"] <= seen + len(asking)  # not even checks
        (line,) = lines(running, UP)
        assert (line["added"], line["removed"], line["level"]) == (["c"], ["a"], "info")
        assert [row["name"] for row in running.get("/internal/status/endpoints")["endpoints"]] == ["c"]


def test_changes_one_after_the_other_cost_nobody_an_error(tmp_path: Path) -> None:
    """Backends are added, removed, changed and put in another order, with timeouts that make each of them another."""
    with (
        hosts(tmp_path, "a", "b", "c") as (a, b, c),
        program(tmp_path / "run", [backend(a)]) as running,
        clients(running) as asking,
    ):
        config = Config(running)
        fleets: list[list[dict[str, Any]]] = [
            [backend(a), backend(b)],
            [backend(b, priority=7, max_concurrency=1), backend(c, max_concurrency=1)],
            [backend(c, timeouts={"idle": 99}), backend(b, timeouts={"idle": 99})],
            [backend(a, url=b.url)],
            [backend(c)],
        ]
        for number, fleet in enumerate(fleets, 1):
            config.write(fleet)
            until(lambda number=number: len(lines(running, UP)) == number)
            before = [len(client.answers) for client in asking]
            until(lambda before=before: all(len(x.answers) > n + 3 for x, n in zip(asking, before, strict=True)))
        for client in asking:
            client.end()
        assert [client.errors for client in asking] == [[]] * len(asking)
        assert {client.answers[-1] for client in asking} == {"c"}


def test_a_broken_file_is_refused_and_named_and_service_goes_on(tmp_path: Path) -> None:
    with hosts(tmp_path, "a", "b") as (a, b), program(tmp_path / "run", [backend(a)]) as running:
        config = Config(running)
        config.tear("backends:\n  - {name: b, kind: olama, url: 'http://h'}\nserver: {prot: 1}\n")
        until(lambda: len(lines(running, STAYS)) == 2)
        told = [(line["level"], line["problem"]) for line in lines(running, STAYS)]
        assert told == [
            ("error", f"{config.path}:3: server.prot: unknown key; the nearest known one is 'port'"),
            ("error", f"{config.path}:2: backends[0]: kind is not one of {KINDS}; did you mean ollama?"),
        ]
        assert running.post("/api/chat", chat("hi"))[0] == 200
        config.path.unlink()
        until(lambda: len(lines(running, STAYS)) == 3)
        assert lines(running, STAYS)[-1]["problem"] == f"--config: there is no file {config.path}"
        assert running.post("/api/chat", chat("hi"))[0] == 200
        config.write([backend(b)])
        until(lambda: bool(lines(running, UP)))
        assert running.ask("POST", "/api/chat", chat("hi"))[1]["x-arriero-backend"] == "b"


def test_a_hang_up_reads_the_file_again_where_nobody_watches_it(tmp_path: Path) -> None:
    unwatched = {"watch": False}
    with hosts(tmp_path, "a") as (a,), program(tmp_path / "run", [backend(a)], server=unwatched) as running:
        Config(running).write([backend(a)], server=unwatched, routing={"aliases": {"fast": ["tiny"]}})
        time.sleep(0.6)
        assert running.post("/api/chat", {**chat("hi"), "model": "fast"})[0] == 404
        running.process.send_signal(signal.SIGHUP)
        until(lambda: bool(lines(running, UP)))
        status, answer = running.post("/api/chat", {**chat("hi"), "model": "fast"})
        assert (status, answer["model"], lines(running, UP)[0]["sections"]) == (200, "fast", ["routing"])
        running.process.send_signal(signal.SIGHUP)
        until(lambda: bool(lines(running, "the configuration was read again and is the same")))
        assert running.stop() == 0


def test_a_setting_that_needs_a_restart_is_named_and_others_count(tmp_path: Path) -> None:
    with hosts(tmp_path, "a") as (a,), program(tmp_path / "run", [backend(a)]) as running:
        Config(running).write([backend(a)], server={"port": free_port()}, limits={"max_body_bytes": 10})
        restart = "restart arriero for these settings: they do not change while it runs"
        until(lambda: bool(lines(running, restart)))
        (line,) = lines(running, restart)
        assert (line["level"], line["settings"]) == ("warning", ["server.port"])
        assert running.post("/api/chat", chat("hi"))[0] == 413


def test_a_mounted_configuration_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    with hosts(tmp_path, "a", "b") as (a, b):
        port, mount = free_port(), tmp_path / "mount"
        for number, host in enumerate((a, b)):
            (mount / f"..{number}").mkdir(parents=True)
            write_config(mount / f"..{number}" / "config.yaml", [backend(host)], server={"port": port})
        (mount / "..data").symlink_to("..0")
        (mount / "config.yaml").symlink_to("..data/config.yaml")
        with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command("serve", "--config", str(mount / "config.yaml")),
                cwd=tmp_path,
                env=environment(tmp_path),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        running = Program(process, port, tmp_path)
        try:
            running.wait_ready()
            (mount / "..tmp").symlink_to("..1")
            os.replace(mount / "..tmp", mount / "..data")
            until(lambda: bool(lines(running, UP)))
            assert running.ask("POST", "/api/chat", chat("hi"))[1]["x-arriero-backend"] == "b"
            assert running.stop() == 0
        finally:
            process.kill()
            process.wait(STOP_SECONDS)


def test_the_file_of_olla_is_read_again(tmp_path: Path) -> None:
    with hosts(tmp_path, "a", "b") as (a, b):
        port, file = free_port(), tmp_path / "olla.yaml"

        def write(host: Host) -> None:
            static = {"endpoints": [{"url": host.url, "name": host.name, "type": "ollama"}]}
            whole = {"server": {"host": "127.0.0.1", "port": port}, "discovery": {"type": "static", "static": static}}
            file.write_text(json.dumps(whole))

        write(a)
        with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command("serve", "--olla-config", str(file)),
                cwd=tmp_path,
                env=environment(tmp_path),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        running = Program(process, port, tmp_path)
        try:
            running.wait_ready()
            write(b)
            until(lambda: bool(lines(running, UP)))
            assert running.ask("POST", "/olla/ollama/api/chat", chat("hi"))[1]["x-arriero-backend"] == "b"
            assert running.stop() == 0
        finally:
            process.kill()
            process.wait(STOP_SECONDS)


def test_members_of_a_name_are_there_from_the_start(tmp_path: Path) -> None:
    with hosts(tmp_path, "a") as (a,):
        named = backend(a, url=a.url.replace("127.0.0.1", "localhost"), discover="dns")
        with program(tmp_path / "run", [named]) as running:
            assert running.ask("POST", "/api/chat", chat("hi"))[1]["x-arriero-backend"] == "a-127.0.0.1"
            assert "a-127.0.0.1" in running.printed
            (request,) = a.requests("/api/chat")
            assert request["headers"]["host"] == f"localhost:{a.port}"
            done = subprocess.run(
                command("check", "--config", str(running.folder / "arriero.yaml")),
                cwd=running.folder,
                env=environment(running.folder),
                capture_output=True,
                text=True,
                timeout=20,
            )
        assert "a-127.0.0.1" in done.stdout


@pytest.mark.parametrize("asks", ["hang up", "terminal gone"])
def test_a_hang_up_of_the_terminal_ends_it_and_any_other_does_not(tmp_path: Path, asks: str) -> None:
    with hosts(tmp_path, "a") as (a,):
        port = free_port()
        config = write_config(tmp_path / "arriero.yaml", [backend(a)], server={"port": port})
        ours, its = pty.openpty()
        process = subprocess.Popen(
            command("serve", "--config", str(config)),
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=its,
            stdout=subprocess.DEVNULL,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        try:
            (tmp_path / "stderr").touch()
            (tmp_path / "stdout").touch()
            running = Program(process, port, tmp_path)
            running.wait_ready()
            if asks == "terminal gone":
                os.close(ours)
                process.send_signal(signal.SIGHUP)
                assert process.wait(STOP_SECONDS) == 0
            else:
                process.send_signal(signal.SIGHUP)
                time.sleep(0.3)
                assert (process.poll(), running.post("/api/chat", chat("hi"))[0]) == (None, 200)
                assert running.stop() == 0
                os.close(ours)
        finally:
            process.kill()
            process.wait(STOP_SECONDS)


def test_a_local_server_that_comes_up_later_is_found(tmp_path: Path) -> None:
    """On its usual port; only where nothing of this machine stands there."""
    with socket.socket() as sock:
        if sock.connect_ex(("127.0.0.1", 1337)) == 0:
            pytest.skip("somebody listens on port 1337")
    host = Host("late", tmp_path / "late", ["tiny"])
    host.port, host.url = 1337, "http://127.0.0.1:1337"
    with program(tmp_path / "run", [], server={"discover": "local"}, wait=False) as running:
        assert running.post("/api/chat", chat("hi"))[0] == 404
        host.start()
        try:
            until(lambda: running.post("/api/chat", chat("hi"))[0] == 200, seconds=20)
            # There may be a server of the developer's own as well.
            assert "jan" in [name for line in lines(running, "backends have come or gone") for name in line["added"]]
        finally:
            host.kill()
