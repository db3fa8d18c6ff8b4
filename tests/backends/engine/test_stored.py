"""Models of the store: what their layers make of them, and what is wrong with those that are no models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.backends.engine.model import Layers, ModelFile
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.manifest import CONFIG_TYPE, Config, Layer, Manifest, write_config, write_manifest
from arriero.backends.engine.store.store import Store
from arriero.backends.engine.stored import MAX_LICENSE_BYTES, MLX, STUB, stored_model
from arriero.canonical.catalog import Capability, Defaults
from arriero.canonical.requests import Message, Sampling, Text
from arriero.errors import ArrieroError, BadRequest, ModelBroken, StoreError
from support.gguf import random_llama
from support.store import layer, name

TOOLS = "{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"


class Shelf:
    """A store with the blobs of one llama."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "models")
        self.weights = layer(self.store, random_llama(folder / "a.gguf").read_bytes())

    def model(self, *layers: Layer, config: Config | None = None, text: str = "Mine:V1") -> ModelFile:
        told = layer(self.store, write_config(config or Config(model_format="gguf")), CONFIG_TYPE)
        stored, _ = self.store.write(name(text), write_manifest(Manifest(told, layers)), modified_at=1_700_000_000.0)
        return stored_model(self.store, stored, read_header)

    def text(self, kind: str, text: str) -> Layer:
        return layer(self.store, text.encode(), kind)

    def json(self, kind: str, value: Any) -> Layer:
        return self.text(kind, json.dumps(value))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_weights_alone_are_a_model(shelf: Shelf) -> None:
    model = shelf.model(shelf.weights)
    assert (model.id, model.path, model.stored is not None) == (
        "Mine:V1",
        shelf.store.blob(shelf.weights.digest),
        True,
    )
    assert (model.template, model.refused, model.projector, model.adapters, model.parameters) == (
        None,
        None,
        None,
        (),
        {},
    )
    card = model.card
    assert (card.family, card.parameter_size, card.quantization, card.context_length) == ("llama", "118K", "F16", 2048)
    assert (card.defaults, card.modified_at, len(card.digest or "")) == (None, 1_700_000_000.0, 64)
    assert card.size_bytes is not None and card.size_bytes > shelf.weights.size
    assert model.unchanged()


def test_what_belongs_to_it_besides(shelf: Shelf) -> None:
    model = shelf.model(
        shelf.weights,
        shelf.text(media.SYSTEM, "Be short."),
        shelf.text(media.LICENSE, "MIT"),
        shelf.text(media.LICENSE, "Apache"),
        shelf.json(media.PARAMS, {"temperature": 0.5, "num_ctx": 512, "stop": ["END"], "of_another_time": 1}),
        shelf.json(media.MESSAGES, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        shelf.text(media.EMBED, "obsolete"),
        shelf.text("application/of-another-time", "unknown"),
    )
    assert model.card.defaults == Defaults(
        sampling=Sampling(temperature=0.5, stop=("END",)),
        runner={"num_ctx": 512, "of_another_time": 1},
        system="Be short.",
        messages=(Message("user", (Text("a"),)), Message("assistant", (Text("b"),))),
    )
    assert model.layers == Layers(
        config=Config(model_format="gguf"),
        system="Be short.",
        messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}),
        licenses=("MIT", "Apache"),
    )
    assert model.parameters["stop"] == ["END"]


def test_of_what_may_stand_once_the_later_counts(shelf: Shelf) -> None:
    model = shelf.model(shelf.weights, shelf.text(media.SYSTEM, "old"), shelf.text(media.SYSTEM, "new"))
    assert model.layers.system == "new"


def test_a_template_is_translated_and_tells_what_the_model_can_do(shelf: Shelf) -> None:
    plain = shelf.model(shelf.weights, shelf.text(media.TEMPLATE, "{{ .System }}{{ .Prompt }}"))
    assert plain.card.capabilities == frozenset({Capability.COMPLETION})
    assert plain.template is not None and "message" in plain.template
    tools = shelf.model(shelf.weights, shelf.text(media.PROMPT, TOOLS), text="tools")
    assert tools.card.capabilities == frozenset({Capability.COMPLETION, Capability.TOOLS})
    assert (tools.layers.template, tools.refused) == (TOOLS, None)


def test_a_template_that_cannot_be_translated_is_refused_and_shown(shelf: Shelf) -> None:
    model = shelf.model(shelf.weights, shelf.text(media.TEMPLATE, "{{ .Prompt "))
    assert model.template is None
    assert model.refused is not None and "template" in model.refused
    assert model.layers.template == "{{ .Prompt "


