from pathlib import Path

from arriero.config import olla_describe
from arriero.config.olla_keys import KEYS, OTHER_VARIABLES, TYPES, VARIABLES

PAGE = Path(__file__).parents[2] / "docs/olla.md"


def test_a_row_for_each_key() -> None:
    lines = olla_describe.keys_table().splitlines()
    assert lines[:2] == ["| Olla's key | what arriero does |", "| --- | --- |"]
    assert [line.split("`")[1] for line in lines[2:]] == [key.name for key in KEYS]
    assert "| `server.port` | `server.port`; `40114` without it |" in lines
    assert (
        "| `server.rate_limits.per_ip_requests_per_minute` | `limits.requests_per_minute_per_address`; 0 is no limit; "
        "`100` without it |" in lines
    )
    assert (
        "| `model_registry.enable_unifier` | ignored: listings are merged in any case; nothing is said of `true` |"
        in lines
    )


def test_a_row_for_each_variable_and_each_type() -> None:
    lines = olla_describe.variables_table().splitlines()
    names = [*(row.name for row in VARIABLES), "OLLA_CONFIG_FILE", *OTHER_VARIABLES]
    assert [line.split("`")[1] for line in lines[2:]] == names
    lines = olla_describe.types_table().splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == list(TYPES)
    assert "| `ollama` | `ollama` | - | - |" in lines
    assert "| `vllm` | `openai` | vllm | /v1 |" in lines
    assert "| `openai` | `openai` | by the address | /v1 |" in lines


def test_only_what_stands_between_the_markers_is_made_anew() -> None:
    page = "a\n<!-- table: olla types -->\nold\n<!-- end -->\nb\n<!-- table: other -->\nkept\n<!-- end -->\n"
    table = olla_describe.types_table()
    assert olla_describe.renewed(page) == (
        f"a\n<!-- table: olla types -->\n\n{table}\n\n<!-- end -->\nb\n<!-- table: other -->\nkept\n<!-- end -->\n"
    )


def test_the_tables_of_the_page_are_current() -> None:
    page = PAGE.read_text()
    assert olla_describe.renewed(page) == page, "python -m arriero.config.olla_describe docs/olla.md"
    assert all(f"<!-- table: olla {name} -->" in page for name in ("keys", "types", "variables"))
