"""The real program as a process: `python -m arriero serve`, with a home of its own, and killed for sure.

A test sees it as a user does: an address, two streams of text, an exit status. What the kernel knows of it (open
sockets, children) is read from /proc.
"""

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

START_SECONDS = 20.0
STOP_SECONDS = 10.0


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def write_config(path: Path, backends: Sequence[Mapping[str, Any]], **sections: Any) -> Path:
    """A configuration file. JSON is YAML; a path becomes text."""
    path.write_text(json.dumps({"backends": list(backends), **sections}, default=str))
    return path


class Program:
    """One running `arriero serve`."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def printed(self) -> str:
        """What went to stdout."""
        return (self.folder / "stdout").read_text()

    @property
    def log(self) -> str:
        """What went to stderr."""
        return (self.folder / "stderr").read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's lines, but for one that is just being written, and for what is said before the log begins."""
        whole, _, _ = self.log.rpartition("\n")
        return [json.loads(line) for line in whole.split("\n") if line.startswith("{")]

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = 20.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one request on a connection of its own.

        A body of text or bytes goes as it is, anything else as JSON.
        """
        raw = body if isinstance(body, bytes | str | None) else json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, raw, {"connection": "close", **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a POST."""
        status, _, answer = self.ask("POST", path, body, headers)
        return status, json.loads(answer)

    def get(self, path: str) -> Any:
        """The JSON of a GET that succeeds."""
        status, _, answer = self.ask("GET", path)
        assert status == 200, (status, answer)
        return json.loads(answer)

    def connect(self, seconds: float = 10.0) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def say(self, *pieces: bytes, seconds: float = 10.0) -> bytes:
        """Bytes on a connection of its own; everything that comes until the other side closes it."""
        with self.connect(seconds) as sock:
            for piece in pieces:
                sock.sendall(piece)
            return read_all(sock)

    def children(self) -> list[int]:
        """Process ids of its living children."""
        found: list[int] = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                found += map(int, (task / "children").read_text().split())
            except OSError:
                continue  # the thread has ended meanwhile
        return sorted(found)

    def sockets(self) -> int:
        """How many sockets it holds open."""
        return sum(os.readlink(link).startswith("socket:") for link in _links(Path(f"/proc/{self.pid}/fd")))

    def stop(self, by: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end and wait; its exit status."""
        self.process.send_signal(by)
        return self.process.wait(seconds)

    def end(self) -> None:
        """It is gone with all its children. One that has any is asked first, and takes their folder along; to kill is
        quicker.
        """
        if self.process.poll() is None and self.children():
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(5)

    def ready(self) -> bool:
        """Whether it can serve a model."""
        try:
            return self.ask("GET", "/readyz", seconds=2.0)[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until a model can be served; the log is in the error where it ends instead."""
        end = time.monotonic() + seconds
        while not self.ready():
            status = self.process.poll()
            assert status is None, f"arriero ended with {status}:\n{self.log}"
            assert time.monotonic() < end, f"arriero is not ready after {seconds} s:\n{self.printed}\n{self.log}"
            time.sleep(0.02)

    def wait_listening(self, seconds: float = START_SECONDS) -> None:
        """Wait until it answers at all: it may have no model to serve."""
        end = time.monotonic() + seconds
        while True:
            status = self.process.poll()
            assert status is None, f"arriero ended with {status}:\n{self.log}"
            try:
                self.ask("GET", "/healthz", seconds=2.0)
                return
            except OSError:
                assert time.monotonic() < end, f"arriero does not answer after {seconds} s:\n{self.log}"
                time.sleep(0.02)


def environment(folder: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process of its own may see: nothing of the developer's keys, home or proxies."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(home), "TMPDIR": str(_short_temp()), **(variables or {})}


def command(*arguments: str, python: str = sys.executable) -> list[str]:
    """A command line of arriero."""
    return [python, "-m", "arriero", *arguments]


@contextmanager
def program(
    folder: Path,
    backends: Sequence[Mapping[str, Any]],
    *,
    variables: Mapping[str, str] | None = None,
    wait: bool = True,
    python: str = sys.executable,
    **sections: Any,
) -> Iterator[Program]:
    """A program that serves these backends on a free port; at the end it is gone with all its children.

    `wait`: not entered before a model can be served; otherwise it only listens. `python` is the interpreter that runs
    it.

    A test that is about the end uses `Program.stop`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    server = {"host": "127.0.0.1", "shutdown_seconds": 3, **sections.pop("server", {}), "port": port}
    config = write_config(folder / "arriero.yaml", backends, server=server, **sections)
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command("serve", "--config", str(config), python=python),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=environment(folder, variables),
            start_new_session=True,
        )
    running = Program(process, port, folder)
    try:
        if wait:
            running.wait_ready()
        else:
            running.wait_listening()
        yield running
    finally:
        running.end()


def read_all(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    pieces: list[bytes] = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass  # the other side did not want what was still on its way to it
    return b"".join(pieces)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """Everything up to and with the first read that completes `mark`."""
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, f"closed before {mark!r}: {data!r}"
        data += piece
    return data


def until(holds: Any, seconds: float = 10.0) -> None:
    """Wait until it holds: another process does it, and nothing tells of it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"it does not come to hold within {seconds} s"
        time.sleep(0.02)


def _links(folder: Path) -> Iterator[Path]:
    for link in folder.iterdir():
        try:
            os.readlink(link)
        except OSError:
            continue  # closed meanwhile
        yield link


@cache
def _short_temp() -> Path:
    """Sockets have short paths; pytest's folders may be longer. What programs that are killed leave goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tests-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
