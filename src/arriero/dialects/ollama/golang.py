"""What Go's standard library reads and prints, where clients of an Ollama server see it: quoting, durations, base64
errors, numbers, times. Nothing here knows the Ollama API.
"""

import binascii
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def _quoted(char: str) -> str:
    if escape := _ESCAPES.get(char):
        return escape
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: str) -> str:
    """`%q` of a string."""
    return f'"{"".join(map(_quoted, text))}"'


def quote_byte(byte: int) -> str:
    """A byte as the JSON scanner names it: `'h'`."""
    char = chr(byte)
    return {"'": "'\\''", '"': "'\"'"}.get(char) or f"'{_quoted(char)}'"


# ---- durations -----------------------------------------------------------------------------------------------------

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_STEP = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]*)")
_MAX_NS = (1 << 63) - 1


class BadDuration(ValueError):
    """Not a duration; the text is Go's."""


def duration_ns(text: str) -> int:
    """`time.ParseDuration`: `1h30m`, `-1.5s`, `0`; nanoseconds. Raises `BadDuration`."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0
    at, total = 0, Decimal(0)
    while at < len(body):
        step = _STEP.match(body, at)
        if step is None:
            break
        number, unit = step.groups()
        if not unit:
            raise BadDuration(f"time: missing unit in duration {quote(text)}")
        if unit not in _UNITS_NS:
            raise BadDuration(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        total += Decimal(number) * _UNITS_NS[unit]
        at = step.end()
    if not body or at < len(body) or total > _MAX_NS:
        raise BadDuration(f"time: invalid duration {quote(text)}")
    return -int(total) if text[0] == "-" else int(total)


# ---- base64 --------------------------------------------------------------------------------------------------------

_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_LINE_ENDS = b"\r\n"


class BadBase64(ValueError):
    """Not standard base64; the text is Go's and names the byte."""


def standard_base64(text: str) -> str:
    """`text` without line ends, if it is standard base64 with padding. Raises `BadBase64`."""
    try:
        binascii.a2b_base64(text, strict_mode=True)
        return text
    except ValueError:
        pass
    at = _fault(text.encode("utf-8", "replace"))
    if at is not None:
        raise BadBase64(f"illegal base64 data at input byte {at}")
    return text.replace("\r", "").replace("\n", "")


def _fault(data: bytes) -> int | None:
    """The offset that `base64.StdEncoding` complains of, `None` if it does not: line ends are skipped, never counted
    out.
    """
    at, filled = 0, 0
    while at < len(data):
        byte = data[at]
        at += 1
        if byte in _ALPHABET:
            filled = (filled + 1) % 4
        elif byte in _LINE_ENDS:
            continue
        elif byte != ord("=") or filled < 2:
            return at - 1
        else:
            at = _past_line_ends(data, at)
            if filled == 2:
                if at == len(data):
                    return at
                if data[at] != ord("="):
                    return at - 1
                at = _past_line_ends(data, at + 1)
            return at if at < len(data) else None
    return at - filled if filled else None


def _past_line_ends(data: bytes, at: int) -> int:
    while at < len(data) and data[at] in _LINE_ENDS:
        at += 1
    return at


# ---- numbers and times ---------------------------------------------------------------------------------------------


def json_float(value: float) -> str:
    """A float64 as `encoding/json` writes it: shortest, no exponent from 1e-6 up to below 1e21."""
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")


def print_float(value: float) -> str:
    """A float64 as `%v` prints it: shortest, exponent form below 1e-4 and from 1e6 up."""
    if not value:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) + int(exponent) - 1
    if -4 <= power < 6:
        return json_float(value)
    text = "".join(map(str, digits))
    mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


@lru_cache(maxsize=4)  # of the same second again and again
def second_prefix(second: int) -> str:
    """`2026-08-21T18:48:22` in UTC, of unix seconds."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def fraction(nanoseconds: int) -> str:
    """The part of a second, trailing zeros cut: `.123`, or nothing for 0."""
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
