"""Marks in a vocabulary, by number and by text, and the prompts that they make."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from arriero.backends.engine.infill import FAMILIES, SUFFIX_FIRST, Marks, fill_of, marks_of, shortened
from arriero.backends.engine.model import Layers, ModelFile
from support.engine import models_in
from support.gguf import SPECIAL, random_llama


def model_with(folder: Path, special: Sequence[str], **numbers: int) -> ModelFile:
    keys = {f"tokenizer.ggml.{name}_token_id": number for name, number in numbers.items()}
    random_llama(folder / "a.gguf", special=(*special, *SPECIAL), numbers=keys)
    (model,) = models_in(folder).values()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_are_known_by_their_texts(family: tuple[str, str, str], tmp_path: Path) -> None:
    prefix, suffix, middle = family
    marks = marks_of(model_with(tmp_path, family))
    if not any(text in KNOWN_PREFIXES for text in family):
        # Nothing in the header tells of these: only their numbers do.
        assert marks is None
        marks = marks_of(model_with(tmp_path, family, fim_pre=277, fim_suf=278, fim_mid=279))
    assert marks == Marks(prefix, suffix, middle)
    assert marks("a", "b") == f"{prefix}a{suffix}b{middle}"


KNOWN_PREFIXES = {family[0] for family in FAMILIES} - {"<|code_prefix|>"}


def test_without_a_mark_for_the_middle_the_suffix_comes_first(tmp_path: Path) -> None:
    marks = marks_of(model_with(tmp_path, SUFFIX_FIRST))
    assert marks == Marks("[PREFIX]", "[SUFFIX]")
    assert marks("a", "b") == "[SUFFIX]b[PREFIX]a"


@pytest.mark.parametrize("names", [("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle")])
def test_numbers_in_the_header_win(names: tuple[str, str, str], tmp_path: Path) -> None:
    odd = ("<before>", "<after>", "<here>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    first = 256 + TOKENS_OF_WORDS
    model = model_with(tmp_path, odd, **{name: first + at for at, name in enumerate(names)})
    assert marks_of(model) == Marks("<before>", "<after>", "<here>")


TOKENS_OF_WORDS = 21


@pytest.mark.parametrize("special", [(), ("<|fim_prefix|>",), ("<|fim_prefix|>", "<fim_suffix>", "<|fim_middle|>")])
def test_a_mark_alone_is_none(special: Sequence[str], tmp_path: Path) -> None:
    assert marks_of(model_with(tmp_path, special)) is None


def test_a_template_knows_better_than_the_vocabulary(tmp_path: Path) -> None:
    model = model_with(tmp_path, FAMILIES[0])
    fills = replace(model, layers=Layers(template="{{ if .Suffix }}<{{ .Prompt }}|{{ .Suffix }}>{{ end }}"))
    fill = fill_of(fills)
    assert fill is not None
    assert fill("a", "b") == "<a|b>"
    assert fill_of(replace(model, layers=Layers(template="{{ .Prompt }}"))) is None
    assert fill_of(replace(model, layers=Layers(template="{{ if }}"))) is None
    assert fill_of(model) == Marks(*FAMILIES[0])


@pytest.mark.parametrize(
    ("prefix", "suffix", "share", "left"),
    [
        ("abcdefgh", "ijklmnop", 0.5, ("cdefgh", "ij")),
        ("abcdefgh", "", 0.5, ("efgh", "")),
        ("ab", "cdefghij", 0.5, ("ab", "cde")),
        ("abcdefgh", "ijklmnop", 0.0, ("", "")),
    ],
)
def test_what_is_next_to_the_gap_stays(prefix: str, suffix: str, share: float, left: tuple[str, str]) -> None:
    assert shortened(prefix, suffix, share) == left
