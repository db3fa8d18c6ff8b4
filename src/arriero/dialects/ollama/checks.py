"""What a client must be told before anything is sent: that the model cannot do what the request needs.

Only a card that says what the model can do refuses anything. The texts are the real server's: agents send tools, read
"does not support tools" in a 400 and come again without.

Thinking that is not asked for is never refused and never decided here: an Ollama server thinks with a thinking model
unless told `false`, and any other backend follows its own default.
"""

from collections.abc import Callable

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import ChatRequest, CompletionRequest, Image, Request, Think
from arriero.dialects.ollama import names
from arriero.dialects.ollama.golang import quote
from arriero.errors import UnsupportedCapability


def check_chat(request: Request, card: ModelCard) -> None:
    """/api/chat. Raises `UnsupportedCapability`."""
    _check(request, card, "chat")


def check_generate(request: Request, card: ModelCard) -> None:
    """/api/generate. Raises `UnsupportedCapability`."""
    _check(request, card, "generate")


def check_embed(request: Request, card: ModelCard) -> None:
    """Any model that can embed may: the backend knows, and no capability is asked for."""


def _check(request: Request, card: ModelCard, word: str) -> None:
    able = card.capabilities
    if able is None or _unloads(request):
        return
    if _thinks(request) and Capability.THINKING not in able:
        raise UnsupportedCapability(f"{quote(request.model)} does not support thinking")
    if Capability.IMAGE in able and word == "generate":
        raise UnsupportedCapability("image generation models are not currently supported")
    if Capability.COMPLETION not in able:
        raise UnsupportedCapability(f"{quote(request.model)} does not support {word}")
    if missing := [need.value for need, asks in _NEEDS if asks(request) and need not in able]:
        raise UnsupportedCapability(names.full(request.model) + " does not support " + "\n".join(missing))


def _unloads(request: Request) -> bool:
    return isinstance(request, ChatRequest) and not request.messages and request.keep_alive == 0


def _thinks(request: Request) -> bool:
    think: Think | None = request.think if isinstance(request, ChatRequest) else None
    return think is not None and think is not False


def _has_tools(request: Request) -> bool:
    return isinstance(request, ChatRequest) and bool(request.tools)


def _inserts(request: Request) -> bool:
    return isinstance(request, CompletionRequest) and request.suffix is not None


def _looks(request: Request) -> bool:
    match request:
        case ChatRequest():
            return any(isinstance(part, Image) for message in request.messages for part in message.parts)
        case CompletionRequest():
            return bool(request.images)
        case _:
            return False


_NEEDS: tuple[tuple[Capability, Callable[[Request], bool]], ...] = (
    (Capability.INSERT, _inserts),
    (Capability.TOOLS, _has_tools),
    (Capability.VISION, _looks),
)
