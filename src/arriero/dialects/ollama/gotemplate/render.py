"""Nodes and values to text, as Go executes a template; in bounded time and memory, wherever the template is from."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import msgspec

from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.gotemplate import funcs
from arriero.dialects.ollama.gotemplate.faults import DEPTH, OUTPUT_CHARS, STEPS, TemplateError, failed
from arriero.dialects.ollama.gotemplate.nodes import (
    Action,
    Block,
    Break,
    Call,
    Chain,
    Command,
    Continue,
    Dot,
    Field,
    Function,
    If,
    Literal,
    Nil,
    Node,
    Operand,
    Pipe,
    Range,
    Text,
    Variable,
    With,
    source,
)
from arriero.dialects.ollama.gotemplate.parse import Tree
from arriero.dialects.ollama.gotemplate.values import JsonMap, Record, kind_of, show, to_json, truth


class _Leave(Enum):
    """How a block ended early."""

    BREAK = 0
    CONTINUE = 1


class _Missing(Enum):
    MISSING = 0


_NONE = _Missing.MISSING
_NO_FUNCTION = "has arguments but cannot be invoked as function"


def render(tree: Tree, root: Block, values: Mapping[str, object], today: str) -> str:
    """The text that `root` makes of the values. Raises `TemplateError`."""
    run = _Run(tree, today)
    try:
        run.block(root, values)
    except RecursionError:
        raise TemplateError("the template, or a value in it, is nested too deeply") from None
    return "".join(run.out)


class _Run:
    """One rendering."""

    def __init__(self, tree: Tree, today: str) -> None:
        self.out: list[str] = []
        self._tree = tree
        self._today = today
        self._steps = 0
        self._chars = 0
        self._depth = 0
        self._names: list[str] = []
        self._values: list[object] = []

    def block(self, block: Block, dot: object) -> None:
        """Execute a whole template: `$` is its dot."""
        names, values = self._names, self._values
        self._names, self._values = ["$"], [dot]
        self._block(block, dot)
        self._names, self._values = names, values

    def _fail(self, at: int, shown: str, message: str) -> TemplateError:
        return failed(self._tree.text, at, shown, message)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS:
            raise TemplateError(f"the template takes more than {STEPS} steps")

    def _count(self, chars: int) -> None:
        self._chars += chars
        if self._chars > OUTPUT_CHARS:
            raise TemplateError(f"the template makes more than {OUTPUT_CHARS} characters")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise TemplateError(f"exceeded maximum template depth ({DEPTH})")

    # ---- statements ----

    def _block(self, block: Block, dot: object) -> _Leave | None:
        self._deeper()
        mark = len(self._names)
        left = None
        for node in block:
            if (left := self._node(node, dot)) is not None:
                break
        del self._names[mark:], self._values[mark:]
        self._depth -= 1
        return left

    def _node(self, node: Node, dot: object) -> _Leave | None:
        self._step()
        match node:
            case Text(text=text):
                self._write(text)
            case Action(pipe=pipe):
                value = self._pipe(pipe, dot)
                if not pipe.names:
                    self._write(show(value))
            case If() | With():
                return self._branch(node, dot)
            case Range():
                return self._range(node, dot)
            case Call():
                self._call(node, dot)
            case Break():
                return _Leave.BREAK
            case Continue():
                return _Leave.CONTINUE
        return None

    def _write(self, text: str) -> None:
        self._count(len(text))
        self.out.append(text)

    def _branch(self, node: If | With, dot: object) -> _Leave | None:
        mark = len(self._names)
        value = self._pipe(node.pipe, dot)
        if truth(value):
            left = self._block(node.body, value if isinstance(node, With) else dot)
        else:
            left = self._block(node.otherwise, dot)
        del self._names[mark:], self._values[mark:]
        return left

    def _range(self, node: Range, dot: object) -> _Leave | None:
        mark = len(self._names)
        value = self._pipe(node.pipe, dot, declare=False)
        left = None
        items = self._items(node, value)
        empty = True
        for key, item in items:
            empty = False
            self._step()
            inner = len(self._names)
            self._loop_names(node.pipe, key, item, counts=isinstance(value, int))
            left = self._block(node.body, item)
            del self._names[inner:], self._values[inner:]
            if left is _Leave.BREAK:
                break
        left = self._block(node.otherwise, dot) if empty else None
        del self._names[mark:], self._values[mark:]
        return left

    def _items(self, node: Range, value: object) -> Iterable[tuple[object, object]]:
        match value:
            case None:
                return ()
            case int() if not isinstance(value, bool):
                return ((number, number) for number in range(value))
            case Record() | str():
                pass
            case Mapping():
                return ((key, value[key]) for key in sorted(value))
            case Sequence():
                return enumerate(value)
        shown = source(node.pipe)
        raise self._fail(node.pipe.at, shown, f"range can't iterate over {show(value)[:100]}")

    def _loop_names(self, pipe: Pipe, key: object, item: object, *, counts: bool) -> None:
        if len(pipe.names) == 2 and counts:
            raise self._fail(pipe.at, source(pipe), "can't use a number to iterate over with more than one variable")
        values = (item,) if len(pipe.names) == 1 else (key, item)
        for name, value in zip(pipe.names, values, strict=False):
            self._set(name, value, declare=not pipe.assigns)

    def _call(self, node: Call, dot: object) -> None:
        body = self._tree.defined.get(node.name)
        if body is None:
            shown = f"{{{{template {quote(node.name)}}}}}"
            raise self._fail(node.at, shown, f"template {quote(node.name)} not defined")
        self.block(body, None if node.pipe is None else self._pipe(node.pipe, dot))

    # ---- pipelines ----

    def _set(self, name: str, value: object, *, declare: bool) -> None:
        if declare:
            self._names.append(name)
            self._values.append(value)
            return
        for at in range(len(self._names) - 1, -1, -1):
            if self._names[at] == name:
                self._values[at] = value
                return
        raise TemplateError(f"undefined variable: {name}")

    def _pipe(self, pipe: Pipe, dot: object, *, declare: bool = True) -> object:
        self._deeper()
        value: object = _NONE
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if declare:
            for name in pipe.names:
                self._set(name, value, declare=not pipe.assigns)
        self._depth -= 1
        return value

    def _command(self, command: Command, dot: object, piped: object) -> object:
        self._step()
        first, *rest = command.words
        if isinstance(first, Function):
            return self._function(first, rest, dot, piped, command)
        if rest or piped is not _NONE:
            if isinstance(first, Field | Variable | Chain) and first.names:
                owner = self._operand(msgspec.structs.replace(first, names=first.names[:-1]), dot)
                why = "is not a method but has arguments" if isinstance(owner, Mapping) else _NO_FUNCTION
                raise self._fail(first.at, source(first), f"{first.names[-1]} {why}")
            raise self._fail(first.at, source(first), f"can't give argument to non-function {source(first)}")
        if isinstance(first, Nil):
            raise self._fail(first.at, "nil", "nil is not a command")
        return self._operand(first, dot)

    def _function(
        self, function: Function, words: Sequence[Operand], dot: object, piped: object, command: Command | None = None
    ) -> object:
        name = function.name
        if name in ("and", "or"):
            return self._either(function, words, dot, piped)
        arguments = [self._operand(word, dot) for word in words]
        if piped is not _NONE:
            arguments.append(piped)
        try:
            value = funcs.call(name, arguments, self._today)
        except funcs.Misused as error:
            shown = function if isinstance(error, funcs.Miscounted) else command or function
            raise self._fail(function.at, source(shown), str(error)) from error
        if isinstance(value, str):
            self._count(len(value))
        return value

    def _either(self, function: Function, words: Sequence[Operand], dot: object, piped: object) -> object:
        """`and` and `or` answer with the argument that decides, and look no further."""
        if not words and piped is _NONE:
            raise self._fail(
                function.at, function.name, f"wrong number of args for {function.name}: want at least 1 got 0"
            )
        value: object = None
        for word in words:
            value = self._operand(word, dot)
            if truth(value) is (function.name == "or"):
                return value
        return value if piped is _NONE else piped

    def _operand(self, word: Operand, dot: object) -> object:
        self._step()
        match word:
            case Dot():
                return dot
            case Nil():
                return None
            case Literal(value=value):
                return value
            case Field(names=names):
                return self._fields(word, dot, names)
            case Variable(name=name, names=names):
                for at in range(len(self._names) - 1, -1, -1):
                    if self._names[at] == name:
                        return self._fields(word, self._values[at], names)
                raise self._fail(word.at, source(word), f"undefined variable: {name}")
            case Chain(inner=inner, names=names):
                return self._fields(word, self._pipe(inner, dot), names)
            case Pipe():
                return self._pipe(word, dot)
            case Function():
                return self._function(word, (), dot, _NONE)

    def _fields(self, word: Field | Variable | Chain, value: object, names: tuple[str, ...]) -> object:
        looked_up = False
        for name in names:
            if value is None and not looked_up:
                # Nothing at all has any field; what a map does not have has none.
                return None
            mapped = isinstance(value, Mapping) and not isinstance(value, JsonMap)
            value = self._field(word, value, name, looked_up)
            looked_up = mapped
        return value

    def _field(self, word: Field | Variable | Chain, value: object, name: str, looked_up: bool) -> object:
        match value:
            case None:
                raise self._fail(word.at, source(word), f"nil pointer evaluating interface {{}}.{name}")
            case Record():
                if name in value.fields:
                    return value.fields[name]
                if name == "ToTypeScriptType" and value.kind == "api.ToolProperty":
                    return funcs.type_script(value.value)
                if name == "String" and value.prints:
                    return to_json(value)
            case JsonMap() if name == "String":
                return to_json(value)
            case Mapping():
                return value.get(name)
        kind = "interface {}" if looked_up else kind_of(value)
        raise self._fail(word.at, source(word), f"can't evaluate field {name} in type {kind}")
