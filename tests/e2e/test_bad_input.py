"""What clients and strangers send that is wrong: bytes in, bytes out, and the program goes on.

One program with small limits serves them all; the last tests see that nothing is left of it.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import SENTENCE
from support.engine import engine_processes
from support.gguf import random_llama, scripted, truncated
from support.program import Program, program, read_all, read_until, until

LIMIT = 200_000
HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
CHAT = b'{"model":"hello","messages":[{"role":"user","content":"hi"}],"stream":false}'
DEEP = 60_000
TOO_LARGE = f"the request body is larger than {LIMIT} bytes (limits.max_body_bytes)"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with small limits, a sound model, an endless one, and a broken file."""
    models = tmp_path_factory.mktemp("few")
    scripted(models / "hello.gguf", SENTENCE)
    scripted(models / "mortal.gguf", SENTENCE)
    random_llama(models / "endless.gguf", context_length=100_000)
    truncated(models / "broken.gguf")
    random_llama(models / "abort.gguf", block_count=5)
    backend = {"name": "local", "kind": "engine", "models_dir": models, "demo_model": False, "num_parallel": 1}
    folder = tmp_path_factory.mktemp("small")
    with program(folder, [backend], limits={"max_body_bytes": LIMIT, "max_header_bytes": 8192}) as running:
        assert running.post("/api/generate", {"model": "hello"})[0] == 200
        yield running


def post(body: bytes = CHAT, *fields: bytes, path: bytes = b"/api/chat", version: bytes = b"1.1") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/" + version + b"\r\n" + HOST + length + b"".join(fields) + b"\r\n" + body


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer in `data`, all of them with a length."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        found.append((status, rest[:size]))
        data = rest[size:]
    return found


def serves(small: Program) -> None:
    status, answer = small.post("/api/chat", CHAT)
    assert (status, answer["message"]["content"]) == (200, SENTENCE)


# ---- JSON ----------------------------------------------------------------------------------------------------------

BODIES: dict[str, bytes] = {
    "truncated": b'{"model":"hello","messages":[{"role":"us',
    "not JSON": b"hello there",
    "not UTF-8": b"\xff\xfe{}",
    "a form": b"model=hello&messages=hi",
    "a list": b"[]",
    "a text": b'"hello"',
    "a number": b"1e999",
    "deep lists": b"[" * DEEP,
    "deep objects": b'{"a":' * (DEEP // 2),
    "deep in a field": b'{"model":"hello","messages":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep in an unknown field": b'{"model":"hello","messages":[],"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep and open": b'{"model":"hello","messages":' + b'[{"a":' * (DEEP // 2),
    "a number as name": b'{"model":5,"messages":[],"input":"a"}',
    "a list as name": b'{"model":["hello"],"messages":[],"input":"a"}',
    "a control character": b'{"model":"he\x00llo","messages":[],"input":"a"}',
    "a lone quote": b'{"model":"hello',
}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show", "/v1/chat/completions"])
@pytest.mark.parametrize("kind", BODIES)
def test_json_that_cannot_be_read(small: Program, path: str, kind: str) -> None:
    status, headers, body = small.ask("POST", path, BODIES[kind])
    if kind == "deep in an unknown field" and status == 200:
        return  # nobody has to look into it
    assert (status, headers["content-type"].partition(";")[0]) == (400, "application/json"), body
    error = json.loads(body)["error"]
    assert error["message"] if path.startswith("/v1/") else error, body


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "hi"},
        {"messages": [{"role": 1}]},
        {"messages": [{"role": "user", "content": {"a": 1}}]},
        {"messages": [{"role": "user", "content": "x", "images": "no"}]},
        {"messages": [{"role": "user", "content": "x", "images": ["%%%"]}]},
        {"tools": "all"},
        {"tools": [{"type": "function", "function": 3}]},
        {"stream": "yes"},
        {"options": []},
        {"options": {"temperature": "warm"}},
        {"format": "xml"},
        {"format": {"type": "unheard-of"}},
        {"think": 7},
        {"keep_alive": {}},
        {"keep_alive": True},
        {"top_logprobs": -1},
        {"logprobs": "all"},
    ],
    ids=str,
)
def test_fields_of_a_wrong_type(small: Program, fields: dict[str, Any]) -> None:
    status, answer = small.post(
        "/api/chat", {"model": "hello", "messages": [{"role": "user", "content": "x"}], **fields}
    )
    assert status in (400, 500) and answer["error"], answer
    assert "fault of its own" not in answer["error"]


def test_a_refusal_of_the_engine_is_told_at_once(small: Program) -> None:
    """Nobody waits to see whether the child has crashed: it has answered."""
    body = {"model": "hello", "messages": [{"role": "user", "content": "x"}], "format": {"type": "unheard-of"}}
    small.post("/api/chat", body)
    start = time.monotonic()
    for _ in range(3):
        assert small.post("/api/chat", body)[0] in (400, 500)
    assert time.monotonic() - start < 2


