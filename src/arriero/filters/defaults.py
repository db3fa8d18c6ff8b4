"""What a model brings along, put into requests that do not say it: the request wins over the model, knob by knob.

Ollama's rules. `stop` is one knob: a request that has one replaces the model's. The model's system text stands only
where the conversation does not begin with one. The model's messages come before the caller's; a leading system text
stays in front of them, because the templates of many models take one at the beginning only. Text to continue without a
template has no turns, so it gets knobs and options alone.
"""

from msgspec.structs import replace

from arriero.canonical.catalog import Defaults
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Message, Request, Sampling, Text
from arriero.filters.rules import NO_CHANGES, Changes

_KNOBS = Sampling.__struct_fields__
_SYSTEM = frozenset({"system", "developer"})


def furnish(request: Request, defaults: Defaults) -> Request:
    """The request with what the model brings along. One that only loads the model gets its options alone."""
    runner = {**defaults.runner, **request.runner}
    match request:
        case ChatRequest(messages=()) | EmbedRequest():
            return replace(request, runner=runner)
        case ChatRequest():
            sampling = _sampling(request.sampling, defaults.sampling)
            return replace(request, messages=_conversation(request, defaults), sampling=sampling, runner=runner)
        case CompletionRequest():
            return replace(request, sampling=_sampling(request.sampling, defaults.sampling), runner=runner)


def filled(request: Request, furnished: Request) -> Changes:
    """The knobs that `furnished` has beyond `request`: for a request that is relayed as bytes."""
    if isinstance(request, EmbedRequest) or isinstance(furnished, EmbedRequest):
        return NO_CHANGES
    put = {
        name: value
        for name in _KNOBS
        if getattr(request.sampling, name) is None and (value := getattr(furnished.sampling, name)) is not None
    }
    return Changes(put) if put else NO_CHANGES


def speaks(defaults: Defaults) -> bool:
    """Whether the model has something to say in a conversation, which no change of a single knob can bring in."""
    return bool(defaults.system or defaults.messages)


def _conversation(request: ChatRequest, defaults: Defaults) -> tuple[Message, ...]:
    said = request.messages
    stored = () if request.continues else defaults.messages
    if said[0].role in _SYSTEM:
        return (said[0], *stored, *said[1:])
    told = (Message("system", (Text(defaults.system),)),) if defaults.system else ()
    return (*told, *stored, *said)


def _sampling(said: Sampling, usual: Sampling) -> Sampling:
    unsaid = {
        name: value for name in _KNOBS if getattr(said, name) is None and (value := getattr(usual, name)) is not None
    }
    return replace(said, **unsaid) if unsaid else said
