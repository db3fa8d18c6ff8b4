"""Library operations over a fleet: who is asked, what comes back, and what the listings show afterwards."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from arriero.backends.scripted.script import Play, Rule, When
from arriero.gateway.door import Door
from support.fleet import Played, fleet, frames, nobody_listens, scripted, told
from support.gateway import http, stream
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, RawBackend, eventually

DIGEST = f"sha256:{'a' * 64}"
LAYER = {"status": "pulling aaaaaaaaaaaa", "digest": DIGEST, "total": 100}
NDJSON = "application/x-ndjson"


def line(**frame: Any) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


SUCCESS = b'{"status":"success"}'
PULLED = (line(status="pulling manifest"), line(**LAYER, completed=100), line(status="success"))


def pulled() -> Played:
    """A backend that pulls anything at once."""
    return Played(stream(*PULLED, type=NDJSON))


def tags(*names: str) -> bytes:
    return json.dumps({"models": [{"name": name, "model": name} for name in names]}).encode()


# ---- the home, and who else is named -------------------------------------------------------------------------------


async def test_a_pull_at_the_home_is_relayed_untouched() -> None:
    home, other = pulled(), pulled()
    async with fleet(gpu1=home, gpu2=other) as gate:
        lane = await gate.ask("POST", "/api/pull", b'{"model" : "tiny", "insecure":false}')
    assert [(first, body) for first, _, body in home.seen] == [
        ("POST /api/pull HTTP/1.1", b'{"model" : "tiny", "insecure":false}')
    ]
    assert other.seen == []
    assert (lane.status, lane.body, lane.end) == (200, b"".join(PULLED), "finish")
    assert (lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-request-id")) == (b"gpu1", b"req1")


async def test_the_home_is_the_first_that_is_well() -> None:
    home = scripted("tiny")
    async with fleet(gpu1=nobody_listens(), gpu2=home, gpu3=scripted()) as gate:
        lane = await gate.pull("new")
        assert (frames(lane)[-1], lane.field(b"x-arriero-backend")) == ({"status": "success"}, b"gpu2")
        assert gate.listed == {"tiny": ["gpu2"], "new": ["gpu2"]}


async def test_where_nobody_is_well_the_first_is_asked_and_says_why_not() -> None:
    async with fleet(gpu1=nobody_listens(), gpu2=nobody_listens()) as gate:
        lane = await gate.pull("new")
    assert lane.status == 503
    assert "cannot reach" in told(lane)[1]
    assert lane.field(b"x-arriero-backend") == b"gpu1"


async def test_the_header_names_another_one() -> None:
    async with fleet(gpu1=scripted(), gpu2=scripted()) as gate:
        lane = await gate.pull("new", to=" gpu2 ")
        assert lane.field(b"x-arriero-backend") == b"gpu2"
        assert gate.listed == {"new": ["gpu2"]}


async def test_one_that_is_named_twice_is_asked_once() -> None:
    home = pulled()
    async with fleet(gpu1=home, gpu2=pulled()) as gate:
        lane = await gate.pull("tiny", to="gpu1,gpu1, gpu1")
    assert (len(home.seen), lane.body) == (1, b"".join(PULLED))


@pytest.mark.parametrize("name", ["gpu9", "vllm", "gpu1,gpu9"])
async def test_a_name_that_nobody_has_is_answered_with_those_there_are(name: str) -> None:
    home = pulled()
    async with fleet(gpu1=home, gpu2=pulled(), vllm=Played(http(b"{}"), kind="openai")) as gate:
        lane = await gate.pull("tiny", to=name)
    unknown = name.rpartition(",")[2]
    assert told(lane) == (404, f"no backend named '{unknown}' manages models; these do: gpu1, gpu2")
    assert home.seen == []


@pytest.mark.parametrize("path", ["/api/pull", "/api/push", "/api/create", "/api/copy", f"/api/blobs/{DIGEST}"])
async def test_without_a_backend_that_manages_models_it_is_501_and_says_what_to_do(path: str) -> None:
    async with fleet(vllm=Played(http(b"{}"), kind="openai")) as gate:
        lane = await gate.ask("POST", path, {"model": "tiny"}, to="gpu1")
    answer = json.loads(lane.body)
    assert (lane.status, answer["type"]) == (501, "not_implemented")
    assert f"{path} needs one of kind ollama, or of kind engine" in answer["error"]


@pytest.mark.parametrize("others", [{}, {"gpu1": pulled}], ids=["nobody manages models", "another one does"])
async def test_what_is_served_by_one_that_manages_no_models_need_not_be_pulled(others: Any) -> None:
    managing = {name: make() for name, make in others.items()}
    async with fleet(vllm=Played(http(b"{}"), kind="openai"), **managing) as gate:
        lane, whole = await gate.pull("GPT-x"), await gate.pull("gpt-x:latest", stream=False)
    first, layer, *rest = frames(lane)
    assert (first, [frame["status"] for frame in rest]) == (
        {"status": "pulling manifest"},
        ["verifying sha256 digest", "writing manifest", "success"],
    )
    assert layer["status"] == f"pulling {layer['digest'][7:19]}"
    assert layer["completed"] == layer["total"] > 0
    assert (whole.status, whole.body, whole.field(b"content-type")) == (
        200,
        b'{"status":"success"}',
        b"application/json",
    )
    assert [backend.seen for backend in managing.values()] == [[] for _ in managing]


async def test_what_is_served_by_a_backend_that_manages_models_is_pulled() -> None:
    vllm = Played(http(b"{}"), kind="openai", models=b'{"data":[{"id":"tiny"}]}')
    async with fleet(gpu1=scripted("tiny"), vllm=vllm) as gate:
        lane = await gate.pull("tiny")
    assert (frames(lane)[-1], lane.field(b"x-arriero-backend")) == ({"status": "success"}, b"gpu1")


async def test_a_door_reaches_only_those_behind_it() -> None:
    async with fleet(gpu1=scripted("tiny")) as gate:
        request = inbound("POST", "/api/pull", b'{"model":"tiny"}')
        lane = await gate.carry(msgspec.structs.replace(request, door=Door("/olla/vllm", "vllm", olla=True)))
    assert lane.status == 501


async def test_a_model_is_made_where_the_one_is_that_it_is_made_of() -> None:
    gpu1, gpu2 = Played(http(SUCCESS), models=tags()), Played(http(SUCCESS))
    async with fleet({"best": ["tiny"]}, gpu1=gpu1, gpu2=gpu2) as gate:
        for base in ("tiny", "BEST"):
            lane = await gate.ask("POST", "/api/create", {"model": "mine", "from": base, "stream": False})
            assert (lane.status, lane.field(b"x-arriero-backend")) == (200, b"gpu2")
        lane = await gate.ask("POST", "/api/create", {"model": "mine", "from": "else", "stream": False})
        assert (lane.status, lane.field(b"x-arriero-backend")) == (200, b"gpu1")
        # Those that are named are asked; an alias means nothing to them where they have nothing behind it.
        await gate.ask("POST", "/api/create", {"model": "mine", "from": "best", "stream": False}, to="gpu1")
    assert [json.loads(body)["from"] for _, _, body in gpu2.seen] == ["tiny", "tiny:latest"]
    assert [json.loads(body)["from"] for _, _, body in gpu1.seen] == ["else", "best"]


# ---- several at once -----------------------------------------------------------------------------------------------


async def test_several_are_asked_at_once_and_told_as_one() -> None:
    async with fleet(gpu1=pulled(), gpu2=pulled(), gpu3=pulled()) as gate:
        lane = await gate.pull("tiny", to="*")
    said = frames(lane)
    bar = [frame for frame in said if "digest" in frame]
    assert (lane.status, lane.end, lane.field(b"content-type")) == (200, "finish", b"application/x-ndjson")
    assert lane.field(b"x-arriero-backend") == b"gpu1,gpu2,gpu3"
    assert {frame["total"] for frame in bar} == {300}
    assert [frame["completed"] for frame in bar] == [100, 200, 300]
    assert sorted(frame["status"] for frame in said if "digest" not in frame) == [
        *(f"finished (gpu{number})" for number in (1, 2, 3)),
        *(f"pulling manifest (gpu{number})" for number in (1, 2, 3)),
        "success",
    ]
    assert said[-1] == {"status": "success"}


async def test_one_whole_answer_where_no_stream_is_wanted() -> None:
    async with fleet(gpu1=scripted(), gpu2=scripted()) as gate:
        lane = await gate.pull("new", to="gpu2,gpu1", stream=False)
        assert (lane.status, lane.body, lane.length) == (200, b'{"status":"success"}', 20)
        assert lane.field(b"content-type") == b"application/json"
        assert gate.listed == {"new": ["gpu1", "gpu2"]}


async def test_one_of_two_fails_in_its_answer() -> None:
    fails = Rule(Play(error="no space left on device"), When(path="/api/pull"))
    async with fleet(gpu1=scripted(), gpu2=scripted(rules=(fails,))) as gate:
        lane = await gate.pull("new", to="*")
        assert {"status": "failed (gpu2): no space left on device"} in frames(lane)
        assert frames(lane)[-1] == {"error": "pulled on gpu1; gpu2: no space left on device"}
        assert gate.listed == {"new": ["gpu1"]}
        whole = await gate.pull("other", to="*", stream=False)
    assert told(whole) == (502, "pulled on gpu1; gpu2: no space left on device")


async def test_one_of_two_is_away() -> None:
    async with fleet(gpu1=nobody_listens(), gpu2=scripted()) as gate:
        lane = await gate.pull("new", to="*")
    last = frames(lane)[-1]["error"]
    assert last.startswith("pulled on gpu2; gpu1: cannot reach http://127.0.0.1:")
    assert sum("success" in frame.values() for frame in frames(lane)) == 0


async def test_what_all_refuse_in_the_same_words_is_refused_in_these() -> None:
    refusal = http(b'{"error":"pull is switched off here"}', status="403 Forbidden")
    other = http(b'{"error":"invalid model name"}', status="400 Bad Request")
    async with fleet(gpu1=Played(other), gpu2=Played(other)) as gate:
        assert told(await gate.pull("tiny", to="*")) == (400, "invalid model name")
    async with fleet(gpu1=Played(refusal), gpu2=Played(other)) as gate:
        status, text = told(await gate.pull("tiny", to="*"))
    assert (status, text.startswith("pulled nowhere; gpu1: "), text.endswith("; gpu2: invalid model name")) == (
        502,
        True,
        True,
    )


async def test_a_target_dies_in_the_middle() -> None:
    dying = Played(stream(*PULLED[:2], type=NDJSON, end=False))
    async with fleet(gpu1=pulled(), gpu2=dying) as gate:
        lane = await gate.pull("tiny", to="*")
    assert (lane.status, lane.end) == (200, "finish")
    assert frames(lane)[-1] == {"error": "pulled on gpu1; gpu2: closed the connection in the middle of its answer"}


async def test_an_answer_that_ends_without_success_has_not_succeeded() -> None:
    async with fleet(gpu1=pulled(), gpu2=Played(stream(*PULLED[:2], type=NDJSON))) as gate:
        lane = await gate.pull("tiny", to="*")
    assert frames(lane)[-1] == {"error": "pulled on gpu1; gpu2: its answer ended before it said success"}


async def test_one_of_two_is_slow() -> None:
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.say(stream(*PULLED[:1], type=NDJSON, end=False))
        await go_on.wait()
        rest = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PULLED[1:])
        await peer.say(rest + b"0\r\n\r\n")

    async with fleet(gpu1=pulled(), gpu2=Played(slow)) as gate:
        lane = KeptLane()
        request = inbound("POST", "/api/pull", b'{"model":"tiny"}', headers=((b"x-arriero-backend", b"*"),))
        asking = asyncio.create_task(gate.carry(request, lane))
        await eventually(lambda: b"finished (gpu1)" in lane.body)
        assert (lane.end, b'"success"' in lane.body) == (None, False)
        go_on.set()
        await asking
    assert frames(lane)[-1] == {"status": "success"}


async def test_a_client_that_leaves_takes_all_its_calls_with_it() -> None:
    left: list[bytes] = []

    async def stalled(peer: Peer) -> None:
        await peer.say(stream(PULLED[0], type=NDJSON, end=False))
        left.append(await peer.gone())

    async with fleet(gpu1=Played(stalled), gpu2=Played(stalled)) as gate:
        lane = KeptLane()
        request = inbound("POST", "/api/pull", b'{"model":"tiny"}', headers=((b"x-arriero-backend", b"*"),))
        asking = asyncio.create_task(gate.carry(request, lane))
        await eventually(lambda: lane.body.count(b"pulling manifest") == 2)
        lane.leave()
        await asking
        await eventually(lambda: len(left) == 2)
    assert (left, lane.end) == ([b"", b""], None)


async def test_no_key_is_repeated_in_what_is_merged() -> None:
    talkative = stream(line(status="asking with sk-secret-gpu2"), line(error="bad key sk-secret-gpu2"), type=NDJSON)
    async with fleet(gpu1=pulled(), gpu2=Played(talkative)) as gate:
        lane = await gate.pull("tiny", to="*")
    assert b"sk-secret" not in lane.body
    assert frames(lane)[-1] == {"error": "pulled on gpu1; gpu2: bad key ***"}


# ---- one target, in detail -----------------------------------------------------------------------------------------


async def test_a_refusal_keeps_the_backends_words() -> None:
    said = b'{"error":"pull is not for you","code":7}'
    async with fleet(gpu1=Played(http(said, status="400 Bad Request"))) as gate:
        lane = await gate.pull("x")
    assert (lane.status, lane.body) == (400, said)


async def test_a_cut_in_the_middle_is_told() -> None:
    async with fleet(gpu1=Played(stream(*PULLED[:1], type=NDJSON, end=False))) as gate:
        lane = await gate.pull("tiny")
    first, last = frames(lane)
    assert (first, list(last)) == ({"status": "pulling manifest"}, ["error"])


async def test_a_whole_answer_that_is_cut_is_an_error() -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{" + b'"status"'

    async def half(peer: Peer) -> None:
        await peer.say(cut)

    async with fleet(gpu1=Played(half)) as gate:
        lane = await gate.pull("tiny", stream=False)
    assert told(lane) == (502, "gpu1 closed the connection in the middle of its answer")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/api/pull", b"", 400, "missing request body"),
        ("POST", "/api/pull", b"tiny", 400, "invalid character 'i' in literal true (expecting 'r')"),
        ("POST", "/api/pull", b"{}", 400, "invalid model name"),
        ("POST", "/api/pull", b'{"model":"../../etc/passwd"}', 400, "invalid model name"),
        ("POST", "/api/pull", b'{"model":"a/../b"}', 400, "invalid model name"),
        ("POST", "/api/push", b"{}", 400, "model is required"),
        ("POST", "/api/create", b'{"model":" "}', 400, "invalid model name"),
        ("POST", "/api/copy", b'{"destination":"b"}', 400, 'source "" is invalid'),
        ("POST", "/api/copy", b'{"source":"tiny","destination":"../b"}', 400, 'destination "../b" is invalid'),
        ("POST", "/api/copy", b'{"source":"nope","destination":"b"}', 404, 'model "nope" not found'),
        ("POST", "/api/copy", b'{"source":"no pe","destination":"b"}', 400, 'source "no pe" is invalid'),
        ("DELETE", "/api/delete", b"[1]", 400, "json: cannot unmarshal array into Go value of type api.DeleteRequest"),
        ("DELETE", "/api/delete", b"null", 400, "model is required"),
        ("DELETE", "/api/delete", b'{"model":"nope:1b"}', 404, "model 'nope:1b' not found"),
        ("DELETE", "/api/delete", b'{"model":"a//b"}', 400, 'name "a//b" is invalid'),
    ],
)
async def test_bad_input_is_refused_in_ollamas_words(
    method: str, path: str, body: bytes, status: int, error: str
) -> None:
    backend = pulled()
    async with fleet(gpu1=backend) as gate:
        lane = await gate.ask(method, path, body)
    assert told(lane) == (status, error)
    assert backend.seen == []


# ---- delete and copy -----------------------------------------------------------------------------------------------


async def test_delete_goes_to_everybody_who_has_it_and_the_listing_shows_it() -> None:
    backends = {"gpu1": scripted("tiny", "other"), "gpu2": scripted("other"), "gpu3": scripted("TINY:latest")}
    async with fleet(**backends) as gate:
        lane = await gate.delete("tiny")
        assert (lane.status, lane.body, lane.field(b"x-arriero-backend")) == (200, b"", b"gpu1,gpu3")
        assert gate.listed == {"other": ["gpu1", "gpu2"]}
    asked = [
        [request.body for request in backend.requests if request.path == "/api/delete"] for backend in backends.values()
    ]
    assert asked == [[b'{"model": "tiny:latest"}'], [], [b'{"model": "TINY:latest"}']]


async def test_delete_leaves_the_rest_of_the_body_alone_and_replaces_every_spelling() -> None:
    backend = Played(http(b""), models=tags("acme/tiny:7b"))
    async with fleet(gpu1=backend) as gate:
        lane = await gate.ask("DELETE", "/api/delete", b'{"Model":"gpu1/tiny:7b", "x": [1],"name":"x", "model":null}')
        assert lane.status == 200
    assert backend.seen[0][2] == b'{"Model":"acme/tiny:7b", "x": [1],"name":"acme/tiny:7b", "model":"acme/tiny:7b"}'


async def test_the_header_narrows_a_delete() -> None:
    async with fleet(gpu1=scripted("tiny"), gpu2=scripted("tiny"), gpu3=scripted("other")) as gate:
        assert (await gate.delete("tiny", to="gpu2")).status == 200
        assert gate.listed == {"tiny": ["gpu1"], "other": ["gpu3"]}
        assert told(await gate.delete("tiny", to="gpu2,gpu3")) == (
            404,
            "model 'tiny' not found on gpu2, gpu3, but on gpu1",
        )
        assert gate.listed == {"tiny": ["gpu1"], "other": ["gpu3"]}


async def test_one_who_does_not_have_it_any_more_spoils_nothing() -> None:
    gone = Played(http(b'{"error":"model \'tiny\' not found"}', status="404 Not Found"))
    async with fleet(gpu1=gone, gpu2=scripted("tiny")) as gate:
        assert (await gate.delete("tiny")).status == 200
    async with fleet(gpu1=gone) as gate:
        assert told(await gate.delete("TINY")) == (404, "model 'TINY' not found")
        assert told(await gate.copy("tiny", "b")) == (404, 'model "tiny" not found')


async def test_who_failed_and_who_did_it_are_named() -> None:
    broken = Played(http(b'{"error":"disk is read-only"}', status="500 X"))
    async with fleet(gpu1=scripted("tiny"), gpu2=broken, gpu3=scripted("tiny")) as gate:
        assert told(await gate.delete("tiny")) == (502, "deleted on gpu1, gpu3; gpu2: disk is read-only")
        assert gate.listed == {"tiny": ["gpu2"]}
        assert told(await gate.delete("tiny")) == (502, "deleted nowhere; gpu2: disk is read-only")


async def test_one_that_is_known_to_be_offline_cannot_delete() -> None:
    away = scripted("tiny")
    async with fleet(gpu1=scripted("tiny"), gpu2=away) as gate:
        await away.close()
        await gate.roster.refresh()
        status, text = told(await gate.delete("tiny"))
        assert status == 502
        assert text.startswith("deleted on gpu1; gpu2: it is offline (cannot reach http://127.0.0.1:")
        assert gate.listed == {"tiny": ["gpu2"]}


async def test_one_that_is_offline_and_not_meant_does_not_matter() -> None:
    away = scripted("tiny")
    async with fleet(gpu1=scripted("tiny"), gpu2=away) as gate:
        await away.close()
        await gate.roster.refresh()
        assert (await gate.delete("tiny", to="gpu1")).status == 200


async def test_what_only_others_have_cannot_be_deleted() -> None:
    async with fleet(gpu1=scripted("tiny"), vllm=Played(http(b"{}"), kind="openai")) as gate:
        lane = await gate.delete("gpt-x")
    assert told(lane) == (
        501,
        "'gpt-x' is on vllm only, where models are not managed: /api/delete needs a backend of kind ollama or engine "
        "that has it",
    )
    assert json.loads(lane.body)["type"] == "not_implemented"


async def test_what_another_server_has_as_well_is_deleted_where_it_can_be() -> None:
    vllm = Played(http(b"{}"), kind="openai", models=b'{"data":[{"id":"tiny"}]}')
    async with fleet(gpu1=scripted("tiny"), vllm=vllm) as gate:
        assert (await gate.delete("tiny")).status == 200
        assert gate.listed == {"tiny": ["vllm"]}
    assert vllm.seen == []


async def test_an_alias_is_copied_but_not_deleted() -> None:
    async with fleet({"fast": ["tiny", "other"]}, gpu1=scripted("other", "tiny"), gpu2=scripted("tiny")) as gate:
        assert told(await gate.delete("fast")) == (
            400,
            "'fast' is an alias of tiny:latest: delete the model by its own name, "
            "or take the alias out of the configuration",
        )
        assert told(await gate.delete("fast:latest"))[0] == 400
        assert (await gate.copy("fast", "mine")).status == 200
        assert gate.listed == {"other": ["gpu1"], "tiny": ["gpu1", "gpu2"], "mine": ["gpu1", "gpu2"]}


async def test_copy_goes_to_everybody_who_has_the_source() -> None:
    backends = {"gpu1": scripted("tiny"), "gpu2": scripted("other"), "gpu3": scripted("tiny")}
    async with fleet(**backends) as gate:
        lane = await gate.copy("tiny", "mine")
        assert (lane.status, lane.body) == (200, b"")
        assert gate.listed == {"tiny": ["gpu1", "gpu3"], "mine": ["gpu1", "gpu3"], "other": ["gpu2"]}


async def test_a_copy_onto_itself_is_nothing() -> None:
    backend = pulled()
    async with fleet(gpu1=backend) as gate:
        assert (await gate.copy("nope", "NOPE:latest")).status == 200
    assert backend.seen == []


async def test_an_ambiguous_name_deletes_nothing() -> None:
    async with fleet(gpu1=scripted("tiny:1b", "tiny:2b")) as gate:
        status, text = told(await gate.delete("tiny"))
        assert (status, "ambiguous" in text) == (404, True)
        assert gate.listed == {"tiny:1b": ["gpu1"], "tiny:2b": ["gpu1"]}


async def test_the_listing_is_right_although_a_question_was_on_its_way() -> None:
    # That question was put before the deletion, and its answer knows nothing of it.
    models = ["tiny:latest"]
    slow, asked, deleted, go_on = False, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(peer: Peer) -> None:
        nonlocal slow
        while True:
            request, body = await peer.request(), b""
            if request.startswith(b"GET /api/tags"):
                body = tags(*models)
                if slow:
                    slow = False
                    asked.set()
                    await go_on.wait()
            elif request.startswith(b"DELETE"):
                models.clear()
                deleted.set()
            else:
                body = tags()  # /api/ps
            await peer.say(http(body))

    async with fleet(gpu1=RawBackend(serve)) as gate:
        slow = True
        early = asyncio.create_task(gate.roster.refresh())
        await asked.wait()
        deleting = asyncio.create_task(gate.delete("tiny"))
        await deleted.wait()
        go_on.set()
        assert (await deleting).status == 200
        assert gate.listed == {}
        await early


# ---- push ----------------------------------------------------------------------------------------------------------


async def test_push_goes_to_the_first_who_is_well_and_has_it() -> None:
    backends = {"gpu1": scripted("other"), "gpu2": scripted("me/tiny"), "gpu3": scripted("me/tiny")}
    async with fleet(**backends) as gate:
        lane = await gate.ask("POST", "/api/push", {"name": "tiny"})
        assert (frames(lane)[-1], lane.field(b"x-arriero-backend")) == ({"status": "success"}, b"gpu2")
        assert backends["gpu2"].requests[-1].body == b'{"name": "me/tiny:latest"}'
        lane = await gate.ask("POST", "/api/push", {"model": "me/tiny"}, to="gpu3,gpu1")
        assert lane.field(b"x-arriero-backend") == b"gpu3"


async def test_an_unknown_model_is_refused_by_the_home_as_it_does_that() -> None:
    home = Played(stream(line(status="retrieving manifest"), line(error="no such file"), type=NDJSON))
    async with fleet(gpu1=home) as gate:
        lane = await gate.ask("POST", "/api/push", {"model": "nope"})
    assert (lane.status, frames(lane)) == (200, [{"status": "retrieving manifest"}, {"error": "no such file"}])
