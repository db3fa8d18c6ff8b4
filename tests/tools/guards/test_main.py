"""All guards together: what is printed, and the exit code."""

from pathlib import Path

import pytest

from tools.guards.__main__ import main


def test_a_broken_rule_is_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = tmp_path / "src/arriero/wire/a.py"
    module.parent.mkdir(parents=True)
    module.write_text("import arriero.errors\n")
    assert main(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "src/arriero/wire/a.py:1: neighbours on one floor never meet: wire imports errors\n" in printed


def test_a_tree_without_source_keeps_all_rules_but_the_exceptions(tmp_path: Path) -> None:
    assert main(tmp_path) == 1
