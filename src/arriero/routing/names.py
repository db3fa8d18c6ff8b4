"""Which models a client's text means.

A client may ask for a model by the listed name, with or without `:latest`, by the backend's own id, by the id's last
segment, by the name that ollama-proxy made of it, by a unique beginning up to a tag, by an alias, or pinned to one
backend as `backend/id`. Exact beats alias beats `:latest` beats pin beats tail beats ollama-proxy's name beats
beginning; two models that answer equally well are an ambiguity, and the error names them. `:free` and the like are tags
of the id and stay as they are; some vendors take more of them behind any id that they list. Letter case is kept and
compared without regard to it. What nobody has under the whole text is looked for once more as Ollama reads it: without
its registry, its `library/`, and the suffix `:local`.

Hidden models are looked for last, by the same spellings: a text that means only those is forbidden, not unknown.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from arriero.canonical.catalog import ModelCard
from arriero.errors import AmbiguousModel, ModelForbidden, ModelNotFound

_LATEST = ":latest"
_NOT_IN_PROXY_NAMES = re.compile(r"[^A-Za-z0-9\-_.]")

CANDIDATES = 20
"""Of an ambiguous name, so many are told."""


class Offer(Struct, frozen=True, gc=False):
    """One backend's offer of one model."""

    backend: str
    card: ModelCard


class Patterns(Struct, frozen=True):
    """Globs over model ids, without regard to case. Excludes beat includes; no includes let everything in."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admit(self, id: str) -> bool:
        """Whether a model of this id may be seen and used."""
        if not self.include and not self.exclude:
            return True
        keys = (id.casefold(), key_of(id), listed_name(id).casefold())
        if any(_matches(keys, glob) for glob in self.exclude):
            return False
        return not self.include or any(_matches(keys, glob) for glob in self.include)


EVERYTHING = Patterns()


def _matches(keys: Iterable[str], glob: str) -> bool:
    folded = glob.casefold()
    return any(fnmatchcase(key, folded) for key in keys)


def has_tag(id: str) -> bool:
    """Whether a tag stands behind the last segment (`openai/gpt-oss:20b`, not `host:5000/name`)."""
    return ":" in id.rsplit("/", 1)[-1]


def listed_name(id: str) -> str:
    """The name in an Ollama listing: `:latest` is added where the id has no tag."""
    return id if has_tag(id) else id + _LATEST


def proxy_name(id: str) -> str:
    """What ollama-proxy calls the model, its `:latest` left out: `x/llama-3:free` is `llama-3-free`."""
    return _NOT_IN_PROXY_NAMES.sub("-", tail_of(id.removesuffix(_LATEST)))


def tail_of(id: str) -> str:
    """The last segment: `gpt-4o` of `openai/gpt-4o`."""
    return id.rsplit("/", 1)[-1]


def key_of(text: str) -> str:
    """What makes two spellings one model: case folded, `:latest` cut."""
    return text.casefold().removesuffix(_LATEST)


class _Index:
    """Models by every spelling but an alias. `models` are the offers by key; `backends` the names by their folded ones,
    of all there are.
    """

    __slots__ = ("_backends", "_looser", "models")

    def __init__(self, models: Mapping[str, tuple[Offer, ...]], backends: Mapping[str, str]) -> None:
        self.models = models
        self._backends = backends
        proxys = ((key_of(proxy_name(found[0].card.id)), key) for key, found in models.items())
        self._looser = (
            _grouped((tail_of(key), key) for key in models),
            _grouped((name, key) for name, key in proxys if name != tail_of(key)),
            _grouped((beginning, key) for key in models for beginning in _beginnings(key)),
        )

    def find(self, text: str, key: str) -> tuple[Offer, ...]:
        """What has this key, or may be meant by it; empty where nothing is. Raises `AmbiguousModel` about the text."""
        if found := self.models.get(key):
            return found
        backend, slash, rest = key.partition("/")
        if slash and rest and (name := self._backends.get(backend)) and (pinned := self._pinned(text, name, rest)):
            return pinned
        return self._loosely(text, key, self.models)

    def _pinned(self, text: str, backend: str, rest: str) -> tuple[Offer, ...]:
        """What `rest` means among the models of one backend, and only that backend's offers of it."""
        own = {key for key, found in self.models.items() if any(offer.backend == backend for offer in found)}
        offers = self.models[rest] if rest in own else self._loosely(text, rest, own)
        return tuple(offer for offer in offers if offer.backend == backend)

    def _loosely(self, text: str, key: str, among: Collection[str]) -> tuple[Offer, ...]:
        """By the last segment, then by ollama-proxy's name, then by the beginning; empty where none is known."""
        for groups in self._looser:
            group = [found for found in groups.get(key, ()) if found in among]
            if len(group) == 1:
                return self.models[group[0]]
            if group:
                raise AmbiguousModel(text, _some(sorted(self.models[found][0].card.id for found in group)))
        return ()


