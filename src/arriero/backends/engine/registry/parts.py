"""The parts of a blob on its way, and their state files, which Ollama reads and writes too.

Part N of a blob of `<path>-partial` has its state in `<path>-partial-N`: `{"N":0,"Offset":0,"Size":9,"Completed":4}`
and a line end. What a state file claims must be on the disk: it is written after the data were flushed.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

PARTS = 16
SMALLEST = 100_000_000
LARGEST = 1_000_000_000
"""A blob has so many parts, of at least and at most so many bytes."""

MAX_STATES = 100_000
MAX_STATE_BYTES = 4096


class Sizes(Struct, frozen=True):
    """How a blob is cut into parts; the tests use small ones."""

    parts: int = PARTS
    smallest: int = SMALLEST
    largest: int = LARGEST


class Part(Struct):
    """Bytes `offset` to `offset + size` of a blob. `completed` of them are written, `saved` of them are on the disk and
    in the state file.
    """

    number: int
    offset: int
    size: int
    completed: int = 0
    saved: int = 0

    @property
    def reached(self) -> int:
        """The first byte of the blob that is missing in this part."""
        return self.offset + self.completed

    @property
    def left(self) -> int:
        return self.size - self.completed


class _State(Struct):
    N: int
    Offset: int
    Size: int
    Completed: int


def plan(total: int, sizes: Sizes) -> list[Part]:
    """The parts of a new download, in order."""
    size = max(1, min(max(total // sizes.parts, sizes.smallest), sizes.largest))
    return [Part(i, offset, min(size, total - offset)) for i, offset in enumerate(range(0, total, size))]


def front(parts: Sequence[Part]) -> int:
    """So many bytes of the blob are there without a gap. The parts are in order."""
    for part in parts:
        if part.left:
            return part.reached
    return parts[-1].offset + parts[-1].size if parts else 0


def read_states(partial: Path, total: int) -> list[Part] | None:
    """The parts as an earlier download left them, ours or Ollama's; `None` where they do not make up `total` bytes."""
    found: list[Part] = []
    for path in _state_paths(partial):
        try:
            with path.open("rb") as file:
                line = file.read(MAX_STATE_BYTES).partition(b"\n")[0]
            state = msgspec.json.decode(line, type=_State)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not 0 <= state.Completed <= state.Size or str(state.N) != path.name.rpartition("-")[2]:
            return None
        found.append(Part(state.N, state.Offset, state.Size, state.Completed, state.Completed))
    found.sort(key=lambda part: part.offset)
    end = 0
    for part in found:
        if part.offset != end or part.size <= 0:
            return None
        end += part.size
    return found if found and end == total else None


def write_state(partial: Path, part: Part, completed: int) -> None:
    """One write over the old text: whoever is killed leaves the old one or the new one. Raises OSError."""
    state = _State(part.number, part.offset, part.size, completed)
    text = msgspec.json.encode(state) + b"\n"
    descriptor = os.open(f"{partial}-{part.number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))
    finally:
        os.close(descriptor)


def remove_states(partial: Path) -> None:
    """All of them, whoever wrote them. Raises OSError."""
    for path in _state_paths(partial):
        path.unlink(missing_ok=True)


def _state_paths(partial: Path) -> list[Path]:
    prefix = f"{partial.name}-"
    try:
        with os.scandir(partial.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    except FileNotFoundError:
        return []
    return [partial.parent / name for name in names if name.removeprefix(prefix).isdecimal()][:MAX_STATES]
