"""Which models an operator's filter file lets through: its text read, and a model's names held against its rules.

No file is opened here, and no request is judged: the index of names is built of what is admitted.

A rule is a name, or a pattern if it has a `*` or a `?`; `!` before it makes it exclude. Excludes beat includes, and
where there are no includes everything else is admitted. Letter case counts, in patterns too, as on every POSIX system.
A file may have a hundred thousand rules and a catalog thousands of models, so a pattern is tried only on names that
hold the rarest piece of its literal text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from arriero.routing.names import listed_name, proxy_name, tail_of

MAX_RULE = 1000
"""Characters of a rule; no model's name is as long."""

_LATEST = ":latest"
_WILD = re.compile(r"[*?]")
_HOLE = re.compile(r"\[!?\]?[^\]]*\]|[*?\[]")  # what stands in a pattern for other text than itself
_UNUSUAL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd\ufeff]")
_LETTERS = 3

FEW = 64
"""So many pieces of text are looked for one by one."""


class Fault(NamedTuple):
    """What is wrong with a line, and what to write. Never its text: the file may be another one than was meant."""

    line: int
    problem: str


def names_of(id: str) -> tuple[str, ...]:
    """The names by which a rule can mean a model: its id, the last segment and ollama-proxy's name, each without
    `:latest` and as an Ollama listing shows it.
    """
    plain = id.removesuffix(_LATEST)
    tail, proxys = tail_of(plain), proxy_name(plain)
    return tuple(dict.fromkeys((plain, listed_name(plain), tail, listed_name(tail), proxys, proxys + _LATEST)))


class ModelFilter:
    """The rules of one file. Two with the same rules are equal."""

    __slots__ = ("_excluding", "_including", "exclude", "include")

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self.include = frozenset(include)
        self.exclude = frozenset(exclude)
        self._including = _Rules(self.include)
        self._excluding = _Rules(self.exclude)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelFilter):
            return NotImplemented
        return self.include == other.include and self.exclude == other.exclude

    def __hash__(self) -> int:
        return hash((self.include, self.exclude))

    def __len__(self) -> int:
        """How many rules there are."""
        return len(self.include) + len(self.exclude)

    def __repr__(self) -> str:
        return f"ModelFilter({len(self.include)} include, {len(self.exclude)} exclude)"

    def admit(self, id: str) -> bool:
        """Whether a model of this id may be seen and used."""
        if not self.include and not self.exclude:
            return True
        names = names_of(id)
        if self._excluding.fit(names):
            return False
        return not self.include or self._including.fit(names)


