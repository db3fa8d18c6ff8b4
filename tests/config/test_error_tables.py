"""The tables of docs/errors.md: current, and whole."""

from pathlib import Path

import pytest

from arriero import errors
from arriero.config import describe
from arriero.config.error_tables import DOCUMENTED, error_tables, tree
from arriero.dialects.profiles import PROFILES
from arriero.errors import ArrieroError

PAGE = Path(__file__).parents[2] / "docs/errors.md"

OLLAMA_PROXYS = {
    "validation_error": ("400", 400),
    "model_not_found": ("404", 404),
    "model_forbidden": ("403", 403),
    "openrouter_error": ("502", 502),
    "network_error": ("503", 503),
    "internal_error": ("500", 500),
    "configuration_error": ("500", 503),
}


def test_the_tables_of_the_page_are_current() -> None:
    page = PAGE.read_text()
    assert describe.renewed(page) == page, "python -m arriero.config.describe docs docs/errors.md"


def test_the_page_has_every_table() -> None:
    page = PAGE.read_text()
    assert [name for name in error_tables() if f"<!-- table: {name} -->" not in page] == []


def test_every_type_that_ollama_proxy_documents_is_told() -> None:
    assert {row.type: (row.status_there, row.status) for row in DOCUMENTED} == OLLAMA_PROXYS


def test_every_error_of_the_tree_has_one_row() -> None:
    known = {found.__name__ for found in vars(errors).values() if isinstance(found, type) and _is_error(found)}
    names = [found.__name__ for found in tree()]
    assert sorted(names) == sorted(known)
    head, body = error_tables()["errors"]
    assert [row[0] for row in body] == [f"`{name}`" for name in names]
    assert head == ("error", "status", "type", "asks another backend", "to be mended", "when")


def _is_error(found: type) -> bool:
    return issubclass(found, ArrieroError) and found is not ArrieroError


@pytest.mark.parametrize(
    "row",
    [
        (
            "`BackendUnreachable`",
            "503",
            "`network_error`",
            "yes",
            "at the backend, or on the way to it",
            "No connection: refused, no such host, no route, TLS failure, proxy refusal. At Olla's doors it is a 502.",
        ),
        ("`ModelNotFound`", "404", "`model_not_found`", "no", "in the request", "No backend has a model of this name."),
        ("`InternalError`", "500", "`internal_error`", "no", "at arriero", "A fault of arriero itself."),
    ],
    ids=lambda row: row[0],
)
def test_a_row_of_the_tree(row: tuple[str, ...]) -> None:
    assert row in error_tables()["errors"][1]


def test_every_profile_has_its_word() -> None:
    _, body = error_tables()["error words"]
    assert [row[0] for row in body] == [f"`{name}`" for name in PROFILES]
    by_name = {row[0]: row[1:] for row in body}
    assert by_name["`openrouter`"] == ("`openrouter_error`", "`OpenRouter API error: `", "`OPENROUTER_API_KEY`")
    assert by_name["`vllm`"] == ("`vllm_error`", "its own words", "-")


def test_no_cell_breaks_its_table() -> None:
    cells = [cell for _, body in error_tables().values() for row in body for cell in row]
    assert [cell for cell in cells if "|" in cell or "\n" in cell or not cell.strip()] == []
