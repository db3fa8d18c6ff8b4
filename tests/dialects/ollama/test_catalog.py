"""Catalog values in, listings out: as Ollama's clients demand them."""

import json
from datetime import datetime
from math import inf
from typing import Any

import ollama
import pytest
from msgspec import Raw

from arriero.canonical.catalog import Capability, Listed, LoadedModel, ModelCard, ModelDetail
from arriero.dialects.ollama import catalog

C = Capability
DIGEST = "3a0c" * 16
SINCE = 1767319445.0
NOW = 1767400000.0
BARE = ModelCard(id="openai/gpt-4o")
FULL = ModelCard(
    id="tiny",
    capabilities=frozenset({C.TOOLS, C.COMPLETION}),
    context_length=8192,
    embedding_length=2048,
    size_bytes=1234567,
    digest=f"sha256:{DIGEST}",
    modified_at=1767319445.678901,
    family="llama",
    parameter_count=1235814432,
    quantization="Q8_0",
)
NATIVE = ModelCard(
    id="far:latest",
    modified_at=1767319400.0,
    digest=DIGEST,
    native=Raw(
        b'{"name":"far:latest","model":"far:latest","modified_at":"2026-01-02T03:03:20.123456789+01:00","size":7,'
        b'"digest":"' + DIGEST.encode() + b'","details":{"family":"llama","families":null,"new_detail":1},'
        b'"new":{"b":1,"a":2},"remote_host":"https://ollama.com","remote_model":"far"}'
    ),
)


def listed(*cards: ModelCard) -> list[Listed]:
    return [Listed(f"{card.id}:latest" if ":" not in card.id else card.id, card) for card in cards]


def test_tags_of_a_model_that_is_known() -> None:
    assert catalog.tags(listed(FULL)) == (
        b'{"models":[{"name":"tiny:latest","model":"tiny:latest","modified_at":"2026-01-02T02:04:05.678901+00:00",'
        b'"size":1234567,"digest":"' + DIGEST.encode() + b'","details":{"parent_model":"","format":"gguf",'
        b'"family":"llama","families":["llama"],"parameter_size":"1.2B","quantization_level":"Q8_0",'
        b'"context_length":8192,"embedding_length":2048},"capabilities":["completion","tools"]}]}'
    )


def test_tags_of_a_model_that_nobody_described() -> None:
    (entry,) = json.loads(catalog.tags(listed(BARE), SINCE))["models"]
    assert entry.pop("digest") == catalog.digest("openai/gpt-4o:latest", BARE)
    assert entry == {
        "name": "openai/gpt-4o:latest",
        "model": "openai/gpt-4o:latest",
        "modified_at": "2026-01-02T02:04:05+00:00",
        "size": catalog.INVENTED_SIZE_BYTES,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "gpt",
            "families": ["gpt"],
            "parameter_size": "",
            "quantization_level": "unknown",
        },
        "capabilities": ["completion"],
    }


@pytest.mark.parametrize(
    ("id", "family"),
    [
        ("openai/gpt-4o", "gpt"),
        ("anthropic/Claude-3", "claude"),
        ("meta/llama-3:free", "llama"),
        ("google/gemini-pro", "gemini"),
        ("qwen3:4b", "unknown"),
    ],
)
def test_a_family_that_nobody_tells_stands_in_the_id(id: str, family: str) -> None:
    (entry,) = json.loads(catalog.tags(listed(ModelCard(id=id))))["models"]
    assert (entry["details"]["family"], entry["details"]["families"]) == (family, [family])
    told = ModelCard(id=id, family="its own")
    assert json.loads(catalog.tags(listed(told)))["models"][0]["details"]["family"] == "its own"