class _Rules:
    """Rules of which one has to fit."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, rules: frozenset[str]) -> None:
        patterns = frozenset(rule for rule in rules if _WILD.search(rule))
        self._exact = rules - patterns
        self._globs = Globs(patterns)

    def fit(self, names: Collection[str]) -> bool:
        return not self._exact.isdisjoint(names) or any(map(self._globs.fit, names))


class _Piece(NamedTuple):
    """Literal text of a pattern, and whether a name starts or ends with it or holds it anywhere."""

    place: str
    text: str


class Globs:
    """Patterns as `fnmatch` has them, each found by that piece of its literal text which the fewest of them share."""

    __slots__ = ("_ends", "_everywhere", "_middles", "_starts")

    def __init__(self, patterns: Collection[str]) -> None:
        pieces = {pattern: tuple(_pieces(pattern)) for pattern in patterns}
        shared = Counter(piece for found in pieces.values() for piece in found)
        places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._everywhere: list[str] = []  # nothing literal is in them
        for pattern, found in pieces.items():
            if found:
                place, text = min(found, key=lambda piece: (shared[piece], -len(piece.text)))
                places[place][text].append(pattern)
            else:
                self._everywhere.append(pattern)
        self._starts = _Pieces(places["start"])
        self._ends = _Pieces({text[::-1]: found for text, found in places["end"].items()})
        self._middles = _Pieces(places["middle"])

    def fit(self, name: str) -> bool:
        """Whether one of them matches the whole name."""
        return any(_matches(name, pattern) for pattern in self.tried(name))

    def tried(self, name: str) -> Iterator[str]:
        """Those that may match it, each once."""
        yield from self._everywhere
        if self._starts:
            yield from self._starts.at(name, 0)
        if self._ends:
            yield from self._ends.at(name[::-1], 0)
        if self._middles:
            yield from self._middles.anywhere(name)


class _Pieces:
    """Patterns by a piece of text that a name has to hold; its first letters tell how long it may be."""

    __slots__ = ("_by_text", "_lengths", "_letters")

    def __init__(self, by_text: dict[str, list[str]]) -> None:
        self._by_text = dict(by_text)
        lengths: dict[str, set[int]] = defaultdict(set)
        for text in by_text:
            lengths[text[:_LETTERS]].add(len(text))
        self._lengths = {letters: sorted(found) for letters, found in lengths.items()}
        self._letters = sorted({len(letters) for letters in lengths})

    def __len__(self) -> int:
        return len(self._by_text)

    def at(self, name: str, place: int) -> Iterator[str]:
        """Those whose text stands at this place of the name."""
        left = len(name) - place
        for letters in self._letters:
            if letters > left:
                return
            for length in self._lengths.get(name[place : place + letters], ()):
                if length > left:
                    break
                yield from self._by_text.get(name[place : place + length], ())

    def anywhere(self, name: str) -> Iterator[str]:
        """Those whose text stands somewhere in the name."""
        if len(self._by_text) <= FEW:
            texts: Iterable[str] = (text for text in self._by_text if text in name)
        else:
            # A piece may stand there several times.
            texts = {
                name[place : place + length]
                for letters in self._letters
                for place in range(len(name) - letters + 1)
                for length in self._lengths.get(name[place : place + letters], ())
            }
        for text in texts:
            yield from self._by_text.get(text, ())


def _pieces(pattern: str) -> Iterator[_Piece]:
    first, *middle, last = _HOLE.split(pattern)  # a pattern has a hole, so there are two at least
    if first:
        yield _Piece("start", first)
    if last:
        yield _Piece("end", last)
    for text in middle:
        if text:
            yield _Piece("middle", text)


def _matches(name: str, pattern: str) -> bool:
    """As `fnmatchcase` says. Patterns of `*` alone, nearly all, get no regular expression: making one takes longer than
    all the rest.
    """
    if "?" in pattern or "[" in pattern:
        return fnmatchcase(name, pattern)
    first, *middle, last = pattern.split("*")
    place, end = len(first), len(name) - len(last)
    if end < place or not name.startswith(first) or not name.endswith(last):
        return False
    for text in middle:
        found = name.find(text, place, end)
        if found < 0:
            return False
        place = found + len(text)
    return True


EVERYTHING = ModelFilter()
"""No rules."""


def parse(text: str) -> tuple[ModelFilter, tuple[Fault, ...]]:
    """The rules of a filter file, and what is wrong with its lines. A line that makes no rule is left out."""
    include: list[str] = []
    exclude: list[str] = []
    faults: list[Fault] = []
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        excludes = rule.startswith("!")
        name = rule[1:].lstrip() if excludes else rule
        if (problem := _no_rule(name)) is not None:
            faults.append(Fault(number, f"{problem}; the line is left out"))
            continue
        if (problem := _doubtful(name)) is not None:
            faults.append(Fault(number, problem))
        (exclude if excludes else include).append(name)
    return ModelFilter(include, exclude), tuple(faults)


def _no_rule(name: str) -> str | None:
    """Why a line cannot be a rule."""
    if not name:
        return "a ! excludes what stands behind it, and nothing does: write !gpt-4o:latest or the like"
    if len(name) > MAX_RULE:
        return f"it has more than {MAX_RULE} characters, and no name has so many: write one name or pattern a line"
    if found := _UNUSUAL.search(name):
        return f"it holds the character U+{ord(found[0]):04X}, which no name has: write it as plain text in UTF-8"
    return None


def _doubtful(name: str) -> str | None:
    """What may be meant in another way than it is read."""
    if len(name.split(None, 1)) > 1:
        return "blanks are part of a name here: write one name a line, and comments on lines of their own"
    if "[" in name and not _WILD.search(name):
        return "this is read as a name: [..] stands for one of its letters only where a * or a ? is in the line"
    return None