def test_a_model_that_ollama_renders_by_itself_takes_the_files_template(shelf: Shelf, tmp_path: Path) -> None:
    rendered = Config(model_format="gguf", renderer="qwen3-coder")
    model = shelf.model(shelf.weights, shelf.text(media.TEMPLATE, "{{ .Prompt }}"), config=rendered)
    assert (model.template, model.refused) == (None, None)
    bare = layer(shelf.store, random_llama(tmp_path / "bare.gguf", template=None).read_bytes())
    refused = shelf.model(bare, shelf.text(media.TEMPLATE, "{{ .Prompt }}"), config=rendered, text="bare")
    assert (refused.template, refused.refused) == (
        None,
        "its prompts are written by Ollama's renderer qwen3-coder, and its file has no template",
    )


def test_the_config_knows_better_than_the_file(shelf: Shelf) -> None:
    config = Config(
        model_format="gguf",
        model_family="mine",
        model_families=("mine", "clip"),
        model_type="1.2B",
        file_type="Q4_K_M",
        capabilities=("vision", "of another time"),
        context_length=99,
        embedding_length=7,
    )
    card = shelf.model(shelf.weights, config=config).card
    assert (card.family, card.families, card.parameter_size, card.quantization) == (
        "mine",
        ("mine", "clip"),
        "1.2B",
        "Q4_K_M",
    )
    assert (card.context_length, card.embedding_length) == (99, 7)
    assert card.capabilities == frozenset({Capability.COMPLETION, Capability.VISION})


def test_what_is_shown(shelf: Shelf) -> None:
    config = Config(model_format="gguf", renderer="r", parser="p", requires="0.12.0")
    detail = shelf.model(
        shelf.weights,
        shelf.text(media.TEMPLATE, "{{ .Prompt }}"),
        shelf.text(media.SYSTEM, "s"),
        shelf.text(media.LICENSE, "MIT"),
        shelf.json(media.MESSAGES, [{"role": "user", "content": "a"}]),
        shelf.json(media.PARAMS, {"top_k": 3}),
        config=config,
    ).detail(verbose=False)
    assert (detail.template, detail.system, detail.licenses, detail.messages, detail.parameters) == (
        "{{ .Prompt }}",
        "s",
        ("MIT",),
        (("user", "a"),),
        {"top_k": 3},
    )
    assert (detail.renderer, detail.parser, detail.requires) == ("r", "p", "0.12.0")
    assert detail.info["general.architecture"] == "llama"


@pytest.mark.parametrize(
    ("layers", "config", "error", "text"),
    [
        (lambda s: [], None, ModelBroken, "its manifest names no weights"),
        (lambda s: [s.text(media.TENSOR, "x")], None, ModelBroken, MLX),
        (lambda s: [], Config(remote_host="https://ollama.com:443", remote_model="x"), ModelBroken, STUB),
        (lambda s: [s.text(media.MODEL, "<html>")], None, ModelBroken, "not a GGUF file"),
        (lambda s: [s.weights, s.text(media.PARAMS, "[1]")], None, ModelBroken, "its parameters cannot be read"),
        (lambda s: [s.weights, s.text(media.MESSAGES, "{}")], None, ModelBroken, "its messages cannot be read"),
        (lambda s: [s.weights, s.json(media.PARAMS, {"top_k": "many"})], None, BadRequest, 'option "top_k" must be'),
    ],
    ids=["empty", "tensors", "stub", "no gguf", "params", "messages", "an option"],
)
def test_what_is_no_model(
    shelf: Shelf,
    layers: Callable[[Shelf], list[Layer]],
    config: Config | None,
    error: type[ArrieroError],
    text: str,
) -> None:
    with pytest.raises(error) as raised:
        shelf.model(*layers(shelf), config=config)
    assert raised.value.message.startswith(text)


def test_a_blob_that_is_gone(shelf: Shelf) -> None:
    model = shelf.model(shelf.weights)
    shelf.store.blob(shelf.weights.digest).unlink()
    assert model.stored is not None
    with pytest.raises(ModelBroken) as raised:
        stored_model(shelf.store, model.stored, read_header)
    assert raised.value.message == f"its blob {shelf.weights.digest} is missing: pull or create the model again"
    shelf.store.blob(model.stored.manifest.config.digest).unlink()
    with pytest.raises(StoreError):
        stored_model(shelf.store, model.stored, read_header)


def test_headers_are_read_by_whoever_knows_them(shelf: Shelf) -> None:
    model = shelf.model(shelf.weights)
    read: list[Path] = []

    def known(path: Path) -> GgufHeader:
        read.append(path)
        return model.header

    assert model.stored is not None
    assert stored_model(shelf.store, model.stored, known).header is model.header
    assert read == [model.path]


def test_one_blob_that_is_named_again_and_again_does_not_fill_the_memory(shelf: Shelf) -> None:
    license = shelf.text(media.LICENSE, "l" * (MAX_LICENSE_BYTES // 2))
    assert shelf.model(shelf.weights, license, license).layers is not None
    with pytest.raises(ModelBroken, match=f"^its licenses have 2097152000 bytes, and {MAX_LICENSE_BYTES} are read at"):
        shelf.model(shelf.weights, *[license] * 1000)
