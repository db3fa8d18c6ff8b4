"""Whole exchanges over real sockets: what the client says, what goes out, what comes back."""

import asyncio
import gc
import json
from typing import Any

from arriero.backends.http.call import Timeouts
from arriero.filters.rules import Clamp, Rule
from arriero.gateway.attempt import Attempt
from arriero.gateway.entry import Seat
from arriero.gateway.exchange import Exchange, Policy
from arriero.routing.fleet import State
from support.gateway import Played, gateway, http, stream
from support.lanes import KeptLane
from support.raw_backend import Peer

HI = [{"role": "user", "content": "hi"}]
WHOLE = http(
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2}}'
)


def sse(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


STREAM = (
    sse(role="assistant", content=""),
    sse(content="Hel"),
    sse(content="lo"),
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)


def frames(lane: KeptLane) -> list[Any]:
    return [json.loads(line) for line in lane.body.splitlines()]


# ---- an Ollama client on an OpenAI backend: transcoded -------------------------------------------------------------


async def test_a_whole_chat_is_transcoded() -> None:
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI, "stream": False})
    assert backend.seen[0][0] == "POST /v1/chat/completions HTTP/1.1"
    assert backend.bodies == [{"model": "gpt-x", "messages": HI, "stream": False}]
    assert (lane.status, lane.end) == (200, "finish")
    answer = json.loads(lane.body)
    assert answer["model"] == "gpt-x"
    assert answer["message"] == {"role": "assistant", "content": "Hello"}
    assert (answer["done"], answer["done_reason"]) == (True, "stop")
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (5, 2)


async def test_a_streamed_chat_is_transcoded_piece_by_piece() -> None:
    backend = Played("openai", stream(*STREAM))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert backend.bodies[0]["stream"] is True
    assert backend.bodies[0]["stream_options"] == {"include_usage": True}
    assert lane.field(b"content-type") == b"application/x-ndjson"
    told = frames(lane)
    assert [frame["message"]["content"] for frame in told] == ["Hel", "lo", ""]
    assert [frame["done"] for frame in told] == [False, False, True]
    assert (told[-1]["prompt_eval_count"], told[-1]["eval_count"]) == (5, 2)


async def test_every_answer_says_which_way_it_came() -> None:
    async with gateway(Played("openai", WHOLE)) as gate:
        lane = await gate.ask(
            "/api/chat", {"model": "gpt-x", "messages": HI, "stream": False, "options": {"num_ctx": 9}}
        )
    assert lane.headers[1:] == (
        (b"x-arriero-request-id", b"req1"),
        (b"x-arriero-backend", b"openai"),
        (b"x-arriero-model", b"gpt-x"),
        (b"x-arriero-attempts", b"1"),
        (b"x-arriero-reason", b"only"),
        (b"x-arriero-dropped", b"num_ctx"),
    )


async def test_the_backend_gets_its_own_key_and_never_the_clients() -> None:
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        await gate.ask(
            "/v1/chat/completions",
            {"model": "gpt-x", "messages": HI},
            headers=((b"authorization", b"Bearer client-key"), (b"cookie", b"a=b"), (b"openai-beta", b"x=1")),
        )
    _, head, _ = backend.seen[0]
    assert head["authorization"] == "Bearer sk-secret"
    assert head["accept-encoding"] == "identity"
    assert head["openai-beta"] == "x=1"
    assert head["x-request-id"] == "req1"
    assert not {"cookie", "x-forwarded-for"} & head.keys()


async def test_an_ollama_server_learns_the_clients_address() -> None:
    backend = Played("ollama", http(b'{"done":true}'))
    async with gateway(backend) as gate:
        await gate.ask("/api/chat", {"model": "tiny", "messages": HI}, headers=((b"host", b"door:11434"),))
    _, head, _ = backend.seen[0]
    assert (head["x-forwarded-for"], head["x-forwarded-host"]) == ("127.0.0.1", "door:11434")


async def test_a_stream_asked_for_and_answered_whole_is_unfolded() -> None:
    async with gateway(Played("openai", WHOLE)) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert [frame["message"]["content"] for frame in frames(lane)] == ["Hello", ""]
    assert lane.field(b"content-type") == b"application/x-ndjson"


