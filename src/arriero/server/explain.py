"""`GET /arriero/api/explain?model=...`: where a request for a model would go now, and why. Nothing is sent."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.errors import AmbiguousModel, BadRequest, Busy, ModelForbidden, ModelNotFound, NoBackend
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.roster import Roster
from arriero.routing.decide import Rules, Weighed, decide, weigh
from arriero.routing.fleet import Member
from arriero.routing.names import Offer, key_of
from arriero.server.routes import Route
from arriero.wire.jsontext import json_text

_JSON: Headers = ((b"content-type", b"application/json"),)


class Candidate(Struct, frozen=True):
    """One backend's offer. `out` says why it cannot be taken now; the least `score` wins, part by part. `fallback`: it
    is of a model that answers in the place of the one asked for.
    """

    backend: str
    kind: str
    model: str
    fallback: bool
    chosen: bool
    out: str | None
    score: Sequence[float | None]
    state: str
    loaded: bool
    priority: int
    weight: float
    in_flight: int
    max_concurrency: int | None
    first_byte_s: float | None
    tokens_per_s: float | None
    input_price: float | None
    output_price: float | None


class Explained(Struct, frozen=True):
    """The whole answer. `reason` is what `X-Arriero-Reason` would say, `null` where nobody can be taken now. `queued`:
    every candidate is full, and a request would wait.
    """

    model: str
    reason: str | None
    policy: str
    prefer_loaded: bool
    alias: bool
    queued: bool
    waiting: int
    candidates: Sequence[Candidate]


class Explain:
    """The handler, and its route. `fallback`: model key to those that answer in its place."""

    def __init__(self, roster: Roster, rules: Rules, fallback: Mapping[str, Sequence[str]] | None = None) -> None:
        self._roster = roster
        self._rules = rules
        self._fallback = fallback or {}
        self.routes: Sequence[Route] = (Route("/arriero/api/explain", ("GET",), self.explain),)

    async def explain(self, inbound: Inbound, lane: Lane) -> None:
        """The candidates in the order of the configuration, those of fallback models behind the others. An unknown
        model is a 404, as for a request.
        """
        asked = parse_qs(inbound.query.decode("latin-1")).get("model")
        if not asked:
            raise BadRequest("name a model: /arriero/api/explain?model=NAME")
        roster, rules, model = self._roster, self._rules, asked[0]
        own = await self._own(model)
        offers = self._with_fallbacks(model, own)
        now = roster.clock()
        fleet = roster.members(offers, now)
        weighed = weigh(offers, fleet, rules, now)
        reason, queued = _decided(offers, fleet, rules, now)
        answer = Explained(
            model=model,
            reason=reason,
            policy=rules.policy,
            prefer_loaded=rules.prefer_loaded,
            alias=roster.names.is_alias(model),
            queued=queued,
            waiting=roster.queue.waiting,
            candidates=[_candidate(one, fleet[one.offer.backend], one.offer not in own) for one in weighed],
        )
        reply(lane, 200, _JSON, json_text(answer))

    async def _own(self, model: str) -> Sequence[Offer]:
        """The offers of the model itself; none of an unknown one that has a fallback."""
        try:
            return await self._roster.resolve(model)
        except (AmbiguousModel, ModelForbidden):
            raise
        except ModelNotFound:
            if self._with_fallbacks(model, ()):
                return ()
            raise

    def _with_fallbacks(self, model: str, own: Sequence[Offer]) -> Sequence[Offer]:
        found = {(offer.backend, offer.card.id): offer for offer in own}
        for name in self._fallback.get(key_of(model.strip()), ()):
            try:
                others = self._roster.names.resolve(name)
            except (ModelNotFound, ModelForbidden):
                continue  # the next one may be there
            for offer in others:
                found.setdefault((offer.backend, offer.card.id), offer)
        return tuple(found.values())


def _decided(offers: Sequence[Offer], fleet: Mapping[str, Member], rules: Rules, now: float) -> tuple[str | None, bool]:
    """Why the one that is taken is, and whether a request would have to wait."""
    try:
        return decide(offers, fleet, rules, now).reason, False
    except Busy:
        return None, True
    except NoBackend:
        return None, False  # waiting would not help


def _candidate(one: Weighed, member: Member, fallback: bool) -> Candidate:
    card = one.offer.card
    return Candidate(
        backend=member.name,
        kind=member.kind,
        model=card.id,
        fallback=fallback,
        chosen=one.chosen,
        out=one.out,
        score=[None if part == float("inf") else part for part in one.score],
        state=member.state.value,
        loaded=one.loaded,
        priority=member.priority,
        weight=member.weight,
        in_flight=member.in_flight,
        max_concurrency=member.max_concurrency,
        first_byte_s=member.speed.first_byte_s,
        tokens_per_s=member.speed.tokens_per_s,
        input_price=card.input_price,
        output_price=card.output_price,
    )
