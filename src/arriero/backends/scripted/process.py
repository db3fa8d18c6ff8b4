"""The scripted server as a process of its own: `arriero scripted`, and `python -m arriero.backends.scripted`."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from arriero.backends.scripted.script import Script, ScriptError, check_name, read_script, script_file
from arriero.backends.scripted.server import ScriptedServer

HOST = "127.0.0.1"
MAX_PORT = 65535


def run(
    told: Callable[[str], object],
    *,
    script: Path | None = None,
    host: str = HOST,
    port: int = 0,
    socket_path: Path | None = None,
    name: str | None = None,
) -> str | None:
    """Serve until SIGTERM or SIGINT; `told` is given the address when it listens.

    The answer is `None`, or the sentence that says why it cannot start. `name` goes before the script's.
    """
    if not 0 <= port <= MAX_PORT:
        return f"{port} is not a port; it has to be 0 to {MAX_PORT}, and 0 takes a free one"
    try:
        read = read_script(script) if script is not None else Script()
        if name is not None:
            check_name(name, "--name")
            read = msgspec.structs.replace(read, name=name)
    except ScriptError as error:
        return str(error)
    server = ScriptedServer(read, folder=script_file(script).parent if script is not None else None, kept=0)
    try:
        with asyncio.Runner(loop_factory=_loop()) as runner:
            runner.run(_serve(server, told, host, port, socket_path))
    except OSError as error:
        return _explained(error, host, port, socket_path)
    return None


def tell(address: str) -> None:
    """Print the address now: who started the process waits for the line."""
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


async def _serve(
    server: ScriptedServer, told: Callable[[str], object], host: str, port: int, socket_path: Path | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        told(await server.start(host=host, port=port, socket_path=socket_path))
        await stop.wait()
    finally:
        await server.close()


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where there is one: it plays twice as many streams."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _explained(error: OSError, host: str, port: int, socket_path: Path | None) -> str:
    if socket_path is not None:
        return f"the socket {socket_path} cannot be made: {error.strerror or error}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; try --host {HOST}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is taken by another program; give another --port, or 0 for a free one"
        case errno.EACCES:
            return f"port {port} on {host} needs more rights than this user has; give a --port above 1023"
    return f"port {port} on {host} cannot be listened on: {error.strerror or error}"
