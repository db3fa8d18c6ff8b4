"""Which header fields cross arriero, in either direction."""

from collections.abc import Collection

from arriero.backends.base import Backend
from arriero.backends.http.call import Head, Headers, Rendered
from arriero.gateway.lane import Inbound
from arriero.gateway.marks import AGENT, field_text

OWN_FIELDS = (b"x-arriero-", b"x-olla-")
"""Beginnings of names by which only arriero itself speaks."""

PASSED_ON = frozenset({b"openai-beta", b"http-referer", b"x-title", b"traceparent", b"tracestate"})
"""Fields of the client that a backend may see. Its credentials and its address are not among them."""

NOT_PASSED_BACK = frozenset(
    {
        # one hop's own
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # what arriero says itself, or lets nobody say for it
        b"authorization",
        b"proxy-authorization",
        b"x-api-key",
        b"x-auth-token",
        b"access-control-allow-credentials",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"alt-svc",
        b"date",
        b"server",
        b"set-cookie",
        b"strict-transport-security",
        b"vary",
        b"x-request-id",
    }
)
"""Fields of a backend that stop here when its bytes are relayed."""


NOT_PASSED_ON = frozenset(
    {
        # one hop's own
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # the client's credentials, which are for arriero
        b"authorization",
        b"cookie",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"x-api-key",
        b"x-auth-token",
        # what arriero says itself
        b"accept-encoding",
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-model",
        b"x-olla-request-id",
        b"x-provider",
        b"x-proxied-by",
        b"x-real-ip",
        b"x-request-id",
    }
)
"""Fields of a client that stop here where all others go on to a backend."""


def to_backend(backend: Backend, inbound: Inbound, model: str | None = None) -> Rendered:
    """The fields of a request to a backend: its own, and the few of the client that may pass. `model` is the client's
    word for it.
    """
    id, told = inbound.request_id.encode(), inbound.fields
    own = backend.rendered
    text, count = b"%b\r\nx-request-id: %b" % (own.text, id), own.count + 1
    if not PASSED_ON.isdisjoint(told):
        for field in inbound.headers:
            if field[0] in PASSED_ON:
                text, count = b"%b\r\n%b: %b" % (text, *field), count + 1
    if backend.forwards_client:
        more = _of_client(inbound, id, model)
        text, count = b"%b\r\n%b" % (text, more.text), count + more.count
    return Rendered(text, count)


def passed(backend: Backend, inbound: Inbound, model: str | None) -> Rendered:
    """The fields of a request whose path arriero has no words for: all of the client's that may pass, below the
    backend's own.
    """
    id = inbound.request_id.encode()
    own = {name for name, _ in backend.headers} - {b"accept", b"content-type", b"user-agent"}
    hop = {name.strip().lower() for name in (inbound.get(b"connection") or b"").split(b",")}  # one hop's own as well
    theirs = [
        field
        for field in inbound.headers
        if field[0] not in NOT_PASSED_ON
        and field[0] not in own
        and field[0] not in hop
        and not field[0].startswith(b"x-arriero-")
    ]
    names = {name for name, _ in theirs}
    headers = [*(field for field in backend.headers if field[0] not in names), *theirs, (b"x-request-id", id)]
    if not backend.forwards_client:
        return Rendered.of(tuple(headers))
    own_of, more = Rendered.of(tuple(headers)), _of_client(inbound, id, model)
    return Rendered(b"%b\r\n%b" % (own_of.text, more.text), own_of.count + more.count)


_ALWAYS = b"x-olla-request-id: %b\r\nx-proxied-by: " + AGENT + b"\r\nvia: %b1.1 " + AGENT
_ADDRESS = (
    b"%b\r\nx-real-ip: %b\r\nx-forwarded-for: %b\r\nx-forwarded-host: %b\r\nx-forwarded-proto: %b"  # behind the others
)


def _of_client(inbound: Inbound, id: bytes, model: str | None) -> Rendered:
    """What only a backend of the house may know."""
    told = inbound.fields
    via = told.get(b"via")
    text, count = _ALWAYS % (id, b"" if via is None else via + b", "), 3
    if inbound.client is not None:
        client = inbound.client.encode()
        host = told.get(b"x-forwarded-host") or told.get(b"host") or b""
        text = _ADDRESS % (text, client, client, host, told.get(b"x-forwarded-proto") or b"http")
        count = 7
    if model is not None:
        text, count = b"%b\r\nx-model: %b" % (text, field_text(model.strip().lower())), count + 1
    return Rendered(text, count)


def to_client(head: Head, private: Collection[bytes] = ()) -> Headers:
    """The fields of a backend's answer that a client may see: none that looks like one of the gateway's own, and none
    of `private`, the names of those that carry a secret to the backend.
    """
    return tuple(
        [
            field
            for field in head.headers
            if field[0] not in NOT_PASSED_BACK and not field[0].startswith(OWN_FIELDS) and field[0] not in private
        ]
    )
