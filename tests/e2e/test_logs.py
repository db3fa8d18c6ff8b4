"""What the running program writes: one line for each request, whatever becomes of it, and never a key."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arriero.gateway.journal import STOPPED, Line
from support.hosts import Asking, Host, chat, opened
from support.program import STOP_SECONDS, Program, command, environment, free_port, program, until, write_config

KEYS = ("sk-gateway-secret", "query-secret-1", "header-secret-1", "client-secret-1")
"""Whatever is a key anywhere here."""

PROMPT = "the-launch-code"

RULES = [
    {"when": {"model": "cut"}, "play": {"fault": "cut_stream"}},
    {"when": {"model": "ended"}, "play": {"say": ["Hel"], "error": "the GPU is on fire"}},
    {"when": {"model": "hung"}, "play": {"fault": "hang"}},
    {"when": {"model": "stalled"}, "play": {"fault": "hang_stream"}},
    {"when": {"model": "picky"}, "play": {"status": 400, "body": {"error": {"message": "no such parameter"}}}},
    {
        "when": {"model": "telltale"},
        "play": {"status": 500, "body": {"error": {"message": f"bad key: {' '.join(KEYS[:3])}"}}},
    },
]
MODELS = ("well", "cut", "ended", "hung", "stalled", "picky", "telltale")


class House(NamedTuple):
    """A program, and the one backend that it knows."""

    program: Program
    host: Host

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """What was written of a request, as soon as anything was."""
        until(lambda: self._said(request_id))
        return self._said(request_id)

    def line(self, request_id: str) -> dict[str, Any]:
        """The one line of an exchange; of the attempts before it there may be others."""
        (line,) = [line for line in self.lines(request_id) if line["event"] != "attempt failed"]
        return line

    def _said(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.program.lines if line.get("request_id") == request_id]


@contextmanager
def house(folder: Path, **sections: Any) -> Iterator[House]:
    host = Host("lab", folder / "lab", MODELS, rules=RULES)
    host.start()
    secrets = {"api_key": KEYS[0], "query": {"code": KEYS[1]}, "headers": {"x-team": KEYS[2]}}
    backend = {"name": "lab", "kind": "openai", "url": f"{host.url}/v1", **secrets}
    try:
        with program(folder, [backend], routing={"retry": {"attempts": 1}}, **sections) as running:
            yield House(running, host)
    finally:
        host.kill()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(
        tmp_path_factory.mktemp("quiet"),
        limits={"max_body_bytes": 2000, "requests_per_minute_per_address": 1000, "burst": 1000},
        logging={"level": "debug"},
    ) as found:
        yield found
        log = found.program.log
    assert [key for key in KEYS if key in log] == []
    assert PROMPT not in log


def ask(house: House, path: str, body: object, request_id: str) -> tuple[int, bytes]:
    headers = {"x-request-id": request_id, "authorization": f"Bearer {KEYS[3]}"}
    status, _, answer = house.program.ask("POST", f"{path}?key={KEYS[3]}", body, headers)
    return status, answer


def known(line: dict[str, Any], *without: str) -> dict[str, Any]:
    """What a line says, but for times."""
    assert line.keys() == set(Line.__struct_fields__)
    gone = {"timestamp", "first_byte_ms", "total_ms", *without}
    return {key: value for key, value in line.items() if value is not None and key not in gone}


# ---- one line, whatever becomes of it ------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
def test_a_good_answer(quiet: House, streamed: bool) -> None:
    name = f"good-{streamed}"
    body = chat("well", PROMPT, stream=streamed, options={"num_ctx": 4096})
    assert ask(quiet, "/api/chat", body, name)[0] == 200
    (line,) = quiet.lines(name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert 0 < line["first_byte_ms"] <= line["total_ms"] < 20_000
    assert isinstance(line["prompt_tokens"], int) and isinstance(line["completion_tokens"], int)
    assert known(line, "prompt_tokens", "completion_tokens") == {
        "event": "exchange",
        "level": "info",
        "request_id": name,
        "path": "/api/chat",
        "dialect": "ollama",
        "operation": "chat",
        "model": "well",
        "backend": "lab",
        "backend_model": "well",
        "status": 200,
        "attempts": 1,
        "reason": "only",
        "way": "translated",
        "streamed": streamed,
        "dropped": ["num_ctx"],
    }


def test_a_relayed_answer(quiet: House) -> None:
    assert ask(quiet, "/v1/chat/completions", chat("well", PROMPT), "relayed")[0] == 200
    line = quiet.line("relayed")
    told = (line["event"], line["dialect"], line["operation"], line["way"], line["dropped"], line["streamed"])
    assert told == ("exchange", "openai", "chat", "relayed", [], False)


@pytest.mark.parametrize(
    ("model", "status", "level", "type"),
    [
        ("nobody-has-it", 404, "info", "model_not_found"),
        ("telltale", 500, "warning", None),
        ("cut", 200, "warning", None),
        ("ended", 200, "warning", None),
        ("picky", 400, "info", None),
    ],
)
def test_a_failure(quiet: House, model: str, status: int, level: str, type: str | None) -> None:
    assert ask(quiet, "/api/chat", chat(model, PROMPT, stream=True), f"failed-{model}")[0] == status
    line = quiet.line(f"failed-{model}")
    assert (line["event"], line["model"], line["status"], line["level"]) == ("exchange failed", model, status, level)
    assert line["error"] and (type is None or line["error_type"] == type)


def test_a_refusal_that_is_passed_on_is_an_answer(quiet: House) -> None:
    assert ask(quiet, "/v1/chat/completions", chat("picky", PROMPT), "passed")[0] == 400
    line = quiet.line("passed")
    assert (line["event"], line["status"], line["error"]) == ("exchange", 400, None)


@pytest.mark.parametrize("model", ["hung", "stalled"])
def test_a_client_that_leaves(quiet: House, model: str) -> None:
    name = f"left-{model}"
    if model == "stalled":
        with opened(quiet.program, "/api/chat", chat(model, stream=True), {"x-request-id": name}) as answer:
            assert answer.read(5)
    else:
        asked = json.dumps(chat(model)).encode()
        head = f"POST /api/chat HTTP/1.1\r\nhost: localhost\r\nx-request-id: {name}\r\ncontent-length: {len(asked)}\r\n"
        with quiet.program.connect() as sock:
            before = quiet.host.came("/v1/chat/completions")
            sock.sendall(head.encode() + b"\r\n" + asked)
            until(lambda: quiet.host.came("/v1/chat/completions") > before)
    line = quiet.line(name)
    told = (line["event"], line["level"], line["status"], line["backend"], line["error_type"])
    status = 499 if model == "hung" else 200
    assert told == ("exchange failed", "info", status, "lab", "client_gone")


@pytest.mark.parametrize("path", ["/api/chat", "/api/pull"])
def test_a_body_that_is_too_large(quiet: House, path: str) -> None:
    name = f"large-{path}"
    assert ask(quiet, path, {"model": "m" * 3000}, name)[0] == 413
    line = quiet.line(name)
    assert (line["event"], line["path"], line["status"]) == ("request refused", path, 413)


def test_a_body_that_is_no_request(quiet: House) -> None:
    assert ask(quiet, "/api/chat", b"{", "half")[0] == 400
    assert (quiet.line("half")["event"], quiet.line("half")["status"]) == ("exchange failed", 400)


def test_a_head_that_is_none(quiet: House) -> None:
    def said() -> list[dict[str, Any]]:
        return [line for line in quiet.program.lines if line.get("error") == "Invalid HTTP request received."]

    assert b"400 Bad Request" in quiet.program.say(b"nonsense\r\n\r\n")
    until(said)
    assert [(line["event"], line["level"], line["status"]) for line in said()] == [("request refused", "info", 400)]


def test_a_host_name_that_is_not_allowed(quiet: House) -> None:
    headers = {"x-request-id": "foreign", "host": "evil.example"}
    assert quiet.program.ask("POST", "/api/chat", chat("well"), headers)[0] == 403
    line = quiet.line("foreign")
    assert (line["event"], line["path"], line["status"]) == ("request refused", "/api/chat", 403)


def test_an_operation_that_nobody_can_do(quiet: House) -> None:
    assert ask(quiet, "/api/pull", {"model": "tiny"}, "pull")[0] == 501
    line = quiet.line("pull")
    told = (line["event"], line["operation"], line["status"], line["error_type"], line["level"])
    assert told == ("exchange failed", "pull", 501, "not_implemented", "warning")


def test_a_path_that_is_passed_on(quiet: House) -> None:
    assert ask(quiet, "/v1/rerank", {"model": "well"}, "rerank")[0] == 404
    line = quiet.line("rerank")
    assert (line["event"], line["path"], line["backend"], line["status"]) == ("exchange", "/v1/rerank", "lab", 404)


def test_what_a_client_says_breaks_no_line(quiet: House) -> None:
    assert ask(quiet, "/api/chat", chat("a\n{}\x1b[2J\u009b\u202e" + "m" * 1500), "evil")[0] == 400
    line = quiet.line("evil")
    assert line["model"].startswith(r"a\n{}\x1b[2J\x9b\u202emmm") and len(line["model"]) < 1100
    assert all(text.isprintable() for text in quiet.program.log.splitlines())


def test_many_at_once_have_a_line_each(quiet: House) -> None:
    names = [f"many-{number}" for number in range(60)]
    asking = [Asking(quiet.program, "/api/chat", chat("well"), x_request_id=name) for name in names]
    assert {one.result()[0] for one in asking} == {200}
    assert [[line["event"] for line in quiet.lines(name)] for name in names] == [["exchange"]] * 60


def test_a_limit_that_is_reached(tmp_path: Path) -> None:
    with house(tmp_path, limits={"requests_per_minute_per_address": 1, "burst": 1}) as found:
        assert [ask(found, "/api/chat", chat("well"), name)[0] for name in ("first", "second")] == [200, 429]
        assert found.line("first")["event"] == "exchange"
        line = found.line("second")
    assert (line["event"], line["level"], line["status"]) == ("request refused", "info", 429)
    assert line["error_type"] == "rate_limited"


# ---- what is asked for ---------------------------------------------------------------------------------------------


def test_prompts_where_they_are_asked_for_and_never_a_key(tmp_path: Path) -> None:
    with house(tmp_path, logging={"prompts": True}) as found:
        body = chat("well", f"{PROMPT} {KEYS[3]}", api_key=KEYS[0])
        assert ask(found, "/api/chat", body, "told")[0] == 200
        assert ask(found, "/api/chat", chat("well", "x" * 100_000), "long")[0] == 200
        told, long = found.line("told"), found.line("long")
        log = found.program.log
    shown = json.loads(told["body"])
    assert shown["messages"] == [{"role": "user", "content": f"{PROMPT} ***"}] and shown["api_key"] == "***"
    assert len(long["body"]) == 8192 + 3
    assert [key for key in KEYS if key in log] == []


def test_lines_of_what_goes_well_can_be_left_out(tmp_path: Path) -> None:
    with house(tmp_path, logging={"exchanges": False}) as found:
        assert ask(found, "/api/chat", chat("well"), "well")[0] == 200
        assert ask(found, "/api/chat", chat("nobody-has-it"), "ill")[0] == 404
        assert found.line("ill")["event"] == "exchange failed"
        assert found.program.stop() == 0
        assert not [line for line in found.program.lines if line.get("request_id") == "well"]


def test_the_wish_is_taken_up_while_it_runs(tmp_path: Path) -> None:
    with house(tmp_path) as found:
        assert ask(found, "/api/chat", chat("well"), "before")[0] == 200
        assert found.line("before").keys() == set(Line.__struct_fields__)
        file = tmp_path / "arriero.yaml"
        file.write_text(json.dumps({**json.loads(file.read_text()), "logging": {"prompts": True}}))
        found.program.process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration has changed" in found.program.log)
        assert ask(found, "/api/chat", chat("well", PROMPT), "after")[0] == 200
        assert PROMPT in found.line("after")["body"]


@pytest.mark.parametrize("spelling", ["warn", "W", "Warning"])
def test_the_level_takes_its_spellings(tmp_path: Path, spelling: str) -> None:
    with house(tmp_path, variables={"LOG_LEVEL": spelling}) as found:
        assert ask(found, "/api/chat", chat("well"), "well")[0] == 200
        assert ask(found, "/api/chat", chat("nobody-has-it"), "missing")[0] == 404
        assert ask(found, "/api/chat", chat("telltale"), "ill")[0] == 500
        assert found.program.stop() == 0
        lines = found.program.lines
    assert {line["level"] for line in lines} == {"warning"}
    assert [line["request_id"] for line in lines if line["event"] == "exchange failed"] == ["ill"]


# ---- the end, and a stderr of another kind -------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_lost_at_the_end(tmp_path: Path, by: signal.Signals) -> None:
    with house(tmp_path) as found:
        names = [f"last-{number}" for number in range(30)]
        for name in names:
            assert ask(found, "/api/chat", chat("well"), name)[0] == 200
        assert found.program.stop(by) == 0
        said = [line["request_id"] for line in found.program.lines if line["event"] == "exchange"]
    assert said == names


def test_an_answer_that_the_end_cuts_has_its_line(tmp_path: Path) -> None:
    with house(tmp_path, server={"shutdown_seconds": 1}) as found:
        with opened(found.program, "/api/chat", chat("stalled", stream=True), {"x-request-id": "cut"}) as answer:
            assert answer.read(5)
            assert found.program.stop() == 0
        line = found.line("cut")
    assert (line["event"], line["status"], line["model"]) == ("exchange failed", 200, "stalled")
    assert (line["error"], line["level"]) == (STOPPED, "warning")


@contextmanager
def started(folder: Path, stderr: int) -> Iterator[Program]:
    """A program that writes to a descriptor of the test's."""
    port = free_port()
    config = write_config(folder / "a.yaml", [{"name": "toy", "kind": "scripted"}], server={"port": port})
    process = subprocess.Popen(
        command("serve", "--config", str(config)),
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    (folder / "stderr").touch()
    (folder / "stdout").touch()
    running = Program(process, port, folder)
    try:
        running.wait_ready()
        yield running
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


def test_a_stderr_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    try:
        with started(tmp_path, writes) as running:
            for _ in range(300):  # more lines than the pipe takes
                assert running.post("/api/chat", chat("scripted"))[0] == 200
            assert running.post("/api/chat", chat("nobody-has-it"))[0] == 404
            text: list[bytes] = []
            os.close(writes)
            writes = -1
            reader = threading.Thread(target=lambda: text.extend(iter(lambda: os.read(reads, 65536), b"")))
            reader.start()
            assert running.stop() == 0
            reader.join(STOP_SECONDS)
    finally:
        os.close(reads)
        if writes >= 0:
            os.close(writes)
    events = [json.loads(line)["event"] for line in b"".join(text).splitlines()]
    assert events.count("exchange") == 300 and events[-1] == "exchange failed"


def test_a_stderr_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    with started(tmp_path, writes) as running:
        os.close(writes)
        os.close(reads)
        for _ in range(20):
            assert running.post("/api/chat", chat("scripted"))[0] == 200
        assert running.stop() == 0


def test_on_a_terminal_there_is_text(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while piece := os.read(screen, 65536):
                shown.extend(piece)
        except OSError:
            pass  # the last one who wrote has ended

    reader = threading.Thread(target=read)
    try:
        with started(tmp_path, terminal) as running:
            os.close(terminal)
            reader.start()
            assert running.post("/api/chat", chat("scripted"))[0] == 200
            assert running.post("/api/chat", chat("a\x9b2J"))[0] >= 400
            assert running.stop() == 0
            reader.join(STOP_SECONDS)
    finally:
        os.close(screen)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "").splitlines()
    (good,) = [line for line in lines if "] exchange  " in line]
    (bad,) = [line for line in lines if "] exchange failed " in line]
    assert re.match(r"\S+Z \[info +\] exchange ", good) and "backend=toy" in good and "completion_tokens=" in good
    assert r"model=a\x9b2J" in bad and all(line.isprintable() for line in lines)
