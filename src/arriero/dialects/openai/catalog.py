"""Lists of models: `/v1/models` as clients read it, and the lists of backends with what they truly tell.

Nothing is guessed from a model's name. Entries that make no sense are passed over; a body that is no list is an error.
A list may be as long as an answer may be: its entries are read one by one, and no more of them than `MAX_MODELS`.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any, assert_never
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, Listed, ModelCard
from arriero.dialects.openai.chunks import EMPTY, UNREADABLE, NotJson, loosely
from arriero.dialects.quirks import Paging, Profile
from arriero.errors import BackendBroken
from arriero.wire.jsontext import json_text

_Entry = dict[str, Any]
_Capabilities = frozenset[Capability] | None

# ---- for clients ---------------------------------------------------------------------------------------------------


def write_models(models: Iterable[Listed], since: float = 0.0) -> bytes:
    """`GET /v1/models`. `data` is `[]` where there are none: clients iterate over it.

    `since` (unix seconds) is the time of models that have none.
    """
    return b'{"object":"list","data":[' + b",".join([_written(listed, since) for listed in models]) + b"]}\n"


def write_model(listed: Listed, since: float = 0.0) -> bytes:
    """`GET /v1/models/{id}`."""
    return _written(listed, since) + b"\n"


_OWN = ("id", "object", "created", "owned_by")
"""The fields that every entry has, in arriero's words."""


def _written(listed: Listed, since: float) -> bytes:
    card = listed.card
    created = card.created if card.created is not None else int(card.modified_at or since)
    text = json_text({"id": listed.name, "object": "model", "created": created, "owned_by": card.owned_by or "library"})
    return text if card.beyond is None else text[:-1] + b"," + bytes(card.beyond)[1:]


# ---- of backends ---------------------------------------------------------------------------------------------------


MAX_MODELS = 100_000
"""Models of one list that are read; nobody has more, and each costs memory."""

MAX_BEYOND_BYTES = 8192
"""Of what an entry tells besides; one that tells more is listed without it."""

_MAX_COMMAS = 2_000_000
"""Of a body that has more, no list of its entries is made; five thousand models of OpenRouter's have a fifth."""

_LOOSE_BYTES = 4 * 1024 * 1024
"""A body that only the slow reader can read may be this long."""


class Page(Struct, frozen=True):
    """One page of a list. `entries` is how many it had, sensible or not; `next` the query of the next one, if any."""

    cards: tuple[ModelCard, ...]
    entries: int = 0
    next: Mapping[str, str] | None = None


def read_models(body: bytes, profile: Profile) -> tuple[ModelCard, ...]:
    """The models of a list that is whole. Raises `BackendBroken` for a body that is no list."""
    return read_page(body, profile).cards


def read_page(body: bytes, profile: Profile, before: int = 0) -> Page:
    """The models of a backend's list, each id once, in its order. Raises `BackendBroken` for a body that is no list.

    Read are OpenAI's form and its relatives: a bare array (Together), `models` instead of `data` (LM Studio's own API,
    Cohere), and `data: null` for an empty list (Ollama). `before` is how many entries the pages before had.
    """
    top = _top(body)
    listed = top.data if isinstance(top.data, list) else top.models
    if listed is None:
        if top.data is False:
            raise BackendBroken("the backend's model list is no list")
        return Page(())
    cards: dict[str, ModelCard] = {}
    for entry in listed[:MAX_MODELS]:
        card = _card(_entry(entry), profile)
        if card is not None:
            cards.setdefault(card.id, card)
    return Page(tuple(cards.values()), len(listed), _next(top, profile.paging, before + len(listed)))


class _Top(Struct):
    """The outer object. Of `data` and `models`: a list, `None` for null, `False` for anything else and for nothing."""

    data: list[Any] | bool | None = False
    models: list[Any] | None = None
    links: Any = None
    has_more: Any = None
    last_id: Any = None
    next_page_token: Any = None
    total_count: Any = None


class _RawTop(Struct):
    data: Raw = EMPTY
    models: Raw = EMPTY
    links: Any = None
    has_more: Any = None
    last_id: Any = None
    next_page_token: Any = None
    total_count: Any = None


_raw_top = msgspec.json.Decoder(_RawTop).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_object_of = msgspec.json.Decoder(dict[str, Any]).decode
_any_of = msgspec.json.Decoder().decode


