"""Which uploaded GGUF files belong together: the parts of a split model, and what stands beside it. Pure."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from arriero.backends.engine.card import Kind, check_model, kind_of
from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.gguf_merging import placed
from arriero.dialects.ollama.golang import quote
from arriero.errors import BadRequest, ModelBroken

LONGEST_NAME: Final = 64


class Given(Struct, frozen=True):
    """An uploaded file: the name that the client has for it, its digest, its header."""

    name: str
    digest: str
    header: GgufHeader


class Group(Struct, frozen=True):
    """Files that become one layer, in order."""

    kind: Kind
    files: tuple[Given, ...]


def grouped(given: Sequence[Given]) -> tuple[Group, ...]:
    """One model, then its adapters and projectors. Raises `BadRequest` where the files are no one model, and
    `ModelBroken` for one that cannot be used.
    """
    groups = (*_sets(given), *(Group(_kind(one), (one,)) for one in given if placed(one.name, one.header) is None))
    order = (Kind.MODEL, Kind.ADAPTER, Kind.PROJECTOR)
    ordered = tuple(sorted(groups, key=lambda group: order.index(group.kind)))
    models = [group.files[0].name for group in ordered if group.kind is Kind.MODEL]
    if not models:
        raise BadRequest(f"there is no model among the files: {', '.join(quote(one.name) for one in given)}")
    if len(models) > 1:
        raise BadRequest(f"there is more than one model among the files: {', '.join(map(quote, models))}")
    model = ordered[0].files[0].header
    for group in ordered:
        if group.kind is Kind.ADAPTER:
            check_adapter(group.files[0], model)
    return ordered


def _kind(given: Given) -> Kind:
    kind = kind_of(given.header)
    try:
        if kind in (Kind.MODEL, Kind.OTHER):
            check_model(given.header)
        elif not 0 < len(given.header.architecture) <= LONGEST_NAME:
            raise ModelBroken("general.architecture is missing, or is no name")
    except ModelBroken as error:
        raise ModelBroken(f"{quote(given.name)} cannot be used: {error.message}") from None
    return kind


def check_adapter(adapter: Given, model: GgufHeader) -> None:
    """Raises `BadRequest` unless the file is an adapter for models of this architecture."""
    if kind_of(adapter.header) is not Kind.ADAPTER:
        raise BadRequest(f"{quote(adapter.name)} is no adapter: its general.type is not adapter")
    if model.architecture != adapter.header.architecture:
        found, wanted = quote(model.architecture), quote(adapter.header.architecture[:LONGEST_NAME])
        raise BadRequest(f"the adapter {quote(adapter.name)} is for the architecture {wanted}, the model has {found}")


def _sets(given: Sequence[Given]) -> list[Group]:
    """The split models, each whole."""
    sets: dict[tuple[str, int], dict[int, Given]] = {}
    for one in given:
        place = placed(one.name, one.header)
        if place is None:
            continue
        parts = sets.setdefault((place.stem, place.count), {})
        if place.number in parts:
            raise BadRequest(f"{quote(one.name)} and {quote(parts[place.number].name)} are the same part of a model")
        parts[place.number] = one
    for (_, count), parts in sets.items():
        for number in range(count):
            if number not in parts:
                first = quote(next(iter(parts.values())).name)
                raise BadRequest(f"part {number + 1} of {count} is missing: {first} is one of a set")
    return [Group(Kind.MODEL, tuple(parts[at] for at in range(count))) for (_, count), parts in sets.items()]
