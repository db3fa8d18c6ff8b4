"""The routes that tell of models and of the server itself: everything that is neither inference nor library.

What the answers look like is the dialects' business; here they get their facts from the roster.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

import arriero
from arriero.backends.http.call import Headers
from arriero.canonical.catalog import Listed, ModelCard, ModelDetail
from arriero.dialects.base import Dialect
from arriero.dialects.ollama import catalog as ollama
from arriero.dialects.ollama.show_request import decode_show, show_not_found
from arriero.dialects.openai import catalog as openai
from arriero.errors import AmbiguousModel, ArrieroError, BadRequest, Forbidden, ModelNotFound, Unauthorized
from arriero.gateway.door import Door
from arriero.gateway.kinds import type_of
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.marks import marks
from arriero.gateway.outcome import Outcome
from arriero.gateway.providers import meaning, word_of
from arriero.gateway.roster import Roster
from arriero.routing.fleet import State
from arriero.routing.names import Names, Offer, listed_name
from arriero.server.listings import Listings
from arriero.server.routes import GET_HEAD, JSON, Route

OLLAMA_VERSION = "0.17.6"
"""The release whose behaviour clients may expect; several compare it, so it is digits and dots only."""

_JSON: Headers = ((b"content-type", b"application/json; charset=utf-8"),)
_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
_SELF: Headers = ((b"server", b"arriero/" + arriero.__version__.encode()),)

_SIGN_IN = b'{"error":"unauthorized","signin_url":"https://ollama.com/connect"}'

INSTALLED = Path(arriero.__file__).stat().st_mtime
"""The time of models that have none of their own: the same after every restart."""

_GET = ("GET",)
_POST = ("POST",)


class Catalog:
    """The handlers, and their routes. `tagged`: Ollama listings add `:latest` to ids without a tag."""

    def __init__(
        self, roster: Roster, dialects: Mapping[str, Dialect], *, tagged: bool, strategy: str = "strict"
    ) -> None:
        self._roster = roster
        self._dialects = dialects
        self._tagged = tagged
        self._strategy = strategy
        self._listings = Listings()
        shared = (
            Route("/", GET_HEAD, self.root),
            Route("/api/version", GET_HEAD, self.version),
            Route("/api/tags", GET_HEAD, self.tags),
            Route("/api/ps", _GET, self.ps),
            Route("/api/show", _POST, self.show),
            Route("/v1/models", _GET, self.models),
            Route("/v1/models/*", _GET, self.model),
        )
        self.behind_doors: Sequence[Route] = (
            *shared,
            Route("/api/v0/models", _GET, self.models),  # LM Studio's own paths
            Route("/api/v1/models", _GET, self.models),
        )
        self.routes: Sequence[Route] = (
            *shared,
            Route("/api/status", _GET, self.status),
            Route("/api/me", _POST, self.me),
            Route("/api/signout", _POST, self.signout),
            Route("/api/user/keys/*", ("DELETE",), self.signout),
            Route("/api/experimental/web_search", _POST, self.web_search),
            Route("/api/experimental/web_fetch", _POST, self.web_fetch),
            Route("/api/experimental/model-recommendations", _GET, self.recommendations),
            Route("/healthz", GET_HEAD, self.alive),
            Route("/readyz", GET_HEAD, self.ready),
        )

    @property
    def tagged(self) -> bool:
        """Whether Ollama listings add `:latest`."""
        return self._tagged

    # ---- the server ------------------------------------------------------------------------------------------------

    async def root(self, inbound: Inbound, lane: Lane) -> None:
        """Some clients compare the text."""
        reply(lane, 200, _TEXT, b"Ollama is running")

    async def version(self, inbound: Inbound, lane: Lane) -> None:
        """Ollama's version; the `Server` field tells arriero from Ollama."""
        reply(lane, 200, (*_JSON, *_SELF), ollama.version(OLLAMA_VERSION))

    async def status(self, inbound: Inbound, lane: Lane) -> None:
        """As an Ollama server with its cloud switched off."""
        reply(lane, 200, _JSON, ollama.status())

    async def alive(self, inbound: Inbound, lane: Lane) -> None:
        """The process answers."""
        reply(lane, 200, _TEXT, b"ok")

    async def ready(self, inbound: Inbound, lane: Lane) -> None:
        """At least one backend can serve a model that clients see."""
        shown = self._roster.names.models
        if shown and any(entry.well and entry.cards for entry in self._roster.entries.values()):
            reply(lane, 200, _TEXT, b"ready")
        else:
            reply(lane, 503, _TEXT, b"no backend has a model to serve")

    # ---- models ----------------------------------------------------------------------------------------------------

    async def tags(self, inbound: Inbound, lane: Lane) -> None:
        """Every model once, under the name that clients use."""
        await self._look_again()
        door = inbound.door
        body = self._text(door, "ollama", lambda: ollama.tags(self.listed(door, tagged=self._tagged), INSTALLED))
        reply(lane, 200, _JSON, body)

    async def ps(self, inbound: Inbound, lane: Lane) -> None:
        """The models in memory anywhere."""
        loaded = [(self._name(model.card), model) for _, model in await self._roster.loaded(inbound.door.scope)]
        reply(lane, 200, _JSON, ollama.ps(loaded, time.time()))

    async def show(self, inbound: Inbound, lane: Lane) -> None:
        """What is known of one model."""
        asked = decode_show(inbound.body)
        try:
            found = await meaning(asked.model, word_of(inbound), self._roster, inbound.door.scope)
            offers = found.offers
        except AmbiguousModel:
            raise
        except ModelNotFound:
            raise show_not_found(asked.model) from None
        told = Outcome(model=asked.model, strategy=self._strategy, candidates=len({one.backend for one in offers}))
        if self._roster.view(inbound.door.scope).names.is_alias(asked.model):
            told.alias = asked.model
        offer, detail = await self._described(offers, asked.verbose, told)
        # Copilot Chat shows the base name to people, and must find the model again under what it shows.
        copilot = (inbound.get(b"user-agent") or b"").startswith(b"GitHubCopilotChat/")
        body = ollama.show(
            detail,
            self._name(offer.card),
            since=INSTALLED,
            verbose=asked.verbose,
            basename=asked.model if copilot else None,
            system=asked.system,
            options=asked.options,
        )
        reply(lane, 200, (*_JSON, *marks(told, inbound)), body)

    async def _described(self, offers: Sequence[Offer], verbose: bool, told: Outcome) -> tuple[Offer, ModelDetail]:
        """What the first one who can tell says of the model. Those that answer are asked first; whoever fails leaves it
        to the next. Raises what the last one raises.
        """
        ordered, entries = self._answering_first(offers), self._roster.entries
        for offer in ordered:
            entry = entries[offer.backend]
            told.attempts += 1
            told.backend, told.backend_type, told.backend_model = offer.backend, type_of(entry.backend), offer.card.id
            try:
                detail = await entry.backend.show(offer.card, verbose)
            except ArrieroError as error:
                self._roster.met(entry, error)
                if offer is ordered[-1]:
                    raise
            else:
                told.head_ns = time.time_ns()
                return offer, detail
        raise AssertionError("a name means at least one offer")

    def _answering_first(self, offers: Sequence[Offer]) -> Sequence[Offer]:
        return sorted(offers, key=lambda offer: not self._roster.entries[offer.backend].well)

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """Every model once, by its own id."""
        await self._look_again()
        door = inbound.door
        body = self._text(door, "openai", lambda: openai.write_models(self.listed(door, tagged=False), INSTALLED))
        reply(lane, 200, JSON, body)

    async def model(self, inbound: Inbound, lane: Lane) -> None:
        """One model; ids may hold slashes."""
        id = inbound.path.removeprefix("/v1/models/")
        offer = await self._offer(id, inbound.door)
        reply(lane, 200, JSON, openai.write_model(Listed(id, _owned(offer.card, inbound.door)), INSTALLED))

    def _name(self, card: ModelCard) -> str:
        return listed_name(card.id) if self._tagged else card.id

    async def _offer(self, name: str, door: Door) -> Offer:
        """Of those who offer the model, one that answers, if any does."""
        return self._answering_first(await self._roster.resolve(name, door.scope))[0]

    def _text(self, door: Door, form: str, write: Callable[[], bytes]) -> bytes:
        view = self._roster.view(door.scope)
        return self._listings.text(door, form, view.names, view.entries, write)

    async def _look_again(self) -> None:
        """Files come and go in a models directory: looking costs nothing, so listings are never stale."""
        await self._roster.refresh_local()

    def listed(self, door: Door, *, tagged: bool) -> list[Listed]:
        """Every model that somebody can be asked for: where all who have it are offline, nobody can."""
        view = self._roster.view(door.scope)
        there = {name for name, entry in view.entries.items() if entry.state is not State.OFFLINE}
        found = [_first(offers, there) for offers in view.names.models.values()]
        cards = [_owned(card, door) for card in found if card is not None]
        listed = [Listed(listed_name(card.id) if tagged else card.id, card) for card in cards]
        for alias in view.names.aliases:
            name = listed_name(alias) if tagged else alias
            # Under the name that would be shown: with its `:latest` it may be a model's, which is in the list already.
            if view.names.is_alias(name) and (card := _alias_card(view.names, name, there)) is not None:
                listed.append(Listed(name, _owned(card, door)))
        return listed

    # ---- ollama.com: as a server with the cloud switched off -------------------------------------------------------

    async def me(self, inbound: Inbound, lane: Lane) -> None:
        """Nobody is signed in."""
        reply(lane, 401, _JSON, _SIGN_IN)

    async def signout(self, inbound: Inbound, lane: Lane) -> None:
        """Nobody is signed in."""
        raise Unauthorized("you are not currently signed in")

    async def web_search(self, inbound: Inbound, lane: Lane) -> None:
        """Ollama's cloud searches; arriero has none."""
        _expect_body(inbound)
        raise Forbidden("ollama cloud is disabled: web search is unavailable")

    async def web_fetch(self, inbound: Inbound, lane: Lane) -> None:
        """Ollama's cloud fetches; arriero has none."""
        _expect_body(inbound)
        raise Forbidden("ollama cloud is disabled: web fetch is unavailable")

    async def recommendations(self, inbound: Inbound, lane: Lane) -> None:
        """An empty list is a valid answer."""
        reply(lane, 200, _JSON, b'{"recommendations":[]}')


def _first(offers: Sequence[Offer], there: Collection[str]) -> ModelCard | None:
    return next((offer.card for offer in offers if offer.backend in there), None)


def _alias_card(names: Names, alias: str, there: Collection[str]) -> ModelCard | None:
    try:
        return _first(names.resolve(alias), there)
    except ArrieroError:
        return None  # none of its models is there now


def _owned(card: ModelCard, door: Door) -> ModelCard:
    """Olla's clients know one owner of all models."""
    return replace(card, owned_by="olla") if door.olla else card


def _expect_body(inbound: Inbound) -> None:
    if not inbound.body.strip():
        raise BadRequest("missing request body")
