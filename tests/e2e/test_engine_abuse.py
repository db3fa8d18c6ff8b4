"""What clients, disks and neighbours do to a store that is served: nothing is lost, left behind, or kept waiting."""

import fcntl
import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.engine import needs_engine
from support.gguf import QWEN_TEMPLATE, scripted
from support.program import Program, program, read_all, until
from support.store import blobs, check_store, digest, leftovers, models

pytestmark = needs_engine

SENTENCE = "Hello there, traveller."


@contextmanager
def serving(folder: Path, store: Path) -> Iterator[Program]:
    backend = {"name": "local", "kind": "engine", "models_dir": str(store), "demo_model": False, "threads": 1}
    with program(folder, [backend], wait=False) as running:
        yield running


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("shelf") / "hello.gguf"
    scripted(path, SENTENCE, template=QWEN_TEMPLATE)
    return path.read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def home(tmp_path: Path, store: Path) -> Iterator[Program]:
    with serving(tmp_path / "home", store) as running:
        yield running


def uploaded(home: Program, data: bytes) -> str:
    status, _, answer = home.ask("POST", f"/api/blobs/{digest(data)}", data)
    assert status in (200, 201), answer
    return digest(data)


def created(home: Program, name: str, **fields: Any) -> str:
    """The last word of a create: `success`, or why not."""
    _, answer = home.post("/api/create", {"model": name, "stream": False, **fields})
    said: str = answer.get("error") or answer["status"]
    return said


def answered(home: Program, model: str) -> str:
    """What a model says, or why not."""
    body = {"model": model, "stream": False, "messages": [{"role": "user", "content": "hi"}]}
    _, answer = home.post("/api/chat", body)
    said: str = answer.get("error") or answer["message"]["content"]
    return said


def upload_head(wanted: str, *fields: str) -> bytes:
    return "\r\n".join([f"POST /api/blobs/{wanted} HTTP/1.1", "host: localhost", *fields, "", ""]).encode()


def descriptors(home: Program) -> int:
    return len(os.listdir(f"/proc/{home.pid}/fd"))


def failures(home: Program) -> list[dict[str, Any]]:
    """What its log holds as an error."""
    return [line for line in home.lines if line["level"] in ("error", "critical")]


# ---- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_whose_chunks_make_no_sense_leaves_nothing(home: Program, store: Path) -> None:
    before = descriptors(home)
    head = upload_head(digest(b"never"), "transfer-encoding: chunked", "connection: close")
    for rest in (b"zz\r\n", b"-5\r\nabcde\r\n", b"5\r\nabcdeXX0\r\n\r\n"):
        for pieces in ((head + rest,), (head, b"3\r\nabc\r\n", rest)):
            assert home.say(*pieces).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    until(lambda: leftovers(store) == [] and descriptors(home) <= before)
    assert failures(home) == []


def test_nothing_is_said_behind_the_refusal_of_a_request(home: Program, weights: bytes) -> None:
    """The blob is there, so that its answer needs no body; and the body is refused."""
    head = upload_head(uploaded(home, weights), "transfer-encoding: chunked", "connection: close")
    for _ in range(20):
        assert home.say(head + b"zz\r\n").count(b"HTTP/1.1") == 1
    assert failures(home) == []


