"""Tokens to nodes: the grammar of Go's text/template, with Go's words for its faults."""

import math
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from msgspec import Struct

from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.gotemplate.faults import NESTING, TemplateError, unreadable
from arriero.dialects.ollama.gotemplate.nodes import (
    Action,
    Block,
    Branch,
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
)
from arriero.dialects.ollama.gotemplate.scan import Kind, Token, scan

FUNCTIONS: Final = frozenset(
    {
        "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "call",
        "print", "printf", "println", "html", "js", "urlquery",
        "json", "currentDate", "yesterdayDate", "toTypeScriptType",
    }
)  # fmt: skip
"""Every function a template may call: Go's own, and those that Ollama adds."""

_OPERANDS: Final = frozenset(
    {Kind.BOOL, Kind.CHAR, Kind.DOT, Kind.FIELD, Kind.WORD, Kind.NUMBER, Kind.NIL, Kind.RAW, Kind.STRING}
    | {Kind.VARIABLE, Kind.LEFT}
)
_CONTROLS: Final[Mapping[str, type[If] | type[Range] | type[With]]] = {"if": If, "range": Range, "with": With}
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.S
)
_NUMBER: Final = re.compile(
    r"0[xX][0-9a-fA-F_]*(\.[0-9a-fA-F_]*)?([pP][+-]?[0-9_]*)?|0[bB][01_]*|0[oO][0-7_]*|"
    r"[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9_]*)?|\.[0-9_]*([eE][+-]?[0-9_]*)?"
)
_LETTERS: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip


class Tree(Struct, frozen=True):
    """A parsed template: its own statements, and the templates that it defines by name."""

    text: str
    root: Block
    defined: Mapping[str, Block]


