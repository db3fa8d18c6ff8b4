"""A terminal for tests: a program runs in it, sees how wide it is, gets Ctrl-C, and what stands there is read."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CTRL_C = b"\x03"

_PIECE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


def screen(text: str) -> list[str]:
    """What stands on a terminal in the end, line by line, without colours. Knows what progress bars need."""
    rows, row, column = [""], 0, 0
    for found in _PIECE.finditer(text):
        piece, number, verb = found[0], found[1], found[2]
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif verb == "A":
            row -= int(number or 1)
        elif verb == "K":
            rows[row] = ""
        elif verb is None:
            rows[row] = (rows[row].ljust(column)[:column] + piece + rows[row][column + len(piece) :]).rstrip()
            column += len(piece)
    return rows


def on_terminal(
    command: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    columns: int = 80,
    interrupt_at: str | None = None,
    seconds: float = 30.0,
) -> tuple[int, str]:
    """Run a program to its end: its exit status, and all that it has written. Ctrl-C is pressed once as soon as
    `interrupt_at` (a pattern) is on the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    process = subprocess.Popen(
        # Whoever leads a session and opens a terminal has it: Ctrl-C is for him then.
        ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env={"TERM": "xterm", **environ},
        start_new_session=True,
    )
    os.close(theirs)
    said, end, pressed = b"", time.monotonic() + seconds, False
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the program has left
                break
            if not piece:
                break
            said += piece
            if interrupt_at is not None and not pressed and re.search(interrupt_at, said.decode(errors="replace")):
                pressed = True
                os.write(ours, CTRL_C)
        return process.wait(max(end - time.monotonic(), 0.1)), said.decode(errors="replace")
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait(10)
