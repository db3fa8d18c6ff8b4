"""`arriero serve --olla-config`: a program that takes the place of Olla, and the file that it is started from."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from support.hosts import Hosts
from support.program import Program, command, environment

FRONT_PORT = 40114
"""Where Olla listens, and arriero in its place."""

BASES = ("bearer", "apikey", "basic")
"""Paths below which the witness plays further Ollama servers."""

Finished: TypeAlias = "subprocess.CompletedProcess[str]"

Arriero: TypeAlias = Callable[..., Finished]
"""A command line of arriero, run to its end."""


def run(folder: Path, *arguments: str, **variables: str) -> Finished:
    """One command of arriero to its end, with these variables: its status and what it printed."""
    return subprocess.run(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=folder,
        env=environment(folder, variables),
        check=False,
    )


class DropIn(NamedTuple):
    """A program that was started from Olla's file."""

    program: Program
    file: Path
    port_is_default: bool
    variables: Mapping[str, str]
    secrets: Sequence[str]


def olla_file(hosts: Hosts, *more: Mapping[str, Any]) -> str:
    """Olla's `config.yaml`: two plain endpoints, three that want credentials, and those that are given."""
    checks: dict[str, Any] = {"type": "ollama", "check_interval": "1s", "check_timeout": "900ms"}
    root = hosts.witness.url
    bearer, apikey, basic = [{"url": f"{root}/{base}", "name": base, "preserve_path": True} for base in BASES]
    bearer |= {"auth": {"type": "bearer", "token_file": "${TOKEN_FILE}"}, "headers": {"X-Team": "team-secret"}}
    apikey |= {"auth": {"type": "api_key", "key": "${API_KEY_OF_TWO}", "header": "X-Own-Key"}}
    basic |= {"auth": {"type": "basic", "username": "${NOBODY:-who}", "password": "word-secret"}}
    plain: list[dict[str, Any]] = [{"url": host.url, "name": host.name} for host in (hosts.alpha, hosts.beta)]
    limits = {
        "global_requests_per_minute": 0,
        "per_ip_requests_per_minute": 0,
        "trust_proxy_headers": True,
        "trusted_proxy_cidrs": ["10.0.0.0/8"],
    }
    return json.dumps(
        {
            "server": {"rate_limits": limits},
            "discovery": {
                "type": "static",
                "static": {"endpoints": [{**checks, **each} for each in (*plain, bearer, apikey, basic, *more)]},
            },
        },
        indent=1,
    )


@contextmanager
def serving(folder: Path, flags: Sequence[str], port: int, variables: Mapping[str, str]) -> Iterator[Program]:
    """`arriero serve` with these flags, which has to listen on the port."""
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command("serve", *flags),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=environment(folder, variables),
            start_new_session=True,
        )
    running = Program(process, port, folder)
    try:
        running.wait_ready()
        yield running
    finally:
        running.end()


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of the loopback."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
