"""Where a model's repository is, and where a `Location` points."""

import pytest

from arriero.backends.engine.registry.address import MAX_URL_CHARACTERS, Place, read_url, repository
from arriero.dialects.ollama.names import Name, parse
from arriero.errors import BadRequest, RegistryError


@pytest.mark.parametrize(
    ("text", "insecure", "url"),
    [
        ("tiny", False, "https://registry.ollama.ai/v2/library/tiny/"),
        ("me/tiny:q4", False, "https://registry.ollama.ai/v2/me/tiny/"),
        ("hf.co/some-one/Tiny-GGUF:Q4_K_M", False, "https://hf.co/v2/some-one/Tiny-GGUF/"),
        ("Registry.Test:5000/a/b", True, "http://registry.test:5000/v2/a/b/"),
        ("https://registry.test:443/a/b", False, "https://registry.test/v2/a/b/"),
        ("http://registry.test/a/b", False, "https://registry.test/v2/a/b/"),  # only `insecure` gives plain http
    ],
)
def test_a_repository(text: str, insecure: bool, url: str) -> None:
    name = parse(text)
    assert name is not None
    assert repository(name, insecure=insecure).url == url


@pytest.mark.parametrize("host", ["a:b:c", "registry.test:99999", "registry.test:x", "a..b"])
def test_a_host_that_cannot_be(host: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        repository(Name("tiny", host=host), insecure=False)


HOME = "https://registry.test/v2/a/b/"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("manifests/latest", "https://registry.test/v2/a/b/manifests/latest"),
        ("blobs/sha256:00", "https://registry.test/v2/a/b/blobs/sha256:00"),
        ("/v2/", "https://registry.test/v2/"),
        ("?_state=x%2Fy&more=a/b", "https://registry.test/v2/a/b/?_state=x%2Fy&more=a/b"),
        ("//cdn.test:8443/x", "https://cdn.test:8443/x"),
        ("https://cdn.test?sig=a%3Db%26", "https://cdn.test/?sig=a%3Db%26"),
        ("https://me:word@cdn.test/x#part", "https://cdn.test/x"),
        ("https://cdn.test/a b/é?q=ü", "https://cdn.test/a%20b/%C3%A9?q=%C3%BC"),
        ("https://[::1]:1/x", "https://[::1]:1/x"),
    ],
)
def test_where_a_reference_points(reference: str, url: str) -> None:
    assert read_url(HOME).join(reference).url == url


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("file:///etc/passwd", "https://registry.test sends its clients to an address that cannot be read"),
        ("unix:///run/docker.sock", "https://registry.test sends its clients to an address that cannot be read"),
        ("https://[::1/x", "https://registry.test sends its clients to an address that cannot be read"),
        ("https://a:b/x", "https://registry.test sends its clients to an address that cannot be read"),
        ("x" * (MAX_URL_CHARACTERS + 1), "https://registry.test sends its clients to an address that is too long"),
        ("http://cdn.test/x", "https://registry.test sends its clients to http://cdn.test, from https down to http"),
    ],
)
def test_where_nobody_should_go(reference: str, text: str) -> None:
    with pytest.raises(RegistryError) as raised:
        read_url(HOME).join(reference)
    assert raised.value.message == text


def test_a_line_break_in_a_location_reaches_no_request() -> None:
    assert read_url(HOME).join("/x\r\nevil: 1").target == "/xevil:%201"


def test_one_host_under_two_ports() -> None:
    one, two = read_url("https://a.test/x"), read_url("https://A.test:8443/y")
    assert (one.same_host(two), one.same_host(read_url("https://b.test/x"))) == (True, False)


def test_what_people_are_shown_has_no_signature() -> None:
    place: Place = read_url("https://cdn.test/blob?signature=secret")
    assert (place.path, place.target) == ("https://cdn.test/blob", "/blob?signature=secret")
