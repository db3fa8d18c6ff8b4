"""The guard of the sizes fails where it has to, and looks at nothing that git ignores."""

import subprocess
from pathlib import Path

from tools.guards import sizes
from tools.guards.finding import Finding


def test_long_and_large_files(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * 801)
    (tmp_path / "questionable.py").write_text("x = 1\n" * 601)
    (tmp_path / "fine.py").write_text("x = 1\n" * 600)
    (tmp_path / "corpus.txt").write_text("words\n" * 5_000)
    (tmp_path / "large.bin").write_bytes(bytes(1_000_001))
    model = tmp_path / "src/arriero/models/demo.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(bytes(1_000_001))
    assert sizes.check(tmp_path) == [
        Finding("large.bin", 0, "no file is over 1,000,000 bytes: this one has 1,000,001"),
        Finding("long.py", 0, "a source file of 800 lines asks for a package: this one has 801"),
        Finding("questionable.py", 0, "a source file of 600 lines asks a question: this one has 601", fails=False),
    ]


def test_in_a_checkout_git_says_which_files_there_are(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, capture_output=True)
    (tmp_path / ".gitignore").write_text("build/\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "large.bin").write_bytes(bytes(1_000_001))
    (tmp_path / "new.bin").write_bytes(bytes(1_000_001))
    assert [finding.path for finding in sizes.check(tmp_path)] == ["new.bin"]
