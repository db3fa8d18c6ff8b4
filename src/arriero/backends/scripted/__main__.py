"""`python -m arriero.backends.scripted`: the scripted server as a process of its own.

Prints one line with its address when it listens, and runs until SIGTERM or SIGINT.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from arriero.backends.scripted.script import Script, ScriptError, read_script
from arriero.backends.scripted.server import ScriptedServer


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 2 where the script cannot be read or the address cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m arriero.backends.scripted", description=__doc__)
    parser.add_argument("--script", type=Path, help="YAML or JSON file; without one, a built-in sentence is said")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default: 0)")
    parser.add_argument("--socket", type=Path, help="unix socket to listen on instead")
    given = parser.parse_args(arguments)
    try:
        script = read_script(given.script) if given.script is not None else Script()
        asyncio.run(_serve(script, given.host, given.port, given.socket))
    except (ScriptError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


async def _serve(script: Script, host: str, port: int, socket_path: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = ScriptedServer(script)
    try:
        address = await server.start(host=host, port=port, socket_path=socket_path)
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await server.close()


if __name__ == "__main__":
    sys.exit(main())
