"""Error answers of registries in words."""

import pytest

from arriero.backends.engine.registry.auth import Denied
from arriero.backends.engine.registry.refusals import codes_of, refused, said_by
from arriero.backends.http.call import Head

URL = "https://registry.test"
UNKNOWN = b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":{"digest":"sha256:aa"}}]}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (UNKNOWN, "blob unknown to registry (BLOB_UNKNOWN)"),
        (b'{"errors":[{"code":"A","message":"a"},{"message":"b"},{"code":"C"},{}]}', "a (A); b; (C)"),
        (b'{"errors":[]}', '{"errors":[]}'),
        (b'{"errors":"no list"}', "no list"),
        (b'{"errors":[{"code":5}]}', '{"errors":[{"code":5}]}'),
        (b'{"error":"plain"}', "plain"),
        (b"<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway"),
        (b"two\r\nlines\x1b[31m\x00", "two lines [31m"),
        (b"\xff\xfe", "��"),
        (b"[" * 100_000, "[" * 297 + "..."),
        (b'{"errors":[{"message":"' + b"x" * 1000 + b'"}]}', "x" * 297 + "..."),
    ],
)
def test_the_words_of_an_error_body(body: bytes, words: str) -> None:
    assert said_by(body) == words


def test_the_codes_of_an_error_body() -> None:
    assert codes_of(UNKNOWN) == {"BLOB_UNKNOWN"}
    assert codes_of(b"BLOB_UNKNOWN") == frozenset()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, f"{URL} does not take a blob (400: blob unknown to registry (BLOB_UNKNOWN))"),
        (
            413,
            f"{URL} does not take a blob (413: blob unknown to registry (BLOB_UNKNOWN)): "
            "it is too large for it, or for a proxy that stands before it",
        ),
        (
            503,
            f"{URL} does not take a blob now (503: blob unknown to registry (BLOB_UNKNOWN)): try again later",
        ),
        (302, f"{URL} does not take a blob, it sends its clients elsewhere (302): look at its address"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, message: str) -> None:
    error = refused(URL, "take a blob", Head(status, ()), UNKNOWN)
    assert (error.message, error.status, error.type) == (message, 500, "registry_error")


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_not_allowed_is_said_in_the_words_that_clients_know(status: int) -> None:
    error = refused(URL, "take a blob", Head(status, ()), b"")
    assert isinstance(error, Denied)
    assert error.message == (
        f"unauthorized: access denied by {URL}: it does not take a blob ({status}); "
        "check the model name, and what the account may push"
    )


def test_the_time_to_come_again_travels_on() -> None:
    assert refused(URL, "take a blob", Head(429, ((b"retry-after", b"30"),)), b"").retry_after == 30.0
