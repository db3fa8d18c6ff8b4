"""`/olla/models` and `/olla/models/{id}`: the models of the whole fleet, each name once, in Olla's shape or another's.

A model is left out while nobody who has it is up; an open breaker or a `Retry-After` does not count, for it is over
sooner than somebody has read the list. The parameters are in `_Wanted`.
"""

from collections.abc import Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType

from arriero.canonical.catalog import Capability, Listed
from arriero.dialects.ollama import catalog as ollama
from arriero.dialects.openai import catalog as openai
from arriero.errors import AmbiguousModel, BadRequest, ModelForbidden, ModelNotFound
from arriero.gateway.entry import Entry
from arriero.gateway.kinds import SCOPES, reaches
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.roster import Roster
from arriero.routing.fleet import ROUTABLE, State
from arriero.routing.names import listed_name
from arriero.server.catalog import INSTALLED
from arriero.server.olla import endpoints
from arriero.server.olla.asked import flag, parameters, word
from arriero.server.olla.formats import ago, bytes_text
from arriero.server.olla.models import Model, last_seen, loaded_on, models_of, type_word, words_of
from arriero.server.olla.polled import STILL, answer
from arriero.server.routes import GET_HEAD, Route
from arriero.wire.jsontext import json_text

PREFIX = "/olla/models/"

OWNER = "olla"
"""Who owns a model that names no owner: the word that Olla's clients read there."""

_COMPLETION = frozenset({Capability.COMPLETION})
_SPOKEN = {"chat": "completion", "embeddings": "embedding"}
_CAPABILITIES = (*(capability.value for capability in Capability), *_SPOKEN)
_TYPES = ("llm", "vlm", "embeddings")
_FORMATS = ("unified", "ollama", *(scope for scope in SCOPES if scope not in ("ollama", "anthropic", "proxy")))
"""Whatever is not Ollama's is OpenAI's list: every other server that Olla knows has that one."""


class _Wanted(Struct, frozen=True, kw_only=True):
    """What a client asked for; `None` is everything.

    `available`: whether a request for the model would be carried to somebody now. `include_unavailable`: models come,
    too, that nobody has who is up. `provider` is a type of server, `endpoint` a backend's name, its short name or its
    URL.
    """

    format: str
    endpoint: str | None
    family: str | None
    type: str | None
    capability: str | None
    provider: str | None
    available: bool | None
    include_unavailable: bool


class _Shown(Struct, frozen=True, kw_only=True):
    """What is ours to say of a model beside what OpenAI's list says."""

    max_context_length: int | UnsetType
    family: str
    variant: str
    parameter_size: str
    quantization: str
    aliases: Sequence[str]
    availability: Sequence[Mapping[str, str]]
    capabilities: Sequence[str]


class _ById(Struct, frozen=True, kw_only=True):
    """One model alone."""

    id: str
    family: str
    variant: str
    parameter_size: str
    parameter_count: int | None
    quantization: str
    format: str
    aliases: Sequence[str]
    endpoints: Sequence[str]
    loaded_endpoints: Sequence[str]
    capabilities: Sequence[str]
    max_context_length: int | UnsetType
    total_disk_size: str
    last_seen: str


