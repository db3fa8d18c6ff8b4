"""Which backend takes a request: a pure function of the offers and a snapshot of those who make them.

1. Those already tried are out.
2. Full backends are out; when all are, the answer is `Busy`.
3. A backend whose last probe failed is taken only when no other is left: the probe may be wrong, and the client's
   request is the better one.
4. An alias lists models in order of preference: the first model that steps 1 to 3 leave is the one.
5. The highest priority wins, then the least load for its weight, then configuration order.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from arriero.errors import Busy, NoBackend
from arriero.routing.fleet import Member
from arriero.routing.names import Offer, key_of


class Decision(Struct, frozen=True):
    """A backend's offer, and in one word or two why it was taken (the `X-Arriero-Reason` header)."""

    offer: Offer
    reason: str


def decide(offers: Sequence[Offer], fleet: Mapping[str, Member], tried: Collection[tuple[str, str]] = ()) -> Decision:
    """The offer to take. `tried` holds (backend, model id) pairs. Raises `NoBackend` or `Busy`."""
    if not tried and len(offers) == 1:
        offer = offers[0]
        if fleet[offer.backend].full:
            raise Busy
        return Decision(offer, "only")
    left = [offer for offer in offers if (offer.backend, offer.card.id) not in tried]
    if not left:
        raise NoBackend("no backend is left to try")
    free = [offer for offer in left if not fleet[offer.backend].full]
    if not free:
        raise Busy
    free = [offer for offer in free if fleet[offer.backend].healthy is not False] or free
    key = key_of(free[0].card.id)
    free = [offer for offer in free if key_of(offer.card.id) == key]
    if len(free) == 1:
        rivals = sum(key_of(offer.card.id) == key for offer in offers)
        return Decision(free[0], "only one left" if tried else "only one free" if rivals > 1 else "only")
    top = max(fleet[offer.backend].priority for offer in free)
    best = [offer for offer in free if fleet[offer.backend].priority == top]
    if len(best) == 1:
        return Decision(best[0], "priority")
    chosen = min(best, key=lambda offer: fleet[offer.backend].in_flight / fleet[offer.backend].weight)
    return Decision(chosen, "least-connections")
