"""Whom the client would rather have, and who can do what its request needs: leases out of both."""

import json
from typing import Any

import pytest

from arriero.backends.http.call import Headers
from arriero.canonical.catalog import Capability, ModelCard
from arriero.compose import DIALECTS
from arriero.dialects.profiles import profile_of
from arriero.errors import AmbiguousModel, BackendFailed, Busy, ModelNotFound, NoBackend
from arriero.gateway.choice import Choice, Routing
from arriero.gateway.door import Door
from arriero.gateway.outcome import Outcome
from arriero.gateway.reading import Reading
from arriero.gateway.roster import Bylaws, Roster
from arriero.routing.decide import Rules
from arriero.routing.fleet import State
from arriero.routing.sticky import Sessions, Stick
from support.choosing import Asked, Clock, asked, fleet
from support.plain import Plain, settled


def routed(word: str = "openrouter") -> Headers:
    return ((b"x-provider", word.encode()),)


def router(*ids: str) -> Plain:
    made = Plain("router", *ids)
    made.profile = profile_of("openrouter")
    return made


# ---- X-Provider ----------------------------------------------------------------------------------------------------


async def test_the_model_is_the_preferred_ones_and_then_the_others() -> None:
    roster = await fleet(Plain("gpu", "gpt-4o"), router("openai/gpt-4o"))
    for at_once in (True, False):
        request = Asked(roster, headers=routed())
        if at_once:
            request.choice.find_at_once("gpt-4o")
        else:
            await request.find("gpt-4o")
        assert request.outcome.candidates == 2
        assert request.take() == "router/openai/gpt-4o: provider"
        assert request.fails(BackendFailed("no", status=500))
        assert request.take() == "gpu/gpt-4o: only one left"
        request.end()
    assert (await Asked(roster).find("gpt-4o")).take() == "gpu/gpt-4o: only"


async def test_one_that_cannot_now_is_passed_over() -> None:
    roster = await fleet(Plain("gpu", "m"), router("m"), most=1)
    first, second = [await Asked(roster, headers=routed()).find("m") for _ in range(2)]
    assert (first.take(), second.take()) == ("router/m: provider", "gpu/m: only one free")
    first.end()
    second.end()
    roster.entries["router"].state = State.OFFLINE
    assert (await Asked(roster, headers=routed()).find("m")).take() == "gpu/m: only one free"


@pytest.mark.parametrize("word", ["azure", "nobody", "", "\xff", "router,gpu"])
async def test_a_word_that_means_nobody_is_no_preference(word: str) -> None:
    roster = await fleet(Plain("gpu", "m"), router("m"))
    assert (await Asked(roster, headers=routed(word)).find("m")).take() == "gpu/m: least-connections"


async def test_it_settles_an_ambiguity_also_at_once() -> None:
    roster = await fleet(Plain("gpu", "a/x"), router("b/x"))
    request = Asked(roster, headers=routed())
    request.choice.find_at_once("x")
    assert request.take() == "router/b/x: only"
    assert (await Asked(roster, headers=routed()).find("x")).take() == "router/b/x: only"
    for headers in ((), routed("nobody")):
        with pytest.raises(AmbiguousModel):
            await Asked(roster, headers=headers).find("x")
        with pytest.raises(AmbiguousModel):
            Asked(roster, headers=headers).choice.find_at_once("x")


async def test_a_model_that_nobody_has_is_not_found_whoever_is_preferred() -> None:
    with pytest.raises(ModelNotFound):
        await Asked(await fleet(Plain("gpu", "m"), router("m")), headers=routed()).find("nope")


async def test_a_model_that_nobody_lists_goes_to_the_preferred_one() -> None:
    roster = await fleet(Plain("gpu", "m"), router("m"), bylaws=Bylaws(unknown_model="any"))
    assert (await Asked(roster, headers=routed()).find("made/up")).take() == "router/made/up: provider"


