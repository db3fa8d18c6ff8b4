"""What a header means in the catalog's words."""

from pathlib import Path

import pytest

from arriero.backends.engine.card import capabilities, check_model, model_card, model_detail, parameter_size
from arriero.backends.engine.gguf import GgufHeader, Tensor, read_header
from arriero.canonical.catalog import Capability, ModelCard
from arriero.errors import ModelBroken
from support.gguf import QWEN_TEMPLATE, SPECIAL, random_llama, scripted

COMPLETION = Capability.COMPLETION


def header_of(**metadata: object) -> GgufHeader:
    """A header that was never a file. Keys are given with `__` for the dot."""
    return GgufHeader(
        version=3,
        metadata={key.replace("__", "."): value for key, value in metadata.items()},  # type: ignore[misc]
        tensors=(Tensor("token_embd.weight", "F16", (4, 4), 0),),
        parameter_count=16,
        length=100,
        size_bytes=200,
        digest="0" * 64,
        infill=False,
        tokens_at=None,
    )


def card_of(path: Path) -> ModelCard:
    header = read_header(path)
    return model_card(
        "x:latest",
        header,
        size_bytes=header.size_bytes,
        parameter_count=header.parameter_count,
        modified_at=1_700_000_000.5,
    )


def test_the_card_of_a_file(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf")
    header = read_header(path)
    assert card_of(path) == ModelCard(
        id="x:latest",
        capabilities=frozenset({COMPLETION}),
        context_length=2048,
        embedding_length=64,
        size_bytes=header.size_bytes,
        digest=header.digest,
        modified_at=1_700_000_000.5,
        created=1_700_000_000,
        owned_by="library",
        display_name="Random Llama",
        format="gguf",
        family="llama",
        families=("llama",),
        parameter_count=118_080,
        parameter_size="118K",
        quantization="F16",
    )


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, {COMPLETION}),
        ({"tokenizer__chat_template": "{{ toolset }}"}, {COMPLETION}),
        ({"tokenizer__chat_template": "{% if tools %}"}, {COMPLETION, Capability.TOOLS}),
        ({"tokenizer__chat_template": "{{ '<think>' }}"}, {COMPLETION, Capability.THINKING}),
        ({"tokenizer__chat_template": "{% if enable_thinking %}"}, {COMPLETION, Capability.THINKING}),
        ({"tokenizer__chat_template": QWEN_TEMPLATE}, {COMPLETION, Capability.TOOLS, Capability.THINKING}),
        ({"llama__pooling_type": 1}, {Capability.EMBEDDING}),
        ({"llama__pooling_type": 0}, {COMPLETION}),
        ({"general__architecture": "nomic-bert"}, {Capability.EMBEDDING}),
    ],
)
def test_capabilities(metadata: dict[str, object], expected: set[Capability]) -> None:
    assert capabilities(header_of(**{"general__architecture": "llama", **metadata})) == expected


def test_infill_tokens_are_a_capability(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf", special=("<|fim_prefix|>", *SPECIAL))
    assert capabilities(read_header(path)) == {COMPLETION, Capability.INSERT}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (8_030_261_248, "8.0B"),
        (8_000_000_000, "8B"),
        (1_235_814_432, "1.2B"),
        (1_500_000, "1.50M"),
        (137_000_000, "137M"),
        (22_713_216, "22.71M"),
        (935_040, "935K"),
        (12, "12"),
    ],
)
def test_parameter_sizes_are_written_as_ollama_does(count: int, text: str) -> None:
    assert parameter_size(count) == text


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"general__architecture": "clip"}, "not a model of its own: a GGUF file of the type mmproj"),
        ({"general__type": "adapter"}, "not a model of its own: a GGUF file of the type adapter"),
        ({"general__architecture": ""}, "general.architecture is missing"),
        ({"llama__block_count": 1_000_000}, "llama.block_count is 1000000, which cannot be"),
        ({"llama__context_length": 0}, "llama.context_length is 0, which cannot be"),
        ({"tokenizer__ggml__tokens": ("a", "b"), "tokenizer__ggml__scores": (0.0,)}, "tokenizer.ggml.scores has 1"),
    ],
)
def test_what_cannot_be_is_refused(metadata: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelBroken) as raised:
        check_model(header_of(**{"general__architecture": "llama", **metadata}))
    assert raised.value.message.startswith(sentence)


def test_detail_leaves_arrays_out_unless_verbose(tmp_path: Path) -> None:
    path = scripted(tmp_path / "a.gguf", "some words to say")
    card = card_of(path)
    detail = model_detail(card, read_header(path), verbose=False, parameters={"temperature": 0})
    assert detail.card == card
    assert "general.name" not in detail.info
    assert "tokenizer.chat_template" not in detail.info
    assert detail.info["general.architecture"] == "llama"
    assert detail.info["general.parameter_count"] == card.parameter_count
    assert detail.info["tokenizer.ggml.tokens"] is None
    assert detail.info["tokenizer.ggml.merges"] is None
    assert detail.template == QWEN_TEMPLATE
    assert detail.parameters == {"temperature": 0}
    assert detail.tensors[1] == ("output_norm.weight", "F32", (64,))
    verbose = model_detail(card, read_header(path, whole_arrays=True), verbose=True)
    assert verbose.info["tokenizer.ggml.merges"] == ["Ġ t"]
    assert len(verbose.info["tokenizer.ggml.tokens"]) == 264  # type: ignore[arg-type]
