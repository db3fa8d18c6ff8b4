"""An Ollama server's listings in, catalog values out."""

import json
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, Listed, LoadedModel, ModelCard, ModelDetail
from arriero.dialects.ollama import catalog
from arriero.dialects.ollama.catalog_reading import read_ps, read_show, read_tags, read_version
from arriero.errors import BackendBroken

DIGEST = "3a0c" * 16
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1.2B",
    "quantization_level": "Q8_0",
}
TAG = {
    "name": "tiny:latest",
    "model": "tiny:latest",
    "modified_at": "2026-01-02T03:04:05.678901234+01:00",
    "size": 1234567,
    "digest": DIGEST,
    "details": {**DETAILS, "context_length": 8192, "embedding_length": 2048},
    "capabilities": ["completion", "tools", "new"],
}
KNOWN = ModelCard(
    id="tiny:latest",
    capabilities=frozenset({Capability.COMPLETION, Capability.TOOLS}),
    context_length=8192,
    embedding_length=2048,
    size_bytes=1234567,
    digest=DIGEST,
    modified_at=1767319445.678901,
    format="gguf",
    family="llama",
    families=("llama",),
    parameter_size="1.2B",
    quantization="Q8_0",
)


def body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def card(**changes: object) -> ModelCard:
    fields = {name: getattr(KNOWN, name) for name in KNOWN.__struct_fields__} | changes
    return ModelCard(**fields)


def test_tags() -> None:
    left = {"modified_at": TAG["modified_at"], "capabilities": TAG["capabilities"]}
    assert read_tags(body({"models": [TAG]})) == (card(native=Raw(body(left))),)


def test_an_entry_that_is_all_on_the_card_is_not_held_twice() -> None:
    told = {**TAG, "capabilities": ["completion", "tools"]}
    del told["modified_at"]
    assert read_tags(body({"models": [told]})) == (card(modified_at=None),)


ODD: list[Any] = [None, "", 0, -1, [], {}, "odd", 7, 1.5, True, ["llama"], ["llama", "clip"], ["", 3], ["tools"]]
PLAIN = {**TAG, "capabilities": ["completion", "tools"]}


def changed() -> Iterator[dict[str, Any]]:
    """A plain entry with one member of it, or of its details, gone or odd."""
    details = PLAIN["details"]
    assert isinstance(details, dict)
    for key in (*PLAIN, "new"):
        if key not in ("name", "model"):
            yield {name: value for name, value in PLAIN.items() if name != key}
            yield from ({**PLAIN, key: value} for value in ODD)
    for key in (*details, "new"):
        yield {**PLAIN, "details": {name: value for name, value in details.items() if name != key}}
        yield from ({**PLAIN, "details": {**details, key: value}} for value in ODD)


def test_a_listing_says_the_same_as_if_the_whole_entry_had_been_kept() -> None:
    for entry in changed():
        (read,) = read_tags(body({"models": [entry]}))
        kept = replace(read, native=Raw(body(entry)))
        assert json.loads(catalog.tags([Listed("x", read)])) == json.loads(catalog.tags([Listed("x", kept)])), entry


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"name": "a"}, ModelCard(id="a")),
        ({"model": "a", "name": "b"}, ModelCard(id="a")),
        ({"name": "a", "details": None, "size": None, "capabilities": None, "families": []}, ModelCard(id="a")),
        ({"name": "a", "details": {"families": None, "family": ""}, "size": "1"}, ModelCard(id="a")),
        ({"name": "a", "modified_at": "0001-01-01T00:00:00Z", "capabilities": []}, ModelCard(id="a")),
        ({"name": "a", "modified_at": "yesterday", "capabilities": ["new"]}, ModelCard(id="a")),
        ({"name": "a", "modified_at": "2026-01-02T02:04:05Z"}, ModelCard(id="a", modified_at=1767319445.0)),
    ],
)
def test_what_is_not_told_is_unknown(entry: dict[str, object], read: ModelCard) -> None:
    (found,) = read_tags(body({"models": [entry]}))
    assert {name: getattr(found, name) for name in found.__struct_fields__ if name != "native"} == {
        name: getattr(read, name) for name in read.__struct_fields__ if name != "native"
    }


