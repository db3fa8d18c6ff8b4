"""The head of an answer that is none, and the words for whoever has configured its address."""

import pytest

from arriero.backends.http.astray import MAX_WORDS, astray, is_page, is_plain
from arriero.backends.http.call import Head

PAGE = b"<!DOCTYPE html><html><head><title>T</title></head><body><h1>Log  in</h1></body></html>"


def head(status: int = 200, **fields: str) -> Head:
    return Head(status, tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()))


def elsewhere(place: str, status: int = 302) -> str:
    return f"the backend sends its clients elsewhere (HTTP {status}{place}): look at its url"


def page(said: str) -> str:
    return f"the backend answers with a web page{said}: look at its url"


@pytest.mark.parametrize(
    ("answer", "body", "words"),
    [
        # like an answer's
        (head(content_type="application/json"), b"{}", None),
        (head(), b"", None),
        (head(204), b"", None),
        (head(content_type="text/event-stream", content_encoding="identity"), b"", None),
        # an error's body may be anything: it is read for its words
        (head(502, content_type="text/html"), PAGE, None),
        (head(400, content_encoding="gzip"), b"\x1f\x8b", None),
        (head(999), b"", None),
        # elsewhere
        (head(302, location="https://api.example/v1/models"), b"", elsewhere(" to https://api.example/v1/models")),
        (head(308, location="/login?next=/v1"), PAGE, elsewhere(" to /login", 308)),
        (head(301, location="https://me:word@h:1/x?key=sk-secret#a"), b"", elsewhere(" to https://h:1/x", 301)),
        (head(302, location="http://[bad"), b"", elsewhere("")),
        (head(302, location="/a\x1b[31m\tb"), b"", elsewhere(" to /a [31mb")),
        (head(302, location="/" + "x" * 900), b"", elsewhere(" to /" + "x" * (MAX_WORDS - 4) + "...")),
        (head(304), b"", elsewhere("", 304)),
        # a page
        (head(content_type="text/html; charset=utf-8"), PAGE, page(" (Log in)")),
        (head(content_type="TEXT/HTML"), b"", page("")),
        (head(content_type="application/xhtml+xml"), b"<p>" + b"y" * 900, page(f" ({'y' * (MAX_WORDS - 3)}...)")),
        # compressed
        (
            head(content_type="application/json", content_encoding=" GZIP"),
            b"\x1f\x8b",
            "the backend compresses its answer (GZIP) though it was asked not to: look at what stands before it",
        ),
    ],
)
def test_the_words(answer: Head, body: bytes, words: str | None) -> None:
    assert astray(answer, body) == words


def test_a_page_and_a_compressed_body_are_known_by_their_heads() -> None:
    assert (is_page(head(content_type="text/html")), is_page(head(content_type="text/plain"))) == (True, False)
    assert [is_plain(head(content_encoding=one)) for one in ("", "identity", "br")] == [True, True, False]
    assert (is_page(head()), is_plain(head())) == (False, True)
