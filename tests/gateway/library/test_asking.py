"""One backend that is relayed, several that are heard at once."""

import asyncio
import json
from typing import Any

import pytest

from arriero.backends.http.call import Head
from arriero.dialects import ollama
from arriero.errors import ArrieroError, BackendBroken, BackendFailed
from arriero.gateway.library.asking import Chorus, fetch_each, outcomes_of, relay
from arriero.gateway.library.errand import Errand
from support.fleet import Fleet, Played, fleet, frames
from support.gateway import http, stream
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, eventually

NDJSON = "application/x-ndjson"


def line(**frame: Any) -> bytes:
    return json.dumps(frame).encode() + b"\n"


def errand(gate: Fleet, lane: KeptLane, path: str = "/api/pull") -> Errand:
    return Errand(inbound("POST", path, b"{}"), lane, ollama.DIALECT, gate.roster.entries)


SUCCESS = stream(line(status="success"), type=NDJSON)


async def test_a_relayed_answer_tells_its_head() -> None:
    heads: list[Head] = []
    async with fleet(gpu1=Played(http(b"{}", status="201 Created"))) as gate:
        lane = KeptLane()
        asked = errand(gate, lane)
        await relay(asked, gate.roster.entries["gpu1"].backend, b"{}", lane, on_head=heads.append)
    assert ([head.status for head in heads], lane.status, lane.body, lane.end) == ([201], 201, b"{}", "finish")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(b'{"error":"broken"}', status="500 X"), BackendFailed),
        (b"nothing of HTTP\r\n\r\n", BackendBroken),
    ],
)
async def test_what_fails_before_the_first_byte_is_raised(answer: bytes, kind: type[ArrieroError]) -> None:
    async with fleet(gpu1=Played(answer)) as gate:
        lane = KeptLane()
        with pytest.raises(kind):
            await relay(errand(gate, lane), gate.roster.entries["gpu1"].backend, b"{}", lane)
    assert not lane.started


async def test_each_is_asked_with_its_own_body() -> None:
    first, second = Played(http(b"", status="204 No Content")), Played(http(b'{"error":"no"}', status="409 X"))
    async with fleet(gpu1=first, gpu2=second) as gate:
        asked = errand(gate, KeptLane(), "/api/delete")
        answers = await fetch_each(asked, {"gpu1": b"one", "gpu2": b"two"})
    assert ([body for _, _, body in first.seen], [body for _, _, body in second.seen]) == ([b"one"], [b"two"])
    found = {name: error and (error.status, error.message) for name, error in outcomes_of(answers).items()}
    assert found == {"gpu1": None, "gpu2": (409, "no")}


async def test_a_client_that_does_not_keep_up_holds_all_up() -> None:
    async def chatty(peer: Peer) -> None:
        await peer.say(stream(line(status="one"), type=NDJSON, end=False))
        await more.wait()
        rest = (line(status="two"), line(status="success"))
        await peer.say(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in rest) + b"0\r\n\r\n")
        said.append(True)

    more = asyncio.Event()
    said: list[bool] = []
    async with fleet(gpu1=Played(chatty), gpu2=Played(chatty)) as gate:
        lane = KeptLane()
        chorus = Chorus(errand(gate, lane), "pulled", stream=True)
        running = asyncio.create_task(chorus.run())
        await eventually(lambda: lane.body.count(b"one (gpu") == 2)
        assert lane.on_pause is not None and lane.on_resume is not None
        lane.on_pause()
        more.set()
        await eventually(lambda: len(said) == 2)
        await asyncio.sleep(0.05)  # for what is on its way
        assert b"two" not in lane.body
        lane.on_resume()
        async with asyncio.timeout(5):
            assert await running == {"gpu1": None, "gpu2": None}
        chorus.close()
    assert lane.end == "finish"
    assert frames(lane)[-1] == {"status": "success"}


async def test_one_that_is_reached_while_the_client_waits_is_held_up_too() -> None:
    async with fleet(gpu1=Played(SUCCESS), gpu2=Played(SUCCESS)) as gate:
        lane = KeptLane()
        chorus = Chorus(errand(gate, lane), "pulled", stream=True)
        running = asyncio.create_task(chorus.run())
        await asyncio.sleep(0)
        assert lane.on_pause is not None and lane.on_resume is not None
        lane.on_pause()
        await asyncio.sleep(0.05)
        assert (lane.started, running.done()) == (False, False)
        lane.on_resume()
        async with asyncio.timeout(5):
            await running
        chorus.close()
    assert frames(lane)[-1] == {"status": "success"}


async def test_where_nothing_was_said_the_error_is_raised() -> None:
    no = http(b'{"error":"no"}', status="500 X")
    async with fleet(gpu1=Played(no), gpu2=Played(no)) as gate:
        lane = KeptLane()
        chorus = Chorus(errand(gate, lane), "pulled", stream=True)
        await chorus.run()
        with pytest.raises(ArrieroError, match="pulled nowhere; gpu1: no; gpu2: no"):
            chorus.close()
    assert not lane.started