@pytest.mark.parametrize("size", [-5, 10**40, "big", True])
def test_a_size_that_nothing_has_is_unknown(size: object) -> None:
    (read,) = read_tags(body({"models": [{**TAG, "size": size}]}))
    assert read.size_bytes is None
    (entry,) = json.loads(catalog.tags([Listed("tiny:latest", read)]))["models"]
    assert entry["size"] == catalog.INVENTED_SIZE_BYTES


def test_an_empty_list() -> None:
    assert read_tags(b'{"models":[]}') == read_tags(b'{"models":null}') == read_tags(b"{}") == ()
    assert read_tags(b'{"models":[{},1,{"name":""}]}') == ()


@pytest.mark.parametrize("read", [read_tags, read_ps, read_version, lambda body: read_show(body, "x")])
@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b"7", b"\xff"])
def test_nonsense(read: Callable[[bytes], object], text: bytes) -> None:
    with pytest.raises(BackendBroken):
        read(text)


@pytest.mark.parametrize("read", [read_tags, read_ps])
def test_models_that_are_no_list(read: Callable[[bytes], object]) -> None:
    with pytest.raises(BackendBroken):
        read(b'{"models":{}}')


def test_ps() -> None:
    entry = {
        "name": "tiny:latest",
        "model": "tiny:latest",
        "size": 2000,
        "digest": DIGEST,
        "details": DETAILS,
        "expires_at": "2026-01-02T03:04:05.5+01:00",
        "size_vram": 1000,
        "context_length": 4096,
    }
    forever = {**entry, "expires_at": "2318-05-05T00:00:00Z", "size_vram": 0}
    expected = card(capabilities=None, context_length=None, embedding_length=None, size_bytes=2000, modified_at=None)
    loaded = LoadedModel(
        card=expected, size_bytes=2000, vram_bytes=1000, expires_at=1767319445.5, context_length=4096,
        native=Raw(body(entry)),
    )  # fmt: skip
    stays = LoadedModel(
        card=expected, size_bytes=2000, vram_bytes=0, expires_at=inf, context_length=4096, native=Raw(body(forever))
    )
    assert read_ps(body({"models": [entry, forever]})) == (loaded, stays)


def test_show() -> None:
    shown = {
        "license": "MIT",
        "parameters": 'num_ctx                        8192\nstop                           "<|end|>"\n'
        'stop                           "a b"\ntemperature                    0.5\nbig   1.048576e+06',
        "template": "{{ .Prompt }}",
        "system": "be kind",
        "details": DETAILS,
        "model_info": {
            "general.architecture": "llama",
            "general.parameter_count": 1235814432,
            "llama.context_length": 8192,
            "llama.embedding_length": 2048,
            "tokenizer.ggml.tokens": ["a"],
        },
        "capabilities": ["completion", "tools"],
        "modified_at": "2026-01-02T03:04:05.678901234+01:00",
    }
    expected = card(size_bytes=None, digest=None, parameter_count=1235814432, native=Raw(body(shown)))
    assert read_show(body(shown), "tiny:latest") == ModelDetail(
        card=expected,
        info={
            "general.architecture": "llama",
            "general.parameter_count": 1235814432,
            "llama.context_length": 8192,
            "llama.embedding_length": 2048,
            "tokenizer.ggml.tokens": None,
        },
        template="{{ .Prompt }}",
        system="be kind",
        parameters={"num_ctx": 8192, "stop": ["<|end|>", "a b"], "temperature": 0.5, "big": 1048576},
        licenses=("MIT",),
    )


def test_show_that_says_nothing() -> None:
    detail = read_show(b'{"model_info":null,"details":null}', "x")
    assert (detail.card.id, detail.card.context_length, detail.info) == ("x", None, {})


def test_version() -> None:
    assert read_version(b'{"version":"0.12.3"}') == "0.12.3"
    assert read_version(b"{}") is None
