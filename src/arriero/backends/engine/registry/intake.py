"""The body of an answer on its way to a file: gathered on the event loop, taken in large pieces."""

import asyncio

from arriero.backends.engine.registry.answer import Answer
from arriero.backends.http.call import Head
from arriero.errors import BackendError


class Intake:
    """A receiver of at most `room` bytes. `ready` returns when there is a piece of `piece` bytes, or the end.

    It reads no further while two pieces wait. `gathered` bytes wait, `taken` ones were taken last; `error` is why the
    answer ended early, if it did.
    """

    __slots__ = ("_answer", "_changed", "_paused", "_piece", "_pieces", "error", "gathered", "over", "room", "taken")

    def __init__(self, answer: Answer, room: int, piece: int) -> None:
        self._answer = answer
        self._piece = piece
        self._pieces: list[bytes] = []
        self._paused = False
        self._changed = asyncio.Event()
        self.room = room
        self.gathered = 0
        self.taken = 0
        self.over = False
        self.error: BackendError | None = None

    async def ready(self) -> None:
        await self._changed.wait()

    def take(self) -> tuple[list[bytes], int]:
        """What has gathered, and how many bytes it is."""
        pieces, size = self._pieces, self.gathered
        self._pieces, self.gathered, self.taken = [], 0, size
        if not self.over:
            self._changed.clear()
        if self._paused:
            self._paused = False
            self._answer.resume()
        return pieces, size

    # ---- Receiver --------------------------------------------------------------------------------------------------

    def on_head(self, head: Head) -> None: ...

    def on_body(self, data: bytes) -> None:
        if self.over:
            self._answer.abort()  # It has no end.
            return
        if len(data) > self.room:
            data = data[: self.room]
        self._pieces.append(data)
        self.gathered += len(data)
        self.room -= len(data)
        if not self.room:
            self.over = True
            self._changed.set()
        elif self.gathered >= self._piece:
            self._changed.set()
            if self.gathered >= 2 * self._piece:
                self._paused = True
                self._answer.pause()

    def on_end(self) -> None:
        self.over = True
        self._changed.set()

    def on_error(self, error: BackendError) -> None:
        if not self.over:
            self.error = error
        self.over = True
        self._changed.set()
