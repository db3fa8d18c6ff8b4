"""The connection over a transport in memory: bytes in, callbacks out. Real sockets are in test_flight and test_dial."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.http.call import Head, Receiver
from arriero.backends.http.connection import MAX_HEAD_BYTES, Connection
from arriero.errors import BackendError

REQUEST = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


class Wire(asyncio.Transport):
    """What the other side would see."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading = True
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


class Log:
    """Keeper, occupant and receiver in one; `told` is all that the three were told, in order."""

    def __init__(self, *, sending: bool = False) -> None:
        self.told: list[object] = []
        self.receiver: Receiver = self
        self.touched = False
        self.answering = False
        self.sending = sending
        self.stop_at_head: Connection | None = None

    def made(self, connection: Connection) -> None: ...

    def release(self, connection: Connection) -> None:
        self.told.append("released")

    def lost(self, connection: Connection) -> None:
        self.told.append("lost")

    def head_came(self, head: Head) -> bool:
        return not self.sending

    def ended(self) -> None:
        self.told.append("ended")

    def broke(self, error: BackendError, *, unanswered: bool) -> None:
        self.told.append((error.message, unanswered))

    def on_head(self, head: Head) -> None:
        self.told.append((head.status, head.headers))
        if self.stop_at_head is not None:
            self.stop_at_head.close()

    def on_body(self, data: bytes) -> None:
        self.told.append(data)

    def on_end(self) -> None:
        raise AssertionError

    def on_error(self, error: BackendError) -> None:
        raise AssertionError


def begun(*, sending: bool = False, bodiless: bool = False, body: bytes = b"") -> tuple[Connection, Wire, Log]:
    log, wire = Log(sending=sending), Wire()
    connection = Connection(log, "gpu1", memoryview(bytearray(300_000)))
    connection.connection_made(wire)
    connection.begin(log, REQUEST, body, bodiless=bodiless)
    return connection, wire, log


def read(connection: Connection, data: bytes) -> None:
    """Hand over bytes as an event loop does, in as many reads as the buffer asks for."""
    while data and connection.usable:
        buffer = connection.get_buffer(-1)
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))


def played(*reads: bytes, bodiless: bool = False, eof: bool = False) -> list[object]:
    """What is told of an answer that comes in these reads, with the body joined: how it was cut is another matter."""
    connection, wire, log = begun(bodiless=bodiless)
    for data in reads:
        read(connection, data)
        if wire.aborted:
            break
    if eof:
        connection.connection_lost(None)
    told: list[object] = []
    for word in log.told:
        last = told[-1] if told else None
        if isinstance(word, bytes) and isinstance(last, bytes):
            told[-1] = last + word
        else:
            told.append(word)
    return [*told, "closed"] if wire.aborted else told


SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
)
CHUNKED_HEAD = (200, ((b"transfer-encoding", b"chunked"),))
ANSWERS: dict[str, tuple[bytes, list[object]]] = {
    "sized": (SIZED, [(200, ((b"content-type", b"text/plain"), (b"content-length", b"5"))), b"hello"]),
    "chunked, with an extension and trailers": (
        CHUNKED,
        [CHUNKED_HEAD, b"hello world"],
    ),
    "empty": (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", [(404, ((b"content-length", b"0"),))]),
    "no content": (b"HTTP/1.1 204 No Content\r\nX: \r\n\r\n", [(204, ((b"x", b""),))]),
    "not modified": (b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", [(304, ((b"content-length", b"9"),))]),
    "after 100 and 103": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + SIZED,
        [(200, ((b"content-type", b"text/plain"), (b"content-length", b"5"))), b"hello"],
    ),
    "HTTP/1.0 that keeps": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        [(200, ((b"connection", b"keep-alive"), (b"content-length", b"2"))), b"hi"],
    ),
    "repeated fields and whitespace": (
        b"HTTP/1.1 200 OK\r\nA:1 \t \r\na:  2\r\nContent-Length: 0\r\n\r\n",
        [(200, ((b"a", b"1"), (b"a", b"2"), (b"content-length", b"0")))],
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_told_and_the_connection_kept(name: str) -> None:
    data, told = ANSWERS[name]
    assert played(data) == [*told, "released", "ended"]


@pytest.mark.parametrize("name", ANSWERS)
def test_byte_by_byte_it_is_the_same(name: str) -> None:
    data, told = ANSWERS[name]
    assert played(*(data[i : i + 1] for i in range(len(data)))) == [*told, "released", "ended"]


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 200), max_size=6))
def test_cut_anywhere_it_is_the_same(name: str, cuts: list[int]) -> None:
    data, told = ANSWERS[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reads = [data[a:b] for a, b in pairwise(edges) if a < b]
    assert played(*reads) == [*told, "released", "ended"]


def test_all_chunks_of_one_read_come_as_one_body() -> None:
    connection, _, log = begun()
    read(connection, CHUNKED[:-40])
    read(connection, CHUNKED[-40:])
    assert log.told == [CHUNKED_HEAD, b"hello", b" world", "released", "ended"]


CLOSING: dict[str, tuple[bytes, list[object]]] = {
    "connection: close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        [(200, ((b"connection", b"close"), (b"content-length", b"2"))), b"hi"],
    ),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        [(200, ((b"content-length", b"2"),)), b"hi"],
    ),
    "more than was asked for": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 2",
        [(200, ((b"content-length", b"2"),)), b"hi"],
    ),
    "two answers": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" * 2,
        [(200, ((b"content-length", b"2"),)), b"hi"],
    ),
    "garbage after the end": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!!!!",
        [(200, ((b"content-length", b"2"),)), b"hi"],
    ),
}


