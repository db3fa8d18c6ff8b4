"""Tests mirror the source file by file: `src/arriero/a/b.py` has `tests/a/test_b.py`.

No test file outlives its module. A test of one aspect of a module may stand beside its mirror as `test_b_<aspect>.py`.
The mirror of a package's `__init__.py` is `test_init.py`; one that only gathers and assigns needs none.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

from tools.guards.finding import Finding

WITHOUT: Mapping[str, str] = {
    "__main__.py": "one call of cli.main; the end-to-end tests run it as a process",
    "canonical/catalog.py": "values without behaviour",
    "canonical/events.py": "values without behaviour",
    "canonical/requests.py": "values without behaviour",
    "gateway/door.py": "a value without behaviour",
    "server/front.py": "a protocol without behaviour",
}
"""Modules without a test file of their own, each with the reason."""

NOT_MIRRORS: Mapping[str, str] = {
    "laws": "laws that hold over every dialect and every recording",
    "tools": "tests of tools/, which is not shipped",
    "benchmarks": "tests of benchmarks/, which is not shipped",
    "support": "what tests share, and the tests of that",
    "e2e": "the real program as a process, with real clients",
    "docs": "documents are checked against the source",
}
"""Folders under tests/ whose files mirror no module."""

MISSING = "each source module has its test file"
STALE = "a test file mirrors a module that is there"
UNUSED = "an exception names a module that is there and has no test file"


def check(root: Path, without: Mapping[str, str] = WITHOUT) -> list[Finding]:
    """Modules without their test file, test files without their module, exceptions that have become untrue."""
    source, tests = root / "src" / "arriero", root / "tests"
    found: list[Finding] = []
    modules = {path.relative_to(source) for path in source.rglob("*.py")}
    for module in sorted(modules):
        mirror = mirror_of(module)
        shown = (Path("src/arriero") / module).as_posix()
        if (tests / mirror).exists():
            continue
        if module.as_posix() in without or (module.name == "__init__.py" and only_gathers(source / module)):
            continue
        found.append(Finding(shown, 0, f"{MISSING}: tests/{mirror.as_posix()} is not there"))
    for path in sorted(tests.rglob("test_*.py")):
        test = path.relative_to(tests)
        if test.parts[0] not in NOT_MIRRORS and not any(module in modules for module in _mirrored(test)):
            found.append(Finding(f"tests/{test.as_posix()}", 0, f"{STALE}: src/arriero has no such module"))
    for name, reason in without.items():
        if Path(name) not in modules and name != "__main__.py":
            found.append(Finding("tools/guards/mirrors.py", 0, f"{UNUSED}: {name} ({reason}) is not there"))
        elif (tests / mirror_of(Path(name))).exists():
            found.append(Finding("tools/guards/mirrors.py", 0, f"{UNUSED}: {name} ({reason}) has one"))
    return found


def mirror_of(module: Path) -> Path:
    """The test file of a module, both relative to their own roots."""
    stem = "init" if module.name == "__init__.py" else module.stem.strip("_")
    return module.with_name(f"test_{stem}.py")


def _mirrored(test: Path) -> list[Path]:
    """The modules that a test file may stand for: `test_a_b.py` for `a_b.py`, `a.py`, and their underscored forms."""
    words = test.stem.removeprefix("test_").split("_")
    stems = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    names = [name for stem in stems for name in (stem, f"__{stem}__", f"_{stem}")]
    return [test.with_name(f"{name}.py") for name in names]


def only_gathers(path: Path) -> bool:
    """Whether a module holds nothing but a docstring, imports and assignments."""
    tree = ast.parse(path.read_bytes())
    gathers = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return all(
        isinstance(node, gathers) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )
