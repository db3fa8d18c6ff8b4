"""Rows 9 to 13: what answers and requests carry on their way, and what they must not."""

import json
import re
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.drop_in import Arriero, DropIn, Finished, olla_file
from support.hosts import Hosts, chat, opened
from support.program import Program, free_port, until

DOOR = "/olla/ollama"
IN_WORDS = re.compile(r"[a-z]+-[a-z]+-[0-9a-f]{4}")


# ---- 9 -------------------------------------------------------------------------------------------------------------


def test_row_09_request_id(fleet: Program, guarded: Program, hosts: Hosts) -> None:
    def id_of(path: str, told: str | None) -> str:
        headers = {} if told is None else {"X-Request-ID": told}
        found: str = fleet.ask("GET", path, headers=headers)[1]["x-olla-request-id"]
        return found

    for path in (f"{DOOR}/api/tags", "/internal/health", "/version", f"{DOOR}/v1/models", "/olla/models"):
        assert id_of(path, "abc") == "abc"
    assert id_of("/version", "!" * 128) == "!" * 128
    for unusable in ("x" * 129, "a b", "", None):
        assert IN_WORDS.fullmatch(id_of("/version", unusable))
    with ThreadPoolExecutor(10) as threads:
        assert len(set(threads.map(lambda _: id_of("/version", None), range(50)))) == 50
    # Refusals have it too, and the backend is told.
    for asked, body, status in (("absent:1b", "hi", 404), ("alpha-only:1b", "hi", 200)):
        found, headers, _ = fleet.ask("POST", f"{DOOR}/api/chat", chat(asked, body), {"X-Request-ID": "abc"})
        assert (found, headers["x-olla-request-id"]) == (status, "abc")
    seen = hosts.alpha.requests("/api/chat")[-1]["headers"]
    assert (seen["x-olla-request-id"], seen["x-request-id"]) == ("abc", "abc")
    _, headers, _ = fleet.ask("POST", f"{DOOR}/api/chat", chat("alpha-only:1b"))
    seen = hosts.alpha.requests("/api/chat")[-1]["headers"]
    assert IN_WORDS.fullmatch(seen["x-olla-request-id"]) and seen["x-olla-request-id"] == headers["x-olla-request-id"]
    who = {"X-Request-ID": "too-much", "X-Forwarded-For": "198.51.100.9"}
    found, headers, _ = guarded.ask("POST", f"{DOOR}/api/chat", chat("alpha-only:1b", "x" * 5000), who)
    assert (found, headers["x-olla-request-id"]) == (413, "too-much")
    for _ in range(50):
        found, headers, _ = guarded.ask("POST", f"{DOOR}/api/chat", chat("alpha-only:1b"), who)
        if found == 429:
            break
    assert (found, headers["x-olla-request-id"]) == (429, "too-much")


# ---- 10 ------------------------------------------------------------------------------------------------------------


def _check_identity(headers: dict[str, str]) -> None:
    told = {name: headers[name] for name in ("x-olla-endpoint", "x-olla-backend-type", "x-olla-model")}
    assert told == {"x-olla-endpoint": "alpha", "x-olla-backend-type": "ollama", "x-olla-model": "mixed-case:1b"}
    assert re.fullmatch(r"\d+ms", headers["x-olla-response-time"])
    assert re.fullmatch(r"[A-Za-z]+/\S+", headers["x-served-by"])
    assert re.fullmatch(r"1\.1 \S+", headers["via"])
    assert headers["x-olla-routing-strategy"] == "strict"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_row_10_identity_headers(fleet: Program, hosts: Hosts, path: str) -> None:
    for stream in (False, True):
        with opened(fleet, DOOR + path, chat("Mixed-Case:1B", stream=stream)) as answer:
            # All are there before the body is.
            _check_identity({name.lower(): value for name, value in answer.getheaders()})
            assert answer.status == 200 and answer.read()
    for status in (400, 418, 500):
        hosts.alpha.play({"path": path}, status=status, body={"error": "not today"})
        found, headers, _ = fleet.ask("POST", DOOR + path, chat("Mixed-Case:1B"))
        assert found == status
        _check_identity(headers)


