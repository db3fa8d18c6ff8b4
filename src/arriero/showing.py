"""The frames of a pull as a person sees them: bars on a terminal, plain lines elsewhere.

| what comes | on a terminal | elsewhere |
|---|---|---|
| a word (`pulling manifest`) | a line | a line |
| a blob, as far as it is | a bar of its own, with size, speed and time left | a line for each tenth of it |
| a word after blobs | a line below their bars | a line |
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from arriero.canonical.sizes import file_size
from arriero.telling import duration, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task, TaskID

Show: TypeAlias = Callable[[Mapping[str, Any]], None]

SMALL_BYTES = 1_000_000
"""Of a blob that is no larger it is told only that it is there."""

SPARE = 4
"""Columns that stay free: `^C` is written there, and must not break the line."""

WIDEST_BAR = 30


@contextmanager
def shown(out: TextIO) -> Iterator[Show]:
    """What is called with each frame. At the end the terminal is as it was."""
    if not out.isatty():
        yield _Lines(out).show
        return
    from rich.console import Console

    console = Console(file=out, highlight=False)
    if console.is_dumb_terminal:
        yield _Lines(out).show
        return
    bars = _Bars(console)
    try:
        yield bars.show
    finally:
        bars.end()


def _blob(frame: Mapping[str, Any]) -> tuple[str, int, int] | None:
    """Digest, bytes in all and bytes that are there; `None` for a frame of words."""
    digest, total, completed = frame.get("digest"), frame.get("total"), frame.get("completed")
    if not isinstance(digest, str) or not isinstance(total, int) or total < 0:
        return None
    return digest, total, min(completed, total) if isinstance(completed, int) else 0


class _Lines:
    """No word twice in a row, and of a blob no tenth twice."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last = ""
        self._tenths: dict[str, int] = {}

    def show(self, frame: Mapping[str, Any]) -> None:
        status, blob = printable(str(frame.get("status") or "")), _blob(frame)
        line = status
        if blob is not None:
            digest, total, completed = blob
            tenth = completed * 10 // total if total else 10
            if tenth <= self._tenths.get(digest, -1) or (total <= SMALL_BYTES and tenth < 10):
                return
            self._tenths[digest] = tenth
            line = f"{status}: {file_size(total)}" if tenth == 10 else f"{status}: {tenth * 10}% of {file_size(total)}"
        if line and line != self._last:
            self._last = line
            self._out.write(f"{line}\n")
            self._out.flush()


class _Bars:
    """A bar for each blob, in groups: the words that come after some stand below them."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._group: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._far: dict[str, int] = {}
        self._last = ""

    def show(self, frame: Mapping[str, Any]) -> None:
        from rich.markup import escape

        status, blob = escape(printable(str(frame.get("status") or ""))), _blob(frame)
        if blob is None:
            self.end()
            if status and status != self._last:
                self._last = status
                self._console.print(status)
            return
        digest, total, completed = blob
        self._last = ""
        if self._group is None:
            self._group = _group(self._console)
            self._group.start()
        if digest not in self._tasks:
            self._tasks[digest] = self._group.add_task(status, total=total)
        task = self._tasks[digest]
        if not self._far.get(digest):
            # What an earlier pull has brought may be told a moment after the start, and is no speed.
            self._group.reset(task, total=total, completed=completed)
        self._group.update(task, total=total, completed=completed)
        self._far[digest] = completed

    def end(self) -> None:
        """The bars stay as they are, and what comes next stands below them."""
        if self._group is not None:
            self._group.stop()
            self._group = None
            self._tasks.clear()


def _group(console: "Console") -> "Progress":
    """Bars with as much beside them as there is room for."""
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        """A text that is made of a task."""

        def __init__(self, words: "Callable[[Task], str]") -> None:
            super().__init__(Column(no_wrap=True, justify="right"))
            self._words = words

        def render(self, task: "Task") -> Text:
            return Text(self._words(task))

    name = TextColumn("{task.description}", table_column=Column(no_wrap=True))
    beside: list[tuple[ProgressColumn, int]] = [(Words(_percent), 4), (Words(_size), 15), (Words(_pace), 17)]
    # What is least needed goes first: speed and time, then the size; a bar takes what room is left.
    room = console.width - SPARE - len("pulling 0123456789ab")
    while len(beside) > 1 and room < sum(width + 1 for _, width in beside):
        beside.pop()
    room -= sum(width + 1 for _, width in beside)
    if (width := min(room - 1, WIDEST_BAR)) >= 5:
        beside.insert(1, (BarColumn(bar_width=width), width))
    return Progress(name, *(column for column, _ in beside), console=console)


def _percent(task: "Task") -> str:
    return f"{int(task.percentage)}%"


def _size(task: "Task") -> str:
    total = int(task.total or 0)
    return file_size(total) if task.finished else f"{file_size(int(task.completed))}/{file_size(total)}"


def _pace(task: "Task") -> str:
    speed, left = task.speed, task.time_remaining
    if task.finished or not speed:
        return ""
    return f"{file_size(int(speed))}/s" + ("" if left is None else f" {duration(left)}")
