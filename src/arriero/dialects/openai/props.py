"""llama-server's own page: what `/props` tells of the one model that the server runs."""

from msgspec import Struct
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.openai.cards import count_of, object_of, text_of
from arriero.dialects.openai.chunks import NotJson, loosely
from arriero.errors import BackendBroken

PATH = "/props"


class Props(Struct, frozen=True):
    """What `/props` of a llama-server tells of the model it runs. Each field is `None` where the server is silent."""

    context_length: int | None = None
    capabilities: frozenset[Capability] | None = None
    template: str | None = None
    model_path: str | None = None
    slots: int | None = None

    def onto(self, card: ModelCard) -> ModelCard:
        """The card with what the page knows better."""
        return replace(
            card,
            context_length=self.context_length or card.context_length,
            capabilities=self.capabilities or card.capabilities,
        )


_THINKS = ("enable_thinking", "<think>", "reasoning_content", "reasoning_effort")
"""What a chat template mentions if its model thinks; the server reads templates for the same marks."""


def read(body: bytes) -> Props:
    """The page. Raises `BackendBroken` for a body that is not a JSON object."""
    try:
        value = loosely(body)
    except NotJson as error:
        raise BackendBroken(f"the backend's properties are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BackendBroken("the backend's properties are no object")
    settings = object_of(value, "default_generation_settings")
    template = text_of(value, "chat_template")
    caps = value.get("chat_template_caps")
    capabilities: set[Capability] | None = None
    if isinstance(caps, dict):
        capabilities = {Capability.COMPLETION}
        if caps.get("supports_tools") is True:
            capabilities.add(Capability.TOOLS)
        modalities = object_of(value, "modalities")
        if modalities.get("vision") is True:
            capabilities.add(Capability.VISION)
        if modalities.get("audio") is True:
            capabilities.add(Capability.AUDIO)
        if template is not None and any(mark in template for mark in _THINKS):
            capabilities.add(Capability.THINKING)
    return Props(
        context_length=count_of(settings, "n_ctx") or count_of(value, "n_ctx"),
        capabilities=frozenset(capabilities) if capabilities else None,
        template=template,
        model_path=text_of(value, "model_path"),
        slots=count_of(value, "total_slots"),
    )
