"""The filter file changes fifty times while everybody asks: each answer is one that the old rules or the new ones give,
and in the end the last rules count.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.drop_in import serving
from support.hosts import Host, chat
from support.program import Program, free_port, until
from support.proxied import KEY

ALWAYS, SOMETIMES = "acme/always", "acme/sometimes"
CHANGES = 50


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Host]:
    host = Host("vendor", tmp_path / "vendor", [ALWAYS, SOMETIMES], speaks=["openai"])
    host.start()
    yield host
    host.kill()


class Client(threading.Thread):
    """Asks for both models until it is told to stop, and counts what it was answered."""

    def __init__(self, program: Program, **headers: str) -> None:
        super().__init__(daemon=True)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.faults: list[Exception] = []
        self.enough = threading.Event()
        self._program = program
        self._headers = headers
        self.start()

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                for model in (ALWAYS, SOMETIMES):
                    status, _, _ = self._program.ask("POST", "/api/chat", chat(model), self._headers)
                    self.counts[model, status] += 1
        except Exception as error:  # the test tells of it
            self.faults.append(error)


def test_fifty_changes_while_everybody_asks(vendor: Host, tmp_path: Path) -> None:
    file, port = tmp_path / "models-filter.txt", free_port()
    file.write_text(f"{ALWAYS}\n")
    variables = {"ARRIERO_DISCOVER": "false", "OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": f"{vendor.url}/v1"}
    flags = ["--host", "127.0.0.1", "--port", str(port), "--no-demo-model"]
    with serving(tmp_path, flags, port, variables) as running:
        until(lambda: running.post("/api/chat", chat(ALWAYS))[0] == 200)
        clients = [Client(running), Client(running), Client(running, **{"x-provider": "openrouter"})]
        seen = [0, 0]
        for change in range(1, CHANGES + 1):
            shown = change % 2
            new = file.with_suffix(".new")
            new.write_text(f"# {change}\n{ALWAYS}\n" + f"{SOMETIMES}\n" * shown)
            new.replace(file)
            # Now and then it is waited for: else the last rules alone might ever count.
            if change % 10 in (0, 1):
                until(lambda: running.post("/api/chat", chat(SOMETIMES))[0] == (200 if shown else 403))  # noqa: B023
                seen[shown] += 1
        for client in clients:
            client.enough.set()
            client.join(20)
            assert client.faults == []
            assert {model_status[1] for model_status in client.counts if model_status[0] == ALWAYS} == {200}
            assert {model_status[1] for model_status in client.counts if model_status[0] == SOMETIMES} == {200, 403}
        assert seen == [5, 5]
        assert [entry["name"] for entry in running.get("/api/tags")["models"]] == [f"{ALWAYS}:latest"]
        assert running.get("/api/providers/openrouter/stats")["error_count"] == 0
        assert running.get("/api/providers/openrouter/stats")["current_load"] == 0
