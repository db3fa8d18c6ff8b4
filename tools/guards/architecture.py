"""The floors of the house: a room imports only from floors below it, and neighbours on one floor never meet.

Every import counts: at the top of a file, inside a function, under `TYPE_CHECKING`, relative, and a constant name given
to `import_module`. A room is the first name behind `arriero`: a package or a module.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tools.guards.finding import Finding

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "canonical", "wire"),
    ("dialects", "routing", "filters"),
    ("backends", "store"),
    ("gateway",),
    ("server",),
)
"""The rooms, floor by floor from the ground up."""

TOP = frozenset(
    {
        "__main__",
        "ask",
        "banner",
        "calling",
        "cli",
        "compose",
        "config",
        "conformance",
        "discovery",
        "holdings",
        "logs",
        "pending",
        "ports",
        "probe",
        "pull",
        "reload",
        "run",
        "showing",
        "telling",
        "top",
        "watching",
    }
)
"""Above all floors. These are one room: they may meet each other."""

ROOT = "arriero"
"""The package itself holds the version and nothing else; every room may read it."""

UPWARD = "a room imports only from floors below it"
SIDEWAYS = "neighbours on one floor never meet"
NOWHERE = "every room has its floor in the table of tools/guards/architecture.py"


def height(room: str) -> int | None:
    """The floor of a room, 0 at the ground; `None` for a room that stands nowhere."""
    if room in TOP:
        return len(FLOORS)
    return next((floor for floor, rooms in enumerate(FLOORS) if room in rooms), None)


def check(root: Path) -> list[Finding]:
    """Every arrow under `root`/src/arriero that runs upward or sideways, and every room without a floor."""
    source = root / "src" / ROOT
    found: list[Finding] = []
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).with_suffix("").parts
        shown = path.relative_to(root).as_posix()
        own = module[0]
        if own != "__init__" and height(own) is None:
            found.append(Finding(shown, 0, f"{NOWHERE}: {own} has none"))
            continue
        tree = ast.parse(path.read_bytes(), filename=shown)
        package = (ROOT, *module[:-1])
        for line, target in imports(tree, package):
            finding = _judge(own, target)
            if finding is not None:
                found.append(Finding(shown, line, finding))
    return found


def imports(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Every room that a module imports, with the line. `package` is the module's own package, for relative imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for name in names:
                    yield from _rooms(node.lineno, tuple(name.name.split(".")))
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else ()
                path = (*base, *(module.split(".") if module else ()))
                for name in names:
                    yield from _rooms(node.lineno, (*path, name.name))
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(text)), *_],
            ):
                yield from _rooms(node.lineno, tuple(text.split(".")))


def _rooms(line: int, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    # `from arriero import __version__` reads the package, not a room.
    if path[0] == ROOT and len(path) > 1 and (path[1] == "__main__" or not path[1].startswith("__")):
        yield line, path[1]


def _judge(own: str, target: str) -> str | None:
    """The sentence of the rule that `own` importing `target` breaks, if any."""
    if target == own:
        return None
    to = height(target)
    if to is None:
        return f"{NOWHERE}: {target} has none"
    if own == "__init__":
        return f"{UPWARD}: the package itself imports {target}"
    at = height(own)
    if at is None or to < at or (own in TOP and target in TOP):
        return None
    if to == at:
        return f"{SIDEWAYS}: {own} imports {target}"
    return f"{UPWARD}: {own} (floor {at}) imports {target} (floor {to})"
