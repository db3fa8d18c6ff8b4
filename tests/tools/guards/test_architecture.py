"""The guard of the floors fails where it has to, and names file, line and rule."""

from pathlib import Path

import pytest

from tools.guards import architecture
from tools.guards.finding import Finding

SIDEWAYS = "neighbours on one floor never meet"


def house(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "src" / "arriero" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_downward_arrows_are_right(tmp_path: Path) -> None:
    root = house(
        tmp_path,
        {
            "__init__.py": '__version__ = "1"\n',
            "errors.py": "import enum\n",
            "dialects/base.py": "from arriero.errors import ArrieroError\nfrom arriero import wire\n",
            "wire/splice.py": "from arriero.wire.framing import x\nfrom . import framing\n",
            "backends/http/pool.py": "from arriero import __version__\nimport arriero.dialects.base\n",
            "server/app.py": "from arriero.gateway import exchange\n",
            "cli.py": "from arriero.config import load\nfrom arriero.server.app import build\n",
            "config.py": "import os\n",
        },
    )
    assert architecture.check(root) == []


@pytest.mark.parametrize(
    ("name", "text", "line", "rule"),
    [
        (
            "dialects/a.py",
            "import json\nfrom arriero.server import app\n",
            2,
            "a room imports only from floors below it: dialects (floor 1) imports server (floor 4)",
        ),
        (
            "gateway/a.py",
            "from arriero.config import Settings\n",
            1,
            "a room imports only from floors below it: gateway (floor 3) imports config (floor 5)",
        ),
        ("wire/a.py", "from arriero.errors import X\n", 1, "neighbours on one floor never meet: wire imports errors"),
        (
            "canonical/a.py",
            "from arriero import errors\n",
            1,
            "neighbours on one floor never meet: canonical imports errors",
        ),
        (
            "dialects/a.py",
            "import arriero.routing.fleet\n",
            1,
            "neighbours on one floor never meet: dialects imports routing",
        ),
        (
            "store/a.py",
            "def f():\n    from arriero import backends\n",
            2,
            "neighbours on one floor never meet: store imports backends",
        ),
        (
            "wire/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from arriero.canonical.events import Event\n",
            3,
            "neighbours on one floor never meet: wire imports canonical",
        ),
        (
            "routing/a.py",
            "from ..filters import chain\n",
            1,
            "neighbours on one floor never meet: routing imports filters",
        ),
        ("routing/a.py", "from .. import filters\n", 1, "neighbours on one floor never meet: routing imports filters"),
        (
            "filters/a.py",
            "import importlib\nimportlib.import_module('arriero.gateway')\n",
            2,
            "a room imports only from floors below it: filters (floor 1) imports gateway (floor 3)",
        ),
        (
            "__init__.py",
            "from arriero.errors import ArrieroError\n",
            1,
            "a room imports only from floors below it: the package itself imports errors",
        ),
    ],
)
def test_a_wrong_arrow_is_named(tmp_path: Path, name: str, text: str, line: int, rule: str) -> None:
    assert architecture.check(house(tmp_path, {name: text})) == [Finding(f"src/arriero/{name}", line, rule)]


def test_a_room_needs_a_floor(tmp_path: Path) -> None:
    root = house(tmp_path, {"utils/a.py": "import json\n", "server/a.py": "from arriero.utils import a\n"})
    rule = "every room has its floor in the table of tools/guards/architecture.py: utils has none"
    assert architecture.check(root) == [
        Finding("src/arriero/server/a.py", 1, rule),
        Finding("src/arriero/utils/a.py", 0, rule),
    ]


def test_every_room_stands_once() -> None:
    rooms = [room for floor in architecture.FLOORS for room in floor] + list(architecture.TOP)
    assert len(rooms) == len(set(rooms))
