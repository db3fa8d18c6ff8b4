"""A page of docs/ followed by a reader: its files are written, its commands typed, and what comes back is compared.

- A block after `<!-- file: NAME -->` is a file of the reader's folder.
- In a block of the language `console` a line after `$ ` is typed, and the lines below it are what comes. `...` is any
  text in a line, or alone any lines; the number of blanks does not count.
- `arriero serve` goes on running in the background until the next one. What it prints is compared when it can serve.

Addresses of the page (a vendor's, the port) are replaced by those of the test on the way in, and back on the way out.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from support.program import Program, environment, free_port

ROOT = Path(__file__).parents[2]
SECONDS = 30.0

_BLOCK = re.compile(r"(?:<!-- file: (?P<name>\S+) -->\n\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A block of code; `name` is that of the file that it is, if it is one."""

    name: str | None
    language: str
    text: str


class Step(NamedTuple):
    """What is typed, and what comes."""

    command: str
    said: str


def page(name: str) -> str:
    """The text of a page."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Its blocks of code, in order."""
    return [Block(found["name"], found["language"], found["text"]) for found in _BLOCK.finditer(text)]


def steps(text: str) -> Iterator[Step]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, said = part.partition("\n")
        yield Step(command, said)


def fits(said: str, found: str) -> bool:
    """Whether a text is what the page says."""
    pattern = "".join(_pattern(line) for line in _plain(said))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(found))) is not None


def _pattern(line: str) -> str:
    return r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"


def _plain(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class Reader:
    """Somebody with an empty home and an empty folder. `port` is the page's for arriero, `places` what else is replaced
    by what; `variables` stand for addresses that the page leaves to their default.
    """

    def __init__(self, folder: Path, port: str, places: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self.folder = folder / "folder"
        self.folder.mkdir()
        self._own = folder
        self.port = free_port()
        # The longest first: an address has a port in it.
        self._places = dict(sorted({**places, port: str(self.port)}.items(), key=lambda pair: -len(pair[0])))
        self._variables = dict(variables)
        self._running: subprocess.Popen[bytes] | None = None
        commands = folder / "bin"
        commands.mkdir()
        for name, arguments in (("arriero", "-m arriero"), ("python", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
            script.chmod(0o755)

    def follow(self, text: str) -> int:
        """Do everything that a page says; how many commands there were."""
        typed = 0
        for block in blocks(text):
            if block.name is not None:
                self.write(block)
            elif block.language == "console":
                for step in steps(block.text):
                    found = self.type(step.command)
                    assert fits(step.said, found), f"$ {step.command}\n{found}\nThe page has:\n{step.said}"
                    typed += 1
        return typed

    def write(self, block: Block) -> None:
        """A file of the page. What `.env` says now, no variable of the test says."""
        assert block.name is not None
        (self.folder / block.name).write_text(self._there(block.text))
        if block.name == ".env":
            self._variables = {name: value for name, value in self._variables.items() if f"{name}=" not in block.text}

    def type(self, command: str) -> str:
        """What comes of a command, with the page's addresses."""
        if re.search(r"\barriero serve\b(?!.*--dry-run)", command):
            return self._serve(command)
        done = subprocess.run(
            ["bash", "-c", self._there(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            cwd=self.folder,
            env=self._environment(OLLAMA_HOST=f"127.0.0.1:{self.port}"),
            check=False,
        )
        return self._back(done.stdout.decode())

    def close(self) -> None:
        """Nothing of it goes on."""
        if self._running is not None:
            running, self._running = self._running, None
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(SECONDS)

    def _serve(self, command: str) -> str:
        self.close()
        with (self._own / "stdout").open("wb") as out, (self._own / "stderr").open("wb") as err:
            self._running = subprocess.Popen(
                ["bash", "-c", self._there(command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )
        program = Program(self._running, self.port, self._own)
        program.wait_ready()
        return self._back(program.printed)

    def _environment(self, **more: str) -> dict[str, str]:
        found = environment(self._own, {**self._variables, **more})
        path = f"{self._own / 'bin'}{os.pathsep}{found['PATH']}"
        # Stronger than any `.env` of a page: no test listens to the network, or on a port that somebody may have.
        own = {"ARRIERO_HOST": "127.0.0.1", "ARRIERO_PORT": str(self.port), "ARRIERO_DISCOVER": "false"}
        return {**found, **own, "PATH": path}

    def _there(self, text: str) -> str:
        for ours, theirs in self._places.items():
            text = text.replace(ours, theirs)
        return text

    def _back(self, text: str) -> str:
        for ours, theirs in self._places.items():
            text = text.replace(theirs, ours)
        return text
