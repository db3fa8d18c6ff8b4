"""Writes of one turn of the loop."""

import asyncio

from arriero.backends.http.outbox import Outbox


class Said(asyncio.WriteTransport):
    """A transport that keeps what was written, with the others' in one list."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._name = name
        self._log = log
        self.closing = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self._log.append((self._name, data))

    def is_closing(self) -> bool:
        return self.closing


async def test_a_turn_is_written_at_its_end_in_order() -> None:
    log: list[tuple[str, bytes]] = []
    one, two = Said("one", log), Said("two", log)
    outbox = Outbox()
    outbox.write(one, b"a")
    outbox.write(two, b"b")
    outbox.write(one, b"c")
    assert log == []
    await asyncio.sleep(0)
    assert log == [("one", b"a"), ("two", b"b"), ("one", b"c")]
    outbox.write(two, b"d")
    await asyncio.sleep(0)
    assert log[3:] == [("two", b"d")]


async def test_a_transport_that_closes_meanwhile_gets_nothing() -> None:
    log: list[tuple[str, bytes]] = []
    one, two = Said("one", log), Said("two", log)
    outbox = Outbox()
    outbox.write(one, b"a")
    outbox.write(two, b"b")
    one.closing = True
    await asyncio.sleep(0)
    assert log == [("two", b"b")]


async def test_what_waits_can_be_sent_at_once() -> None:
    log: list[tuple[str, bytes]] = []
    outbox = Outbox()
    outbox.write(Said("one", log), b"a")
    outbox.flush()
    assert log == [("one", b"a")]
    await asyncio.sleep(0)
    assert log == [("one", b"a")]
