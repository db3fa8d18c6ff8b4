"""Which models a client's text means.

A client may ask for a model by the listed name, with or without `:latest`, by the backend's own id, by the id's last
segment, by a unique beginning up to a tag, by an alias, or pinned to one backend as `backend/id`. Exact beats alias
beats `:latest` beats pin beats tail beats beginning; two models that answer equally well are an ambiguity, and the
error names them. `:free` and the like are tags of the id and stay as they are. Letter case is kept and compared without
regard to it. What nobody has under the whole text is looked for once more as Ollama reads it: without its registry, its
`library/`, and the suffix `:local`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from arriero.canonical.catalog import ModelCard
from arriero.errors import AmbiguousModel, ModelForbidden, ModelNotFound

_LATEST = ":latest"

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


def _matches(keys: Iterable[str], glob: str) -> bool:
    folded = glob.casefold()
    return any(fnmatchcase(key, folded) for key in keys)


def has_tag(id: str) -> bool:
    """Whether a tag stands behind the last segment (`openai/gpt-oss:20b`, not `host:5000/name`)."""
    return ":" in id.rsplit("/", 1)[-1]


def listed_name(id: str) -> str:
    """The name in an Ollama listing: `:latest` is added where the id has no tag."""
    return id if has_tag(id) else id + _LATEST


def key_of(text: str) -> str:
    """What makes two spellings one model: case folded, `:latest` cut."""
    return text.casefold().removesuffix(_LATEST)


class Names:
    """An index of every offer, built once when the catalog changes and only read afterwards."""

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        aliases: Mapping[str, Sequence[str]] | None = None,
        overall: Patterns | None = None,
        per_backend: Mapping[str, Patterns] | None = None,
    ) -> None:
        everything = Patterns()
        overall = overall or everything
        per_backend = per_backend or {}
        by_key: dict[str, list[Offer]] = defaultdict(list)
        hidden: set[str] = set()
        keys: dict[str, str] = {}  # the same id comes from many backends
        for offer in offers:
            id = offer.card.id
            key = keys.get(id) or keys.setdefault(id, key_of(id))
            if overall.admit(id) and per_backend.get(offer.backend, everything).admit(id):
                by_key[key].append(offer)
            else:
                hidden.add(key)
        self._by_key = {key: tuple(found) for key, found in by_key.items()}
        visible = {offer.card.id for found in self._by_key.values() for offer in found}
        self._exact = {id.casefold(): keys[id] for id in visible}
        self._hidden = frozenset(hidden - by_key.keys())
        self._backends: dict[str, str] = {}
        for offer in offers:
            self._backends.setdefault(offer.backend.casefold(), offer.backend)
        self._named = {alias: tuple(names) for alias, names in (aliases or {}).items()}
        self._aliases = {alias.casefold(): names for alias, names in self._named.items()}
        self._aliases_by_key = {key_of(alias): names for alias, names in self._named.items()}
        self._by_tail = _grouped((_tail(key), key) for key in self._by_key)
        self._by_beginning = _grouped((beginning, key) for key in self._by_key for beginning in _beginnings(key))

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every offer that is visible, models in catalog order."""
        return tuple(offer for found in self._by_key.values() for offer in found)

    @property
    def models(self) -> Mapping[str, tuple[Offer, ...]]:
        """The visible models by key, each with those who offer it."""
        return self._by_key

    @property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """The aliases as the operator wrote them, each with the real names in order of preference."""
        return self._named

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
        forbidden = 0
        for name in names:
            try:
                offers = self._resolve_real(name, name.strip().casefold())
            except ModelForbidden:
                forbidden += 1
            except ModelNotFound:
                pass  # an alias names models in order of preference; those that are away are passed over
            else:
                found += (offer for offer in offers if offer not in found)
        if found:
            return tuple(found)
        if forbidden:
            raise _forbidden(text)
        raise ModelNotFound(text, f"model '{text}' not found: none of {', '.join(names)} is there")

    def _resolve_real(self, text: str, folded: str) -> tuple[Offer, ...]:
        key = key_of(folded)
        found = self._under(text, key)
        if not found and (plain := _plain(key)) != key:
            found = self._under(text, plain)
        if not found:
            raise ModelNotFound(text)
        return found

    def _under(self, text: str, key: str) -> tuple[Offer, ...]:
        """What has this key, or may be meant by it; empty where nothing is."""
        if found := self._by_key.get(key):
            return found
        if key in self._hidden:
            raise _forbidden(text)
        backend, slash, rest = key.partition("/")
        if slash and rest and (name := self._backends.get(backend)) and (pinned := self._pinned(text, name, rest)):
            return pinned
        return self._loosely(text, key, self._by_key)

    def _pinned(self, text: str, backend: str, rest: str) -> tuple[Offer, ...]:
        """What `rest` means among the models of one backend, and only that backend's offers of it."""
        own = {key for key, found in self._by_key.items() if any(offer.backend == backend for offer in found)}
        if rest in self._hidden:
            raise _forbidden(text)
        offers = self._by_key[rest] if rest in own else self._loosely(text, rest, own)
        return tuple(offer for offer in offers if offer.backend == backend)

    def _loosely(self, text: str, key: str, among: Collection[str]) -> tuple[Offer, ...]:
        """By the last segment, then by the beginning; empty where neither is known."""
        for groups in (self._by_tail, self._by_beginning):
            group = [found for found in groups.get(key, ()) if found in among]
            if len(group) == 1:
                return self._by_key[group[0]]
            if group:
                raise AmbiguousModel(text, _some(sorted(self._by_key[found][0].card.id for found in group)))
        return ()


def _some(candidates: Sequence[str]) -> tuple[str, ...]:
    """As many as a person reads."""
    more = len(candidates) - CANDIDATES
    return (*candidates[:CANDIDATES], f"{more} more") if more > 0 else tuple(candidates)


def _forbidden(text: str) -> ModelForbidden:
    return ModelForbidden(f"Model '{text}' is not allowed by the filter")


def _plain(key: str) -> str:
    """The key without what only says where a model is from: Ollama's registry, its library, and `:local`."""
    key = key_of(key.removesuffix(":local"))
    return key.removeprefix("registry.ollama.ai/").removeprefix("library/")


def _tail(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _beginnings(key: str) -> Iterable[str]:
    """The key and its tail with the tag cut: what a client may type when there is only one such model."""
    if has_tag(key):
        cut = key.rsplit(":", 1)[0]
        yield cut
        if _tail(cut) != cut:
            yield _tail(cut)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, dict[str, None]] = defaultdict(dict)  # a set that keeps its order: a list may name thousands
    for name, key in pairs:
        groups[name][key] = None
    return {name: tuple(keys) for name, keys in groups.items()}
