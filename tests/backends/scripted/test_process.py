"""What a start comes to, in this process; the process of its own is tested with the command line."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from arriero.backends.scripted.process import run, tell


def start(**given: object) -> str | None:
    """The sentence that says why it cannot start; it must not get as far as an address."""
    return run(pytest.fail, **given)  # type: ignore[arg-type]


def test_a_port_that_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        sentence = f"port {port} on 127.0.0.1 is taken by another program; give another --port, or 0 for a free one"
        assert start(port=port) == sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"port": 65536}, "65536 is not a port; it has to be 0 to 65535, and 0 takes a free one"),
        ({"port": -1}, "-1 is not a port; it has to be 0 to 65535, and 0 takes a free one"),
        ({"host": "192.0.2.1"}, "192.0.2.1 is not an address of this machine; try --host 127.0.0.1"),
        ({"host": "not a name"}, "not a name is not an address of this machine; try --host 127.0.0.1"),
        ({"name": "a\nb"}, "--name: the name 'a\\nb' has to be printable ASCII: it goes into a header"),
        ({"script": Path("/nowhere.yaml")}, "the script /nowhere.yaml cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_started(given: dict[str, object], sentence: str) -> None:
    assert start(**given) == sentence


def test_a_socket_that_cannot_be_made(tmp_path: Path) -> None:
    sentence = start(socket_path=tmp_path / "no" / "s")
    assert sentence is not None
    assert sentence.startswith(f"the socket {tmp_path}/no/s cannot be made: ")


def test_the_address_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell("http://127.0.0.1:1")
    assert capsys.readouterr().out == "http://127.0.0.1:1\n"
