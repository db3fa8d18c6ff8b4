"""What a model brings along, in whole exchanges: filled in wherever the client did not say it, whatever the dialect."""

import json
from typing import Any

from arriero.canonical.catalog import Defaults
from arriero.canonical.requests import Message, Sampling, Text
from arriero.dialects.ollama.memory import recalled
from arriero.filters.rules import Clamp, Rule
from arriero.gateway.exchange import Policy
from support.gateway import Played, gateway, http, stream

HI = {"role": "user", "content": "hi"}
SAYING = b'"messages": [ {"content":"hi", "role":"user"} ]'
OLD, SAID = {"role": "user", "content": "old"}, {"role": "assistant", "content": "said"}
LLAMA = {"role": "system", "content": "be a llama"}
KNOBS = Defaults(sampling=Sampling(temperature=0.5, stop=("<end>",)), runner={"num_ctx": 9})
ALL = Defaults(
    sampling=KNOBS.sampling,
    runner=KNOBS.runner,
    system="be a llama",
    messages=(Message("user", (Text("old"),)), Message("assistant", (Text("said"),))),
)
ANSWER = {
    "id": "c1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    "timings": {"cache_n": 3},
}
WHOLE = http(json.dumps(ANSWER).encode())
TOO_LONG = http(
    b'{"error":{"code":400,"message":"the request exceeds the available context size","type":'
    b'"exceed_context_size_error","n_prompt_tokens":200,"n_ctx":150}}',
    status="400 Bad Request",
)


def played(defaults: Defaults, *answers: bytes) -> Played:
    backend = Played("openai", *(answers or (WHOLE,)))
    backend.defaults = {"gpt-x": defaults}
    return backend


async def sent(path: str, body: dict[str, Any], defaults: Defaults, policy: Policy | None = None) -> tuple[Any, Any]:
    """What the backend got, and what was told to be dropped."""
    backend = played(defaults)
    async with gateway(backend, policy=policy) as gate:
        lane = await gate.ask(path, {"model": "gpt-x", **body})
    assert lane.status == 200, lane.body
    (got,) = backend.bodies
    assert got.pop("model") == "gpt-x"
    return got, lane.field(b"x-arriero-dropped")


async def test_an_ollama_client_gets_them() -> None:
    body = {"messages": [HI], "stream": False, "options": {"temperature": 0}}
    assert await sent("/api/chat", body, ALL) == (
        {"messages": [LLAMA, OLD, SAID, HI], "stream": False, "temperature": 0.0, "stop": ["<end>"]},
        None,  # the model's own options do not count as the client's
    )
    assert await sent("/api/generate", {"prompt": "hi", "stream": False, "system": "s"}, ALL) == (
        {
            "messages": [{"role": "system", "content": "s"}, OLD, SAID, HI],
            "stream": False,
            "temperature": 0.5,
            "stop": ["<end>"],
        },
        None,
    )


async def test_raw_text_gets_the_knobs_alone() -> None:
    assert await sent("/api/generate", {"prompt": "p", "raw": True, "stream": False}, ALL) == (
        {"prompt": "p", "stream": False, "temperature": 0.5, "stop": ["<end>"]},
        None,
    )


async def test_what_the_client_says_and_nobody_can_do_is_still_named() -> None:
    _, dropped = await sent("/api/chat", {"messages": [HI], "stream": False, "options": {"num_gpu": 1}}, ALL)
    assert dropped == b"num_gpu"


async def test_an_openai_client_gets_knobs_in_its_own_bytes() -> None:
    backend = played(KNOBS)
    async with gateway(backend) as gate:
        lane = await gate.ask(
            "/v1/chat/completions", b'{"model": "gpt-x", "n": 2, "temperature": 1.0,  %b, "x": {"y": 1.50}}' % SAYING
        )
        assert lane.field(b"x-arriero-dropped") is None
    assert backend.seen[0][2] == (
        b'{"stop":["<end>"],"model": "gpt-x", "n": 2, "temperature": 1.0,  %b, "x": {"y": 1.50}}' % SAYING
    )
    assert json.loads(lane.body) == ANSWER, "relayed as it came"


async def test_an_openai_client_gets_the_models_own_words() -> None:
    """Said anew; fields that arriero does not know travel on."""
    body = {
        "messages": [HI],
        "stop": "a",
        "logit_bias": {"7": 1},
        "chat_template_kwargs": {"x": 1},
        "max_completion_tokens": 4,
        "stream": False,
    }
    told = {"messages": [LLAMA, OLD, SAID, HI], "temperature": 0.5, "stop": ["a"], "max_tokens": 4}
    unknown = {name: body[name] for name in ("logit_bias", "chat_template_kwargs", "stream")}
    assert await sent("/v1/chat/completions", body, ALL) == ({**told, **unknown}, None)
    own = {"role": "system", "content": "mine"}
    got, _ = await sent("/v1/chat/completions", {"messages": [own, HI]}, ALL)
    assert got["messages"] == [own, OLD, SAID, HI]