def test_a_large_body_within_the_limit_is_served(small: Program) -> None:
    for size in (4_000, 33_000, 64_000, 190_000):
        status, answer = small.post("/api/chat", CHAT[:-1] + b',"padding":"' + b"x" * size + b'"}')
        assert (status, answer["message"]["content"]) == (200, SENTENCE)


# ---- heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello there\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400),
        (post(CHAT, b"Transfer-Encoding: chunked\r\n"), 400),
        (post(CHAT, b"Content-Length: 5\r\n"), 400),
        (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", 400),
        (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-Long: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-Endless: " + b"a" * 20_000, 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"Content-Length: 0\r\n\r\n", 431),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_a_head_that_is_wrong(small: Program, request_bytes: bytes, status: int) -> None:
    data = small.say(request_bytes)
    assert [found for found, _ in answers(data)] == [status], data
    assert b"connection: close" in data.partition(b"\r\n\r\n")[0]
    assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]


def test_a_head_in_pieces(small: Program) -> None:
    request = post(CHAT, CLOSE)
    with small.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), 40):
            sock.sendall(request[start : start + 40])
            time.sleep(0.001)
        ((status, body),) = answers(read_all(sock))
    assert (status, json.loads(body)["message"]["content"]) == (200, SENTENCE)


def test_an_offer_of_http2_is_not_taken(small: Program) -> None:
    """As Java's client makes it with the first request of every connection, body and all."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQ\r\n"
    data = small.say(post(CHAT, offer) + post(b'{"model":"hello"}', CLOSE, path=b"/api/show"))
    (chat, body), (show, _) = answers(data)
    assert (chat, json.loads(body)["message"]["content"], show) == (200, SENTENCE, 200)
    half = len(post(CHAT, offer)) - 20
    with small.connect() as sock:
        sock.sendall(post(CHAT, offer)[:half])
        time.sleep(0.05)
        sock.sendall(post(CHAT, offer)[half:])
        head = read_until(sock, b"llamas")
    assert head.startswith(b"HTTP/1.1 200")


# ---- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/show"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(small: Program, path: str, chunked: bool) -> None:
    """The client is still sending when it is told, and can read what it is told."""
    body = b"x" * (LIMIT * 4)
    if chunked:
        head = b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        request = post(body, CLOSE, path=path.encode())
    with small.connect() as sock:
        sock.sendall(request)
        data = read_until(sock, b"}")
    ((status, answer),) = answers(data)
    assert (status, json.loads(answer)) == (413, {"error": TOO_LARGE, "type": "payload_too_large"})


def test_a_chunked_body(small: Program) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (CHAT[:10], CHAT[10:11], CHAT[11:]))
    for path in (b"/api/chat", b"/api/show"):
        data = small.say(
            b"POST " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
            b"0\r\nX-Trailer: yes\r\n\r\n",
        )
        assert [status for status, _ in answers(data)] == [200]


def test_a_client_that_waits_to_be_told_to_go_on(small: Program) -> None:
    for path in (b"/api/chat", b"/api/show"):
        request = post(CHAT, b"Expect: 100-continue\r\n", CLOSE, path=path)
        head, _, body = request.partition(b"\r\n\r\n")
        with small.connect() as sock:
            sock.sendall(head + b"\r\n\r\n")
            assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
            assert [status for status, _ in answers(read_all(sock))] == [200]


def test_http_1_0(small: Program) -> None:
    data = small.say(post(CHAT, version=b"1.0"))
    assert [status for status, _ in answers(data)] == [200]
    streamed = small.say(post(CHAT.replace(b',"stream":false', b""), version=b"1.0"))
    head, _, body = streamed.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert "".join(json.loads(line)["message"]["content"] for line in body.splitlines()) == SENTENCE


# ---- one connection, many requests ---------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(small: Program) -> None:
    """Hot routes and others, good and bad."""
    show = post(b'{"model":"hello"}', path=b"/api/show")
    bad = post(b"{", path=b"/api/chat")
    data = small.say(post() + show + bad + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + post(CHAT, CLOSE))
    assert [status for status, _ in answers(data)] == [200, 200, 400, 200, 200]
    assert answers(data)[3][1] == b"Ollama is running"


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        post(b"x" * 10)[:-4] + b"",
    ],
    ids=["garbage", "too many fields", "cut"],
)
def test_what_comes_behind_a_request_does_not_harm_its_answer(small: Program, bad: bytes) -> None:
    with small.connect() as sock:
        sock.sendall(post() + bad)
        data = read_until(sock, b'"done":true')
    assert data.startswith(b"HTTP/1.1 200") and SENTENCE.encode() in data
    assert data.count(b"HTTP/1.1") == 1


def test_a_pipelined_body_over_the_limit_waits_for_its_turn(small: Program) -> None:
    data = small.say(post() + post(b"x" * (LIMIT + 1)))
    (first, body), (second, _) = answers(data)
    assert (first, second) == (200, 413)
    assert json.loads(body)["message"]["content"] == SENTENCE


def test_a_connection_is_used_again_after_an_error(small: Program) -> None:
    with small.connect() as sock:
        for body, status in ((b"{", 400), (b'{"model":"nope","messages":[]}', 404), (b"", 400), (CHAT, 200)):
            sock.sendall(post(body))
            data = b""
            while not data or len(data) < data.index(b"\r\n\r\n") + 4 + int(
                data.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"9999"
            ):
                data += sock.recv(65536)
            assert [found for found, _ in answers(data)] == [status]


# ---- clients that leave, children that die -------------------------------------------------------------------------


def start_endless(small: Program, path: bytes = b"/api/chat") -> socket.socket:
    """A stream that goes on for long, when its first words are there. Without dice the random model runs in circles."""
    options = b'"max_tokens":90000,"temperature":0'
    if not path.startswith(b"/v1/"):
        options = b'"options":{"num_predict":90000,"temperature":0}'
    sock = small.connect(20)
    body = b'{"model":"endless","messages":[{"role":"user","content":"hi"}],"stream":true,' + options + b"}"
    sock.sendall(post(body, path=path))
    read_until(sock, b'"content"')
    return sock


def test_a_client_that_leaves_gives_its_place_to_the_next(small: Program) -> None:
    """The model answers one at a time: the next one is served only when the first has been given up."""
    for _ in range(3):
        start_endless(small).close()
    body = {"model": "endless", "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": 3}}
    status, answer = small.post("/api/chat", {**body, "stream": False})
    assert (status, answer["done_reason"]) == (200, "length")


@pytest.mark.parametrize("path", [b"/api/chat", b"/v1/chat/completions"])
def test_an_engine_that_dies_in_mid_stream(small: Program, path: bytes) -> None:
    """The client is told in its dialect, and the next one is served by a new process."""
    before = set(engine_processes(small.pid))
    sock = start_endless(small, path)
    (child, *_) = sorted(set(engine_processes(small.pid)) - before) or _of(small, "endless")
    os.kill(child, signal.SIGKILL)
    with sock:
        data = read_until(sock, b"0\r\n\r\n")
    last = [line for line in data.split(b"\r\n") if b'"error"' in line][-1]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    words = error["message"] if path.startswith(b"/v1/") else error
    assert "endless" in words, words
    start_endless(small, path).close()


def _of(small: Program, model: str) -> list[int]:
    """The children that have a model's file open or named."""
    found = []
    for pid in engine_processes(small.pid):
        said = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/maps").read_bytes()
        if model.encode() in said:
            found.append(pid)
    return found


