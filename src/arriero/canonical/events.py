"""What a model answers: the bracketed event stream, and the whole answers it folds into.

The order of events is a law, kept as a table in `canonical.stream`:

    Started  (PartStarted PartDelta* PartEnded)*  Finished | Failed

Parts never nest and never interleave. `PartEnded` carries the finished part, so that an encoder needs no memory of the
deltas. Counts and times that nobody told are `None`, never 0.
"""

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from arriero.canonical.requests import Text, Thinking, ToolCall


class Kind(Enum):
    """What a part of an answer is."""

    TEXT = "text"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"


class Reason(Enum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    LOAD = "load"
    UNLOAD = "unload"


class Usage(Struct, frozen=True):
    """Token counts. `completion_tokens` includes reasoning tokens; `prompt_tokens` includes cached ones."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Timings(Struct, frozen=True):
    """Durations as the backend measured them, in nanoseconds."""

    total_ns: int | None = None
    load_ns: int | None = None
    prompt_ns: int | None = None
    eval_ns: int | None = None


NO_USAGE = Usage()
NO_TIMINGS = Timings()


class TopLogprob(Struct, frozen=True, omit_defaults=True):
    """One candidate of a position."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class TokenLogprob(Struct, frozen=True, omit_defaults=True):
    """One generated token with its probability and, if asked for, the likeliest candidates. Both wires write it so."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()


# ---- events --------------------------------------------------------------------------------------------------------


class Started(Struct, frozen=True, gc=False):
    """The backend has begun to answer. `id` and `model` are the backend's own words."""

    id: str | None = None
    model: str | None = None


class PartStarted(Struct, frozen=True, gc=False):
    """A part begins. A tool call's name and id are known from here on."""

    kind: Kind
    call_id: str | None = None
    call_name: str | None = None


class PartDelta(Struct, frozen=True):
    """A piece of the open part: text, thinking, or the JSON text of a call's arguments."""

    kind: Kind
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class PartEnded(Struct, frozen=True):
    """The open part is complete."""

    part: Text | Thinking | ToolCall


class Finished(Struct, frozen=True):
    """The answer is complete. `context` is Ollama's opaque conversation memory, where a backend gave one."""

    reason: Reason = Reason.STOP
    usage: Usage = NO_USAGE
    timings: Timings = NO_TIMINGS
    context: tuple[int, ...] | None = None


class Failed(Struct, frozen=True):
    """The backend reported an error inside its answer, or its answer was cut. `status` is what it would have been, and
    `type` the stable word beside the text.
    """

    message: str
    status: int = 502
    cut: bool = False
    type: str = "backend_error"


Event: TypeAlias = Started | PartStarted | PartDelta | PartEnded | Finished | Failed


# ---- whole answers -------------------------------------------------------------------------------------------------


class Answer(Struct, frozen=True):
    """A whole answer to a chat or completion: what a stream folds into."""

    parts: tuple[Text | Thinking | ToolCall, ...] = ()
    finished: Finished = Finished()
    started: Started = Started()
    logprobs: tuple[TokenLogprob, ...] = ()


class Embeddings(Struct, frozen=True):
    """One vector for each input, in the order of the inputs, as the backend gave them (not normalised here)."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = NO_USAGE
    timings: Timings = NO_TIMINGS
