import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from arriero.config import Address, Flags, Loaded, load
from arriero.ports import identify, obstacle
from support.answering import Answer, answering


def loaded(folder: Path, port: int, host: str = "127.0.0.1", file: str = "") -> Loaded:
    if file:
        (folder / "arriero.yaml").write_text(file)
    return load(Flags(port=port, host=host), {}, folder, folder)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a socket that listens and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


def free_port_after(port: int) -> int:
    for candidate in range(port + 1, port + 50):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise AssertionError("no free port")


def test_a_free_port_is_no_obstacle(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "", "0.0.0.0"):
        assert obstacle(loaded(tmp_path, 0, host)) is None


def test_another_program(tmp_path: Path, silent: int) -> None:
    free = free_port_after(silent)
    assert obstacle(loaded(tmp_path, silent)) == (
        f"port {silent} on 127.0.0.1 is taken by another program.\n  Use another port:  arriero serve --port {free}"
    )


def test_all_interfaces_are_taken_if_one_is(tmp_path: Path, silent: int) -> None:
    text = obstacle(loaded(tmp_path, silent, ""))
    assert text is not None
    assert text.startswith(f"port {silent} on all interfaces is taken by another program.")


OLLAMA = {"/api/version": Answer(b'{"version":"0.12.3"}')}


def test_an_ollama_server(tmp_path: Path) -> None:
    with answering(OLLAMA) as server:
        free = free_port_after(server.port)
        assert obstacle(loaded(tmp_path, server.port)) == (
            f"port {server.port} on 127.0.0.1 is taken by an Ollama server (version 0.12.3).\n"
            f"  Use another port:  arriero serve --port {free}\n"
            f"  arriero then finds it and serves its models; clients use OLLAMA_HOST=127.0.0.1:{free}\n"
            f"  To put arriero in its place, restart it with OLLAMA_HOST=127.0.0.1:{free} and name it in the file:\n"
            f'    backends: [{{name: ollama, kind: ollama, url: "http://127.0.0.1:{free}"}}]'
        )


def test_an_ollama_server_beside_a_file(tmp_path: Path) -> None:
    with answering(OLLAMA) as server:
        text = obstacle(loaded(tmp_path, server.port, file="backends: [{name: a, kind: engine}]"))
    assert text is not None
    assert f'    - {{name: ollama, kind: ollama, url: "http://127.0.0.1:{server.port}"}}' in text


def test_arriero(tmp_path: Path) -> None:
    with answering({"/api/version": Answer(b'{"version":"0.13.0"}', headers={"Server": "arriero/0.1.0"})}) as server:
        text = obstacle(loaded(tmp_path, server.port))
    assert text is not None
    assert text.startswith(f"port {server.port} on 127.0.0.1 is taken by arriero 0.1.0.\n")
    assert "Ollama" not in text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>"),
        Answer(b"{}"),
        Answer(b"[1]"),
        Answer(b'{"version":1}'),
        Answer(b'{"version":"1"}', 500),
        Answer(b"\xff\xfe"),
    ],
)
def test_who_does_not_answer_as_ollama_is_another_program(answer: Answer) -> None:
    with answering({"/api/version": answer}) as server:
        assert identify(Address("127.0.0.1", server.port)) is None


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    configuration = load(Flags(), {"HOST": "192.0.2.1"}, tmp_path, tmp_path)
    assert obstacle(configuration) == (
        "192.0.2.1 is not an address of this machine (HOST says so).\n"
        "  Try:  arriero serve --host 127.0.0.1   (this machine only)\n"
        "        arriero serve --host 0.0.0.0     (every interface)"
    )


@pytest.mark.parametrize("host", ["no..such", "x" * 70])
def test_a_host_that_is_no_name(tmp_path: Path, host: str) -> None:
    text = obstacle(loaded(tmp_path, 0, host))
    assert text is not None
    assert text.startswith(f"{host} is not an address of this machine (--host says so).")


def test_each_of_several_addresses_is_tried(tmp_path: Path, silent: int) -> None:
    (tmp_path / "arriero.yaml").write_text(f'server: {{listen: ["127.0.0.1:0", "127.0.0.1:{silent}"]}}')
    text = obstacle(load(Flags(), {}, tmp_path, tmp_path))
    assert text is not None
    assert text.startswith(f"port {silent} ")
