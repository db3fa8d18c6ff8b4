"""`python -m arriero.backends.scripted`: the same as `arriero scripted`.

Prints one line with its address when it listens, and runs until SIGTERM or SIGINT.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from arriero.backends.scripted.process import HOST, run, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where the script cannot be read or the address cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m arriero.backends.scripted", description=__doc__)
    parser.add_argument("--script", type=Path, help="YAML or JSON file; without one, a built-in sentence is said")
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST})")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (default: 0)")
    parser.add_argument("--socket", type=Path, help="unix socket to listen on instead")
    parser.add_argument("--name", help="who it is: answers carry it, and say it")
    given = parser.parse_args(arguments)
    failure = run(
        tell, script=given.script, host=given.host, port=given.port, socket_path=given.socket, name=given.name
    )
    if failure is not None:
        sys.stderr.write(f"error: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
