"""An Olla configuration file and Olla's variables as read values, key by key: what is said, and where.

Unknown keys and values that cannot be read become problems, keys that are not honoured become warnings. What a value
does to arriero is not known here.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arriero.config import file
from arriero.config.environment import Origin, Variables
from arriero.config.olla_keys import FILE_VARIABLE, KEYS, OTHER_VARIABLES, VARIABLES, Key
from arriero.config.problems import Location, dotted, nearest

OLLA = Origin("default", "Olla's default")
"""The origin of what holds because Olla does so unasked."""


class Said(NamedTuple):
    """A value in arriero's units. `place` names the file, the line and the key, or the variable."""

    value: Any
    origin: Origin
    place: str


class Reading:
    """What was said, by location in Olla's file (`("server", "port")`)."""

    def __init__(self, path: Path, lines: dict[Location, int]) -> None:
        self.said: dict[Location, Said] = {}
        self.lengths: dict[Location, int] = {}
        """Each list of mappings to its number of items."""
        self.faulty: set[Location] = set()
        """Where something stands that could not be read; its problem is known."""
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._path = path
        self._lines = lines

    def find(self, *location: str | int) -> Said | None:
        """What is said there."""
        return self.said.get(location)

    def value(self, *location: str | int) -> Any:
        """The value that is said there, or `None`."""
        found = self.said.get(location)
        return found.value if found else None

    def below(self, *location: str | int) -> Iterator[tuple[str, Said]]:
        """What is said directly below, by name."""
        for where, said in self.said.items():
            if where[:-1] == location:
                yield str(where[-1]), said

    def origin(self, location: Location) -> Origin:
        """Where a part of the file stands, without the folder: `config.yaml:12`."""
        line = self._line(location)
        return Origin("file", f"{self._path.name}:{line}" if line else self._path.name)

    def place(self, location: Location) -> str:
        """Where a part of the file stands: the whole path, the line, the key."""
        line = self._line(location)
        return f"{self._path}:{line}: {dotted(location)}" if line else f"{self._path}: {dotted(location)}"

    def problem(self, location: Location, text: str) -> None:
        """Something stands there that cannot be used."""
        self.faulty.add(location)
        self.problems.append(f"{self.place(location)}: {text}")

    def warn(self, location: Location, text: str) -> None:
        """Something stands there that does not do what it does in Olla."""
        self.warnings.append(f"{self.origin(location)}: {dotted(location)} {text}")

    def _line(self, location: Location) -> int | None:
        return next(
            (self._lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in self._lines), None
        )


def read(path: Path, variables: Variables) -> Reading:
    """The file with the variables over it; `variables` fill `${NAME}` as well."""
    filling = _Filling(variables.exact)
    contents = file.read(path, filling)
    reading = Reading(path, contents.lines)
    reading.problems += contents.problems
    reading.faulty |= contents.faulty
    _walk(reading, contents.data, _TREE, ())
    _take_variables(reading, variables, filling.used)
    return reading


class _Filling(dict[str, str]):
    """The variables that may fill `${NAME}`, and which of them the file has `used`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.used: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.used.add(name)
        return super().get(name, default)


# ---- the file ------------------------------------------------------------------------------------------------------

_Tree = dict[str, Any]
"""Name to a `Key` or to the tree below; `[]` is every item of a list, `*` any name."""


def _tree() -> _Tree:
    top: _Tree = {}
    for key in KEYS:
        *sections, last = key.name.replace("[]", ".[]").split(".")
        node = top
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = key
    return top


_TREE = _tree()


def _walk(reading: Reading, data: Any, tree: _Tree | Key, location: Location) -> None:
    if data is None or location in reading.faulty:
        return  # a section whose lines are all comments says nothing
    if isinstance(tree, Key):
        _take(reading, tree, data, location)
    elif "[]" in tree:
        if not isinstance(data, list):
            reading.problem(location, "is not a list")
            return
        reading.lengths[location] = len(data)
        for position, item in enumerate(data):
            _walk(reading, item, tree["[]"], (*location, position))
    elif not isinstance(data, dict):
        reading.problem(location, "is not a mapping of keys to values")
    else:
        for name, value in data.items():
            if (below := tree.get(name, tree.get("*"))) is not None:
                _walk(reading, value, below, (*location, name))
            else:
                _unknown(reading, (*location, name), tree)


def _unknown(reading: Reading, location: Location, tree: _Tree) -> None:
    near = nearest(str(location[-1]), tree)
    reading.problem(location, f"unknown key, in Olla too; the nearest known one is {near!r}")


def _take(reading: Reading, key: Key, value: Any, location: Location) -> None:
    try:
        found = key.read(value)
    except ValueError as error:
        reading.problem(location, str(error))
        return
    reading.said[location] = Said(found, reading.origin(location), reading.place(location))
    if key.ignored and found not in key.agrees:
        reading.warn(location, f"is ignored: {key.does}")


# ---- the variables -------------------------------------------------------------------------------------------------

_KEYS = {key.name: key for key in KEYS}


def _take_variables(reading: Reading, variables: Variables, used: Collection[str]) -> None:
    """A variable that cannot be read is an error; Olla starts without it and says nothing."""
    for row in VARIABLES:
        if (found := variables.find(row.name)) is None:
            continue
        key = _KEYS[row.key]
        try:
            value = (row.read or key.read)(found.value)
        except ValueError as error:
            reading.problems.append(f"{found.origin} ({key.name}): {error}")
            continue
        reading.said[tuple(key.name.split("."))] = Said(value, found.origin, f"{found.origin} ({key.name})")
        if key.ignored and value not in key.agrees:
            reading.warnings.append(f"{found.origin} is ignored: {key.does}")
    for name, why in OTHER_VARIABLES.items():
        if (found := variables.find(name)) is not None:
            reading.warnings.append(f"{found.origin} is ignored: {why}")
    known = {row.name for row in VARIABLES} | OTHER_VARIABLES.keys() | {FILE_VARIABLE}
    for name in sorted(variables.exact):
        if name.upper().startswith("OLLA_") and name.upper() not in known and name not in used:
            near = nearest(name.upper(), sorted(known))
            reading.warnings.append(f"{name} is no variable of Olla's and is ignored; the nearest one is {near}")
