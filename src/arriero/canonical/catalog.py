"""What is known of a model without asking it anything: the entry of a catalog.

Unknown is `None`. Nothing here is guessed from a name; where a value was set by the operator or by a profile, the
reader of the backend's list filled it in that order: the backend's own word, the profile, the configuration.

Cards hold nothing that could hold them again, so the garbage collector passes them over (`gc=False`): there may be tens
of thousands.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Raw, Struct

from arriero.canonical.requests import Message, Sampling, Scalar


class Capability(Enum):
    """What a model can do, in the words that Ollama's clients read."""

    COMPLETION = "completion"
    TOOLS = "tools"
    INSERT = "insert"
    VISION = "vision"
    EMBEDDING = "embedding"
    THINKING = "thinking"
    IMAGE = "image"
    AUDIO = "audio"


class Defaults(Struct, frozen=True, kw_only=True):
    """What a model brings along for requests that do not say it themselves: knobs, load-time options by Ollama's names,
    a system text, and the beginning of every conversation.
    """

    sampling: Sampling = Sampling()
    runner: Mapping[str, Scalar] = {}
    system: str | None = None
    messages: tuple[Message, ...] = ()


class ModelCard(Struct, frozen=True, kw_only=True, gc=False):
    """One model on one backend. `id` is the backend's own word for it; sizes are bytes, `modified_at` unix seconds.

    `capabilities` is `None` when nobody said; an empty set never occurs. Prices are US dollars for a million tokens.
    `native` is the backend's own JSON of the entry where its dialect is the client's too, so that a listing can pass on
    what the card has no field for. `beyond` is a JSON object: what a vendor's list in the OpenAI dialect tells besides
    id, time and owner, for listings in that dialect. `defaults` are for arriero to fill in; a backend that fills in its
    model's own tells none.
    """

    id: str
    capabilities: frozenset[Capability] | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    embedding_length: int | None = None
    size_bytes: int | None = None
    digest: str | None = None
    modified_at: float | None = None
    created: int | None = None
    owned_by: str | None = None
    display_name: str | None = None
    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] | None = None
    parameter_count: int | None = None
    parameter_size: str | None = None
    quantization: str | None = None
    input_price: float | None = None
    output_price: float | None = None
    native: Raw | None = None
    beyond: Raw | None = None
    defaults: Defaults | None = None


class LoadedModel(Struct, frozen=True, kw_only=True, gc=False):
    """A model that is in memory somewhere. `expires_at` is unix seconds, infinity for never, `None` for unknown."""

    card: ModelCard
    size_bytes: int | None = None
    vram_bytes: int | None = None
    expires_at: float | None = None
    context_length: int | None = None
    native: Raw | None = None


class ModelDetail(Struct, frozen=True, kw_only=True):
    """What `/api/show` tells beyond the card. `info` is GGUF-like metadata, in order; long arrays are `None`.

    `template` is one that a Modelfile can set, `chat_template` the one in the model's own file, for where there is no
    other. `messages` are role and content. `projector` is the metadata of the file that reads images. `stored`: what
    is not told here is not there, and nothing is made up for it.
    """

    card: ModelCard
    info: dict[str, object] = {}
    template: str | None = None
    chat_template: str | None = None
    system: str | None = None
    parameters: dict[str, object] = {}
    messages: tuple[tuple[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    projector: dict[str, object] | None = None
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    stored: bool = False


class Listed(Struct, frozen=True):
    """A catalog entry under the name that clients see."""

    name: str
    card: ModelCard
