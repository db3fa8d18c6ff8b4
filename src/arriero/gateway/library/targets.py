"""Which backends an operation goes to. Pure: entries in, entries out, always in configuration order."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from arriero.dialects.ollama.library import missing
from arriero.errors import ModelNotFound, NoBackend, NotFound, NotImplementedHere
from arriero.gateway.entry import Entry
from arriero.routing.decide import RETRY_SECONDS
from arriero.routing.names import Offer, key_of

Entries: TypeAlias = Mapping[str, Entry]

UNSUPPORTED = (
    "no configured backend manages models: {path} needs one of kind ollama, or of kind engine whose store is not "
    "read_only"
)
ELSEWHERE = (
    "'{model}' is on {names} only, where models are not managed: {path} needs a backend of kind ollama or engine that "
    "has it"
)

EVERY = "*"


def managing(entries: Entries, path: str) -> Entries:
    """Those that manage models. Raises `NotImplementedHere` where there are none."""
    found = {name: entry for name, entry in entries.items() if entry.backend.library}
    if not found:
        raise NotImplementedHere(UNSUPPORTED.format(path=path))
    return found


def named(field: bytes | None, library: Entries) -> Entries | None:
    """Those that the client names: `gpu1,gpu2`, or `*` for all; `None` where it names nobody.

    Raises `NotFound` for a name that none of them has.
    """
    wanted = {word.strip() for word in (field or b"").decode("utf-8", "replace").split(",")} - {""}
    if not wanted:
        return None
    if EVERY in wanted:
        return library
    for name in sorted(wanted - library.keys()):
        raise NotFound(f"no backend named '{name}' manages models; these do: {', '.join(library)}")
    return {name: entry for name, entry in library.items() if name in wanted}


def first_well(entries: Entries) -> Entries:
    """The first that is well, or the first of all where none is. Of all that manage models this is the library home."""
    return _one(entries, next((name for name, entry in entries.items() if entry.well), next(iter(entries))))


def home_of(digests: Mapping[str, frozenset[str]], library: Entries) -> Entries:
    """The home of a model that is made of blobs which lie on these backends: the home itself where it has them all.

    Raises `NoBackend` where nobody who has them all is well.
    """
    if not digests:
        return first_well(library)
    places = frozenset.intersection(*digests.values())
    if not places:
        everywhere = ", ".join(sorted(frozenset[str]().union(*digests.values())))
        raise NoBackend(f"no backend has all the files of this model: they lie on {everywhere}; upload them again")
    for name, entry in library.items():
        if name in places and entry.well:
            return _one(library, name)
    raise NoBackend(
        f"the files of this model were uploaded to {', '.join(sorted(places))}, which does not answer now: "
        "try again when it is back, or upload them again",
        retry_after=RETRY_SECONDS,
    )


def holders(
    path: str, model: str, offers: Sequence[Offer], library: Entries, chosen: Entries | None
) -> Mapping[str, Offer]:
    """Who has the model among those that may be asked, with the name that it has there.

    An alias may mean several models: the first is the one that answers to it. Raises `NotImplementedHere` where only
    backends that do not manage models have it, and `ModelNotFound` where those that the client named do not.
    """
    key = key_of(offers[0].card.id)
    having = {offer.backend: offer for offer in offers if key_of(offer.card.id) == key}
    held = {name: having[name] for name in library if name in having}
    if not held:
        raise NotImplementedHere(ELSEWHERE.format(model=model, names=", ".join(having), path=path))
    found = held if chosen is None else {name: offer for name, offer in held.items() if name in chosen}
    if not found:
        raise ModelNotFound(model, f"{missing(path, model)} on {', '.join(chosen or ())}, but on {', '.join(held)}")
    return found


def unusable(model: str, library: Entries) -> Mapping[str, str]:
    """Who has a model of this name that cannot be used, and its id there: nobody lists it, and still it may go."""
    key = key_of(model)
    found = {
        name: next((id for id in entry.backend.broken if key_of(id) == key), None) for name, entry in library.items()
    }
    return {name: id for name, id in found.items() if id is not None}


def _one(library: Entries, name: str) -> Entries:
    return {name: library[name]}
