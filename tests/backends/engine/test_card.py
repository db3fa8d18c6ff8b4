"""What a header means in the catalog's words."""

from math import nan
from pathlib import Path

import pytest
from msgspec.structs import replace

from arriero.backends.engine.card import (
    Kind,
    capabilities,
    check_model,
    check_parts,
    header_info,
    kind_of,
    model_card,
    model_detail,
    quantization,
)
from arriero.backends.engine.gguf import GgufHeader, LongArray, Tensor, read_header
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
    ("template", "expected"),
    [
        ("{{ .Prompt }}", {COMPLETION}),
        ("{{ .Toolset }}", {COMPLETION}),
        ("{{ if .Tools }}{{ end }}", {COMPLETION, Capability.TOOLS}),
        ("{{ if and $.IsThinkSet $.Think }}{{ end }}", {COMPLETION, Capability.THINKING}),
        ("{{ .Thinking }}", {COMPLETION, Capability.THINKING}),
        ("<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}", {COMPLETION, Capability.INSERT}),
        ("", {COMPLETION}),
    ],
)
def test_a_template_of_the_store_stands_in_for_the_files_own(template: str, expected: set[Capability]) -> None:
    header = header_of(general__architecture="llama", tokenizer__chat_template=QWEN_TEMPLATE)
    assert capabilities(header, template=template) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, {Capability.VISION}),
        ({"clip__has_vision_encoder": True}, {Capability.VISION}),
        ({"clip__vision__block_count": 24}, {Capability.VISION}),
        ({"clip__has_vision_encoder": False, "clip__has_audio_encoder": True}, {Capability.AUDIO}),
        ({"clip__has_vision_encoder": True, "clip__audio__block_count": 2}, {Capability.VISION, Capability.AUDIO}),
    ],
)
def test_a_projector_gives_its_senses(metadata: dict[str, object], expected: set[Capability]) -> None:
    header = header_of(general__architecture="llama")
    projector = header_of(general__architecture="clip", **metadata)
    assert capabilities(header, projector=projector) == expected | {COMPLETION}
    card = model_card("x", header, size_bytes=1, parameter_count=1, modified_at=0, projector=projector)
    assert card.families == ("llama", "clip")


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({}, Kind.MODEL),
        ({"general__type": "model"}, Kind.MODEL),
        ({"general__type": "adapter", "adapter__type": "lora"}, Kind.ADAPTER),
        ({"adapter__type": "lora"}, Kind.ADAPTER),
        ({"general__type": "mmproj"}, Kind.PROJECTOR),
        ({"general__type": "projector"}, Kind.PROJECTOR),
        ({"general__architecture": "clip"}, Kind.PROJECTOR),
        ({"general__architecture": "clip", "general__type": "clip-vision"}, Kind.PROJECTOR),
        ({"general__type": "imatrix"}, Kind.OTHER),
    ],
)
def test_the_kind_of_a_file(metadata: dict[str, object], kind: Kind) -> None:
    assert kind_of(header_of(**{"general__architecture": "llama", **metadata})) is kind


@pytest.mark.parametrize(("number", "name"), [(15, "Q4_K_M"), (32, "BF16"), (999, "unknown"), (None, None)])
def test_the_name_of_a_quantization(number: int | None, name: str | None) -> None:
    assert quantization(header_of(**({} if number is None else {"general__file_type": number}))) == name


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"general__architecture": "clip"}, "not a model of its own: a GGUF file of the type mmproj"),
        ({"general__type": "adapter"}, "not a model of its own: a GGUF file of the type adapter"),
        ({"general__architecture": ""}, "general.architecture is missing"),
        ({"llama__block_count": 1_000_000}, "llama.block_count is 1000000, which cannot be"),
        ({"general__type": "imatrix"}, "not a model of its own: a GGUF file of the type imatrix"),
        ({"general__architecture": "ll\nama"}, r"general.architecture is 'll\nama', which is no name"),
        ({"llama__context_length": 0}, "llama.context_length is 0, which cannot be"),
        ({"llama__context_length": 1}, "llama.context_length is 1, which cannot be"),
        ({"llama__attention__layer_norm_rms_epsilon": -1.0}, "llama.attention.layer_norm_rms_epsilon is -1.0, which"),
        ({"bert__attention__layer_norm_epsilon": nan}, "bert.attention.layer_norm_epsilon is nan, which cannot be"),
        (
            {"tokenizer__ggml__tokens": LongArray("string", 1 << 21)},
            "tokenizer.ggml.tokens has 2097152 entries, more than 1048576 are not believed",
        ),
        ({"tokenizer__ggml__tokens": ("a", "b"), "tokenizer__ggml__scores": (0.0,)}, "tokenizer.ggml.scores has 1"),
    ],
)
def test_what_cannot_be_is_refused(metadata: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelBroken) as raised:
        check_model(header_of(**{"general__architecture": "llama", **metadata}))
    assert raised.value.message.startswith(sentence)


def test_what_is_no_name_stands_in_no_listing() -> None:
    header = header_of(general__architecture="llama", general__name="x" * 257)
    projector = header_of(general__architecture="cl\nip", general__type="mmproj")
    card = model_card("x", header, size_bytes=1, parameter_count=1, modified_at=0, projector=projector)
    assert (card.display_name, card.families) == (None, ("llama",))


def test_only_the_first_part_of_several_may_be_without_tensors() -> None:
    alone = header_of(general__architecture="llama")
    with pytest.raises(ModelBroken, match="it holds no tensors"):
        check_model(replace(alone, tensors=()))
    check_model(replace(header_of(general__architecture="llama", split__count=2), tensors=()))


def part(number: int, count: int) -> GgufHeader:
    return header_of(split__no=number, split__count=count)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([part(0, 2), part(0, 2)], "part 2 of 2 says that it is part 1 of 2"),
        ([part(0, 3), part(1, 3)], "part 1 of 2 says that it is part 1 of 3"),
        ([part(0, 2), header_of()], "part 2 of 2 says that it is a file of its own"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(parts: list[GgufHeader], sentence: str) -> None:
    with pytest.raises(ModelBroken) as raised:
        check_parts(parts)
    assert raised.value.message == sentence


def test_parts_that_belong_together() -> None:
    check_parts([header_of()])
    check_parts([part(0, 2), part(1, 2)])


def test_the_metadata_of_a_projector_can_be_shown() -> None:
    projector = header_of(general__name="mm", clip__vision__image_mean=(0.5, 0.5, 0.5), clip__has_vision_encoder=True)
    shown = {"clip.has_vision_encoder": True, "general.parameter_count": 16}
    assert header_info(projector, verbose=False) == {"clip.vision.image_mean": None, **shown}
    assert header_info(projector, verbose=True) == {"clip.vision.image_mean": [0.5, 0.5, 0.5], **shown}


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
    assert (detail.template, detail.chat_template) == (None, QWEN_TEMPLATE)
    assert detail.parameters == {"temperature": 0}
    assert detail.tensors[1] == ("output_norm.weight", "F32", (64,))
    verbose = model_detail(card, read_header(path, whole_arrays=True), verbose=True)
    assert verbose.info["tokenizer.ggml.merges"] == ["Ġ t"]
    assert len(verbose.info["tokenizer.ggml.tokens"]) == 264  # type: ignore[arg-type]