async def test_a_whole_answer_asked_for_and_streamed_is_folded() -> None:
    async with gateway(Played("openai", stream(*STREAM))) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI, "stream": False})
    assert json.loads(lane.body)["message"] == {"role": "assistant", "content": "Hello"}
    assert lane.length == len(lane.body)


async def test_think_tags_become_thinking() -> None:
    answer = stream(sse(content="<think>Hm"), sse(content="</think>"), sse(content="Hi"), b"data: [DONE]\n\n")
    async with gateway(Played("openai", answer)) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    told = frames(lane)
    assert [frame["message"].get("thinking") for frame in told] == ["Hm", None, None]
    assert [frame["message"]["content"] for frame in told] == ["", "Hi", ""]


# ---- the same dialect on both sides: relayed -----------------------------------------------------------------------


async def test_an_openai_body_is_relayed_with_nothing_but_the_name_changed() -> None:
    body = (
        b'{ "model" : "GPT-X:latest",\n "messages":[{"role":"user","content":"hi"}], "n": 1.0, "new": {"b":1,"a":2} }'
    )
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/v1/chat/completions", body)
    assert backend.seen[0][2] == body.replace(b"GPT-X:latest", b"gpt-x")
    assert lane.body == WHOLE.partition(b"\r\n\r\n")[2]


async def test_an_ollama_body_is_relayed_untouched() -> None:
    body = b'{"model":"TINY","messages":[{"role":"user","content":"hi"}],"brand_new":true}'
    lines = b'{"model":"TINY","message":{"role":"assistant","content":"a"},"done":false}\n', b'{"done":true}\n'
    backend = Played("ollama", stream(*lines, type="application/x-ndjson"))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", body)
    assert backend.seen[0][2] == body
    assert (lane.body, lane.length) == (b"".join(lines), None)
    assert lane.field(b"content-type") == b"application/x-ndjson"


async def test_an_openai_client_reaches_an_ollama_servers_own_v1() -> None:
    backend = Played("ollama", WHOLE)
    async with gateway(backend) as gate:
        await gate.ask("/v1/chat/completions", {"model": "tiny", "messages": HI})
    assert backend.seen[0][0] == "POST /v1/chat/completions HTTP/1.1"


async def test_the_answer_names_the_model_as_the_client_did() -> None:
    lines = b'data: {"model":"gpt-x","choices":[]}\n\n', b'data: {"choices":[],"model": "gpt-x"}\n\ndata: [DONE]\n\n'
    async with gateway(Played("openai", stream(*lines)), aliases={"fast": ["gpt-x"]}) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "fast", "messages": HI, "stream": True})
    assert lane.body == (
        b'data: {"model":"fast","choices":[]}\n\ndata: {"choices":[],"model": "fast"}\n\ndata: [DONE]\n\n'
    )


async def test_a_backends_cookies_and_cors_stop_here() -> None:
    extra = "set-cookie: a=b\r\naccess-control-allow-origin: *\r\nserver: x\r\nx-ratelimit-remaining: 7\r\n"
    async with gateway(Played("openai", http(b"{}", extra=extra))) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI})
    assert [name for name, _ in lane.headers if not name.startswith(b"x-arriero")] == [
        b"content-type",
        b"x-ratelimit-remaining",
    ]


async def test_a_bad_request_keeps_the_backends_own_words() -> None:
    refusal = b'{"error":{"message":"temperature must be <= 2","type":"invalid_request_error","param":"temperature"}}'
    async with gateway(Played("openai", http(refusal, status="400 Bad Request"))) as gate:
        relayed = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI})
        transcoded = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert (relayed.status, relayed.body) == (400, refusal)
    assert (transcoded.status, json.loads(transcoded.body)["error"]) == (400, "temperature must be <= 2")


async def test_a_key_in_another_case_that_comes_later_counts_as_ollama_counts_it() -> None:
    body = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"Model":"gpt-x","Stream":false}'
    ollama, openai = Played("ollama", http(b"{}")), Played("openai", WHOLE)
    async with gateway(ollama, openai) as gate:
        lane = await gate.ask("/api/chat", body)
        hidden = await gate.ask("/api/chat", body.replace(b"gpt-x", b"nope"))
    assert (ollama.seen, openai.bodies) == ([], [{"model": "gpt-x", "messages": HI, "stream": False}])
    assert json.loads(lane.body)["model"] == "gpt-x"
    assert hidden.status == 404


