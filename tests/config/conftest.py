from pathlib import Path

import pytest

from support.config import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder to start in and a home, both empty."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "home").mkdir()
    return Place(tmp_path / "cwd", tmp_path / "home")
