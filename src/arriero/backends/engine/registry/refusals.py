"""What a registry's refusal of a push means, in words that say what to do. The protocol's own errors
(`{"errors":[{"code","message"}]}`) are quoted in words; their details are not, which may repeat what was sent.
"""

from typing import Any

import msgspec
from msgspec import Struct

from arriero.backends.engine.registry.auth import Denied
from arriero.backends.http.call import Head
from arriero.dialects.backend_errors import message_of
from arriero.errors import RegistryError

MAX_QUOTED = 300
"""So many characters of a registry's words are told."""


class _Error(Struct):
    code: str = ""
    message: str = ""


class _Errors(Struct):
    errors: list[_Error] = []


_DECODER = msgspec.json.Decoder(_Errors)


def codes_of(body: bytes) -> frozenset[str]:
    """The codes in an error body of the protocol, such as `DIGEST_INVALID`; none where it is something else."""
    return frozenset(error.code for error in _errors(body))


def said_by(body: bytes) -> str:
    """An error body in words, on one line; `""` where it has none."""
    told = [_both(error) for error in _errors(body)]
    text = "; ".join(words for words in told if words) or message_of(body)
    return on_one_line(text)


def on_one_line(text: str) -> str:
    """A registry's words, without what steers a terminal, and not too many of them."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}..."


def refused(address: str, doing: str, head: Head, body: bytes) -> RegistryError:
    """The error for an answer that was not hoped for. `doing` completes "the registry does not ..."."""
    said = said_by(body)
    tail = f": {said}" if said else ""
    match head.status:
        case 401 | 403:
            why = f"it does not {doing} ({head.status}{tail}); check the model name, and what the account may push"
            return Denied(address, why)
        case 413:
            text = (
                f"{address} does not {doing} (413{tail}): it is too large for it, or for a proxy that stands before it"
            )
            return RegistryError(text)
        case 429 | 503:
            again = head.retry_after_s
            text = f"{address} does not {doing} now ({head.status}{tail}): try again later"
            return RegistryError(text, retry_after=again)
        case status if 300 <= status <= 399:
            return RegistryError(
                f"{address} does not {doing}, it sends its clients elsewhere ({status}): look at its address"
            )
        case status:
            return RegistryError(f"{address} does not {doing} ({status}{tail})")


def _errors(body: bytes) -> list[_Error]:
    try:
        return _DECODER.decode(body).errors
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _both(error: _Error) -> str:
    parts: tuple[Any, ...] = (error.message, f"({error.code})" if error.code else "")
    return " ".join(part for part in parts if part)