async def test_an_alias_begins_with_the_preferred_ones_model() -> None:
    roster = await fleet(Plain("gpu", "small"), router("acme/big"), bylaws=Bylaws(aliases={"fast": ["small", "big"]}))
    assert (await Asked(roster).find("fast")).take() == "gpu/small: only"
    request = await Asked(roster, headers=routed()).find("fast")
    assert (request.take(), request.outcome.alias) == ("router/acme/big: provider", "fast")


async def test_a_fallback_is_no_less_one_for_being_the_preferred_ones() -> None:
    roster = await fleet(Plain("gpu", "big"), router("small"))
    request = await Asked(roster, Routing(fallback={"big": ["small"]}), headers=routed()).find("big")
    assert request.take() == "gpu/big: only"
    assert request.fails(BackendFailed("no", status=500))
    assert (request.take(), request.outcome.fallback) == ("router/small: only one left", True)


async def test_a_session_goes_to_the_preferred_one_and_stays() -> None:
    roster = await fleet(Plain("gpu", "m"), router("m"), sessions=Sessions())
    sticky = Routing(sticky=("header",))
    named: Headers = ((b"x-olla-session-id", b"s"),)
    assert (await Asked(roster, sticky, headers=named).find("m")).take() == "gpu/m: least-connections"
    moved = await Asked(roster, sticky, headers=(*named, *routed())).find("m")
    assert (moved.take(), moved.outcome.stick) == ("router/m: provider", Stick("repin", "session_header", "s"))
    assert (await Asked(roster, sticky, headers=named).find("m")).take() == "router/m: session"


async def test_without_a_model_it_counts_too() -> None:
    request = Asked(await fleet(Plain("gpu", "m"), router("m")), headers=routed())
    request.choice.anywhere()
    assert request.take() == "router/: provider"


async def test_it_counts_among_those_behind_the_door() -> None:
    vllm, other = Plain("lab", "m"), Plain("lab2", "m")
    vllm.profile = other.profile = profile_of("vllm")
    roster = await fleet(vllm, other, router("m"))
    door = Door("/olla/vllm", "vllm", olla=True)
    assert (await Asked(roster, door=door, headers=routed("lab2")).find("m")).take() == "lab2/m: provider"
    assert (await Asked(roster, door=door, headers=routed()).find("m")).take() == "lab/m: least-connections"


async def test_it_is_kept_when_the_fleet_changes() -> None:
    clock, one = Clock(), router("b/x")
    roster = await fleet(Plain("gpu", "x"), one, clock=clock, most=1)
    request, holders = Asked(roster, headers=routed()), [Asked(roster), Asked(roster)]
    await request.find("x")
    for holder, model in zip(holders, ("x", "b/x"), strict=True):
        await holder.find(model)
        holder.take()
    waits = request.waits()
    await settled()
    one.offers("c/x")
    await roster.refresh()
    await settled()
    for holder in holders:
        holder.end()
    assert await waits == "router/c/x: provider"


# ---- the policy `capability` ---------------------------------------------------------------------------------------

BY_NEED = Routing(rules=Rules("capability"))
IMAGE = {"model": "m", "messages": [{"role": "user", "content": "what is it?", "images": ["aGk="]}]}
TEXT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def able(name: str, **models: str | None) -> Plain:
    """A backend whose list says what its models can do."""
    made = Plain(name)
    made.list_answer = tuple(
        ModelCard(id=id, capabilities=None if words is None else frozenset(map(Capability, words.split())))
        for id, words in models.items()
    )
    return made


class Needing(Asked):
    """One request that can tell what it needs."""

    def __init__(self, roster: Roster, body: Any, routing: Routing = BY_NEED, *, headers: Headers = ()) -> None:
        super().__init__(roster, routing)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request, dialect = asked(headers, body=raw), DIALECTS["ollama"]
        self.reading = Reading(request, dialect, dialect.by_path[request.path])
        self.outcome = Outcome()
        self.choice = Choice(request, roster, routing, self.outcome, self.reading)

    async def find(self, model: str) -> "Needing":
        await self.choice.find(model)
        return self


