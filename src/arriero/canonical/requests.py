"""What a client asks: chat, completion and embedding requests.

Every optional field is `None` when the client did not say it: a default is the backend's to choose, never invented
here.
`Raw` fields hold JSON bytes exactly as the client sent them (schemas, tool parameters), so that key order and numbers
survive. `extra` holds top-level fields that the dialect does not know, by name; `dialect` says whose fields they are.
"""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Raw, Struct

# ---- message parts -------------------------------------------------------------------------------------------------


class Text(Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Thinking(Struct, frozen=True, tag="thinking"):
    """A model's reasoning, earlier in the conversation or in an answer. `signature` is opaque to all but its maker."""

    text: str
    signature: str | None = None


class Image(Struct, frozen=True, tag="image"):
    """An image: `data` is standard base64 with padding and no `data:` prefix, or `url` names it. One of them is set."""

    data: str | None = None
    url: str | None = None
    media_type: str | None = None
    detail: str | None = None


class Audio(Struct, frozen=True, tag="audio"):
    """A sound: standard base64, and its container (`wav`, `mp3`)."""

    data: str
    format: str


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """A call of a function. `arguments` is the JSON text of an object, key order kept; `{}` when there are none."""

    name: str
    arguments: str
    id: str | None = None


class Opaque(Struct, frozen=True, tag="opaque"):
    """A content part only its own dialect knows (`file`, for one). No other wire may drop it silently."""

    dialect: str
    kind: str
    raw: Raw


Part: TypeAlias = Text | Thinking | Image | Audio | ToolCall | Opaque


class Message(Struct, frozen=True):
    """One turn. `tool_call_id` and `tool_name` say which call a `tool` message answers; either may be missing."""

    role: str
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None


class Tool(Struct, frozen=True):
    """A function the model may call. `raw` is the whole tool object as sent, in the shape Ollama and OpenAI share."""

    name: str
    raw: Raw


# ---- how to answer -------------------------------------------------------------------------------------------------


class Sampling(Struct, frozen=True, omit_defaults=True):
    """The knobs of sampling. `max_tokens` is `None` for no limit; `stop` keeps the client's order."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    num_keep: int | None = None


class JsonFormat(Struct, frozen=True):
    """Any JSON value."""


class SchemaFormat(Struct, frozen=True):
    """JSON that fits `schema`, a JSON Schema object."""

    schema: Raw
    name: str | None = None
    strict: bool | None = None


Format: TypeAlias = JsonFormat | SchemaFormat
Think: TypeAlias = bool | str  # on, off, or a level: minimal, low, medium, high, max, xhigh
Scalar: TypeAlias = int | float | bool | str

FOREVER = float("inf")
"""A `keep_alive` without end."""


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A conversation to continue. Without messages it only loads the model (or unloads it, with `keep_alive` 0).

    `keep_alive` is in seconds, `FOREVER` for no end. `runner` holds load-time options by Ollama's names (`num_ctx`).
    `continues`: the client gave the conversation so far, be it empty, so that none of the model's own comes before it.
    """

    model: str
    messages: tuple[Message, ...] = ()
    continues: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: Raw | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = Sampling()
    format: Format | None = None
    think: Think | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    stream: bool = False
    include_usage: bool = False
    keep_alive: float | None = None
    truncate: bool | None = None
    shift: bool | None = None
    runner: Mapping[str, Scalar] = {}
    extra: Mapping[str, Raw] = {}
    dialect: str | None = None


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """Text to continue with no chat template, or to fill in between `prompt` and `suffix`."""

    model: str
    prompt: str
    suffix: str | None = None
    images: tuple[Image, ...] = ()
    sampling: Sampling = Sampling()
    format: Format | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    stream: bool = False
    include_usage: bool = False
    keep_alive: float | None = None
    truncate: bool | None = None
    shift: bool | None = None
    runner: Mapping[str, Scalar] = {}
    extra: Mapping[str, Raw] = {}
    dialect: str | None = None


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """Texts (or token lists) to turn into vectors, one each. `truncate` `None` means the dialect's default."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...] = ()
    dimensions: int | None = None
    truncate: bool | None = None
    base64: bool = False
    keep_alive: float | None = None
    runner: Mapping[str, Scalar] = {}
    extra: Mapping[str, Raw] = {}
    dialect: str | None = None


Request: TypeAlias = ChatRequest | CompletionRequest | EmbedRequest
