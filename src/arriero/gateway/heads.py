"""Which header fields cross arriero, in either direction."""

from arriero.backends.base import Backend
from arriero.backends.http.call import Head, Headers
from arriero.gateway.lane import Inbound

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


def to_backend(backend: Backend, inbound: Inbound) -> Headers:
    """The fields of a request to a backend: its own, and the few of the client that may pass."""
    headers = [*backend.headers, (b"x-request-id", inbound.request_id.encode())]
    headers += [field for field in inbound.headers if field[0] in PASSED_ON]
    if backend.forwards_client and inbound.client is not None:
        headers += (
            (b"x-forwarded-for", inbound.client.encode()),
            (b"x-forwarded-host", inbound.get(b"host") or b""),
            (b"x-forwarded-proto", b"http"),
        )
    return tuple(headers)


def to_client(head: Head) -> Headers:
    """The fields of a backend's answer that a client may see."""
    return tuple([field for field in head.headers if field[0] not in NOT_PASSED_BACK])
