"""The configuration file: YAML to plain values, with the line of each key, and `${VAR}` filled in.

What the keys mean is not known here. Every problem is gathered; texts never repeat a value.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from arriero.config.problems import Location, dotted

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_QUOTED = re.compile(r"'[^'<>\s]{2,}'")


MAX_VALUES = 100_000
"""No configuration has as many; a few lines of aliases to aliases have more than memory holds."""


class _TooLong(Exception):
    """More values than are believed."""


class Contents(NamedTuple):
    """What a file says. `lines` has the line (from 1) of every key and list item; `problems` are sentences."""

    data: dict[str, Any]
    lines: dict[Location, int]
    problems: tuple[str, ...]
    faulty: frozenset[Location] = frozenset()
    """Where a value is not what the file meant, because of a problem."""


def read(path: Path, variables: Mapping[str, str]) -> Contents:
    """Read one file; `variables` fills `${NAME}`. An empty file says nothing and is no problem."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return Contents({}, {}, (f"{path}: cannot be read: {error.strerror or type(error).__name__}",))
    except UnicodeDecodeError:
        return Contents({}, {}, (f"{path}: is not UTF-8 text",))
    return parse(text, str(path), variables)


def parse(text: str, name: str, variables: Mapping[str, str]) -> Contents:
    """The text of a file; `name` stands before every problem."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError:
        return Contents({}, {}, (f"{name}: is not YAML: it holds a character that YAML does not allow",))
    try:
        node = loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
            return Contents({}, {}, ())
        if not isinstance(node, yaml.MappingNode):
            return Contents({}, {}, (f"{name}:{node.start_mark.line + 1}: the top is not a mapping of keys to values",))
        builder = _Builder(loader, name, variables)
        data = builder.mapping(node, ())
        return Contents(data, builder.lines, tuple(builder.problems), frozenset(builder.faulty))
    except yaml.MarkedYAMLError as error:
        return Contents({}, {}, (_syntax(error, name),))
    except RecursionError:
        return Contents({}, {}, (f"{name}: is nested too deeply",))
    except _TooLong:
        return Contents({}, {}, (f"{name}: has more than {MAX_VALUES} values, aliases unfolded",))
    finally:
        loader.dispose()


def _syntax(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    # The parser quotes what it stumbles over (an alias, a tag): that may be a piece of a secret.
    said = error.problem or error.context or "it cannot be parsed"
    what = "a tab stands where only spaces may" if r"'\t'" in said else _QUOTED.sub("that", said)
    return f"{where}: is not YAML: {what}"


class _Builder:
    """Walks the node graph; keys keep their text, so that `on:` and `1:` are names like any other."""

    def __init__(self, loader: yaml.SafeLoader, name: str, variables: Mapping[str, str]) -> None:
        self.lines: dict[Location, int] = {}
        self.problems: list[str] = []
        self.faulty: set[Location] = set()
        self._loader = loader
        self._name = name
        self._variables = variables
        self._open: set[int] = set()
        self._count = 0

    def _problem(self, node: yaml.Node, location: Location, what: str) -> None:
        where = dotted(location)
        self.faulty.add(location)
        self.problems.append(f"{self._name}:{node.start_mark.line + 1}: " + (f"{where}: " if where else "") + what)

    def _value(self, node: yaml.Node, location: Location) -> Any:
        if id(node) in self._open:
            self._problem(node, location, "refers to itself")
            return None
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooLong
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, location)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, location)
            return self._scalar(node, location)
        finally:
            self._open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                text = f"is given twice, first in line {seen[key.value]}"
                self._problem(key, (*location, key.value), text)
            seen.setdefault(key.value, key.start_mark.line + 1)
        self._loader.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, location, "a key is not a plain text")
                continue
            here = (*location, key.value)
            self.lines[here] = key.start_mark.line + 1
            data[key.value] = self._value(value, here)
        return data

    def _sequence(self, node: yaml.SequenceNode, location: Location) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            here = (*location, position)
            self.lines[here] = item.start_mark.line + 1
            items.append(self._value(item, here))
        return items

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if isinstance(node.value, str) and "${" in node.value:
            # What a variable says stays text: a key of digits is not a number, and "no" is not false.
            return _REFERENCE.sub(lambda match: self._fill(match, node, location), node.value)
        try:
            return self._loader.construct_object(node)
        except yaml.MarkedYAMLError:
            self._problem(node, location, "has a tag that is not known here; a text that starts with ! needs quotes")
        except ValueError:
            self._problem(node, location, "looks like a date and is none; a text needs quotes here")
        return None

    def _fill(self, match: re.Match[str], node: yaml.Node, location: Location) -> str:
        escaped, body = match.groups()
        if escaped:
            return match.group(0)[1:]
        reference = _VARIABLE.fullmatch(body)
        if reference is None:
            self._problem(node, location, "holds a ${...} that is neither ${NAME} nor ${NAME:-default}")
            return ""
        name, default = reference.groups()
        value = self._variables.get(name)
        if default is not None:
            return value or default
        if value is None:
            self._problem(node, location, f"the variable {name} is not set")
            return ""
        return value
