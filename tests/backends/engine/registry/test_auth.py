"""What a 401 asks for, the request for a token, the token in the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.engine.registry.address import read_url
from arriero.backends.engine.registry.auth import (
    MAX_CHALLENGE_BYTES,
    Challenge,
    challenge_of,
    text_to_sign,
    token_of,
    token_place,
)
from arriero.backends.http.call import Head
from arriero.errors import RegistryError


def asked(*values: str) -> Challenge | None:
    return challenge_of(Head(401, tuple((b"www-authenticate", value.encode("latin-1")) for value in values)))


PULL = Challenge("https://r.test/token", "svc", ("repository:ns/m:pull",))


@pytest.mark.parametrize(
    ("value", "challenge"),
    [
        ('Bearer realm="https://r.test/token",service="svc",scope="repository:ns/m:pull"', PULL),
        ('bearer  scope="repository:ns/m:pull" , service=svc, realm="https://r.test/token"', PULL),
        ('Bearer realm="https://r.test/token",service="svc",scope="repository:ns/m:pull",error="invalid"', PULL),
        (
            'Bearer realm="/t",scope="repository:a/b:pull,push repository:c/d:pull"',
            Challenge("/t", "", ("repository:a/b:pull,push", "repository:c/d:pull")),
        ),
        (r'Bearer realm="a\"b\\c"', Challenge('a"b\\c')),
        ('Bearer realm="first",realm="second"', Challenge("first")),
        ('Bearer realm="x",,,"', Challenge("x")),
        ('Basic realm="registry"', None),
        ("Bearer", None),
        ("Bearer service=svc", None),
        ('Bearer realm=""', None),
        ('Bearer realm="unfinished', None),
        ("", None),
        ("Bearer realm=" + "x" * MAX_CHALLENGE_BYTES, None),
    ],
)
def test_a_challenge(value: str, challenge: Challenge | None) -> None:
    assert asked(value) == challenge


def test_the_bearer_among_several() -> None:
    assert asked('Basic realm="x"', 'Bearer realm="y"') == Challenge("y")
    assert challenge_of(Head(401, ())) is None


@given(st.text(st.characters(codec="latin-1"), max_size=200))
def test_any_challenge_is_read_or_not(text: str) -> None:
    assert isinstance(asked(f"Bearer {text}"), Challenge | None)


def test_the_request_for_a_token() -> None:
    challenge = Challenge("https://r.test/token?x=1", "a service", ("repository:a/b:pull,push", "other"))
    place = token_place(challenge, read_url("https://r.test/v2/a/b/"), nonce="AAEC_-==", now=1700000000)
    assert place.url == (
        "https://r.test/token?x=1&nonce=AAEC_-%3D%3D&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=other"
        "&service=a+service&ts=1700000000"
    )
    assert text_to_sign(place) == (
        f"GET,{place.url},ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
    )


@pytest.mark.parametrize(
    ("realm", "text"),
    [
        ("https://evil.test/token", 'realm host "evil.test" does not match original host "r.test:5000"'),
        ("https://r.test/token", 'realm host "r.test" does not match original host "r.test:5000"'),
        ("http://r.test:5000/token", "https://r.test:5000 asks for a token over plain http"),
        ("/token", "https://r.test:5000 asks for a token from an address that cannot be read"),
        ("https://[/", "https://r.test:5000 asks for a token from an address that cannot be read"),
    ],
)
def test_a_realm_that_no_signature_goes_to(realm: str, text: str) -> None:
    with pytest.raises(RegistryError) as raised:
        token_place(Challenge(realm), read_url("https://r.test:5000/v2/"), nonce="", now=0)
    assert raised.value.message == text


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"token":"abc.d-e_f~g+h/i=="}', "abc.d-e_f~g+h/i=="),
        (b'{"access_token":"abc","expires_in":300}', "abc"),
        (b'{"token":""}', None),
        (b'{"token":"a\\r\\nevil: 1"}', None),
        (b'{"token":"a b"}', None),
        (b'{"token":7}', None),
        (b"<html>", None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
        (b'{"token":"' + b"x" * 40_000 + b'"}', None),
    ],
)
def test_a_token(body: bytes, token: str | None) -> None:
    assert token_of(body) == token
