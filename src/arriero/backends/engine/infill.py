"""Filling in the middle: the prompt that a model wants made of a prefix and a suffix, if it wants any.

A template of Ollama's says how; without one the marks in the vocabulary do. They are told by number in the header, or
known by their text as llama.cpp knows them. How a prompt reaches the model is `place`'s.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Final, TypeAlias

from msgspec import Struct

from arriero.backends.engine.gguf import TOKENS_KEY, GgufHeader
from arriero.backends.engine.gguf_bytes import Bytes
from arriero.backends.engine.model import ModelFile

PREFIX: Final = "prefix"
SUFFIX: Final = "suffix"
MIDDLE: Final = "middle"

ID_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    PREFIX: ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    SUFFIX: ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    MIDDLE: ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
}
"""What stands at a mark -> the key of today, the key of old files."""

FAMILIES: Final[tuple[tuple[str, str, str], ...]] = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""Prefix, suffix and middle marks, each row of one family of models."""

SUFFIX_FIRST: Final = ("[PREFIX]", "[SUFFIX]")
"""Mistral's: no mark for the middle, and the suffix comes first."""

Fill: TypeAlias = Callable[[str, str], str]
"""Prefix and suffix to the text that the model has to continue. Raises `BadRequest`."""

SUFFIX_SHARE: Final = 0.25
"""How much of a context that is too small the suffix may have."""


class Marks(Struct, frozen=True):
    """The texts of the marks. Without one for the middle the suffix comes first."""

    prefix: str
    suffix: str
    middle: str | None = None

    def __call__(self, prefix: str, suffix: str) -> str:
        """What the model has to continue."""
        if self.middle is None:
            return f"{self.suffix}{suffix}{self.prefix}{prefix}"
        return f"{self.prefix}{prefix}{self.suffix}{suffix}{self.middle}"


def fill_of(model: ModelFile) -> Fill | None:
    """How the model fills in, `None` if it cannot. Blocks for the disk. Raises `OSError` and `ModelBroken`."""
    if model.layers.template is None:
        return marks_of(model)
    # Few models bring one, and only those pay for its language.
    from arriero.dialects.ollama.gotemplate import TemplateError, parse_template

    try:
        template = parse_template(model.layers.template)
    except TemplateError:
        return None
    if not template.tells.insert:
        return None
    return lambda prefix, suffix: template.fill(prefix, suffix, today=date.today().isoformat())


def marks_of(model: ModelFile) -> Marks | None:
    """The marks of a model, `None` if it lacks one. Reads the vocabulary: blocks for the disk. Raises `OSError`, and
    `ModelBroken` where the file is another one by now.
    """
    header = model.header
    told = {where: _told(header, *keys) for where, keys in ID_KEYS.items()}
    if not header.infill and None in told.values():
        return None
    numbers = {number: where for where, number in told.items() if number is not None}
    known = {text for family in (*FAMILIES, SUFFIX_FIRST) for text in family}
    by_number: dict[str, str] = {}
    met: set[str] = set()
    for number, token in _tokens(model):
        text = token.decode(errors="replace") if token[:1] in _FIRST_BYTES or number in numbers else ""
        if number in numbers:
            by_number[numbers[number]] = text
        if text in known:
            met.add(text)
    if len(by_number) == len(ID_KEYS):
        return Marks(by_number[PREFIX], by_number[SUFFIX], by_number[MIDDLE])
    for prefix, suffix, middle in FAMILIES:
        if met >= {prefix, suffix, middle}:
            return Marks(prefix, suffix, middle)
    return Marks(*SUFFIX_FIRST) if met >= set(SUFFIX_FIRST) else None


def shortened(prefix: str, suffix: str, share: float) -> tuple[str, str]:
    """Both texts with about `share` of their letters: what is next to the gap stays."""
    room = int((len(prefix) + len(suffix)) * share)
    after = min(len(suffix), max(int(room * SUFFIX_SHARE), room - len(prefix)))
    return prefix[len(prefix) - min(len(prefix), room - after) :], suffix[:after]


_FIRST_BYTES: Final = frozenset({b"<", b"[", "▁".encode()[:1]})


def _told(header: GgufHeader, *keys: str) -> int | None:
    for key in keys:
        value = header.metadata.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _tokens(model: ModelFile) -> Iterator[tuple[int, bytes]]:
    header = model.header
    count = header.count(TOKENS_KEY)
    if header.tokens_at is None or count is None:
        return
    with model.path.open("rb") as file:
        data = Bytes(file.fileno(), os.fstat(file.fileno()).st_size, start=header.tokens_at)
        number = 0
        for tokens in data.strings(TOKENS_KEY, count):
            for token in tokens:
                yield number, token
                number += 1