@pytest.mark.parametrize("path", ["/api/chat", "/api/embed"])
def test_an_engine_that_dies_at_rest_is_replaced(small: Program, path: str) -> None:
    """A child that is gone is no reason to fail; only one that dies again and again is."""
    messages = [{"role": "user", "content": "x"}]
    body = {"model": "mortal", "messages": messages, "input": "a", "stream": False}
    assert small.post(path, body)[0] == 200
    (child,) = _of(small, "mortal")
    os.kill(child, signal.SIGKILL)
    time.sleep(0.3)
    status, answer = small.post(path, body)
    assert status == 200, answer
    small.post("/api/generate", {"model": "mortal", "keep_alive": 0})


def test_a_broken_file_is_not_offered_says_why_and_hurts_nobody(small: Program) -> None:
    assert "broken:latest" not in [model["name"] for model in small.get("/api/tags")["models"]]
    status, answer = small.post("/api/chat", {"model": "broken", "messages": [], "stream": False})
    assert (status, answer["type"]) == (500, "engine_error")
    assert answer["error"].startswith("broken:latest on ") and "cannot be used: " in answer["error"]
    serves(small)


def test_a_file_that_the_engine_refuses_is_an_error_with_its_reason(small: Program) -> None:
    status, answer = small.post(
        "/api/chat", {"model": "abort", "messages": [{"role": "user", "content": "x"}], "stream": False}
    )
    assert status >= 500 and "abort" in answer["error"], answer
    serves(small)


def test_at_the_end_nothing_is_left(small: Program) -> None:
    """No socket and no child more than at rest, and no fault of arriero's own on the way."""
    for model in ("hello", "endless"):
        small.post("/api/generate", {"model": model, "keep_alive": 0})
    until(lambda: small.children() == [])
    until(lambda: small.sockets() <= 3)
    assert "a request met a fault of arriero" not in small.log
    assert small.get("/api/ps")["models"] == []
    serves(small)
