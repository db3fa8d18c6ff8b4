"""Listings as Ollama's clients read them: /api/tags, /api/ps, /api/show, /api/version, /api/status.

Clients demand values that a model without weights on this machine does not have: a digest of 64 digits, a size above
zero, a time. Those are invented here, the same ones each time. What a model can do and how long its context is are not:
where nobody told, `completion` stands alone and no context length is shown. What an Ollama server said of a model goes
out as it came (`native`), under the name that clients see here.
"""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from math import inf, isfinite
from typing import Any

import msgspec
from msgspec import Raw

from arriero.canonical.catalog import Capability, Listed, LoadedModel, ModelCard, ModelDetail
from arriero.dialects.ollama.catalog_reading import read_ps, read_show, read_tags, read_version
from arriero.dialects.ollama.golang import json_float, print_float, quote
from arriero.dialects.ollama.modelfile import Modelfile, write_modelfile
from arriero.dialects.ollama.sizes import parameter_size
from arriero.wire.jsontext import float32_text, json_text

INVENTED_SIZE_BYTES = 1_000_000_000
"""Some front ends hide a model of size 0, and `ollama ps` shows it as unknown."""

INVENTED_ARCHITECTURE = "unknown"
FAMILIES = ("gpt", "claude", "llama", "gemini")
"""Families that ollama-proxy reads from an id where nobody tells one, the first that stands in it."""

_UNKNOWN_QUANTIZATION = "unknown"
_FOREVER_YEARS = 292
"""What Ollama itself shows for a model that stays: the end of Go's time span from now."""

_PARAMETER_COLUMNS = 30
_HEX_DIGITS = frozenset("0123456789abcdef")
_SHOWN_TEMPLATE = "{{ .Prompt }}"
_INSERT_TEMPLATE = "{{ .Prompt }}{{ .Suffix }}"  # Continue offers fill-in-the-middle where it finds `.Suffix`
_HIDDEN_INFO = frozenset({"general.name", "tokenizer.chat_template"})
# Never taken from the backend's entry: the name is the one that clients see, the digest is checked (the command line
# slices it), and a stub of a cloud model would send `ollama run` to sign in.
_CLOUD_STUB = frozenset({"remote_model", "remote_host"})
_OURS = frozenset({"name", "model", "digest"}) | _CLOUD_STUB
_LAST_SECOND = 253_402_300_799  # of the year 9999

_NULL = Raw(b"null")
_COMPLETION = frozenset({Capability.COMPLETION})

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_texts = msgspec.json.Decoder(list[str]).decode
_moment_in = msgspec.json.Decoder(datetime).decode
_TIME = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"')
_float32 = struct.Struct("<f")
_COUNT = re.compile(rb"\d{1,18}")  # as many digits as Go's integers surely hold


def version(number: str) -> bytes:
    """The answer of /api/version. `number` is digits and dots: several clients compare it."""
    return json_text({"version": number})


def status() -> bytes:
    """The answer of /api/status: as a server that has its cloud features switched off."""
    return json_text({"cloud": {"disabled": True, "source": "env"}})


def tags(listed: Sequence[Listed], since: float = 0.0) -> bytes:
    """The answer of /api/tags, newest first. `since` (unix seconds) is the time of models that have none."""
    newest_first = sorted(listed, key=lambda one: -int(_modified(one.card, since)))
    # One by one: a list of thousands would be a garbage collector's work before it is a text.
    entries = [json_text(_tag(one.name, one.card, since)) for one in newest_first]
    return b'{"models":[%b]}' % b",".join(entries)


def ps(loaded: Sequence[tuple[str, LoadedModel]], now: float) -> bytes:
    """The answer of /api/ps for (listed name, model) pairs, the longest lifetime first. `now` is unix seconds.

    A model that nobody said when it leaves is one that stays. `created_at` is ollama-proxy's: when this was so.
    """
    longest_first = sorted(loaded, key=lambda pair: -_expires(pair[1]))
    told = [_process(name, model, now) for name, model in longest_first]
    return json_text({"models": told, "created_at": datetime.fromtimestamp(int(now), UTC)})


