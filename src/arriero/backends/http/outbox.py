"""Writes that leave at the end of the event loop's turn, all in a row.

A send goes deep into the kernel, and the interpreter comes back to cold caches. When a turn has several answers to pass
on, it is cheaper to finish thinking first and then send them all. Nothing waits longer than the turn; lone chunks of a
stream do not come this way.
"""

import asyncio
from collections.abc import Callable


class Outbox:
    """The writes of one turn. Used from one event loop; may be made before it runs."""

    __slots__ = ("_call_soon", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []
        self._call_soon: Callable[[Callable[[], None]], object] | None = None

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send `data` when the turn ends, in the order of the calls; nothing if the transport is closing by then."""
        if not self._waiting:
            if self._call_soon is None:
                self._call_soon = asyncio.get_running_loop().call_soon
            self._call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Send what is waiting, now."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