def test_what_an_ollama_server_said_goes_out_as_it_came() -> None:
    assert catalog.tags([Listed("near:latest", NATIVE)]) == (
        b'{"models":[{"name":"near:latest","model":"near:latest",'
        b'"modified_at":"2026-01-02T03:03:20.123456789+01:00","size":7,"digest":"' + DIGEST.encode() + b'",'
        b'"details":{"parent_model":"","format":"gguf","family":"llama","families":["unknown"],"parameter_size":"",'
        b'"quantization_level":"unknown","new_detail":1},"capabilities":["completion"],"new":{"b":1,"a":2}}]}'
    )


def test_tags_are_newest_first_and_never_null() -> None:
    names = [entry["name"] for entry in json.loads(catalog.tags(listed(BARE, NATIVE, FULL)))["models"]]
    assert names == ["tiny:latest", "far:latest", "openai/gpt-4o:latest"]
    assert catalog.tags([]) == b'{"models":[]}'
    assert b"null" not in catalog.tags(listed(BARE, NATIVE, FULL))


def test_a_time_behind_all_times_is_the_last_one() -> None:
    (entry,) = json.loads(catalog.tags(listed(ModelCard(id="x", created=1_767_319_445_000_000))))["models"]
    assert entry["modified_at"] == "9999-12-31T23:59:59+00:00"


def test_a_stand_in_digest_changes_with_the_card_and_not_with_its_times() -> None:
    digests = {
        catalog.digest("x", BARE),
        catalog.digest("y", BARE),
        catalog.digest("x", ModelCard(id="openai/gpt-4o", context_length=1)),
        catalog.digest("x", ModelCard(id="openai/gpt-4o", capabilities=frozenset({C.COMPLETION, C.TOOLS}))),
        catalog.digest("x", ModelCard(id="openai/gpt-4o", digest="short")),
    }
    assert len(digests) == 4
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)
    for later in (ModelCard(id="openai/gpt-4o", modified_at=5.0), ModelCard(id="openai/gpt-4o", created=5)):
        assert catalog.digest("x", BARE) == catalog.digest("x", later)


# ---- ps ------------------------------------------------------------------------------------------------------------


def test_ps() -> None:
    loaded = LoadedModel(card=FULL, size_bytes=2000, vram_bytes=1000, expires_at=1767319445.5, context_length=4096)
    assert catalog.ps([("tiny:latest", loaded)], NOW) == (
        b'{"models":[{"name":"tiny:latest","model":"tiny:latest","size":2000,"digest":"' + DIGEST.encode() + b'",'
        b'"details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"1.2B",'
        b'"quantization_level":"Q8_0"},"expires_at":"2026-01-02T02:04:05.500000+00:00","size_vram":1000,'
        b'"context_length":4096}],"created_at":"2026-01-03T00:26:40Z"}'
    )
    assert catalog.ps([], NOW + 0.75) == b'{"models":[],"created_at":"2026-01-03T00:26:40Z"}'


@pytest.mark.parametrize("expires_at", [None, inf])
def test_a_model_that_stays(expires_at: float | None) -> None:
    (entry,) = json.loads(catalog.ps([("x", LoadedModel(card=BARE, expires_at=expires_at))], NOW))["models"]
    assert entry["size"] == entry["size_vram"] == catalog.INVENTED_SIZE_BYTES
    assert datetime.fromisoformat(entry["expires_at"]).year == 2318
    assert entry["context_length"] == 0


def test_ps_shows_the_longest_lifetime_first() -> None:
    pairs = [(name, LoadedModel(card=BARE, expires_at=at)) for name, at in (("a", 1.0), ("b", inf), ("c", 2.0))]
    assert [entry["name"] for entry in json.loads(catalog.ps(pairs, NOW))["models"]] == ["b", "c", "a"]


def test_ps_of_an_ollama_server() -> None:
    native = Raw(b'{"name":"far","size":5,"size_vram":5,"expires_at":"2026-01-02T03:04:05.1+01:00","new":1}')
    (entry,) = json.loads(catalog.ps([("near", LoadedModel(card=BARE, native=native))], NOW))["models"]
    assert (entry["name"], entry["expires_at"], entry["new"]) == ("near", "2026-01-02T03:04:05.1+01:00", 1)


