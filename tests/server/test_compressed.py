"""Bodies that came compressed."""

import pytest
import zstandard

from arriero.errors import BadRequest, PayloadTooLarge
from arriero.server.compressed import decompressed
from support.lanes import inbound

TEXT = b'{"model":"tiny"}' * 100
ZSTD = ((b"content-encoding", b"zstd"),)


def test_zstd_is_understood() -> None:
    request = inbound("POST", "/v1/responses", zstandard.compress(TEXT), headers=ZSTD)
    assert decompressed(request, 10_000).body == TEXT


def test_identity_is_the_same_request() -> None:
    request = inbound("POST", "/v1/responses", TEXT, headers=((b"content-encoding", b"identity"),))
    assert decompressed(request, 10) is request


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstandard.compress(b"\0" * 50_000_000)
    with pytest.raises(PayloadTooLarge, match="larger than 1000000 bytes"):
        decompressed(inbound("POST", "/v1/responses", bomb, headers=ZSTD), 1_000_000)


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        (b"zstd", b"not zstd at all", "the body is not zstd, as its Content-Encoding says"),
        (b"gzip", TEXT, "Content-Encoding gzip is not understood: send the body plain, or as zstd"),
    ],
)
def test_what_cannot_be_read_is_a_bad_request(encoding: bytes, body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        decompressed(inbound("POST", "/v1/responses", body, headers=((b"content-encoding", encoding),)), 1_000_000)
