"""Rows 31 to 34, 43 and 44: limits, whom to believe, the configuration, and paths that lead nowhere."""

import json
import signal
import time
from pathlib import Path
from typing import Any

from support.drop_in import Arriero, DropIn, serving
from support.hosts import Hosts, chat, opened
from support.program import Program, free_port, until

DOOR = "/olla/ollama"
CHAT = f"{DOOR}/api/chat"
PAGE = {"Origin": "https://app.example.com"}


def come_from(address: str) -> dict[str, str]:
    """The field of a proxy that speaks for this client."""
    return {"X-Forwarded-For": address}


# ---- 31 ------------------------------------------------------------------------------------------------------------


def test_row_31_rate_limit(guarded: Program) -> None:
    me, other = come_from("203.0.113.31"), come_from("203.0.113.131")
    status, headers, _ = guarded.ask("POST", CHAT, chat("shared:1b"), me)
    assert (status, headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == (200, "60", "2")
    assert time.time() - 5 < int(headers["x-ratelimit-reset"]) < time.time() + 65
    for _ in range(100):
        status, headers, answer = guarded.ask("POST", CHAT, chat("shared:1b"), me)
        if status != 200:
            break
    assert (status, headers["content-type"].partition(";")[0]) == (429, "application/json")
    assert json.loads(answer)["error"]
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("60", "0")
    assert int(headers["x-ratelimit-reset"]) > time.time() - 5 and 1 <= int(headers["retry-after"]) <= 60
    # Pages about the house and lists are free, other clients have their own share, and it comes back.
    for path in ("/internal/health", "/internal/status", "/version", f"{DOOR}/api/tags", "/olla/models"):
        status, headers, _ = guarded.ask("GET", path, headers=me)
        assert (status, "x-ratelimit-limit" in headers) == (200, False)
    assert guarded.ask("POST", CHAT, chat("shared:1b"), other)[0] == 200
    assert guarded.get("/internal/status")["security"]["violations"]["rate_limits"] >= 1
    until(lambda: guarded.ask("POST", CHAT, chat("shared:1b"), me)[0] == 200)


# ---- 32 ------------------------------------------------------------------------------------------------------------


def test_row_32_size_limits(guarded: Program, hosts: Hosts) -> None:
    me = come_from("203.0.113.32")
    before = guarded.get("/internal/status")["security"]["violations"]["size_limits"]
    large = json.dumps(chat("shared:1b", "x" * 5000)).encode()
    status, headers, answer = guarded.ask("POST", CHAT, large, me)
    assert (status, bool(json.loads(answer)["error"]), bool(headers["x-olla-request-id"])) == (413, True, True)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(large) // 4, large[: len(large) // 4]) for _ in range(4))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
    head += f"x-forwarded-for: {me['X-Forwarded-For']}\r\n\r\n"
    assert guarded.say(head.encode(), chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    field = b"x-filler: " + b"y" * 5000 + b"\r\n"
    answer = guarded.say(f"GET {DOOR}/api/tags HTTP/1.1\r\nhost: localhost\r\n".encode(), field, b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert hosts.alpha.came("/api/chat") == 0
    assert guarded.get("/internal/status")["security"]["violations"]["size_limits"] == before + 3
    assert guarded.ask("POST", CHAT, chat("shared:1b"), me)[0] == 200


# ---- 33 ------------------------------------------------------------------------------------------------------------


def test_row_33_trusted_proxies(fleet: Program, guarded: Program, drop_in: DropIn, hosts: Hosts) -> None:
    def client_of(running: Program, model: str, path: str, told: str) -> str:
        assert running.ask("POST", CHAT, chat(model), {"X-Forwarded-For": told, "X-Real-IP": told})[0] == 200
        seen = hosts.witness.requests(path)[-1].headers
        assert seen["x-real-ip"] == seen["x-forwarded-for"]
        return seen["x-real-ip"]

    # Nobody is believed where none is named, nor a peer that is not in the network that is.
    assert client_of(fleet, "witness:1b", "/api/chat", "203.0.113.33") == "127.0.0.1"
    assert client_of(drop_in.program, "bearer:1b", "/bearer/api/chat", "203.0.113.33") == "127.0.0.1"
    # A proxy that is: and of what it was told itself, only what another such one says.
    assert client_of(guarded, "witness:1b", "/api/chat", "203.0.113.33") == "203.0.113.33"
    assert client_of(guarded, "witness:1b", "/api/chat", "192.0.2.1, 203.0.113.33, 127.0.0.9") == "203.0.113.33"


# ---- 34 ------------------------------------------------------------------------------------------------------------

OLLA_FIELDS = {
    f"x-olla-{name}"
    for name in (
        *("request-id", "endpoint", "backend-type", "model", "response-time", "mode"),
        *("routing-strategy", "routing-decision", "routing-reason"),
        *("sticky-session", "sticky-key-source", "session-id"),
    )
}


def test_row_34_cors(fleet: Program, guarded: Program) -> None:
    _, headers, _ = fleet.ask("POST", CHAT, chat("shared:1b"), PAGE)
    assert "access-control-allow-origin" not in headers
    me = come_from("203.0.113.34")
    asks = {**PAGE, **me, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for _ in range(20):
        status, headers, _ = guarded.ask("OPTIONS", CHAT, headers=asks)
        assert status in (200, 204)
    assert headers["access-control-allow-origin"] == PAGE["Origin"]
    assert headers["access-control-allow-credentials"] == "true"
    assert "POST" in headers["access-control-allow-methods"]
    assert "content-type" in headers["access-control-allow-headers"].lower()
    status, headers, _ = guarded.ask("POST", CHAT, chat("shared:1b"), {**PAGE, **me})
    assert (status, headers["x-ratelimit-remaining"]) == (200, "2")  # of three
    assert headers["access-control-allow-origin"] == PAGE["Origin"] and "origin" in headers["vary"].lower()
    exposed = {name.strip().lower() for name in headers["access-control-expose-headers"].split(",")}
    assert exposed >= OLLA_FIELDS
    _, headers, _ = guarded.ask("POST", CHAT, chat("shared:1b"), {"Origin": "https://evil.example", **me})
    assert "access-control-allow-origin" not in headers


def test_row_34_any_page_with_credentials_is_refused(arriero: Arriero, tmp_path: Path) -> None:
    cors = {"enabled": True, "allowed_origins": ["*"], "allow_credentials": True}
    (tmp_path / "olla.yaml").write_text(json.dumps({"server": {"cors": cors}}))
    (tmp_path / "own.yaml").write_text(json.dumps({"server": {"cors_origins": ["*"], "cors_credentials": True}}))
    for flags in (("--olla-config", "olla.yaml"), ("--config", "own.yaml")):
        refused = arriero("serve", *flags, "--port", str(free_port()))
        assert refused.returncode == 1 and "credentials" in refused.stderr


# ---- 43 ------------------------------------------------------------------------------------------------------------


def _check(arriero: Arriero, tmp_path: Path, content: Any, **variables: str) -> tuple[int, str, str]:
    file = tmp_path / "config.yaml"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    done = arriero("check", "--olla-config", str(file), "--no-probe", **variables)
    return done.returncode, done.stdout, done.stderr


def _settings(printed: str) -> dict[str, str]:
    lines = [line.split(maxsplit=2) for line in printed.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 3}


def test_row_43_validation_and_variables(arriero: Arriero, tmp_path: Path) -> None:
    plain = {"server": {"port": 40200}, "proxy": {"load_balancer": "round-robin", "engine": "sherpa"}}
    status, printed, told = _check(arriero, tmp_path, plain)
    assert (status, _settings(printed)["server.port"]) == (0, "40200")
    assert "proxy.engine" in told  # not honoured, and named
    variables = {
        "OLLA_SERVER_PORT": "40300",
        "OLLA_PROXY_LOAD_BALANCER": "priority",
        "OLLA_SERVER_RATE_BURST_SIZE": "7",
    }
    status, printed, _ = _check(arriero, tmp_path, plain, **variables)
    found = _settings(printed)
    assert (status, found["server.port"], found["routing.policy"], found["limits.burst"]) == (
        0,
        "40300",
        "priority",
        "7",
    )
    assert "OLLA_SERVER_PORT" in printed


def test_row_43_what_is_wrong_is_named(arriero: Arriero, tmp_path: Path) -> None:
    wrong = {
        "server": {"prot": 40200},
        "proxy": {"load_balancer": "fairest"},
        "discovery": {"static": {"endpoints": [{"url": "http://127.0.0.1:1", "nmae": "a", "type": "ollama"}]}},
    }
    status, _, told = _check(arriero, tmp_path, wrong, OLLA_SERVER_PORT="many")
    named = (
        "OLLA_SERVER_PORT",
        "server.prot",
        "nearest known one is 'port'",
        "proxy.load_balancer",
        "nmae",
        "nearest known one is 'name'",
    )
    assert (status, [words for words in named if words not in told]) == (1, []), told
    status, _, told = _check(arriero, tmp_path, "server: [")
    assert status == 1 and "config.yaml" in told


def _endpoints(running: Program) -> list[str]:
    return sorted(row["name"] for row in running.get("/internal/status/endpoints")["endpoints"])


def test_row_43_endpoints_are_reloaded(hosts: Hosts, tmp_path: Path) -> None:
    """A new one comes, an old one goes, and no stream is dropped; a bad file changes nothing and is named."""
    hosts.as_new()

    def written(*names: str) -> None:
        each = {"type": "ollama", "check_interval": "1s", "check_timeout": "900ms"}
        found = {host.name: host.url for host in (hosts.alpha, hosts.beta)}
        endpoints = [{**each, "name": name, "url": found[name]} for name in names]
        file.write_text(json.dumps({"discovery": {"static": {"endpoints": endpoints}}}))

    file = tmp_path / "config.yaml"
    written("alpha")
    port = free_port()
    hosts.alpha.play({"path": "/api/chat"}, say=[f"{n} " for n in range(12)], delay_ms={"piece": 100})
    with serving(tmp_path, ["--olla-config", str(file)], port, {"OLLA_SERVER_PORT": str(port)}) as running:
        assert _endpoints(running) == ["alpha"]
        assert running.ask("POST", CHAT, chat("beta-only:1b"))[0] == 404
        with opened(running, CHAT, chat("alpha-only:1b", stream=True)) as stream:
            assert stream.readline()
            written("beta")
            running.process.send_signal(signal.SIGHUP)
            until(lambda: _endpoints(running) == ["beta"])
            lines = stream.read().splitlines()
        assert json.loads(lines[-1])["done"] is True and len(lines) == 12
        until(lambda: running.ask("POST", CHAT, chat("beta-only:1b"))[0] == 200)
        assert running.ask("POST", CHAT, chat("alpha-only:1b"))[0] == 404
        file.write_text(json.dumps({"discovery": {"sttic": {}}}))
        running.process.send_signal(signal.SIGHUP)
        until(lambda: "sttic" in running.log)
        assert _endpoints(running) == ["beta"]
        assert running.ask("POST", CHAT, chat("beta-only:1b"))[0] == 200
        # Nobody has to send a signal: the file is watched.
        written("alpha", "beta")
        until(lambda: _endpoints(running) == ["alpha", "beta"])


# ---- 44 ------------------------------------------------------------------------------------------------------------


_WAYS_OUT = (
    "/olla/ollama/../../secret",
    "/olla/ollama/api/../../secret",
    "/olla/ollama/%2e%2e/secret",
    "/olla/ollama/api/%2E%2e/%2e%2E/secret",
    "/olla/ollama/..%2fsecret",
    "/olla/ollama/..%5csecret",
    "/olla/ollama/api/./secret",
    "/olla/ollama//../secret",
    "/olla/proxy/%2e%2e/secret",
    "/../secret",
    "/%2e%2e/secret",
)


def test_row_44_path_safety(drop_in: DropIn, hosts: Hosts) -> None:
    body = json.dumps(chat("bearer:1b")).encode()
    for path in _WAYS_OUT:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        answer = drop_in.program.say(head.encode(), body)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 301 ", b"HTTP/1.1 307 ")), path
    assert not [request.path for request in hosts.witness.all() if "secret" in request.path]


def test_row_44_preserve_path(drop_in: DropIn, hosts: Hosts) -> None:
    """An endpoint's own path stays before everything that is asked of it, and nothing of it goes past that."""
    for path in ("/api/chat", "/api/of-tomorrow", "/v1/of-tomorrow"):
        status, headers, _ = drop_in.program.ask("POST", DOOR + path, chat("basic:1b"))
        assert (status, headers["x-olla-endpoint"]) == (200, "basic")
        assert hosts.witness.requests(f"/basic{path}")
    fields = [
        request for request in hosts.witness.all() if request.headers.get("authorization", "").startswith("Basic")
    ]
    assert fields and all(request.path.startswith("/basic") for request in fields)
