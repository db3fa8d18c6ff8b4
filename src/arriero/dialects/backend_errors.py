"""A backend's error answer, whatever its vendor's shape, turned into the error tree. Shared by the dialects that drive.

The status decides the class. For the refusals that somebody acts on (too long a prompt, no tools, no such model, no
usage) the vendor's code or words do: no two vendors have the same status for them, and reading their words is this
border's work. The text is for people. A vendor's words stand behind its name, a server of the house speaks for itself:
clients match what those say. The gateway's own credentials never show: a vendor's "incorrect API key" often repeats a
part of the key.
"""

import html
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from arriero.canonical.events import Failed
from arriero.dialects.quirks import Profile
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

NOBODY = Profile(name="", error_type="backend_error")
"""Whose words they are where nobody knows."""

_CREDENTIALS: Mapping[int, str] = MappingProxyType(
    {
        401: "the backend refuses the gateway's key, HTTP 401",
        403: "the backend forbids the gateway's account this request, HTTP 403",
        407: "a proxy on the way to the backend wants the gateway's credentials (HTTP 407)",
    }
)
_PROXYS = 407
_OVERLOADED = frozenset({429, 503, 529})

_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_decode = msgspec.json.Decoder().decode


def read_error(status: int | None, body: bytes, profile: Profile) -> BackendError:
    """The error that an answer with `status` (400 and up) means; `None`: it began well, and its error names no status.
    `profile` is the backend's: its name for people stands before its words, and its word beside them.
    """
    type = profile.error_type
    if status is None:
        return BackendFailed(told(profile, None, message_of(body)), type=type)
    if status in _CREDENTIALS:
        return BackendUnauthorized(_credentials(status, profile), type=type)
    words = message_of(body)
    message = told(profile, status, words)
    if status == 429:
        return BackendOverloaded(message, status=status)
    if status in _OVERLOADED:
        return BackendOverloaded(message, status=status, type=type)
    if status == 408:
        return BackendTimeout(message, type=type)
    if 500 <= status <= 599:
        return BackendFailed(message, status=status, type=type)
    if 400 <= status <= 499:
        return _refused(status, body, words, profile)
    return BackendBroken(f"the backend answered with HTTP {status}, which is neither an answer nor an error", type=type)


def told(profile: Profile, status: int | None, words: str) -> str:
    """The text for people: `OpenRouter API error: 429 Too Many Requests: slow down` of a vendor, the words alone of a
    server of the house.
    """
    if not profile.title:
        return words or _phrase(status)
    answered = _answered(status)
    said = "" if words.lower() in answered.lower() else words
    return ": ".join(part for part in (f"{profile.title} API error", answered, said) if part)


def _credentials(status: int, profile: Profile) -> str:
    """Where to look, and none of the vendor's words."""
    if status == _PROXYS:
        return _CREDENTIALS[status]
    variable = f"{profile.key_variable}, or at " if profile.key_variable else ""
    said = told(profile, status, "") if profile.title else _CREDENTIALS[status]
    return f"{said} (look at {variable}api_key of the backend)"


def event_of(error: BackendError) -> Failed:
    """An error as the last event of a stream."""
    return Failed(error.message, error.status, type=error.type)


def owned(failed: Failed, profile: Profile) -> Failed:
    """The same failure with its backend's word, where it has only the one for any backend."""
    return replace(failed, type=profile.error_type) if failed.type == NOBODY.error_type else failed


def error_of(failed: Failed) -> BackendError:
    """The error that a stream's last event tells, as if it had come with its status."""
    type = failed.type
    if failed.cut:
        return BackendBroken(failed.message, type=type)
    if failed.status in (429, 503):
        return BackendOverloaded(failed.message, status=failed.status, type=type)
    if failed.status in (401, 403):
        return BackendError(failed.message, type=type)  # the gateway's credentials, not the client's
    if 400 <= failed.status < 500:
        return BackendRefused(failed.message, status=failed.status, type=type)
    return BackendFailed(failed.message, status=failed.status if failed.status >= 500 else 502, type=type)


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


def _refused(status: int, body: bytes, words: str, profile: Profile) -> BackendError:
    """A refusal; too long a prompt and tools answer 400, as Ollama does, whatever the vendor's status is. The texts
    that Ollama's clients look for stand in the message, behind the vendor's name if it has one.
    """
    type = profile.error_type
    # The codes beside the message, but no more of the body: some vendors repeat the prompt in it.
    said = " ".join((words, *(code.decode() for code in _CODE.findall(body[:4096]))))
    if _CONTEXT.search(said):
        text = f"{ContextExceeded.TEXT} ({words})"
        error = ContextExceeded(told(profile, status, text), status=400, type=type)
        error.fits = _fits(words)
        return error
    if _TOOLS.search(said):
        text = words if NO_TOOLS in words else f"the model {NO_TOOLS}: {words}"
        return ToolsRefused(told(profile, status, text), status=400, type=type)
    if _USAGE.search(words) or _USAGE_FIELD.search(body[:4096]):
        return UsageRefused(told(profile, status, words), status=status, type=type)
    if status == 404 and _MISSING.search(said):
        text = words if NOT_FOUND in words else f"model {NOT_FOUND}: {words}"
        return ModelMissing(told(profile, status, text))
    return BackendRefused(told(profile, status, words), status=status, type=type)


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


def _answered(status: int | None) -> str:
    """`429 Too Many Requests`; `""` where no status is known."""
    if status is None:
        return ""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _phrase(status: int | None) -> str:
    return "the backend reported an error" if status is None else f"the backend answered HTTP {_answered(status)}"
