"""Answers whose head shows that no model server's API speaks: a redirect, a web page, bytes that are compressed.

The address leads astray, or something in front of the server does: the words are for whoever has configured it. What
an API itself answers, be it an error, is read by its dialect.
"""

from urllib.parse import urlsplit

from arriero.backends.http.call import Head
from arriero.dialects.backend_errors import message_of

MAX_WORDS = 120
"""So much is quoted of a page, or of an address."""

MAX_PAGE_BYTES = 65536
"""So much of a page is looked at."""

_PLAIN = frozenset({b"", b"identity"})


def astray(head: Head, body: bytes = b"") -> str | None:
    """What is wrong with an answer that is no error; `None` where its head is like an answer's."""
    if 300 <= head.status <= 399:
        return f"the backend sends its clients elsewhere (HTTP {head.status}{_place(head)}): look at its url"
    if head.status >= 400:
        return None
    if not is_plain(head):
        encoding = _shown((head.get(b"content-encoding") or b"").decode("latin-1"))
        return (
            f"the backend compresses its answer ({encoding}) though it was asked not to: look at what stands before it"
        )
    if is_page(head):
        said = _shown(message_of(body[:MAX_PAGE_BYTES]))
        return f"the backend answers with a web page{f' ({said})' if said else ''}: look at its url"
    return None


def is_page(head: Head) -> bool:
    """Whether the body is HTML. Every answer is asked."""
    for name, value in head.headers:
        if name == b"content-type":
            return b"html" in value.lower()
    return False


def is_plain(head: Head) -> bool:
    """Whether the body is as it was asked for: not compressed. Every relayed answer is asked."""
    for name, value in head.headers:
        if name == b"content-encoding":
            return value.strip().lower() in _PLAIN
    return True


def _place(head: Head) -> str:
    """The address that it names, without what may be secret in it."""
    try:
        parts = urlsplit((head.get(b"location") or b"").decode("latin-1").strip())
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    except ValueError:
        return ""
    place = _shown(f"{host}{parts.path}")
    return f" to {place}" if place else ""


def _shown(text: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 3]}..."