async def test_an_openai_stream_is_counted_only_where_the_client_wants_it() -> None:
    pieces = (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    )
    async with gateway(played(ALL, stream(*pieces))) as gate:
        lane = await gate.ask("/v1/chat/completions", {"model": "gpt-x", "messages": [HI], "stream": True})
        told = await gate.ask(
            "/v1/chat/completions",
            {"model": "gpt-x", "messages": [HI], "stream": True, "stream_options": {"include_usage": True}},
        )
    assert (b'"content":"Hello"' in lane.body, b'"prompt_tokens":5' in lane.body) == (True, False)
    assert b'"prompt_tokens":5' in told.body


async def test_openai_completions_are_relayed_with_the_knobs() -> None:
    assert await sent("/v1/completions", {"prompt": "p", "echo": True}, ALL) == (
        {"prompt": "p", "echo": True, "temperature": 0.5, "stop": ["<end>"]},
        None,
    )


async def test_the_operators_rules_hold_for_them() -> None:
    policy = Policy(rules=(Rule(clamps={"temperature": Clamp(max=0.1)}, strip=frozenset({"stop"})),))
    for path in ("/api/chat", "/v1/chat/completions"):
        got, _ = await sent(path, {"messages": [HI], "stream": False}, KNOBS, policy)
        assert got == {"messages": [HI], "stream": False, "temperature": 0.1}


async def test_a_prompt_that_is_shortened_has_them_once() -> None:
    backend = played(ALL, TOO_LONG, WHOLE)
    long = [{"role": role, "content": "x" * 400} for role in ("user", "assistant", "user")]
    async with gateway(backend) as gate:
        lane = await gate.ask("/api/chat", {"model": "gpt-x", "messages": [*long, HI], "stream": False})
    assert lane.status == 200, lane.body
    first, second = (body["messages"] for body in backend.bodies)
    assert first == [LLAMA, OLD, SAID, *long, HI]
    assert second == [LLAMA, long[2], HI], "the oldest goes first, be it the model's own"


# ---- the memory of /api/generate -----------------------------------------------------------------------------------


async def test_a_conversation_by_its_memory() -> None:
    """Neither the model's words nor the client's are said twice."""
    backend = played(ALL)
    async with gateway(backend) as gate:
        first = json.loads((await gate.ask("/api/generate", {"model": "gpt-x", "prompt": "hi", "stream": False})).body)
        again = {"model": "gpt-x", "prompt": "more", "stream": False, "context": first["context"]}
        second = json.loads((await gate.ask("/api/generate", again)).body)
    hello, more = {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "more"}
    assert [body["messages"] for body in backend.bodies] == [
        [LLAMA, OLD, SAID, HI],
        [LLAMA, OLD, SAID, HI, hello, more],
    ]
    assert [turn.parts for turn in recalled(second["context"]) or ()][-2:] == [(Text("more"),), (Text("Hello"),)]


async def test_an_empty_memory_counts_as_given() -> None:
    got, dropped = await sent("/api/generate", {"prompt": "hi", "stream": False, "context": []}, ALL)
    assert (got["messages"], dropped) == ([LLAMA, HI], None)


async def test_the_memory_of_another_server_is_named_as_dropped() -> None:
    got, dropped = await sent("/api/generate", {"prompt": "hi", "stream": False, "context": [1, 2]}, ALL)
    assert (got["messages"], dropped) == ([LLAMA, HI], b"context")


async def test_a_memory_that_arriero_made_is_no_ollama_servers() -> None:
    native = http(b'{"message":{"role":"assistant","content":"Yes"},"done":true,"done_reason":"stop"}')
    other, server = played(ALL), Played("ollama", native)
    async with gateway(other, server) as gate:
        first = json.loads((await gate.ask("/api/generate", {"model": "gpt-x", "prompt": "hi", "stream": False})).body)
        again = {"model": "tiny", "prompt": "more", "stream": False, "context": first["context"]}
        second = json.loads((await gate.ask("/api/generate", again)).body)
        relayed = await gate.ask("/api/generate", {**again, "context": [1, 2]})
    (said, head, _), (generate, _, relayed_body) = server.seen
    assert (said, generate) == ("POST /api/chat HTTP/1.1", "POST /api/generate HTTP/1.1")
    assert server.bodies[0]["messages"][-3:] == [
        HI,
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "more"},
    ]
    assert second["response"] == "Yes"
    assert [turn.parts[0] for turn in recalled(second["context"]) or ()][-1] == Text("Yes")
    assert json.loads(relayed_body)["context"] == [1, 2]
    assert relayed.status == 200 and head