async def test_a_key_in_another_case_is_never_relayed() -> None:
    body = b'{"Model":"tiny","messages":[{"role":"user","content":"hi"}],"brand_new":1}'
    backend = Played("ollama", http(b'{"model":"tiny","message":{"role":"assistant","content":"a"},"done":true}'))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", body)
    assert backend.bodies == [{"model": "tiny:latest", "messages": HI, "stream": True, "brand_new": 1}]
    assert frames(lane)[-1]["done"] is True


# ---- filters -------------------------------------------------------------------------------------------------------


async def test_rules_change_what_goes_out_relayed_and_transcoded_alike() -> None:
    rule = Rule(
        models=("gpt-*",), defaults={"top_p": 0.5}, clamps={"max_tokens": Clamp(max=10)}, strip=frozenset({"seed"})
    )
    backend = Played("openai", WHOLE)
    async with gateway(backend, policy=Policy(rules=(rule,))) as gate:
        await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI, "max_tokens": 99, "seed": 4, "n": 1})
        options = {"num_predict": 99, "seed": 4}
        await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI, "stream": False, "options": options})
    assert backend.bodies[0] == {"top_p": 0.5, "model": "gpt-x", "messages": HI, "max_tokens": 10, "n": 1}
    assert backend.bodies[1] == {"model": "gpt-x", "messages": HI, "stream": False, "max_tokens": 10, "top_p": 0.5}


# ---- errors and other backends -------------------------------------------------------------------------------------


async def test_an_unknown_model_is_told_in_each_routes_words() -> None:
    async with gateway(Played("openai", WHOLE)) as gate:
        chat = await gate.ask("/api/chat", {"model": "nope", "messages": HI})
        embed = await gate.ask("/api/embed", {"model": "nope", "input": "x"})
        openai = await gate.ask("/v1/chat/completions", {"model": "nope", "messages": HI})
    assert (chat.status, json.loads(chat.body)["error"]) == (404, "model 'nope' not found")
    assert (embed.status, json.loads(embed.body)["error"]) == (404, 'model "nope" not found, try pulling it first')
    assert (openai.status, json.loads(openai.body)["error"]["code"]) == (404, "model_not_found")


async def test_a_failure_before_the_first_byte_moves_on() -> None:
    broken = Played("openai", http(b"oops", status="500 Internal Server Error"), name="first")
    well = Played("openai", stream(*STREAM), name="second")
    async with gateway(broken, well, seats=[Seat(priority=2), Seat(priority=1)]) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert [frame["message"]["content"] for frame in frames(lane)] == ["Hel", "lo", ""]
    assert (lane.field(b"x-arriero-backend"), lane.field(b"x-arriero-attempts")) == (b"second", b"2")
    assert len(broken.seen) == 1


async def test_an_error_inside_a_stream_before_its_first_word_moves_on_too() -> None:
    said = b'data: {"error":{"message":"overloaded","code":503}}\n\n'
    first = Played("openai", stream(said), name="first")
    second = Played("openai", stream(*STREAM), name="second")
    async with gateway(first, second, seats=[Seat(priority=2), Seat(priority=1)]) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert (lane.status, lane.field(b"x-arriero-backend")) == (200, b"second")


async def test_the_last_error_is_the_answer_when_nobody_can() -> None:
    async with gateway(Played("openai", http(b'{"error":"busy"}', status="503 X", extra="retry-after: 7\r\n"))) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert (lane.status, lane.field(b"retry-after")) == (503, b"7")
    assert json.loads(lane.body)["error"] == "busy"
    assert lane.field(b"content-type") == b"application/json"


async def test_the_gateways_bad_key_is_not_the_clients_fault() -> None:
    refused = http(b'{"error":{"message":"bad key sk-secret"}}', status="401 Unauthorized")
    async with gateway(Played("openai", refused)) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI})
    assert lane.status == 502
    assert b"sk-secret" not in lane.body
    assert "api_key of the backend" in json.loads(lane.body)["error"]["message"]