class Unified:
    """The handlers, and their routes."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.routes: Sequence[Route] = (
            Route("/olla/models", GET_HEAD, self.models),
            Route(PREFIX + "*", GET_HEAD, self.model),
        )

    async def models(self, inbound: Inbound, lane: Lane) -> None:
        """The list. A parameter that makes no sense is a 400 that says which words do."""
        wanted = self._wanted(inbound)
        found = [model for model in models_of(self._roster.names) if self._fits(model, wanted)]
        match wanted.format:
            case "unified":
                body = json_text({"object": "list", "data": [self._entry(model) for model in found]})
            case "ollama":
                body = ollama.tags([Listed(listed_name(model.name), model.card) for model in found], INSTALLED)
            case _:
                body = openai.write_models([Listed(model.name, model.card) for model in found], INSTALLED)
        answer(inbound, lane, body)

    async def model(self, inbound: Inbound, lane: Lane) -> None:
        """One model, by any name that a request may use for it; ids may hold slashes."""
        model = self._named(inbound.path.removeprefix(PREFIX))
        answer(inbound, lane, self._alone(model, self._roster.wall()), self._alone(model, STILL))

    def _named(self, name: str) -> Model:
        names = self._roster.names
        try:
            key = names.listed_key(names.resolve(name)[0].card.id)
        except (AmbiguousModel, ModelForbidden):
            raise
        except ModelNotFound:
            raise ModelNotFound(name, "Model not found") from None
        return next(model for model in models_of(names) if model.key == key)

    # ---- which ------------------------------------------------------------------------------------------------------

    def _wanted(self, inbound: Inbound) -> _Wanted:
        asked = parameters(inbound)
        capability = word(asked, "capability", _CAPABILITIES)
        return _Wanted(
            format=word(asked, "format", _FORMATS) or "unified",
            endpoint=self._endpoint(asked.get("endpoint")),
            family=asked.get("family"),
            type=word(asked, "type", _TYPES),
            capability=capability and _SPOKEN.get(capability, capability),
            provider=word(asked, "provider", SCOPES),
            available=flag(asked, "available"),
            include_unavailable=flag(asked, "include_unavailable") or False,
        )

    def _endpoint(self, asked: str | None) -> str | None:
        """The name of the backend that is meant. Raises `BadRequest`."""
        if asked is None:
            return None
        entries = self._roster.entries
        ids = endpoints.ids(entries.values())
        for name, entry in entries.items():
            if asked.casefold() == name.casefold() or asked in (ids[name], entry.backend.where):
                return name
        raise BadRequest(f"endpoint={asked} is not understood: endpoint may be {', '.join(entries)}")

    def _fits(self, model: Model, wanted: _Wanted) -> bool:
        card = model.card
        able = card.capabilities or _COMPLETION
        if wanted.family is not None and wanted.family.casefold() != (card.family or "").casefold():
            return False
        if wanted.type is not None and wanted.type != type_word(able):
            return False
        if wanted.capability is not None and wanted.capability not in words_of(able):
            return False
        named = [self._roster.entries[name] for name in model.backends if wanted.endpoint in (None, name)]
        entries = [entry for entry in named if wanted.provider is None or reaches(wanted.provider, entry.backend)]
        if not entries:
            return False
        if wanted.available is not None:
            return wanted.available is any(entry.routable(self._roster.clock()) for entry in entries)
        return wanted.include_unavailable or not all(endpoints.down(entry) for entry in entries)

    # ---- how it looks -----------------------------------------------------------------------------------------------

    def _entry(self, model: Model) -> Mapping[str, object]:
        card, entries = model.card, self._roster.entries
        loaded = loaded_on(model, entries)
        now = self._roster.clock()
        shown = _Shown(
            max_context_length=card.context_length or UNSET,
            family=card.family or "",
            variant="",
            parameter_size=model.params,
            quantization=card.quantization or "",
            aliases=model.aliases,
            availability=[
                {"endpoint": name, "state": _state(entries[name], now, name in loaded)} for name in model.backends
            ],
            capabilities=words_of(card.capabilities or _COMPLETION),
        )
        created = card.created if card.created is not None else int(card.modified_at or INSTALLED)
        return {
            "olla": shown,
            "id": model.name,
            "object": "model",
            "owned_by": card.owned_by or OWNER,
            "created": created,
        }

    def _alone(self, model: Model, moment: float) -> bytes:
        card, entries = model.card, self._roster.entries
        sizes = [offer.card.size_bytes for offer in model.offers if offer.card.size_bytes]
        return json_text(
            _ById(
                id=model.name,
                family=card.family or "",
                variant="",
                parameter_size=model.params,
                parameter_count=card.parameter_count,
                quantization=card.quantization or "",
                format=card.format or "",
                aliases=model.aliases,
                endpoints=model.backends,
                loaded_endpoints=loaded_on(model, entries),
                capabilities=words_of(card.capabilities or _COMPLETION),
                max_context_length=card.context_length or UNSET,
                total_disk_size=bytes_text(sum(sizes)) if sizes else "unknown",
                last_seen=ago(last_seen(model, entries), moment),
            )
        )


def _state(entry: Entry, now: float, loaded: bool) -> str:
    """A model's state on one backend: `loaded`, `available`, `unavailable` for now, or what ails the backend."""
    if entry.state is State.UNKNOWN or entry.state not in ROUTABLE:
        return entry.state.value
    if not entry.routable(now):
        return "unavailable"
    return "loaded" if loaded else "available"
