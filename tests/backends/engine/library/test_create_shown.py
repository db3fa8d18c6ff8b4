"""What `/api/show` tells of a model that was created, and the same model created again from it."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from arriero.dialects.ollama.catalog import show
from arriero.dialects.ollama.modelfile import create_fields, read_modelfile
from support.gguf import projector
from support.workshop import Workshop

FULL: Final[dict[str, Any]] = {
    "template": '{{ if .System }}"{{ .System }}"\n{{ end }}{{ .Prompt }} ',
    "system": ' "Be" kind,\nand brief. ',
    "license": ["MIT\n\nDo what you like.", "Apache-2.0", '"quoted"'],
    "parameters": {"stop": ["<|end|>", ' "a"', "two\nlines"], "num_ctx": 1048576, "temperature": 0.7, "use_mmap": True},
    "messages": [{"role": "user", "content": "hi: there"}, {"role": "assistant", "content": ""}],
    "renderer": "r",
    "parser": "p",
    "requires": "0.14.0",
}


@pytest.mark.parametrize(
    "fields",
    [{}, {"system": "plain"}, FULL, *({key: value} for key, value in FULL.items())],
    ids=["nothing", "plain", "everything", *FULL],
)
async def test_what_show_prints_makes_the_same_model_again(
    shop: Workshop, weights: str, fields: dict[str, Any]
) -> None:
    await shop.make(files={"a": weights}, **fields)
    first = shop.manifest()
    model = await shop.find("tiny")
    assert model is not None
    shown = json.loads(show(model.detail(verbose=False), "tiny:latest"))
    again = create_fields(read_modelfile(shown["modelfile"]))
    assert again["from"] == "tiny:latest"
    assert {key: again.get(key) for key in fields if key != "license"} == {
        key: value for key, value in fields.items() if key != "license"
    }
    await shop.make(**again)
    assert shop.manifest() == first
    await shop.make("other", **again)
    assert [layer.digest for layer in shop.manifest("other").blobs] == [layer.digest for layer in first.blobs]


async def test_what_show_tells_of_a_stored_model(shop: Workshop, weights: str, tmp_path: Path) -> None:
    eyes = shop.upload(projector(tmp_path / "eyes.gguf"))
    await shop.make(files={"a.gguf": weights, "e.gguf": eyes}, **FULL)
    model = await shop.find("tiny")
    assert model is not None
    shown = json.loads(show(model.detail(verbose=False), "tiny:latest"))
    assert shown["license"] == "\n".join(FULL["license"])
    assert (shown["template"], shown["system"]) == (FULL["template"], FULL["system"])
    assert shown["messages"] == FULL["messages"]
    assert shown["requires"] == "0.14.0"
    assert shown["parameters"].splitlines() == [
        "num_ctx                        1048576",
        'stop                           "<|end|>"',
        'stop                           " \\"a\\""',
        'stop                           "two\\nlines"',
        "temperature                    0.7",
        "use_mmap                       true",
    ]
    assert shown["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama", "clip"],
        "parameter_size": "118K",
        "quantization_level": "F16",
    }
    assert shown["projector_info"]["general.architecture"] == "clip"
    assert shown["projector_info"]["clip.vision.image_mean"] is None
    assert shown["capabilities"] == ["completion", "vision"]
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    assert str(shop.store.root) not in json.dumps(shown)
    whole = json.loads(show(model.detail(verbose=True), "tiny:latest", verbose=True))
    assert len(whole["model_info"]["tokenizer.ggml.tokens"]) == 280
    assert whole["projector_info"]["clip.vision.image_mean"] == [0.5, 0.5, 0.5]
