"""Blobs and what is created of them: uploads to one and to several, and the place that is remembered."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from arriero.backends.http.call import Headers
from arriero.gateway.lane import Inbound
from support.fleet import Played, fleet, frames, nobody_listens, scripted, told
from support.gateway import http
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, eventually

DIGEST = f"sha256:{'a' * 64}"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


def upload(digest: str, *data: bytes, to: str | None = None, length: bool = True) -> Inbound:
    fields: Headers = ((b"content-length", b"%d" % sum(map(len, data))),) if length else ()
    fields += () if to is None else ((b"x-arriero-backend", to.encode()),)
    request = inbound("POST", f"/api/blobs/{digest}", headers=fields)
    return msgspec.structs.replace(request, upload=aiter(pieces(*data)))


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


GGUF = digest_of(b"GGUF")


async def test_a_blob_is_streamed_with_its_length() -> None:
    backend = Played(http(b"", status="201 Created"))
    async with fleet(gpu1=backend) as gate:
        lane = await gate.carry(upload(GGUF, b"GG", b"UF"))
    first, head, body = backend.seen[0]
    assert (first, head["content-length"], body) == (f"POST /api/blobs/{GGUF} HTTP/1.1", "4", b"GGUF")
    assert (lane.status, lane.body) == (201, b"")


@pytest.mark.parametrize("length", [True, False])
async def test_an_upload_reaches_all_that_are_named(length: bool) -> None:
    backends = {"gpu1": scripted(), "gpu2": scripted(), "gpu3": scripted()}
    async with fleet(**backends) as gate:
        lane = await gate.carry(upload(GGUF, b"GG", b"UF", to="gpu1,gpu3", length=length))
        assert (lane.status, lane.body, lane.field(b"x-arriero-backend")) == (201, b"", b"gpu1,gpu3")
        assert [backend.desk.blobs for backend in backends.values()] == [{GGUF}, set(), {GGUF}]
        assert (await gate.ask("HEAD", f"/api/blobs/{GGUF}", to="gpu3,gpu1")).status == 200
        assert (await gate.ask("HEAD", f"/api/blobs/{GGUF}", to="*")).status == 404
        assert (await gate.carry(upload(GGUF, b"GGUF", to="gpu1,gpu3"))).status == 200


async def test_an_upload_that_one_target_cannot_take_goes_on_for_the_others() -> None:
    async with fleet(gpu1=scripted(), gpu2=nobody_listens(), gpu3=scripted()) as gate:
        status, text = told(await gate.carry(upload(GGUF, b"GG", b"UF", to="*")))
        assert (status, text.startswith("stored on gpu1, gpu3; gpu2: cannot reach ")) == (502, True)
        assert (await gate.ask("HEAD", f"/api/blobs/{GGUF}", to="gpu1,gpu3")).status == 200
        assert (await gate.ask("HEAD", f"/api/blobs/{GGUF}", to="gpu1,gpu2")).status == 502


async def test_an_upload_goes_as_fast_as_the_slowest_takes_it() -> None:
    go_on, read, piece, number = asyncio.Event(), 0, b"x" * 1024 * 1024, 64
    chunked = number * (len(piece) + len(b"100000\r\n\r\n")) + len(b"0\r\n\r\n")
    taken: dict[str, int] = {}

    async def large() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(number):
            read += 1
            yield piece

    def taking(name: str, *, waits: bool) -> Callable[[Peer], Awaitable[None]]:
        async def take(peer: Peer) -> None:
            if waits:
                await go_on.wait()
            taken[name] = 0
            while taken[name] < chunked:
                taken[name] += len(await peer.reader.read(1 << 20))
            await peer.say(http(b"", status="201 Created"))

        return take

    fast, slow = Played(taking("gpu1", waits=False)), Played(taking("gpu2", waits=True))
    async with fleet(gpu1=fast, gpu2=slow) as gate:
        request = msgspec.structs.replace(upload(GGUF, to="*", length=False), upload=large())
        asking = asyncio.create_task(gate.carry(request))
        await asyncio.sleep(0.3)  # far longer than both would need
        assert 0 < read < number
        go_on.set()
        assert (await asking).status == 201
    assert (read, taken) == (number, {"gpu1": chunked, "gpu2": chunked})


async def test_a_wrong_digest_is_refused_in_the_words_of_all() -> None:
    async with fleet(gpu1=scripted(), gpu2=scripted()) as gate:
        lane = await gate.carry(upload(DIGEST, b"GGUF", to="*"))
    assert told(lane) == (400, f'digest mismatch, expected "{DIGEST}", got "{GGUF}"')


async def test_a_client_that_leaves_in_the_middle_of_its_upload_closes_all() -> None:
    left: list[str] = []
    came: list[bytes] = []

    def taking(name: str) -> Callable[[Peer], Awaitable[None]]:
        async def take(peer: Peer) -> None:
            came.append(await peer.reader.readexactly(7))
            await peer.gone()
            left.append(name)

        return take

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"GG"
            await asyncio.get_running_loop().create_future()
        finally:
            left.append("source")

    async with fleet(gpu1=Played(taking("gpu1")), gpu2=Played(taking("gpu2"))) as gate:
        lane = KeptLane()
        request = msgspec.structs.replace(upload(GGUF, to="gpu1,gpu2", length=False), upload=endless())
        asking = asyncio.create_task(gate.carry(request, lane))
        await eventually(lambda: len(came) == 2)
        lane.leave()
        await asking
        await eventually(lambda: len(left) == 3)
    assert (sorted(left), came, lane.end) == (["gpu1", "gpu2", "source"], [b"2\r\nGG\r\n"] * 2, None)


async def test_create_goes_where_its_blobs_are_although_the_home_has_changed() -> None:
    first, second = scripted(), scripted()
    async with fleet(gpu1=first, gpu2=second) as gate:
        assert (await gate.carry(upload(GGUF, b"GGUF", to="gpu2"))).status == 201
        lane = await gate.ask("POST", "/api/create", {"model": "mine", "files": {"a.gguf": GGUF.replace(":", "-")}})
        assert (frames(lane)[-1], lane.field(b"x-arriero-backend")) == ({"status": "success"}, b"gpu2")
        assert gate.listed == {"mine": ["gpu2"]}
        other = await gate.ask("POST", "/api/create", {"model": "mine2", "files": {"a.gguf": DIGEST}})
        assert other.field(b"x-arriero-backend") == b"gpu1"


async def test_where_the_place_of_its_blobs_is_down_create_is_refused() -> None:
    first = scripted()
    async with fleet(gpu1=first, gpu2=scripted("tiny")) as gate:
        await gate.carry(upload(GGUF, b"GGUF"))
        await first.close()
        await gate.roster.refresh()
        body = {"model": "mine", "adapters": {"a.gguf": GGUF}}
        refused = await gate.ask("POST", "/api/create", body)
        assert refused.field(b"retry-after") == b"5"
        assert told(refused) == (
            503,
            "the files of this model were uploaded to gpu1, which does not answer now: "
            "try again when it is back, or upload them again",
        )
        # Uploaded again it is at the new home, and is created there.
        assert (await gate.carry(upload(GGUF, b"GGUF"))).status == 201
        lane = await gate.ask("POST", "/api/create", {"model": "mine", "files": {"a.gguf": GGUF}})
        assert lane.field(b"x-arriero-backend") == b"gpu2"


async def test_a_blob_that_was_asked_for_and_is_there_counts_as_uploaded() -> None:
    backends = {"gpu1": scripted(), "gpu2": scripted()}
    async with fleet(**backends) as gate:
        backends["gpu2"].desk.blobs.add(GGUF)
        assert (await gate.ask("HEAD", f"/api/blobs/{GGUF}", to="gpu2")).status == 200
        lane = await gate.ask("POST", "/api/create", {"model": "mine", "files": {"a.gguf": GGUF}})
        assert lane.field(b"x-arriero-backend") == b"gpu2"


@pytest.mark.parametrize("name", ["../../admin", f"{DIGEST}/..", f"{DIGEST}?x=y", "sha256:aa", DIGEST + "\n", ".."])
async def test_only_a_digest_stands_behind_blobs(name: str) -> None:
    backend = Played(http(b""))
    async with fleet(gpu1=backend) as gate:
        lane = await gate.ask("POST", f"/api/blobs/{name}", b"x")
    assert told(lane) == (400, "invalid digest format")
    assert backend.seen == []
