"""Where a request would go, and why: whole answers. Nothing is sent."""

import asyncio
import json
from typing import Any

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.profiles import profile_of
from arriero.errors import AmbiguousModel, BadRequest, ModelForbidden, ModelNotFound
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Bylaws, Roster
from arriero.gateway.told import Told
from arriero.routing.breaker import Breaker
from arriero.routing.decide import Rules
from arriero.routing.fleet import Speed, State
from arriero.routing.names import Patterns
from arriero.server.explain import Explain
from support.lanes import KeptLane, inbound
from support.plain import Plain, seated, settled

NOW = 100.0


async def roster(*backends: Plain, bylaws: Bylaws | None = None, **seat: Any) -> Roster:
    made = Roster(
        seated(*backends, seat=Seat(**{"check_interval": 0.0, **seat})), bylaws or Bylaws(), clock=lambda: NOW
    )
    await made.refresh()
    return made


async def explained(fleet: Roster, query: bytes, rules: Rules | None = None, **fallback: list[str]) -> Any:
    lane = KeptLane()
    (route,) = Explain(fleet, rules or Rules(), fallback).routes
    assert (route.path, route.methods, route.limited) == ("/arriero/api/explain", ("GET",), False)
    rest = route.handler(inbound("GET", route.path, query=query), lane)
    assert rest is not None
    async with asyncio.timeout(5):
        await rest
    assert (lane.status, lane.headers, lane.end) == (200, ((b"content-type", b"application/json"),), "finish")
    return json.loads(lane.body)


def chosen(answer: Any) -> list[str]:
    return [one["backend"] for one in answer["candidates"] if one["chosen"]]


def outs(answer: Any) -> list[str | None]:
    return [one["out"] for one in answer["candidates"]]


async def test_the_whole_answer() -> None:
    one, two = Plain("one", "m"), Plain("two", "m:latest")
    two.kind = "ollama"
    fleet = await roster(one, two, told=Told(price={"m": (1.0, 2.0)}), max_concurrency=4, priority=7, weight=2.0)
    busy = fleet.entries["one"]
    busy.in_flight, busy.speed, busy.loaded = 3, Speed(0.5, 20.0, NOW), frozenset({"m"})
    assert await explained(fleet, b"model=M") == {
        "model": "M",
        "provider": None,
        "needs": None,
        "reason": "loaded",
        "policy": "least-connections",
        "prefer_loaded": True,
        "alias": False,
        "queued": False,
        "waiting": 0,
        "candidates": [
            {
                "backend": "one",
                "kind": "openai",
                "model": "m",
                "fallback": False,
                "preferred": False,
                "able": None,
                "chosen": True,
                "out": None,
                "score": [1.5, 0],
                "state": "healthy",
                "loaded": True,
                "priority": 7,
                "weight": 2.0,
                "in_flight": 3,
                "max_concurrency": 4,
                "first_byte_s": 0.5,
                "tokens_per_s": 20.0,
                "capabilities": None,
                "context_length": None,
                "input_price": 1.0,
                "output_price": 2.0,
            },
            {
                "backend": "two",
                "kind": "ollama",
                "model": "m:latest",
                "fallback": False,
                "preferred": False,
                "able": None,
                "chosen": False,
                "out": None,
                "score": [0.0, 0],
                "state": "healthy",
                "loaded": False,
                "priority": 7,
                "weight": 2.0,
                "in_flight": 0,
                "max_concurrency": 4,
                "first_byte_s": None,
                "tokens_per_s": None,
                "capabilities": None,
                "context_length": None,
                "input_price": 1.0,
                "output_price": 2.0,
            },
        ],
    }
    assert [(entry.in_flight, entry.turns) for entry in fleet.entries.values()] == [(3, {}), (0, {})]


async def test_the_rules_are_the_operators() -> None:
    fleet = await roster(Plain("one", "m"), Plain("two", "m"))
    fleet.entries["one"].loaded = frozenset({"m"})
    fleet.entries["one"].turns = {"m": (5, 2.0)}
    by_turn = await explained(fleet, b"model=m", Rules("round-robin", prefer_loaded=False))
    assert (by_turn["policy"], by_turn["prefer_loaded"], chosen(by_turn)) == ("round-robin", False, ["two"])
    assert [one["score"] for one in by_turn["candidates"]] == [[5], [0]]
    assert chosen(await explained(fleet, b"model=m", Rules("round-robin"))) == ["one"]


