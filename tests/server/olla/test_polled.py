"""Answers that are told once: the tag, the 304, the compressed body."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.http.call import Headers
from arriero.server.olla.polled import COMPRESSED_FROM, answer, entity_tag, takes_gzip
from support.lanes import KeptLane, inbound

BODY = b'{"a":1}'
LONG = b'{"a":"' + b"x" * COMPRESSED_FROM + b'"}'


def told(body: bytes, headers: Headers = (), *, still: bytes | None = None) -> KeptLane:
    lane = KeptLane()
    answer(inbound("GET", "/internal/status", headers=headers), lane, body, still)
    assert lane.end == "finish"
    return lane


def test_an_answer_says_that_it_may_be_asked_for_again() -> None:
    lane = told(BODY)
    assert (lane.status, lane.length, lane.body) == (200, len(BODY), BODY)
    assert lane.headers == (
        (b"content-type", b"application/json"),
        (b"etag", b'W/"h9qrflrbm18u"'),
        (b"cache-control", b"private, no-cache"),
        (b"vary", b"Accept-Encoding"),
    )


TAG = entity_tag(BODY)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (TAG, 304),
        (TAG.removeprefix(b"W/"), 304),  # made strong by a proxy on the way
        (b'"other", ' + TAG, 304),
        (b"*", 304),
        (b'W/"other"', 200),
        (b"", 200),
        (TAG.strip(b'W/"'), 200),  # no quotes: not a tag
    ],
)
def test_who_has_the_answer_is_told_only_that(asked: bytes, status: int) -> None:
    assert told(BODY, ((b"if-none-match", asked),)).status == status


def test_a_304_is_bare() -> None:
    lane = told(LONG, ((b"if-none-match", b'"x"'), (b"if-none-match", entity_tag(LONG)), (b"accept-encoding", b"gzip")))
    assert (lane.status, lane.length, lane.body) == (304, None, b"")
    assert lane.headers == (
        (b"etag", entity_tag(LONG)),
        (b"cache-control", b"private, no-cache"),
        (b"vary", b"Accept-Encoding"),
    )


def test_what_the_clock_moves_is_not_in_the_tag() -> None:
    one, two = told(b'{"at":1}', still=b'{"at":0}'), told(b'{"at":2}', still=b'{"at":0}')
    assert (one.body, two.body) == (b'{"at":1}', b'{"at":2}')
    assert one.field(b"etag") == two.field(b"etag") != told(b'{"at":1}').field(b"etag")


def test_a_long_body_is_compressed_for_who_can_read_that() -> None:
    plain, packed = told(LONG), told(LONG, ((b"accept-encoding", b"br, gzip"),))
    assert (plain.body, plain.field(b"content-encoding")) == (LONG, None)
    assert (gzip.decompress(packed.body), packed.field(b"content-encoding")) == (LONG, b"gzip")
    assert packed.length == len(packed.body) < len(LONG)
    assert plain.field(b"etag") == packed.field(b"etag")  # weak tags: it is the same answer
    assert plain.field(b"vary") == packed.field(b"vary") == b"Accept-Encoding"


@pytest.mark.parametrize(("size", "packed"), [(COMPRESSED_FROM - 1, False), (COMPRESSED_FROM, True)])
def test_a_short_body_stays_plain(size: int, packed: bool) -> None:
    lane = told(b"x" * size, ((b"accept-encoding", b"gzip"),))
    assert (lane.field(b"content-encoding") == b"gzip") is packed


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        (b"gzip", True),
        (b"GZIP", True),
        (b"deflate, gzip;q=0.5, br", True),
        (b"gzip; q=0", False),
        (b"gzip;q=0.000, *", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"identity", False),
        (b"gzip;q=much", False),
        (b"gzip;level=9", True),
        (b"", False),
    ],
)
def test_accept_encoding_is_read_with_its_weights(accepted: bytes, takes: bool) -> None:
    assert takes_gzip(inbound("GET", "/", headers=((b"accept-encoding", accepted),))) is takes


def test_no_accept_encoding_means_plain() -> None:
    assert not takes_gzip(inbound("GET", "/"))


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_two_bodies_have_two_tags(one: bytes, two: bytes) -> None:
    assert (entity_tag(one) == entity_tag(two)) == (one == two)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_no_header_is_too_odd_to_read(accepted: bytes, tag: bytes) -> None:
    assert told(LONG, ((b"accept-encoding", accepted), (b"if-none-match", tag))).status in (200, 304)
