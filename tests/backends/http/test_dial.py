import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from arriero.backends.http.call import Call, Timeouts
from arriero.backends.http.origin import Origin, tls_context
from arriero.backends.http.pool import Pool
from arriero.errors import BackendError, BackendTimeout, BackendUnreachable
from support.raw_backend import SECONDS, Peer, RawBackend, eventually, saying

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = Call("GET", "/")
QUICK = Timeouts(connect=0.2)


async def refusal(pool: Pool) -> tuple[type[BackendError], str]:
    """How a pool fails to connect, and that nothing stays open."""
    async with asyncio.timeout(SECONDS):
        with pytest.raises(BackendError) as failure:
            await pool.fetch(GET)
    await eventually(lambda: pool.sockets == 0)
    assert pool.in_flight == pool.idle == 0
    return type(failure.value), failure.value.message


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_refused_connection_says_so() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    pool = Pool(Origin.parse(url.replace("//", "//ann:s3cret@")), timeouts=QUICK)
    assert await refusal(pool) == (BackendUnreachable, f"cannot reach {url}: connection refused")


async def test_a_name_with_several_addresses_says_it_as_plainly() -> None:
    url = f"http://localhost:{free_port()}"
    message = f"cannot reach {url}: connection refused"
    assert await refusal(Pool(Origin.parse(url), timeouts=Timeouts())) == (BackendUnreachable, message)


async def test_a_name_that_does_not_exist_says_so() -> None:
    kind, message = await refusal(Pool(Origin.parse("http://nowhere.invalid"), timeouts=Timeouts(connect=2)))
    start, _, reason = message.partition(": ")
    assert start == "cannot reach http://nowhere.invalid"
    # Which one depends on what the machine has for a resolver.
    if kind is BackendTimeout:
        assert reason == "no connection within 2 s"
    else:
        assert reason == "there is no such host" or reason.startswith("its name cannot be looked up (")


async def test_the_second_address_of_a_name_is_tried() -> None:
    async with RawBackend(saying(HELLO)) as backend:  # On 127.0.0.1 only; `localhost` may mean ::1 first.
        pool = Pool(Origin.parse(f"http://localhost:{backend.port}"), timeouts=Timeouts())
        assert (await pool.fetch(GET))[1] == b"hello"
        pool.close()


async def test_one_address_of_a_name_is_dialed_and_the_name_is_told() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.request() == b"GET / HTTP/1.1\r\nhost: gpu.invalid:%d\r\n\r\n" % backend.port
        await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script) as backend:
        origin = replace(Origin.parse(f"http://gpu.invalid:{backend.port}"), dialed="127.0.0.1")
        pool = Pool(origin, timeouts=Timeouts())
        assert (await pool.fetch(GET))[1] == b"hello"
        pool.close()
        await eventually(lambda: pool.sockets == 0)


async def test_an_address_that_is_dialed_stands_in_the_error() -> None:
    port = free_port()
    origin = replace(Origin.parse(f"http://gpu.invalid:{port}"), dialed="127.0.0.1")
    message = f"cannot reach http://gpu.invalid:{port} at 127.0.0.1: connection refused"
    assert await refusal(Pool(origin, timeouts=QUICK)) == (BackendUnreachable, message)


async def test_nagle_is_off() -> None:
    async with RawBackend(saying(HELLO)) as backend:
        pool = Pool(Origin.parse(backend.url), timeouts=Timeouts())
        connection = await pool.dial(1.0)
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        connection.close()
        await eventually(lambda: pool.sockets == 0)


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"

    async def script(peer: Peer) -> None:
        assert await peer.request() == b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
        await peer.say(HELLO)
        await peer.gone()

    origin = Origin.parse(f"unix://{path}:/v1")
    async with RawBackend(script, path=path):
        # A proxy in the settings is of no use here.
        pool = Pool(origin, timeouts=QUICK, proxy=Origin.parse("http://proxy.invalid"))
        assert (await pool.fetch(Call("GET", origin.target("/models"))))[1] == b"hello"
        pool.close()
    path.unlink(missing_ok=True)
    message = f"cannot reach unix://{path}: there is no such socket"
    assert await refusal(Pool(origin, timeouts=QUICK)) == (BackendUnreachable, message)


