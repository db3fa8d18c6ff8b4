"""Every row of the drop-in's list has a test that is named after it."""

import re
from pathlib import Path

ROWS = 44


def test_no_row_is_missing() -> None:
    here = Path(__file__).parent
    found = [int(number) for file in here.glob("test_rows_*.py") for number in _numbers(file)]
    assert sorted(set(found)) == [*range(1, ROWS + 1)]


def _numbers(file: Path) -> list[str]:
    return re.findall(r"^def test_row_(\d\d)_\w+\(", file.read_text(), re.MULTILINE)
