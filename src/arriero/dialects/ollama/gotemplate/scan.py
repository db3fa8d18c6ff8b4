"""Go template text to tokens: text, and what stands between `{{` and `}}`. Trimming and comments end here."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

from msgspec import Struct

from arriero.dialects.ollama.gotemplate.faults import PIECES, TEXT_CHARS, TemplateError, unreadable


class Kind(Enum):
    """What a token is; the value is how errors call it."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    SPACE = "space"
    NUMBER = "number"
    STRING = "string"
    RAW = "raw string"
    CHAR = "character constant"
    FIELD = "field"
    VARIABLE = "variable"
    WORD = "identifier"
    KEYWORD = "keyword"
    BOOL = "bool"
    NIL = "nil"
    DOT = "."
    LEFT = "("
    RIGHT = ")"
    PIPE = "|"
    DECLARE = ":="
    ASSIGN = "="
    OTHER = "character"
    FAULT = "fault"
    END = "EOF"


class Token(Struct, frozen=True):
    """A piece of the source and its offset; of a FAULT, what is wrong there."""

    kind: Kind
    text: str
    at: int


KEYWORDS: Final = frozenset({"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"})
SPACES: Final = " \t\r\n"

_TOKENS: Final = (
    (Kind.SPACE, r"[ \t\r\n]+"),
    (Kind.DECLARE, r":="),
    (Kind.ASSIGN, r"="),
    (Kind.PIPE, r"\|"),
    (Kind.LEFT, r"\("),
    (Kind.RIGHT, r"\)"),
    (Kind.STRING, r'"(?:[^"\\\n]|\\[^\n])*"'),
    (Kind.RAW, r"`[^`]*`"),
    (Kind.CHAR, r"'(?:[^'\\\n]|\\[^\n])*'"),
    (Kind.NUMBER, r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[bB][01_]*|0[oO][0-7_]*|"
     r"\.?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?\w*"),
    (Kind.FIELD, r"\.\w+"),
    (Kind.DOT, r"\."),
    (Kind.VARIABLE, r"\$\w*"),
    (Kind.WORD, r"\w+"),
    # What no rule takes is the parser's to complain of.
    (Kind.OTHER, r"[!#%&*+,\-/;<>?@\[\\\]^{}~]"),
)  # fmt: skip
_TOKEN: Final = re.compile("|".join(f"(?P<{kind.name}>{pattern})" for kind, pattern in _TOKENS))
_UNFINISHED: Final = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}
# Words end where one of these stands: `.A+.B` is no sum.
_ENDS: Final = frozenset(SPACES + ".,|:()=")
_WORDS: Final = frozenset({Kind.FIELD, Kind.VARIABLE, Kind.WORD, Kind.NUMBER})


class _Unscannable(Exception):
    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


def scan(text: str) -> list[Token]:
    """All tokens, the last of them END, or FAULT where none can be read: what stands before it may be wrong too.

    Raises `TemplateError` for a template that is too large.
    """
    if len(text) > TEXT_CHARS:
        raise TemplateError(f"the template is longer than {TEXT_CHARS} characters")
    tokens: list[Token] = []
    try:
        for token in _scan(text):
            tokens.append(token)
            if len(tokens) > PIECES:
                raise unreadable(text, token.at, f"the template has more than {PIECES} tokens")
    except _Unscannable as fault:
        tokens.append(Token(Kind.FAULT, fault.message, fault.at))
    return tokens


def _scan(text: str) -> Iterator[Token]:
    at, trim = 0, False
    while True:
        left = text.find("{{", at)
        piece = text[at:] if left < 0 else text[at:left]
        start = at
        if trim:
            start += len(piece) - len(piece.lstrip(SPACES))
            piece = piece.lstrip(SPACES)
        if left >= 0 and _trims_left(text, left):
            piece = piece.rstrip(SPACES)
        if piece:
            yield Token(Kind.TEXT, piece, start)
        if left < 0:
            yield Token(Kind.END, "", len(text))
            return
        inside = left + 2 + (2 if _trims_left(text, left) else 0)
        if text.startswith("/*", inside):
            at, trim = _comment(text, inside)
            continue
        yield Token(Kind.OPEN, "{{", left)
        at = inside
        while True:
            found = _closing(text, at)
            if found is not None:
                yield Token(Kind.CLOSE, "}}", at)
                at, trim = found
                break
            token = _token(text, at)
            yield token
            at += len(token.text)


def _trims_left(text: str, left: int) -> bool:
    return text.startswith("-", left + 2) and text[left + 3 : left + 4] in tuple(SPACES)


def _closing(text: str, at: int) -> tuple[int, bool] | None:
    """Past the closing mark at an offset, and whether it trims; `None` where there is none."""
    if text.startswith("}}", at):
        return at + 2, False
    if text[at : at + 1] in tuple(SPACES) and text.startswith("-}}", at + 1):
        return at + 4, True
    return None


def _comment(text: str, at: int) -> tuple[int, bool]:
    end = text.find("*/", at + 2)
    if end < 0:
        raise _Unscannable(at, "unclosed comment")
    found = _closing(text, end + 2)
    if found is None:
        raise _Unscannable(at, "comment ends before closing delimiter")
    return found


def _token(text: str, at: int) -> Token:
    match = _TOKEN.match(text, at)
    if match is None:
        char = text[at : at + 1]
        if not char:
            raise _Unscannable(at, "unclosed action")
        if char in _UNFINISHED:
            raise _Unscannable(at, _UNFINISHED[char])
        if char == ":":
            raise _Unscannable(at, "expected :=")
        raise _Unscannable(at, f"unrecognized character in action: {_named(char)}")
    kind = Kind[match.lastgroup or ""]
    piece = match.group()
    if kind is Kind.SPACE:
        # A trimming close begins with the last space.
        if len(piece) > 1 and text.startswith("-}}", match.end()):
            piece = piece[:-1]
        return Token(kind, piece, at)
    if kind in _WORDS:
        after = text[match.end() : match.end() + 1]
        if after and after not in _ENDS and not text.startswith("}}", match.end()):
            raise _Unscannable(at, f"bad character {_named(after)}")
    if kind is Kind.WORD:
        if piece in KEYWORDS:
            kind = Kind.KEYWORD
        elif piece in ("true", "false"):
            kind = Kind.BOOL
        elif piece == "nil":
            kind = Kind.NIL
    return Token(kind, piece, at)


def _named(char: str) -> str:
    return f"U+{ord(char):04X} '{char}'" if char.isprintable() else f"U+{ord(char):04X}"
