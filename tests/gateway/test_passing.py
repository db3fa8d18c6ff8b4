"""Paths that arriero has no words for: what goes out, what comes back, and what is never sent twice."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import arriero
from arriero.backends.base import Want
from arriero.backends.http.call import Headers, Timeouts
from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.compose import DIALECTS
from arriero.dialects.profiles import profile_of
from arriero.errors import BadRequest, ModelNotFound, NotFound, NotImplementedHere
from arriero.gateway.choice import Retrying, Routing
from arriero.gateway.door import Door
from arriero.gateway.entry import Seat
from arriero.gateway.passing import Passing, check_path, model_of, target
from arriero.gateway.queue import Queue
from arriero.routing.breaker import Phase, phase
from arriero.routing.fleet import State
from support.gateway import Gateway, Played, gateway, http, stream
from support.lanes import KeptLane, inbound
from support.raw_backend import Peer, eventually

AGENT = b"arriero/" + arriero.__version__.encode()
OK = http(b'{"ok":true}')
BOTH = b'{"object":"list","data":[{"id":"gpt-x"},{"id":"acme/big"}]}'
JSON: Headers = ((b"content-type", b"application/json"),)


def played(name: str, *answers: Any, kind: str = "openai", models: bytes | None = None) -> Played:
    return Played(kind, *(answers or (OK,)), name=name, models=models)


def first_then(count: int) -> list[Seat]:
    return [Seat(priority=100 - number, check_interval=0) for number in range(count)]


async def carried(
    gate: Gateway,
    method: str,
    path: str,
    body: Any = b"",
    *,
    headers: Headers = (),
    query: bytes = b"",
    door: Door | None = None,
    dialect: str = "openai",
    lane: KeptLane | None = None,
    **passing: Any,
) -> KeptLane:
    """The whole answer of one request."""
    lane = lane or KeptLane()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = inbound(method, path, raw, headers=headers, query=query)
    request = replace(request, door=door) if door is not None else request
    async with asyncio.timeout(5):
        await Passing(gate.roster, passing.pop("routing", Routing()), DIALECTS[dialect], **passing).run(request, lane)
    return lane


def by(lane: KeptLane) -> tuple[int | None, bytes | None, bytes | None]:
    return lane.status, lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-attempts")


def error_of(lane: KeptLane) -> str:
    said: str = json.loads(lane.body)["error"]["message"]
    return said


# ---- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/..", "/.", "/../x", "/v1/../x", "/v1/..", "/a/./b", "/a/..\\b", "\\..\\x", "/v1\\..\\admin"]
)
def test_nothing_leads_out_of_the_base(path: str) -> None:
    with pytest.raises(BadRequest, match="the path must not hold"):
        check_path(path)


@pytest.mark.parametrize("path", ["/", "/v1/rerank", "/a..b/...", "/.well-known/x", "/%2e%2e/x", "//x", "/a/b/"])
def test_ordinary_paths(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize("path", ["/_scripted", "/_scripted/play", "/_scripted/fault/hang"])
def test_the_commands_of_a_scripted_backend_are_not_there(path: str) -> None:
    with pytest.raises(NotFound):
        check_path(path)


def _target(url: str, path: str, query: bytes = b"", *, kind: str = "openai") -> str:
    made = RemoteSettings(name="x", url=url, profile=profile_of("ollama" if kind == "ollama" else "generic"))
    backend = Ollama(made) if kind == "ollama" else OpenAI(made)
    return target(backend, backend.at_hand(Want("m")), inbound("GET", path, query=query))


@pytest.mark.parametrize(
    ("url", "path", "asked"),
    [
        ("http://h/v1", "/v1/rerank", "/v1/rerank"),
        ("http://h/openai/v1", "/v1/rerank", "/openai/v1/rerank"),
        ("http://h", "/v1/rerank", "/rerank"),
        ("http://h/v1", "/tokenize", "/tokenize"),
        ("http://h/openai/v1", "/tokenize", "/openai/tokenize"),
        ("http://h/v1", "/", "/"),
        ("http://h/v1", "/v1", "/v1"),
        ("http://h/v1", "/v1beta/x", "/v1beta/x"),
        ("http://h/v1", "/a b/ä/%2e?#", "/a%20b/%C3%A4/%252e%3F%23"),
        ("http://h/v1", "/x\r\ny: z\0", "/x%0D%0Ay:%20z%00"),
        ("http://h/v1", "/v1/models/openai/gpt-4o:free", "/v1/models/openai/gpt-4o:free"),
    ],
)
def test_what_an_openai_server_is_asked_for(url: str, path: str, asked: str) -> None:
    assert _target(url, path) == asked


@pytest.mark.parametrize(
    ("url", "path", "asked"),
    [
        ("http://h", "/api/new", "/api/new"),
        ("http://h/base", "/api/new", "/base/api/new"),
        ("http://h/base", "/v1/rerank", "/base/v1/rerank"),
        ("http://h", "/", "/"),
    ],
)
def test_what_an_ollama_server_is_asked_for(url: str, path: str, asked: str) -> None:
    assert _target(url, path, kind="ollama") == asked


@pytest.mark.parametrize("query", [b"a=1&a=2", b"q=%20+%2F..", b"", b"x"])
def test_the_query_stays_as_it_came(query: bytes) -> None:
    assert _target("http://h/v1", "/tokenize", query) == "/tokenize" + ("?" + query.decode() if query else "")


@given(st.text().map(lambda text: "/" + text), st.sampled_from(["http://h/base/v1", "http://h/base"]))
def test_whatever_the_path_is_it_stays_under_the_base(path: str, url: str) -> None:
    try:
        check_path(path)
        asked = _target(url, path, kind="ollama" if url.endswith("base") else "openai")
    except (BadRequest, NotFound):
        return
    assert asked.startswith("/base")
    assert not {"..", "."} & set(asked.split("?")[0].split("/"))
    assert asked.isascii() and asked.isprintable() and " " not in asked


# ---- models --------------------------------------------------------------------------------------------------------

FORM = (
    b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b'RIFF\r\n--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\nacme/big\r\n--xx--\r\n'
)
FORM_TYPE: Headers = ((b"content-type", b"multipart/form-data; boundary=xx"),)


@pytest.mark.parametrize(
    ("headers", "body", "model"),
    [
        (JSON, b'{"model":"m"}', "m"),
        ((), b'{"a":1,"model":"m"}', "m"),
        (JSON, b'{"model":null}', None),
        (JSON, b'{"model":7}', None),
        (JSON, b"[]", None),
        (JSON, b"", None),
        (JSON, b"not json", None),
        (JSON, b'{"model":"m"', None),
        (FORM_TYPE, FORM, "acme/big"),
        (((b"content-type", b"Multipart/Form-Data; boundary=xx"),), FORM, "acme/big"),
        (FORM_TYPE, FORM.replace(b'"model"', b"model"), "acme/big"),
        (FORM_TYPE, FORM.replace(b'name="model"', b'name="model_id"'), None),
        (FORM_TYPE, FORM.replace(b'name="model"\r\n', b'name="model"\r\nContent-Type: text/plain\r\n'), "acme/big"),
        (FORM_TYPE, FORM.replace(b"acme/big", b"x" * 600), None),
        (FORM_TYPE, b'{"model":"m"}', None),
        (FORM_TYPE, b"", None),
    ],
)
def test_the_model_that_a_body_names(headers: Headers, body: bytes, model: str | None) -> None:
    assert model_of(inbound("POST", "/v1/x", body, headers=headers)) == model


async def test_the_model_decides_who_is_asked() -> None:
    one, two = played("one"), played("two", models=BOTH)
    async with gateway(one, two) as gate:
        lane = await carried(gate, "POST", "/v1/rerank", {"model": "acme/big", "query": "q"})
        form = await carried(gate, "POST", "/v1/audio/transcriptions", FORM, headers=FORM_TYPE)
    assert (by(lane), by(form), one.seen) == ((200, b"two", b"1"), (200, b"two", b"1"), [])
    assert (two.seen[0][0], json.loads(two.seen[0][2])) == (
        "POST /v1/rerank HTTP/1.1",
        {"model": "acme/big", "query": "q"},
    )
    assert (two.seen[1][2], two.seen[1][1]["content-type"]) == (FORM, "multipart/form-data; boundary=xx")


async def test_another_name_of_the_model_is_put_in_and_taken_back() -> None:
    answer = http(b'{"model":"acme/big","results":[]}')
    body = b'{ "query":"q", "model" : "rank",  "n":1.0 }'
    backend = played("one", answer, models=BOTH)
    async with gateway(backend, aliases={"rank": ["acme/big"]}) as gate:
        lane = await carried(gate, "POST", "/v1/rerank", body)
    assert backend.seen[0][2] == body.replace(b'"rank"', b'"acme/big"')
    assert (lane.body, lane.field(b"x-arriero-model")) == (b'{"model":"rank","results":[]}', b"acme/big")


async def test_a_form_keeps_the_name_that_was_typed() -> None:
    body = FORM.replace(b"acme/big", b"rank")
    backend = played("one", http(b"RIFF", type="audio/wav"), models=BOTH)
    async with gateway(backend, aliases={"rank": ["acme/big"]}) as gate:
        lane = await carried(gate, "POST", "/v1/audio/x", body, headers=FORM_TYPE)
    assert (backend.seen[0][2], lane.body) == (body, b"RIFF")


async def test_without_a_model_anybody_behind_the_door_will_do() -> None:
    openai, ollama = played("one"), played("two", kind="ollama")
    async with gateway(openai, ollama) as gate:
        lane = await carried(gate, "GET", "/api/anything", door=Door("/olla/ollama", "ollama", olla=True))
        front = [await carried(gate, "GET", "/tokenize") for _ in range(2)]
    assert by(lane) == (200, b"two", b"1")
    assert lane.field(b"x-arriero-model") is None
    assert sorted(by(each)[1] or b"" for each in front) == [b"one", b"two"]


async def test_the_provider_that_the_client_prefers_comes_first_and_its_name_stays_here() -> None:
    one, two = played("one", models=BOTH), played("two", models=BOTH)
    prefers: Headers = ((b"x-provider", b"two"),)
    async with gateway(one, two) as gate:
        lane = await carried(gate, "POST", "/v1/rerank", {"model": "acme/big"}, headers=prefers)
        bare = await carried(gate, "GET", "/tokenize", headers=prefers)
    assert (by(lane), by(bare), one.seen) == ((200, b"two", b"1"), (200, b"two", b"1"), [])
    assert [head.get("x-provider") for _, head, _ in two.seen] == [None, None]


async def test_nobody_is_behind_the_door() -> None:
    async with gateway(played("one")) as gate:
        lane = await carried(gate, "GET", "/x", door=Door("/olla/ollama", "ollama", olla=True))
    assert (lane.status, lane.field(b"x-arriero-backend")) == (503, None)


async def test_an_unknown_model_is_told_in_the_doors_dialect() -> None:
    async with gateway(played("one")) as gate:
        openai = await carried(gate, "POST", "/v1/rerank", {"model": "nope"})
        ollama = await carried(gate, "POST", "/api/new", {"model": "nope"}, dialect="ollama")
        empty = await carried(gate, "POST", "/v1/rerank", {"model": ""})
    assert (openai.status, json.loads(openai.body)["error"]["code"]) == (404, "model_not_found")
    assert (ollama.status, json.loads(ollama.body)["error"]) == (404, "model 'nope' not found")
    assert empty.status == 404


async def test_a_model_that_only_others_have_may_be_told_otherwise() -> None:
    async with gateway(played("one"), played("two", kind="ollama")) as gate:
        door = Door("/olla/ollama", "ollama", olla=True)
        not_here = NotImplementedHere("not from here")
        elsewhere = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, door=door, not_here=lambda model: not_here)
        unknown = await carried(
            gate, "POST", "/v1/x", {"model": "no"}, door=door, not_here=lambda model: ModelNotFound("wrong")
        )
        without = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, door=door)
    assert (elsewhere.status, error_of(elsewhere)) == (501, "not from here")
    assert (unknown.status, error_of(unknown)) == (404, "model 'no' not found")
    assert without.status == 404


# ---- what goes out -------------------------------------------------------------------------------------------------


async def test_method_path_query_and_body_go_out_as_they_came() -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        backend = played("one")
        async with gateway(backend) as gate:
            body = b"" if method in ("GET", "OPTIONS") else b"\x00\xffraw"
            await carried(gate, method, "/v1/files/a b", body, query=b"limit=2&after=%2F")
        first, _, sent = backend.seen[0]
        assert (first, sent) == (f"{method} /v1/files/a%20b?limit=2&after=%2F HTTP/1.1", body)


async def test_the_clients_fields_go_on_and_its_credentials_do_not() -> None:
    backend = played("one")
    secret: Headers = (
        (b"authorization", b"Bearer mine"),
        (b"proxy-authorization", b"Basic mine"),
        (b"cookie", b"a=mine"),
        (b"x-api-key", b"mine"),
        (b"x-auth-token", b"mine"),
        (b"host", b"door:11434"),
        (b"connection", b"close"),
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-real-ip", b"6.6.6.6"),
        (b"accept-encoding", b"gzip"),
        (b"x-request-id", b"theirs"),
    )
    kept: Headers = ((b"accept", b"audio/wav"), (b"user-agent", b"curl"), (b"x-custom", b"1"), *JSON)
    async with gateway(backend) as gate:
        await carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, headers=(*secret, *kept))
    _, head, _ = backend.seen[0]
    host = f"127.0.0.1:{backend.raw.port}"
    assert head == {
        "host": host,
        "accept-encoding": "identity",
        "accept": "audio/wav",
        "content-type": "application/json",
        "user-agent": "curl",
        "authorization": "Bearer sk-secret",
        "x-custom": "1",
        "x-request-id": "req1",
        "content-length": "18",
    }


async def test_a_server_of_the_house_learns_who_asks() -> None:
    backend = played("one", kind="ollama")
    async with gateway(backend) as gate:
        await carried(
            gate, "POST", "/api/new", {"model": " TINY "}, headers=((b"host", b"door"), (b"via", b"1.0 before"))
        )
    _, head, _ = backend.seen[0]
    told = {name: value for name, value in head.items() if name.startswith(("x-", "via"))}
    assert told == {
        "x-request-id": "req1",
        "x-olla-request-id": "req1",
        "x-proxied-by": AGENT.decode(),
        "via": f"1.0 before, 1.1 {AGENT.decode()}",
        "x-real-ip": "127.0.0.1",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "door",
        "x-forwarded-proto": "http",
        "x-model": "tiny",
    }


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [("GET", "/../x", b""), ("GET", "/_scripted/seen", b""), ("GET", "/x", b"a=\xff"), ("GET", "/x", b"a b")],
)
async def test_what_cannot_be_asked_reaches_nobody(method: str, path: str, query: bytes) -> None:
    backend = played("one")
    async with gateway(backend) as gate:
        lane = await carried(gate, method, path, query=query)
    assert (lane.status, lane.end, backend.seen) == (404 if "scripted" in path else 400, "finish", [])


# ---- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "201 X", "206 X", "302 X", "400 X", "401 X", "404 X", "418 X", "451 X"])
async def test_status_body_and_unknown_fields_are_the_backends(status: str) -> None:
    extra = "x-custom: 1\r\nx-custom: 2\r\nlocation: /y\r\netag: W/1\r\nwww-authenticate: x\r\n"
    body = b"\x00binary\xff"
    backend = played("one", http(body, status=status, type="audio/wav", extra=extra))
    async with gateway(backend) as gate:
        lane = await carried(gate, "GET", "/v1/x")
    assert (lane.status, lane.body, lane.end) == (int(status[:3]), body, "finish")
    assert [field for field in lane.headers if not field[0].startswith(b"x-arriero")] == [
        (b"content-type", b"audio/wav"),
        (b"x-custom", b"1"),
        (b"x-custom", b"2"),
        (b"location", b"/y"),
        (b"etag", b"W/1"),
        (b"www-authenticate", b"x"),
    ]


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "429 X"])
async def test_a_failure_is_passed_on_too_and_counts(status: str) -> None:
    bad, good = played("bad", http(b"oops", status=status, type="text/html")), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        lane = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"})
        failures = gate.roster.tally.backends["bad"].failures
    assert (by(lane), lane.body, lane.field(b"content-type")) == (
        (int(status[:3]), b"bad", b"1"),
        b"oops",
        b"text/html",
    )
    assert (good.seen, failures) == ([], 1)


async def test_one_that_says_when_to_come_again_is_left_alone() -> None:
    bad = played("bad", http(b"slow down", status="429 X", extra="retry-after: 20\r\n"))
    good = played("good")
    async with gateway(bad, good, seats=first_then(2), clock=lambda: 50.0) as gate:
        first = await carried(gate, "GET", "/v1/x")
        second = await carried(gate, "GET", "/v1/x")
        assert gate.roster.entries["bad"].cooling_until == 70.0
    assert (by(first), first.field(b"retry-after"), by(second)) == (
        (429, b"bad", b"1"),
        b"20",
        (200, b"good", b"1"),
    )


async def test_nobody_speaks_for_arriero() -> None:
    extra = (
        "x-olla-endpoint: evil\r\nx-arriero-backend: evil\r\nset-cookie: a=b\r\nserver: x\r\ndate: x\r\n"
        "x-request-id: evil\r\naccess-control-allow-origin: *\r\nx-api-key: evil\r\nconnection: keep-alive\r\n"
    )
    async with gateway(played("one", http(b"{}", extra=extra))) as gate:
        lane = await carried(gate, "GET", "/v1/x", door=Door("/olla/openai", "openai", olla=True))
    assert lane.headers == (
        (b"content-type", b"application/json"),
        (b"x-arriero-request-id", b"req1"),
        (b"x-arriero-backend", b"one"),
        (b"x-arriero-attempts", b"1"),
        (b"x-arriero-reason", b"only"),
        (b"x-olla-endpoint", b"one"),
        (b"x-olla-backend-type", b"openai-compatible"),
        (b"x-olla-response-time", lane.field(b"x-olla-response-time") or b""),
        (b"x-served-by", AGENT),
        (b"via", b"1.1 " + AGENT),
    )


async def test_the_mode_is_told_where_there_is_one() -> None:
    async with gateway(played("one")) as gate:
        lane = await carried(gate, "GET", "/v1/x", mode=b"passthrough")
    assert lane.headers[-1] == (b"x-olla-mode", b"passthrough")


async def test_a_stream_comes_piece_by_piece() -> None:
    go = asyncio.Event()

    async def in_two(peer: Peer) -> None:
        await peer.say(stream(b"data: 1\n\n", end=False))
        await go.wait()
        await peer.say(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    lane = KeptLane()
    async with gateway(played("one", in_two)) as gate:
        running = asyncio.create_task(carried(gate, "GET", "/v1/x", lane=lane))
        async with asyncio.timeout(5):
            await lane.written.wait()
        assert (lane.body, lane.end) == (b"data: 1\n\n", None)
        go.set()
        await running
    assert (lane.body, lane.end, lane.length) == (b"data: 1\n\ndata: 2\n\n", "finish", None)


async def test_a_head_alone() -> None:
    async with gateway(played("one", b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n")) as gate:
        lane = KeptLane()
        lane.finish = lambda: (setattr(lane, "end", "finish"), lane.ended.set())  # type: ignore[method-assign, assignment, func-returns-value]
        await carried(gate, "HEAD", "/v1/x", lane=lane)
    assert (lane.status, lane.length, lane.body) == (200, 42, b"")


async def test_an_empty_answer() -> None:
    async with gateway(played("one", b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")) as gate:
        lane = await carried(gate, "DELETE", "/v1/files/x")
    assert (lane.status, lane.body, lane.end) == (204, b"", "finish")


async def test_an_answer_that_is_cut_is_cut() -> None:
    async with gateway(played("one", stream(b"half", end=False))) as gate:
        lane = await carried(gate, "GET", "/v1/x")
    assert (lane.body, lane.end) == (b"half", "abort")


# ---- once ----------------------------------------------------------------------------------------------------------


async def test_one_that_is_dead_has_read_nothing_and_the_next_is_asked() -> None:
    bad, good = played("bad"), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        await _dies(bad, gate)
        lane = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"})
        assert gate.roster.entries["bad"].state is State.OFFLINE
    assert by(lane) == (200, b"good", b"2")


async def test_when_all_are_dead_the_client_is_told_of_the_connection() -> None:
    one, two = played("one"), played("two")
    async with gateway(one, two, seats=first_then(2)) as gate:
        for backend in (one, two):
            await _dies(backend, gate)
        lane = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"})
        later = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"})
    assert (lane.status, "cannot reach" in error_of(lane)) == (503, True)
    assert (later.status, later.field(b"retry-after")) == (503, b"5")


async def test_so_many_are_asked_and_no_more() -> None:
    backends = [played(name) for name in "abcd"]
    async with gateway(*backends, seats=first_then(4)) as gate:
        for backend in backends[:3]:
            await _dies(backend, gate)
        lane = await carried(gate, "GET", "/v1/x", routing=Routing(retrying=Retrying(attempts=2)))
    assert (lane.status, lane.field(b"x-arriero-attempts")) == (503, b"2")


async def _dies(backend: Played, gate: Gateway) -> None:
    server = backend.raw.server
    assert server is not None
    server.close()
    for task in backend.raw._tasks:
        task.cancel()
    pool = gate.roster.entries[backend.name].backend.pool  # type: ignore[attr-defined]
    await eventually(lambda: pool.sockets == 0)


@pytest.mark.parametrize("how", ["cut", "silent", "garbage"])
async def test_what_may_have_been_read_is_not_sent_to_another(how: str) -> None:
    async def plays(peer: Peer) -> None:
        match how:
            case "silent":
                await peer.gone()
            case "garbage":
                await peer.say(b"what?\r\n\r\n")
        peer.reset()

    bad, good = played("bad", plays), played("good")
    async with gateway(bad, good, seats=first_then(2), timeouts=Timeouts(first_byte=0.1)) as gate:
        lane = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"})
    assert (lane.status, len(bad.seen), good.seen) == (504 if how == "silent" else 502, 1, [])


@pytest.mark.parametrize(
    ("method", "times"), [("POST", 1), ("PATCH", 1), ("GET", 2), ("HEAD", 2), ("PUT", 2), ("DELETE", 2)]
)
async def test_on_a_kept_connection_that_dies_only_the_harmless_is_sent_again(method: str, times: int) -> None:
    """The list came over a connection that is kept; the server closes it when the request has come."""

    async def cut(peer: Peer) -> None:
        peer.reset()

    backend = played("one", cut)
    async with gateway(backend) as gate:
        lane = await carried(gate, method, "/v1/x")
    assert (lane.status, len(backend.seen)) == (502, times)


async def test_inference_moves_on_and_keeps_the_last_ones_words() -> None:
    words = http(b'{"error":{"message":"later","mine":1}}', status="503 X")
    bad, good = played("bad", words), played("good")
    async with gateway(bad, good, seats=first_then(2)) as gate:
        moved = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, safe=True)
    async with gateway(played("bad", words)) as gate:
        last = await carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, safe=True)
    assert by(moved) == (200, b"good", b"2")
    assert (by(last), last.body) == ((503, b"bad", b"1"), b'{"error":{"message":"later","mine":1}}')


# ---- clients and places --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before_head", [True, False])
async def test_a_client_that_leaves_takes_the_backend_along(before_head: bool) -> None:
    closed = asyncio.Event()

    async def endless(peer: Peer) -> None:
        if not before_head:
            await peer.say(stream(b"a", end=False))
        await peer.gone()
        closed.set()

    lane, backend = KeptLane(), played("one", endless)
    async with gateway(backend) as gate:
        running = asyncio.create_task(carried(gate, "POST", "/v1/x", {"model": "gpt-x"}, lane=lane))
        await eventually(lambda: len(backend.seen) == 1 and (before_head or lane.written.is_set()))
        lane.leave()
        async with asyncio.timeout(5):
            await running
            await closed.wait()
        entry = gate.roster.entries["one"]
        assert (entry.in_flight, entry.state, phase(entry.breaker, 0)) == (0, State.HEALTHY, Phase.CLOSED)
        assert entry.breaker.failures == 0
    assert (lane.started, lane.end, lane.on_gone) == (not before_head, None, None)


async def test_a_client_that_leaves_while_it_waits() -> None:
    release = asyncio.Event()

    async def holds(peer: Peer) -> None:
        await release.wait()
        await peer.say(OK)

    backend = played("one", holds)
    async with gateway(backend, seats=[Seat(max_concurrency=1, check_interval=0)]) as gate:
        first = asyncio.create_task(carried(gate, "GET", "/v1/x"))
        await eventually(lambda: len(backend.seen) == 1)
        lane = KeptLane()
        waits = asyncio.create_task(carried(gate, "GET", "/v1/x", lane=lane))
        await eventually(lambda: gate.roster.queue.waiting == 1)
        lane.leave()
        await waits
        assert gate.roster.queue.waiting == 0
        release.set()
        assert (await first).status == 200
    assert (lane.started, len(backend.seen)) == (False, 1)


async def test_places_count_here_too() -> None:
    most: list[int] = []

    async def counts(peer: Peer) -> None:
        most.append(gate.roster.entries["one"].in_flight)
        await asyncio.sleep(0.001)
        await peer.say(OK)

    seats = [Seat(max_concurrency=2, check_interval=0)]
    async with gateway(played("one", counts), seats=seats) as gate:
        lanes = await asyncio.gather(*(carried(gate, "GET", "/v1/x") for _ in range(8)))
    assert ({lane.status for lane in lanes}, max(most)) == ({200}, 2)


async def test_a_full_queue_is_told_with_a_time() -> None:
    release = asyncio.Event()

    async def holds(peer: Peer) -> None:
        await release.wait()
        await peer.say(OK)

    backend = played("one", holds)
    seats: Sequence[Seat] = [Seat(max_concurrency=1, check_interval=0)]
    async with gateway(backend, seats=seats, queue=Queue(most=0)) as gate:
        first = asyncio.create_task(carried(gate, "GET", "/v1/x"))
        await eventually(lambda: len(backend.seen) == 1)
        lane = await carried(gate, "GET", "/v1/x")
        release.set()
        await first
    assert (lane.status, lane.field(b"retry-after")) == (503, b"5")
