from pathlib import Path

import pytest

from arriero.config.file import Contents, parse, read


def of(text: str, **variables: str) -> Contents:
    return parse(text, "f.yaml", variables)


def test_values_and_lines() -> None:
    contents = of("server:\n  port: 1\nbackends:\n  - name: a\n    kind: engine\n")
    assert contents.data == {"server": {"port": 1}, "backends": [{"name": "a", "kind": "engine"}]}
    assert contents.lines == {
        ("server",): 1,
        ("server", "port"): 2,
        ("backends",): 3,
        ("backends", 0): 4,
        ("backends", 0, "name"): 4,
        ("backends", 0, "kind"): 5,
    }
    assert contents.problems == ()


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert of(text).data == {}
    assert of(text).problems == ()


def test_keys_keep_their_text() -> None:
    assert of("on: 1\n1: 2\n2024-01-01: 3\n").data == {"on": 1, "1": 2, "2024-01-01": 3}


def test_anchors_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert of(text).data == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    assert of(text).problems == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: ${X}", "one"),
        ("a: <${X}-${X}>", "<one-one>"),
        ("a: ${NO:-two}", "two"),
        ("a: ${NO:-}", ""),
        ("a: ${EMPTY:-two}", "two"),
        ("a: ${EMPTY}", ""),
        ("a: $${X}", "${X}"),
        ("a: $X", "$X"),
        ('a: "${X}"', "one"),
        ("a: ${DIGITS}", "123"),
        ("# ${NO}\na: 1", 1),
        ("a: ${NO:-http://h:1/v1}", "http://h:1/v1"),
    ],
)
def test_variables(text: str, value: object) -> None:
    contents = of(text, X="one", EMPTY="", DIGITS="123")
    assert (contents.data, contents.problems) == ({"a": value}, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n  b: ${NO}", "f.yaml:2: a.b: the variable NO is not set"),
        ("a: ${no way}", "f.yaml:1: a: holds a ${...} that is neither ${NAME} nor ${NAME:-default}"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: a: is given twice, first in line 1"),
        ("a: {b: 1, b: 2}", "f.yaml:1: a.b: is given twice, first in line 1"),
        ("- a", "f.yaml:1: the top is not a mapping of keys to values"),
        ("text", "f.yaml:1: the top is not a mapping of keys to values"),
        ("a: !marker b", "f.yaml:1: a: has a tag that is not known here; a text that starts with ! needs quotes"),
        ("a: 2024-13-45", "f.yaml:1: a: looks like a date and is none; a text needs quotes here"),
        ("a: &x [*x]", "f.yaml:1: a[0]: refers to itself"),
        ("{[1]: 2}", "f.yaml:1: a key is not a plain text"),
        ("a: [1", "f.yaml:1:6: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n b: 2", "f.yaml:2:3: is not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 2", "f.yaml:2:1: is not YAML: a tab stands where only spaces may"),
        ("a: *marker", "f.yaml:1:4: is not YAML: found undefined alias that"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: is not YAML: but found another document"),
        ("a: \x01", "f.yaml: is not YAML: it holds a character that YAML does not allow"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    assert of(text).problems == (problem,)
    assert "marker" not in str(of(text).problems)


def test_every_problem_is_told_at_once() -> None:
    contents = of("a: ${A}\nb: ${B}\n")
    assert contents.problems == (
        "f.yaml:1: a: the variable A is not set",
        "f.yaml:2: b: the variable B is not set",
    )
    assert contents.faulty == {("a",), ("b",)}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe4")
    (tmp_path / "control").write_bytes(b"a: \x01")
    assert read(tmp_path / "none", {}).problems == (f"{tmp_path}/none: cannot be read: No such file or directory",)
    assert read(tmp_path, {}).problems == (f"{tmp_path}: cannot be read: Is a directory",)
    assert read(tmp_path / "latin", {}).problems == (f"{tmp_path}/latin: is not UTF-8 text",)
    assert read(tmp_path / "control", {}).problems == (
        f"{tmp_path}/control: is not YAML: it holds a character that YAML does not allow",
    )


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 20)]
    contents = of("a0: &a0 [x, x, x]\n" + "\n".join(levels))
    assert contents.problems == ("f.yaml: has more than 100000 values, aliases unfolded",)
