"""Model servers outside of the program under test, which can be told what to play and be killed for real.

A `Host` is a process of its own, `arriero scripted`. A `Witness` is the same server in a thread of the test, where the
bytes of every request can be read: a process masks credentials and keeps no bodies.
"""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from arriero.backends.scripted import ScriptedServer, parse_script
from arriero.backends.scripted.server import Received
from support.program import Program, environment, free_port, until

Value = TypeVar("Value")


class Host:
    """One scripted server as a process. It keeps its port, however often it dies."""

    def __init__(self, name: str, folder: Path, models: Sequence[str], **script: Any) -> None:
        self.name = name
        self.folder = folder
        self.models = tuple(models)
        folder.mkdir(parents=True, exist_ok=True)
        self._script = folder / "script.json"
        self._script.write_text(json.dumps({"models": [{"name": model} for model in models], **script}))
        self._process: subprocess.Popen[bytes] | None = None
        self._spoilt = False  # it was told to play something, or is frozen
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run it; returns when it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "arriero.backends.scripted", *self._flags()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            env=environment(self.folder),
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().strip()
        assert line == self.url, f"{self.name} said {line!r} and listens nowhere"

    def _flags(self) -> Sequence[str]:
        return ("--port", str(self.port), "--name", self.name, "--script", str(self._script))

    def kill(self) -> None:
        """End it at once, as a crash does. Connections to it are refused when this returns."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(10)
            self._spoilt = False
            assert process.stdout is not None
            process.stdout.close()

    def freeze(self) -> None:
        """From now on it takes connections, and answers nothing."""
        self._spoilt = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was frozen."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def as_new(self) -> None:
        """As it was at the start: alive, with its own models, no commands and no counts."""
        if self._process is None:
            self.start()
            return
        if self._spoilt:
            self.thaw()
            self.well()
            self._spoilt = False
        listed = {entry["id"] for entry in self.get("/v1/models")["data"]}
        for name in listed - set(self.models):
            self.command("DELETE", f"models/{name}")
        for name in set(self.models) - listed:
            self.add(name)
        until(lambda: self.command("DELETE", "seen")["in_flight"] == 0)

    # ---- commands --------------------------------------------------------------------------------------------------

    def command(self, method: str, place: str, body: object = None) -> Any:
        """The JSON of a command below `/_scripted/`, which has to succeed."""
        status, answer = self._ask(method, f"/_scripted/{place}", body)
        assert status == 200, (self.name, place, status, answer)
        return answer

    def fault(self, word: str, *paths: str, times: int | None = None) -> None:
        """Play a fault on the paths of its own, or on these, so often."""
        self._spoilt = True
        asked = [("path", path) for path in paths] + ([("times", str(times))] if times is not None else [])
        self.command("POST", f"fault/{word}?{urlencode(asked)}")

    def play(self, when: Mapping[str, Any], **play: Any) -> None:
        """One rule, instead of all that were commanded before."""
        self.plays([{"when": when, "play": play}])

    def plays(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Rules, instead of all that were commanded before."""
        self._spoilt = True
        self.command("PUT", "play", {"rules": rules})

    def well(self) -> None:
        """No commanded rules any more."""
        self.command("DELETE", "play")

    def add(self, model: str) -> None:
        """List one model more."""
        self.command("POST", "models", {"name": model})

    def remove(self, model: str) -> None:
        """List one model less."""
        self.command("DELETE", f"models/{model}")

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self._ask("GET", path)[1]

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"connection": "close"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    # ---- what has come in ------------------------------------------------------------------------------------------

    def came(self, *paths: str) -> int:
        """How many requests for these paths have come since it was new."""
        counts: Mapping[str, int] = self.command("GET", "seen?last=0")["paths"]
        return sum(counts.get(path, 0) for path in paths)

    @property
    def in_flight(self) -> int:
        """Requests that have no end of their answer yet; checks come and go."""
        found: int = self.command("GET", "seen?last=0")["in_flight"]
        return found

    @property
    def gone(self) -> int:
        """Readers that left before the end of their answer."""
        found: int = self.command("GET", "seen?last=0")["gone"]
        return found

    def requests(self, path: str) -> list[dict[str, Any]]:
        """Those of the last hundred requests that were for this path, the newest at the end."""
        last: list[dict[str, Any]] = self.command("GET", "seen?last=100")["last"]
        return [request for request in last if request["path"].partition("?")[0] == path]


class Witness:
    """A scripted server in a thread, whose requests a test can read to the byte."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self._server = ScriptedServer(parse_script(json.dumps(script)), kept=2000)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._run(self._server.start())

    def kill(self) -> None:
        """Cut every connection, and refuse new ones."""
        self._run(self._server.close())

    def revive(self) -> None:
        """Listen again at the same address."""
        self._run(self._server.start(port=int(self.url.rpartition(":")[2])))

    def close(self) -> None:
        """The end, of the thread as well."""
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def requests(self, path: str) -> list[Received]:
        """What has come for this path, the newest at the end; the query does not count."""
        return [request for request in self.all() if request.path.partition("?")[0] == path]

    def all(self) -> list[Received]:
        """Everything that has come and is kept."""
        return self._run(self._copied())

    async def _copied(self) -> list[Received]:
        return list(self._server.requests)

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


class Hosts(NamedTuple):
    """The model servers."""

    alpha: Host
    beta: Host
    gamma: Host
    witness: Witness

    def as_new(self) -> None:
        """Everybody is alive and as at the start."""
        for host in (self.alpha, self.beta, self.gamma):
            host.as_new()


# ---- a program and its clients -------------------------------------------------------------------------------------


def chat(model: str, text: str = "hi", *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a chat."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}


@contextmanager
def opened(
    program: Program, path: str, body: object, headers: Mapping[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """A POST whose answer is read piece by piece; at the end of the block the client goes, wherever it is."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


class Asking(threading.Thread):
    """A POST in a thread of its own, for requests that have to wait: `answer` when it is there."""

    def __init__(self, program: Program, path: str, body: object, **headers: str) -> None:
        super().__init__(daemon=True)
        self._ask: Callable[[], tuple[int, dict[str, str], bytes]] = lambda: program.ask(
            "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.start()

    def run(self) -> None:
        self.answer = self._ask()

    def result(self, seconds: float = 20.0) -> tuple[int, dict[str, str], bytes]:
        """The answer, waited for."""
        self.join(seconds)
        assert self.answer is not None, f"no answer within {seconds} s"
        return self.answer


def endpoint(program: Program, name: str) -> dict[str, Any]:
    """What the status says of one backend."""
    rows = program.get("/internal/status")["endpoints"]
    found: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return found


def wait_well(program: Program, names: Iterable[str] | None = None, seconds: float = 10.0) -> None:
    """Wait until these backends (all, without names) are healthy and take requests, and none is on its way to them."""
    end = time.monotonic() + seconds
    while True:
        rows = program.get("/internal/status")["endpoints"]
        meant = [row for row in rows if names is None or row["name"] in names]
        ill = [row for row in meant if not _is_well(row)]
        if not ill:
            return
        assert time.monotonic() < end, f"not well after {seconds} s: {ill}\n{program.log[-4000:]}"
        time.sleep(0.02)


def _is_well(row: Mapping[str, Any]) -> bool:
    told = (row["status"], row["breaker"], row["connections"])
    return told == ("healthy", "closed", 0) and "left alone" not in row["issues"]


def listed(program: Program, door: str) -> list[str]:
    """The names of an Ollama listing, in its order."""
    return [model["name"] for model in program.get(f"{door}/api/tags")["models"]]
