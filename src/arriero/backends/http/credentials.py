"""User and password of a URL as the value of an `Authorization` or `Proxy-Authorization` field."""

from base64 import b64encode
from urllib.parse import unquote_to_bytes


def basic(username: str | None, password: str | None) -> bytes | None:
    """RFC 7617, UTF-8; both parts as they stand in a URL, percent-encoded. `None` without any."""
    if not username and not password:
        return None
    return b"Basic " + b64encode(unquote_to_bytes(username or "") + b":" + unquote_to_bytes(password or ""))
