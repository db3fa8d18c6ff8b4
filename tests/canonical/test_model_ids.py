"""Texts that can be a model's id, and texts that cannot."""

import pytest

from arriero.canonical.model_ids import MAX_ID_CHARACTERS, is_id


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o",
        "meta-llama/llama-3-8b:free",
        "@cf/meta/x",
        "a b",
        "../../etc/passwd",
        "モデル",
        "*",
        "x" * MAX_ID_CHARACTERS,
    ],
)
def test_an_id(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " gpt-4o",
        "gpt-4o\n",
        "tab\there",
        "two\r\nlines",
        "nul\0",
        "\x1b[31mred",
        "\x85",
        "\ud800",
        "x" * (MAX_ID_CHARACTERS + 1),
    ],
)
def test_no_id(text: str) -> None:
    assert not is_id(text)