async def test_an_unknown_price_is_no_number() -> None:
    answer = await explained(await roster(Plain("one", "m")), b"model=m", Rules("cheapest"))
    assert answer["candidates"][0]["score"] == [None, 0.0, 0]


async def test_why_somebody_is_out() -> None:
    fleet = await roster(*(Plain(name, "m") for name in "abcdefg"))
    a, b, c, d, e, f, _ = fleet.entries.values()
    a.breaker = Breaker(5, NOW, NOW + 12.0, None, 30.0)
    b.cooling_until = NOW + 7.0
    c.state, d.state, e.state = State.OFFLINE, State.UNHEALTHY, State.RATE_LIMITED
    f.seat, f.in_flight = Seat(max_concurrency=1), 1
    answer = await explained(fleet, b"model=m")
    assert outs(answer) == [
        "its breaker is open for another 12 s",
        "it wants to be left alone for another 7 s",
        "offline",
        "unhealthy, taken only if no other is left",
        "rate limited",
        "all its places are taken",
        None,
    ]
    assert (chosen(answer), answer["queued"]) == (["g"], False)


async def test_all_are_full_and_a_request_would_wait() -> None:
    fleet = await roster(Plain("one", "m"), Plain("two", "m"), max_concurrency=1)
    for entry in fleet.entries.values():
        entry.in_flight = 1
    waits = asyncio.create_task(fleet.queue.wait(fleet.queue.ticket(1), {"one"}, None))
    await settled()
    answer = await explained(fleet, b"model=m")
    assert (chosen(answer), answer["reason"], answer["queued"], answer["waiting"]) == ([], None, True, 1)
    waits.cancel()


async def test_where_waiting_would_not_help_nothing_waits() -> None:
    """Full, and dead: the last requests are still running into their timeouts."""
    fleet = await roster(Plain("one", "m"), max_concurrency=1)
    fleet.entries["one"].in_flight, fleet.entries["one"].state = 1, State.OFFLINE
    answer = await explained(fleet, b"model=m")
    assert (chosen(answer), answer["queued"], outs(answer)) == ([], False, ["offline"])


async def test_the_last_resort_can_be_full_too() -> None:
    fleet = await roster(Plain("one", "m"), max_concurrency=1)
    fleet.entries["one"].in_flight, fleet.entries["one"].state = 1, State.UNHEALTHY
    assert (await explained(fleet, b"model=m"))["queued"] is True


async def test_an_alias_shows_all_its_models_in_order() -> None:
    fleet = await roster(Plain("one", "small"), Plain("two", "big"), bylaws=Bylaws(aliases={"fast": ["big", "small"]}))
    answer = await explained(fleet, b"model=Fast")
    assert (answer["model"], answer["alias"], chosen(answer)) == ("Fast", True, ["two"])
    assert [(one["backend"], one["model"]) for one in answer["candidates"]] == [("two", "big"), ("one", "small")]


async def test_fallback_models_stand_behind_the_one_asked_for() -> None:
    fleet = await roster(Plain("one", "small"), Plain("two", "big"))
    answer = await explained(fleet, b"model=Big", big=["nope", "small"])
    assert [(one["model"], one["fallback"], one["chosen"]) for one in answer["candidates"]] == [
        ("big", False, True),
        ("small", True, False),
    ]
    fleet.entries["two"].state = State.OFFLINE
    assert chosen(await explained(fleet, b"model=big", big=["small"])) == ["one"]
    # Also where nobody has the model itself; not where nobody has any of them.
    unknown = await explained(fleet, b"model=gone", gone=["small"])
    assert (chosen(unknown), unknown["reason"]) == (["one"], "only")
    with pytest.raises(ModelNotFound):
        await explained(fleet, b"model=gone", gone=["nope"])


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (b"model=acme%2Fbig", "acme/big"),
        (b"x=1&model=acme/big&model=m", "acme/big"),
        (b"model=m%C3%B6del", "m\u00f6del"),
        (b"model=m+x", "m x"),
    ],
)
async def test_how_the_model_is_named(query: bytes, model: str) -> None:
    backend = Plain("one")
    backend.list_answer = tuple(ModelCard(id=id) for id in ("acme/big", "m\u00f6del", "m x", "m"))
    assert (await explained(await roster(backend), query))["model"] == model


