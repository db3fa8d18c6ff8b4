"""Rows 20 to 25, 27 and 40 to 42: hosts that die, refuse, hang and come back, and clients that leave.

Nothing here measures time: what has to happen soon is waited for, within a generous limit.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

import pytest

from support.drop_in import Finished
from support.hosts import Asking, Hosts, chat, endpoint, listed, opened, wait_well
from support.program import Program, program, until

DOOR = "/olla/ollama"
CHAT = f"{DOOR}/api/chat"
OPENAI_CHAT = f"{DOOR}/v1/chat/completions"


def state(running: Program, name: str) -> str:
    """The state of a backend, in Olla's words."""
    found: str = endpoint(running, name)["status"]
    return found


@pytest.fixture
def trusting(hosts: Hosts, tmp_path: Path) -> Iterator[Program]:
    """A program that checks its hosts once, at the start: what it learns later, it learns from requests."""
    hosts.as_new()
    backends = [
        {"name": host.name, "kind": "ollama", "url": host.url, "check_interval": 0}
        for host in (hosts.alpha, hosts.beta)
    ]
    with program(tmp_path / "trusting", backends, routing={"prefer_loaded": False}) as running:
        wait_well(running)
        yield running


# ---- 20 and 21 -----------------------------------------------------------------------------------------------------


def test_row_20_a_killed_host_costs_nobody_an_error(trusting: Program, hosts: Hosts) -> None:
    assert {trusting.ask("POST", CHAT, chat("shared:1b"))[1]["x-olla-endpoint"] for _ in range(4)} == {"alpha", "beta"}
    hosts.alpha.kill()
    answers = [trusting.ask("POST", CHAT, chat("shared:1b")) for _ in range(20)]
    assert {(status, headers["x-olla-endpoint"]) for status, headers, _ in answers} == {(200, "beta")}
    assert state(trusting, "alpha") == "offline"
    # Whoever met the dead host was sent on; nobody met it after that.
    attempts = [headers["x-arriero-attempts"] for _, headers, _ in answers]
    assert attempts.count("2") == 1 and set(attempts) == {"1", "2"}


def test_row_21_all_hosts_refuse(trusting: Program, hosts: Hosts) -> None:
    hosts.alpha.kill()
    hosts.beta.kill()
    status, headers, answer = trusting.ask("POST", CHAT, chat("shared:1b"))
    assert (status, headers["content-type"].partition(";")[0]) == (502, "application/json")
    assert "connection refused" in json.loads(answer)["error"]
    assert headers["x-arriero-attempts"] == "2" and headers["x-olla-request-id"]


