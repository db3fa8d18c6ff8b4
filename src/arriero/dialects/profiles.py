"""Vendors' quirks as data: one entry a vendor, and nothing that does anything.

A profile says which knobs a backend's OpenAI-compatible API takes and by which names, how it switches thinking, where it
puts reasoning, how it authenticates, and where its model list tells what a model can do. Adding a vendor that speaks the
OpenAI wire is one entry here. Each entry names the vendor's own documentation it was read from, with the date.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from msgspec import Struct

_NONE: Mapping[str, str] = MappingProxyType({})


class ThinkStyle(Enum):
    """How thinking is switched on and off."""

    EFFORT = "effort"  # `reasoning_effort`: "none", "low", "medium", "high"
    TEMPLATE = "template"  # `chat_template_kwargs: {"enable_thinking": bool}`
    BOTH = "both"  # template kwargs, and the effort as one of them
    REASONING = "reasoning"  # `reasoning: {"enabled"|"effort"}` (OpenRouter)
    THINKING = "thinking"  # `thinking: {"type": "enabled"|"disabled"}` (DeepSeek and others)
    NONE = "none"  # the API has no such switch: the knob is dropped


class Profile(Struct, frozen=True, kw_only=True):
    """One vendor. The defaults describe OpenAI's own API; `generic` is the careful reading of "OpenAI-compatible".

    `sampling` maps canonical knobs (fields of `Sampling`) beyond OpenAI's own to the vendor's field names; what is in
    neither is dropped. `max_tokens` is the vendor's field for the answer's length limit.
    """

    name: str
    base_url: str | None = None
    error_type: str = "openai_error"
    key_variable: str | None = None
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    headers: Mapping[str, str] = _NONE
    query: Mapping[str, str] = _NONE
    max_tokens: str = "max_tokens"
    sampling: Mapping[str, str] = _NONE
    max_stops: int | None = None
    think: ThinkStyle = ThinkStyle.EFFORT
    efforts: Mapping[str, str] = _NONE
    reasoning_input: str | None = None
    json_schema: bool = True
    stream_options: bool = True
    tool_choice: bool = True
    forwards_client_address: bool = False
    embed_batch: int = 2048
    models_path: str = "/models"
    context_keys: tuple[str, ...] = ()
