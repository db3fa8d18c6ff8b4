"""Error answers that repeat what the backend was sent, cut anywhere."""

import pytest

from arriero.backends.http.call import Call, Timeouts
from arriero.backends.http.discreet import HELD_BYTES, worth_hiding
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from support.raw_backend import Peer, RawBackend

KEY = "sk-0123456789abcdef"


def test_what_is_worth_hiding() -> None:
    assert worth_hiding([None, "lab", "EMPTY", KEY, KEY + "-more", KEY]) == (f"{KEY}-more".encode(), KEY.encode())


def playing(status: str, *pieces: bytes) -> RawBackend:
    async def script(peer: Peer) -> None:
        await peer.request()
        fields = f"x-said: {KEY}\r\ncontent-length: {sum(map(len, pieces))}"
        await peer.say(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode())
        for piece in pieces:
            await peer.say(piece)
        await peer.gone()

    return RawBackend(script)


async def answer_of(backend: RawBackend) -> tuple[int, bytes | None, bytes]:
    pool = Pool(Origin.parse(backend.url), timeouts=Timeouts(), secrets=worth_hiding([KEY]))
    head, body = await pool.fetch(Call("POST", "/", body=b"{}"))
    pool.close()
    return head.status, head.get(b"x-said"), body


@pytest.mark.parametrize("cut", [0, 5, 20, 30])
async def test_an_error_answer_loses_the_key(cut: int) -> None:
    said = b'{"error":"bad key ' + KEY.encode() + b'"}'
    async with playing("400 Bad Request", said[:cut], said[cut:]) as backend:
        assert await answer_of(backend) == (400, b"***", b'{"error":"bad key ***"}')


async def test_a_good_answer_is_not_looked_into() -> None:
    async with playing("200 OK", KEY.encode()) as backend:
        assert await answer_of(backend) == (200, KEY.encode(), KEY.encode())


async def test_an_endless_error_is_not_held() -> None:
    async with playing("500 X", *[b"x" * 65536] * 40) as backend:
        _, _, body = await answer_of(backend)
    assert HELD_BYTES <= len(body) <= HELD_BYTES + 65536
