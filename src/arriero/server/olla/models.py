"""What Olla's surface says of one model: every name once, with all who offer it and all it is called."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.ollama.catalog import parameter_size
from arriero.errors import ArrieroError
from arriero.gateway.entry import Entry
from arriero.routing.names import Names, Offer, has_tag, key_of

_LATEST = ":latest"


class Model(Struct, frozen=True):
    """One model of the fleet. `offers` are in configuration order, and `card`, the first one's, stands for all.
    `backends` names each who offers it once, even where it offers two spellings.
    """

    key: str
    card: ModelCard
    offers: tuple[Offer, ...]
    backends: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """The backend's own word for it."""
        return self.card.id

    @property
    def params(self) -> str:
        """How many parameters it has, as Ollama prints it; empty where nobody said."""
        return self.card.parameter_size or parameter_size(self.card.parameter_count)


def models_of(names: Names) -> list[Model]:
    """All models, in the order of the catalog."""
    leading = _leading(names)
    return [
        Model(
            key,
            offers[0].card,
            offers,
            tuple(dict.fromkeys(offer.backend for offer in offers)),
            (*leading.get(key, ()), *_other_spelling(offers[0].card.id)),
        )
        for key, offers in names.models.items()
    ]


def _leading(names: Names) -> Mapping[str, list[str]]:
    """The configured aliases that lead to each model, by its key."""
    found: dict[str, list[str]] = defaultdict(list)
    for alias in names.aliases:
        try:
            offers = names.resolve(alias)
        except ArrieroError:
            continue  # none of its models is there now
        for key in dict.fromkeys(names.listed_key(offer.card.id) for offer in offers):
            if key is not None and key != key_of(alias):
                found[key].append(alias)
    return found


def _other_spelling(id: str) -> tuple[str, ...]:
    """The name with `:latest` where it has no tag, and without it where that is its tag."""
    if not has_tag(id):
        return (id + _LATEST,)
    return (id[: -len(_LATEST)],) if id.casefold().endswith(_LATEST) else ()


def loaded_on(model: Model, entries: Mapping[str, Entry]) -> list[str]:
    """The backends that say they have it in memory."""
    return [name for name in model.backends if model.key in (entries[name].loaded or ())]


def last_seen(model: Model, entries: Mapping[str, Entry]) -> float | None:
    """Unix time of the newest list that names it."""
    return max((at for name in model.backends if (at := entries[name].models_at) is not None), default=None)


@lru_cache(maxsize=256)  # there are few sets, and a list may name thousands of models
def type_word(able: frozenset[Capability] | None) -> str | None:
    """Olla's sort of a model: `vlm` sees, `embeddings` only embeds, everything else is an `llm`."""
    if able is None:
        return None
    if Capability.VISION in able:
        return "vlm"
    return "embeddings" if Capability.EMBEDDING in able and Capability.COMPLETION not in able else "llm"


@lru_cache(maxsize=256)
def words_of(able: frozenset[Capability]) -> tuple[str, ...]:
    """Capabilities in the order of their table."""
    return tuple(capability.value for capability in Capability if capability in able)
