"""The request bodies of the Ollama API as clients write them, field by field.

Every field may be absent or null, which is the same. `Raw` holds what the API reads by rules of its own (`keep_alive`,
`format`, `think`) or what travels on as it is. The strict decoders refuse unknown fields, so that the fast path ends at
the first thing which is out of the ordinary and `lenient` reads the body instead.
"""

from msgspec import Raw, Struct, field

ABSENT = Raw()


class FunctionBody(Struct, forbid_unknown_fields=True):
    """The function of a tool call. `arguments` must be an object."""

    name: str | None = None
    arguments: Raw = ABSENT
    index: int | None = None
    description: Raw = ABSENT


class CallBody(Struct, forbid_unknown_fields=True):
    """A tool call of an earlier turn. `type` and `index` come from clients that think in OpenAI's shape."""

    id: str | None = None
    function: FunctionBody | None = None
    type: Raw = ABSENT
    index: Raw = ABSENT


class MessageBody(Struct, forbid_unknown_fields=True):
    """One turn."""

    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[CallBody] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ToolFunctionBody(Struct):
    """What must be known of a tool's function; the tool itself travels raw."""

    name: str | None = None


class ToolBody(Struct):
    """What must be known of a tool."""

    function: ToolFunctionBody | None = None


class ChatBody(Struct, forbid_unknown_fields=True):
    """POST /api/chat."""

    model: str | None = None
    messages: list[MessageBody] | None = None
    tools: list[Raw] | None = None
    stream: bool | None = None
    format: Raw = ABSENT
    keep_alive: Raw = ABSENT
    options: dict[str, Raw] | None = None
    think: Raw = ABSENT
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = field(name="_debug_render_only", default=None)


class GenerateBody(Struct, forbid_unknown_fields=True):
    """POST /api/generate. `name` is not an alias here."""

    model: str | None = None
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    stream: bool | None = None
    raw: bool | None = None
    format: Raw = ABSENT
    keep_alive: Raw = ABSENT
    images: list[str] | None = None
    options: dict[str, Raw] | None = None
    think: Raw = ABSENT
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = field(name="_debug_render_only", default=None)


class EmbedBody(Struct, forbid_unknown_fields=True):
    """POST /api/embed."""

    model: str | None = None
    input: Raw = ABSENT
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Raw = ABSENT
    options: dict[str, Raw] | None = None


class EmbeddingsBody(Struct, forbid_unknown_fields=True):
    """POST /api/embeddings, the old form."""

    model: str | None = None
    prompt: str | None = None
    keep_alive: Raw = ABSENT
    options: dict[str, Raw] | None = None
