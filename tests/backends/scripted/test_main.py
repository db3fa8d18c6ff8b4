"""The scripted server as a process of its own."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20.0
COMMAND = [sys.executable, "-m", "arriero.backends.scripted"]


def started(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """The process and the address that it prints."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def version(address: str) -> bytes:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=SECONDS)
    try:
        connection.request("GET", "/api/version")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_ends_when_it_is_told(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("version: 9.9.9")
    process, address = started("--script", str(script), "--name", "gpu1")
    with process:
        assert address.startswith("http://127.0.0.1:")
        assert version(address) == b'{"version":"9.9.9"}'
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


def test_killed_it_is_gone(tmp_path: Path) -> None:
    process, address = started("--socket", str(tmp_path / "s"))
    with process:
        assert address == f"unix://{tmp_path}/s"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            process.kill()
            assert process.wait(SECONDS) == -signal.SIGKILL
            # Closed, or reset where it had not yet been accepted.
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--script", "/nowhere.yaml"], "error: the script /nowhere.yaml cannot be read: No such file or directory\n"),
        (["--socket", "/nowhere/s"], "error: the socket /nowhere/s cannot be made: "),
    ],
)
def test_what_cannot_be_started(arguments: list[str], message: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
