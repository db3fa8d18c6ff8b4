"""The scripted server itself: a small HTTP/1.1 server on a loopback port or a unix socket.

It reads requests by the rules and answers as it is told to, which may be against them. What it has received is kept in
`requests`, so that a test can say what went out. Requests below `/_scripted/` are commands, and stand in no list.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
import msgspec

from arriero.backends.scripted.commands import Commands, is_command
from arriero.backends.scripted.desk import Desk
from arriero.backends.scripted.reply import Reply
from arriero.backends.scripted.script import Delay, Play, Script
from arriero.backends.scripted.seen import Seen

BACKLOG = 1024
FILLER_BYTES = 100_000
SLOW_SECONDS = 0.001
MAX_BODY_BYTES = 1024 * 1024 * 1024


class Received:
    """A request. `headers` has names in lower case, the last of several wins. `gone`: its sender left before the end.

    `done` says that the answer was sent as far as the script wanted it, `command` that it is one below `/_scripted/`.
    """

    __slots__ = ("body", "command", "done", "gone", "headers", "method", "path")

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.command = is_command(path)
        self.gone = False
        self.done = False

    def __repr__(self) -> str:
        return f"<Received {self.method} {self.path} {len(self.body)} bytes>"


class ScriptedServer:
    """Plays a script. Used from one event loop; `close` leaves no task and no socket behind.

    `folder` is where the recordings of commands lie. `kept` says how many of the last `requests` are kept, bodies and
    all; all of them where it is `None`. Commands have to carry `command_key`, or else the script's key.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        folder: Path | None = None,
        kept: int | None = None,
        command_key: str | None = None,
    ) -> None:
        script = script or Script()
        self.desk = Desk(script)
        self.seen = Seen()
        self.commands = Commands(self.desk, self.seen, folder=folder, key=command_key or script.key)
        self.requests: deque[Received] = deque(maxlen=kept)
        self.mark: Mapping[str, str] = {"x-scripted-name": script.name} if script.name is not None else {}
        self.connections = 0
        self.peers: set[_Peer] = set()
        self.address = ""
        self._server: asyncio.Server | None = None
        self._socket_path: Path | None = None

    async def start(self, *, host: str = "127.0.0.1", port: int = 0, socket_path: Path | None = None) -> str:
        """Listen; the address as a URL (`http://...`, `unix://...`). Raises OSError."""
        loop = asyncio.get_running_loop()
        if socket_path is not None:
            self._server = await loop.create_unix_server(lambda: _Peer(self), socket_path, backlog=BACKLOG)
            self._socket_path = socket_path
            self.address = f"unix://{socket_path}"
        else:
            self._server = await loop.create_server(
                lambda: _Peer(self), host, port, backlog=BACKLOG, reuse_address=True
            )
            found = self._server.sockets[0].getsockname()
            self.address = f"http://[{found[0]}]:{found[1]}" if ":" in found[0] else f"http://{found[0]}:{found[1]}"
        return self.address

    async def stop_listening(self) -> None:
        """From now on connections are refused; those that are open go on."""
        server, self._server = self._server, None
        if server is not None:
            for _ in range(3):
                await asyncio.sleep(0)  # the loop loses a connection that it is accepting while its server is closed
            server.close()
            # One turn of the loop takes the listening socket away; waiting would wait for open connections.
            await asyncio.sleep(0)
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        await self.stop_listening()
        tasks = [peer.task for peer in self.peers if peer.task is not None]
        for peer in list(self.peers):
            peer.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The sockets are closed in the loop's next turn.
        await asyncio.sleep(0)

    async def __aenter__(self) -> "ScriptedServer":
        if self._server is None:
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Peer(asyncio.Protocol):
    """One connection: reads requests, answers one after the other."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._waiting: list[tuple[Received, bool]] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)

    # ---- what the event loop tells ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections += 1
        self._server.peers.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.peers.discard(self)
        for received, _ in self._waiting:
            received.gone = True
            if not received.command:
                self._server.seen.ended(gone=True)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ---- what the parser tells -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._target, self._fields, self._body, self._size = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._fields.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            self.cut()
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        received = Received(method, self._target.decode("latin-1"), self._fields, b"".join(self._body))
        if not received.command:
            self._server.requests.append(received)
            self._server.seen.came(method, received.path, received.headers, received.body)
        self._waiting.append((received, self._parser.should_keep_alive()))
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._work())
            self.task.add_done_callback(self._ended)

    # ---- answering -------------------------------------------------------------------------------------------------

    def cut(self, *, reset: bool = False) -> None:
        """Close at once; `reset` tells a TCP peer so with an RST."""
        sock = self.transport.get_extra_info("socket")
        if reset and sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _work(self) -> None:
        while self._waiting:
            received, keep = self._waiting[0]
            keep = await (self._obey if received.command else self._serve)(received, keep=keep)
            received.done = True
            self._waiting.pop(0)
            if not received.command:
                self._server.seen.ended(gone=False)
            if not keep:
                self.transport.close()
                break
        self.task = None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        # A fault of the server's own is told, and nobody waits for an answer that cannot come.
        if not task.cancelled() and (fault := task.exception()) is not None:
            told = {"message": "the scripted server failed", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(told)
            self.cut()

    async def _obey(self, received: Received, *, keep: bool) -> bool:
        """Whether the connection can go on."""
        reply = self._server.commands.answer(received.method, received.path, received.headers, received.body)
        return await self._answer(received, Play(), self._marked(reply), keep=keep)

    async def _serve(self, received: Received, *, keep: bool) -> bool:
        """Whether the connection can go on."""
        play, reply = self._server.desk.answer(received.method, received.path, received.headers, received.body)
        try:
            return await self._answer(received, play, self._marked(reply), keep=keep)
        finally:
            self._server.desk.ended(reply)

    def _marked(self, reply: Reply) -> Reply:
        return msgspec.structs.replace(reply, headers={**self._server.mark, **reply.headers})

    async def _answer(self, received: Received, play: Play, reply: Reply, *, keep: bool) -> bool:
        """Whether the connection can go on."""
        delay, fault = play.delay, play.fault
        if delay.head or reply.wait_seconds:
            await asyncio.sleep(delay.head / 1000 + reply.wait_seconds)
        match fault:
            case "refuse":
                return False
            case "reset":
                self.cut(reset=True)
                return False
            case "hang":
                await self._hang()
            case "garbage":
                await self._send(b"\x00\x01\x02 this is not HTTP\r\n\r\n")
                return False
        if play.exact is not None:
            await self._send(play.exact)
            return False
        head, wire, keep = frame(received.method, reply, play, keep=keep)
        if fault == "cut_head":
            await self._send(head[: len(head) // 2])
            return False
        return await self._say(head, wire, delay, play, keep=keep)

    async def _say(self, head: bytes, wire: list[bytes], delay: Delay, play: Play, *, keep: bool) -> bool:
        if play.fault == "slow":
            for byte in head + b"".join(wire):
                await self._send(bytes((byte,)))
                await asyncio.sleep(delay.piece / 1000 or SLOW_SECONDS)
            return keep
        # The head and the first piece go out together, as most servers send them.
        await self._send(head + b"".join(wire[:1]))
        for piece in wire[1:]:
            if delay.piece:
                await asyncio.sleep(delay.piece / 1000)
            await self._send(piece)
        match play.fault:
            case "cut_stream" | "wrong_length" | "short_length" | "bad_chunk":
                return False
            case "reset_stream":
                # What was said is to arrive: an RST would overtake it.
                await asyncio.sleep(0.02)
                self.cut(reset=True)
                return False
            case "hang_stream":
                await self._hang()
        return keep

    async def _send(self, data: bytes) -> None:
        await self._writable.wait()
        self.transport.write(data)

    async def _hang(self) -> None:
        """For ever: the other side leaves first, which cancels this."""
        await asyncio.get_running_loop().create_future()


# ---- framing -------------------------------------------------------------------------------------------------------


def frame(method: str, reply: Reply, play: Play, *, keep: bool) -> tuple[bytes, list[bytes], bool]:
    """The head, the pieces of the body as they go out, and whether the connection can be used again."""
    fault = play.fault
    pieces = _spoiled(list(reply.pieces), reply.stream, fault)
    framing = play.form.framing or ("chunked" if reply.stream else "length")
    if fault in ("wrong_length", "short_length"):
        framing = "length"
    elif fault == "bad_chunk":
        framing = "chunked"
    fields = {"server": "scripted"}
    if reply.content_type is not None:
        fields["content-type"] = reply.content_type
    size = sum(map(len, pieces))
    match framing:
        case "chunked":
            fields["transfer-encoding"] = "chunked"
            wire = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece]
            wire.append(b"0\r\n\r\n")
        case "length":
            fields["content-length"] = str(size + {"wrong_length": 100, "short_length": -size // 2}.get(fault or "", 0))
            wire = pieces
        case "close":
            fields["connection"] = "close"
            wire, keep = pieces, False
    if not keep:
        fields["connection"] = "close"
    if fault == "huge_head":
        fields["x-filler"] = "x" * FILLER_BYTES
    # The script's own fields have the last word.
    fields |= {name.lower(): value for name, value in reply.headers.items()}
    if method == "HEAD":
        wire = []
    if fault in ("cut_stream", "reset_stream", "hang_stream"):
        wire = _half(wire)
    elif fault == "bad_chunk":
        wire = [*_half(wire), b"zz\r\n{}\r\n"]
    return _head(reply.status, fields), wire, keep


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Scripted"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _spoiled(pieces: list[bytes], stream: bool, fault: str | None) -> list[bytes]:
    """The pieces with the faults that a correct HTTP framing carries."""
    middle = len(pieces) // 2
    match fault:
        case "empty":
            return []
        case "half_json":
            return [*pieces[:middle], *(piece[: len(piece) // 2] for piece in pieces[middle : middle + 1])]
        case "garbage_stream":
            mark = b"data: " if pieces and b"data:" in pieces[0] else b""
            return [*pieces[:middle], mark + b'{"this is": not JSON\n\n', *pieces[middle:]]
    return pieces


def _half(wire: list[bytes]) -> list[bytes]:
    """The first half: of the pieces, or of the only one."""
    if len(wire) > 2:
        return wire[: len(wire) // 2]
    return [wire[0][: len(wire[0]) // 2]] if wire else []
