"""Pipelines of a Go template to jinja expressions. What a statement becomes is `jinja`'s."""

import re
from collections.abc import Sequence
from typing import Final

from arriero.dialects.ollama.gotemplate.faults import TemplateError, refused
from arriero.dialects.ollama.gotemplate.nodes import (
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Literal,
    Nil,
    Operand,
    Pipe,
    Variable,
    source,
)
from arriero.dialects.ollama.gotemplate.shapes import (
    BOOL,
    JSON,
    MESSAGE,
    MIXED,
    NONE,
    NUMBER,
    SIZE,
    TEXT,
    Shape,
    Typed,
    boolean,
    negation,
    quoted,
    truth,
)

TO_JSON: Final = (
    "|tojson(separators=(',', ':'))|replace('<', '\\\\u003c')|replace('>', '\\\\u003e')|replace('&', '\\\\u0026')"
)
_COMPARED: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_VERB: Final = re.compile(r"%(.?)", re.S)
_PLAIN: Final = frozenset({"text", "bool", "number", "json"})


class Expressions:
    """The translation of expressions, and what it finds to be used: message fields and macros, by name."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._names: list[tuple[str, Typed]] = []
        self.used: set[str] = set()

    def refuse(self, at: int, construct: str, why: str) -> TemplateError:
        return refused(self._text, at, construct, why)

    # ---- pipelines ----

    def pipe(self, pipe: Pipe, dot: Typed) -> Typed:
        """The value of a pipeline; its variables are the statement's to set."""
        value: Typed | None = None
        for command in pipe.commands:
            value = self._command(command, dot, value)
        assert value is not None
        return value

    def _command(self, command: Command, dot: Typed, piped: Typed | None) -> Typed:
        first, *rest = command.words
        if isinstance(first, Function):
            return self._function(first, rest, dot, piped)
        if rest or piped is not None or isinstance(first, Nil):
            raise self.refuse(first.at, source(first), "it is not a function")
        return self._operand(first, dot)

    def _operand(self, word: Operand, dot: Typed) -> Typed:
        match word:
            case Dot():
                return dot
            case Nil():
                return Typed("none", NONE)
            case Literal(value=value):
                return self._literal(value)
            case Field(names=names):
                return self._fields(word, dot, names)
            case Variable(name=name, names=names):
                return self._fields(word, self.variable(name), names)
            case Chain(inner=inner, names=names):
                return self._fields(word, self._inner(inner, dot), names)
            case Pipe():
                return self._inner(word, dot)
            case Function():
                return self._function(word, (), dot, None)

    def _inner(self, pipe: Pipe, dot: Typed) -> Typed:
        if pipe.names:
            raise self.refuse(pipe.at, source(pipe), "a variable is set within parentheses")
        return self.pipe(pipe, dot)

    def variable(self, name: str) -> Typed:
        """The newest variable of a name: the parser has seen to it that there is one."""
        return next(value for known, value in reversed(self._names) if known == name)

    def _literal(self, value: bool | int | float | str) -> Typed:
        match value:
            case bool():
                return boolean("true" if value else "false")
            case str():
                return Typed(quoted(value), TEXT, literal=value)
        return Typed(repr(value) if value >= 0 else f"({value!r})", NUMBER, literal=value)

    def _fields(self, word: Field | Variable | Chain, value: Typed, names: Sequence[str]) -> Typed:
        if value.shape is NONE:
            return value
        for name in names:
            value = self._field(word, value, name)
        return value

    def _field(self, word: Field | Variable | Chain, value: Typed, name: str) -> Typed:
        shape = value.shape
        if (found := shape.fields.get(name)) is not None:
            code, inner = found
            self.used.add(name)
            return Typed(code.replace("{{}}", "\0").replace("{}", value.code).replace("\0", "{}"), inner)
        if shape.name == "all values":
            return Typed("none", NONE)
        if name == "ToTypeScriptType" and shape.name == "a property":
            self.used.add("go_type_script")
            return Typed(f"go_type_script({value.code})", TEXT)
        if name == "String" and shape.prints:
            return Typed(self.shown(word, value), TEXT)
        if shape.kind == "map" and shape.item is JSON:
            return Typed(f"({value.code}[{quoted(name)}] if {quoted(name)} in {value.code} else none)", JSON)
        raise self.refuse(word.at, source(word), f"{shape.name or f'a {shape.kind}'} has no field {name} here")

    # ---- texts of values ----

    def shown(self, word: Operand, value: Typed, *, nil: str = "<no value>") -> str:
        """The expression of what a value prints as."""
        match value.shape:
            case Shape(kind="text"):
                return value.code
            case Shape(kind="number"):
                return f"({value.code} ~ '')"
            case Shape(kind="bool"):
                test = truth(value)
                return quoted(test) if test in ("true", "false") else f"('true' if {test} else 'false')"
            case Shape(kind="none"):
                return quoted(nil)
            case Shape(kind="names"):
                self.used.add("go_names")
                return f"go_names({value.code})"
            case Shape(prints=True):
                return self._json(word, value)
            case Shape(kind="json") | Shape(kind="list" | "map", item=Shape(kind="text" | "json" | "number" | "bool")):
                self.used.add("go_show")
                return f"go_show({value.code}, {quoted(nil)})"
        raise self.refuse(word.at, source(word), f"{value.shape.name or f'a {value.shape.kind}'} cannot be printed")

    def _json(self, word: Operand, value: Typed) -> str:
        shape = value.shape
        if shape.name == "arguments":
            # Where the request had them as a text, they are JSON already.
            return f"({value.code} if {value.code} is string else ({value.code}{TO_JSON}))"
        item = shape.item
        known = shape.prints or shape.kind in _PLAIN or shape.kind in ("names", "none")
        if known or shape.name == "a property" or (item is not None and (item.prints or item.kind in _PLAIN)):
            return f"({value.code}{TO_JSON})"
        raise self.refuse(word.at, source(word), f"no JSON can be made of {shape.name or f'a {shape.kind}'}")

    # ---- functions ----

    def _function(self, function: Function, words: Sequence[Operand], dot: Typed, piped: Typed | None) -> Typed:
        values = [self._operand(word, dot) for word in words] + ([piped] if piped is not None else [])
        name = function.name
        if name in ("and", "or"):
            return self._either(function, values)
        if name in _COMPARED:
            return self._compared(function, values)
        if name == "currentDate":
            return Typed("strftime_now('%Y-%m-%d')", TEXT)
        if name in ("print", "println", "printf"):
            return self._printed(function, values)
        if not values:
            raise self.refuse(function.at, name, "it has no argument")
        first, *rest = values
        match name, len(rest):
            case "not", 0:
                return boolean(negation(truth(first)))
            case "len", 0:
                return self._length(function, first)
            case "index", _:
                return self._indexed(function, first, rest)
            case "slice", 0 | 1 | 2:
                return self._sliced(function, first, rest)
            case "json", 0:
                return Typed(self._json(function, first), TEXT)
            case "toTypeScriptType", 0 if first.shape.name == "a property" or first.shape is JSON:
                self.used.add("go_type_script")
                return Typed(f"go_type_script({first.code})", TEXT)
        raise self.refuse(function.at, name, "it cannot be called so there")

    def _either(self, function: Function, values: Sequence[Typed]) -> Typed:
        if not values:
            raise self.refuse(function.at, function.name, "it has no argument")
        decides = "true" if function.name == "or" else "false"
        value = values[-1]
        for other in reversed(values[:-1]):
            test, rest = truth(other), truth(value)
            if test == decides:
                value = other
            elif test != negation(decides):
                both = f"({test} {function.name} {rest})"
                if rest in ("true", "false"):
                    both = rest if rest == decides else test
                if other.shape == value.shape and other.shape is not BOOL:
                    one, two = (other.code, value.code) if function.name == "or" else (value.code, other.code)
                    value = Typed(f"({one} if {test} else {two})", value.shape, both)
                else:
                    # As a value it would be of either shape; a test it can be.
                    value = Typed(both, BOOL if other.shape is value.shape is BOOL else MIXED, both)
        return value

    def _compared(self, function: Function, values: Sequence[Typed]) -> Typed:
        name = function.name
        if len(values) < 2 or (name != "eq" and len(values) > 2):
            raise self.refuse(function.at, name, "wrong number of arguments")
        first, *others = values
        tests = [self._comparison(function, first, other) for other in others]
        if "true" in tests:
            return boolean("true")
        tests = [test for test in tests if test != "false"]
        return boolean(" or ".join(tests).join("()") if len(tests) > 1 else tests[0] if tests else "false")

    def _comparison(self, function: Function, one: Typed, other: Typed) -> str:
        sign = _COMPARED[function.name]
        kinds = {one.shape.kind, other.shape.kind}
        if "mixed" in kinds:
            raise self.refuse(function.at, function.name, MIXED.name)
        if "none" in kinds and sign in ("==", "!="):
            if "json" in kinds:
                known = one if one.shape.kind == "json" else other
                return f"({known.code} is {'not ' if sign == '!=' else ''}none)"
            return "true" if (len(kinds) == 1) is (sign == "==") else "false"
        if kinds == {"size", "number"} and 0 in (one.literal, other.literal):
            return f"({one.code} {sign} {other.code})"
        if "names" in kinds and kinds <= {"names", "text"}:
            return f"({self.shown(function, one)} {sign} {self.shown(function, other)})"
        if kinds in ({"bool"}, {"bool", "json"}) and sign in ("==", "!="):
            return f"({_as_bool(one)} {sign} {_as_bool(other)})"
        if kinds <= {"text", "json"} or kinds <= {"number", "json"}:
            return f"({one.code} {sign} {other.code})"
        raise self.refuse(function.at, function.name, "incompatible types for comparison")

    def _length(self, function: Function, value: Typed) -> Typed:
        match value.shape.kind:
            case "text":
                return Typed(f"({value.code}|length)", SIZE)
            case "list" | "map":
                if value.tail:
                    # More messages are to come where no answer is asked for: then none is the last.
                    self.used.add("go.more")
                    return Typed(f"({value.code}|length + go.more)", NUMBER)
                return Typed(f"({value.code}|length)", NUMBER)
        raise self.refuse(
            function.at, "len", f"the length of {value.shape.name or f'a {value.shape.kind}'} is not known"
        )

    def _indexed(self, function: Function, value: Typed, keys: Sequence[Typed]) -> Typed:
        for key in keys:
            shape = value.shape
            if shape.item is not None and key.shape.kind == ("number" if shape.kind == "list" else "text"):
                if shape.kind == "map" and shape.item is JSON:
                    value = Typed(f"({value.code}[{key.code}] if {key.code} in {value.code} else none)", JSON)
                else:
                    value = Typed(f"{value.code}[{key.code}]", shape.item)
            else:
                raise self.refuse(function.at, "index", f"{shape.name or f'a {shape.kind}'} has no such index")
        return value

    def _sliced(self, function: Function, value: Typed, ends: Sequence[Typed]) -> Typed:
        if value.shape.kind != "list" or any(end.shape is not NUMBER for end in ends):
            raise self.refuse(function.at, "slice", "only lists can be cut, at numbers")
        start = ends[0].code if ends else ""
        stop = ends[1].code if len(ends) > 1 else ""
        tail = value.shape.item is MESSAGE and len(ends) < 2
        return Typed(f"{value.code}[{start}:{stop}]", value.shape, tail=tail)

    def _printed(self, function: Function, values: Sequence[Typed]) -> Typed:
        name = function.name
        if name == "printf":
            pieces = self._format(function, values)
        else:
            pieces = []
            for number, value in enumerate(values):
                if number and name == "println":
                    pieces.append("' '")
                elif number and "text" not in (value.shape.kind, values[number - 1].shape.kind):
                    if "json" in (value.shape.kind, values[number - 1].shape.kind):
                        raise self.refuse(function.at, name, "whether a space stands between two values is not known")
                    pieces.append("' '")
                pieces.append(self._shown_argument(function, value))
            if name == "println":
                pieces.append("'\\n'")
        return Typed(f"({' ~ '.join(pieces)})" if len(pieces) > 1 else (pieces or ["''"])[0], TEXT)

    def _shown_argument(self, function: Function, value: Typed) -> str:
        return self.shown(function, value, nil="<nil>")

    def _format(self, function: Function, values: Sequence[Typed]) -> list[str]:
        if not values or not isinstance(values[0].literal, str):
            raise self.refuse(function.at, "printf", "the format is no constant")
        left = list(values[1:])
        pieces: list[str] = []
        at = 0
        for match in _VERB.finditer(values[0].literal):
            pieces.append(quoted(values[0].literal[at : match.start()]))
            at = match.end()
            letter = match.group(1)
            kinds = {"s": ("text", "names"), "d": ("number",), "v": None}.get(letter, ())
            if letter == "%":
                pieces.append("'%'")
            elif not left or (kinds is not None and left[0].shape.kind not in kinds):
                raise self.refuse(function.at, "printf", f"the verb %{letter} does not fit its argument")
            else:
                pieces.append(self._shown_argument(function, left.pop(0)))
        if left:
            raise self.refuse(function.at, "printf", "there are more arguments than verbs")
        pieces.append(quoted(values[0].literal[at:]))
        return [piece for piece in pieces if piece != "''"] or ["''"]


def _as_bool(value: Typed) -> str:
    return truth(value) if value.shape.kind == "bool" else value.code
