import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from arriero.backends.http.origin import Origin, query_of, tls_context


@pytest.mark.parametrize(
    ("url", "origin", "host_header", "shown"),
    [
        (
            "http://10.0.0.5:11434",
            Origin("http", "10.0.0.5", 11434),
            b"10.0.0.5:11434",
            "http://10.0.0.5:11434",
        ),
        (
            " https://API.example.com/v1/ ",
            Origin("https", "api.example.com", 443, "/v1"),
            b"api.example.com",
            "https://api.example.com/v1",
        ),
        ("http://h:443", Origin("http", "h", 443), b"h:443", "http://h:443"),
        ("https://h:80", Origin("https", "h", 80), b"h:80", "https://h:80"),
        ("http://[::1]:8000/a/b", Origin("http", "::1", 8000, "/a/b"), b"[::1]:8000", "http://[::1]:8000/a/b"),
        ("http://[fe80::1%25eth0]", Origin("http", "fe80::1%eth0", 80), b"[fe80::1]", "http://[fe80::1]"),
        ("http://bücher.example", Origin("http", "xn--bcher-kva.example", 80), b"xn--bcher-kva.example", None),
        ("http://h/with space/%7Ex", Origin("http", "h", 80, "/with%20space/%7Ex"), b"h", None),
        (
            "unix:///run/llama.sock",
            Origin("unix", "localhost", 0, "", "/run/llama.sock"),
            b"localhost",
            "unix:///run/llama.sock",
        ),
        (
            "unix:///run/llama.sock:/v1/",
            Origin("unix", "localhost", 0, "/v1", "/run/llama.sock"),
            b"localhost",
            "unix:///run/llama.sock:/v1",
        ),
    ],
)
def test_a_url_is_read(url: str, origin: Origin, host_header: bytes, shown: str | None) -> None:
    read = Origin.parse(url)
    assert read == origin
    assert read.host_header == host_header
    assert shown is None or str(read) == shown


def test_credentials_are_kept_out_of_everything_that_is_shown() -> None:
    origin = Origin.parse("https://ann:s3cret@h.example:8443/v1")
    assert origin.authorization == b"Basic YW5uOnMzY3JldA=="
    assert origin.host_header == b"h.example:8443"
    for shown in (repr(origin), str(origin), origin.address):
        assert "ann" not in shown and "s3cret" not in shown and "YW5u" not in shown


def test_a_target_stands_under_the_base() -> None:
    assert Origin.parse("http://h/v1/").target("/models") == "/v1/models"
    assert Origin.parse("http://h/").target("/api/tags") == "/api/tags"
    assert Origin.parse("http://h/v1/").target("/models", b"a=b&c") == "/v1/models?a=b&c"


def test_a_query_goes_with_every_target() -> None:
    origin = replace(Origin.parse("http://h/v1"), query=query_of({"api-version": "2 b", "q": "ñ&=/?#", "off": ""}))
    own = "api-version=2%20b&q=%C3%B1%26%3D%2F%3F%23"
    assert origin.target("/models") == f"/v1/models?{own}"
    assert origin.queried("/other?page=2") == f"/other?page=2&{own}"
    # What a client asks for besides travels on, but for what is said already, however it spells it.
    assert origin.target("/models", b"beta=1&api-version=0&api%2Dversion=9&q") == f"/v1/models?{own}&beta=1"
    assert origin.target("/models", b"api-version=0") == f"/v1/models?{own}"
    assert str(origin) == "http://h/v1"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("h:11434", "the URL 'h:11434' has to begin with http://, https:// or unix://"),
        ("ftp://u:pw@h", "the URL 'ftp://h' has to begin with http://, https:// or unix://"),
        ("http://", "the URL names no host"),
        ("http://u:pw@", "the URL names no host"),
        ("http://u:pw@h?key=1", "the URL 'http://h' has a query or a fragment; a base URL has none"),
        ("http://a..b", "the URL 'http://a..b' names a host that cannot be"),
        ("http://a b", "the URL 'http://a b' names a host that cannot be"),
        ("unix://run/x.sock", "a unix:// URL needs an absolute path: unix:///run/backend.sock"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Origin.parse(url)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("url", ["http://u:pw@h:99999", "http://u:pw@h:x", "http://u:pw@[::1"])
def test_what_the_library_refuses_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Origin.parse(url)
    assert str(refusal.value).startswith("the URL cannot be read: ")
    assert "pw" not in str(refusal.value)


def test_tls_verifies_unless_told_otherwise() -> None:
    strict, lax = tls_context(), tls_context(verify=False)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_a_ca_file_replaces_the_authorities_of_the_system(certificate: Path) -> None:
    subjects = [ca["subject"] for ca in tls_context(ca_file=str(certificate)).get_ca_certs()]
    assert subjects == [((("commonName", "localhost"),),)]


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ValueError, match=r"missing\.pem' cannot be read: No such file or directory$"):
        tls_context(ca_file=str(missing))
    with pytest.raises(ValueError, match=r"empty\.pem' holds no usable certificate$"):
        tls_context(ca_file=str(empty))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret/tail@proxy:3128",
        "http://user:1/s3cret@proxy:3128",
        "http://user:1?s3cret@proxy:3128",
        "http://user:1#s3cret@proxy:3128",
        "ftp://user:1/s3cret@proxy:3128",
        "http://user:s3cret@proxy:99999",
        "http://user:s3cret@[proxy",
    ],
)
def test_pieces_of_a_password_are_never_told(url: str) -> None:
    try:
        told = str(Origin.parse(url).address)
    except ValueError as error:
        told = str(error)
    assert "s3cret" not in told
