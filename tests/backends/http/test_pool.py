import asyncio
import time

import pytest

from arriero.backends.http.call import Call, Head, Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from arriero.errors import BackendBroken, BackendTimeout, BadRequest
from support.raw_backend import Peer, RawBackend, Script, Told, eventually, saying

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = Call("GET", "/")


def pool_of(backend: RawBackend, timeouts: Timeouts | None = None, *, max_idle: int = 32, idle: float = 60) -> Pool:
    return Pool(
        Origin.parse(backend.url),
        timeouts=timeouts or Timeouts(),
        max_idle=max_idle,
        idle_seconds=idle,
        label="gpu1",
    )


async def settled(pool: Pool) -> None:
    """Nothing of the pool stays open after `close`."""
    pool.close()
    await eventually(lambda: pool.sockets == 0)
    assert (pool.in_flight, pool.idle) == (0, 0)


async def test_a_call_is_sent_and_its_answer_told() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.request() == (
            b"POST /api/chat HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-id: 7\r\ncontent-length: 2\r\n\r\n{}" % backend.port
        )
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(3):
            await peer.say(b"2\r\n%d\n\r\n" % i)
            await asyncio.sleep(0.01)
        await peer.say(b"0\r\n\r\n")
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(Call("POST", "/api/chat", ((b"x-id", b"7"),), b"{}"), told)
        assert (pool.in_flight, pool.idle) == (1, 0)
        await told.over()
        assert told.head == Head(200, ((b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")))
        assert (told.pieces, told.answer) == ([b"0\n", b"1\n", b"2\n"], (200, b"0\n1\n2\n"))
        assert (pool.in_flight, pool.idle) == (0, 1)
        await settled(pool)


async def test_calls_one_after_another_share_a_connection_and_those_at_once_do_not() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        for _ in range(3):
            assert await pool.fetch(GET) == (Head(200, ((b"content-length", b"5"),)), b"hello")
        assert (backend.connections, pool.idle) == (1, 1)
        await asyncio.gather(*(pool.fetch(GET) for _ in range(4)))
        assert (backend.connections, pool.idle) == (4, 4)
        await settled(pool)


async def test_with_an_idle_connection_open_does_not_suspend() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        told = Told()
        assert pool.open_idle(GET, told) is None
        await pool.fetch(GET)
        with pytest.raises(StopIteration):
            pool.open(GET, told).send(None)
        assert (await told.over()).answer == (200, b"hello")
        told = Told()
        assert pool.open_idle(GET, told) is not None
        assert (await told.over()).answer == (200, b"hello")
        assert backend.connections == 1
        await settled(pool)


async def test_the_next_call_may_start_in_the_end_of_the_last_one() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        second = Told()

        class First(Told):
            def on_end(self) -> None:
                assert pool.open_idle(GET, second) is not None
                super().on_end()

        first = First()
        await pool.open(GET, first)
        assert ((await first.over()).answer, (await second.over()).answer) == ((200, b"hello"), (200, b"hello"))
        assert (backend.connections, pool.idle) == (1, 1)
        await settled(pool)


async def test_the_last_one_in_is_the_first_one_out() -> None:
    order: list[int] = []

    def numbered(number: int) -> Script:
        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                order.append(number)
                await asyncio.sleep(0.02 * number)
                await peer.say(HELLO)

        return script

    async with RawBackend(numbered(0), numbered(1), numbered(2)) as backend:
        pool = pool_of(backend)
        await asyncio.gather(*(pool.fetch(GET) for _ in range(3)))
        await pool.fetch(GET)
        assert (sorted(order[:3]), order[3:]) == ([0, 1, 2], [2])
        await settled(pool)


async def test_no_more_than_max_idle_connections_are_kept() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend, max_idle=2)
        await asyncio.gather(*(pool.fetch(GET) for _ in range(5)))
        assert pool.idle == 2
        await eventually(lambda: pool.sockets == 2)
        await settled(pool)


async def test_an_idle_connection_grows_old_and_is_closed() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend, Timeouts(idle=0.04), idle=0.05)
        await pool.fetch(GET)
        assert (pool.idle, pool.sockets) == (1, 1)
        await eventually(lambda: (pool.idle, pool.sockets) == (0, 0))


async def test_an_idle_connection_that_the_backend_closes_is_forgotten() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO)

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        await pool.fetch(GET)
        await eventually(lambda: (pool.idle, pool.sockets) == (0, 0))


