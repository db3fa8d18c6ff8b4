"""One entry of a model list: what a server or a vendor truly tells of the model, in whichever of their forms.

Nothing is guessed from a model's name. What a list is, and where its next page is, is read in `catalog`.
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import msgspec
from msgspec import Raw

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.model_ids import is_id
from arriero.dialects.openai.chunks import UNREADABLE, NotJson, loosely
from arriero.dialects.quirks import Profile

Entry = dict[str, Any]
_Capabilities = frozenset[Capability] | None

MAX_BEYOND_BYTES = 8192
"""Of what an entry tells besides; one that tells more is listed without it."""

_object_of = msgspec.json.Decoder(dict[str, Any]).decode


def card_of(entry: object, profile: Profile) -> ModelCard | None:
    """What an entry tells of its model, raw or read; `None` for one that makes no sense."""
    entry = _value(entry)
    if isinstance(entry, str):
        return ModelCard(id=entry) if is_id(entry) else None
    if not isinstance(entry, dict):
        return None
    id = text_of(entry, "id") or text_of(entry, "key") or text_of(entry, "name")
    if id is None or not is_id(id):
        return None
    top = object_of(entry, "top_provider")  # OpenRouter
    meta = object_of(entry, "meta")  # llama-server
    input_price, output_price = _prices(object_of(entry, "pricing"), profile.price_keys)
    return ModelCard(
        id=id.removeprefix(profile.id_prefix),
        capabilities=_capabilities(entry),
        context_length=_context_length(entry, top, meta, profile),
        max_output_tokens=count_of(top, "max_completion_tokens")
        or count_of(entry, "max_completion_tokens")
        or count_of(entry, "max_output_tokens"),
        embedding_length=count_of(meta, "n_embd"),
        size_bytes=count_of(meta, "size") or count_of(entry, "size_bytes"),
        created=count_of(entry, "created") or count_of(entry, "created_at"),
        owned_by=text_of(entry, "owned_by") or text_of(entry, "publisher") or text_of(entry, "organization"),
        display_name=_display_name(entry, id),
        format=text_of(entry, "compatibility_type") or text_of(entry, "format"),
        family=text_of(entry, "arch") or _architecture(entry),
        parameter_count=count_of(meta, "n_params"),
        parameter_size=text_of(entry, "params_string"),
        quantization=_quantization(entry, meta),
        input_price=input_price,
        output_price=output_price,
        beyond=_beyond(entry) if profile.title else None,
    )


_OWN = ("id", "object", "created", "owned_by")
"""The fields that every entry has, in arriero's words."""

_PROSE = frozenset({*_OWN, "description"})


def _beyond(entry: Entry) -> Raw | None:
    """What a vendor's entry tells that every entry does not. Descriptions stay out: they are the longest."""
    try:
        text = msgspec.json.encode({key: value for key, value in entry.items() if key not in _PROSE})
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return Raw(text) if 2 < len(text) <= MAX_BEYOND_BYTES else None


def _prices(pricing: Entry, keys: tuple[str, str, float] | None) -> tuple[float | None, float | None]:
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


def _display_name(entry: Entry, id: str) -> str | None:
    name = text_of(entry, "display_name") or text_of(entry, "name")
    return name if name != id else None


def _architecture(entry: Entry) -> str | None:
    """LM Studio's new API has a word here, OpenRouter an object."""
    return text_of(entry, "architecture")


def _quantization(entry: Entry, meta: Entry) -> str | None:
    own = text_of(entry, "quantization") or text_of(object_of(entry, "quantization"), "name")
    return own or text_of(meta, "ftype")


def _context_length(entry: Entry, top: Entry, meta: Entry, profile: Profile) -> int | None:
    found = next((length for key in profile.context_keys if (length := count_of(entry, key))), None)
    if found is None:
        # llama-server: the context it was started with, else the one the model was trained for.
        found = count_of(meta, "n_ctx") or count_of(meta, "n_ctx_train")
    instances = entry.get("loaded_instances")
    if isinstance(instances, list) and instances and isinstance(instances[0], dict):
        found = count_of(object_of(instances[0], "config"), "context_length") or found
    if found is None and (lengths := [count_of(served, "context_length") for served in _served(entry)]):
        # Hugging Face's router: any of those who serve the model may get the request.
        found = min((length for length in lengths if length), default=None)
    # OpenRouter: the model's length, and what the provider in front grants of it.
    granted = count_of(top, "context_length")
    return min(found, granted) if found and granted else found or granted