# ---- 11 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/api/of-tomorrow"])
def test_row_11_headers_to_the_backend(fleet: Program, hosts: Hosts, path: str) -> None:
    secret = {"Authorization": "Bearer mine", "Cookie": "a=mine", "X-Api-Key": "mine", "X-Auth-Token": "mine"}
    sent = {**secret, "Proxy-Authorization": "Basic mine", "Via": "1.0 edge", "X-Request-ID": "seen"}
    _, headers, _ = fleet.ask("POST", DOOR + path, chat("WITNESS:1b"), sent)
    assert headers["x-olla-endpoint"] == "witness"
    seen = hosts.witness.requests(path)[-1].headers
    agent = headers["x-served-by"]
    assert {name: seen.get(name) for name in ("via", "x-proxied-by", "x-model", "x-olla-request-id")} == {
        "via": f"1.0 edge, 1.1 {agent}",
        "x-proxied-by": agent,
        "x-model": "witness:1b",
        "x-olla-request-id": "seen",
    }
    assert {name: value for name, value in seen.items() if name.startswith("x-forwarded") or name == "x-real-ip"} == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": f"127.0.0.1:{fleet.port}",
        "x-forwarded-proto": "http",
        "x-real-ip": "127.0.0.1",
    }
    assert seen["host"] == hosts.witness.url.removeprefix("http://")
    assert not {name.lower() for name in (*secret, "Proxy-Authorization")} & set(seen)
    assert not any("mine" in value for value in seen.values())


# ---- 12 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "stream", "status"),
    [("/api/chat", False, 200), ("/api/chat", True, 200), ("/api/chat", False, 400), ("/api/of-tomorrow", False, 200)],
)
def test_row_12_spoofed_headers_are_stripped(
    fleet: Program, hosts: Hosts, path: str, stream: bool, status: int
) -> None:
    evil = {"X-Olla-Endpoint": "evil", "X-Olla-Anything": "evil", "X-Arriero-Backend": "evil", "Set-Cookie": "a=evil"}
    evil |= {"Authorization": "Bearer evil", "X-Api-Key": "evil"}
    answer = {"status": status, "body": {"message": {"role": "assistant", "content": "x"}, "done": True}}
    hosts.alpha.play({"path": path}, headers={**evil, "X-Own": "kept"}, **answer)
    found, headers, _ = fleet.ask("POST", DOOR + path, chat("alpha-only:1b", stream=stream))
    assert (found, headers["x-own"], headers["x-olla-endpoint"]) == (status, "kept", "alpha")
    assert not [name for name, value in headers.items() if "evil" in value]


# ---- 13 ------------------------------------------------------------------------------------------------------------


def test_row_13_endpoint_auth_and_headers(drop_in: DropIn, hosts: Hosts, checked: Finished) -> None:
    program, witness = drop_in.program, hosts.witness
    basic = f"Basic {b64encode(b'who:word-secret').decode()}"
    wanted = {
        "bearer": {"authorization": "Bearer bearer-secret", "x-team": "team-secret"},
        "apikey": {"x-own-key": "key-secret"},
        "basic": {"authorization": basic},
    }
    for base, fields in wanted.items():
        theirs = {"Authorization": "Bearer mine", "X-Team": "mine", "X-Own-Key": "mine"}
        status, headers, answer = program.ask("POST", f"{DOOR}/api/chat", chat(f"{base}:1b"), theirs)
        assert (status, json.loads(answer)["message"]["content"]) == (200, f"Hello from {base}.")
        # The request, the discovery and the checks: everything that came to this endpoint.
        came = [request for request in witness.all() if request.path.startswith(f"/{base}")]
        assert {f"/{base}/api/chat", f"/{base}/api/tags"} <= {request.path for request in came}
        for request in came:
            assert {name: request.headers.get(name) for name in fields} == fields, request.path
        assert not [name for name, value in headers.items() if any(secret in value for secret in drop_in.secrets)]
    shown = [*drop_in.secrets, b64encode(b"who:word-secret").decode()]
    pages = ("status", "status/endpoints", "status/models", "metrics", "stats/models", "process")
    bodies = [program.ask("GET", f"/internal/{page}")[2].decode() for page in pages]
    for text in (*bodies, program.printed, program.log, checked.stdout, checked.stderr):
        assert not [secret for secret in shown if secret in text]


def test_row_13_an_unset_variable_is_named(hosts: Hosts, arriero: Arriero, drop_in: DropIn) -> None:
    config = drop_in.file.parent / "unset.yaml"
    config.write_text(olla_file(hosts))
    refused = arriero("serve", "--olla-config", str(config), "--port", str(free_port()), TOKEN_FILE="token")
    assert refused.returncode == 1 and "API_KEY_OF_TWO" in refused.stderr
    until(lambda: drop_in.program.ready())