@pytest.mark.parametrize("name", CLOSING)
def test_an_answer_is_told_and_the_connection_closed(name: str) -> None:
    data, told = CLOSING[name]
    assert played(data) == [*told, "ended", "closed"]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_a_body_without_length_lasts_until_the_connection_closes(head: bytes) -> None:
    assert played(head, b"some", b"thing", eof=True)[1:] == [b"something", "lost", "ended"]


def test_a_body_without_length_under_another_coding_lasts_until_the_close_too() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz"
    assert played(data, eof=True) == [(200, ((b"transfer-encoding", b"gzip"),)), b"xyz", "lost", "ended"]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_a_head_request_has_no_body_and_the_next_answer_is_read_aright(head: bytes) -> None:
    connection, wire, log = begun(bodiless=True)
    read(connection, head)
    assert log.told[1:] == ["released", "ended"]
    second = Log()
    connection.begin(second, REQUEST, b"", bodiless=False)
    read(connection, SIZED)
    assert second.told == [*ANSWERS["sized"][1], "ended"]
    assert log.told[3:] == ["released"]  # Its keeper is still the first.
    assert wire.writes == [REQUEST, REQUEST] and not wire.aborted


def test_a_body_in_answer_to_head_is_dropped_with_the_connection() -> None:
    assert played(SIZED, bodiless=True)[1:] == ["ended", "closed"]


GARBAGE = "gpu1 sent something that is not an HTTP answer: "


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", GARBAGE + "Expected HTTP/, RTSP/ or ICE/"),
        (b"\x15\x03\x01\x00\x02\x02\x46", GARBAGE + "Expected HTTP/, RTSP/ or ICE/"),
        (b"HTTP/1.1 xx\r\n\r\n", GARBAGE + "Invalid status code"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            GARBAGE + "Transfer-Encoding can't be present with Content-Length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
            GARBAGE + "Content-Length can't be present with Transfer-Encoding",
        ),
        (
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            GARBAGE + "it changes to another protocol",
        ),
    ],
)
def test_what_is_not_an_answer_breaks(data: bytes, message: str) -> None:
    assert played(data) == [(message, False), "closed"]


def test_a_407_is_a_proxy_s_and_not_the_backend_s_answer() -> None:
    data = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    assert played(data) == [("cannot reach gpu1: a proxy on the way wants credentials (407)", False), "closed"]


def test_broken_framing_breaks_after_what_was_good() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n"
    assert played(data) == [
        CHUNKED_HEAD,
        b"hi",
        ("gpu1 sent an answer with broken framing: Invalid character in chunk size", False),
        "closed",
    ]


HUGE = f"gpu1 sent a response head of more than {MAX_HEAD_BYTES} bytes"
BIG_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"


@pytest.mark.parametrize(
    "reads",
    [
        [BIG_HEAD],
        [BIG_HEAD[i : i + 4096] for i in range(0, len(BIG_HEAD), 4096)],
        [b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 2 * MAX_HEAD_BYTES],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 10000],
    ],
    ids=["in one read", "in many", "unfinished", "of 1xx"],
)
def test_a_huge_head_breaks(reads: list[bytes]) -> None:
    assert played(*reads) == [(HUGE, False), "closed"]


def test_a_large_body_in_the_same_read_is_not_a_huge_head() -> None:
    body = b"x" * (2 * MAX_HEAD_BYTES)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert played(data)[1:] == [body, "released", "ended"]


