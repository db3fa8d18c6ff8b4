"""Requests in, counts out."""

import pytest

from arriero.backends.scripted.seen import KEPT, MAX_NAMES, OTHERS, Seen, model_of


def test_an_empty_one() -> None:
    zero = {"requests": 0, "in_flight": 0, "gone": 0, "paths": {}, "models": {}, "last": []}
    assert Seen().value(10) == zero


def test_requests_are_counted_by_path_and_by_model() -> None:
    seen = Seen()
    seen.came("POST", "/api/chat?x=1", {"host": "x"}, b'{"model": "tiny"}')
    seen.came("POST", "/api/chat", {}, b'{"name": "other"}')
    seen.came("GET", "/", {}, b"")
    seen.ended(gone=False)
    seen.ended(gone=True)
    assert seen.value(2) == {
        "requests": 3,
        "in_flight": 1,
        "gone": 1,
        "paths": {"/api/chat": 2, "/": 1},
        "models": {"tiny": 1, "other": 1},
        "last": [{"method": "POST", "path": "/api/chat", "headers": {}}, {"method": "GET", "path": "/", "headers": {}}],
    }
    seen.reset()
    assert seen.value(2) == Seen().value(2) | {"in_flight": 1}


def test_credentials_are_masked() -> None:
    seen = Seen()
    headers = {
        "authorization": "Bearer MARKER",
        "x-api-key": "MARKER",
        "api-key": "MARKER",
        "x-auth-token": "MARKER",
        "cookie": "MARKER",
        "x-olla-session-id": "s1",
        "accept": "*/*",
    }
    seen.came("GET", "/x?key=MARKER&a=1&access_token=MARKER", headers, b"")
    masked = dict.fromkeys(("authorization", "x-api-key", "api-key", "x-auth-token", "cookie"), "***")
    (last,) = seen.value(1)["last"]
    assert last == {
        "method": "GET",
        "path": "/x?key=***&a=1&access_token=***",
        "headers": {**masked, "x-olla-session-id": "s1", "accept": "*/*"},
    }


def test_what_is_kept_has_an_end() -> None:
    seen = Seen()
    for number in range(MAX_NAMES + 5):
        seen.came("GET", f"/{number}", {}, b"")
    assert (len(seen.value(10**9)["last"]), seen.value(0)["last"]) == (KEPT, [])
    assert (len(seen.paths), seen.paths[OTHERS], seen.requests) == (MAX_NAMES + 1, 5, MAX_NAMES + 5)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "a", "name": "b", "more": [1]}', "a"),
        (b'{"name": "b"}', "b"),
        (b"{}", None),
        (b'{"model": 7}', None),
        (b"", None),
        (b'{"model": "a"', None),
        (b'{"model": "\xff"}', None),
    ],
)
def test_the_model_of_a_body(body: bytes, model: str | None) -> None:
    assert model_of(body) == model
