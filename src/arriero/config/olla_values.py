"""The value types of Olla's configuration: Go's durations, sizes such as `100MB`, truth values, words.

Each reader takes what YAML or a variable says and answers with the value in arriero's units (seconds, bytes), or raises
`ValueError` with a text that never repeats the value. Nothing here knows a key.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from arriero.config.problems import nearest
from arriero.config.values import parse_seconds

Reader = Callable[[Any], Any]

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def text(value: Any) -> str:
    """A text, or a number or truth value written where one is meant."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError("is not a text")
    return str(value).strip()


def texts(value: Any) -> list[str]:
    """A list of texts; one text is a list parted by commas, as in Olla's variables."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list):
        raise ValueError("is not a list of texts")
    return [text(item) for item in value]


def named_texts(value: Any) -> dict[str, str]:
    """A mapping of names to texts."""
    if not isinstance(value, dict):
        raise ValueError("is not a mapping of names to texts")
    return {name: text(item) for name, item in value.items()}


def truth(value: Any) -> bool:
    """true or false, in the spellings that Go reads."""
    folded = str(value).strip().lower()
    if folded not in _TRUE | _FALSE or isinstance(value, float):
        raise ValueError("is not true or false")
    return folded in _TRUE


def whole(value: Any) -> int:
    """A whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not _WHOLE.fullmatch(str(value).strip()):
        raise ValueError("is not a whole number")
    if int(value) < 0:
        raise ValueError("must be at least 0")
    return int(value)


def port(value: Any) -> int:
    """A TCP port; Olla knows no 0."""
    number = whole(value)
    if not 1 <= number <= 65535:
        raise ValueError("is not a port from 1 to 65535")
    return number


def duration(value: Any) -> float:
    """Seconds of a duration in Go's form. A bare number is refused: Go reads it as nanoseconds, which nobody means."""
    said = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if said == "0":
        return 0.0
    try:
        seconds = None if not said or said.replace(".", "").lstrip("+-").isdigit() else parse_seconds(said)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or not math.isfinite(seconds):
        raise ValueError("is not a duration such as 30s, 5m or 1h30m; the unit must be there")
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def size(value: Any) -> int:
    """Bytes of a whole number or of a text such as `100MB` or `50MiB`; both mean powers of 1024, as in Olla."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _FACTORS[match[2].lower()])
    try:
        return whole(value)
    except ValueError:
        raise ValueError("is not a size such as 52428800, 100MB or 50MiB") from None


def with_zero(meaning: Any, read: Reader) -> Reader:
    """A reader where 0 means something of its own, such as no limit."""

    def read_zero(value: Any) -> Any:
        found = read(value)
        return meaning if found == 0 else found

    return read_zero


def word(known: Mapping[str, Any]) -> Reader:
    """A reader of one of these words; it answers with what stands behind the word."""

    def read(value: Any) -> Any:
        said = text(value).lower()
        if said not in known:
            near = nearest(said, known, at_least=0.5)
            raise ValueError(f"is not one of {', '.join(known)}" + (f"; did you mean {near}?" if near else ""))
        return known[said]

    return read


def words(known: Mapping[str, Any]) -> Reader:
    """A reader of a list of these words."""
    one = word(known)
    return lambda value: [one(item) for item in texts(value)]


def anything(value: Any) -> Any:
    """Whatever is there: of a key that is not carried out."""
    return value