def test_trailers_without_end_break() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    told = played(head, *[b"x: " + b"y" * 1000 + b"\r\n"] * 100)
    assert told[1:] == [
        b"hi",
        (f"gpu1 sent more than {MAX_HEAD_BYTES} bytes of framing without content", False),
        "closed",
    ]


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        ([], [("gpu1 closed the connection before it answered", True)]),
        ([b"HTTP/1.1 200"], [("gpu1 closed the connection before it answered", False)]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], [("gpu1 closed the connection before it answered", False)]),
        (
            [SIZED[:-2]],
            [ANSWERS["sized"][1][0], b"hel", ("gpu1 closed the connection in the middle of its answer", False)],
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"],
            [
                (200, ((b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked"))),
                ("gpu1 closed the connection in the middle of its answer", False),
            ],
        ),
        (
            [CHUNKED[: CHUNKED.index(b"world") + 2]],
            [CHUNKED_HEAD, b"hello wo", ("gpu1 closed the connection in the middle of its answer", False)],
        ),
    ],
    ids=["silent", "in the head", "after 100", "in a sized body", "before a chunk", "in a chunked body"],
)
def test_a_connection_lost_too_early_breaks(reads: list[bytes], told: list[object]) -> None:
    connection, _, log = begun()
    for data in reads:
        read(connection, data)
    connection.connection_lost(None)
    assert log.told == [*(word for word in told if not _is_break(word)), "lost", told[-1]]


def _is_break(word: object) -> bool:
    return isinstance(word, tuple) and isinstance(word[0], str)


def test_the_reason_of_a_loss_is_told() -> None:
    connection, _, log = begun()
    connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    assert log.told == [
        "lost",
        ("gpu1 closed the connection before it answered (connection reset by peer)", True),
    ]


def test_an_unended_body_that_is_cut_with_an_error_is_not_whole() -> None:
    connection, _, log = begun()
    read(connection, b"HTTP/1.1 200 OK\r\n\r\nabc")
    connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    message = "gpu1 closed the connection in the middle of its answer (connection reset by peer)"
    assert log.told == [(200, ()), b"abc", "lost", (message, False)]


def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    connection, wire, log = begun()
    read(connection, SIZED)
    log.told.clear()
    assert connection.usable
    read(connection, b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert wire.aborted and not connection.usable and log.told == []


def test_nothing_is_told_after_a_close_in_the_head_callback() -> None:
    connection, wire, log = begun()
    log.stop_at_head = connection
    read(connection, SIZED)
    connection.connection_lost(None)
    assert wire.aborted and log.told == [ANSWERS["sized"][1][0], "lost"]


async def test_head_and_body_go_out_in_one_write_at_the_end_of_the_turn() -> None:
    wire = begun(body=b"{}")[1]
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [REQUEST + b"{}"]


def test_a_large_body_is_not_copied_behind_the_head() -> None:
    body = b"x" * 100_000
    assert begun(body=body)[1].writes == [REQUEST, body]


def test_an_answer_before_the_end_of_the_request_costs_the_connection() -> None:
    connection, wire, log = begun(sending=True)
    read(connection, SIZED)
    assert log.told == [*ANSWERS["sized"][1], "ended"] and wire.aborted


def test_an_answer_while_the_socket_is_full_costs_the_connection() -> None:
    connection, wire, log = begun()
    connection.pause_writing()
    read(connection, SIZED)
    assert log.told == [*ANSWERS["sized"][1], "ended"] and wire.aborted


def test_a_paused_connection_reads_again_once_it_is_kept() -> None:
    connection, wire, log = begun()
    connection.pause()
    connection.pause()
    assert not wire.reading
    read(connection, SIZED)  # Was on its way through the loop.
    assert wire.reading and log.told[-2:] == ["released", "ended"]


async def test_drained_waits_for_the_socket_or_its_end() -> None:
    connection, _, _ = begun()
    await connection.drained()
    for end in (connection.resume_writing, connection.close):
        connection.pause_writing()
        waiter = asyncio.create_task(connection.drained())
        await asyncio.sleep(0)
        assert not waiter.done()
        end()
        await waiter


def test_many_connections_share_a_buffer() -> None:
    buffer = memoryview(bytearray(64))
    logs = [Log(), Log()]
    connections = [Connection(log, "gpu1", buffer) for log in logs]
    for connection, log in zip(connections, logs, strict=True):
        connection.connection_made(Wire())
        connection.begin(log, REQUEST, b"", bodiless=False)
    end = CHUNKED.index(b"world") + 2
    for data in (CHUNKED[:55], CHUNKED[55:end], CHUNKED[end:]):
        for connection in connections:
            read(connection, data)
    for log in logs:
        assert log.told == [CHUNKED_HEAD, b"hello", b" wo", b"rld", "released", "ended"]


def test_close_is_idempotent_and_writes_nothing_more() -> None:
    connection, wire, _ = begun()
    connection.close()
    connection.close()
    connection.write(b"late")
    connection.pause()
    connection.resume()
    assert wire.writes == [REQUEST] and wire.aborted and wire.reading
