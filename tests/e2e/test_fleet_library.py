"""Pulling, copying, creating and deleting over a fleet, as Ollama's own client does it: every server is a process."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest

from support.program import Program, environment, program, until

SECONDS = 20.0
SLOW = {"when": {"path": "/api/pull", "model": "slow*"}, "play": {"delay_ms": {"piece": 150}}}
STUCK = {"when": {"path": "/api/pull", "model": "stuck*"}, "play": {"fault": "hang_stream"}}
FULL = {"when": {"path": "/api/pull", "model": "huge*"}, "play": {"error": "no space left on device"}}


class Server:
    """One scripted server."""

    def __init__(self, name: str, url: str, process: "subprocess.Popen[str]") -> None:
        self.name = name
        self.url = url
        self._process = process

    def models(self) -> list[str]:
        """Which models it says that it has."""
        with closing(ollama.Client(self.url, timeout=SECONDS)) as client:
            return sorted(str(model.model) for model in client.list().models)

    def gone(self) -> int:
        """How many of its clients have left before their answer was complete."""
        with urllib.request.urlopen(f"{self.url}/_scripted/seen", timeout=SECONDS) as answer:
            return int(json.load(answer)["gone"])

    def kill(self) -> None:
        """Gone at once, with all its connections."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(SECONDS)