# ---- TLS -----------------------------------------------------------------------------------------------------------


async def test_tls_with_a_known_authority(certificate: Path, server_tls: ssl.SSLContext) -> None:
    async with RawBackend(saying(HELLO), tls=server_tls) as backend:
        tls = tls_context(ca_file=str(certificate))
        pool = Pool(Origin.parse(f"https://localhost:{backend.port}"), timeouts=Timeouts(), tls=tls)
        assert [(await pool.fetch(GET))[1] for _ in range(3)] == [b"hello"] * 3
        assert (backend.connections, pool.idle) == (1, 1)
        pool.close()
        await eventually(lambda: pool.sockets == 0)


async def test_the_certificate_of_a_dialed_address_is_that_of_the_name(
    certificate: Path, server_tls: ssl.SSLContext
) -> None:
    names: list[str | None] = []

    def note(_: object, name: str | None, __: object) -> None:
        names.append(name)

    server_tls.set_servername_callback(note)
    async with RawBackend(saying(HELLO), tls=server_tls) as backend:
        tls = tls_context(ca_file=str(certificate))
        good = replace(Origin.parse(f"https://localhost:{backend.port}"), dialed="127.0.0.1")
        pool = Pool(good, timeouts=Timeouts(), tls=tls)
        assert (await pool.fetch(GET))[1] == b"hello"
        pool.close()
        await eventually(lambda: pool.sockets == 0)
        # The certificate is good for 127.0.0.1, but that is not who was asked for.
        wrong = replace(Origin.parse(f"https://gpu.invalid:{backend.port}"), dialed="127.0.0.1")
        kind, message = await refusal(Pool(wrong, timeouts=Timeouts(), tls=tls))
    assert kind is BackendUnreachable
    assert "at 127.0.0.1: its certificate is not trusted (Hostname mismatch" in message
    assert names == ["localhost", "gpu.invalid"]


async def test_a_body_over_tls_that_ends_with_the_connection(certificate: Path, server_tls: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000)

    async with RawBackend(script, tls=server_tls) as backend:
        tls = tls_context(ca_file=str(certificate))
        pool = Pool(Origin.parse(f"https://localhost:{backend.port}"), timeouts=Timeouts(), tls=tls)
        assert len((await pool.fetch(GET))[1]) == 300_000


async def test_an_unknown_certificate_is_refused(server_tls: ssl.SSLContext) -> None:
    async with RawBackend(saying(HELLO), tls=server_tls) as backend:
        url = f"https://localhost:{backend.port}"
        pool = Pool(Origin.parse(url), timeouts=Timeouts())
        message = f"cannot reach {url}: its certificate is not trusted (self-signed certificate)"
        assert await refusal(pool) == (BackendUnreachable, message)


