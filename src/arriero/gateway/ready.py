"""An attempt that has been decided, and what can be read off its request without asking anybody."""

from msgspec import Struct

from arriero.backends.base import Tuning, Want, whole
from arriero.canonical.requests import ChatRequest, EmbedRequest, Request
from arriero.filters.rules import Changes
from arriero.gateway.entry import Entry
from arriero.routing.names import Offer


class Ready(Struct, frozen=True):
    """An attempt that has been decided and looked through. `request` is `None` where nobody needed to decode it;
    `started` is on the monotonic clock. `text` goes out in place of a request that brings a prompt template along.
    """

    offer: Offer
    entry: Entry
    started: float
    relay: bool
    made: Changes
    request: Request | None
    want: Want
    text: Request | None = None

    @property
    def keep_alive(self) -> float | None:
        return self.request.keep_alive if self.request is not None else None


def is_load(request: Request | None) -> bool:
    """Whether a request asks for nothing but the model itself."""
    match request:
        case ChatRequest(messages=()) | EmbedRequest(inputs=()):
            return True
        case _:
            return False


def want_of(offer: Offer, request: Request | None) -> Want:
    """What a request needs of the place that runs it."""
    if request is None:
        return Want(offer.card.id)
    embeds = isinstance(request, EmbedRequest)
    if not request.runner:
        return Want(offer.card.id, None, embeds)
    return Want(offer.card.id, whole(request.runner.get("num_ctx")), embeds, Tuning.asked(request.runner))
