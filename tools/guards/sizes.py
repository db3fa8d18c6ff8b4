"""Sizes: a source file can be read in one sitting, and the repository stays small enough to clone anywhere."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tools.guards.finding import Finding

MAX_BYTES = 1_000_000
LARGE = ("src/arriero/models/",)
"""Folders that may hold larger files: the demo model ships inside the package."""

WARN_LINES = 600
MAX_LINES = 800
SOURCE = frozenset({".py", ".c", ".h", ".js", ".css", ".html", ".sh"})

TOO_LARGE = f"no file is over {MAX_BYTES:,} bytes"
TOO_LONG = f"a source file of {MAX_LINES} lines asks for a package"
LONG = f"a source file of {WARN_LINES} lines asks a question"


def check(root: Path) -> list[Finding]:
    """Every file that is too large or too long; files over `WARN_LINES` come as findings that do not fail."""
    found: list[Finding] = []
    for name in sorted(files(root)):
        path = root / name
        if not path.is_file():
            continue  # deleted in the working tree
        size = path.stat().st_size
        if size > MAX_BYTES and not name.startswith(LARGE):
            found.append(Finding(name, 0, f"{TOO_LARGE}: this one has {size:,}"))
        elif path.suffix in SOURCE:
            lines = path.read_bytes().count(b"\n")
            if lines > MAX_LINES:
                found.append(Finding(name, 0, f"{TOO_LONG}: this one has {lines}"))
            elif lines > WARN_LINES:
                found.append(Finding(name, 0, f"{LONG}: this one has {lines}", fails=False))
    return found


def files(root: Path) -> Iterable[str]:
    """What git tracks, or would track; every file where `root` is not the root of a git checkout (an sdist)."""
    if not (root / ".git").exists():
        return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    listed = subprocess.run(
        # The owner of a checkout in a container is often another one than the user of the tests.
        [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(root),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return [name for name in listed.stdout.decode().split("\0") if name]