def _served(entry: Entry) -> list[Entry]:
    """Those who serve a model now, where a list of `providers` tells."""
    providers = entry.get("providers")
    if not isinstance(providers, list):
        return []
    return [one for one in providers if isinstance(one, dict) and one.get("status") in (None, "live")]


def _value(entry: object) -> object:
    """An entry as a value: a list of raw ones is read one by one."""
    if not isinstance(entry, Raw):
        return entry
    try:
        return _object_of(entry)
    except UNREADABLE:
        pass
    try:
        return loosely(bytes(entry))
    except NotJson:
        return None


# ---- capabilities --------------------------------------------------------------------------------------------------

_TYPES: Mapping[str, frozenset[Capability]] = {
    "llm": frozenset({Capability.COMPLETION}),
    "vlm": frozenset({Capability.COMPLETION, Capability.VISION}),
    "embeddings": frozenset({Capability.EMBEDDING}),
    "embedding": frozenset({Capability.EMBEDDING}),
}
"""LM Studio's `type` of a model, and Together's for embeddings; its `chat` says nothing of tools."""

_MODALITIES = {"image": Capability.VISION, "audio": Capability.AUDIO}


def _capabilities(entry: Entry) -> _Capabilities:
    """What the entry says that the model can do; `None` where it says too little to deny anything."""
    if isinstance(entry.get("supported_parameters"), list):
        return _of_openrouter(entry)
    told = entry.get("capabilities")
    if isinstance(told, dict) and any(isinstance(flag, bool) for flag in told.values()) and "type" not in entry:
        return _of_mistral(told)
    kind = text_of(entry, "type") or ""
    if kind in _TYPES and (kind.startswith("embedding") or "arch" in entry or "architecture" in entry):
        return _of_lmstudio(kind, told)
    if isinstance(told, dict) and any(isinstance(flag, bool) for flag in told.values()):
        return _of_mistral(told)
    return _of_embedders(entry)


def _of_embedders(entry: Entry) -> _Capabilities:
    """Models that only embed, in Cohere's words and Fireworks'.

    Of the others these lists say nothing of thinking, and a set without it would deny it.
    """
    endpoints = words_of(entry.get("endpoints"))
    if "embed" in endpoints and "chat" not in endpoints:
        return frozenset({Capability.EMBEDDING})
    kind = text_of(entry, "kind") or ""
    if kind.startswith("EMBEDDING") and entry.get("supports_chat") is not True:
        return frozenset({Capability.EMBEDDING})
    return None


def _of_openrouter(entry: Entry) -> _Capabilities:
    architecture = object_of(entry, "architecture")
    outputs = words_of(architecture.get("output_modalities"))
    parameters = words_of(entry["supported_parameters"])
    found = {_MODALITIES[word] for word in words_of(architecture.get("input_modalities")) if word in _MODALITIES}
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


def _of_mistral(told: Entry) -> _Capabilities:
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
        words = words_of(told) if isinstance(told, list) else {word for word, flag in _items(told) if flag is True}
        if words & {"tool_use", "trained_for_tool_use"}:
            found.add(Capability.TOOLS)
        if "vision" in words:
            found.add(Capability.VISION)
        if isinstance(told, dict) and (told.get("thinking") is True or isinstance(told.get("reasoning"), dict)):
            found.add(Capability.THINKING)
    return frozenset(found)


# ---- reading with care ---------------------------------------------------------------------------------------------


def text_of(entry: Entry, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def count_of(entry: Entry, key: str) -> int | None:
    """A positive whole number; servers write lengths as 8192.0 too, and 0 or -1 for unknown."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < 2**63 else None


def object_of(entry: Entry, key: str) -> Entry:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def words_of(value: object) -> set[str]:
    return {word for word in value if isinstance(word, str)} if isinstance(value, list) else set()


def _items(value: object) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, dict) else iter(())
