"""Hosts and origins, as Ollama's clients meet them."""

import pytest

from arriero.server.access import EXPOSED, PASS, Access, Verdict, is_loopback

OPEN = Access((), checks_host=False)
LOOPBACK = Access((), checks_host=True, own_names=("mule",))
FORBIDDEN = Verdict(403)
EXPOSES = (b"access-control-expose-headers", EXPOSED)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"http://localhost", True),
        (b"http://localhost:3000", True),
        (b"https://127.0.0.1:8443", True),
        (b"http://0.0.0.0:1", True),
        (b"app://obsidian.md", True),
        (b"file://", True),
        (b"tauri://localhost", True),
        (b"vscode-webview://abc", True),
        (b"vscode-file://vscode-app", True),
        (b"https://evil.example", False),
        (b"http://localhost.evil.example", False),
        (b"chrome-extension://abc", False),
        (b"moz-extension://abc", False),
        (b"null", False),
        (b"http://localhost:3000\nhttps://evil.example", False),
    ],
)
def test_built_in_origins(origin: bytes, allowed: bool) -> None:
    verdict = OPEN.check("GET", ((b"host", b"gateway:11434"), (b"origin", origin)))
    fields = ((b"access-control-allow-origin", origin), EXPOSES, (b"vary", b"Origin"))
    assert verdict == (Verdict(None, fields) if allowed else FORBIDDEN)


def test_the_own_origin_needs_nothing() -> None:
    assert OPEN.check("GET", ((b"host", b"gpu:11434"), (b"origin", b"http://gpu:11434"))) == PASS
    assert OPEN.check("GET", ((b"host", b"gpu:11434"), (b"origin", b"https://gpu:11434"))) == PASS
    assert OPEN.check("GET", ((b"host", b"gpu:11434"),)) == PASS


@pytest.mark.parametrize(
    ("configured", "origin", "allowed"),
    [
        ("chrome-extension://*", b"chrome-extension://abc", True),
        ("https://*.example.com", b"https://chat.example.com", True),
        ("https://*.example.com", b"https://example.com", False),
        ("https://chat.example.com", b"https://chat.example.com", True),
        ("https://chat.example.com", b"https://chatXexample.com", False),
    ],
)
def test_configured_origins(configured: str, origin: bytes, allowed: bool) -> None:
    verdict = Access((configured,), checks_host=False).check("GET", ((b"origin", origin),))
    assert (verdict.status is None) is allowed


def test_a_star_allows_every_origin_without_vary() -> None:
    verdict = Access(("*",), checks_host=False).check("GET", ((b"origin", b"https://evil.example"),))
    assert verdict == Verdict(None, ((b"access-control-allow-origin", b"*"), EXPOSES))


def test_pages_may_send_their_credentials_where_the_operator_says_so() -> None:
    access = Access(("https://chat.example.com",), checks_host=False, credentials=True)
    head = ((b"origin", b"https://chat.example.com"),)
    assert access.check("GET", head).headers == (
        (b"access-control-allow-origin", b"https://chat.example.com"),
        EXPOSES,
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"Origin"),
    )
    assert (b"access-control-allow-credentials", b"true") in access.check("OPTIONS", head).headers


def test_scripts_may_read_every_field_that_answers_carry() -> None:
    names = EXPOSED.decode().split(",")
    assert len(names) == len(set(names)) == 22
    assert {name.partition("-")[2].partition("-")[0] for name in names if name != "Retry-After"} == {
        "Arriero",
        "Olla",
        "RateLimit",
    }


def test_a_preflight_is_answered_here() -> None:
    verdict = OPEN.check("OPTIONS", ((b"origin", b"http://localhost:3000"),))
    assert verdict.status == 204
    assert [name for name, _ in verdict.headers] == [
        b"access-control-allow-methods",
        b"access-control-allow-headers",
        b"access-control-max-age",
        b"access-control-allow-origin",
        b"vary",
        b"vary",
        b"vary",
    ]
    fields = dict(verdict.headers)
    assert fields[b"access-control-allow-methods"] == b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert fields[b"access-control-allow-headers"].startswith(b"Authorization,Content-Type,User-Agent,Accept,")
    assert fields[b"access-control-allow-headers"].split(b",")[-10:] == [
        b"X-Arriero-Backend",
        b"X-Arriero-Fallback",
        b"X-Arriero-Priority",
        b"X-Arriero-Session",
        b"X-Olla-Session-ID",
        b"X-Request-ID",
        b"X-Api-Key",
        b"Anthropic-Version",
        b"Anthropic-Beta",
        b"Anthropic-Dangerous-Direct-Browser-Access",
    ]
    assert fields[b"access-control-max-age"] == b"43200"
    assert OPEN.check("OPTIONS", ((b"origin", b"https://evil.example"),)) == FORBIDDEN


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (b"127.0.0.1:11434", True),
        (b"localhost", True),
        (b"LOCALHOST:1", True),
        (b"foo.localhost:11434", True),
        (b"printer.local", True),
        (b"model-runner.internal", True),
        (b"mule", True),
        (b"MULE:11434", True),
        (b"192.168.1.7:11434", True),
        (b"0.0.0.0", True),
        (b"[::1]:11434", True),
        (b"", True),
        (b"evil.example", False),
        (b"evil.example:11434", False),
        (b"8.8.8.8", False),
        (b"localhost.evil.example", False),
    ],
)
def test_hosts_on_loopback(host: bytes, allowed: bool) -> None:
    assert LOOPBACK.check("GET", ((b"host", host),)) == (PASS if allowed else FORBIDDEN)
    assert OPEN.check("GET", ((b"host", host),)) == PASS


def test_options_without_an_origin_depends_on_the_host_being_a_name() -> None:
    assert LOOPBACK.check("OPTIONS", ((b"host", b"localhost:11434"),)) == Verdict(204)
    assert LOOPBACK.check("OPTIONS", ((b"host", b"127.0.0.1:11434"),)) == PASS


def test_made_up_hosts_do_not_fill_the_memory() -> None:
    access = Access((), checks_host=True)
    for number in range(3000):
        assert access.check("GET", ((b"host", b"h%d.example" % number),)) == FORBIDDEN
    assert access.check("GET", ((b"host", b"localhost"),)) == PASS


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.5", False), ("", False)],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_only_what_comes_in_on_loopback_has_to_name_it() -> None:
    assert LOOPBACK.check("GET", ((b"host", b"gpu.example.com"),), local=False) == PASS
    assert LOOPBACK.check("GET", ((b"host", b"evil.example"),), local=True) == FORBIDDEN
    assert OPEN.check("GET", ((b"host", b"evil.example"),), local=True) == PASS