# ---- 22 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut_stream", "reset_stream"])
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_row_22_no_retry_in_mid_stream(fleet: Program, hosts: Hosts, path: str, fault: str) -> None:
    for host in (hosts.alpha, hosts.beta):
        host.play({"path": path}, say=["one ", "two ", "three ", "four "], fault=fault)
    status, _, answer = fleet.ask("POST", DOOR + path, chat("shared:1b", stream=True))
    assert status == 200 and b"one " in answer and b"four " not in answer
    assert hosts.alpha.came(path) + hosts.beta.came(path) == 1
    # The end is told as what it is.
    if path == "/api/chat":
        last = json.loads(answer.splitlines()[-1])
        assert last["error"] and '"done":true' not in answer.decode()
    else:
        last = json.loads(answer.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
        assert last["error"]["message"] and b"[DONE]" not in answer


def test_row_22_a_whole_answer_that_is_cut(fleet: Program, hosts: Hosts) -> None:
    """Nothing of it has gone out: another host can be asked, and where there is none, the client is told."""
    hosts.alpha.fault("cut_stream", "/api/chat")
    answers = [fleet.ask("POST", CHAT, chat("shared:1b")) for _ in range(2)]
    assert {(status, headers["x-olla-endpoint"]) for status, headers, _ in answers} == {(200, "beta")}
    status, _, answer = fleet.ask("POST", CHAT, chat("alpha-only:1b"))
    assert status == 502 and json.loads(answer)["error"]


# ---- 23 ------------------------------------------------------------------------------------------------------------


def _attempts(running: Program, backend: str) -> float:
    """Attempts on a backend that did not end well, as the metrics count them."""
    lines = running.ask("GET", "/internal/metrics")[2].decode().splitlines()
    found = [line for line in lines if line.startswith("arriero_attempts_total{") and f'backend="{backend}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found if 'result="ok"' not in line)


@pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
def test_row_23_a_bad_status_moves_on(fleet: Program, hosts: Hosts, path: str) -> None:
    for status in (429, 500, 502, 503, 504, 529):
        before = _attempts(fleet, "alpha")
        hosts.alpha.play({"path": path.removeprefix(DOOR)}, status=status, body={"error": "not now"})
        # Nothing goes on, and of any two requests one goes to `alpha` first.
        answers = [fleet.ask("POST", path, chat("shared:1b", stream=stream)) for stream in (True, False)]
        assert {(found, headers["x-olla-endpoint"]) for found, headers, _ in answers} == {(200, "beta")}
        failed = [headers["x-arriero-attempts"] for _, headers, _ in answers].count("2")
        assert failed >= 1 and _attempts(fleet, "alpha") == before + failed
        # Where nobody else has the model, the client is told.
        found, headers, answer = fleet.ask("POST", path, chat("alpha-only:1b"))
        assert (found, headers["x-olla-endpoint"], json.loads(answer)["error"]) == (status, "alpha", "not now")
        hosts.alpha.well()
        assert fleet.ask("POST", path, chat("alpha-only:1b"))[0] == 200  # before a storm of errors opens the breaker


def test_row_23_a_conflict_moves_on_where_it_is_configured(fleet: Program, worn: Program, hosts: Hosts) -> None:
    hosts.alpha.play({"path": "/api/chat"}, status=409, body={"error": "not now"})
    found = {fleet.ask("POST", CHAT, chat("shared:1b"))[0] for _ in range(2)}
    assert found == {200, 409}
    found = {worn.ask("POST", CHAT, chat("shared:1b"))[0] for _ in range(2)}
    assert found == {200}


# ---- 24 ------------------------------------------------------------------------------------------------------------


def test_row_24_a_host_that_answers_nothing(worn: Program, hosts: Hosts, checked: Finished) -> None:
    hosts.alpha.freeze()
    try:
        asking = [Asking(worn, CHAT, chat("shared:1b")) for _ in range(3)]
        assert [asked.result()[0] for asked in asking] == [200] * 3
        assert {asked.result()[1]["x-olla-endpoint"] for asked in asking} == {"beta"}
        # It is left alone, and nobody waits for it again.
        until(lambda: state(worn, "alpha") == "offline")
        for _ in range(4):
            status, headers, _ = worn.ask("POST", CHAT, chat("shared:1b"))
            assert (status, headers["x-olla-endpoint"], headers["x-arriero-attempts"]) == (200, "beta", "1")
    finally:
        hosts.alpha.thaw()
    wait_well(worn)
    # By default a model may take its time to load; Olla's half a minute is not taken over.
    found = [line.split()[1] for line in checked.stdout.splitlines() if line.startswith("timeouts.first_byte ")]
    assert found == ["600"]


# ---- 25 ------------------------------------------------------------------------------------------------------------


def _breaker(running: Program) -> tuple[str, str]:
    row = endpoint(running, "alpha")
    return row["breaker"], row["issues"]


def test_row_25_breaker(worn: Program, hosts: Hosts) -> None:
    # Clients that leave say nothing of a host.
    hosts.alpha.fault("hang", "/api/chat")
    for impatient in range(6):
        with closing(worn.connect()) as sock:
            body = json.dumps(chat("alpha-only:1b")).encode()
            sock.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\n" % CHAT.encode())
            sock.sendall(b"content-length: %d\r\n\r\n" % len(body) + body)
            until(lambda: hosts.alpha.came("/api/chat") == impatient + 1)  # noqa: B023
    until(lambda: endpoint(worn, "alpha")["connections"] == 0)
    assert _breaker(worn)[0] == "closed"
    # Five failures do: its checks are good, and still nobody is sent there.
    hosts.alpha.fault("reset", "/api/chat")
    for _ in range(5):
        assert worn.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 502
    breaker, issues = _breaker(worn)
    assert breaker == "open" and "breaker open" in issues and state(worn, "alpha") == "healthy"
    came = hosts.alpha.came("/api/chat")
    for _ in range(4):
        status, headers, _ = worn.ask("POST", CHAT, chat("shared:1b"))
        assert (status, headers["x-olla-endpoint"], headers["x-arriero-attempts"]) == (200, "beta", "1")
    if _breaker(worn)[0] == "open":
        status, headers, _ = worn.ask("POST", CHAT, chat("alpha-only:1b"))
        # Unless it became half open just now: then the request was the trial.
        assert (status, "retry-after" in headers) == (503, True) or hosts.alpha.came("/api/chat") > came
    # One trial when the time has come, and no second one beside it.
    hosts.alpha.play({"path": "/api/chat", "times": 1}, fault="hang_stream", say=["one ", "two "])
    until(lambda: _breaker(worn)[0] == "half_open")
    came = hosts.alpha.came("/api/chat")
    with opened(worn, CHAT, chat("alpha-only:1b", stream=True)) as trial:
        assert trial.readline()
        assert "half open" in _breaker(worn)[1]
        assert worn.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 503
        assert hosts.alpha.came("/api/chat") == came + 1
    # The trial's client left, which says nothing; the next one decides.
    until(lambda: worn.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 200)
    breaker, issues = _breaker(worn)
    assert breaker == "closed" and "breaker" not in issues


# ---- 27 ------------------------------------------------------------------------------------------------------------


def test_row_27_unhealthy_and_offline(worn: Program, hosts: Hosts) -> None:
    hosts.alpha.fault("unhealthy")
    until(lambda: state(worn, "alpha") == "unhealthy")
    hosts.alpha.add("of-last-night:1b")
    hosts.alpha.well()
    # The configured interval is what counts, and who has recovered is asked for its models.
    until(lambda: state(worn, "alpha") == "healthy")
    until(lambda: "of-last-night:1b" in listed(worn, DOOR))
    hosts.alpha.kill()
    until(lambda: state(worn, "alpha") == "offline")
    row = endpoint(worn, "alpha")
    assert "unavailable" in row["issues"]
    hosts.alpha.as_new()
    until(lambda: state(worn, "alpha") == "healthy")
    until(lambda: "of-last-night:1b" not in listed(worn, DOOR))
    row = endpoint(worn, "alpha")
    until(lambda: endpoint(worn, "alpha")["health_check_at"] != row["health_check_at"])


def test_row_27_config_error(worn: Program, hosts: Hosts) -> None:
    hosts.alpha.play(
        {"path": ["/", "/api/tags", "/api/ps", "/api/version"]}, status=401, body={"error": "who are you?"}
    )
    until(lambda: state(worn, "alpha") == "config_error")
    assert {worn.ask("POST", CHAT, chat("shared:1b"))[1]["x-olla-endpoint"] for _ in range(4)} == {"beta"}
    hosts.alpha.well()
    until(lambda: state(worn, "alpha") == "healthy")


def _pause(running: Program, name: str) -> float:
    """Seconds from a backend's last check to its next one."""
    row = endpoint(running, name)
    last, next = (datetime.fromisoformat(row[key]) for key in ("health_check_at", "next_check_at"))
    return (next - last).total_seconds()


def test_row_27_rate_limited(worn: Program, hosts: Hosts) -> None:
    checks = ["/", "/api/tags", "/api/ps", "/api/version"]
    hosts.alpha.play({"path": checks}, status=429, headers={"Retry-After": "3"}, body={"error": "slow down"})
    until(lambda: state(worn, "alpha") == "rate_limited")
    until(lambda: _pause(worn, "alpha") > 1.5)  # by checks, too, it is left alone; its interval is 0.3 s
    assert {worn.ask("POST", CHAT, chat("shared:1b"))[1]["x-olla-endpoint"] for _ in range(4)} == {"beta"}
    status, headers, _ = worn.ask("POST", CHAT, chat("alpha-only:1b"))
    assert status == 503 and 1 <= int(headers["retry-after"]) <= 3
    hosts.alpha.well()
    until(lambda: state(worn, "alpha") == "healthy")
    assert worn.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 200


# ---- 40 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/api/of-tomorrow"])
@pytest.mark.parametrize("fault", ["hang", "hang_stream"])
def test_row_40_a_client_that_leaves(fleet: Program, hosts: Hosts, path: str, fault: str) -> None:
    """Before its first word and in mid-stream: the backend is let go at once."""
    hosts.alpha.fault(fault, path)
    gone = hosts.alpha.gone
    body = json.dumps(chat("alpha-only:1b", stream=True)).encode()
    if path == "/api/of-tomorrow" and fault == "hang_stream":
        hosts.alpha.play({"path": path}, status=200, body="half of this never comes", fault=fault)
    with closing(fleet.connect()) as sock:
        sock.sendall(f"POST {DOOR}{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        sock.sendall(body)
        until(lambda: endpoint(fleet, "alpha")["connections"] == 1)
        until(lambda: hosts.alpha.came(path) == 1)
        if fault == "hang_stream":
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    until(lambda: hosts.alpha.gone == gone + 1 and hosts.alpha.in_flight == 0)
    until(lambda: endpoint(fleet, "alpha")["connections"] == 0)
    assert fleet.get("/internal/status")["system"]["active_connections"] == 0


# ---- 41 ------------------------------------------------------------------------------------------------------------


def _waiting(running: Program) -> int:
    found: int = running.get("/internal/status")["system"]["queued_requests"]
    return found


def test_row_41_full_hosts_and_the_queue(ranked: Program, hosts: Hosts) -> None:
    """`gamma` takes one at a time, two may wait, and whoever comes next is told to come again."""
    path = "/olla/vllm/v1/chat/completions"
    hosts.gamma.plays([{"when": {"path": "/v1/chat/completions", "times": 1}, "play": {"fault": "hang_stream"}}])
    with ExitStack() as stack:
        first = stack.enter_context(opened(ranked, path, chat("gamma-only:1b", stream=True)))
        assert first.readline()
        waiting = []
        for number in (1, 2):
            waiting.append(Asking(ranked, path, chat("gamma-only:1b"), X_Request_ID=f"number-{number}"))
            until(lambda: _waiting(ranked) == number)  # noqa: B023
        text = ranked.ask("GET", "/internal/metrics")[2].decode()
        assert "arriero_queue_waiting 2.0" in text
        status, headers, answer = ranked.ask("POST", path, chat("gamma-only:1b"))
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert json.loads(answer)["error"]["message"]
        # Others are not held up.
        assert ranked.ask("POST", CHAT, chat("shared:1b"))[0] == 200
        assert hosts.gamma.came("/v1/chat/completions") == 1
    # The first has gone: those who wait come in their order, one by one.
    assert [asked.result()[0] for asked in waiting] == [200, 200]
    came = [request["headers"]["x-request-id"] for request in hosts.gamma.requests("/v1/chat/completions")]
    assert came[1:] == ["number-1", "number-2"]
    assert _waiting(ranked) == 0


# ---- 42 ------------------------------------------------------------------------------------------------------------


def _refused(running: Program) -> bool:
    try:
        running.connect().close()
    except OSError:
        return True
    return False


def test_row_42_shutdown(hosts: Hosts, tmp_path: Path) -> None:
    """New connections are refused at once; a stream that goes on ends well, and one that hangs is not waited for."""
    hosts.as_new()
    backends = [{"name": host.name, "kind": "ollama", "url": host.url} for host in (hosts.alpha, hosts.beta)]
    hosts.alpha.play({"path": "/api/chat"}, say=[f"{n} " for n in range(10)], delay_ms={"piece": 80})
    hosts.beta.fault("hang_stream", "/api/chat")
    with (
        program(tmp_path / "ending", backends, server={"shutdown_seconds": 2}) as running,
        opened(running, CHAT, chat("alpha-only:1b", stream=True)) as good,
        opened(running, CHAT, chat("beta-only:1b", stream=True)) as stuck,
    ):
        assert good.readline() and stuck.readline()
        running.process.send_signal(signal.SIGTERM)
        until(lambda: _refused(running))
        assert running.process.poll() is None
        lines = good.read().splitlines()
        assert json.loads(lines[-1])["done"] is True and len(lines) == 10
        assert running.process.wait(20) == 0