class Names:
    """An index of every offer, built once when the catalog changes and only read afterwards.

    `admit` says of an id whether the model may be seen and used; `per_backend` the same of those of one backend.
    `variants` are the tags that a backend takes behind any id that it lists.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        aliases: Mapping[str, Sequence[str]] | None = None,
        admit: Callable[[str], bool] = lambda id: True,
        per_backend: Mapping[str, Patterns] | None = None,
        variants: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        per_backend = per_backend or {}
        by_key: dict[str, list[Offer]] = defaultdict(list)
        hidden: dict[str, list[Offer]] = defaultdict(list)
        keys: dict[str, str] = {}  # the same id comes from many backends
        admitted: dict[str, bool] = {}
        backends: dict[str, str] = {}
        for offer in offers:
            id = offer.card.id
            key = keys.get(id)
            if key is None:
                key = keys[id] = key_of(id)
                admitted[id] = admit(id)
            shown = admitted[id] and per_backend.get(offer.backend, EVERYTHING).admit(id)
            (by_key if shown else hidden)[key].append(offer)
            backends.setdefault(offer.backend.casefold(), offer.backend)
        self._by_key = {key: tuple(found) for key, found in by_key.items()}
        visible = {offer.card.id for found in self._by_key.values() for offer in found}
        self._exact = {id.casefold(): keys[id] for id in visible}
        self._shown = _Index(self._by_key, backends)
        # One that somebody offers visibly is no hidden model.
        self._hidden = _Index({key: tuple(found) for key, found in hidden.items() if key not in by_key}, backends)
        self._admit, self._per_backend = admit, per_backend
        self._variants = _grouped((tag, backend) for backend, tags in (variants or {}).items() for tag in tags)
        self._named = {alias: tuple(names) for alias, names in (aliases or {}).items()}
        self._aliases = {alias.casefold(): names for alias, names in self._named.items()}
        self._aliases_by_key = {key_of(alias): names for alias, names in self._named.items()}

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every offer that is visible, models in catalog order."""
        return tuple(offer for found in self._by_key.values() for offer in found)

    @property
    def models(self) -> Mapping[str, tuple[Offer, ...]]:
        """The visible models by key, each with those who offer it."""
        return self._by_key

    @property
    def hidden(self) -> Collection[str]:
        """The keys of the models that are there and that nobody may see."""
        return self._hidden.models.keys()

    @property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """The aliases as the operator wrote them, each with the real names in order of preference."""
        return self._named

    def listed_key(self, id: str) -> str | None:
        """The key of the model that a list has for this id; `None` where none has it. A variant is its base model."""
        key = key_of(id)
        if key in self._by_key:
            return key
        before, _, tag = key.rpartition(":")
        base = key_of(before)
        return base if tag in self._variants and base in self._by_key else None

    def has_alias(self, text: str) -> bool:
        """Whether there is such an alias, hidden or not by a model of the same name."""
        folded = text.strip().casefold()
        return folded in self._aliases or self._listed_alias(key_of(folded)) is not None

    def is_alias(self, text: str) -> bool:
        """Whether the text is an alias, and no model's own name."""
        folded = text.strip().casefold()
        return folded not in self._exact and self.has_alias(text)

    def resolve(self, text: str) -> tuple[Offer, ...]:
        """The offers that `text` means, best first. Raises `ModelNotFound`, `AmbiguousModel` or `ModelForbidden`."""
        folded = text.strip().casefold()
        if key := self._exact.get(folded):
            return self._by_key[key]
        if self._aliases and (names := self._aliases.get(folded) or self._listed_alias(key_of(folded))):
            return self._through_alias(text, names)
        return self._resolve_real(text, folded)

    def _listed_alias(self, key: str) -> tuple[str, ...] | None:
        """What the name in a listing stands for that is an alias's: with `:latest`, or without its own. A model's name
        comes first.
        """
        return None if key in self._by_key else self._aliases_by_key.get(key)

    def _through_alias(self, text: str, names: Sequence[str]) -> tuple[Offer, ...]:
        found: list[Offer] = []
        hidden = 0
        for name in names:
            try:
                offers = self._resolve_real(name, name.strip().casefold())
            except ModelForbidden:
                hidden += 1
            except ModelNotFound:
                pass  # an alias names models in order of preference; those that are away are passed over
            else:
                found += (offer for offer in offers if offer not in found)
        if found:
            return tuple(found)
        if hidden:
            raise forbidden(text)
        raise ModelNotFound(text, f"model '{text}' not found: none of {', '.join(names)} is there")

    def _resolve_real(self, text: str, folded: str) -> tuple[Offer, ...]:
        key = key_of(folded)
        if found := self._shown.find(text, key):
            return found
        plain = _plain(key)
        if plain != key and (found := self._shown.find(text, plain)):
            return found
        if self._variants and (found := self._variant(text, plain)):
            return found
        if self._hidden.models and (self._is_hidden(text, key) or self._is_hidden(text, plain)):
            raise forbidden(text)
        raise ModelNotFound(text)

    def _variant(self, text: str, key: str) -> tuple[Offer, ...]:
        """The model before the last tag, with this tag in its id, from those who take it behind any id."""
        before, _, tag = key.rpartition(":")
        backends, base = self._variants.get(tag, ()), key_of(before)
        if not backends or not base:
            return ()
        offers = [
            Offer(offer.backend, replace(offer.card, id=f"{offer.card.id}:{tag}"))
            for offer in self._shown.find(text, base)
            # One tag takes another's place only where the client has named both.
            if offer.backend in backends and has_tag(key_of(offer.card.id)) == has_tag(base)
        ]
        admitted = tuple(
            offer
            for offer in offers
            if self._admit(offer.card.id) and self._per_backend.get(offer.backend, EVERYTHING).admit(offer.card.id)
        )
        if not admitted and (offers or self._is_hidden(text, base)):
            raise forbidden(text)
        return admitted

    def _is_hidden(self, text: str, key: str) -> bool:
        try:
            return bool(self._hidden.find(text, key))
        except AmbiguousModel:
            return True  # whichever is meant


def _some(candidates: Sequence[str]) -> tuple[str, ...]:
    """As many as a person reads."""
    more = len(candidates) - CANDIDATES
    return (*candidates[:CANDIDATES], f"{more} more") if more > 0 else tuple(candidates)


def forbidden(text: str) -> ModelForbidden:
    """The refusal of a model that is there, or could be, and that the operator hides."""
    return ModelForbidden(f"Model '{text}' is not allowed by the filter")


def _plain(key: str) -> str:
    """The key without what only says where a model is from: a scheme, Ollama's registry, its library, and `:local`."""
    key = key_of(key.rpartition("://")[2].removesuffix(":local"))
    return key.removeprefix("registry.ollama.ai/").removeprefix("library/")


def _beginnings(key: str) -> Iterable[str]:
    """The key and its tail with the tag cut: what a client may type when there is only one such model."""
    if has_tag(key):
        cut = key.rsplit(":", 1)[0]
        yield cut
        if tail_of(cut) != cut:
            yield tail_of(cut)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, dict[str, None]] = defaultdict(dict)  # a set that keeps its order: a list may name thousands
    for name, key in pairs:
        groups[name][key] = None
    return {name: tuple(keys) for name, keys in groups.items()}
