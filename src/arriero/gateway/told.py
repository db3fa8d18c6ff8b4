"""What the operator tells of models: which there are beyond the lists, and what nobody else says of them.

A backend's own word is stronger, whoever asks. Nothing here knows a backend.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, ModelCard
from arriero.routing.names import Patterns, key_of

Value = TypeVar("Value")


class Told(Struct, frozen=True):
    """What the operator says of models by glob, used where a backend says nothing. Prices are (input, output) in US
    dollars for a million tokens.
    """

    capabilities: Mapping[str, frozenset[Capability]] = {}
    context_length: Mapping[str, int] = {}
    price: Mapping[str, tuple[float, float]] = {}

    def onto(self, card: ModelCard) -> ModelCard:
        """The card with what it does not say itself."""
        if card.capabilities is None and (capabilities := _first(self.capabilities, card.id)):
            card = replace(card, capabilities=capabilities)
        if card.context_length is None and (length := _first(self.context_length, card.id)):
            card = replace(card, context_length=length)
        if card.input_price is None and card.output_price is None and (price := _first(self.price, card.id)):
            card = replace(card, input_price=price[0], output_price=price[1])
        return card


def completed(cards: Iterable[ModelCard], extra: Iterable[str], own: Told, overall: Told) -> tuple[ModelCard, ...]:
    """A backend's cards with those of the `extra` models, and with what the operator says of the backend's models, or
    of all.
    """
    once: dict[str, ModelCard] = {}  # who lists a model twice offers it once: a host is tried once
    for card in (*cards, *(ModelCard(id=id) for id in extra)):
        once.setdefault(key_of(card.id), card)
    return tuple(overall.onto(own.onto(card)) for card in once.values())


def _first(table: Mapping[str, Value], id: str) -> Value | None:
    """The value of the first glob that covers the model."""
    return next((value for glob, value in table.items() if Patterns(include=(glob,)).admit(id)), None)