@contextmanager
def server(folder: Path, name: str, *models: str, rules: list[Any]) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"{name}.yaml"
    script.write_text(json.dumps({"models": [{"name": model} for model in models], "rules": rules}))
    process = subprocess.Popen(
        [sys.executable, "-m", "arriero.backends.scripted", "--port", "0", "--script", str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(folder),
    )
    try:
        assert process.stdout is not None
        yield Server(name, process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.wait(SECONDS)
        if process.stdout is not None:
            process.stdout.close()


class Herd:
    """Two servers behind one running program."""

    def __init__(self, gpu1: Server, gpu2: Server, door: Program) -> None:
        self.gpu1 = gpu1
        self.gpu2 = gpu2
        self.door = door

    @contextmanager
    def client(self, to: str | None = None) -> Iterator[ollama.Client]:
        """Ollama's client, whose requests name these backends."""
        headers: Mapping[str, str] = {} if to is None else {"X-Arriero-Backend": to}
        with closing(ollama.Client(self.door.url, timeout=SECONDS, headers=headers)) as client:
            yield client

    def models(self) -> list[str]:
        """Which models the program lists."""
        with self.client() as client:
            return sorted(str(model.model) for model in client.list().models)


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    with (
        server(tmp_path / "one", "gpu1", "tiny", "first", rules=[SLOW, STUCK]) as gpu1,
        server(tmp_path / "two", "gpu2", "tiny", "second", rules=[SLOW, STUCK, FULL]) as gpu2,
    ):
        backends = [{"name": one.name, "kind": "ollama", "url": one.url} for one in (gpu1, gpu2)]
        with program(tmp_path / "door", backends) as door:
            until(lambda: len(door.get("/api/tags")["models"]) == 3)
            yield Herd(gpu1, gpu2, door)


def test_a_pull_goes_home_and_with_a_header_everywhere(herd: Herd) -> None:
    with herd.client() as client:
        assert [frame.status for frame in client.pull("alone", stream=True)][-1] == "success"
    assert ("alone:latest" in herd.gpu1.models(), "alone:latest" in herd.gpu2.models()) == (True, False)
    with herd.client("*") as client:
        frames = list(client.pull("both", stream=True))
        assert client.pull("again").status == "success"
    bar = [(frame.total, frame.completed or 0) for frame in frames if frame.digest]
    assert {total for total, _ in bar} == {2000}
    assert [completed for _, completed in bar] == sorted(completed for _, completed in bar)
    assert bar[-1] == (2000, 2000)
    assert [frame.status for frame in frames].count("success") == 1
    assert frames[-1].status == "success"
    assert {f"finished ({name})" for name in ("gpu1", "gpu2")} <= {frame.status for frame in frames}
    for one in (herd.gpu1, herd.gpu2):
        assert {"both:latest", "again:latest"} <= set(one.models())
    assert {"alone:latest", "both:latest", "again:latest"} <= set(herd.models())


def test_copy_and_delete_reach_everybody_and_the_next_listing_shows_it(herd: Herd) -> None:
    with herd.client() as client:
        client.copy("tiny", "mine")
        assert herd.models() == ["first:latest", "mine:latest", "second:latest", "tiny:latest"]
        client.copy("second", "other")
        assert herd.gpu1.models() == ["first:latest", "mine:latest", "tiny:latest"]
        client.delete("tiny")
        assert herd.models() == ["first:latest", "mine:latest", "other:latest", "second:latest"]
        with pytest.raises(ollama.ResponseError) as raised:
            client.delete("tiny")
        assert (raised.value.status_code, raised.value.error) == (404, "model 'tiny' not found")
    with herd.client("gpu2") as client:
        client.delete("mine")
    assert (herd.gpu1.models(), herd.gpu2.models()) == (
        ["first:latest", "mine:latest"],
        ["other:latest", "second:latest"],
    )


def test_a_model_is_created_where_its_files_went(herd: Herd, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 3_000_000)
    with herd.client("gpu2") as client:
        digest = client.create_blob(file)
    with herd.client() as client:
        assert client.create("made", files={"model.gguf": digest}).status == "success"
    assert ("made:latest" in herd.gpu1.models(), "made:latest" in herd.gpu2.models()) == (False, True)
    with herd.client("*") as client:
        client.create_blob(file)
        frames = list(client.create("shared", files={"model.gguf": digest}, stream=True))
    assert frames[-1].status == "success"
    for one in (herd.gpu1, herd.gpu2):
        assert "shared:latest" in one.models()


def test_what_fails_on_one_is_told_with_its_name(herd: Herd) -> None:
    with herd.client("*") as client:
        with pytest.raises(ollama.ResponseError) as raised:
            list(client.pull("huge", stream=True))
        assert raised.value.error == "pulled on gpu1; gpu2: no space left on device"
        with pytest.raises(ollama.ResponseError) as raised:
            client.pull("huge:2")
        assert (raised.value.status_code, raised.value.error) == (
            502,
            "pulled on gpu1; gpu2: no space left on device",
        )
    with herd.client("gpu9") as client:
        with pytest.raises(ollama.ResponseError) as raised:
            client.pull("tiny")
        assert (raised.value.status_code, raised.value.error) == (
            404,
            "no backend named 'gpu9' manages models; these do: gpu1, gpu2",
        )


def test_one_that_is_killed_in_the_middle_of_a_pull(herd: Herd) -> None:
    with herd.client("*") as client:
        stream = client.pull("slow", stream=True)
        while "(gpu2)" not in str(next(stream).status):
            pass
        herd.gpu2.kill()
        with pytest.raises(ollama.ResponseError) as raised:
            list(stream)
    assert raised.value.error.startswith("pulled on gpu1; gpu2: closed the connection in the middle of its answer")
    # Now it is known to be away, and what it has cannot be deleted.
    with herd.client() as client:
        with pytest.raises(ollama.ResponseError) as raised:
            client.delete("tiny")
        assert raised.value.status_code == 502
        assert raised.value.error.startswith("deleted on gpu1; gpu2: ")
    assert herd.gpu1.models() == ["first:latest", "slow:latest"]
    with herd.client("gpu1") as client:
        client.delete("slow")
    assert herd.gpu1.models() == ["first:latest"]


def test_a_client_that_leaves_in_the_middle_of_a_pull_takes_both_calls_with_it(herd: Herd) -> None:
    with herd.client("*") as client:
        stream = client.pull("stuck", stream=True)
        said: set[str] = set()
        while not {"pulling manifest (gpu1)", "pulling manifest (gpu2)"} <= said:
            said.add(str(next(stream).status))
        assert (herd.gpu1.gone(), herd.gpu2.gone()) == (0, 0)
    for one in (herd.gpu1, herd.gpu2):
        until(lambda one=one: one.gone() == 1)
    assert herd.door.get("/api/version")["version"]


def test_when_the_home_is_killed_the_next_one_is_it(herd: Herd) -> None:
    """A refused connection has begun nothing, so nothing is done twice: what the home was told goes to the next one."""
    herd.gpu1.kill()
    with herd.client() as client:
        assert client.pull("new").status == "success"
    assert "new:latest" in herd.gpu2.models()
