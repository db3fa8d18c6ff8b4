from pathlib import Path

import pytest

from arriero.config.dotenv_file import read
from arriero.config.environment import Variables


def written(folder: Path, data: bytes) -> Path:
    path = folder / ".env"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"A=1\n", "A=1\n"),
        (b"\xef\xbb\xbfA=1\r\nB=2", "A=1\r\nB=2"),
        ("A=ä".encode(), "A=ä"),
        ("A=ä\n".encode("utf-16"), "A=ä\n"),
        ("\ufeffA=1".encode("utf-16-be"), "A=1"),
    ],
)
def test_the_text(tmp_path: Path, data: bytes, text: str) -> None:
    assert read(written(tmp_path, data)) == (text, [])


def test_a_line_that_is_no_text_is_told_and_the_others_count(tmp_path: Path) -> None:
    path = written(tmp_path, "# Schlüssel\nA=1\nB=ü\nC=3\n".encode("latin-1"))
    assert read(path) == ("\nA=1\n\nC=3\n", [".env:3: is not UTF-8 text and is ignored"])


def test_what_is_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / ".env") == ("", [])
    (tmp_path / ".env").mkdir()
    assert read(tmp_path / ".env") == ("", [])


def test_a_file_that_cannot_be_read() -> None:
    # A file that root cannot read either: its first page is nobody's memory.
    text, warnings = read(Path("/proc/self/mem"))
    assert (text, len(warnings)) == ("", 1)
    assert warnings[0].startswith("mem: cannot be read and is ignored (")


FORMS = [
    ("A=1", "1"),
    ("A = 1", "1"),
    ("export A=1", "1"),
    ("  export  A='1'", "1"),
    ('A="1 # 2"', "1 # 2"),
    ("A=1 # 2", "1"),
    ("A=1#2", "1#2"),
    ("A='$B'", "$B"),
    ("a=1", "1"),
    ("#A=1", None),
    ("A", None),
    ("A=", None),
    ('A="1', None),
    ("broken line\nA=1", "1"),
    ('A="1\nB=2\nA=3', "3"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize(("line", "value"), FORMS)
def test_the_forms_of_a_line(tmp_path: Path, line: str, value: str | None, end: str) -> None:
    text, warnings = read(written(tmp_path, b"\xef\xbb\xbf" + (line + end).encode()))
    found = Variables({}, text).find("A")
    assert (found and found.value, warnings) == (value, [])
