"""The bytes of a file from front to back, a window at a time: numbers, texts, arrays, and what is only stepped over.

Nothing is mapped and no more than a window is held, however large the file is or says it is. What the bytes mean is
`gguf`'s.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn

from arriero.errors import ModelBroken

if TYPE_CHECKING:
    from hashlib import _Hash

WINDOW: Final = 1 << 16
MAX_HEADER: Final = 64 << 20
"""No more is read from where the walk began: the headers of the largest vocabularies have 20 MB."""
MAX_ELEMENT: Final = 1 << 20
"""Bytes of a text in an array."""
SHOWN_NAME: Final = 80

_length_at = struct.Struct("<Q").unpack_from


class Bytes:
    """A walk over the first `size` bytes of an open file, begun at `start`.

    Every method raises `ModelBroken` where the file ends too early, also if it has become shorter meanwhile, and
    `OSError` where it cannot be read. `what` is the name of a thing in that error.
    """

    def __init__(self, descriptor: int, size: int, start: int = 0) -> None:
        self.size = size
        self._descriptor = descriptor
        self._last = start + MAX_HEADER
        self._window = b""
        self._base = start
        self._at = 0
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """The offset in the file of what comes next."""
        return self._base + self._at

    def digest(self) -> "_Hash":
        """The SHA-256 of all that was passed. The end of the walk."""
        self._pass()
        return self._hash

    def raw(self, length: int, what: str) -> bytes:
        """The next bytes as they are."""
        start = self._take(length, what)
        return self._window[start : start + length]

    def number(self, code: str, what: str) -> int:
        """One number, by the letter that `struct` has for it."""
        (value,) = self.numbers(code, 1, what)
        number: int = value
        return number

    def numbers(self, code: str, count: int, what: str) -> tuple[Any, ...]:
        """Several numbers of one kind."""
        layout = f"<{count}{code}"
        start = self._take(struct.calcsize(layout), what)
        return struct.unpack_from(layout, self._window, start)

    def skip(self, length: int, what: str) -> None:
        """Step over bytes; no more than a window of them is ever held."""
        self._check(length, what)
        while length:
            step = min(length, WINDOW)
            self._take(step, what)
            length -= step

    def strings(self, what: str, count: int) -> Iterator[list[bytes]]:
        """The texts of an array, a window at a time."""
        for window, start, end in self.skip_strings(what, count):
            texts: list[bytes] = []
            at = start
            while at < end:
                (length,) = _length_at(window, at)
                at += 8
                texts.append(window[at : at + length])
                at += length
            yield texts

    def skip_strings(self, what: str, count: int) -> Iterator[tuple[bytes, int, int]]:
        """Step over the texts of an array. Gives windows, each with the part of it that is whole texts, lengths and
        all.
        """
        left = count
        while left:
            window, start = self._window, self._at
            at, passed, length = start, left, 0
            try:
                # The one loop that runs half a million times.
                for passed in range(left):  # noqa: B007
                    (length,) = _length_at(window, at)
                    at += 8 + length
                passed = left
            except (struct.error, OverflowError):
                pass
            if at > len(window):
                # The last one is not whole.
                at -= 8 + length
                passed -= 1
            self._at = at
            left -= passed
            if passed:
                yield window, start, at
            if left:
                self._ensure(8, what)
                (length,) = _length_at(self._window, self._at)
                if length > MAX_ELEMENT:
                    self._check(8 + length, what)
                    raise ModelBroken(
                        f"{what} holds a text of {length} bytes, more than {MAX_ELEMENT} are not believed"
                    )
                self._ensure(8 + length, what)

    def past_end(self, what: str, end: int) -> NoReturn:
        """It ends behind the end of the file."""
        raise ModelBroken(f"truncated: {what} ends at {end} but the file has {self.size} bytes")

    # ---- the window --------------------------------------------------------------------------------------------------

    def _take(self, length: int, what: str) -> int:
        """Step over bytes that fit into memory; where in the window they start."""
        if self._at + length > len(self._window):
            self._ensure(length, what)
        start = self._at
        self._at = start + length
        return start

    def _check(self, length: int, what: str) -> None:
        end = self.position + length
        if end > self.size:
            self.past_end(what, end)
        if end > self._last:
            raise ModelBroken(f"{what} ends at {end}: a header of more than {MAX_HEADER} bytes is not believed")

    def _ensure(self, length: int, what: str) -> None:
        """Have so many of the next bytes in the window."""
        self._check(length, what)
        if self._at + length <= len(self._window):
            return
        self._pass()
        pieces = [self._window]
        held = len(self._window)
        while held < length:
            end = self._base + held
            piece = os.pread(self._descriptor, min(max(WINDOW, length) - held, self.size - end), end)
            if not piece:
                raise ModelBroken(f"truncated: {what} is not there, the file has become shorter than {self.size} bytes")
            pieces.append(piece)
            held += len(piece)
        self._window = b"".join(pieces)

    def _pass(self) -> None:
        """Drop what was passed from the window, into the digest."""
        self._hash.update(memoryview(self._window)[: self._at])
        self._window = self._window[self._at :]
        self._base += self._at
        self._at = 0


def quoted(name: str) -> str:
    """A name of a foreign file as it may stand in a sentence: on one line, and not too long."""
    if len(name) <= SHOWN_NAME and name.isprintable():
        return name
    return repr(name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + "…")
