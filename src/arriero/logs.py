"""Where log lines go, and what they look like: stderr, text for people on a terminal, one JSON object a line elsewhere.

Every line takes this way: structlog's, the journal's, and what libraries say by `logging`. What is in a line is not
decided here, but that it stays one line, and that nobody has to wait for a stderr that is not read.
"""

import asyncio
import logging
import os
import select
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import RLock
from typing import Any

import msgspec
import structlog

from arriero.config.schema import LoggingConfig
from arriero.gateway.journal import Journal, Line, as_json
from arriero.gateway.outcome import printable

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

STDERR = 2

FIRST = ("event", "level", "timestamp")

HELD_BYTES = 1024 * 1024
"""So much waits for a stderr that does not take it; lines after that are dropped, and counted."""

AGAIN_SECONDS = 0.1
"""When a stderr that took nothing is asked again."""

MORE_SECONDS = 0.005
"""When one that took something is: a pipe holds no more than a moment's lines."""

LAST_SECONDS = 1.0
"""How long the end of the process waits for it."""

DROPPED = "log lines were dropped: stderr did not take them"

Render = Callable[[Mapping[str, Any]], bytes]
"""One line, with its end, of the fields `event`, `level`, `timestamp` and whatever else there is."""


class Outlet:
    """A file descriptor that is written to as far as it takes something at once. Lines are whole, in their order.

    A pipe is asked before each piece, and no piece is larger than a pipe that says yes must take: so no write blocks,
    and the descriptor stays as it is for those who share it. Threads may write as well.
    """

    def __init__(self, descriptor: int, render: Render) -> None:
        self._descriptor = descriptor
        self._render = render
        self._held = bytearray()
        self._dropped = 0
        self._lock = RLock()  # the collector may end a task in here, which then has something to say
        self._timer: asyncio.TimerHandle | None = None
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, lines: bytes) -> None:
        """Whole lines, each with its end. Never blocks, never raises."""
        with self._lock:
            took, start = self._push(), 0
            while start < len(lines):
                end = _end_of_lines(lines, start, HELD_BYTES - len(self._held))
                if end == start:
                    self._dropped += lines.count(b"\n", start)
                    break
                self._tell_dropped()
                self._held += lines[start:end]
                took, start = self._push() or took, end
            if self._held and self._timer is None:
                self._come_again(took)

    def close(self, seconds: float = LAST_SECONDS) -> None:
        """The last of it, with some patience."""
        end = time.monotonic() + seconds
        with self._lock:
            self._push(end)
            self._tell_dropped()
            self._push(end)

    def _tell_dropped(self) -> None:
        """The place where lines are missing says so."""
        if self._dropped:
            told = {"event": DROPPED, "level": "warning", "timestamp": _now(), "lines": self._dropped}
            self._dropped = 0
            self._held += self._render(told)

    def _push(self, end: float = 0.0) -> bool:
        """As much as is taken now, or before `end`; whether anything was."""
        held, took = self._held, False
        while held:
            if not self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                break
            # Whole lines in one piece, so that those of several processes do not mix.
            size = len(held) if self._is_file else _end_of_lines(held, 0, select.PIPE_BUF) or select.PIPE_BUF
            try:
                taken = os.write(self._descriptor, held[:size])
            except BlockingIOError:
                break  # someone who shares it has made it so
            except OSError:
                # Nobody reads it any more, or the disk is full: what was held is lost, what comes is tried again.
                self._dropped += held.count(b"\n")
                held.clear()
                break
            del held[:taken]
            took = True
        return took

    def _come_again(self, took: bool) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the loop, behind it or beside it: the next line takes this one along, or the end does
        self._timer = loop.call_later(MORE_SECONDS if took else AGAIN_SECONDS, self._again)

    def _again(self) -> None:
        self._timer = None
        with self._lock:
            took = self._push()
            if not self._held:
                self._tell_dropped()
                took |= self._push()
            if self._held:
                self._come_again(took)


def _end_of_lines(lines: bytes | bytearray, start: int, size: int) -> int:
    """Where the lines from `start` on end that are not larger than `size` together; `start` if the first one is."""
    if len(lines) - start <= size:
        return len(lines)
    return max(start, lines.rfind(b"\n", start, start + max(0, size)) + 1)


class Logs:
    """The logging of one process, from `set_up` to its end."""

    def __init__(self, outlet: Outlet, render: Render, least: int, *, people: bool) -> None:
        self._outlet = outlet
        self._render = render
        self._least = least
        self._people = people
        self._journal: Journal | None = None
        self._handler = _FromLogging()
        logging.getLogger().addHandler(self._handler)

    def open(self, journal: Journal) -> None:
        """The journal's lines go the way of all others."""
        self._journal = journal
        journal.open(self._outlet.write, self._as_text if self._people else as_json, self._least)

    def close(self) -> None:
        """Write what is still there."""
        if self._journal is not None:
            self._journal.flush()
        self._outlet.close()
        logging.getLogger().removeHandler(self._handler)

    def _as_text(self, lines: Sequence[Line]) -> bytes:
        return b"".join([self._render(_worth_reading(line)) for line in lines])


def set_up(config: LoggingConfig, descriptor: int = STDERR) -> Logs:
    """From now on every line goes there, as the configuration wants it."""
    on_terminal = os.isatty(descriptor)
    people = on_terminal if config.format == "auto" else config.format == "text"
    least, render = LEVELS[config.level], as_text(colors=on_terminal) if people else as_object
    outlet = Outlet(descriptor, render)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            lambda logger, name, fields: render(cleaned(fields)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *names: _Printer(outlet.write),
        cache_logger_on_first_use=True,
    )
    return Logs(outlet, render, least, people=people)


class _Printer:
    """What structlog calls at the end: one method for every level."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = write


class _FromLogging(logging.Handler):
    """What libraries say by `logging` becomes a line like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, LEVELS["debug"]), LEVELS["critical"])
        structlog.get_logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)


# ---- forms ---------------------------------------------------------------------------------------------------------


def as_object(fields: Mapping[str, Any]) -> bytes:
    """A JSON object; the fields that every line has stand first."""
    return _encode({**dict.fromkeys(FIRST), **fields}) + b"\n"


def as_text(*, colors: bool) -> Render:
    """For people. A traceback shows no variables: there may be a key among them."""
    render = structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )
    return lambda fields: (render(None, "", dict(fields)) + "\n").encode("utf-8", "replace")


def cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same with texts that are only text, whoever they come from. A traceback keeps its lines."""
    return {
        key: "\n".join(map(printable, value.split("\n"))) if key == "exception" else _clean(value)
        for key, value in fields.items()
    }


def _clean(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case list() | tuple():
            return [_clean(item) for item in value]
        case dict():
            return {_clean(key): _clean(item) for key, item in value.items()}
        case _:
            return value


def _worth_reading(line: Line) -> dict[str, Any]:
    """For people, who see what is missing."""
    fields = msgspec.to_builtins(line)
    return {key: value for key, value in fields.items() if value not in (None, (), [])}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


_encode = msgspec.json.Encoder(enc_hook=str).encode