async def test_a_cut_stream_is_told_as_such() -> None:
    async with gateway(Played("openai", stream(*STREAM[:2], end=False))) as gate:
        ollama = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
        openai = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI, "stream": True})
        whole = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI, "stream": False})
    assert frames(ollama)[0]["message"]["content"] == "Hel"
    assert list(frames(ollama)[-1]) == ["error"]
    assert ollama.end == "finish"
    assert openai.body.startswith(STREAM[0] + STREAM[1])
    assert json.loads(openai.body.removeprefix(STREAM[0] + STREAM[1]).removeprefix(b"data: "))["error"]["message"]
    assert (whole.status, whole.end) == (502, "finish")


async def test_an_error_at_the_end_of_a_relayed_stream_is_passed_on_and_counts_as_one() -> None:
    last = b'data: {"error":{"message":"upstream fell over","code":502}}\n\n'
    async with gateway(Played("openai", stream(*STREAM[:2], last))) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI, "stream": True})
        count = gate.roster.tally.backends["openai"]
    assert (lane.status, lane.body, lane.end) == (200, b"".join((*STREAM[:2], last)), "finish")
    assert (count.requests, count.failures, count.statuses) == (1, 1, {"cut": 1})


async def test_a_relayed_whole_answer_that_is_cut_is_an_error() -> None:
    cut = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"cho\r\n'
    async with gateway(Played("openai", cut)) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": HI})
    assert (lane.status, lane.end) == (502, "finish")
    assert json.loads(lane.body)["error"]["message"] == "openai closed the connection in the middle of its answer"


async def test_a_silent_backend_runs_into_its_timeout() -> None:
    async def hang(peer: Peer) -> None:
        await peer.gone()

    async with gateway(Played("openai", hang), timeouts=Timeouts(first_byte=0.1)) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert lane.status == 504
    assert "0.1 s" in json.loads(lane.body)["error"]


async def test_a_client_that_leaves_cancels_the_backend_at_once() -> None:
    closed = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.say(stream(*STREAM[:2], end=False))
        await peer.gone()
        closed.set()

    lane = KeptLane()
    async with gateway(Played("openai", endless)) as gate:
        exchange = gate.exchange("/api/chat", {"model": "gpt-x", "messages": HI}, lane)
        running = asyncio.create_task(exchange.run())
        async with asyncio.timeout(5):
            await lane.written.wait()
            lane.leave()
            await running
            await closed.wait()
        assert exchange.outcome.error is not None
        assert exchange.outcome.error.status == 499
        assert gate.roster.entries["openai"].state is State.HEALTHY


# ---- loading -------------------------------------------------------------------------------------------------------


async def test_a_load_request_never_reaches_a_backend_without_memory() -> None:
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        load = await gate.ask("/api/generate", {"model": "gpt-x"})
        loaded = [model.card.id for _, model in await gate.roster.loaded()]
        unload = await gate.ask("/api/chat", {"model": "gpt-x", "keep_alive": 0})
        unloaded = await gate.roster.loaded()
    assert json.loads(load.body)["done_reason"] == "load"
    assert load.field(b"content-type") == b"application/json; charset=utf-8"
    assert loaded == ["gpt-x"]
    assert json.loads(unload.body)["done_reason"] == "unload"
    assert (unloaded, backend.seen) == ([], [])


async def test_embedding_nothing_asks_nobody() -> None:
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/embed", {"model": "gpt-x", "input": []})
    assert (json.loads(lane.body), backend.seen) == ({"model": "gpt-x", "embeddings": []}, [])


async def test_what_an_exchange_held_goes_with_it() -> None:
    """Cycles would be left to the garbage collector: a fifth of what a translated request costs."""
    backend = Played("openai", WHOLE, WHOLE, stream(*STREAM), WHOLE)
    async with gateway(backend) as gate:
        gc.collect()
        gc.disable()
        try:
            for path in ("/api/chat", "/v1/chat/completions"):
                for streamed in (False, True):
                    await gate.ask(path, {"model": "gpt-x", "messages": HI, "stream": streamed})
            await asyncio.sleep(0)
            assert [held for held in gc.get_objects() if isinstance(held, Exchange | Attempt)] == []
        finally:
            gc.enable()
    assert len(backend.seen) == 4


# ---- a prompt that is too long -------------------------------------------------------------------------------------


def too_long(tokens: int, limit: int) -> bytes:
    said = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    return http(json.dumps({"error": {"code": 400, "message": said}}).encode(), status="400 Bad Request")


