"""`GET /arriero/api/explain?model=...`: where a request for a model would go now, and why. Nothing is sent.

What a request says beyond its model is said in the query: `provider` for the field `X-Provider`, and for the policy
`capability` what it would need, as `needs=tools,vision` and `tokens=20000`.
"""

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qs

from msgspec import Struct

from arriero.canonical.catalog import Capability
from arriero.errors import AmbiguousModel, BadRequest, Busy, ModelForbidden, ModelNotFound, NoBackend
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.providers import Preferring, meaning
from arriero.gateway.roster import Roster
from arriero.routing.decide import Rules, Weighed, decide, weigh
from arriero.routing.fleet import Member
from arriero.routing.names import Offer, key_of
from arriero.routing.needs import Needs, can
from arriero.routing.policies import CAPABILITY
from arriero.server.routes import JSON, Route
from arriero.wire.jsontext import json_text

MAX_DIGITS = 12
"""Of a number of tokens."""


class Candidate(Struct, frozen=True):
    """One backend's offer. `out` says why it cannot be taken now; the least `score` wins, part by part. `fallback`: it
    is of a model that answers in the place of the one asked for. `preferred`: it is of the provider that was named.
    `able`: whether the model can do what the request needs, `null` where the catalog does not tell or nobody asks.
    """

    backend: str
    kind: str
    model: str
    fallback: bool
    preferred: bool
    able: bool | None
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
    capabilities: Sequence[str] | None
    context_length: int | None
    input_price: float | None
    output_price: float | None


class Asked(Struct, frozen=True):
    """What a request would need, as far as the policy asks."""

    capabilities: Sequence[str]
    tokens: int


class Explained(Struct, frozen=True):
    """The whole answer. `reason` is what `X-Arriero-Reason` would say, `null` where nobody can be taken now. `queued`:
    every candidate is full, and a request would wait. `needs` is `null` where the policy asks for none.
    """

    model: str
    provider: str | None
    needs: Asked | None
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
        query = parse_qs(inbound.query.decode("latin-1"))
        asked = query.get("model")
        if not asked:
            raise BadRequest("name a model: /arriero/api/explain?model=NAME")
        provider = query.get("provider", [""])[0] or None
        roster, rules, model = self._roster, self._rules, asked[0]
        needs = _needs(query) if rules.policy == CAPABILITY else None
        own = await self._own(model, provider)
        offers = self._with_fallbacks(model, own.offers)
        now = roster.clock()
        fleet = roster.members(offers, now)
        pairs = {(offer.backend, offer.card.id) for offer in own.offers}
        weighed = weigh(offers, fleet, rules, now, own=pairs, preferred=own.preferred, needs=needs)
        reason: str | None = None
        queued = False
        try:
            reason = decide(offers, fleet, rules, now, own=pairs, preferred=own.preferred, needs=needs).reason
        except Busy:
            queued = True
        except NoBackend:
            pass  # waiting would not help
        answer = Explained(
            model=model,
            provider=provider,
            needs=None if needs is None else Asked(_words(needs.capabilities), needs.tokens),
            reason=reason,
            policy=rules.policy,
            prefer_loaded=rules.prefer_loaded,
            alias=roster.names.is_alias(model),
            queued=queued,
            waiting=roster.queue.waiting,
            candidates=[_candidate(one, fleet[one.offer.backend], own, needs) for one in weighed],
        )
        reply(lane, 200, JSON, json_text(answer))

    async def _own(self, model: str, provider: str | None) -> Preferring:
        """The offers of the model itself; none of an unknown one that has a fallback."""
        try:
            return await meaning(model, provider, self._roster, None)
        except (AmbiguousModel, ModelForbidden):
            raise
        except ModelNotFound:
            if self._with_fallbacks(model, ()):
                return Preferring((), frozenset())
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


def _needs(query: Mapping[str, Sequence[str]]) -> Needs:
    """What the query says of a request; a chat where it says nothing. Raises `BadRequest`."""
    known = {one.value: one for one in Capability}
    words = [word.strip() for told in query.get("needs", ("completion",)) for word in told.split(",")]
    tokens = query.get("tokens", ("0",))[0]
    if not all(word in known for word in words):
        raise BadRequest(f"needs must be of {', '.join(known)}")
    if not (tokens.isascii() and tokens.isdecimal() and len(tokens) <= MAX_DIGITS):
        raise BadRequest("tokens must be a number")
    return Needs(frozenset(known[word] for word in words), int(tokens))


def _words(capabilities: Collection[Capability]) -> Sequence[str]:
    return [one.value for one in Capability if one in capabilities]


def _candidate(one: Weighed, member: Member, own: Preferring, needs: Needs | None) -> Candidate:
    card = one.offer.card
    return Candidate(
        backend=member.name,
        kind=member.kind,
        model=card.id,
        fallback=one.offer not in own.offers,
        preferred=(member.name, card.id) in own.preferred,
        able=None if needs is None else can(needs, card),
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
        capabilities=None if card.capabilities is None else _words(card.capabilities),
        context_length=card.context_length,
        input_price=card.input_price,
        output_price=card.output_price,
    )
