"""Answers that somebody asks for every few seconds: told once, and then only that nothing has changed.

Each has a weak entity tag. It is made of the answer as it reads at one fixed moment, `STILL`, so that what only the
clock moves (`2m ago`, `in 3s`, the uptime, the timestamp) leaves it as it is: who polls a fleet in which nothing
happens gets a bare 304. Points in time (`..._at`) are no such thing: a check that was made changes the tag.
"""

import gzip
from hashlib import blake2b

from arriero.backends.http.call import Headers
from arriero.gateway.lane import Inbound, Lane
from arriero.server.olla.formats import base36
from arriero.server.routes import JSON

STILL = 4_102_444_800.0
"""Unix time of the moment for which tags are made: late enough for everything to lie behind it."""

COMPRESSED_FROM = 256
"""Bytes. A shorter body gains nothing from gzip."""

_LEVEL = 1  # a large list is a tenth of its size with the least work, and the loop waits for it
_POLLED: Headers = ((b"cache-control", b"private, no-cache"), (b"vary", b"Accept-Encoding"))


def answer(inbound: Inbound, lane: Lane, body: bytes, still: bytes | None = None) -> None:
    """200 with the JSON `body`, or 304 to a client that has it. `still` is the body as it reads at `STILL`, `None`
    where no clock is in it.
    """
    tag = entity_tag(body if still is None else still)
    headers: Headers = ((b"etag", tag), *_POLLED)
    if _has(inbound, tag):
        # Without a length: that of a 304 would have to be the other answer's.
        lane.start(304, headers)
        lane.finish()
        return
    if len(body) >= COMPRESSED_FROM and takes_gzip(inbound):
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers += ((b"content-encoding", b"gzip"),)
    lane.start(200, (*JSON, *headers), len(body))
    lane.write(body)
    lane.finish()


def entity_tag(body: bytes) -> bytes:
    """`W/"<base36>"`: weak, for the compressed body and the plain one have the same."""
    number = int.from_bytes(blake2b(body, digest_size=8).digest())
    return b'W/"' + base36(number).encode() + b'"'


def takes_gzip(inbound: Inbound) -> bool:
    """Whether `Accept-Encoding` names gzip, or `*` and not gzip, with a weight above 0."""
    weights = dict(_weighed(coding) for coding in _listed(inbound, b"accept-encoding"))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _has(inbound: Inbound, tag: bytes) -> bool:
    """Compared weakly, as a GET does: a proxy on the way may have made the tag strong."""
    opaque = tag.removeprefix(b"W/").decode()
    return any(one == "*" or one.removeprefix("W/") == opaque for one in _listed(inbound, b"if-none-match"))


def _listed(inbound: Inbound, name: bytes) -> list[str]:
    """The members of all header fields of this name. None of our tags has a comma in it."""
    lines = (value.decode("latin-1") for key, value in inbound.headers if key == name)
    return [member.strip() for line in lines for member in line.split(",") if member.strip()]


def _weighed(coding: str) -> tuple[str, float]:
    name, _, parameter = coding.partition(";")
    key, _, weight = parameter.partition("=")
    try:
        return name.strip().lower(), float(weight) if key.strip().lower() == "q" else 1.0
    except ValueError:
        return name.strip().lower(), 0.0
