"""What a request needs of the model that answers it, and what a model's card says to that.

Only what a catalog tells is looked at: capabilities and the length of the context. That a model answers in a given
format is in no catalog, so it is no need here. Unknown is `None` and denies nobody.

Nobody here has the model's tokenizer. A text counts one token for four characters, which is less than nearly every
tokenizer makes of it, so that a context which is too short by this count is too short. Images and other binary parts
count nothing, for the same reason.
"""

from collections.abc import Sequence

from msgspec import Struct

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import (
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Request,
    Text,
    ToolCall,
)
from arriero.routing.names import Offer

CHARACTERS_OF_A_TOKEN = 4

GRANTED_TOKENS = 4096
"""A context of so many tokens is taken for granted where nobody says how long it is."""

_GRANTED = frozenset({Capability.COMPLETION})
"""And so is this, of a model of which nobody says what it can do: hardly anything is listed that cannot chat."""


class Needs(Struct, frozen=True):
    """`tokens`: how long the context has to be at least, for the prompt and the answer that was asked for."""

    capabilities: frozenset[Capability] = frozenset()
    tokens: int = 0


NOTHING = Needs()


def needs_of(request: Request) -> Needs:
    """What the request asks of a model. One that only loads it asks nothing."""
    match request:
        case ChatRequest(messages=()) | EmbedRequest(inputs=()):
            return NOTHING
        case ChatRequest():
            return _chat(request)
        case CompletionRequest():
            wanted = {Capability.COMPLETION}
            if request.suffix is not None:
                wanted.add(Capability.INSERT)
            if request.images:
                wanted.add(Capability.VISION)
            written = len(request.prompt) + len(request.suffix or "")
            return Needs(frozenset(wanted), _tokens(request, written, request.sampling.max_tokens))
        case EmbedRequest():
            # Each input has the context to itself.
            longest = max(_length(one) for one in request.inputs)
            return Needs(frozenset({Capability.EMBEDDING}), _tokens(request, longest, None))


def can(needs: Needs, card: ModelCard) -> bool | None:
    """Whether the model can do it; `None` where the card does not tell."""
    able, length = card.capabilities, card.context_length
    if length is not None and length < needs.tokens:
        return False
    if able is not None and not needs.capabilities <= able:
        return False
    if able is None and not needs.capabilities <= _GRANTED:
        return None
    return None if length is None and needs.tokens > GRANTED_TOKENS else True


def fitting(offers: Sequence[Offer], needs: Needs) -> Sequence[Offer]:
    """The offers of which nobody says that they cannot do it; all of them where none is left."""
    return [offer for offer in offers if can(needs, offer.card) is not False] or offers


def lacking(needs: Needs, card: ModelCard) -> str | None:
    """In words, why the card says that the model cannot do it."""
    able, length = card.capabilities, card.context_length
    missing = [] if able is None else [one.value for one in Capability if one in needs.capabilities and one not in able]
    told = [f"it cannot do {', '.join(missing)}"] if missing else []
    if length is not None and length < needs.tokens:
        told.append(f"its context of {length} tokens is shorter than {needs.tokens}")
    return "; ".join(told) or None


def _chat(request: ChatRequest) -> Needs:
    wanted = {Capability.COMPLETION}
    written = 0
    if request.tools:
        wanted.add(Capability.TOOLS)
        written += sum(memoryview(tool.raw).nbytes for tool in request.tools)
    if request.think is not None and request.think is not False:
        wanted.add(Capability.THINKING)
    for message in request.messages:
        for part in message.parts:
            match part:
                case Text():
                    written += len(part.text)
                case ToolCall():
                    written += len(part.name) + len(part.arguments)
                case Image():
                    wanted.add(Capability.VISION)
                case Audio():
                    wanted.add(Capability.AUDIO)
                case _:
                    pass  # earlier reasoning is seldom shown to a model again; what is opaque has no length
    return Needs(frozenset(wanted), _tokens(request, written, request.sampling.max_tokens))


def _tokens(request: Request, characters: int, answer: int | None) -> int:
    asked = request.runner.get("num_ctx")
    context = asked if isinstance(asked, int) else 0
    return max(characters // CHARACTERS_OF_A_TOKEN + (answer or 0), context)


def _length(one: str | tuple[int, ...]) -> int:
    """In characters; a token that is given as a number counts as one."""
    return len(one) if isinstance(one, str) else len(one) * CHARACTERS_OF_A_TOKEN
