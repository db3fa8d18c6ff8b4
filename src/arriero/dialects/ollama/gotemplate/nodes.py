"""What a template is made of once it is parsed. `at` is an offset in its text."""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

from arriero.dialects.ollama.golang import quote

# ---- operands ------------------------------------------------------------------------------------------------------


class Dot(Struct, frozen=True):
    at: int


class Nil(Struct, frozen=True):
    at: int


class Literal(Struct, frozen=True):
    """A bool, a number or a text; `source` is how it was written."""

    value: bool | int | float | str
    source: str
    at: int


class Field(Struct, frozen=True):
    """`.A.B` of the dot."""

    names: tuple[str, ...]
    at: int


class Variable(Struct, frozen=True):
    """`$x.A.B`; the name holds the `$`."""

    name: str
    names: tuple[str, ...]
    at: int


class Chain(Struct, frozen=True):
    """`(pipeline).A.B`."""

    inner: "Pipe"
    names: tuple[str, ...]
    at: int


class Function(Struct, frozen=True):
    name: str
    at: int


class Command(Struct, frozen=True):
    """A function, a field or a value, and the arguments after it."""

    words: tuple["Operand", ...]
    at: int


class Pipe(Struct, frozen=True):
    """`$a, $b := one | two`; `assigns` where it is `=`."""

    commands: tuple[Command, ...]
    at: int
    names: tuple[str, ...] = ()
    assigns: bool = False


Operand: TypeAlias = Dot | Nil | Literal | Field | Variable | Chain | Function | Pipe

# ---- statements ----------------------------------------------------------------------------------------------------


class Text(Struct, frozen=True):
    text: str
    at: int


class Action(Struct, frozen=True):
    """`{{ pipeline }}`: printed, unless it sets a variable."""

    pipe: Pipe
    at: int


class If(Struct, frozen=True):
    pipe: Pipe
    body: "Block"
    otherwise: "Block"
    at: int


class With(Struct, frozen=True):
    pipe: Pipe
    body: "Block"
    otherwise: "Block"
    at: int


class Range(Struct, frozen=True):
    pipe: Pipe
    body: "Block"
    otherwise: "Block"
    at: int


class Break(Struct, frozen=True):
    at: int


class Continue(Struct, frozen=True):
    at: int


class Call(Struct, frozen=True):
    """`{{ template "name" pipeline }}`."""

    name: str
    pipe: Pipe | None
    at: int


Node: TypeAlias = Text | Action | If | With | Range | Break | Continue | Call
Block: TypeAlias = tuple[Node, ...]
Branch: TypeAlias = If | With | Range


def source(node: Operand | Command) -> str:
    """How a part of a pipeline reads, for errors."""
    match node:
        case Dot():
            return "."
        case Nil():
            return "nil"
        case Literal(value=value, source=written):
            return quote(value) if isinstance(value, str) and written.startswith('"') else written
        case Field(names=names):
            return "".join(f".{name}" for name in names)
        case Variable(name=name, names=names):
            return ".".join((name, *names))
        case Chain(inner=inner, names=names):
            return "".join((f"({source(inner)})", *(f".{name}" for name in names)))
        case Function(name=name):
            return name
        case Command(words=words):
            return " ".join(f"({source(word)})" if isinstance(word, Pipe) else source(word) for word in words)
        case Pipe():
            heads = f"{', '.join(node.names)} {'=' if node.assigns else ':='} " if node.names else ""
            return heads + " | ".join(source(command) for command in node.commands)


def operands(pipe: Pipe | None) -> Iterator[Operand]:
    """Every operand of a pipeline, in reading order, those within parentheses too."""
    for command in pipe.commands if pipe else ():
        for word in command.words:
            yield word
            if isinstance(word, Pipe):
                yield from operands(word)
            elif isinstance(word, Chain):
                yield from operands(word.inner)


def statements(block: Block) -> Iterator[Node]:
    """Every statement, in reading order."""
    for node in block:
        yield node
        if isinstance(node, If | With | Range):
            yield from statements(node.body)
            yield from statements(node.otherwise)


def pipe_of(node: Node) -> Pipe | None:
    """The pipeline of a statement that has one."""
    return None if isinstance(node, Text | Break | Continue) else node.pipe


def fields(block: Block) -> Iterator[str]:
    """Every field name that a block mentions."""
    for node in statements(block):
        for operand in operands(pipe_of(node)):
            if isinstance(operand, Field | Variable | Chain):
                yield from operand.names
