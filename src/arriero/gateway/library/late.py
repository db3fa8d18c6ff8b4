"""A lane whose end comes late: the client shall not go on before the listings show what it has done."""

from collections.abc import Callable
from typing import Generic, TypeVar, cast

from arriero.backends.http.call import Headers
from arriero.gateway.lane import Lane

HELD_BYTES = 1024 * 1024
"""A whole answer that is longer is not held; no library operation has one."""

_Value = TypeVar("_Value")


class _Behind(Generic[_Value]):
    """An attribute of the lane behind a late one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, late: "Late", owner: type | None = None) -> _Value:
        return cast(_Value, getattr(late.lane, self._name))

    def __set__(self, late: "Late", value: _Value) -> None:
        setattr(late.lane, self._name, value)


class Late:
    """Passes on what is written, but the end only by `end`. A `whole` answer is held altogether: its client goes on as
    soon as its last byte is there. `good`: a good answer has begun.
    """

    gone = _Behind[bool]()
    extra = _Behind[Headers]()
    on_gone = _Behind[Callable[[], object] | None]()
    on_pause = _Behind[Callable[[], None] | None]()
    on_resume = _Behind[Callable[[], None] | None]()

    def __init__(self, lane: Lane, *, whole: bool) -> None:
        self.lane = lane
        self._holds = whole
        self._head: tuple[int, Headers, int | None] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._finished = False
        self.started = False
        self.good = False

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        self.started = True
        self.good = status < 300
        self._head = (status, headers, length)
        if not self._holds:
            self._release()

    def write(self, data: bytes) -> None:
        if not self._holds:
            self.lane.write(data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES:
            self._release()

    def finish(self) -> None:
        self._finished = True

    def abort(self) -> None:
        self.lane.abort()

    def end(self) -> None:
        """What was held, and the end, if there was one."""
        if self._finished:
            self._release()
            self.lane.finish()

    def _release(self) -> None:
        self._holds = False
        head, self._head = self._head, None
        if head is not None:
            self.lane.start(*head)
        for piece in self._pieces:
            self.lane.write(piece)
        self._pieces.clear()
