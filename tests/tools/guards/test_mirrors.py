"""The guard of the test files fails where it has to."""

from pathlib import Path

from tools.guards import mirrors
from tools.guards.finding import Finding


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_mirrored_tree_is_right(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "src/arriero/__init__.py": '"""Doc."""\n\n__version__ = "1"\n',
            "src/arriero/wire/__init__.py": '"""Doc."""\nfrom arriero.wire import splice\nALL = (splice,)\n',
            "src/arriero/wire/splice.py": "",
            "src/arriero/errors.py": "",
            "tests/test_errors.py": "",
            "tests/wire/test_splice.py": "",
            "tests/wire/test_splice_unicode.py": "",
            "tests/laws/test_split.py": "",
            "tests/support/recordings.py": "",
        },
    )
    assert mirrors.check(root, {}) == []


def test_a_module_without_a_test_file(tmp_path: Path) -> None:
    root = tree(tmp_path, {"src/arriero/wire/splice.py": "", "tests/test_splice.py": ""})
    assert mirrors.check(root, {}) == [
        Finding(
            "src/arriero/wire/splice.py",
            0,
            "each source module has its test file: tests/wire/test_splice.py is not there",
        ),
        Finding(
            "tests/test_splice.py", 0, "a test file mirrors a module that is there: src/arriero has no such module"
        ),
    ]


def test_an_init_with_code_needs_one(tmp_path: Path) -> None:
    root = tree(tmp_path, {"src/arriero/wire/__init__.py": "def f() -> None: ...\n", "tests/keep": ""})
    assert [finding.path for finding in mirrors.check(root, {})] == ["src/arriero/wire/__init__.py"]
    tree(root, {"tests/wire/test_init.py": ""})
    assert mirrors.check(root, {}) == []


def test_exceptions_stay_true(tmp_path: Path) -> None:
    root = tree(tmp_path, {"src/arriero/a.py": "", "src/arriero/b.py": "", "tests/test_b.py": ""})
    found = mirrors.check(root, {"a.py": "values", "b.py": "values", "c.py": "values"})
    assert [finding.rule for finding in found] == [
        "an exception names a module that is there and has no test file: b.py (values) has one",
        "an exception names a module that is there and has no test file: c.py (values) is not there",
    ]