# ---- show ----------------------------------------------------------------------------------------------------------


def shown(detail: ModelDetail, name: str = "tiny:latest", **options: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(catalog.show(detail, name, **options))
    return read


DETAIL = ModelDetail(
    card=FULL,
    info={
        "general.architecture": "llama",
        "general.name": "hidden",
        "llama.rope.freq_base": 500000.0,
        "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,  # of 32 bits
        "llama.rope.scaling.factor": 0.123456789012,
        "tokenizer.ggml.tokens": None,
        "tokenizer.ggml.scores": [1.5],
        "tokenizer.ggml.empty": [],
        "tokenizer.chat_template": "hidden",
    },
    template="{{ .Prompt }}\n",
    system="be kind",
    parameters={"stop": ["<|end|>", 'a "b"'], "temperature": 0.5, "top_k": 40, "seed": 1e6, "use_mmap": True},
    licenses=("MIT",),
    tensors=(("output.weight", "F16", (2, 3)),),
)


def test_show() -> None:
    parameters = (
        "num_ctx                        8192\n"
        'stop                           "<|end|>"\n'
        'stop                           "a \\"b\\""\n'
        "temperature                    0.5\n"
        "top_k                          40\n"
        "seed                           1e+06\n"
        "use_mmap                       true"
    )
    assert shown(DETAIL) == {
        "license": "MIT",
        "modelfile": '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        "# FROM tiny:latest\n"
        "\n"
        "FROM tiny:latest\n"
        'TEMPLATE "{{ .Prompt }}\n"\n'
        "SYSTEM be kind\n"
        "PARAMETER num_ctx 8192\n"
        "PARAMETER stop <|end|>\n"
        'PARAMETER stop a "b"\n'
        "PARAMETER temperature 0.5\n"
        "PARAMETER top_k 40\n"
        "PARAMETER seed 1e+06\n"
        "PARAMETER use_mmap true\n"
        "LICENSE MIT\n",
        "parameters": parameters,
        "template": "{{ .Prompt }}\n",
        "system": "be kind",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "1.2B",
            "quantization_level": "Q8_0",
        },
        "model_info": {
            "general.architecture": "llama",
            "general.basename": "tiny:latest",
            "general.parameter_count": 1235814432,
            "llama.attention.layer_norm_rms_epsilon": 1e-05,
            "llama.context_length": 8192,
            "llama.embedding_length": 2048,
            "llama.rope.freq_base": 500000,
            "llama.rope.scaling.factor": 0.123456789012,
            "tokenizer.ggml.empty": [],
            "tokenizer.ggml.scores": None,
            "tokenizer.ggml.tokens": None,
        },
        "tensors": [{"name": "output.weight", "type": "F16", "shape": [2, 3]}],
        "capabilities": ["completion", "tools"],
        "modified_at": "2026-01-02T02:04:05.678901+00:00",
    }
    text = catalog.show(DETAIL, "tiny:latest")
    assert b'"llama.rope.freq_base":500000,' in text
    assert b'"llama.attention.layer_norm_rms_epsilon":0.00001,' in text
    assert text.index(b"general.architecture") < text.index(b"llama.context_length") < text.index(b"tokenizer.ggml")


def test_what_the_request_changes() -> None:
    read = shown(DETAIL, verbose=True, basename="Tiny", system="be brief", options={"num_ctx": 1048576, "stop": []})
    assert read["model_info"]["tokenizer.ggml.scores"] == [1.5]
    assert read["model_info"]["general.basename"] == "Tiny"
    assert read["system"] == "be brief" and "SYSTEM be brief\n" in read["modelfile"]
    lines = [line for line in read["modelfile"].splitlines() if line.startswith("PARAMETER")]
    assert lines == [
        "PARAMETER temperature 0.5",
        "PARAMETER top_k 40",
        "PARAMETER seed 1e+06",
        "PARAMETER use_mmap true",
        "PARAMETER num_ctx 1048576",
    ]
    assert read["parameters"] == shown(DETAIL)["parameters"]


