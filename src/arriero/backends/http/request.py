"""The bytes of a request's head. The caller gives the fields; only `host` and the framing are added here."""

from arriero.backends.http.call import OF_THE_TRANSPORT, Call
from arriero.errors import BadRequest

_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
_BREAKS = b"\r\n\0"


class RequestHeads:
    """Renders the heads of one pool's requests.

    `fixed` is the fields that each of them has (`host`, perhaps `proxy-authorization`); `prefix` stands before the
    target (`http://host:port` towards a plain proxy, otherwise nothing).
    """

    __slots__ = ("_fixed", "_lines", "_prefix")

    def __init__(self, *fixed: tuple[bytes, bytes], prefix: str = "") -> None:
        self._fixed = b"\r\n".join(b": ".join(field) for field in fixed)
        # The request line and the blank one besides the fixed fields.
        self._lines = len(fixed) + 2
        self._prefix = prefix

    def render(self, call: Call) -> bytes:
        """The head of `call`, blank line included.

        A caller's `host`, `transfer-encoding` and, with a body of bytes, `content-length` give way to the transport's
        own. A streamed body goes out chunked unless the caller says its `content-length`. Raises BadRequest for what
        cannot stand in a head.
        """
        target = call.target
        if not target or " " in target:
            raise BadRequest("the request target is empty or holds a space")
        try:
            pieces = [f"{call.method} {self._prefix}{target} HTTP/1.1".encode("ascii"), self._fixed]
        except UnicodeEncodeError:
            raise BadRequest("the request target holds characters that are not ASCII") from None
        lines = self._lines
        if (rendered := call.rendered) is not None and rendered.count:
            pieces.append(rendered.text)
            lines += rendered.count - 1
        for field in call.headers:
            if field[0] not in OF_THE_TRANSPORT:
                pieces.append(b": ".join(field))
        body = call.body
        if not isinstance(body, bytes):
            length = declared_length(call)
            pieces.append(b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length)
        elif body or call.method in _BODY_EXPECTED:
            pieces.append(b"content-length: %d" % len(body))
        lines += len(pieces) - 2
        pieces.append(b"\r\n")
        head = b"\r\n".join(pieces)
        # One pass in C over the head instead of two over each value: a line break that is not ours changes the count.
        if len(head) - len(head.translate(None, _BREAKS)) != 2 * lines:
            raise BadRequest("a request header or the target holds a line break or a NUL byte")
        return head


def declared_length(call: Call) -> int | None:
    """The `content-length` that the caller gives for a streamed body, in bytes."""
    for name, value in call.headers:
        if name == b"content-length":
            if not value.isdigit():
                raise BadRequest("the content-length of the request is not a number")
            return int(value)
    return None
