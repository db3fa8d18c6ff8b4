"""Starting and stopping: from a loaded configuration to a process that serves.

Logs go to stderr, the start table to stdout. A signal stops new connections, lets open answers end within
`server.shutdown_seconds`, and ends every child process.
"""

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

import uvicorn

from arriero import logs
from arriero.banner import READY, BackendLine, base_url, render_start
from arriero.canonical.catalog import Capability, ModelCard
from arriero.config import Address, Loaded
from arriero.config.environment import DEFAULT, ENVIRONMENT
from arriero.errors import ArrieroError
from arriero.gateway.entry import Entry
from arriero.gateway.roster import Roster
from arriero.holdings import holdings_of, home_of, lines_of
from arriero.reload import Running
from arriero.routing.fleet import State
from arriero.server.fastlane import FastProtocol, protocol_for

KEEP_ALIVE_SECONDS = 75

USUAL = "127.0.0.1:11434"
"""Where commands look for an arriero that nobody tells of."""

CUT_TURNS = 10
"""Turns of the loop within which a connection that was cut has told so."""

HANG_UP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""The signal to read the configuration again, where the system has it."""


def serve(loaded: Loaded, again: Callable[[], Loaded] | None = None) -> int:
    """Serve until a signal; the process's exit status. The addresses are free, or the error says they are not.

    `again` reads the configuration once more, when it may have changed.
    """
    written = logs.set_up(loaded.config.logging)
    try:
        return _serve(loaded, again, written)
    finally:
        written.close()


def _serve(loaded: Loaded, again: Callable[[], Loaded] | None, written: logs.Logs) -> int:
    config = loaded.config
    if HANG_UP is not None:
        # Until the loop runs there is nothing to do: the configuration has only just been read. A handler and no
        # ignoring, which child processes would inherit.
        signal.signal(HANG_UP, lambda *_: None)
    try:
        running = Running(loaded, again)
        app = running.app
        written.open(app.roster.journal)
        sockets = [sock for address in config.server.addresses for sock in _listening(address)]
    except (ArrieroError, OSError) as error:
        sys.stderr.write(f"arriero: {error}\n")
        return 1
    settings = uvicorn.Config(
        app,
        http=protocol_for(app),
        ws="none",
        loop="auto",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom a proxy speaks for is `limits.trusted_proxies`' word, not uvicorn's
        timeout_graceful_shutdown=ceil(config.server.shutdown_seconds),
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    server = _Server(settings, running)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal once more when it has stopped: that must not be what the process ends of.
        signal.signal(number, server.handle_exit)
    server.run(sockets=sockets)
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn, with the start table, with the configuration that is followed, and with the sweep over connections whose
    head does not come.
    """

    def __init__(self, settings: uvicorn.Config, running: Running) -> None:
        super().__init__(settings)
        self._running = running
        self._app = running.app
        self._on_terminal = sys.stderr.isatty()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await self._running.start()
        except ArrieroError as error:
            sys.stderr.write(f"arriero: {error}\n")
            self.should_exit = True
            return
        await super().startup(sockets=sockets)
        if self.started:
            if HANG_UP is not None:
                asyncio.get_running_loop().add_signal_handler(HANG_UP, self._hung_up)
            # What is there now stays: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            addresses = list(dict.fromkeys(_bound(sock) for sock in sockets or []))
            lines = _lines(self._app.roster)
            host = _named(self._running.loaded, addresses[0]) if addresses else None
            notes = _notes(self._app.roster, home_of(self._running.loaded.environ), host)
            sys.stdout.write(render_start(addresses, lines, notes, color=sys.stdout.isatty()))
            sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, FastProtocol):
                    connection.expire_head(now, self._app.head_seconds)
                    connection.expire_body(now, self._app.body_seconds)
                    connection.expire_idle(now, KEEP_ALIVE_SECONDS)
                    connection.expire_unread(now, self._app.unread_seconds)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._running.close()
        self.config.timeout_graceful_shutdown = ceil(self._running.config.server.shutdown_seconds)
        await super().shutdown(sockets=sockets)
        await self._cut()

    async def _cut(self) -> None:
        """The answers that have not come to their end in time: each has its line in the log."""
        self._app.roster.journal.stop()
        connections = self.server_state.connections
        for connection in list(connections):
            if isinstance(connection, FastProtocol):
                connection.transport.abort()
        for _ in range(CUT_TURNS):
            if connections:
                await asyncio.sleep(0)

    def _hung_up(self) -> None:
        """SIGHUP: the operator wants the configuration read again, or the terminal is gone."""
        if self._on_terminal and not sys.stderr.isatty():
            self.handle_exit(signal.SIGTERM, None)
        else:
            self._running.ask()


def _listening(address: Address) -> list[socket.socket]:
    """Sockets bound to every form of an address that this machine has (`localhost` is two); OSError with a sentence."""
    place = f"{address.host or 'every interface'}, port {address.port}"
    bound: list[socket.socket] = []
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(f"cannot listen on {place}: {error.strerror or error}") from None
    for family, kind, protocol, _, where in found:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that the system knows and does not have
            failure = error
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if bound and address.port == 0:
                where = (where[0], bound[0].getsockname()[1], *where[2:])
            sock.bind(where)
            sock.setblocking(False)
            bound.append(sock)
        except OSError as error:
            sock.close()
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    if not bound or (failure is not None and failure.errno == errno.EADDRINUSE):
        for sock in bound:
            sock.close()
        raise OSError(f"cannot listen on {place}: {(failure and failure.strerror) or failure}")
    return bound


def _bound(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def _lines(roster: Roster) -> list[BackendLine]:
    models: dict[str, list[ModelCard]] = {}  # those that clients may ask for
    for offer in roster.names.offers:
        models.setdefault(offer.backend, []).append(offer.card)
    return [_line(entry, models.get(name, ())) for name, entry in roster.entries.items()]


def _named(loaded: Loaded, address: Address) -> str | None:
    """The address that other commands have to be told; `None` where they find it by themselves.

    They do if it is the usual one or the environment's; a flag they do not know, nor the file of another folder.
    """
    where = base_url(address).removeprefix("http://")
    origins = {loaded.origin(f"server.{setting}").kind for setting in ("host", "port", "listen")}
    return None if where == USUAL or origins <= {DEFAULT.kind, ENVIRONMENT} else where


def _notes(roster: Roster, home: Path | None, host: str | None) -> list[str]:
    """What the stores hold, as far as they have been looked into."""
    entries = roster.entries.values()
    looked = [entry.backend for entry in entries if entry.state is not State.UNKNOWN and entry.error is None]
    stores = [store for backend in looked if (store := holdings_of(backend)) is not None]
    beside_ollama = any(backend.kind == "ollama" for backend in looked)
    return lines_of(stores, home, beside_ollama=beside_ollama, host=host)


def _line(entry: Entry, cards: Sequence[ModelCard]) -> BackendLine:
    state = "asking" if entry.state is State.UNKNOWN else READY if entry.well else "not reachable"
    return BackendLine(
        name=entry.backend.name,
        kind=entry.backend.kind,
        where=entry.backend.where,
        state=state if entry.error is None else entry.error.message,
        models=tuple(card.id for card in cards),
        mute=frozenset(card.id for card in cards if not _chats(card)),
    )


def _chats(card: ModelCard) -> bool:
    return card.capabilities is None or Capability.COMPLETION in card.capabilities
