"""Lists of models: `/v1/models` as clients read it, and the lists of backends with what they truly tell.

Nothing is guessed from a model's name. Entries that make no sense are passed over; a body that is no list is an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, Listed, ModelCard
from arriero.dialects.openai.chunks import NotJson, loosely
from arriero.dialects.profiles import Profile
from arriero.errors import BackendBroken
from arriero.wire.jsontext import json_text

_Entry = dict[str, Any]
_Capabilities = frozenset[Capability] | None

# ---- for clients ---------------------------------------------------------------------------------------------------


def write_models(models: Iterable[Listed], since: float = 0.0) -> bytes:
    """`GET /v1/models`. `data` is `[]` where there are none: clients iterate over it.

    `since` (unix seconds) is the time of models that have none.
    """
    return json_text({"object": "list", "data": [_entry(listed, since) for listed in models]}) + b"\n"


def write_model(listed: Listed, since: float = 0.0) -> bytes:
    """`GET /v1/models/{id}`."""
    return json_text(_entry(listed, since)) + b"\n"


def _entry(listed: Listed, since: float) -> _Entry:
    card = listed.card
    created = card.created if card.created is not None else int(card.modified_at or since)
    return {"id": listed.name, "object": "model", "created": created, "owned_by": card.owned_by or "library"}


# ---- of backends ---------------------------------------------------------------------------------------------------


def read_models(body: bytes, profile: Profile) -> tuple[ModelCard, ...]:
    """The models of a backend's list, each id once, in its order. Raises `BackendBroken` for a body that is no list.

    Read are OpenAI's form and its relatives: a bare array (Together), `models` instead of `data` (LM Studio's own API),
    and `data: null` for an empty list (Ollama).
    """
    try:
        value = loosely(body)
    except NotJson as error:
        raise BackendBroken(f"the backend's model list is not JSON: {error}") from None
    if isinstance(value, dict):
        listed = value.get("data", value.get("models", False))
        if listed is None and isinstance(value.get("models"), list):
            listed = value["models"]
    else:
        listed = value
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise BackendBroken("the backend's model list is no list")
    cards: dict[str, ModelCard] = {}
    for entry in listed:
        card = _card(entry, profile)
        if card is not None:
            cards.setdefault(card.id, card)
    return tuple(cards.values())


def _card(entry: object, profile: Profile) -> ModelCard | None:
    if isinstance(entry, str):
        return ModelCard(id=entry) if entry else None
    if not isinstance(entry, dict):
        return None
    id = _text(entry, "id") or _text(entry, "key") or _text(entry, "name")
    if id is None:
        return None
    top = _object(entry, "top_provider")  # OpenRouter
    meta = _object(entry, "meta")  # llama-server
    input_price, output_price = _prices(_object(entry, "pricing"), profile.price_keys)
    return ModelCard(
        # Google's ids carry the path of its own API, which its chat endpoint does not need.
        id=id.removeprefix("models/") if profile.name == "google" else id,
        capabilities=_capabilities(entry),
        context_length=_context_length(entry, top, meta, profile),
        max_output_tokens=_count(top, "max_completion_tokens")
        or _count(entry, "max_completion_tokens")
        or _count(entry, "max_output_tokens"),
        embedding_length=_count(meta, "n_embd"),
        size_bytes=_count(meta, "size") or _count(entry, "size_bytes"),
        created=_count(entry, "created") or _count(entry, "created_at"),
        owned_by=_text(entry, "owned_by") or _text(entry, "publisher") or _text(entry, "organization"),
        display_name=_display_name(entry, id),
        format=_text(entry, "compatibility_type") or _text(entry, "format"),
        family=_text(entry, "arch") or _architecture(entry),
        parameter_count=_count(meta, "n_params"),
        parameter_size=_text(entry, "params_string"),
        quantization=_quantization(entry, meta),
        input_price=input_price,
        output_price=output_price,
    )


def _prices(pricing: _Entry, keys: tuple[str, str, float] | None) -> tuple[float | None, float | None]:
    """US dollars for a million tokens of prompt and answer. A negative one says that it depends (a router's)."""
    if keys is None:
        return None, None
    return _price(pricing.get(keys[0]), keys[2]), _price(pricing.get(keys[1]), keys[2])


def _price(told: object, factor: float) -> float | None:
    if not isinstance(told, int | float | str) or isinstance(told, bool):
        return None
    try:
        price = float(told) * factor
    except ValueError:
        return None
    return price if 0 <= price < inf else None


def _display_name(entry: _Entry, id: str) -> str | None:
    name = _text(entry, "display_name") or _text(entry, "name")
    return name if name != id else None


def _architecture(entry: _Entry) -> str | None:
    """LM Studio's new API has a word here, OpenRouter an object."""
    return _text(entry, "architecture")


def _quantization(entry: _Entry, meta: _Entry) -> str | None:
    return _text(entry, "quantization") or _text(_object(entry, "quantization"), "name") or _text(meta, "ftype") or None


def _context_length(entry: _Entry, top: _Entry, meta: _Entry, profile: Profile) -> int | None:
    found = next((length for key in profile.context_keys if (length := _count(entry, key))), None)
    if found is None:
        # llama-server: the context it was started with, else the one the model was trained for.
        found = _count(meta, "n_ctx") or _count(meta, "n_ctx_train")
    instances = entry.get("loaded_instances")
    if isinstance(instances, list) and instances and isinstance(instances[0], dict):
        found = _count(_object(instances[0], "config"), "context_length") or found
    # OpenRouter: the model's length, and what the provider in front grants of it.
    granted = _count(top, "context_length")
    return min(found, granted) if found and granted else found or granted


# ---- capabilities --------------------------------------------------------------------------------------------------

_TYPES: Mapping[str, frozenset[Capability]] = {
    "llm": frozenset({Capability.COMPLETION}),
    "vlm": frozenset({Capability.COMPLETION, Capability.VISION}),
    "embeddings": frozenset({Capability.EMBEDDING}),
    "embedding": frozenset({Capability.EMBEDDING}),
}
"""LM Studio's `type` of a model, and Together's for embeddings; its `chat` says nothing of tools."""

_MODALITIES = {"image": Capability.VISION, "audio": Capability.AUDIO}


def _capabilities(entry: _Entry) -> _Capabilities:
    """What the entry says that the model can do; `None` where it says too little to deny anything."""
    if isinstance(entry.get("supported_parameters"), list):
        return _of_openrouter(entry)
    told = entry.get("capabilities")
    if isinstance(told, dict) and any(isinstance(flag, bool) for flag in told.values()) and "type" not in entry:
        return _of_mistral(told)
    kind = _text(entry, "type") or ""
    if kind in _TYPES and (kind.startswith("embedding") or "arch" in entry or "architecture" in entry):
        return _of_lmstudio(kind, told)
    if isinstance(told, dict) and any(isinstance(flag, bool) for flag in told.values()):
        return _of_mistral(told)
    return None


def _of_openrouter(entry: _Entry) -> _Capabilities:
    architecture = _object(entry, "architecture")
    outputs = _words(architecture.get("output_modalities"))
    parameters = _words(entry["supported_parameters"])
    found = {_MODALITIES[word] for word in _words(architecture.get("input_modalities")) if word in _MODALITIES}
    if "embeddings" in outputs:
        found.add(Capability.EMBEDDING)
    if "text" in outputs or not outputs:
        found.add(Capability.COMPLETION)
    if "image" in outputs:
        found.add(Capability.IMAGE)
    if "tools" in parameters:
        found.add(Capability.TOOLS)
    if parameters & {"reasoning", "include_reasoning"}:
        found.add(Capability.THINKING)
    return frozenset(found) or None


_MISTRAL = {
    "completion_chat": Capability.COMPLETION,
    "completion_fim": Capability.INSERT,
    "function_calling": Capability.TOOLS,
    "vision": Capability.VISION,
    "audio": Capability.AUDIO,
    "reasoning": Capability.THINKING,
}


def _of_mistral(told: _Entry) -> _Capabilities:
    if "completion_chat" not in told:
        return None
    # Its embedding and moderation models have every flag down.
    return frozenset(capability for word, capability in _MISTRAL.items() if told.get(word) is True) or None


def _of_lmstudio(kind: str, told: object) -> _Capabilities:
    found = set(_TYPES[kind])
    if Capability.COMPLETION in found:
        if told is None:
            # Versions before 0.3.16 told nothing of tools: then nothing is denied.
            return None
        words = _words(told) if isinstance(told, list) else {word for word, flag in _items(told) if flag is True}
        if words & {"tool_use", "trained_for_tool_use"}:
            found.add(Capability.TOOLS)
        if "vision" in words:
            found.add(Capability.VISION)
        if isinstance(told, dict) and (told.get("thinking") is True or isinstance(told.get("reasoning"), dict)):
            found.add(Capability.THINKING)
    return frozenset(found)


# ---- llama-server's own page ---------------------------------------------------------------------------------------


PROPS_PATH = "/props"


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


def with_details(cards: tuple[ModelCard, ...], body: bytes, profile: Profile) -> tuple[ModelCard, ...]:
    """The cards of a model list with what the vendor's own page (`Profile.details_path`) knows better.

    The page is llama-server's `/props`, which speaks of the one model the server runs, or another list with the same
    ids. Raises `BackendBroken` for a page that is neither.
    """
    if profile.details_path == PROPS_PATH:
        return (read_props(body).onto(cards[0]),) if len(cards) == 1 else cards
    better = {card.id: card for card in read_models(body, profile)}
    return tuple(better.get(card.id, card) for card in cards)


_THINKS = ("enable_thinking", "<think>", "reasoning_content", "reasoning_effort")
"""What a chat template mentions if its model thinks; the server reads templates for the same marks."""


def read_props(body: bytes) -> Props:
    """The page. Raises `BackendBroken` for a body that is not a JSON object."""
    try:
        value = loosely(body)
    except NotJson as error:
        raise BackendBroken(f"the backend's properties are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BackendBroken("the backend's properties are no object")
    settings = _object(value, "default_generation_settings")
    template = _text(value, "chat_template")
    caps = value.get("chat_template_caps")
    capabilities: set[Capability] | None = None
    if isinstance(caps, dict):
        capabilities = {Capability.COMPLETION}
        if caps.get("supports_tools") is True:
            capabilities.add(Capability.TOOLS)
        modalities = _object(value, "modalities")
        if modalities.get("vision") is True:
            capabilities.add(Capability.VISION)
        if modalities.get("audio") is True:
            capabilities.add(Capability.AUDIO)
        if template is not None and any(mark in template for mark in _THINKS):
            capabilities.add(Capability.THINKING)
    return Props(
        context_length=_count(settings, "n_ctx") or _count(value, "n_ctx"),
        capabilities=frozenset(capabilities) if capabilities else None,
        template=template,
        model_path=_text(value, "model_path"),
        slots=_count(value, "total_slots"),
    )


# ---- reading with care ---------------------------------------------------------------------------------------------


def _text(entry: _Entry, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def _count(entry: _Entry, key: str) -> int | None:
    """A positive whole number; servers write lengths as 8192.0 too, and 0 or -1 for unknown."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < 2**63 else None


def _object(entry: _Entry, key: str) -> _Entry:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def _words(value: object) -> set[str]:
    return {word for word in value if isinstance(word, str)} if isinstance(value, list) else set()


def _items(value: object) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, dict) else iter(())
