"""Values as a Go template sees them: truth, printing, JSON, order.

A Go struct is a `Record`; a map is a mapping, a slice a sequence, `nil` is `None`. Whole numbers of a JSON text stay
whole, where Go makes a float64 of each: `1000000` prints so, and not as `1e+06`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from arriero.dialects.ollama.golang import json_float, print_float

NO_VALUE: Final = "<no value>"


class Record(Struct, frozen=True):
    """A Go struct: fields by Go's names, and its JSON value. `prints` tells whether it prints as its JSON."""

    kind: str
    fields: Mapping[str, object]
    value: object
    prints: bool = False


class JsonMap(dict[str, object]):
    """A map that prints as JSON: a tool call's arguments, a tool's properties."""

    value: object = None
    """The JSON value, where that is not the map itself."""


class JsonList(tuple[object, ...]):
    """A list that prints as JSON: the tools."""


class Names(tuple[str, ...]):
    """The types of a property: prints as the one, or as a list."""


def truth(value: object) -> bool:
    """Go's: empty and zero are false, a struct is true."""
    if isinstance(value, Record):
        return True
    if isinstance(value, float) and math.isnan(value):
        return True
    return bool(value)


def kind_of(value: object) -> str:
    """How Go's errors call a value's type."""
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case Record():
            return value.kind
        case Mapping():
            return "map[string]interface {}"
    return "[]interface {}"


def show(value: object) -> str:
    """What an action prints: `fmt.Sprint` of one value, with `nil` as `<no value>`."""
    return NO_VALUE if value is None else sprint(value)


def sprint(value: object) -> str:
    """`%v`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            if math.isnan(value):
                return "NaN"
            return print_float(value) if math.isfinite(value) else f"{'+' if value > 0 else '-'}Inf"
        case Record():
            return to_json(value) if value.prints else f"{{{' '.join(sprint(item) for item in value.fields.values())}}}"
        case JsonMap() | JsonList():
            return to_json(value)
        case Names():
            return value[0] if len(value) == 1 else f"[{' '.join(value)}]"
        case Mapping():
            return f"map[{' '.join(f'{key}:{sprint(value[key])}' for key in sorted(value))}]"
        case Sequence():
            return f"[{' '.join(map(sprint, value))}]"
    raise TypeError(f"no value of a template: {type(value)}")


def plain(value: object) -> object:
    """The JSON value of a value."""
    match value:
        case Record():
            return value.value
        case JsonMap() if value.value is not None:
            return value.value
        case str():
            return value
        case Names():
            return value[0] if len(value) == 1 else list(value)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case Sequence():
            return [plain(item) for item in value]
        case float() if math.isfinite(value):
            return msgspec.Raw(json_float(value).encode())
    return value


def to_json(value: object) -> str:
    """Compact JSON as Go writes it, but for keys, which stay in their order."""
    text = msgspec.json.encode(plain(value)).decode()
    # Go escapes what could end a script in a page, and these two line ends.
    for char, escape in _ESCAPES:
        if char in text:
            text = text.replace(char, escape)
    return text


_ESCAPES: Final = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def equal(one: object, other: object) -> bool | None:
    """Go's `==` of two basic values; `None` where the types cannot be compared."""
    if one is None or other is None:
        return one is other
    if isinstance(one, Names):
        one = sprint(one)
    if isinstance(other, Names):
        other = sprint(other)
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, bool) and isinstance(other, bool):
        return one == other
    return one == other if _number(one) and _number(other) else None


def less(one: object, other: object) -> bool | None:
    """Go's `<`; `None` where the types have no order."""
    if isinstance(one, str) and isinstance(other, str):
        # Bytes of UTF-8 have the order of code points.
        return one < other
    return one < other if _number(one) and _number(other) else None  # type: ignore[operator]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