async def test_a_closed_pool_lets_calls_end_and_keeps_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO[:-2])
        await asyncio.sleep(0.05)
        await peer.say(HELLO[-2:])
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        told = Told()
        await pool.open(GET, told)
        pool.close()
        assert (await told.over()).answer == (200, b"hello")
        assert await pool.fetch(GET) == (Head(200, ((b"content-length", b"5"),)), b"hello")
        await settled(pool)


async def test_a_call_without_form_on_the_wire_opens_nothing() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = pool_of(backend)
        with pytest.raises(BadRequest):
            await pool.open(Call("GET", "/", ((b"x", b"a\r\nb"),)), Told())
        assert (backend.connections, pool.in_flight, pool.sockets) == (0, 0, 0)


# ---- fetch ---------------------------------------------------------------------------------------------------------


async def test_fetch_gives_an_answer_of_any_status() -> None:
    async with RawBackend(saying(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\n{}")) as backend:
        pool = pool_of(backend)
        assert await pool.fetch(GET) == (Head(503, ((b"retry-after", b"3"), (b"content-length", b"2"))), b"{}")
        await settled(pool)


async def test_fetch_takes_no_more_than_its_limit() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say(b"x" * 10000)

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        with pytest.raises(BackendBroken) as failure:
            await pool.fetch(GET, limit_bytes=50_000)
        assert failure.value.message == "gpu1 sent an answer of more than 50000 bytes"
        await settled(pool)


async def test_fetch_raises_what_breaks_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO[:-1])

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        with pytest.raises(BackendBroken) as failure:
            await pool.fetch(GET)
        assert failure.value.message == "gpu1 closed the connection in the middle of its answer"
        await settled(pool)


async def test_a_cancelled_fetch_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()
        gone.set()

    async with RawBackend(script) as backend:
        pool = pool_of(backend)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.fetch(GET)
        async with asyncio.timeout(1):
            await gone.wait()
        await settled(pool)


# ---- timeouts over real sockets ------------------------------------------------------------------------------------


async def timed_out(pool: Pool, call: Call = GET) -> str:
    told = Told()
    begun = time.monotonic()  # The loop's own clock may stand still within a turn.
    await pool.open(call, told)
    kind, message = (await told.over()).error
    assert kind is BackendTimeout and told.errors[0].status == 504
    assert 0.1 <= time.monotonic() - begun < 1.0
    await settled(pool)
    return message


async def mute(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def test_no_first_byte() -> None:
    async with RawBackend(mute) as backend:
        pool = pool_of(backend, Timeouts(first_byte=0.1))
        assert await timed_out(pool) == "gpu1 did not begin its answer within 0.1 s"


async def test_silence_in_the_middle() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HELLO[:-1])
        await peer.gone()

    async with RawBackend(script) as backend:
        assert await timed_out(pool_of(backend, Timeouts(idle=0.1))) == "gpu1 sent nothing for 0.1 s"


async def test_an_answer_without_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say(b"x")
            await asyncio.sleep(0.01)

    async with RawBackend(script) as backend:
        pool = pool_of(backend, Timeouts(first_byte=5, idle=5, total=0.15))
        assert await timed_out(pool) == "gpu1 did not finish its answer within 0.15 s"


async def test_a_call_may_bring_its_own_timeouts() -> None:
    async with RawBackend(mute) as backend:
        call = Call("GET", "/", timeouts=Timeouts(first_byte=0.1))
        assert await timed_out(pool_of(backend), call) == "gpu1 did not begin its answer within 0.1 s"


async def test_a_backend_that_does_not_take_the_request() -> None:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(10)

    async with RawBackend(script) as backend:
        pool = pool_of(backend, Timeouts(idle=0.1))
        message = await timed_out(pool, Call("POST", "/", body=b"x" * 30_000_000))
        assert message == "gpu1 took nothing of the request for 0.1 s"


async def test_a_slow_stream_outlives_its_idle_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.04)
            await peer.say(b"x")
        await peer.gone()

    async with RawBackend(script) as backend:
        pool = pool_of(backend, Timeouts(first_byte=0.15, idle=0.15))
        assert await pool.fetch(GET) == (Head(200, ((b"content-length", b"10"),)), b"x" * 10)
        await settled(pool)


async def test_a_reader_that_pauses_does_not_use_up_the_backend_s_time() -> None:
    async with RawBackend(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)) as backend:
        pool = pool_of(backend, Timeouts(first_byte=0.1, idle=0.1))
        told = Told()
        upstream = await pool.open(GET, told)
        await told.until(lambda told: bool(told.pieces))
        upstream.pause()
        await asyncio.sleep(0.4)
        assert told.errors == [] and told.ends == 0
        upstream.resume()
        assert (await told.over()).answer == (200, b"x" * 3_000_000)
        await settled(pool)
