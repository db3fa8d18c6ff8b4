from base64 import b64decode

import pytest

from arriero.backends.http.credentials import basic


@pytest.mark.parametrize(
    ("username", "password", "pair"),
    [
        ("ann", "secret", b"ann:secret"),
        ("ann", None, b"ann:"),
        (None, "token", b":token"),
        ("a%40b", "p%3Aw%2F%C3%A9", b"a@b:p:w/\xc3\xa9"),
    ],
)
def test_user_and_password_become_a_basic_value(username: str | None, password: str | None, pair: bytes) -> None:
    value = basic(username, password)
    assert value is not None
    scheme, _, rest = value.partition(b" ")
    assert (scheme, b64decode(rest)) == (b"Basic", pair)


def test_without_either_there_is_none() -> None:
    assert basic(None, None) is None
    assert basic("", "") is None
