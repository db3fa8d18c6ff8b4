"""What the translator knows of a value: its kind, and where llama.cpp's chat template input has each of Go's fields."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["text", "bool", "number", "size", "names", "json", "none", "mixed", "list", "map", "record"]


class Shape(Struct, frozen=True):
    """`json` is any JSON value; `names` a text or a list of texts; `size` the length of a text, in Go counted in bytes;
    `none` is what the template never gets; `mixed` can only be tested. `item` is of lists and maps. `fields` of a
    record: Go's name to a jinja expression with the record's own for `{}`, and the shape there. `prints` tells whether
    it prints as JSON.
    """

    kind: Kind
    item: "Shape | None" = None
    fields: Mapping[str, tuple[str, "Shape"]] = {}
    name: str = ""
    prints: bool = False


TEXT: Final = Shape("text")
BOOL: Final = Shape("bool")
NUMBER: Final = Shape("number")
SIZE: Final = Shape("size")
NAMES: Final = Shape("names")
JSON: Final = Shape("json")
NONE: Final = Shape("none", name="what is never there")
MIXED: Final = Shape("mixed", name="a value of either of two types")

PROPERTY: Final = Shape(
    "record",
    name="a property",
    fields={
        "Type": ("{}.type", NAMES),
        "Description": ("({}.description or '')", TEXT),
        "Enum": ("({}.enum or [])", Shape("list", JSON)),
        "Items": ("({}['items'] if 'items' in {} else none)", JSON),
        "Required": ("({}.required or [])", Shape("list", TEXT)),
    },
)
PARAMETERS: Final = Shape(
    "record",
    name="a tool's parameters",
    prints=True,
    fields={
        "Type": ("({}.type or '')", TEXT),
        "Required": ("({}.required or [])", Shape("list", TEXT)),
        "Properties": ("({}.properties or {{}})", Shape("map", PROPERTY, prints=True)),
        "Items": ("({}['items'] if 'items' in {} else none)", JSON),
        "Defs": ("({}['$defs'] if '$defs' in {} else none)", JSON),
    },
)
TOOL_FUNCTION: Final = Shape(
    "record",
    name="a tool's function",
    prints=True,
    fields={
        "Name": ("{}.name", TEXT),
        "Description": ("({}.description or '')", TEXT),
        "Parameters": ("({}.parameters or {{}})", PARAMETERS),
    },
)
TOOL: Final = Shape(
    "record",
    name="a tool",
    prints=True,
    fields={"Type": ("{}.type", TEXT), "Function": ("{}.function", TOOL_FUNCTION)},
)
ARGUMENTS: Final = Shape("map", JSON, prints=True, name="arguments")
CALL_FUNCTION: Final = Shape(
    "record",
    name="a call's function",
    prints=True,
    fields={"Name": ("{}.name", TEXT), "Arguments": ("{}.arguments", ARGUMENTS)},
)
CALL: Final = Shape(
    "record", name="a call", prints=True, fields={"ID": ("{}.id", TEXT), "Function": ("{}.function", CALL_FUNCTION)}
)
MESSAGE: Final = Shape(
    "record",
    name="a message",
    fields={
        "Role": ("{}.role", TEXT),
        "Content": ("{}.content", TEXT),
        "Thinking": ("{}.thinking", TEXT),
        "ToolCalls": ("{}.tool_calls", Shape("list", CALL)),
        "ToolName": ("{}.tool_name", TEXT),
        "ToolCallID": ("{}.tool_call_id", TEXT),
        # llama.cpp puts a mark for each image into the content.
        "Images": ("[]", Shape("list", TEXT)),
    },
)

_THINKING: Final[Mapping[str, tuple[str, Shape]]] = {
    "Think": ("go.think", BOOL),
    "ThinkLevel": ("go.think_level", TEXT),
    "IsThinkSet": ("(enable_thinking is defined)", BOOL),
}
ROOT: Final = Shape(
    "record",
    name="all values",
    fields={
        "System": ("go.system", TEXT),
        "Messages": ("go.messages", Shape("list", MESSAGE)),
        "Tools": ("(tools or [])", Shape("list", TOOL, prints=True)),
        "Response": ("''", TEXT),
        **_THINKING,
    },
)
LEGACY_ROOT: Final = Shape(
    "record",
    name="all values",
    fields={
        "System": ("{}.system", TEXT),
        "Prompt": ("{}.prompt", TEXT),
        "Response": ("{}.response", TEXT),
        **_THINKING,
    },
)


class Typed(Struct, frozen=True):
    """A jinja expression and its shape.

    `test` is the expression of its truth, where that is known better than from the shape. `literal` is set for a
    constant. `tail` marks a part of the messages up to their end.
    """

    code: str
    shape: Shape
    test: str | None = None
    literal: bool | int | float | str | None = None
    tail: bool = False


TRUE: Final = Typed("true", BOOL, "true", literal=True)
FALSE: Final = Typed("false", BOOL, "false", literal=False)


def boolean(test: str) -> Typed:
    """A bool of an expression."""
    return TRUE if test == "true" else FALSE if test == "false" else Typed(test, BOOL, test)


def truth(value: Typed) -> str:
    """The jinja test of Go's truth; `true` and `false` where it is known."""
    if value.test is not None:
        return value.test
    if value.literal is not None:
        return "true" if value.literal else "false"
    match value.shape.kind:
        case "none":
            return "false"
        case "record":
            return "true"
        case "number" | "size":
            return f"({value.code} != 0)"
        case "list" | "map":
            return f"({value.code}|length > 0)"
    return value.code


def negation(test: str) -> str:
    """The opposite of a test."""
    return {"true": "false", "false": "true"}.get(test) or f"(not {test})"


def quoted(text: str) -> str:
    """A jinja text literal. llama.cpp knows few escapes, so that all else stands as it is."""
    for char, escape in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return f"'{text}'"
