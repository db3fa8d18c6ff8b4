"""The raw configuration while it is put together: values in the shape of the file, and the origin of each.

Which source wins is decided by the order of calls, in `sources`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from arriero.config.environment import DEFAULT, DOTENV, ENVIRONMENT, Found, Origin
from arriero.config.local import is_own_address
from arriero.config.problems import ConfigError, Location, dotted, explain
from arriero.config.schema import Config

if TYPE_CHECKING:
    from arriero.config.file import Contents

Value = TypeVar("Value")

_PATHS = frozenset({"models_dir", "filter_file", "ca_file", "script"})
_MODELS_DIR = ".arriero/models"


def expanded(text: str, base: Path, home: Path) -> Path:
    """A path as typed, from the folder it is relative to, with `~` as the home folder."""
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return base / text


class Draft:
    """Raw values in the shape of the file, with the origin of each, until the model looks at them."""

    def __init__(self, cwd: Path, home: Path) -> None:
        self.data: dict[str, Any] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._origins: dict[Location, Origin] = {}
        self._places: dict[Location, str] = {}
        self._lines: Mapping[Location, int] = {}
        self._faulty: frozenset[Location] = frozenset()
        self._file = ""
        self._left_out: set[int] = set()
        self._cwd = cwd
        self._home = home

    # ---- filling ---------------------------------------------------------------------------------------------------

    def take_file(self, path: Path, contents: "Contents") -> None:
        self._file, self._lines, self._faulty = str(path), contents.lines, contents.faulty
        # A section whose lines are all comments is None in YAML, and says nothing.
        self.data = {key: value for key, value in contents.data.items() if value is not None}
        self._origins.update({where: Origin("file", f"{path.name}:{line}") for where, line in contents.lines.items()})
        for holder, key in _path_fields(self.data):
            holder[key] = str(expanded(holder[key], path.parent, self._home))

    def backends(self) -> list[Any]:
        """The raw entries; a shape that is not a list is left for the model to refuse."""
        entries = self.data.setdefault("backends", [])
        return entries if isinstance(entries, list) else []

    def entries(self, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for position, entry in enumerate(self.backends()):
            if isinstance(entry, dict) and entry.get("kind") == kind:
                yield position, entry

    def add(
        self, entry: dict[str, Any], origins: Mapping[str, Origin], places: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Add a backend. `origins` and `places` are by the entry's keys, dotted where they are in a section of it."""
        where = ("backends", len(self.backends()))
        self.backends().append(entry)
        self._origins.update({(*where, *key.split(".")): origin for key, origin in origins.items()})
        self._places.update({(*where, *key.split(".")): place for key, place in places.items()})

    def set(self, setting: str, value: Any, origin: Origin, place: str = "") -> bool:
        """Set a dotted setting; `engine.x` goes to every engine. False where there is none to go to.

        `place` is what a problem with the value names, where that is not the setting: a key of another program's file.
        """
        if setting.rpartition(".")[2] in _PATHS and value is not None:
            value = str(expanded(value, self._cwd, self._home))
        if setting.startswith("engine."):
            engines = list(self.entries("engine"))
            for position, entry in engines:
                self.put(("backends", position), entry, setting.removeprefix("engine."), value, origin, place)
            return bool(engines)
        *sections, key = setting.split(".")
        holder = self.data
        for section in sections:
            holder = holder.setdefault(section, {})
            if not isinstance(holder, dict):
                return True  # the model refuses the section
        self.put(tuple(sections), holder, key, value, origin, place)
        if setting in ("server.host", "server.port"):
            holder.pop("listen", None)
        return True

    def put(
        self, where: Location, holder: dict[str, Any], key: str, value: Any, origin: Origin, place: str = ""
    ) -> None:
        holder[key] = value
        self._origins[(*where, key)] = origin
        self._places.pop((*where, key), None)
        if place:
            self._places[(*where, key)] = place

    def read(self, found: Found, parse: Callable[[str], Value]) -> Value | None:
        """What a variable or a flag says; where that cannot be read, `None` and a problem."""
        try:
            return parse(found.value)
        except ValueError as error:
            self.problems.append(f"{found.origin}: {error}")
            return None

    def origin(self, where: Location) -> Origin:
        """Where a value came from, so far."""
        return self._origins.get(where, DEFAULT)

    def leave_out(self, position: int) -> None:
        """Take a backend away. It is looked at like the others: a mistake in it is still told."""
        self._left_out.add(position)

    # ---- ending ----------------------------------------------------------------------------------------------------

    def finish(self) -> tuple[Config, dict[str, Origin]]:
        """The configuration and the origin of each setting by its dotted name. Raises `ConfigError`."""
        for _, entry in self.entries("engine"):
            entry.setdefault("models_dir", str(self._home / _MODELS_DIR))
        try:
            config = Config.model_validate(self.data)
        except ValidationError as error:
            self.problems += explain(error, self._place, self._faulty)
            raise ConfigError(self.problems) from None
        origins = self._named_origins(config)
        if self._left_out:
            kept = (one for position, one in enumerate(config.backends) if position not in self._left_out)
            config = config.model_copy(update={"backends": tuple(kept)})
        config = self._without_itself(config, origins)
        if self.problems:
            raise ConfigError(self.problems)
        return config, origins

    def _place(self, location: Location) -> str:
        for length in range(len(location), 0, -1):
            if (place := self._places.get(location[:length])) is not None:
                return place
            origin = self._origins.get(location[:length])
            if origin is not None and origin.kind != "file":
                return str(origin)  # the setting's path means nothing to who has typed a flag or set a variable
            if location[:length] in self._lines:
                return f"{self._file}:{self._lines[location[:length]]}: {dotted(location)}"
        return f"{self._file}: {dotted(location)}" if self._file else dotted(location)

    def _named_origins(self, config: Config) -> dict[str, Origin]:
        named = {}
        for where, origin in self._origins.items():
            if where[0] == "backends" and len(where) > 1 and isinstance(where[1], int):
                where = ("backends", config.backends[where[1]].name, *where[2:])
            named[".".join(str(item) for item in where)] = origin
        return named

    def _without_itself(self, config: Config, origins: Mapping[str, Origin]) -> Config:
        """A backend that is arriero would make every request go round for ever."""
        kept = []
        for backend in config.backends:
            url = getattr(backend, "url", None)
            if url is None or not is_own_address(config, url):
                kept.append(backend)
                continue
            origin = origins.get(f"backends.{backend.name}.url", DEFAULT)
            if origin.kind in (ENVIRONMENT, DOTENV):
                hint = "" if backend.kind != "ollama" else "; give arriero another PORT, or Ollama another address"
                self.warnings.append(f"{origin} leads to arriero itself: the backend {backend.name} is left out{hint}")
            else:
                self.problems.append(f"{origin}: the URL of the backend {backend.name} leads to arriero itself")
        return config if len(kept) == len(config.backends) else config.model_copy(update={"backends": tuple(kept)})


def _path_fields(data: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place in the raw file that holds a path as text."""
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from _path_fields(value)
    if isinstance(data, dict):
        yield from ((data, key) for key in _PATHS & data.keys() if isinstance(data[key], str) and data[key])
