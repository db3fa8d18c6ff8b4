"""A backend's error answer, whatever its vendor's shape, turned into the error tree. Shared by the dialects that drive.

The status decides the class. For the refusals that somebody acts on (too long a prompt, no tools, no such model, no
usage) the vendor's code or words do: no two vendors have the same status for them, and reading their words is this
border's work. The text is for people. The gateway's own credentials never show in it: a vendor's "incorrect API key"
often repeats a part of the key.
"""

import html
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    ContextExceeded,
    ModelMissing,
    ToolsRefused,
    UsageRefused,
)

MAX_MESSAGE_CHARACTERS = 1000

_CREDENTIALS: Mapping[int, str] = MappingProxyType(
    {
        401: "the backend refused the gateway's credentials for it (HTTP 401): check the backend's API key",
        403: "the backend forbids the gateway's account this request (HTTP 403): check the backend's API key",
        407: "a proxy on the way to the backend wants the gateway's credentials (HTTP 407)",
    }
)
_OVERLOADED = frozenset({429, 503, 529})

_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_decode = msgspec.json.Decoder().decode


def read_error(status: int, body: bytes, type: str) -> BackendError:
    """The error that an answer with `status` (400 and up) means. `type` is the backend's stable word."""
    if status in _CREDENTIALS:
        return BackendUnauthorized(_CREDENTIALS[status], type=type)
    message = message_of(body) or _phrase(status)
    if status == 429:
        return BackendOverloaded(message, status=status)
    if status in _OVERLOADED:
        return BackendOverloaded(message, status=status, type=type)
    if status == 408:
        return BackendTimeout(message, type=type)
    if 500 <= status <= 599:
        return BackendFailed(message, status=status, type=type)
    if 400 <= status <= 499:
        return _refused(status, body, message, type)
    return BackendBroken(f"the backend answered with HTTP {status}, which is neither an answer nor an error", type=type)


_CODE = re.compile(rb'"(?:code|type)"\s*:\s*"([\w.-]{1,64})"')
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (?:length|size|window)\b.*exceed"
    r"|exceeds? (?:the |its )?(?:available |maximum |model'?s? )?context|(?:prompt|input) is too long"
    r"|longer than the .*context",
    re.IGNORECASE,
)
_TOOLS = re.compile(
    r"(?:does not|doesn't|do not|not) support (?:\w+ ){0,2}(?:tools?\b|function call)"
    r"|no endpoints found that support tool|tool[_ ]choice.* requires"
    r"|tools?`? (?:use|calling)?`? ?(?:is|are) not supported",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"\bmodel_not_found\b|\bmodels?\b.{0,300}(?:not found|does not exist|doesn't exist)|not a valid model"
    r"|no endpoints found for",
    re.IGNORECASE | re.DOTALL,
)
_USAGE = re.compile(r"\bstream_options\b|\binclude_usage\b")
_USAGE_FIELD = re.compile(rb'"(?:param|loc)"\s*:\s*(?:\[[^\]]{0,200})?"(?:stream_options|include_usage)"')
NOT_FOUND = "not found"
NO_TOOLS = "does not support tools"


def _refused(status: int, body: bytes, message: str, type: str) -> BackendError:
    """A refusal; too long a prompt and tools answer 400, as Ollama does, whatever the vendor's status is."""
    # The codes beside the message, but no more of the body: some vendors repeat the prompt in it.
    said = " ".join((message, *(code.decode() for code in _CODE.findall(body[:4096]))))
    if _CONTEXT.search(said):
        error = ContextExceeded(f"{ContextExceeded.TEXT} ({message})", status=400, type=type)
        error.fits = _fits(message)
        return error
    if _TOOLS.search(said):
        text = message if NO_TOOLS in message else f"the model {NO_TOOLS}: {message}"
        return ToolsRefused(text, status=400, type=type)
    if _USAGE.search(message) or _USAGE_FIELD.search(body[:4096]):
        return UsageRefused(message, status=status, type=type)
    if status == 404 and _MISSING.search(said):
        return ModelMissing(message if NOT_FOUND in message else f"model {NOT_FOUND}: {message}")
    return BackendRefused(message, status=status, type=type)


_SIZE = re.compile(r"\b(\d{1,9}) tokens\b")


def _fits(message: str) -> float | None:
    """The share of a prompt that fits: the smaller of the sizes named is the limit, the greater what was asked for."""
    sizes = [int(size) for size in _SIZE.findall(message)]
    return min(sizes) / max(sizes) if len(set(sizes)) > 1 else None


def message_of(body: bytes) -> str:
    """The text for people in an error body: JSON of any vendor, plain text, or HTML; `""` where there is none."""
    text = body.decode("utf-8", "replace").strip()
    if text[:1] in ("{", "["):
        try:
            found = _said(_decode(body), 0)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if found:
            return _shortened(found)
    if text[:1] == "<":
        stripped = _NOT_TEXT.sub(" ", text)
        title = _TITLE.search(text)
        text = html.unescape(stripped if stripped.strip() or not title else title[1])
        text = _SPACES.sub(" ", text).strip()
    return _shortened(text)


_KEYS = ("error", "message", "detail", "errors", "msg", "error_description", "title")
_MAX_DEPTH = 5


def _said(value: Any, depth: int) -> str | None:
    """The first text under the keys that vendors use; a list's texts are joined."""
    if depth > _MAX_DEPTH:
        return None
    match value:
        case str() as text:
            return _inner(text, depth) or text.strip() or None
        case dict() as members:
            # OpenRouter wraps the vendor's own words: "Provider returned error" alone tells nobody anything.
            metadata = members.get("metadata")
            raw = _said(metadata.get("raw"), depth + 1) if isinstance(metadata, dict) else None
            outer = next((found for key in _KEYS if (found := _said(members.get(key), depth + 1))), None)
            return f"{outer}: {raw}" if outer and raw and raw != outer else outer or raw
        case list() as items:
            return "; ".join([found for item in items if (found := _said(item, depth + 1))]) or None
        case _:
            return None


def _inner(text: str, depth: int) -> str | None:
    """Ollama puts its own backend's whole JSON body into the text: take that one's message."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return _said(_decode(text.encode("utf-8", "replace")), depth + 1)
    except (msgspec.DecodeError, RecursionError):
        return None


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 3] + "..."


def _phrase(status: int) -> str:
    try:
        return f"the backend answered HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"the backend answered HTTP {status}"