def show(
    detail: ModelDetail,
    name: str,
    *,
    since: float = 0.0,
    verbose: bool = False,
    basename: str | None = None,
    system: str | None = None,
    options: Mapping[str, object] | None = None,
) -> bytes:
    """The answer of /api/show for the model listed as `name`.

    `basename` overrides `general.basename` (Copilot Chat shows it as the model's name), `system` and `options` are the
    request's, which only change what is shown, `options` in the Modelfile alone.
    """
    card = detail.card
    native = _native(card.native)
    if "model_info" in native:
        return json_text(_shown_native(native, card, since, basename, system))
    shown_system = system or detail.system
    parameters = _parameters(detail, {})
    template = detail.template or detail.chat_template or _template(card)
    written = Modelfile(
        base=name,
        template=(detail.template if detail.stored else template) or "",
        system=shown_system or "",
        renderer=detail.renderer or "",
        parser=detail.parser or "",
        requires=detail.requires or "",
        parameters=tuple((key, _bare(value)) for key, value in _parameters(detail, options or {})),
        licenses=detail.licenses,
        messages=detail.messages,
    )
    # Four texts that strict clients (OllamaKit) decode as strings: empty where there is nothing to say.
    shown: dict[str, object] = {
        "license": "\n".join(detail.licenses),
        "modelfile": write_modelfile(written),
        "parameters": "\n".join(f"{key:<{_PARAMETER_COLUMNS}} {_parameter(value)}" for key, value in parameters),
        "template": template,
    }
    if shown_system:
        shown["system"] = shown_system
    shown["details"] = _details(card)
    if detail.messages:
        shown["messages"] = [{"role": role, "content": content} for role, content in detail.messages]
    shown["model_info"] = _info(detail, basename, name, verbose)
    if detail.projector:
        shown["projector_info"] = dict(sorted((key, _shown(value, verbose)) for key, value in detail.projector.items()))
    if detail.tensors:
        shown["tensors"] = [{"name": one, "type": kind, "shape": shape} for one, kind, shape in detail.tensors]
    shown["capabilities"] = _capabilities(card)
    shown["modified_at"] = _local(_modified(card, since))
    if detail.requires:
        shown["requires"] = detail.requires
    return json_text(shown)


# ---- entries -------------------------------------------------------------------------------------------------------


def _tag(name: str, card: ModelCard, since: float) -> dict[str, object]:
    details = _details(card)
    if card.context_length:
        details["context_length"] = card.context_length
    if card.embedding_length:
        details["embedding_length"] = card.embedding_length
    entry: dict[str, object] = {
        "name": name,
        "model": name,
        "modified_at": None,  # its place; most backends tell it themselves
        "size": card.size_bytes or INVENTED_SIZE_BYTES,
        "digest": digest(name, card),
        "details": details,
        "capabilities": _capabilities(card),
    }
    if card.native is not None:
        _overlaid(entry, _native(card.native))
    if entry["modified_at"] is None:
        entry["modified_at"] = _local(_modified(card, since))
    return entry


def _process(name: str, model: LoadedModel, now: float) -> dict[str, object]:
    card = model.card
    size = model.size_bytes or card.size_bytes or INVENTED_SIZE_BYTES
    entry: dict[str, object] = {
        "name": name,
        "model": name,
        "size": size,
        "digest": digest(name, card),
        "details": _details(card),
        "expires_at": _moment(_expires(model), now),
        "size_vram": size if model.vram_bytes is None else model.vram_bytes,
        "context_length": model.context_length or card.context_length or 0,
    }
    return _overlaid(entry, _native(model.native))


def _overlaid(entry: dict[str, object], native: Mapping[str, Raw]) -> dict[str, object]:
    """The entry with what the backend said in place of what it did not; a null, or a size of 0, says nothing, and
    neither does a value of a wrong type: clients refuse the whole list for one of them, that of all other backends too.
    """
    for key, raw in native.items():
        if key in _OURS:
            continue
        text = bytes(raw)
        if text == b"null" or (key == "size" and text == b"0"):
            continue
        if (fits := _FITS.get(key)) is not None and not fits(text):
            continue
        own = entry.get(key)
        if isinstance(own, dict) and text[:1] == b"{":
            entry[key] = _overlaid(own, _members(raw))
        else:
            entry[key] = raw
    return entry