def turns(count: int) -> list[dict[str, str]]:
    return [{"role": "user" if at % 2 == 0 else "assistant", "content": f"turn {at:2}"} for at in range(count)]


async def test_the_oldest_turns_of_too_long_a_chat_are_left_out() -> None:
    system = {"role": "system", "content": "be kind"}
    backend = Played("openai", too_long(200, 100), too_long(110, 100), WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": [system, *turns(21)], "stream": False})
    assert lane.status == 200
    assert dict(lane.headers)[b"x-arriero-dropped"] == b"oldest text"
    assert dict(lane.headers)[b"x-arriero-attempts"] == b"1"
    first, second, third = (body["messages"] for body in backend.bodies)
    assert first == [system, *turns(21)]
    assert second == [system, *turns(21)[13:]]
    assert third == [system, *turns(21)[15:]]


async def test_the_client_may_forbid_it() -> None:
    backend = Played("openai", too_long(200, 100), WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": turns(9), "truncate": False})
    assert (lane.status, len(backend.seen)) == (400, 1)
    assert "longer than the context length" in frames(lane)[0]["error"]


async def test_one_message_that_is_too_long_is_refused() -> None:
    backend = Played("openai", too_long(200, 100), WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": turns(1)})
    assert (lane.status, len(backend.seen)) == (400, 1)


async def test_a_prompt_without_turns_loses_its_beginning() -> None:
    backend = Played("openai", too_long(200, 100), WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/generate", {"model": "gpt-x", "prompt": "0123456789" * 10, "stream": False})
    assert lane.status == 200
    assert backend.bodies[1]["messages"] == [{"role": "user", "content": ("0123456789" * 10)[55:]}]


async def test_shortening_comes_to_an_end() -> None:
    backend = Played("openai", too_long(100_001, 100_000))
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": turns(60)})
    assert (lane.status, len(backend.seen)) == (400, 9)


async def test_an_openai_client_is_told_of_too_long_a_prompt() -> None:
    backend = Played("openai", too_long(200, 100), WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": turns(9)})
    assert (lane.status, len(backend.seen)) == (400, 1)


# ---- a server that does not know `stream_options` ------------------------------------------------------------------

NO_USAGE = http(b'{"error":{"message":"Unknown field: stream_options"}}', status="400 Bad Request")


async def test_the_wish_for_usage_is_given_up_where_it_is_refused() -> None:
    backend = Played("openai", NO_USAGE, stream(*STREAM), stream(*STREAM))
    async with gateway(backend) as gate:
        for _ in range(2):
            lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
            assert (lane.status, frames(lane)[-1]["done"]) == (200, True)
    assert ["stream_options" in body for body in backend.bodies] == [True, False, False]


async def test_it_is_given_up_once() -> None:
    backend = Played("openai", NO_USAGE)
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": HI})
    assert (lane.status, frames(lane)[0]["error"]) == (400, "Unknown field: stream_options")
    assert len(backend.seen) == 2


async def test_a_client_s_own_wish_is_its_own_affair() -> None:
    backend = Played("openai", NO_USAGE)
    asked = {"model": "gpt-x", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    async with gateway(backend) as gate:
        lane = await gate.ask("/v1/chat/completions", asked)
    assert (lane.status, len(backend.seen)) == (400, 1)


async def test_an_alias_of_models_that_are_away_says_which_they_are() -> None:
    async with gateway(Played("openai", WHOLE), aliases={"fast": ["gone", "away"]}) as gate:
        lane = await gate.ask("/api/chat", {"model": "fast", "messages": HI})
    assert (lane.status, json.loads(lane.body)["error"]) == (
        404,
        "model 'fast' not found: none of gone, away is there",
    )


async def test_a_wrong_class_of_priority_is_refused_though_nobody_waits() -> None:
    backend = Played("openai", WHOLE)
    async with gateway(backend) as gate:
        lane = await gate.ask(
            "/api/chat", {"model": "gpt-x", "messages": HI}, headers=((b"x-arriero-priority", b"urgent"),)
        )
    assert (lane.status, json.loads(lane.body)["error"]) == (
        400,
        "X-Arriero-Priority must be one of high, normal, low",
    )
    assert backend.seen == []