def parse(text: str) -> Tree:
    """Read a template. Raises `TemplateError`."""
    return _Parser(text).tree()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = scan(text)
        self._at = 0
        self._names = ["$"]
        self._depth = 0
        self._loops = 0
        self._defined: dict[str, Block] = {}

    def tree(self) -> Tree:
        root: list[Node] = []
        while self._tokens[self._at].kind is not Kind.END:
            nodes, stop = self._list(top=True)
            root += nodes
            if stop is not None and stop.text != "define":
                self._fail(stop, f"unexpected {{{{{stop.text}}}}}")
            if stop is not None:
                self._define()
        return Tree(self._text, tuple(root), self._defined)

    # ---- tokens ----

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is Kind.FAULT:
            self._fail(token, token.text)
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _solid(self) -> Token:
        """The next token that is no space."""
        self._spaces()
        return self._next()

    def _spaces(self) -> Token:
        """Skip spaces; what comes then, unread."""
        while self._tokens[self._at].kind is Kind.SPACE:
            self._at += 1
        return self._tokens[self._at]

    def _fail(self, token: Token, message: str) -> NoReturn:
        raise unreadable(self._text, token.at, message)

    def _unexpected(self, token: Token, context: str) -> NoReturn:
        if token.kind is Kind.END:
            self._fail(token, "unexpected EOF")
        if token.kind is Kind.FAULT:
            self._fail(token, token.text)
        if token.kind is Kind.CLOSE and context == "parenthesized pipeline":
            self._fail(token, "unclosed left paren")
        if token.kind in (Kind.KEYWORD, Kind.DOT, Kind.NIL):
            shown = f"<{token.text}>"
        else:
            shown = quote(token.text) if len(token.text) <= 10 else f"{quote(token.text[:10])}..."
        self._fail(token, f"unexpected {shown} in {context}")

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > NESTING:
            self._fail(token, f"nested deeper than {NESTING} levels")

    # ---- statements ----

    def _list(self, *, top: bool = False) -> tuple[list[Node], Token | None]:
        """Statements up to `end`, `else` (which are read) or the end of the text; `define` too at the top."""
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind is Kind.TEXT:
                nodes.append(Text(token.text, token.at))
            elif token.kind is Kind.END:
                if not top:
                    self._fail(token, "unexpected EOF")
                return nodes, None
            else:
                word = self._spaces()
                if word.kind is Kind.KEYWORD:
                    self._next()
                    if word.text in ("end", "else") or (word.text == "define" and top):
                        return nodes, word
                    nodes.append(self._keyword(word))
                else:
                    at = word.at
                    nodes.append(Action(self._pipe("command", Kind.CLOSE), at))

    def _keyword(self, word: Token) -> Node:
        if (control := _CONTROLS.get(word.text)) is not None:
            return self._control(word, control)
        match word.text:
            case "template":
                at = self._spaces().at
                name = self._name("template clause")
                pipe = None if self._spaces().kind is Kind.CLOSE else self._pipe("template clause", Kind.CLOSE)
                if pipe is None:
                    self._next()
                return Call(name, pipe, at)
            case "block":
                at = self._spaces().at
                name = self._name("block clause")
                pipe = self._pipe("block clause", Kind.CLOSE)
                self._body(name, "block clause")
                return Call(name, pipe, at)
            case "break" | "continue":
                token = self._solid()
                if token.kind is not Kind.CLOSE:
                    self._unexpected(token, f"{{{{{word.text}}}}}")
                if not self._loops:
                    self._fail(word, f"{{{{{word.text}}}}} outside {{{{range}}}}")
                return Break(word.at) if word.text == "break" else Continue(word.at)
        self._fail(word, f"unexpected {{{{{word.text}}}}}")

    def _control(self, word: Token, control: type[If] | type[Range] | type[With]) -> Branch:
        self._deeper(word)
        mark = len(self._names)
        pipe = self._pipe(word.text, Kind.CLOSE)
        self._loops += control is Range
        body, stop = self._list()
        self._loops -= control is Range
        otherwise: list[Node] = []
        if stop is not None and stop.text == "else":
            follows = self._spaces()
            if follows.kind is Kind.KEYWORD and follows.text == word.text and word.text in ("if", "with"):
                # `else if` shares the `end`.
                self._next()
                otherwise = [self._control(follows, control)]
                stop = None
            else:
                self._close("else")
                otherwise, stop = self._list()
                if stop is not None and stop.text == "else":
                    self._fail(stop, "expected end; found {{else}}")
        if stop is not None:
            self._close("end")
        del self._names[mark:]
        self._depth -= 1
        return control(pipe, tuple(body), tuple(otherwise), word.at)

    def _close(self, context: str) -> None:
        token = self._solid()
        if token.kind is not Kind.CLOSE:
            self._unexpected(token, context)

    def _name(self, context: str) -> str:
        token = self._solid()
        if token.kind not in (Kind.STRING, Kind.RAW):
            self._unexpected(token, context)
        return self._string(token)

    def _define(self) -> None:
        name = self._name("define clause")
        self._close("define clause")
        self._body(name, "define clause")

    def _body(self, name: str, context: str) -> None:
        token = self._tokens[self._at]
        self._deeper(token)
        names, self._names, loops, self._loops = self._names, ["$"], self._loops, 0
        nodes, stop = self._list()
        if stop is not None and stop.text == "else":
            self._fail(stop, f"unexpected {{{{else}}}} in {context}")
        self._close("end")
        self._names, self._loops = names, loops
        self._depth -= 1
        if _blank(tuple(nodes)):
            self._defined.setdefault(name, tuple(nodes))
        elif _blank(self._defined.get(name, ())):
            self._defined[name] = tuple(nodes)
        else:
            self._fail(token, f"template: multiple definition of template {quote(name)}")

    # ---- pipelines ----

    def _pipe(self, context: str, end: Kind) -> Pipe:
        start = self._spaces()
        names, assigns = self._declarations(context)
        commands: list[Command] = []
        while True:
            token = self._spaces()
            if token.kind is end:
                self._next()
                if not commands:
                    self._fail(token, f"missing value for {context}")
                for number, command in enumerate(commands[1:], 2):
                    if isinstance(command.words[0], Dot | Nil | Literal):
                        self._fail(token, f"non executable command in pipeline stage {number}")
                return Pipe(tuple(commands), start.at, tuple(names), assigns)
            if token.kind not in _OPERANDS:
                self._unexpected(token, context)
            commands.append(self._command())

    def _declarations(self, context: str) -> tuple[list[str], bool]:
        names: list[str] = []
        while True:
            mark = self._at
            first = self._spaces()
            if first.kind is not Kind.VARIABLE:
                return names, False
            self._next()
            after = self._spaces()
            if after.kind in (Kind.DECLARE, Kind.ASSIGN):
                self._next()
                names.append(first.text)
                assigns = after.kind is Kind.ASSIGN
                for name in names:
                    if not assigns:
                        self._names.append(name)
                    elif name not in self._names:
                        self._fail(first, f"undefined variable {quote(name)}")
                return names, assigns
            if after.text != ",":
                self._at = mark
                return names, False
            self._next()
            names.append(first.text)
            if context != "range" or len(names) > 1:
                self._fail(after, f"too many declarations in {context}")
            if self._spaces().kind not in (Kind.VARIABLE, Kind.CLOSE):
                self._fail(after, "range can only initialize variables")

    def _command(self) -> Command:
        start = self._spaces()
        words: list[Operand] = []
        while True:
            self._spaces()
            word = self._operand()
            if word is not None:
                words.append(word)
            token = self._tokens[self._at]
            if token.kind is Kind.SPACE:
                self._next()
                continue
            if token.kind is Kind.PIPE:
                self._next()
            elif token.kind not in (Kind.CLOSE, Kind.RIGHT):
                self._unexpected(token, "operand")
            break
        if not words:
            self._fail(start, "empty command")
        return Command(tuple(words), start.at)

    def _operand(self) -> Operand | None:
        token = self._tokens[self._at]
        if token.kind not in _OPERANDS:
            return None
        self._next()
        term = self._term(token)
        names: list[str] = []
        # Go says that a chain of fields is where its second link is.
        at = self._tokens[self._at].at
        while self._tokens[self._at].kind is Kind.FIELD:
            names.append(self._next().text[1:])
        if not names:
            return term
        match term:
            case Field(names=own):
                return Field((*own, *names), at)
            case Variable(name=name):
                return Variable(name, tuple(names), at)
            case Pipe():
                return Chain(term, tuple(names), at)
            case Function():
                # A function without arguments, and a field of what it answers.
                return Chain(Pipe((Command((term,), term.at),), term.at), tuple(names), at)
        self._fail(token, f"unexpected . after term {quote(token.text)}")

    def _term(self, token: Token) -> Operand:
        text, at = token.text, token.at
        match token.kind:
            case Kind.WORD:
                if text not in FUNCTIONS:
                    self._fail(token, f"function {quote(text)} not defined")
                return Function(text, at)
            case Kind.DOT:
                return Dot(at)
            case Kind.NIL:
                return Nil(at)
            case Kind.VARIABLE:
                if text not in self._names:
                    self._fail(token, f"undefined variable {quote(text)}")
                return Variable(text, (), at)
            case Kind.FIELD:
                return Field((text[1:],), at)
            case Kind.BOOL:
                return Literal(text == "true", text, at)
            case Kind.NUMBER:
                return Literal(self._number(token), text, at)
            case Kind.CHAR:
                char = self._string(token)
                if len(char) != 1:
                    self._fail(token, f"malformed character constant: {text}")
                return Literal(ord(char), text, at)
            case Kind.LEFT:
                self._deeper(token)
                pipe = self._pipe("parenthesized pipeline", Kind.RIGHT)
                self._depth -= 1
                return pipe
        return Literal(self._string(token), text, at)

    def _number(self, token: Token) -> int | float:
        text = token.text
        digits = text.lstrip("+-")
        if len(text) > 400 or not _NUMBER.fullmatch(digits):
            self._fail(token, f"bad number syntax: {quote(text[:40])}")
        if len(digits) > 1 and digits[0] == "0" and digits.isdecimal():
            if not set(digits) <= set("01234567"):
                self._fail(token, f"illegal number syntax: {quote(text)}")
            return int(digits, 8) * (-1 if text[0] == "-" else 1)
        try:
            whole = int(text, 0)
            if -(1 << 63) <= whole < 1 << 64:
                return whole
            self._fail(token, f"integer overflow: {quote(text)}")
        except ValueError:
            pass
        try:
            number = float.fromhex(text.replace("_", "")) if "p" in text.lower() else float(text)
            if math.isfinite(number):
                return number
            raise ValueError(text)
        except (ValueError, OverflowError):
            self._fail(token, f"illegal number syntax: {quote(text)}")

    def _string(self, token: Token) -> str:
        if token.kind is Kind.RAW:
            return token.text[1:-1].replace("\r", "")

        def unescaped(match: re.Match[str]) -> str:
            letter, byte, short, long, octal, wrong = match.groups()
            if letter:
                return _LETTERS[letter]
            code = int(byte or short or long or "0", 16) if not octal else int(octal, 8)
            if wrong is not None or code > 0x10FFFF or 0xD800 <= code < 0xE000:
                self._fail(token, "invalid syntax")
            return chr(code)

        return _ESCAPE.sub(unescaped, token.text[1:-1])


def _blank(block: Block) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in block)


__all__ = ["FUNCTIONS", "TemplateError", "Tree", "parse"]
