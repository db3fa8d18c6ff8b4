"""The words by which clients name a provider, in a path or in `X-Provider`, and the backends that each one means.

A word is the name of a backend, a kind, a profile, or one of the types that ollama-proxy knows. A backend's own name is
stronger than everything else: who called a backend `openai` means that one.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from arriero.dialects.profiles import PROFILES
from arriero.errors import AmbiguousModel, ModelForbidden, ModelNotFound
from arriero.gateway.entry import Entry
from arriero.gateway.lane import Inbound
from arriero.gateway.roster import Roster
from arriero.routing.names import Offer

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "openrouter": "openrouter",
        "openai": "openai",
        "anthropic": "anthropic",
        "google": "google",
        "azure": "azure",
        "aws_bedrock": "bedrock",
        "ollama": "ollama",
        "cohere": "cohere",
        "huggingface": "huggingface",
    }
)
"""The types of ollama-proxy, each with the profile or kind that it means."""

_WORDS: Mapping[str, str] = MappingProxyType({**{name: word for word, name in TYPES.items()}, "generic": "openai"})
"""The same the other way round. Of a server of which nothing is known, its API is."""

_VARIANTS: Mapping[str, str] = MappingProxyType({"azure-deployments": "azure", "bedrock-mantle": "bedrock"})
"""Profiles of a vendor that another one is named after."""

KINDS = ("ollama", "openai", "anthropic", "engine", "scripted")


def named(word: str, entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """The names of the backends that a word means, in configuration order; none where nobody is meant."""
    folded = word.strip().casefold()
    own = tuple(name for name in entries if name.casefold() == folded)
    if own:
        return own
    profile = TYPES.get(folded, folded)
    found = tuple(name for name, entry in entries.items() if profile in (_profile(entry), _vendor(entry)))
    # The kind only then, and without the vendors: to most people `openai` is one of them, not a wire.
    return found or tuple(name for name, entry in entries.items() if entry.backend.kind == folded and _is_house(entry))


class Preferring(Struct, frozen=True):
    """The offers of a model in the order of a preference, and those of them, as (backend, model id), that it is for."""

    offers: Sequence[Offer]
    preferred: frozenset[tuple[str, str]]


def preferring(word: str, model: str, offers: Sequence[Offer], roster: Roster, scope: str | None) -> Preferring:
    """The offers of a model, those of the backends first that the word means. The model is looked for among these
    backends by themselves: it may have another name there than the one that it has elsewhere, and a name that is
    ambiguous among all may be clear among these. A word that means nobody, or everybody, changes nothing.
    """
    entries = roster.view(scope).entries
    names = named(word, entries)
    first: Sequence[Offer] = ()
    if 0 < len(names) < len(entries):
        try:
            first = roster.names_among(names, scope).resolve(model)
        except (ModelNotFound, ModelForbidden):
            pass  # it is a preference: the others may have the model
    together = {(offer.backend, offer.card.id): offer for offer in (*first, *offers)}
    return Preferring(tuple(together.values()), frozenset(pair for pair in together if pair[0] in names))


async def meaning(model: str, word: str | None, roster: Roster, scope: str | None) -> Preferring:
    """What a model means behind a door, as `Roster.resolve` says it and with its errors, in the order of a preference
    where there is one.
    """
    try:
        offers: Sequence[Offer] = await roster.resolve(model, scope)
    except (AmbiguousModel, ModelForbidden):
        if word is None or not (found := preferring(word, model, (), roster, scope)).offers:
            raise
        return found
    return Preferring(offers, frozenset()) if word is None else preferring(word, model, offers, roster, scope)


def word_of(inbound: Inbound) -> str | None:
    """The provider that the client would rather have."""
    told = inbound.get(b"x-provider")
    return None if told is None else told.decode("utf-8", "replace")


def is_known(word: str) -> bool:
    """Whether a word could name a provider though none is configured."""
    folded = word.strip().casefold()
    return folded in TYPES or folded in PROFILES or folded in KINDS


def type_of(entry: Entry) -> str:
    """What ollama-proxy's clients call the backend's type: its own word where it has one, else the profile or kind."""
    vendor = _vendor(entry)
    return _WORDS.get(vendor, vendor)


def _vendor(entry: Entry) -> str:
    profile = _profile(entry)
    return _VARIANTS.get(profile, profile)


def _is_house(entry: Entry) -> bool:
    """Whether it is no vendor's."""
    return not entry.backend.profile.title


def _profile(entry: Entry) -> str:
    """The profile's name; kinds that are no vendor's wire are profiles by themselves."""
    backend = entry.backend
    return backend.profile.name if backend.kind == "openai" else backend.kind
