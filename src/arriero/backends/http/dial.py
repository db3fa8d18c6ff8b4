"""Opening connections: addresses, TLS, proxies. The one border where OSError and ssl errors become ours."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import cast

from arriero.backends.http.connection import Connection
from arriero.backends.http.origin import Origin
from arriero.errors import BackendTimeout, BackendUnreachable

_MAX_PROXY_HEAD_BYTES = 16384


class Dialer:
    """Opens connections to one origin, directly or through one proxy. `tls` is used where the origin is https."""

    __slots__ = ("_origin", "_proxy", "_proxy_tls", "_tls")

    def __init__(
        self, origin: Origin, *, proxy: Origin | None, tls: ssl.SSLContext | None, proxy_tls: ssl.SSLContext | None
    ) -> None:
        self._origin = origin
        self._proxy = proxy
        self._tls = tls if origin.secure else None
        self._proxy_tls = proxy_tls if proxy is not None and proxy.secure else None

    async def dial(self, make: Callable[[], Connection], limit: float | None) -> Connection:
        """A fresh connection within `limit` seconds, all of name lookup, proxy and TLS.

        Raises BackendUnreachable or BackendTimeout. Whatever ends it, cancellation too, leaves no socket open.
        """
        attempt = _Attempt(make)
        try:
            async with asyncio.timeout(limit):
                await self._open(attempt, limit)
        except TimeoutError as error:
            attempt.drop()
            if isinstance(error, OSError) and error.errno:  # The kernel's own ETIMEDOUT, not the limit.
                raise BackendUnreachable(f"{self._failed}: {_sentence(error)}") from error
            raise BackendTimeout(f"{self._failed}: no connection within {limit:g} s") from None
        except _Refusal as error:
            attempt.drop()
            raise BackendUnreachable(f"{self._failed}: {error}") from None
        except OSError as error:  # ssl.SSLError and socket.gaierror are among them.
            attempt.drop()
            raise BackendUnreachable(f"{self._failed}: {_sentence(error)}") from error
        except BaseException:
            attempt.drop()
            raise
        return attempt.connection

    @property
    def _failed(self) -> str:
        way = f" through the proxy {self._proxy.address}" if self._proxy is not None else ""
        return f"cannot reach {self._origin.place}{way}"

    async def _open(self, attempt: "_Attempt", limit: float | None) -> None:
        loop = asyncio.get_running_loop()
        origin, proxy = self._origin, self._proxy
        if origin.socket_path is not None:
            await loop.create_unix_connection(attempt.make, origin.socket_path)
        elif proxy is None:
            await _connect(loop, attempt.make, origin, self._tls, limit)
        elif not origin.secure:
            await _connect(loop, attempt.make, proxy, self._proxy_tls, limit)
        else:
            await self._tunnel(loop, attempt, proxy, limit)

    async def _tunnel(
        self, loop: asyncio.AbstractEventLoop, attempt: "_Attempt", proxy: Origin, limit: float | None
    ) -> None:
        authority = self._origin.authority
        head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n".encode("ascii")
        if proxy.authorization is not None:
            head += b"proxy-authorization: " + proxy.authorization + b"\r\n"
        await _connect(loop, attempt.make_tunnel, proxy, self._proxy_tls, limit)
        await attempt.tunnel.ask(head + b"\r\n")
        assert self._tls is not None
        connection = attempt.make()
        transport = await loop.start_tls(
            attempt.tunnel.transport, connection, self._tls, server_hostname=self._origin.host
        )
        assert transport is not None
        connection.connection_made(transport)


class _Attempt:
    """What is open so far of a connection in the making."""

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make
        self._connections: list[Connection] = []
        self.tunnel = _Tunnel()

    @property
    def connection(self) -> Connection:
        return self._connections[-1]

    def make(self) -> Connection:
        # One per address that is tried; each tried one but the last is closed by the loop.
        self._connections.append(self._make())
        return self._connections[-1]

    def make_tunnel(self) -> "_Tunnel":
        self.tunnel = _Tunnel()
        return self.tunnel

    def drop(self) -> None:
        for connection in self._connections:
            if connection.transport is not None:
                connection.close()
        self.tunnel.drop()


class _Refusal(Exception):
    """The proxy would not; the text says what it said."""


class _Tunnel(asyncio.Protocol):
    """The talk with a proxy before TLS begins: one CONNECT, one head."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._received = b""
        self._answer: asyncio.Future[None] | None = None

    async def ask(self, head: bytes) -> None:
        """Raises _Refusal unless the proxy opens the way."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(head)
        await self._answer

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            return
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            if len(head) > _MAX_PROXY_HEAD_BYTES:
                self._answer.set_exception(_Refusal("the proxy sent something that is not an HTTP answer"))
            return
        words = head.partition(b"\r\n")[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            self._answer.set_exception(_Refusal("the proxy sent something that is not an HTTP answer"))
        elif not 200 <= int(words[1]) < 300:
            said = b" ".join(words[1:]).decode("latin-1")
            self._answer.set_exception(_Refusal(f"the proxy answered {said}"))
        elif rest:
            self._answer.set_exception(_Refusal("the proxy sent bytes before the TLS handshake"))
        else:
            self._answer.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_Refusal("the proxy closed the connection"))


async def _connect(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], asyncio.BaseProtocol],
    origin: Origin,
    tls: ssl.SSLContext | None,
    limit: float | None,
) -> None:
    """Each address of the host in turn; the last one's error is raised. A silent one gets its share of the limit."""
    host = origin.dialed or origin.host
    try:
        addresses = socket.getaddrinfo(host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # A name, not an address: that is looked up in a thread.
        addresses = await loop.getaddrinfo(host, origin.port, type=socket.SOCK_STREAM)
    for i, address in enumerate(addresses):
        last = i == len(addresses) - 1
        share = None if last or limit is None else limit / len(addresses)
        try:
            async with asyncio.timeout(share):
                await _connect_one(loop, make, origin, tls, address[0], address[4])
            return
        except ssl.SSLError:
            raise  # The host is there and its TLS is wrong: another of its addresses would hide the reason.
        except OSError:
            if last:
                raise
    raise OSError(errno.EADDRNOTAVAIL, "no address")


async def _connect_one(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], asyncio.BaseProtocol],
    origin: Origin,
    tls: ssl.SSLContext | None,
    family: int,
    address: tuple[object, ...],
) -> None:
    # A socket of our own keeps the scope of a link-local address and the loop from asking for the name again.
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, cast("tuple[str, int]", address))
    except BaseException:
        sock.close()
        raise
    # From here on the socket is the loop's, which closes it if the handshake fails or is cancelled.
    if tls is None:
        await loop.create_connection(make, sock=sock)
    else:
        await loop.create_connection(make, sock=sock, ssl=tls, server_hostname=origin.host)


_ERRNOS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the network",
    errno.ETIMEDOUT: "the connection timed out",
    errno.ENOENT: "there is no such socket",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this machine",
    errno.EADDRNOTAVAIL: "no local port or address is free",
}


def _sentence(error: OSError) -> str:
    """Why, in words; the exception's own text names sockets and line numbers of C files."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "handshake failed").replace("_", " ").lower()
        hint = "; perhaps it speaks http://" if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") else ""
        return f"TLS failed ({reason}{hint})"
    if isinstance(error, socket.gaierror):
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
            return "there is no such host"
        return f"its name cannot be looked up ({(error.strerror or 'unknown reason').lower()})"
    if error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    if isinstance(error, ConnectionError):
        return "the connection was closed"
    return (error.strerror or type(error).__name__).lower()
