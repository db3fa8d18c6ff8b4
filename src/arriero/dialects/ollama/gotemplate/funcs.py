"""The functions that a template may call, but for `and` and `or`, which do not look at all of their arguments."""

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.gotemplate.values import Record, equal, kind_of, less, plain, sprint, to_json, truth


class Misused(Exception):
    """A function was called with what it cannot take; the text is Go's."""


class Miscounted(Misused):
    """A function was called with too few or too many arguments."""


Arguments = Sequence[object]
WIDEST: Final = 1000
"""The widest field of `printf`."""


def call(name: str, arguments: Arguments, today: str) -> object:
    """The answer of a function. `today` is `YYYY-MM-DD`. Raises `Misused`."""
    if name == "currentDate":
        return today
    if name == "yesterdayDate":
        try:
            return (date.fromisoformat(today) - timedelta(days=1)).isoformat()
        except (ValueError, OverflowError) as error:
            raise Misused(str(error)) from error
    least, most, function = _TABLE[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wanted = f"want {least}" if most == least else f"want at least {least}"
        raise Miscounted(f"wrong number of args for {name}: {wanted} got {len(arguments)}")
    try:
        return function(arguments)
    except Misused as error:
        raise Misused(f"error calling {name}: {error}") from error


# ---- comparison ----------------------------------------------------------------------------------------------------


def _eq(arguments: Arguments) -> object:
    first, *others = arguments
    if not others:
        raise Misused("missing argument for comparison")
    for other in others:
        if (found := equal(first, other)) is None:
            raise Misused("incompatible types for comparison")
        if found:
            return True
    return False


def _ne(arguments: Arguments) -> object:
    if (found := equal(arguments[0], arguments[1])) is None:
        raise Misused("incompatible types for comparison")
    return not found


def _ordered(one: object, other: object) -> bool:
    if (found := less(one, other)) is None:
        raise Misused("incompatible types for comparison")
    return found


# ---- parts of values -----------------------------------------------------------------------------------------------


def _len(arguments: Arguments) -> object:
    match arguments[0]:
        case str() as text:
            return len(text.encode())
        case Mapping() | Sequence() as items:
            return len(items)
        case None:
            raise Misused("len of nil pointer")
        case value:
            raise Misused(f"len of type {kind_of(value)}")


def _position(value: object, size: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misused(f"cannot index slice/array with type {kind_of(value)}")
    if not 0 <= value < size:
        raise Misused(f"index out of range: {value}")
    return value


def _index(arguments: Arguments) -> object:
    value, *keys = arguments
    for key in keys:
        match value:
            case None:
                raise Misused("index of untyped nil")
            case Record():
                raise Misused(f"can't index item of type {kind_of(value)}")
            case str():
                data = value.encode()
                value = data[_position(key, len(data))]
            case Mapping():
                if not isinstance(key, str):
                    raise Misused(f"value has type {kind_of(key)}; should be string")
                value = value.get(key)
            case Sequence():
                value = value[_position(key, len(value))]
            case _:
                raise Misused(f"can't index item of type {kind_of(value)}")
    return value


def _slice(arguments: Arguments) -> object:
    value, *ends = arguments
    if isinstance(value, Record | Mapping) or not isinstance(value, Sequence):
        raise Misused("slice of untyped nil" if value is None else f"can't slice item of type {kind_of(value)}")
    if isinstance(value, str) and len(ends) == 3:
        raise Misused("cannot 3-index slice a string")
    items: Sequence[object] | bytes = value.encode() if isinstance(value, str) else value
    start, stop, *cap = [_position(end, len(items) + 1) for end in (*ends, *(0, len(items))[len(ends) :])]
    if start > stop:
        raise Misused(f"invalid slice index: {start} > {stop}")
    if cap and stop > cap[0]:
        raise Misused(f"invalid slice index: {stop} > {cap[0]}")
    cut = items[start:stop]
    return cut.decode(errors="replace") if isinstance(cut, bytes) else cut


def _call(arguments: Arguments) -> object:
    """No value of a template is a function."""
    if arguments[0] is None:
        raise Misused("call of nil")
    raise Misused(f"non-function of type {kind_of(arguments[0])}")


# ---- texts ---------------------------------------------------------------------------------------------------------


def joined(arguments: Arguments) -> str:
    """`fmt.Sprint`: a space between two neighbours of which neither is a text."""
    pieces: list[str] = []
    for number, value in enumerate(arguments):
        if number and not isinstance(value, str) and not isinstance(arguments[number - 1], str):
            pieces.append(" ")
        pieces.append(sprint(value))
    return "".join(pieces)


_VERB: Final = re.compile(r"%([-+# 0]*)([0-9]*)(?:\.([0-9]*))?(.?)", re.S)


def _printf(arguments: Arguments) -> object:
    text, *values = arguments
    if not isinstance(text, str):
        raise Misused(f"wrong type for value; expected string; got {kind_of(text)}")
    left = list(values)

    def verb(match: re.Match[str]) -> str:
        flags, width, precision, letter = match.groups()
        if letter == "%":
            return "%"
        if not letter:
            return "%!(NOVERB)"
        if not left:
            return f"%!{letter}(MISSING)"
        shown = _verb(letter, flags, precision, left.pop(0))
        if width and int(width[:6]) > WIDEST:
            raise Misused(f"the width {width[:6]} is more than {WIDEST}")
        return _padded(shown, flags, int(width or "0"), letter)

    shown = _VERB.sub(verb, text)
    if left:
        shown += f"%!(EXTRA {', '.join(f'{kind_of(value)}={sprint(value)}' for value in left)})"
    return shown


def _verb(letter: str, flags: str, precision: str | None, value: object) -> str:
    digits = None if precision is None else min(int(precision[:6] or "0"), WIDEST)
    whole = isinstance(value, int) and not isinstance(value, bool)
    match letter:
        case "v":
            return sprint(value)
        case "s" if not isinstance(value, bool | int | float) and value is not None:
            return sprint(value)[:digits]
        case "q" if isinstance(value, str):
            return quote(value)
        case "t" if isinstance(value, bool):
            return sprint(value)
        case "d" if whole:
            return f"{'+' if '+' in flags and value >= 0 else ''}{value}"  # type: ignore[operator]
        case "x" | "X" if whole or isinstance(value, str):
            shown = value.encode().hex() if isinstance(value, str) else f"{value:x}"
            return shown.upper() if letter == "X" else shown
        case "c" if whole and 0 <= value < 0x110000:  # type: ignore[operator]
            return chr(value)  # type: ignore[arg-type]
        case "f" | "e" if isinstance(value, float):
            return f"{value:.{6 if digits is None else digits}{letter}}"
        case "g" if isinstance(value, float):
            return sprint(value) if digits is None else f"{value:.{max(digits, 1)}g}"
        case "T":
            return kind_of(value)
    return f"%!{letter}({kind_of(value)}={sprint(value)})" if value is not None else f"%!{letter}(<nil>)"


def _padded(text: str, flags: str, width: int, letter: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    return text.zfill(width) if "0" in flags and letter in "dfegxX" else text.rjust(width)


_HTML: Final = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS: Final = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    | {chr(code): f"\\u{code:04X}" for code in range(32)}
)


# ---- types of tools ------------------------------------------------------------------------------------------------

_TYPES: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


def type_script(schema: object) -> str:
    """The TypeScript type of a tool's property, from its JSON schema."""
    if not isinstance(schema, Mapping):
        return "any"
    options = schema.get("anyOf")
    if isinstance(options, Sequence) and not isinstance(options, str) and options:
        return " | ".join(map(type_script, options))
    types = schema.get("type")
    if isinstance(types, str):
        return _TYPES.get(types, "any")
    if isinstance(types, Sequence) and types:
        return " | ".join(_TYPES.get(str(found), "any") for found in types)
    return "any"


_TABLE: Final[Mapping[str, tuple[int, int | None, Callable[[Arguments], object]]]] = {
    "not": (1, 1, lambda arguments: not truth(arguments[0])),
    "eq": (1, None, _eq),
    "ne": (2, 2, _ne),
    "lt": (2, 2, lambda arguments: _ordered(arguments[0], arguments[1])),
    "le": (2, 2, lambda arguments: not _ordered(arguments[1], arguments[0])),
    "gt": (2, 2, lambda arguments: _ordered(arguments[1], arguments[0])),
    "ge": (2, 2, lambda arguments: not _ordered(arguments[0], arguments[1])),
    "len": (1, 1, _len),
    "index": (1, None, _index),
    "slice": (1, 4, _slice),
    "call": (1, None, _call),
    "print": (0, None, joined),
    "println": (0, None, lambda arguments: " ".join(map(sprint, arguments)) + "\n"),
    "printf": (1, None, _printf),
    "html": (0, None, lambda arguments: joined(arguments).translate(_HTML)),
    "js": (0, None, lambda arguments: joined(arguments).translate(_JS)),
    "urlquery": (0, None, lambda arguments: urllib.parse.quote_plus(joined(arguments), safe="~")),
    "json": (1, 1, lambda arguments: to_json(arguments[0])),
    "toTypeScriptType": (1, 1, lambda arguments: type_script(plain(arguments[0]))),
}
"""Name to the least and most arguments, and what it does."""