def _is_text(raw: bytes) -> bool:
    return raw[:1] == b'"'


def _are_texts(raw: bytes) -> bool:
    try:
        _texts(raw)
    except msgspec.ValidationError:
        return False
    return True


def _is_time(raw: bytes) -> bool:
    """A time as Go reads it, of a day that there is."""
    if _TIME.fullmatch(raw) is None:
        return False
    try:
        _moment_in(raw)
    except msgspec.ValidationError:
        return False
    return True


def _is_count(raw: bytes) -> bool:
    return _COUNT.fullmatch(raw) is not None


def _is_object(raw: bytes) -> bool:
    return raw[:1] == b"{"


_FITS: Mapping[str, Callable[[bytes], bool]] = {
    "modified_at": _is_time,
    "expires_at": _is_time,
    "size": _is_count,
    "size_vram": _is_count,
    "context_length": _is_count,
    "embedding_length": _is_count,
    "details": _is_object,
    "parent_model": _is_text,
    "format": _is_text,
    "family": _is_text,
    "families": _are_texts,
    "parameter_size": _is_text,
    "quantization_level": _is_text,
    "capabilities": _are_texts,
}
"""What the fields that clients read have to be."""


def _native(raw: Raw | None) -> Mapping[str, Raw]:
    return _members(raw) if raw is not None and bytes(raw)[:1] == b"{" else {}


def own_digest(card: ModelCard) -> str | None:
    """The 64 hex digits that the backend tells, if it does."""
    own = (card.digest or "").removeprefix("sha256:").lower()
    return own if len(own) == 64 and _HEX_DIGITS.issuperset(own) else None


def digest(name: str, card: ModelCard) -> str:
    """64 hex digits: the backend's own, or a stand-in that changes when the card does. Times do not count: vLLM and
    llama-server tell that of the question.
    """
    if (own := own_digest(card)) is not None:
        return own
    told = (
        name,
        card.id,
        _capabilities(card),
        card.context_length,
        card.max_output_tokens,
        card.embedding_length,
        card.size_bytes,
        card.family,
        card.parameter_count,
        card.parameter_size,
        card.quantization,
    )
    return sha256(json_text(told)).hexdigest()


def _details(card: ModelCard) -> dict[str, object]:
    family = card.family or family_of(card.id) or INVENTED_ARCHITECTURE
    return {
        "parent_model": "",
        "format": card.format or "gguf",
        "family": family,
        "families": card.families or (family,),
        "parameter_size": card.parameter_size or parameter_size(card.parameter_count),
        "quantization_level": card.quantization or _UNKNOWN_QUANTIZATION,
    }


def family_of(id: str) -> str | None:
    """The family that the id names, if it is one of `FAMILIES`."""
    folded = id.casefold()
    return next((family for family in FAMILIES if family in folded), None)


def _capabilities(card: ModelCard) -> Sequence[str]:
    return _words(card.capabilities or _COMPLETION)


@lru_cache(maxsize=1 << len(Capability))  # thousands of models share a few sets; sorting one costs more than all else
def _words(able: frozenset[Capability]) -> tuple[str, ...]:
    return tuple(capability.value for capability in Capability if capability in able)


# ---- show ----------------------------------------------------------------------------------------------------------


def _info(detail: ModelDetail, basename: str | None, name: str, verbose: bool) -> dict[str, object]:
    """GGUF-like metadata, sorted. Only what is known has a key; numbers are integers where they are whole."""
    card = detail.card
    architecture = detail.info.get("general.architecture") or card.family or INVENTED_ARCHITECTURE
    known: dict[str, object] = {
        "general.architecture": architecture,
        "general.parameter_count": card.parameter_count,
        f"{architecture}.context_length": card.context_length,
        f"{architecture}.embedding_length": card.embedding_length,
    }
    info = {key: value for key, value in known.items() if value is not None}
    info |= {key: _shown(value, verbose) for key, value in detail.info.items() if key not in _HIDDEN_INFO}
    own = info.get("general.basename") if detail.stored else None
    return dict(sorted((info | {"general.basename": basename or own or card.display_name or name}).items()))


