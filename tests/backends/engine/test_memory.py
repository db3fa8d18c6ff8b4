"""The estimate of what a model needs, and the words about what would fit."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.memory import Need, cache_bytes_per_token, need, own_bytes, too_large
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.store.store import Store
from support.engine import models_in
from support.gguf import large, random_llama
from support.store import model, name

GIB = 1 << 30


@pytest.fixture(scope="module")
def eight_billion(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """The header of an 8B model in 4 bits."""
    directory = tmp_path_factory.mktemp("large")
    large(directory / "large.gguf", tokens=1000, merges=1000)
    return models_in(directory)["large:latest"]


def of(model: ModelFile, context_length: int = 2048, *, embedding: bool = False, repack: bool = True) -> Need:
    return need(model, context_length=context_length, parallel=1, embedding=embedding, repack=repack)


def test_quantized_weights_count_twice_when_repacked(eight_billion: ModelFile) -> None:
    size = eight_billion.size_bytes
    assert (of(eight_billion).weights, of(eight_billion).copy) == (size, size)
    assert of(eight_billion, repack=False).copy == 0


def test_plain_weights_are_never_copied(tmp_path: Path) -> None:
    random_llama(tmp_path / "a.gguf")
    assert of(models_in(tmp_path)["a:latest"]).copy == 0


def test_a_projector_and_adapters_count_beside_the_weights(eight_billion: ModelFile, tmp_path: Path) -> None:
    for part, size in (("eyes", 1000), ("lora", 30), ("more", 7)):
        (tmp_path / part).write_bytes(bytes(size))
    adapters = (tmp_path / "lora", tmp_path / "more", tmp_path / "missing")
    model = replace(eight_billion, projector=tmp_path / "eyes", adapters=adapters)
    # It needs room to work in as well; who embeds has no use for it.
    assert of(model).total - of(eight_billion).total == of(model).beside == 2037
    assert of(model, embedding=True).beside == 37


def test_a_model_of_the_store_needs_its_weights_not_all_its_layers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = random_llama(tmp_path / "a.gguf").read_bytes()
    store.write(name("m"), model(store, data, b"a licence" * 1000))
    assert of(models_in(tmp_path)["m:latest"]).weights == len(data)


def test_what_a_child_may_take_is_far_more_than_it_needs(eight_billion: ModelFile) -> None:
    wanted = of(eight_billion)
    assert own_bytes(wanted) == 2 * wanted.total + (2 << 30)


def test_keys_and_values_of_an_8b_model(eight_billion: ModelFile) -> None:
    # 32 layers, 8 heads of 128, keys and values, two bytes each.
    assert cache_bytes_per_token(eight_billion.header) == 32 * 8 * 128 * 2 * 2
    assert of(eight_billion, 1000).cache == 1000 * 131_072


def test_layers_without_attention_keep_nothing() -> None:
    header = GgufHeader(
        version=3,
        metadata={
            "general.architecture": "jamba",
            "jamba.block_count": 4,
            "jamba.embedding_length": 512,
            "jamba.attention.head_count": 8,
            "jamba.attention.head_count_kv": (0, 0, 2, 0),
        },
        tensors=(),
        parameter_count=0,
        length=0,
        size_bytes=0,
        digest="",
        infill=False,
        tokens_at=None,
    )
    assert cache_bytes_per_token(header) == 2 * (64 + 64) * 2


def test_an_embedding_models_batch_is_its_context(eight_billion: ModelFile) -> None:
    assert of(eight_billion, 4096, embedding=True).scratch > of(eight_billion, 512, embedding=True).scratch


def test_the_error_says_what_would_fit(eight_billion: ModelFile) -> None:
    wanted = of(eight_billion, 8192, repack=False)
    some = too_large(eight_billion, wanted, 4 * GIB, context_length=8192, parallel=1)
    assert some.message == (
        "large:latest needs about 4.8 GiB of memory with a context of 8192 tokens, and 4.0 GiB are available: "
        "it would fit with num_ctx 1536"
    )
    wanted = of(eight_billion, 256, repack=False)
    less = too_large(eight_billion, wanted, 1 * GIB, context_length=256, parallel=1)
    assert less.message.endswith("a file of up to 0.9 GiB would fit")
    none = too_large(eight_billion, wanted, 1 << 20, context_length=256, parallel=1)
    assert none.message.endswith("no model fits")
