"""Where log lines go and what they look like, and a stderr that does not take them."""

import asyncio
import json
import logging
import os
import pty
import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import structlog

from arriero.config.schema import LoggingConfig
from arriero.dialects.base import Operation
from arriero.errors import BackendBroken
from arriero.gateway.journal import Journal
from arriero.gateway.outcome import Outcome
from arriero.logs import DROPPED, HELD_BYTES, LEVELS, Logs, Outlet, as_object, as_text, cleaned, set_up
from support.lanes import inbound

WELL = Outcome(model="m", backend="gpu1", attempts=1, status=200)


class Pipe:
    """Both ends; the reading one takes what is there."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)

    def read(self) -> bytes:
        """Everything that is in it."""
        pieces: list[bytes] = []
        with suppress(BlockingIOError):
            while piece := os.read(self.reads, 1 << 20):
                pieces.append(piece)
        return b"".join(pieces)

    def fill(self) -> int:
        """Bytes until nothing fits any more."""
        os.set_blocking(self.writes, False)
        size = 0
        with suppress(BlockingIOError):
            while True:
                size += os.write(self.writes, b"." * 4096)
        os.set_blocking(self.writes, True)
        return size

    def close_reading(self) -> None:
        """Nobody reads it any more."""
        os.close(self.reads)
        self.reads = -1

    def close(self) -> None:
        for end in (self.reads, self.writes):
            if end >= 0:
                os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@contextmanager
def logging_to(descriptor: int, **wanted: Any) -> Iterator[Logs]:
    """The process's logging for a moment."""
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    logs = set_up(LoggingConfig(**wanted), descriptor)
    try:
        yield logs
    finally:
        logs.close()
        structlog.configure(**before)
        assert logging.getLogger().handlers == handlers


