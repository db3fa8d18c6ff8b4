import asyncio
from collections.abc import AsyncIterator

import pytest

from arriero.backends.http.call import Call, Head, Timeouts
from arriero.backends.http.connection import Connection
from arriero.backends.http.flight import Flight, UploadFailed
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from arriero.errors import BackendBroken, BackendTimeout, BackendUnreachable, Blame, ClientGone, Retry
from support.raw_backend import Peer, RawBackend, Script, Told, eventually, saying

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = Call("GET", "/")


def pool_of(backend: RawBackend, timeouts: Timeouts | None = None) -> Pool:
    return Pool(Origin.parse(backend.url), timeouts=timeouts or Timeouts(), label="gpu1")


async def settled(pool: Pool) -> None:
    pool.close()
    await eventually(lambda: pool.sockets == 0)
    assert (pool.in_flight, pool.idle) == (0, 0)


# ---- a kept connection that died unseen ----------------------------------------------------------------------------


def once_then(end: str) -> Script:
    """Answers the first request; reads the second and then closes or resets without a word."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO)
        await peer.head()
        if end == "reset":
            peer.reset()

    return script


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_it_is_tried_again_on_a_fresh_connection(end: str) -> None:
    async def again(peer: Peer) -> None:
        assert (await peer.request()).endswith(b"content-length: 2\r\n\r\n{}")
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(once_then(end), again) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        told = Told()
        await pool.open(Call("POST", "/", body=b"{}"), told)
        assert (await told.over()).answer == (200, b"hello")
        assert backend.connections == 2
        await settled(pool)


async def test_a_loss_after_long_thought_is_not_staleness() -> None:
    now = 100.0

    async def script(peer: Peer) -> None:
        nonlocal now
        await peer.request()
        await peer.say(HELLO)
        await peer.head()
        now += 6.0

    async with RawBackend(script) as backend:
        pool = Pool(Origin.parse(backend.url), timeouts=Timeouts(), label="gpu1", clock=lambda: now)
        await pool.fetch(GET)
        told = Told()
        await pool.open(GET, told)
        assert (await told.over()).error == (BackendBroken, "gpu1 closed the connection before it answered")
        assert backend.connections == 1
        await settled(pool)


async def hang_up(peer: Peer) -> None:
    await peer.head()


async def test_it_is_tried_again_once_only() -> None:
    async with RawBackend(once_then("close"), hang_up) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        told = Told()
        await pool.open(GET, told)
        assert (await told.over()).error == (BackendBroken, "gpu1 closed the connection before it answered")
        assert backend.connections == 2
        await settled(pool)


async def test_a_fresh_connection_is_not_tried_again() -> None:
    async with RawBackend(hang_up) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(GET, told)
        assert (await told.over()).error == (BackendBroken, "gpu1 closed the connection before it answered")
        assert (told.errors[0].retry, backend.connections) == (Retry.ELSEWHERE, 1)
        await settled(pool)


async def test_once_the_answer_has_begun_it_is_not_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO)
        await peer.head()
        await peer.say(HELLO[:20])

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        told = Told()
        await pool.open(GET, told)
        assert (await told.over()).error == (BackendBroken, "gpu1 closed the connection before it answered")
        assert backend.connections == 1
        await settled(pool)


async def test_a_backend_that_is_gone_for_good_is_unreachable() -> None:
    pool: Pool | None = None
    told = Told()
    async with RawBackend(once_then("close")) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        assert backend.server is not None
        backend.server.close()
        await pool.open(GET, told)
        message = f"cannot reach {backend.url}: connection refused"
        assert (await told.over()).error == (BackendUnreachable, message)
    await settled(pool)


async def test_a_streamed_body_is_not_tried_again() -> None:
    async with RawBackend(once_then("close")) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        told = Told()
        await pool.open(Call("POST", "/", body=pieces(b"a", b"b", wait=0.05)), told)
        assert (await told.over()).error[0] is BackendBroken
        assert backend.connections == 1
        await settled(pool)


async def test_an_abort_ends_the_second_try() -> None:
    async def never(peer: Peer) -> None:
        await peer.gone()

    async with RawBackend(once_then("close"), never) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        told = Told()
        upstream = await pool.open(GET, told)
        await eventually(lambda: backend.connections == 2)
        upstream.abort()
        await settled(pool)
        assert (told.head, told.ends, told.errors) == (None, 0, [])


async def test_the_first_byte_timeout_holds_over_the_second_try() -> None:
    async def never(peer: Peer) -> None:
        await peer.gone()

    async with RawBackend(once_then("close"), never) as backend:
        pool = pool_of(backend, Timeouts(first_byte=0.1))
        await pool.fetch(GET)
        told = Told()
        await pool.open(GET, told)
        assert (await told.over()).error == (BackendTimeout, "gpu1 did not begin its answer within 0.1 s")
        await settled(pool)


async def test_a_pause_holds_over_the_second_try() -> None:
    dialling, go = asyncio.Event(), asyncio.Event()
    go.set()

    class Halting(Pool):
        async def dial(self, connect: float | None) -> Connection:
            dialling.set()
            await go.wait()
            return await super().dial(connect)

    async with RawBackend(once_then("close"), saying(HELLO)) as backend:
        pool = Halting(Origin.parse(backend.url), timeouts=Timeouts(), label="gpu1")
        await pool.fetch(GET)
        dialling.clear()
        go.clear()
        told = Told()
        upstream = await pool.open(GET, told)
        await dialling.wait()
        upstream.pause()
        go.set()
        await eventually(lambda: backend.connections == 2)
        await asyncio.sleep(0.05)
        assert told.head is None
        upstream.resume()
        assert (await told.over()).answer == (200, b"hello")
        await settled(pool)


async def test_a_connection_that_dies_between_handshake_and_request() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        connection = await pool.dial(1.0)
        connection.close()
        told = Told()
        flight = Flight(pool, GET, told, Timeouts(), 0.0)
        flight.start(connection, b"")
        assert told.errors == []
        assert (await told.over()).error == (BackendBroken, "gpu1 closed the connection before it answered")
        await settled(pool)


# ---- abort, pause, resume ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", HELLO[:20], HELLO[:-2]], ids=["before the head", "in the head", "in the body"])
async def test_the_backend_sees_an_abort_at_once_and_nothing_is_told_any_more(said: bytes) -> None:
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[float] = loop.create_future()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        await peer.gone()
        gone.set_result(loop.time())

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        upstream = await pool.open(GET, told)
        await asyncio.sleep(0.02)
        before = loop.time()
        upstream.abort()
        assert pool.in_flight == 0
        assert await asyncio.wait_for(gone, 1) - before < 0.05
        assert (told.ends, told.errors) == (0, [])
        await settled(pool)


async def test_after_the_end_the_hold_is_harmless() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        first, second = Told(), Told()
        upstream = await pool.open(GET, first)
        await first.over()
        await pool.open(GET, second)  # Over the same connection.
        upstream.pause()
        upstream.abort()
        upstream.resume()
        upstream.abort()
        assert (await second.over()).answer == (200, b"hello")
        assert (backend.connections, pool.idle) == (1, 1)
        await settled(pool)


@pytest.mark.parametrize(("at", "pieces_told"), [("head", []), ("body", [b"hello"])])
async def test_an_abort_from_within_a_callback(at: str, pieces_told: list[bytes]) -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)

        class Leaver(Told):
            def on_head(self, head: Head) -> None:
                super().on_head(head)
                if at == "head":
                    upstream.abort()

            def on_body(self, data: bytes) -> None:
                super().on_body(data)
                upstream.abort()

        leaver = Leaver()
        upstream = await pool.open(GET, leaver)
        await eventually(lambda: pool.in_flight == 0)
        await settled(pool)
        assert (leaver.pieces, leaver.ends, leaver.errors) == (pieces_told, 0, [])


async def test_a_paused_answer_stays_with_the_backend() -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await peer.say(b"x" * 65536)
            sent += 65536
        await peer.gone()

    class Counter(Told):
        received = 0

        def on_body(self, data: bytes) -> None:
            self.received += len(data)
            self._changed.set()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Counter()
        upstream = await pool.open(GET, told)
        await told.until(lambda told: isinstance(told, Counter) and told.received > 0)
        upstream.pause()
        upstream.pause()
        await asyncio.sleep(0.05)
        held, kernel = told.received, sent
        await asyncio.sleep(0.2)
        assert (told.received, sent) == (held, kernel)
        # What is on the way sits in the kernel's socket buffers, a few megabytes at most.
        assert sent < size // 2
        upstream.resume()
        assert (await told.over()).ends == 1 and told.received == size
        await settled(pool)


# ---- streamed request bodies ---------------------------------------------------------------------------------------


async def pieces(*data: bytes, wait: float = 0) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece
        await asyncio.sleep(wait)


def upload(body: AsyncIterator[bytes], length: int | None = None) -> Call:
    headers = () if length is None else ((b"content-length", b"%d" % length),)
    return Call("POST", "/blob", headers, body)


async def test_a_stream_of_unknown_length_goes_out_chunked() -> None:
    async def script(peer: Peer) -> None:
        assert b"\r\ntransfer-encoding: chunked\r\n\r\n" in await peer.head()
        wire = b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
        assert await peer.reader.readexactly(len(wire)) == wire
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(upload(pieces(b"abc", b"", b"0123456789abcdef")), told)
        assert (await told.over()).answer == (200, b"hello")
        assert pool.idle == 1
        await settled(pool)


async def test_a_stream_of_known_length_goes_out_as_it_is() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request.endswith(b"\r\ncontent-length: 6\r\n\r\nabcdef")
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(upload(pieces(b"abc", b"def"), 6), told)
        assert (await told.over()).answer == (200, b"hello")
        assert pool.idle == 1
        await settled(pool)


@pytest.mark.parametrize("data", [(b"abc",), (b"abc", b"defg")], ids=["too short", "too long"])
async def test_a_stream_of_another_length_than_declared_fails(data: tuple[bytes, ...]) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        assert (await peer.gone()) in (b"", b"abc")

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(upload(pieces(*data), 6), told)
        message = "the request body has not the declared length of 6 bytes"
        assert (await told.over()).error == (UploadFailed, message)
        await settled(pool)


async def test_a_source_that_fails_is_not_the_backend_s_fault() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        assert not (await peer.gone()).endswith(b"0\r\n\r\n")  # Never looks whole.

    async def leaving() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ClientGone("the client left")

    async def buggy() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError("oh")

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        gone, failed = Told(), Told()
        await pool.open(upload(leaving()), gone)
        await pool.open(upload(buggy()), failed)
        assert (await gone.over()).error == (UploadFailed, "the client left")
        assert (gone.errors[0].status, gone.errors[0].blame, gone.errors[0].retry) == (499, Blame.CLIENT, Retry.NEVER)
        assert (await failed.over()).error == (UploadFailed, "the source of the request body failed: LookupError")
        assert isinstance(failed.errors[0].__cause__, LookupError)
        await settled(pool)


async def test_a_source_is_read_no_faster_than_the_backend_takes() -> None:
    given = 0
    go = asyncio.Event()
    size = 64 * 1024 * 1024

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        while given < size:
            given += 65536
            yield b"x" * 65536

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        left = size
        while left:
            left -= len(await peer.reader.read(1 << 20))
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(upload(source(), size), told)
        await asyncio.sleep(0.1)
        held = given
        await asyncio.sleep(0.1)
        assert given == held < size // 2
        go.set()
        assert (await told.over()).answer == (200, b"hello")
        assert given == size
        await settled(pool)


async def test_an_answer_before_the_body_s_end_stops_it() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.005)
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(3000)
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(upload(endless()), told)
        assert (await told.over()).answer == (413, b"big")
        async with asyncio.timeout(1):
            await closed.wait()
        assert pool.idle == 0
        await settled(pool)


async def test_an_abort_closes_the_source() -> None:
    closed = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.sleep(10)
        finally:
            closed.set()

    async with RawBackend(hang_up) as backend:
        pool = pool_of(backend)
        told = Told()
        upstream = await pool.open(upload(waiting()), told)
        await asyncio.sleep(0.02)
        upstream.abort()
        async with asyncio.timeout(1):
            await closed.wait()
        await settled(pool)


async def test_a_slow_source_uses_up_none_of_the_backend_s_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend, Timeouts(first_byte=0.1, idle=0.1))
        told = Told()
        await pool.open(upload(pieces(b"a", b"b", wait=0.3), 2), told)
        assert (await told.over()).answer == (200, b"hello")
        await settled(pool)
