"""The routes that tell of models and of the server itself: everything that is neither inference nor library.

What the answers look like is the dialects' business; here they get their facts from the roster.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import arriero
from arriero.backends.http.call import Headers
from arriero.canonical.catalog import Listed, ModelCard
from arriero.dialects.base import Dialect
from arriero.dialects.ollama import catalog as ollama
from arriero.dialects.ollama.show_request import decode_show, show_not_found
from arriero.dialects.openai import catalog as openai
from arriero.errors import AmbiguousModel, ArrieroError, BadRequest, Forbidden, ModelNotFound, Unauthorized
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.roster import Roster
from arriero.routing.names import Offer, listed_name
from arriero.server.routes import Route

OLLAMA_VERSION = "0.17.6"
"""The release whose behaviour clients may expect; several compare it, so it is digits and dots only."""

_JSON: Headers = ((b"content-type", b"application/json; charset=utf-8"),)
_OPENAI_JSON: Headers = ((b"content-type", b"application/json"),)
_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
_SELF: Headers = ((b"server", b"arriero/" + arriero.__version__.encode()),)

_SIGN_IN = b'{"error":"unauthorized","signin_url":"https://ollama.com/connect"}'

INSTALLED = Path(arriero.__file__).stat().st_mtime
"""The time of models that have none of their own: the same after every restart."""

_GET = ("GET",)
_GET_HEAD = ("GET", "HEAD")
_POST = ("POST",)


class Catalog:
    """The handlers, and their routes. `tagged`: Ollama listings add `:latest` to ids without a tag."""

    def __init__(self, roster: Roster, dialects: Mapping[str, Dialect], *, tagged: bool) -> None:
        self._roster = roster
        self._dialects = dialects
        self._tagged = tagged
        self.routes: Sequence[Route] = (
            Route("/", _GET_HEAD, self.root),
            Route("/api/version", _GET_HEAD, self.version),
            Route("/api/tags", _GET_HEAD, self.tags),
            Route("/api/ps", _GET, self.ps),
            Route("/api/status", _GET, self.status),
            Route("/api/show", _POST, self.show),
            Route("/api/me", _POST, self.me),
            Route("/api/signout", _POST, self.signout),
            Route("/api/user/keys/*", ("DELETE",), self.signout),
            Route("/api/experimental/web_search", _POST, self.web_search),
            Route("/api/experimental/web_fetch", _POST, self.web_fetch),
            Route("/api/experimental/model-recommendations", _GET, self.recommendations),
            Route("/v1/models", _GET, self.models),
            Route("/v1/models/*", _GET, self.model),
            Route("/healthz", _GET_HEAD, self.alive),
            Route("/readyz", _GET_HEAD, self.ready),
        )

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
        """At least one backend can serve."""
        if any(entry.healthy and entry.cards for entry in self._roster.entries.values()):
            reply(lane, 200, _TEXT, b"ready")
        else:
            reply(lane, 503, _TEXT, b"no backend has a model to serve")

    # ---- models ----------------------------------------------------------------------------------------------------

    async def tags(self, inbound: Inbound, lane: Lane) -> None:
        """Every model once, under the name that clients use."""
        await self._look_again()
        reply(lane, 200, _JSON, ollama.tags(self._listed(tagged=self._tagged), INSTALLED))

    async def ps(self, inbound: Inbound, lane: Lane) -> None:
        """The models in memory anywhere."""
        loaded = [(self._name(model.card), model) for model in await self._roster.loaded()]
        reply(lane, 200, _JSON, ollama.ps(loaded, time.time()))

    async def show(self, inbound: Inbound, lane: Lane) -> None:
        """What is known of one model."""
        asked = decode_show(inbound.body)
        try:
            offer = await self._offer(asked.model)
        except AmbiguousModel:
            raise
        except ModelNotFound:
            raise show_not_found(asked.model) from None
        detail = await self._roster.entries[offer.backend].backend.show(offer.card, asked.verbose)
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
        reply(lane, 200, _JSON, body)

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """Every model once, by its own id."""
        await self._look_again()
        reply(lane, 200, _OPENAI_JSON, openai.write_models(self._listed(tagged=False), INSTALLED))

    async def model(self, inbound: Inbound, lane: Lane) -> None:
        """One model; ids may hold slashes."""
        id = inbound.path.removeprefix("/v1/models/")
        offer = await self._offer(id)
        reply(lane, 200, _OPENAI_JSON, openai.write_model(Listed(id, offer.card), INSTALLED))

    def _name(self, card: ModelCard) -> str:
        return listed_name(card.id) if self._tagged else card.id

    async def _offer(self, name: str) -> Offer:
        return (await self._roster.resolve(name))[0]

    async def _look_again(self) -> None:
        """Files come and go in a models directory: looking costs nothing, so listings are never stale."""
        await self._roster.refresh_local()

    def _listed(self, *, tagged: bool) -> list[Listed]:
        names = self._roster.names
        found = [offers[0].card for offers in names.models.values()]
        listed = [Listed(listed_name(card.id) if tagged else card.id, card) for card in found]
        for alias in names.aliases:
            if (card := self._alias_card(alias)) is not None:
                listed.append(Listed(listed_name(alias) if tagged else alias, card))
        return listed

    def _alias_card(self, alias: str) -> ModelCard | None:
        try:
            return self._roster.names.resolve(alias)[0].card
        except ArrieroError:
            return None  # none of its models is there now

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


def _expect_body(inbound: Inbound) -> None:
    if not inbound.body.strip():
        raise BadRequest("missing request body")