def test_uploads_that_are_cut_anywhere_leave_nothing(home: Program, store: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    before = descriptors(home)
    head = upload_head(digest(data), f"content-length: {len(data)}")
    for cut in (0, 1, 100, 65536, 1 << 20, (1 << 20) + 1, len(data) - 1):
        for pause in (0.0, 0.002, 0.05):
            with home.connect() as sock:
                sock.sendall(head + data[:cut])
                time.sleep(pause)
    until(lambda: leftovers(store) == [] and descriptors(home) <= before)
    assert home.ask("HEAD", f"/api/blobs/{digest(data)}")[0] == 404
    assert failures(home) == []


def test_many_uploads_of_one_blob_at_once(home: Program, store: Path) -> None:
    data = random.Random(2).randbytes(1_000_000)
    with ThreadPoolExecutor(20) as clients:
        heads = list(clients.map(lambda _: _sent(home, data), range(40)))
    assert set(heads) <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 201 Created"}
    assert (blobs(store), leftovers(store)) == ([digest(data)], [f"blobs/sha256-{digest(data)[7:]}"])


def _sent(home: Program, data: bytes) -> bytes:
    """The status line that an upload is answered with, on a connection that stays open."""
    with home.connect() as sock:
        sock.sendall(upload_head(digest(data), f"content-length: {len(data)}") + data)
        return sock.recv(65536).partition(b"\r\n")[0]


def test_a_blob_that_was_cut_is_mended_by_making_the_model_again(home: Program, store: Path, weights: bytes) -> None:
    blob = uploaded(home, weights)
    assert created(home, "cut", files={"a.gguf": blob}) == "success"
    os.truncate(store / "blobs" / blob.replace(":", "-"), len(weights) // 2)
    assert answered(home, "cut") != SENTENCE
    assert uploaded(home, weights) == blob
    assert created(home, "cut", files={"a.gguf": blob}) == "success"
    assert answered(home, "cut") == SENTENCE
    check_store(store)


# ---- neighbours ------------------------------------------------------------------------------------------------------


def test_a_neighbour_that_keeps_the_store_locked_keeps_nobody_else_waiting(
    tmp_path: Path, store: Path, weights: bytes
) -> None:
    with serving(tmp_path / "home", store) as home:
        assert created(home, "kept", files={"a.gguf": uploaded(home, weights)}) == "success"
        with (store / "arriero.lock").open() as lock, ThreadPoolExecutor(24) as clients:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = [clients.submit(_tried, home, f"new{number}") for number in range(24)]
            time.sleep(0.3)
            began = time.monotonic()
            assert answered(home, "kept") == SENTENCE
            assert home.post("/api/show", {"model": "kept"})[0] == 200
            assert home.ask("GET", "/api/tags")[0] == 200
            assert time.monotonic() - began < 5
            assert not any(each.done() for each in waiting)
            # Nor does it keep the program from ending: `shutdown_seconds` is 3.
            began = time.monotonic()
            assert home.stop() == 0
            assert time.monotonic() - began < 8
    assert list(models(store)) == ["registry.ollama.ai/library/kept/latest"]
    check_store(store)


def _tried(home: Program, name: str) -> None:
    """It does not come to an answer."""
    try:
        home.post("/api/create", {"model": name, "from": "kept", "system": name, "stream": False})
    except (OSError, ValueError):
        return


def test_two_programs_on_one_store_are_killed_again_and_again(tmp_path: Path, store: Path, weights: bytes) -> None:
    rng = random.Random(7)
    for turn in range(2):
        folders = (tmp_path / f"one{turn}", tmp_path / f"two{turn}")
        with serving(folders[0], store) as one, serving(folders[1], store) as two:
            over = threading.Event()
            clients = [
                threading.Thread(target=_churn, args=((one, two)[number % 2], weights, number, over))
                for number in range(6)
            ]
            for client in clients:
                client.start()
            time.sleep(0.5 + rng.random())
            one.process.send_signal(signal.SIGKILL)
            assert two.stop() == 0
            over.set()
            for client in clients:
                client.join(20)
            assert failures(one) == failures(two) == []
        check_store(store)
    with serving(tmp_path / "last", store) as home:
        assert created(home, "last", files={"a.gguf": uploaded(home, weights)}) == "success"
        listed = {model["name"] for model in home.get("/api/tags")["models"]}
        assert len(listed) == len(models(store))
        assert {name: answered(home, name) for name in listed} == dict.fromkeys(listed, SENTENCE)


def _churn(home: Program, weights: bytes, seed: int, over: threading.Event) -> None:
    """Change the store until it is over, also when the program does not answer any more."""
    rng = random.Random(seed)
    while not over.is_set():
        name = f"m{rng.randrange(4)}"
        calls: list[tuple[str, str, object]] = [
            ("POST", f"/api/blobs/{digest(weights)}", weights),
            ("POST", "/api/create", {"model": name, "files": {"a.gguf": digest(weights)}, "system": f"{seed}"}),
            ("POST", "/api/copy", {"source": name, "destination": f"m{rng.randrange(4)}"}),
            ("DELETE", "/api/delete", {"model": name}),
        ]
        try:
            status, _, answer = home.ask(*rng.choice(calls))
            assert status < 500, answer
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_a_store_that_vanishes_and_comes_back(home: Program, store: Path, weights: bytes) -> None:
    assert created(home, "gone", files={"a.gguf": uploaded(home, weights)}) == "success"
    data = random.Random(3).randbytes(3_000_000)
    with home.connect() as sock:
        sock.sendall(upload_head(digest(data), f"content-length: {len(data)}", "connection: close") + data[:2_000_000])
        until(lambda: any((store / "blobs").glob("arriero-*")))
        store.rename(store.with_name("away"))
        sock.sendall(data[2_000_000:])
        head, _, said = read_all(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ") and json.loads(said)["type"] == "store_error"
    assert str(store).encode() not in said
    assert answered(home, "gone") == "model 'gone' not found"
    assert created(home, "new", files={"a.gguf": uploaded(home, weights)}) == "success"
    assert answered(home, "new") == SENTENCE
    check_store(store)
    assert failures(home) == []


def test_nothing_is_written_through_a_link_that_leads_out(
    home: Program, store: Path, weights: bytes, tmp_path: Path
) -> None:
    assert created(home, "kept", files={"a.gguf": uploaded(home, weights)}) == "success"
    outside = tmp_path / "outside"
    outside.mkdir()
    (store / "manifests" / "evil.example").symlink_to(outside)
    refused = "the model store cannot be written there: a link leads out of it"
    assert created(home, "evil.example/a/b", **{"from": "kept"}) == refused
    status, answer = home.post("/api/copy", {"source": "kept", "destination": "evil.example/a/b"})
    assert (status, answer["error"]) == (500, refused)
    assert list(outside.iterdir()) == []