def test_nothing_is_made_up_for_a_model_that_nobody_described() -> None:
    read = shown(ModelDetail(card=BARE), "openai/gpt-4o:latest", since=SINCE)
    assert read == {
        "license": "",
        "parameters": "",
        "modelfile": '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        "# FROM openai/gpt-4o:latest\n"
        "\n"
        "FROM openai/gpt-4o:latest\n"
        "TEMPLATE {{ .Prompt }}\n",
        "template": "{{ .Prompt }}",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "gpt",
            "families": ["gpt"],
            "parameter_size": "",
            "quantization_level": "unknown",
        },
        "model_info": {"general.architecture": "unknown", "general.basename": "openai/gpt-4o:latest"},
        "capabilities": ["completion"],
        "modified_at": "2026-01-02T02:04:05+00:00",
    }


def test_a_model_that_inserts_shows_a_suffix() -> None:
    card = ModelCard(id="x", capabilities=frozenset({C.COMPLETION, C.INSERT}))
    assert ".Suffix" in shown(ModelDetail(card=card))["template"]
    assert ".Suffix" not in shown(ModelDetail(card=BARE))["template"]


def test_a_value_of_a_modelfile_is_quoted_where_it_must_be() -> None:
    read = shown(ModelDetail(card=BARE, system='two\n"lines"', licenses=(" edge",)))
    assert 'SYSTEM """two\n"lines""""\n' in read["modelfile"]
    assert 'LICENSE " edge"\n' in read["modelfile"]


STORED = ModelDetail(
    card=DETAIL.card,
    info={**DETAIL.info, "general.basename": "Tiny"},
    chat_template="{% for m in messages %}",
    messages=(("user", "hi"), ("assistant", "ho")),
    licenses=("MIT", "two\nlines"),
    requires="0.14.0",
    renderer="plain",
    parser="plain",
    projector={"general.architecture": "clip", "clip.vision.image_mean": [0.5], "clip.has_vision_encoder": True},
    stored=True,
)


def test_show_of_a_stored_model_makes_nothing_up() -> None:
    read = shown(STORED)
    assert {key: value for key, value in read.items() if key not in ("details", "model_info", "capabilities")} == {
        "license": "MIT\ntwo\nlines",
        "modelfile": '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        "# FROM tiny:latest\n"
        "\n"
        "FROM tiny:latest\n"
        "RENDERER plain\n"
        "PARSER plain\n"
        "REQUIRES 0.14.0\n"
        "LICENSE MIT\n"
        'LICENSE "two\nlines"\n'
        "MESSAGE user hi\n"
        "MESSAGE assistant ho\n",
        "parameters": "",
        "template": "{% for m in messages %}",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        "projector_info": {
            "clip.has_vision_encoder": True,
            "clip.vision.image_mean": None,
            "general.architecture": "clip",
        },
        "modified_at": "2026-01-02T02:04:05.678901+00:00",
        "requires": "0.14.0",
    }
    assert read["model_info"]["general.basename"] == "Tiny"
    assert shown(STORED, basename="Other")["model_info"]["general.basename"] == "Other"
    assert shown(STORED, verbose=True)["projector_info"]["clip.vision.image_mean"] == [0.5]


def test_the_keys_of_show_stand_in_the_contracts_order() -> None:
    assert list(shown(STORED, system="be brief")) == [
        "license",
        "modelfile",
        "parameters",
        "template",
        "system",
        "details",
        "messages",
        "model_info",
        "projector_info",
        "capabilities",
        "modified_at",
        "requires",
    ]


