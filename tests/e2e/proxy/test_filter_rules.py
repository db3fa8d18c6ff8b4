"""Each rule of `models-filter.txt` on the running program: the file changes, and listings and requests follow.

Before each rule the file hides all models, so that one that is not read fails.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support.hosts import Host, chat
from support.program import Program, program, until
from support.proxied import entry, provider

GPT, MINI, GEMINI, FREE = "openai/gpt-4o", "openai/gpt-4o-mini", "google/gemini-pro", "meta-llama/llama-3:free"
IDS = (GPT, MINI, GEMINI, FREE)
ALL = frozenset(IDS)
NOTHING = "!*\n"


class Written(NamedTuple):
    """The bytes of a file, and the models that it lets through."""

    text: str | bytes
    shown: frozenset[str]


def only(*ids: str) -> frozenset[str]:
    return frozenset(ids)


RULES: Mapping[str, Written] = {
    "one rule per line": Written("gpt-4o:latest\ngemini-pro:latest\n", only(GPT, GEMINI)),
    "trimmed": Written("  gpt-4o:latest \t\n", only(GPT)),
    "blank lines": Written("\n\ngpt-4o:latest\n   \n", only(GPT)),
    "comments": Written("# gemini-pro:latest\n  # indented\ngpt-4o:latest\n", only(GPT)),
    "no trailing comments": Written("gpt-4o:latest # mine\ngemini-pro:latest\n", only(GEMINI)),
    "! excludes": Written("!gpt-4o:latest\n", ALL - {GPT}),
    "! with a pattern": Written("!*:free\n", ALL - {FREE}),
    "* is a pattern": Written("gpt*:latest\n", only(GPT, MINI)),
    "? is a pattern": Written("gpt-?o:latest\n", only(GPT)),
    "[] within a pattern": Written("gemini-[a-z]*\n", only(GEMINI)),
    "[] alone is a name": Written("gpt-4[o]\ngemini-pro\n", only(GEMINI)),
    "exact": Written("gpt-4o:latest\n", only(GPT)),
    "exact in its letter case": Written("GPT-4o:latest\ngemini-pro:latest\n", only(GEMINI)),
    "a pattern in its letter case": Written("GPT*\ngemini*\n", only(GEMINI)),
    "the name that ollama-proxy made of :free": Written("llama-3-free:latest\n", only(FREE)),
    "the whole id": Written("openai/gpt-4o\nmeta-llama/llama-3:free\n", only(GPT, FREE)),
    "excludes beat includes": Written("!gpt-4o-mini:latest\ngpt*\n", only(GPT)),
    "excludes alone allow the rest": Written("!gpt*\n", only(GEMINI, FREE)),
    "no rules allow all": Written("# nothing\n\n", ALL),
    "UTF-8": Written("modèle-é\ngemini-pro\n".encode(), only(GEMINI)),
    "UTF-8 with a byte order mark": Written("\ufeffgpt-4o:latest\n".encode(), only(GPT)),
    "lines of Windows": Written("gpt-4o:latest\r\n!gemini-pro\r\n", only(GPT)),
}


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """OpenRouter."""
    rules = [{"when": {"path": "/v1/models"}, "play": {"body": {"data": [*map(entry, IDS)]}}}]
    host = Host("openrouter", tmp_path_factory.mktemp("vendor"), IDS, speaks=["openai"], rules=rules)
    host.start()
    yield host
    host.kill()


@pytest.fixture(scope="module")
def gate(vendor: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with a filter file."""
    folder = tmp_path_factory.mktemp("filter")
    (folder / "models-filter.txt").write_text(NOTHING)
    backends = [provider("openrouter", vendor.url, "openrouter")]
    models = {"filter_file": "models-filter.txt"}
    with program(folder, backends, wait=False, server={"watch": False}, models=models) as running:
        until(lambda: running.get("/api/providers")["providers"][0]["healthy"])
        yield running


def shown(running: Program) -> frozenset[str]:
    return frozenset(model["id"] for model in running.get("/v1/models")["data"])


@pytest.mark.parametrize("rule", RULES)
def test_filter(gate: Program, rule: str) -> None:
    text, wanted = RULES[rule]
    for written, then in ((NOTHING, frozenset()), (text, wanted)):
        (gate.folder / "models-filter.txt").write_bytes(written.encode() if isinstance(written, str) else written)
        gate.process.send_signal(signal.SIGHUP)
        until(lambda then=then: shown(gate) == then)
    assert {id: gate.post("/api/chat", chat(id))[0] for id in IDS} == {id: 200 if id in wanted else 403 for id in IDS}


def _nowhere(file: Path) -> None:
    """There is none."""


def _a_folder(file: Path) -> None:
    file.mkdir()


def _no_text(file: Path) -> None:
    file.write_bytes(b"gpt-4o:latest\n\xff\xfe\n")


UNREAD: Mapping[str, tuple[Callable[[Path], None], Sequence[str]]] = {
    "a missing file allows all": (_nowhere, ["there is no file"]),
    "an unreadable file allows all and is told": (_a_folder, ["is a folder", "every model is allowed"]),
    "no UTF-8 allows all and is told": (_no_text, ["not UTF-8", "every model is allowed"]),
}


@pytest.mark.parametrize("rule", UNREAD)
def test_filter_that_cannot_be_read(vendor: Host, tmp_path: Path, rule: str) -> None:
    make, told = UNREAD[rule]
    make(tmp_path / "models-filter.txt")
    backends = [provider("openrouter", vendor.url, "openrouter")]
    with program(tmp_path, backends, models={"filter_file": "models-filter.txt"}) as running:
        until(lambda: shown(running) == ALL)
        assert running.post("/api/chat", chat(GPT))[0] == 200
        (warning,) = [line for line in running.log.splitlines() if line.startswith("arriero: warning")]
        assert all(words in warning for words in told)
