"""The error of templates, and where it says the fault is."""

from arriero.dialects.ollama.gotemplate.faults import TemplateError, failed, line_of, place, refused, unreadable
from arriero.errors import BadRequest

TEXT = "one\ntwo {{ .X }}\n"


def test_lines_count_from_one_and_columns_from_zero() -> None:
    assert (line_of(TEXT, 0), line_of(TEXT, 8)) == (1, 2)
    assert (place(TEXT, 2), place(TEXT, 7)) == ("1:2", "2:3")


def test_the_three_faults_read_so() -> None:
    assert unreadable(TEXT, 8, "unexpected EOF").message == "template: :2: unexpected EOF"
    assert failed(TEXT, 11, ".X", "no").message == 'template: :2:7: executing "" at <.X>: no'
    assert (
        refused(TEXT, 11, "html", "why").message == "the template cannot be translated for the engine: html at 2:7: why"
    )


def test_a_long_quotation_is_cut() -> None:
    assert failed("x", 0, "a" * 50, "b" * 400).message == (
        f'template: :1:0: executing "" at <{"a" * 20}...>: {"b" * 300}...'
    )


def test_it_is_the_clients_fault() -> None:
    assert issubclass(TemplateError, BadRequest)
    assert (TemplateError("no").status, TemplateError("no").type) == (400, "validation_error")
