import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any

import pytest

from arriero.calling import Broken, CallError, NobodyListens, Refused, call
from support.answering import Answer, answering, ndjson

PATH = "/api/some"


@contextmanager
def saying(data: bytes, *, reset: bool = False) -> Iterator[str]:
    """The URL of a server that reads one request without anything in it, says these bytes and leaves."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                seen = connection.recv(65536)
                while seen.startswith(b"POST") and not seen.endswith(b"{}"):
                    seen += connection.recv(65536)  # what is not read makes a reset of the end
                connection.sendall(data)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

        thread = Thread(target=talk)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join(10)


def failure(url: str) -> tuple[list[dict[str, Any]], CallError]:
    """What came until it failed, and how."""
    came: list[dict[str, Any]] = []
    with pytest.raises(CallError) as raised:
        for value in call(url, PATH, {}):
            came.append(value)
    return came, raised.value


def test_what_goes_and_what_comes() -> None:
    with answering({f"/base{PATH}": Answer(b'{"a":1}\n\n{"b":[2]}\n')}) as server:
        url = f"http://127.0.0.1:{server.port}/base"
        assert list(call(url, PATH, {"model": "é"}, "key")) == [{"a": 1}, {"b": [2]}]
        assert list(call(url, PATH, {})) == [{"a": 1}, {"b": [2]}]
    (path, headers, body), (_, without, _) = server.seen
    assert (path, body) == (f"/base{PATH}", b'{"model": "\\u00e9"}')
    assert (headers["content-type"], headers["authorization"]) == ("application/json", "Bearer key")
    assert "authorization" not in without


def test_what_comes_is_told_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answer = call(f"http://127.0.0.1:{server.getsockname()[1]}", PATH, {})
        told: list[str] = []

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a":1}\n\r\n')
                while connection.recv(65536):
                    pass
                told.append("the caller has left")

        thread = Thread(target=talk)
        thread.start()
        assert next(answer) == {"a": 1}
        answer.close()  # type: ignore[attr-defined]
        thread.join(10)
    assert told == ["the caller has left"]


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (Answer(b'{"error":"no such knob"}', 400), 400, "no such knob"),
        (Answer(b'{"error":"a\\u001b[2Jb"}', 500), 500, "a\ufffd[2Jb"),
        (Answer(b"<html>", 502), 502, "status 502 (Bad Gateway); is this an Ollama API?"),
        (Answer(b'{"error":{"message":"no"}}', 401), 401, "status 401 (Unauthorized); is this an Ollama API?"),
        (Answer(b"", 302), 302, "status 302 (Found); is this an Ollama API?"),
    ],
)
def test_a_refusal(answer: Answer, status: int, text: str) -> None:
    with answering({PATH: answer}) as server:
        came, error = failure(f"http://127.0.0.1:{server.port}")
    assert (came, type(error), str(error)) == ([], Refused, text)
    assert isinstance(error, Refused) and error.status == status


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (ndjson({"a": 1}, {"error": "it\x07broke"}, {"b": 2}), "it\ufffdbroke"),
        (ndjson({"a": 1}) + b"<html>\n", f"the answer is not in the form of {PATH}"),
        (ndjson({"a": 1}) + b"[1]\n", f"the answer is not in the form of {PATH}"),
        (ndjson({"a": 1}) + b'{"cut', f"the answer is not in the form of {PATH}"),
    ],
)
def test_an_answer_that_goes_wrong(lines: bytes, text: str) -> None:
    with answering({PATH: Answer(lines)}) as server:
        came, error = failure(f"http://127.0.0.1:{server.port}")
    assert (came, str(error)) == ([{"a": 1}], text)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "reset", "came", "why"),
    [
        (b"SSH-2.0\r\n", False, [], "BadStatusLine"),
        (b"", False, [], "RemoteDisconnected"),
        (HEAD + b'8\r\n{"a":1}\n\r\n', True, [{"a": 1}], "ConnectionResetError"),
    ],
)
def test_a_connection_that_breaks(data: bytes, reset: bool, came: list[dict[str, Any]], why: str) -> None:
    with saying(data, reset=reset) as url:
        told, error = failure(url)
    # With a reset, what came before may be lost with it.
    assert told in (came, []) if reset else told == came
    assert (type(error), str(error)) == (Broken, f"the connection to {url} broke ({why})")


def test_an_answer_that_ends_too_early_just_ends() -> None:
    """Its reader knows how it should have ended."""
    with saying(HEAD + b'8\r\n{"a":1}\n\r\n') as url:
        assert list(call(url, PATH, {})) == [{"a": 1}]


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    _, error = failure(url)
    assert isinstance(error, NobodyListens)
    assert str(error) == (
        f"nothing listens at {url} (Connection refused).\n  Start arriero in another terminal:  arriero serve"
    )


def test_who_answers_has_no_tls() -> None:
    with saying(b"HTTP/1.0 400 Bad Request\r\n\r\n") as url:
        _, error = failure(url.replace("http://", "https://"))
    assert not isinstance(error, NobodyListens)
    assert str(error).startswith(f"no TLS with {url.replace('http://', 'https://')}: ")
    assert ssl.SSLError.__name__ not in str(error)
