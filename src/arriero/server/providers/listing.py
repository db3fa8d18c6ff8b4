"""`/api/providers`, the counts of one provider, and the models of one provider.

The list has one entry for each backend, as the documentation has it; the code had one member for each type, which has
no place for two backends of a type. `/api/tags/<word>` shows only what clients can ask for, each model once, under the
name that `/api/tags` has for it. Sizes are measured or 0, which is that page's word for unknown. A digest that the
backend does not tell is made of the backend's name and the model's id: the same after every restart.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from arriero.canonical.catalog import ModelCard
from arriero.dialects.ollama.catalog import dated, family_of, own_digest, parameter_size
from arriero.errors import ArrieroError, NotFound
from arriero.gateway.door import FRONT
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.providers import type_of
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.fleet import State
from arriero.routing.names import listed_name
from arriero.server.catalog import INSTALLED
from arriero.server.listings import Listings
from arriero.server.providers.reading import Readings
from arriero.server.providers.shapes import Shape, Terms, answer, counted, listed, meant, refuse
from arriero.server.routes import GET_HEAD, JSON, Route
from arriero.wire.jsontext import json_text

TAGS = "/api/tags/"
PROVIDERS = "/api/providers/"
STATS = "/stats"

UNKNOWN = "Unknown"


class Listing:
    """The handlers, and their routes. `tagged`: names are shown with a tag, as in `/api/tags`."""

    def __init__(self, roster: Roster, tally: Tally, *, terms: Terms, tagged: bool) -> None:
        self._roster = roster
        self._terms = terms
        self._tagged = tagged
        self._readings = Readings(roster, tally)
        self._texts = Listings()
        self.routes: Sequence[Route] = (
            Route("/api/providers", GET_HEAD, self.providers),
            Route(f"{PROVIDERS}*", GET_HEAD, self.stats),
            Route(f"{TAGS}*", GET_HEAD, self.tags),
        )

    async def providers(self, inbound: Inbound, lane: Lane) -> None:
        """Every provider, in configuration order."""
        terms = self._terms
        told = {
            "providers": [listed(one) for one in self._readings.all()],
            "routing_strategy": terms.routing,
            "fallback_strategy": terms.fallback,
            "load_balancing_enabled": terms.balances,
        }
        answer(lane, told)

    async def stats(self, inbound: Inbound, lane: Lane) -> None:
        """The counts of one provider, or of those that the word means together."""
        word = inbound.path.removeprefix(PROVIDERS)
        if not word.endswith(STATS):
            raise NotFound(f"nothing is at {inbound.path}: the counts of a provider are at {PROVIDERS}<provider>/stats")
        word = word.removesuffix(STATS)
        try:
            names = meant(word, self._roster.entries)
        except ArrieroError as error:
            refuse(lane, error)
        else:
            one = self._readings.together(word, names)
            answer(lane, counted(one, names, self._readings.capabilities(names)))

    async def tags(self, inbound: Inbound, lane: Lane) -> None:
        """The models of one provider, or of those that the word means together."""
        await self._roster.refresh_local()
        entries = self._roster.entries
        try:
            names = meant(inbound.path.removeprefix(TAGS), entries)
        except ArrieroError as error:
            refuse(lane, error)
        else:
            chosen = {name: entries[name] for name in names}
            body = self._texts.text(FRONT, "/".join(names), self._roster.names, chosen, lambda: self._tags(chosen))
            reply(lane, 200, JSON, body)

    def _tags(self, chosen: Mapping[str, Entry]) -> bytes:
        there = {name: type_of(entry) for name, entry in chosen.items() if entry.state is not State.OFFLINE}
        models: list[bytes] = []  # one by one: thousands of objects are the garbage collector's work
        for offers in self._roster.names.models.values():
            offer = next((offer for offer in offers if offer.backend in there), None)
            if offer is not None:
                name = listed_name(offer.card.id) if self._tagged else offer.card.id
                models.append(json_text(_model(name, offer.card, offer.backend, there[offer.backend])))
        return b'{"models":[%b]}' % b",".join(models)


def _model(name: str, card: ModelCard, backend: str, type: str) -> Shape:
    family = card.family or family_of(card.id) or type
    return {
        "name": name,
        "model": name,
        "provider": type,
        "backend": backend,
        "modified_at": dated(_modified(card)),
        "size": card.size_bytes or 0,
        "digest": digest(backend, card),
        "details": {
            "format": card.format or "api",
            "family": family,
            "families": card.families or (family,),
            "parameter_size": card.parameter_size or parameter_size(card.parameter_count) or UNKNOWN,
            "quantization_level": card.quantization or UNKNOWN,
        },
    }


def digest(backend: str, card: ModelCard) -> str:
    """`sha256:` and 64 digits: the backend's own, or one of its name and the model's id."""
    return f"sha256:{own_digest(card) or sha256(json_text((backend, card.id))).hexdigest()}"


def _modified(card: ModelCard) -> float:
    at = card.modified_at if card.modified_at is not None else card.created
    return INSTALLED if at is None else at