async def test_an_image_goes_to_whom_can_see() -> None:
    roster = await fleet(able("a", m="completion"), able("b", m=None), able("c", m="completion vision"))
    request = await Needing(roster, IMAGE).find("m")
    assert request.take() == "c/m: capability"
    assert request.fails(BackendFailed("no", status=500))
    assert request.take() == "b/m: only one left"
    assert request.fails(BackendFailed("no", status=500))
    with pytest.raises(NoBackend):
        request.take()
    assert (await Needing(roster, TEXT).find("m")).take() == "a/m: capability"


async def test_of_an_alias_the_first_model_that_can() -> None:
    bylaws = Bylaws(aliases={"either": ["small-text", "big-vision"]})
    roster = await fleet(able("one", **{"small-text": "completion", "big-vision": "completion vision"}), bylaws=bylaws)
    assert (await Needing(roster, IMAGE).find("either")).take() == "one/big-vision: capability"
    assert (await Needing(roster, TEXT).find("either")).take() == "one/small-text: only"


async def test_a_fallback_takes_only_what_the_model_asked_for_is_known_to_be_unable_to_do() -> None:
    routing = Routing(rules=Rules("capability"), fallback={"m": ["big"]})
    seeing = able("b", big="completion vision")
    unknown = await fleet(able("a", m=None), seeing)
    assert (await Needing(unknown, IMAGE, routing).find("m")).take() == "a/m: only"
    blind = await fleet(able("a", m="completion"), seeing)
    assert (await Needing(blind, IMAGE, routing).find("m")).take() == "b/big: capability"
    assert (await Needing(blind, TEXT, routing).find("m")).take() == "a/m: only"


async def test_where_nobody_can_the_request_goes_on() -> None:
    roster = await fleet(able("a", m="completion"), able("b", m="completion tools"))
    assert (await Needing(roster, IMAGE).find("m")).take() == "a/m: capability"


async def test_of_one_backend_and_of_other_policies_nothing_is_read() -> None:
    """The body is no JSON: to read it would be to see that."""
    several = await fleet(able("a", m="completion"), able("b", m="completion"))
    for roster, routing, said in (
        (await fleet(able("a", m="completion")), BY_NEED, "a/m: only"),
        (several, Routing(), "a/m: least-connections"),
    ):
        request = await Needing(roster, IMAGE, routing).find("m")
        assert request.take() == said
        assert request.reading._decoded is None


async def test_what_the_dialect_cannot_read_needs_nothing_that_is_known() -> None:
    roster = await fleet(able("a", m="embedding"), able("b", m="completion"))
    assert (await Needing(roster, b'{"model":"m","messages":7}').find("m")).take() == "a/m: capability"
    assert (await Needing(roster, TEXT).find("m")).take() == "b/m: capability"


async def test_who_waits_for_one_that_can_leaves_the_places_of_the_others_to_others() -> None:
    roster = await fleet(able("a", m="completion"), able("b", m="completion vision"), most=1)
    holders = [await Needing(roster, body).find("m") for body in (TEXT, IMAGE)]
    for holder in holders:
        holder.take()
    image, text = [await Needing(roster, body).find("m") for body in (IMAGE, TEXT)]
    with pytest.raises(Busy):
        image.take()
    first, second = image.waits(), text.waits()
    await settled()
    holders[0].end()  # the place on `a`
    await settled()
    assert (first.done(), second.done()) == (False, True)
    holders[1].end()
    assert (await first, await second) == ("b/m: capability", "a/m: only one free")


async def test_need_and_preference() -> None:
    seeing, blind = able("gpu", m="completion vision"), able("router", m="completion")
    blind.profile = profile_of("openrouter")
    roster = await fleet(seeing, blind)
    assert (await Needing(roster, IMAGE, headers=routed()).find("m")).take() == "gpu/m: capability"
    assert (await Needing(roster, TEXT, headers=routed()).find("m")).take() == "router/m: provider"