def _top(body: bytes) -> _Top:
    if body.count(b",") > _MAX_COMMAS:
        raise BackendBroken("the backend's model list is longer than any list of models")
    try:
        if body.lstrip()[:1] == b"[":
            return _Top(_raws(body))
        raw = _raw_top(body)
        data, models = _list_or(raw.data), _list_or(raw.models)
        return _Top(
            data,
            models if isinstance(models, list) else None,
            raw.links,
            raw.has_more,
            raw.last_id,
            raw.next_page_token,
            raw.total_count,
        )
    except UNREADABLE:
        # A lone surrogate, bytes that are no UTF-8: rare, so the slow way is good enough. Or no list at all.
        return _loose_top(body)


def _list_or(raw: Raw) -> "list[Any] | bool | None":
    text = bytes(raw).lstrip()
    if text[:1] == b"[":
        return list(_raws(raw))
    return None if text == b"null" else False


def _loose_top(body: bytes) -> _Top:
    if len(body) > _LOOSE_BYTES:
        raise BackendBroken("the backend's model list is not JSON")
    try:
        value = loosely(body)
    except NotJson as error:
        raise BackendBroken(f"the backend's model list is not JSON: {error}") from None
    if isinstance(value, list) or value is None:
        return _Top(value)
    if not isinstance(value, dict):
        return _Top()
    data, models = value.get("data", False), value.get("models")
    return _Top(
        data if isinstance(data, list) or data is None else False,
        models if isinstance(models, list) else None,
        *(value.get(name) for name in ("links", "has_more", "last_id", "next_page_token", "total_count")),
    )


def _entry(entry: object) -> object:
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


def _next(top: _Top, paging: Paging | None, seen: int) -> Mapping[str, str] | None:
    """What to ask for next. Of a link only the query is taken: it never leads to another host or path."""
    match paging:
        case None:
            return None
        case Paging.LINK:
            link = top.links.get("next") if isinstance(top.links, dict) else None
            if isinstance(link, str) and link:
                return _query(link)
            if isinstance(top.links, dict) and "next" in top.links:
                return None  # it says itself that this was the last one
            return {"offset": str(seen)} if type(top.total_count) is int and seen < top.total_count else None
        case Paging.AFTER:
            last = top.last_id
            return {"after_id": last} if top.has_more is True and isinstance(last, str) and last else None
        case Paging.TOKEN:
            token = top.next_page_token
            return {"page_token": token} if isinstance(token, str) and token else None
        case _:
            assert_never(paging)


def _query(link: str) -> Mapping[str, str] | None:
    try:
        return dict(parse_qsl(urlsplit(link).query)) or None
    except ValueError:
        return None


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
        id=id.removeprefix(profile.id_prefix),
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
        beyond=_beyond(entry) if profile.title else None,
    )


_PROSE = frozenset({*_OWN, "description"})


def _beyond(entry: _Entry) -> Raw | None:
    """What a vendor's entry tells that every entry does not. Descriptions stay out: they are the longest."""
    try:
        text = msgspec.json.encode({key: value for key, value in entry.items() if key not in _PROSE})
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return Raw(text) if 2 < len(text) <= MAX_BEYOND_BYTES else None


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
    if found is None and (lengths := [_count(served, "context_length") for served in _served(entry)]):
        # Hugging Face's router: any of those who serve the model may get the request.
        found = min((length for length in lengths if length), default=None)
    # OpenRouter: the model's length, and what the provider in front grants of it.
    granted = _count(top, "context_length")
    return min(found, granted) if found and granted else found or granted


def _served(entry: _Entry) -> list[_Entry]:
    """Those who serve a model now, where a list of `providers` tells."""
    providers = entry.get("providers")
    if not isinstance(providers, list):
        return []
    return [one for one in providers if isinstance(one, dict) and one.get("status") in (None, "live")]


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
    return _of_embedders(entry)


def _of_embedders(entry: _Entry) -> _Capabilities:
    """Models that only embed, in Cohere's words and Fireworks'.

    Of the others these lists say nothing of thinking, and a set without it would deny it.
    """
    endpoints = _words(entry.get("endpoints"))
    if "embed" in endpoints and "chat" not in endpoints:
        return frozenset({Capability.EMBEDDING})
    kind = _text(entry, "kind") or ""
    if kind.startswith("EMBEDDING") and entry.get("supports_chat") is not True:
        return frozenset({Capability.EMBEDDING})
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
