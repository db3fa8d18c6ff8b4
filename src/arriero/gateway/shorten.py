"""A request whose prompt is too long for the model, made shorter as an Ollama server does it: the oldest part goes.

A server in front of its own model counts tokens before it asks. Here the backend counts, says that it is too much, and
mostly by how much; the rest is an estimate by characters, a little more than needed, and the backend is asked again.
"""

from msgspec.structs import replace

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    Message,
    Request,
    Text,
    Thinking,
    ToolCall,
)

MAX_SHORTENINGS = 8
"""How often one request is shortened. Without a word of the backend about sizes each halves it."""

MARGIN = 0.05
"""What is cut beyond the estimate, as a share of the whole: tokens are not spread evenly over characters."""

UNKNOWN_FITS = 0.5

_NEVER_DROPPED = frozenset({"system", "developer"})


def shortened(request: Request, fits: float | None, *, one_prompt: bool) -> Request | None:
    """The request with less of its oldest text, or `None` where nothing may go.

    `fits` is the share of the prompt that the model has room for. A conversation loses its oldest turns, never the last
    one and no system message; a call goes together with its results. `one_prompt` says that the last turn is no turn of
    a conversation but a text to work on: its beginning may go as well.
    """
    share = 1 - (UNKNOWN_FITS if fits is None else fits) + MARGIN
    match request:
        case ChatRequest(truncate=False) | CompletionRequest(truncate=False):
            return None
        case ChatRequest():
            messages = _without_oldest(request.messages, share)
            if messages is None and one_prompt:
                messages = _cut_last(request.messages, share)
            return replace(request, messages=messages) if messages is not None else None
        case CompletionRequest(suffix=None, prompt=prompt) if len(prompt) > 1:
            return replace(request, prompt=_cut(prompt, len(prompt) * share))
        case _:
            return None


def _without_oldest(messages: tuple[Message, ...], share: float) -> tuple[Message, ...] | None:
    turns = _turns(messages)
    excess = share * sum(map(_size, messages))
    gone: set[int] = set()
    for turn in turns[:-1]:
        if excess <= 0:
            break
        gone.update(turn)
        excess -= sum(_size(messages[at]) for at in turn)
    return tuple(message for at, message in enumerate(messages) if at not in gone) if gone else None


def _turns(messages: tuple[Message, ...]) -> list[list[int]]:
    """Where the messages stand that go or stay together, the oldest first, without those that always stay."""
    turns: list[list[int]] = []
    for at, message in enumerate(messages):
        if message.role in _NEVER_DROPPED:
            continue
        if message.role == "tool" and turns:
            turns[-1].append(at)
        else:
            turns.append([at])
    return turns


def _cut_last(messages: tuple[Message, ...], share: float) -> tuple[Message, ...] | None:
    """The last message with less of its first text. The system's words stay, so its own has to give for all."""
    last = messages[-1]
    excess = share * sum(map(_size, messages))
    for at, part in enumerate(last.parts):
        if isinstance(part, Text) and len(part.text) > 1:
            parts = (*last.parts[:at], Text(_cut(part.text, excess)), *last.parts[at + 1 :])
            return (*messages[:-1], replace(last, parts=parts))
    return None


def _cut(text: str, excess: float) -> str:
    """The text without its first `excess` characters: at least one goes, at least one stays."""
    return text[min(max(1, round(excess)), len(text) - 1) :]


def _size(message: Message) -> int:
    """In characters. Images and sounds count for nothing: how many tokens they make is the model's secret."""
    size = 0
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text):
                size += len(text)
            case ToolCall(name, arguments):
                size += len(name) + len(arguments)
            case _:
                pass
    return size