@pytest.mark.parametrize("query", [b"", b"model=", b"model", b"Model=m", b"%", b"=m", b"\xff=\xfe"])
async def test_no_model_is_named(query: bytes) -> None:
    with pytest.raises(BadRequest, match=r"/arriero/api/explain\?model=NAME"):
        await explained(await roster(Plain("one", "m")), query)


async def test_a_model_that_is_not_there() -> None:
    fleet = await roster(Plain("one", "m", "secret"), bylaws=Bylaws(overall=Patterns(exclude=("secret",))))
    with pytest.raises(ModelNotFound):
        await explained(fleet, b"model=nope")
    with pytest.raises(ModelForbidden):
        await explained(fleet, b"model=secret")


# ---- what a request says beyond its model --------------------------------------------------------------------------


def routed(*ids: str) -> Plain:
    made = Plain("router", *ids)
    made.profile = profile_of("openrouter")
    return made


async def test_the_provider_that_a_client_would_name() -> None:
    fleet = await roster(Plain("gpu", "x"), routed("acme/x"))
    answer = await explained(fleet, b"model=x&provider=OpenRouter")
    assert (answer["provider"], answer["reason"], chosen(answer)) == ("OpenRouter", "provider", ["router"])
    assert [(one["backend"], one["preferred"], one["fallback"]) for one in answer["candidates"]] == [
        ("router", True, False),
        ("gpu", False, False),
    ]
    for query in (b"model=x", b"model=x&provider=", b"model=x&provider=nobody"):
        assert chosen(await explained(fleet, query)) == ["gpu"]


async def test_what_is_ambiguous_is_clear_to_who_names_a_provider() -> None:
    fleet = await roster(Plain("gpu", "a/x"), routed("b/x"))
    assert chosen(await explained(fleet, b"model=x&provider=openrouter")) == ["router"]
    with pytest.raises(AmbiguousModel):
        await explained(fleet, b"model=x")


BY_NEED = Rules("capability")


async def able(**models: tuple[str, int | None]) -> Roster:
    backends = []
    for name, (words, length) in models.items():
        made = Plain(name)
        capabilities = frozenset(map(Capability, words.split())) or None
        made.list_answer = (ModelCard(id="m", capabilities=capabilities, context_length=length),)
        backends.append(made)
    return await roster(*backends)


async def test_what_a_request_would_need() -> None:
    fleet = await able(a=("completion", 4096), b=("", None), c=("completion vision tools", 8192))
    answer = await explained(fleet, b"model=m&needs=vision,tools&tokens=5000", BY_NEED)
    assert (answer["needs"], answer["reason"]) == ({"capabilities": ["tools", "vision"], "tokens": 5000}, "capability")
    assert [(one["able"], one["chosen"], one["out"]) for one in answer["candidates"]] == [
        (False, False, "it cannot do tools, vision; its context of 4096 tokens is shorter than 5000"),
        (None, False, None),
        (True, True, None),
    ]
    assert [(one["capabilities"], one["context_length"]) for one in answer["candidates"]] == [
        (["completion"], 4096),
        (None, None),
        (["completion", "tools", "vision"], 8192),
    ]


async def test_a_chat_where_nothing_is_said() -> None:
    fleet = await able(a=("embedding", None), b=("completion", None))
    answer = await explained(fleet, b"model=m", BY_NEED)
    assert (answer["needs"], chosen(answer)) == ({"capabilities": ["completion"], "tokens": 0}, ["b"])
    assert chosen(await explained(fleet, b"model=m&needs=embedding", BY_NEED)) == ["a"]


async def test_other_policies_ask_for_no_needs() -> None:
    fleet = await able(a=("completion", None), b=("completion vision", None))
    answer = await explained(fleet, b"model=m&needs=vision")
    assert (answer["needs"], chosen(answer), outs(answer)) == (None, ["a"], [None, None])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (b"needs=magic", "needs must be of completion, tools, insert, vision, embedding, thinking, image, audio"),
        (b"needs=tools,", "needs must be of"),
        (b"tokens=-1", "tokens must be a number"),
        (b"tokens=many", "tokens must be a number"),
        (b"tokens=%C2%B2", "tokens must be a number"),
        (b"tokens=" + b"9" * 5000, "tokens must be a number"),
    ],
)
async def test_needs_that_nobody_understands(query: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        await explained(await able(a=("completion", None)), b"model=m&" + query, BY_NEED)
