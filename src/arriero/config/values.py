"""The small value types of the configuration: seconds, globs, addresses, names, lists that may be one text.

Parsers here are pure and raise `ValueError` with a text that never repeats the value: it may be a secret.
"""

import json
import re
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

FOREVER = float("inf")

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")


def parse_seconds(value: object) -> object:
    """Seconds from a number, a number in text, or Go's form (`5m`, `1h30m`, `250ms`); anything else passes through."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    parts = _DURATION.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError("is not a number of seconds or a duration such as 5m or 1h30m")
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_keep_alive(value: object) -> object:
    """As `parse_seconds`; a negative time means without end."""
    seconds = parse_seconds(value)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds < 0:
        return FOREVER
    return seconds


def one_or_many(value: object) -> object:
    """A single text stands for a list of one."""
    return [value] if isinstance(value, str) else value


def none_if_zero(value: object) -> object:
    """0 says "automatic" in Ollama's variables; here that is `None`."""
    return None if value in (0, "0") and value is not False else value


def none_if_empty(value: object) -> object:
    """A text without the spaces and line feeds around it; an empty one (`${KEY:-}`) is no value."""
    return (value.strip() or None) if isinstance(value, str) else value


_TRUTH = {
    **dict.fromkeys(("true", "yes", "on", "1", "t", "y"), True),
    **dict.fromkeys(("false", "no", "off", "0", "f", "n"), False),
}


def parse_truth(text: str) -> bool:
    """True or false in any of their usual spellings, in any case."""
    truth = _TRUTH.get(text.strip().lower())
    if truth is None:
        raise ValueError("is not true or false")
    return truth


def parse_seconds_within(text: str, least: int, most: int | None = None) -> float:
    """Seconds as `parse_seconds` reads them, within limits."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or not least <= seconds <= (FOREVER if most is None else most):
        raise ValueError(f"is not a number of seconds {limits}")
    return seconds


def parse_whole_within(text: str, least: int, most: int | None = None) -> int:
    """A whole number within limits."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    stripped = text.strip()
    # More digits than any setting has are not read: Python refuses some, and the others are slow.
    number = int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) <= 18 else -1
    if number < least or (most is not None and number > most):
        raise ValueError(f"is not a whole number {limits}")
    return number


LEVELS = {
    "debug": ("debug", "dbg", "d"),
    "info": ("info", "information", "i"),
    "warning": ("warning", "warn", "w"),
    "error": ("error", "err", "e"),
    "critical": ("critical", "crit", "fatal", "c", "f"),
}
"""Log level to its spellings, in any case."""


def read_level(value: object) -> object:
    """The log level of any of its spellings; what is none is returned as it is, for the model to refuse."""
    folded = value.strip().lower() if isinstance(value, str) else ""
    return next((level for level, spellings in LEVELS.items() if folded in spellings), value)


def parse_list(text: str) -> list[str]:
    """A JSON list of texts, or texts parted by commas; empty ones fall away."""
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            loaded: Any = json.loads(stripped)
        except ValueError:
            raise ValueError("is not a JSON list") from None
        if not all(isinstance(item, str) for item in loaded):
            raise ValueError("is not a JSON list of texts")
        return [item.strip() for item in loaded if item.strip()]
    return [item.strip() for item in stripped.split(",") if item.strip()]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(value: str) -> str:
    """A backend's name stands in `backend/model` and in headers."""
    if not _NAME.fullmatch(value):
        raise ValueError("may hold only letters, digits, '.', '_' and '-', and starts with a letter or digit")
    return value


def check_url(value: str) -> str:
    """An http or https URL without credentials, query and fragment; trailing slashes fall away."""
    try:
        parts = urlsplit(value.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("is not a URL that starts with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password: use api_key or headers")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or a fragment")
    return value.strip().rstrip("/")


class Address(NamedTuple):
    """Where to listen. An empty `host` is every interface."""

    host: str
    port: int


class HostPort(NamedTuple):
    """What an address text says; `port` is `None` where it says none, `bad_port` where it says one that cannot be."""

    scheme: str
    host: str
    port: int | None
    path: str = ""
    bad_port: bool = False


def parse_ollama_host(text: str) -> HostPort:
    """`OLLAMA_HOST` in all the forms that Ollama reads: host, host:port, :port, [v6]:port, scheme://host:port/path.

    `http://` and `https://` without a port mean 80 and 443. Never raises: a port that cannot be is reported as such,
    and the scheme's default stands in its place.
    """
    text = text.strip().strip("\"'").strip()
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    known = {"http": 80, "https": 443}.get(scheme) if mark else None
    if text in ("ollama.com", "ollama.com:443"):
        scheme, known = "https", 443
    authority, slash, path = rest.partition("/")
    host, port_text = authority, ""
    if authority.startswith("["):
        host, _, tail = authority[1:].partition("]")
        port_text = tail.removeprefix(":")
    elif authority.count(":") == 1:
        host, _, port_text = authority.partition(":")
    if not port_text:
        return HostPort(scheme, host, known, slash + path if path else "")
    if port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535:
        return HostPort(scheme, host, int(port_text), slash + path if path else "")
    return HostPort(scheme, host, known, slash + path if path else "", bad_port=True)


def parse_listen(text: str) -> Address:
    """`host:port` or `[v6]:port` of `server.listen`; the port must be there."""
    parsed = parse_ollama_host(text)
    if parsed.bad_port or parsed.port is None or "://" in text or parsed.path:
        raise ValueError("is not an address of the form host:port")
    return Address(parsed.host, parsed.port)


def _check_listen(value: str) -> str:
    parse_listen(value)
    return value


_SECONDS_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9.]+(ns|us|µs|ms|s|m|h)?"}]}
_KEEP_ALIVE_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string"}]}
LEVEL_SCHEMA = {
    "anyOf": [
        {"enum": list(LEVELS)},
        {
            "enum": sorted(
                {form for words in LEVELS.values() for word in words for form in (word, word.upper())} - set(LEVELS)
            )
        },
    ]
}
TEXTS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

Seconds = Annotated[
    float, BeforeValidator(parse_seconds), Field(gt=0, allow_inf_nan=False), WithJsonSchema(_SECONDS_SCHEMA)
]
SecondsOrZero = Annotated[
    float, BeforeValidator(parse_seconds), Field(ge=0, allow_inf_nan=False), WithJsonSchema(_SECONDS_SCHEMA)
]
KeepAlive = Annotated[float, BeforeValidator(parse_keep_alive), Field(ge=0), WithJsonSchema(_KEEP_ALIVE_SCHEMA)]
OneOrMany = BeforeValidator(one_or_many)
Texts = Annotated[tuple[str, ...], OneOrMany, WithJsonSchema(TEXTS_SCHEMA)]
Name = Annotated[str, AfterValidator(check_name)]
Url = Annotated[str, AfterValidator(check_url)]
Listen = Annotated[str, AfterValidator(_check_listen)]
Port = Annotated[int, Field(ge=0, le=65535)]
