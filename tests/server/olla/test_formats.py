"""The texts that Olla's readers know, value by value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.server.olla.formats import (
    ago,
    base36,
    bytes_text,
    endpoint_id,
    fnv1a,
    latency,
    percent,
    plain_url,
    security_word,
    system_word,
    until,
    uptime,
)

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (1536, "1.50 KB"),
        (1024**2, "1.00 MB"),
        (1_288_490_189, "1.20 GB"),
        (1024**4 * 3, "3.00 TB"),
        (1024**6, "1.00 EB"),
        (1024**7, "1024.00 EB"),
    ],
)
def test_bytes(n: int, text: str) -> None:
    assert bytes_text(n) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(None, "N/A"), (0, "0%"), (0.0, "0%"), (1.0, "100%"), (0.996, "99.6%"), (0.5, "50.0%"), (1 / 3, "33.3%")],
)
def test_percent(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "0ms"), (0, "0ms"), (0.4, "0ms"), (85, "85ms"), (999.4, "999ms"), (999.6, "1.0s"), (1234, "1.2s")],
)
def test_latency(ms: float | None, text: str) -> None:
    assert latency(ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s ago"),
        (0.9, "0s ago"),
        (2, "2s ago"),
        (59.9, "59s ago"),
        (60, "1m ago"),
        (5 * 60 + 10, "5m ago"),
        (3 * 3600, "3h ago"),
        (4 * 86400 + 5, "4d ago"),
    ],
)
def test_ago(seconds: float, text: str) -> None:
    assert ago(NOW - seconds, NOW) == text


def test_what_never_was() -> None:
    assert (ago(None, NOW), until(None, NOW)) == ("never", "unknown")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "now"), (0, "now"), (0.5, "in 0s"), (3, "in 3s"), (90, "in 1m"), (7200, "in 2h")]
)
def test_until(seconds: float, text: str) -> None:
    assert until(NOW + seconds, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (45.9, "45s"),
        (12 * 60 + 59, "12m"),
        (3600, "1h 0m"),
        (2 * 3600 + 30 * 60, "2h 30m"),
        (3 * 86400 + 4 * 3600, "3d 4h"),
    ],
)
def test_uptime(seconds: float, text: str) -> None:
    assert uptime(seconds) == text


@pytest.mark.parametrize(
    ("healthy", "endpoints", "success", "word"),
    [
        (0, 0, None, "critical"),
        (0, 0, 1.0, "critical"),
        (1, 3, 1.0, "critical"),
        (1, 2, None, "degraded"),
        (4, 5, None, "healthy"),
        (79, 100, 1.0, "degraded"),
        (5, 5, 0.899, "critical"),
        (5, 5, 0.9, "degraded"),
        (5, 5, 0.95, "healthy"),
    ],
)
def test_the_word_for_the_whole(healthy: int, endpoints: int, success: float | None, word: str) -> None:
    assert system_word(healthy, endpoints, success) == word


@pytest.mark.parametrize(
    ("violations", "addresses", "word"), [(100, 10, "normal"), (101, 0, "elevated"), (0, 11, "elevated")]
)
def test_the_word_for_security(violations: int, addresses: int, word: str) -> None:
    assert security_word(violations, addresses) == word


# The published test values of the hash.
@pytest.mark.parametrize(
    ("data", "bits", "value"),
    [
        (b"", 32, 0x811C9DC5),
        (b"a", 32, 0xE40C292C),
        (b"foobar", 32, 0xBF9CF968),
        (b"", 64, 0xCBF29CE484222325),
        (b"a", 64, 0xAF63DC4C8601EC8C),
        (b"foobar", 64, 0x85944171F73967E8),
    ],
)
def test_fnv(data: bytes, bits: int, value: int) -> None:
    assert fnv1a(data, bits) == value


@given(st.integers(0, 1 << 70))
def test_base36_is_read_back(n: int) -> None:
    text = base36(n)
    assert int(text, 36) == n
    assert text == text.lower()
    assert text == "0" or not text.startswith("0")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://10.0.0.5:11434", "http://10.0.0.5:11434"),
        ("http://user:pass@10.0.0.5:11434/v1/?key=s#x", "http://10.0.0.5:11434/v1/"),
        ("http://user:p@ss@host/a@b", "http://host/a@b"),
        ("https://host?key=secret", "https://host"),
        ("https://host#secret", "https://host"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("models on this machine", "models on this machine"),
    ],
)
def test_nothing_secret_is_left_of_a_url(url: str, plain: str) -> None:
    assert plain_url(url) == plain
    assert endpoint_id(url) == endpoint_id(plain)


def test_an_endpoint_has_a_short_name() -> None:
    assert endpoint_id("http://localhost:11434") == base36(fnv1a(b"http://localhost:11434"))
    assert endpoint_id("http://localhost:11434") != endpoint_id("http://localhost:11435")
    assert len(endpoint_id("http://localhost:11434")) <= 7