async def test_a_certificate_for_another_name_is_refused(certificate: Path, server_tls: ssl.SSLContext) -> None:
    # Through a proxy, since another name for loopback cannot be counted on.
    async def elsewhere(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.writer.start_tls(server_tls)
        await peer.gone()

    async with RawBackend(elsewhere) as front:
        tls = tls_context(ca_file=str(certificate))
        pool = Pool(Origin.parse("https://x.test"), timeouts=Timeouts(), tls=tls, proxy=Origin.parse(front.url))
        reason = "Hostname mismatch, certificate is not valid for 'x.test'"
        message = (
            f"cannot reach https://x.test through the proxy {front.url}: its certificate is not trusted ({reason})"
        )
        assert await refusal(pool) == (BackendUnreachable, message)


async def test_verification_can_be_switched_off(server_tls: ssl.SSLContext) -> None:
    async with RawBackend(saying(HELLO), tls=server_tls) as backend:
        tls = tls_context(verify=False)
        pool = Pool(Origin.parse(f"https://127.0.0.1:{backend.port}"), timeouts=Timeouts(), tls=tls)
        assert (await pool.fetch(GET))[1] == b"hello"
        pool.close()


async def test_plain_http_where_tls_is_expected() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.gone()

    async with RawBackend(script) as backend:
        url = f"https://127.0.0.1:{backend.port}"
        message = f"cannot reach {url}: TLS failed (wrong version number; perhaps it speaks http://)"
        assert await refusal(Pool(Origin.parse(url), timeouts=Timeouts())) == (BackendUnreachable, message)


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_server_that_leaves_in_the_handshake(end: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        if end == "reset":
            peer.reset()

    async with RawBackend(script) as backend:
        url = f"https://127.0.0.1:{backend.port}"
        kind, message = await refusal(Pool(Origin.parse(url), timeouts=Timeouts()))
        assert kind is BackendUnreachable
        # Unread bytes in the closed socket make a reset of either end.
        assert message in (f"cannot reach {url}: connection reset", f"cannot reach {url}: the connection was closed")


async def silent(peer: Peer) -> None:
    await peer.gone()


async def test_a_handshake_without_end_times_out() -> None:
    async with RawBackend(silent) as backend:
        url = f"https://127.0.0.1:{backend.port}"
        message = f"cannot reach {url}: no connection within 0.2 s"
        assert await refusal(Pool(Origin.parse(url), timeouts=QUICK)) == (BackendTimeout, message)


async def test_cancelled_while_connecting_nothing_stays_open() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.gone()
        gone.set()

    async with RawBackend(script) as backend:
        pool = Pool(Origin.parse(f"https://127.0.0.1:{backend.port}"), timeouts=Timeouts())
        task = asyncio.create_task(pool.fetch(GET))
        await eventually(lambda: backend.connections == 1)
        assert pool.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(SECONDS):
            await gone.wait()
        assert (pool.in_flight, pool.idle, pool.sockets) == (0, 0, 0)


# ---- proxies -------------------------------------------------------------------------------------------------------


class Proxy:
    """A CONNECT proxy: writes down what it is asked and joins the two sides."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        head = await peer.head()
        self.heads.append(head)
        host, _, port = head.split()[1].partition(b":")
        reader, writer = await asyncio.open_connection(host.decode(), int(port))
        await peer.say(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(carry(peer.reader, writer), carry(reader, peer.writer))
        finally:
            writer.close()


async def test_https_goes_through_a_tunnel(certificate: Path, server_tls: ssl.SSLContext) -> None:
    proxy = Proxy()

    async def script(peer: Peer) -> None:
        host = f"localhost:{backend.port}".encode()
        for _ in range(2):
            assert await peer.request() == b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n"
            await peer.say(HELLO)
        await peer.gone()

    async with RawBackend(script, tls=server_tls) as backend, RawBackend(proxy) as front:
        pool = Pool(
            Origin.parse(f"https://localhost:{backend.port}"),
            timeouts=Timeouts(),
            tls=tls_context(ca_file=str(certificate)),
            proxy=Origin.parse(front.url.replace("//", "//ann:pw@")),
        )
        assert [(await pool.fetch(GET))[1] for _ in range(2)] == [b"hello"] * 2
        authority = f"localhost:{backend.port}".encode()
        assert proxy.heads == [
            b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nproxy-authorization: Basic YW5uOnB3\r\n\r\n" % (authority, authority)
        ]
        pool.close()
        await eventually(lambda: pool.sockets == 0)


async def test_a_tunnel_leads_to_the_address_that_is_dialed(certificate: Path, server_tls: ssl.SSLContext) -> None:
    proxy = Proxy()
    async with RawBackend(saying(HELLO), tls=server_tls) as backend, RawBackend(proxy) as front:
        origin = replace(Origin.parse(f"https://localhost:{backend.port}"), dialed="127.0.0.1")
        tls = tls_context(ca_file=str(certificate))
        pool = Pool(origin, timeouts=Timeouts(), tls=tls, proxy=Origin.parse(front.url))
        assert (await pool.fetch(GET))[1] == b"hello"
        authority = f"127.0.0.1:{backend.port}".encode()
        assert proxy.heads == [b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (authority, authority)]
        pool.close()
        await eventually(lambda: pool.sockets == 0)


async def test_the_certificate_behind_a_tunnel_is_verified(server_tls: ssl.SSLContext) -> None:
    async with RawBackend(saying(HELLO), tls=server_tls) as backend, RawBackend(Proxy()) as front:
        url = f"https://localhost:{backend.port}"
        pool = Pool(Origin.parse(url), timeouts=Timeouts(), proxy=Origin.parse(front.url))
        reason = "its certificate is not trusted (self-signed certificate)"
        message = f"cannot reach {url} through the proxy {front.url}: {reason}"
        assert await refusal(pool) == (BackendUnreachable, message)


async def test_a_tunnel_through_a_proxy_that_speaks_tls_itself(certificate: Path, server_tls: ssl.SSLContext) -> None:
    async with RawBackend(saying(HELLO), tls=server_tls) as backend, RawBackend(Proxy(), tls=server_tls) as front:
        tls = tls_context(ca_file=str(certificate))
        pool = Pool(
            Origin.parse(f"https://localhost:{backend.port}"),
            timeouts=Timeouts(),
            tls=tls,
            proxy=Origin.parse(f"https://localhost:{front.port}"),
            proxy_tls=tls,
        )
        assert (await pool.fetch(GET))[1] == b"hello"
        pool.close()
        await eventually(lambda: pool.sockets == 0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "the proxy answered 407 Proxy Authentication Required",
        ),
        (b"HTTP/1.1 502\r\n\r\n", "the proxy answered 502"),
        (b"SSH-2.0-x\r\n\r\n", "the proxy sent something that is not an HTTP answer"),
        (b"x" * 20000, "the proxy sent something that is not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nearly", "the proxy sent bytes before the TLS handshake"),
        (b"", "the proxy closed the connection"),
    ],
    ids=["407", "502", "garbage", "long", "early bytes", "closed"],
)
async def test_a_proxy_that_does_not_open_the_way(answer: bytes, reason: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer)
        if answer:
            await peer.gone()

    async with RawBackend(script) as front:
        proxy = Origin.parse(front.url.replace("//", "//ann:pw@"))
        pool = Pool(Origin.parse("https://x.test"), timeouts=Timeouts(), proxy=proxy)
        message = f"cannot reach https://x.test through the proxy {front.url}: {reason}"
        assert await refusal(pool) == (BackendUnreachable, message)


async def test_a_proxy_that_never_answers_times_out() -> None:
    async with RawBackend(silent) as front:
        pool = Pool(Origin.parse("https://x.test"), timeouts=QUICK, proxy=Origin.parse(front.url))
        message = f"cannot reach https://x.test through the proxy {front.url}: no connection within 0.2 s"
        assert await refusal(pool) == (BackendTimeout, message)


async def test_plain_http_asks_a_proxy_in_the_absolute_form() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.request() == (
            b"GET http://x.test:8000/a HTTP/1.1\r\nhost: x.test:8000\r\nproxy-authorization: Basic YW5uOnB3\r\n\r\n"
        )
        await peer.say(HELLO)

    async with RawBackend(script) as front:
        proxy = Origin.parse(front.url.replace("//", "//ann:pw@"))
        pool = Pool(Origin.parse("http://x.test:8000"), timeouts=Timeouts(), proxy=proxy)
        assert (await pool.fetch(Call("GET", "/a")))[1] == b"hello"
        pool.close()