def test_show_of_an_ollama_server_goes_out_as_it_came() -> None:
    native = (
        b'{"template":"t","details":{"family":"llama"},"model_info":{"general.architecture":"llama","x":1.0},'
        b'"new":null,"capabilities":["completion"],"modified_at":"2026-01-02T03:04:05.123456789+01:00"'
    )
    detail = ModelDetail(card=ModelCard(id="x", native=Raw(native + b',"remote_host":"h"}')))
    assert catalog.show(detail, "x") == native + b"}"
    read = shown(detail, basename="X", system="s")
    assert read["model_info"] == {"general.architecture": "llama", "x": 1.0, "general.basename": "X"}
    assert read["system"] == "s"


WRONG_TYPES = (
    b'{"modified_at":17,"size":"big","details":"none","capabilities":"all","expires_at":"never","size_vram":1.5}',
    b'{"modified_at":"2026-02-30T00:00:00Z","size":-5,"details":[],"capabilities":[5],"expires_at":5,"size_vram":"5"}',
    b'{"modified_at":"","details":{"families":"x","parameter_size":7,"family":[],"context_length":"8k"},"size_vram":-1}',
    b'{"modified_at":"2026-01-02","details":{"families":[1],"format":1,"parent_model":{},"quantization_level":4}}',
)


@pytest.mark.parametrize("native", WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_not_told_on(native: bytes) -> None:
    """A client that checks types refuses the whole list for it, that of all other backends too."""
    said, silent = (ModelCard(id="x", native=told) for told in (Raw(native), None))
    assert catalog.tags(listed(said)) == catalog.tags(listed(silent))
    process = [[("x:latest", LoadedModel(card=silent, native=told))] for told in (Raw(native), None)]
    assert catalog.ps(process[0], NOW) == catalog.ps(process[1], NOW)


@pytest.mark.parametrize("native", [b'{"model_info":{}}', b'{"model_info":null,"capabilities":null,"details":null}'])
def test_what_an_old_ollama_server_leaves_out_is_filled_in(native: bytes) -> None:
    read = shown(ModelDetail(card=ModelCard(id="x", native=Raw(native))))
    assert read["model_info"] == {}
    assert read["capabilities"] == ["completion"]
    assert read["details"]["family"] == "unknown"
    assert read["modified_at"] == "1970-01-01T00:00:00+00:00"


def test_the_entry_of_a_list_is_not_a_description() -> None:
    assert "model_info" in shown(ModelDetail(card=NATIVE))


# ---- the rest ------------------------------------------------------------------------------------------------------


def test_version_and_status() -> None:
    assert catalog.version("0.12.3") == b'{"version":"0.12.3"}'
    assert catalog.status() == b'{"cloud":{"disabled":true,"source":"env"}}'


def test_the_python_client_takes_every_listing() -> None:
    models = ollama.ListResponse.model_validate_json(catalog.tags(listed(BARE, NATIVE, FULL))).models
    assert all(model.model and model.size and model.digest and model.modified_at for model in models)
    loaded = [(name, LoadedModel(card=card)) for name, card in (("a", BARE), ("b", FULL))]
    ollama.ProcessResponse.model_validate_json(catalog.ps(loaded, NOW))
    for detail in (DETAIL, ModelDetail(card=BARE)):
        response = ollama.ShowResponse.model_validate_json(catalog.show(detail, "x"))
        assert response.modelinfo is not None and response.capabilities


def test_what_is_rendered_is_read_back() -> None:
    (card,) = catalog.read_tags(catalog.tags(listed(FULL)))
    told = ("capabilities", "context_length", "embedding_length", "size_bytes", "family", "quantization")
    assert [getattr(card, field) for field in told] == [getattr(FULL, field) for field in told]
    detail = catalog.read_show(catalog.show(DETAIL, "tiny"), "tiny")
    assert detail.parameters["stop"] == DETAIL.parameters["stop"]
    assert (detail.card.context_length, detail.card.capabilities) == (8192, FULL.capabilities)