def objects(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- forms ---------------------------------------------------------------------------------------------------------


def test_every_line_begins_with_the_same_fields_whoever_says_it(pipe: Pipe) -> None:
    async def main(logs: Logs) -> None:
        journal = Journal()
        logs.open(journal)
        journal.note(WELL, inbound("POST", "/api/chat"), 1_700_000_000_002_500_000, "ollama", Operation.CHAT, True)
        structlog.get_logger("somebody").warning("said", backend="gpu1", models=3)
        logging.getLogger("library").error("it %s", "broke")

    with logging_to(pipe.writes) as logs:
        asyncio.run(main(logs))
    lines = objects(pipe.read())
    assert [list(line)[:3] for line in lines] == [["event", "level", "timestamp"]] * 3
    assert [line["event"] for line in lines] == ["said", "it broke", "exchange"]
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert all(stamp.fullmatch(line.pop("timestamp")) for line in lines)
    assert lines[0] == {"event": "said", "level": "warning", "backend": "gpu1", "models": 3}
    assert lines[1] == {"event": "it broke", "level": "error", "logger": "library"}


def test_a_terminal_gets_text() -> None:
    screen, terminal = pty.openpty()
    try:
        with logging_to(terminal) as logs:
            journal = Journal()
            logs.open(journal)
            outcome = Outcome(model="m", attempts=1, error=BackendBroken("\x1b[2Jgone"))
            asyncio.run(_noted(journal, outcome))
        shown = os.read(screen, 65536).decode()
    finally:
        os.close(screen)
        os.close(terminal)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert shown != plain and "\x1b" not in plain  # colours, and nothing else that steers it
    assert "exchange failed" in plain and r"\x1b[2Jgone" in plain
    assert "model=m" in plain and "status=502" in plain and "operation=chat" in plain
    assert "None" not in plain and "dropped" not in plain


async def _noted(journal: Journal, outcome: Outcome) -> None:
    journal.note(outcome, inbound("POST", "/api/chat"), 1_700_000_000_002_500_000, "ollama", Operation.CHAT, True)


def test_the_form_can_be_chosen(pipe: Pipe) -> None:
    with logging_to(pipe.writes, format="text"):
        structlog.get_logger().info("said", backend="gpu1")
    text = pipe.read().decode()
    assert re.fullmatch(r"\S+Z \[info *\] said +backend=gpu1\n", text)


@pytest.mark.parametrize("level", LEVELS)
def test_what_weighs_less_than_the_level_is_not_written(pipe: Pipe, level: str) -> None:
    with logging_to(pipe.writes, level=level):
        for name in LEVELS:
            getattr(structlog.get_logger(), name)(name)
            logging.getLogger("library").log(LEVELS[name], name)
    names = [name for name in LEVELS if LEVELS[name] >= LEVELS[level]]
    said = [line["event"] for line in objects(pipe.read()) if "logger" not in line]
    assert said == names


def test_a_traceback_is_in_its_line_and_shows_no_variables(pipe: Pipe) -> None:
    for style in ("json", "text"):
        with logging_to(pipe.writes, format=style):
            try:
                key = "sk-very-secret"
                raise ValueError(f"\x1b[2J{len(key)}")
            except ValueError as error:
                structlog.get_logger().error("met", exc_info=error)
        text = pipe.read().decode()
        assert "Traceback" in text and "sk-very" not in text.replace('key = "sk-very-secret"', "")
        assert "\x1b" not in text and r"\x1b[2J14" in text.replace("\\\\", "\\")
        assert text.count("\n") == 1 or style == "text"


def test_a_text_of_strangers_is_text_wherever_it_stands() -> None:
    evil, shown = "a\nb\x9b", "a\\nb\\x9b"
    fields = {"error": evil, "backends": [evil, (evil,)], "told": {evil: evil}, "exception": "one\ntwo\x1b", "n": 1}
    assert cleaned(fields) == {
        "error": shown,
        "backends": [shown, [shown]],
        "told": {shown: shown},
        "exception": "one\ntwo\\x1b",
        "n": 1,
    }


def test_what_is_no_json_is_shown_as_text() -> None:
    line = as_object({"event": "e", "level": "info", "timestamp": "t", "path": os.path, "when": {1, 2}})
    assert json.loads(line)["when"] == [1, 2] and json.loads(line)["path"].startswith("<module")


def test_half_a_character_breaks_no_line() -> None:
    fields: Mapping[str, Any] = cleaned({"event": "\ud800", "level": "info", "timestamp": "t"})
    assert json.loads(as_object(fields))["event"] == "\\ud800"
    assert as_text(colors=False)(fields).endswith(b"\n")


# ---- a stderr that does not take them ------------------------------------------------------------------------------


def render(fields: Mapping[str, Any]) -> bytes:
    return f"{fields['event']}: {fields['lines']}\n".encode()


def line(number: int, size: int = 1000) -> bytes:
    return b"%d %b\n" % (number, b"x" * size)


async def collected(pipe: Pipe, complete: Callable[[bytes], bool]) -> bytes:
    """What comes out of a pipe until that is complete."""
    text = b""
    async with asyncio.timeout(10):
        while not complete(text):
            readable = asyncio.Event()
            asyncio.get_running_loop().add_reader(pipe.reads, readable.set)
            await readable.wait()
            asyncio.get_running_loop().remove_reader(pipe.reads)
            text += pipe.read()
    return text


def test_lines_go_out_at_once(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes, render)
    outlet.write(b"one\n")
    assert pipe.read() == b"one\n"
    outlet.write(b"two\nthree\n")
    assert pipe.read() == b"two\nthree\n"


async def test_what_a_full_pipe_does_not_take_comes_later(pipe: Pipe) -> None:
    outlet, size = Outlet(pipe.writes, render), pipe.fill()
    lines = [line(number) for number in range(300)]
    for one in lines:
        outlet.write(one)  # does not block, though nobody reads
    text = await collected(pipe, lambda text: text.endswith(lines[-1]))
    assert text[size:] == b"".join(lines)


async def test_more_than_a_pipe_holds_flows_as_it_is_read(pipe: Pipe) -> None:
    outlet, lines = Outlet(pipe.writes, render), b"".join(map(line, range(500)))
    outlet.write(lines)
    assert await collected(pipe, lambda text: len(text) >= len(lines)) == lines


async def test_lines_that_nobody_takes_are_dropped_and_counted(pipe: Pipe) -> None:
    outlet, size = Outlet(pipe.writes, render), pipe.fill()
    count = HELD_BYTES // len(line(10_000)) + 50
    for number in range(10_000, 10_000 + count):
        outlet.write(line(number))
    kept = HELD_BYTES // len(line(10_000))
    told = f"{DROPPED}: {count - kept}\n".encode()
    text = (await collected(pipe, lambda text: text.endswith(told)))[size:]
    assert text == b"".join(line(number) for number in range(10_000, 10_000 + kept)) + told
    outlet.write(b"well again\n")
    assert pipe.read() == b"well again\n"


def test_the_lines_are_missing_where_the_log_says_so(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes, render)
    pipe.fill()
    outlet.write(b"x" * (HELD_BYTES - 3) + b"\n")
    outlet.write(b"one\ntwo\nthree\n")
    pipe.read()
    for _ in range(HELD_BYTES):
        if pipe.read().endswith(b"x\n"):
            break
        outlet.write(b"")
    outlet.write(b"four\n")
    assert pipe.read() == f"{DROPPED}: 3\nfour\n".encode()


def test_a_pipe_that_nobody_will_read_again_harms_nobody(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes, render)
    pipe.close_reading()
    for number in range(5000):
        outlet.write(line(number))
    outlet.close()


def test_no_line_of_a_pipe_is_mixed_with_those_of_another_process(pipe: Pipe) -> None:
    """Up to the size that a pipe takes as a whole, each write ends with a line."""
    reads, size = [], select.PIPE_BUF
    outlet = Outlet(pipe.writes, render)
    lines = b"".join(line(number, 900) for number in range(20))
    outlet.write(lines)
    while piece := _read(pipe.reads, size // 900 * 900):
        reads.append(piece)
    assert b"".join(reads) == lines


def _read(descriptor: int, size: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, size)
    return b""


def test_the_end_waits_a_moment_for_a_reader_and_no_longer(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writes, render)
    size = pipe.fill()
    outlet.write(b"last\n")
    outlet.close(seconds=0.01)
    assert pipe.read() == b"." * size
    outlet.close(seconds=0.01)
    assert pipe.read() == b"last\n"


def test_the_end_writes_what_the_journal_has(pipe: Pipe) -> None:
    with logging_to(pipe.writes) as logs:
        journal = Journal()
        logs.open(journal)
        asyncio.run(_noted(journal, WELL))
        assert pipe.read() == b""
    assert [one["model"] for one in objects(pipe.read())] == ["m"]


def test_a_file_takes_everything(tmp_path: Any) -> None:
    with (tmp_path / "log").open("wb") as file:
        outlet = Outlet(file.fileno(), render)
        lines = b"".join(map(line, range(5000)))
        outlet.write(lines)
    assert (tmp_path / "log").read_bytes() == lines