def _shown(value: Any, verbose: bool) -> object:
    match value:
        case list() | tuple() if value and not verbose:
            return None
        case float() if isfinite(value):
            # What a file says in 32 bits is not made longer by what 64 bits make of it.
            return Raw((float32_text(value) if _is_float32(value) else json_float(value)).encode())
        case _:
            return value


def _is_float32(value: float) -> bool:
    try:
        narrow: float = _float32.unpack(_float32.pack(value))[0]
    except OverflowError:
        return False
    return narrow == value


def _shown_native(
    native: Mapping[str, Raw], card: ModelCard, since: float, basename: str | None, system: str | None
) -> dict[str, object]:
    """The backend's own description, with the fields that clients fail without: Copilot Chat for one."""
    shown: dict[str, object] = {key: raw for key, raw in native.items() if key not in _CLOUD_STUB}
    demanded: dict[str, object] = {
        "details": _details(card),
        "model_info": {},
        "capabilities": _capabilities(card),
        "modified_at": _local(_modified(card, since)),
    }
    shown |= {key: value for key, value in demanded.items() if bytes(native.get(key, _NULL)) == b"null"}
    if basename is not None and bytes(native["model_info"])[:1] == b"{":
        info: dict[str, object] = dict(_members(native["model_info"]))
        shown["model_info"] = info | {"general.basename": basename}
    if system:
        shown["system"] = system
    return shown


def _parameters(detail: ModelDetail, options: Mapping[str, object]) -> list[tuple[str, object]]:
    """(name, value) pairs; a list makes one pair an item. The context length stands in where no `num_ctx` was told."""
    merged = {**detail.parameters, **options}
    if not detail.stored and detail.card.context_length and "num_ctx" not in merged:
        merged = {"num_ctx": detail.card.context_length, **merged}
    return [
        (name, item)
        for name, value in merged.items()
        for item in (value if isinstance(value, list | tuple) else (value,))
        if item is not None
    ]


def _parameter(value: object) -> str:
    """A value as `parameters` shows it."""
    return quote(value) if isinstance(value, str) else _bare(value)


def _bare(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return print_float(value)
        case _:
            # Whole digits, also from a million up: Continue reads `num_ctx` digit by digit.
            return str(value)


def _template(card: ModelCard) -> str:
    return _INSERT_TEMPLATE if Capability.INSERT in (card.capabilities or ()) else _SHOWN_TEMPLATE


# ---- times ---------------------------------------------------------------------------------------------------------


def _modified(card: ModelCard, since: float) -> float:
    if card.modified_at is not None:
        return card.modified_at
    return since if card.created is None else card.created


def _expires(model: LoadedModel) -> float:
    return inf if model.expires_at is None else model.expires_at


def _moment(at: float, now: float) -> str:
    if at == inf:
        return _local(now + _FOREVER_YEARS * 365.25 * 86400)
    return _local(at)


def _local(at: float) -> str:
    """With a numeric offset, which also Python before 3.11 reads (Open WebUI parses `expires_at`)."""
    return dated(at).isoformat()


def dated(at: float) -> datetime:
    """A point in unix time; the first or the last one that has a date where this one has none."""
    # Vendors that count in milliseconds end up behind the last year there is.
    return datetime.fromtimestamp(min(max(at, 0), _LAST_SECOND), UTC)


__all__ = [
    "INVENTED_SIZE_BYTES",
    "dated",
    "digest",
    "family_of",
    "own_digest",
    "parameter_size",
    "ps",
    "read_ps",
    "read_show",
    "read_tags",
    "read_version",
    "show",
    "status",
    "tags",
    "version",
]
