import json
from typing import Any

import pytest

from arriero.backends.engine.library.create_body import CLOUD, Info, Wanted, is_safetensors, read_create
from arriero.dialects.ollama.names import Name
from arriero.errors import ArrieroError, BadRequest, Forbidden

DIGEST = f"sha256:{'a' * 64}"
TINY = Name("tiny")


def read(**fields: object) -> Wanted:
    return read_create(json.dumps({"model": "tiny", **fields}).encode())


def test_all_that_can_be_asked_for() -> None:
    wanted = read(
        model="me/tiny:1b",
        **{"from": "Base:Q4"},
        files={"a.gguf": f"sha256-{'A' * 64}", "sub/b.gguf": DIGEST},
        adapters={"lora.gguf": DIGEST},
        template="{{ .Prompt }}",
        system="be kind",
        license=["MIT", "", "Apache-2.0"],
        parameters={"num_ctx": 4096.0, "temperature": 0.5, "stop": ["<|end|>"], "top_k": None, "colour": "red"},
        messages=[{"role": "User", "content": "hi"}, {"role": "assistant"}],
        quantize="q8_0",
        renderer="r",
        parser="p",
        requires="0.14.0",
        info={
            "capabilities": ["tools"],
            "model_family": "llama",
            "base_name": "Base",
            "quantization_level": "Q8_0",
            "parameter_size": "8B",
            "context_length": 4096.0,
            "embedding_length": 0,
            "other": {},
        },
        stream=False,
        modelfile="FROM old",
        path="/old",
    )
    assert wanted == Wanted(
        name=Name("tiny", "1b", "me"),
        base="Base:Q4",
        files={"a.gguf": DIGEST, "sub/b.gguf": DIGEST},
        adapters={"lora.gguf": DIGEST},
        template="{{ .Prompt }}",
        system="be kind",
        licenses=("MIT", "Apache-2.0"),
        parameters={"num_ctx": 4096, "temperature": 0.5, "stop": ["<|end|>"], "top_k": None, "colour": "red"},
        messages=(("user", "hi"), ("assistant", "")),
        quantize="Q8_0",
        renderer="r",
        parser="p",
        requires="0.14.0",
        info=Info(
            capabilities=("tools",),
            model_family="llama",
            base_name="Base",
            quantization_level="Q8_0",
            parameter_size="8B",
            context_length=4096,
            embedding_length=0,
        ),
    )


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"NAME":"tiny","From":"x"}trailing', Wanted(name=TINY, base="x")),
        (b'{"model":"tiny","from":" x:1b:local "}', Wanted(name=TINY, base="x:1b")),
        (b'{"model":"tiny","from":"x","license":"MIT"}', Wanted(name=TINY, base="x", licenses=("MIT",))),
        (b'{"model":"tiny","from":"x","license":"","system":null}', Wanted(name=TINY, base="x")),
        (b'{"model":"tiny","from":"x","quantization":"f16"}', Wanted(name=TINY, base="x", quantize="F16")),
        (b'{"model":"tiny","files":{}}', Wanted(name=TINY, files={})),
        (b'{"model":"tiny","from":"x","draft_files":{},"files":null}', Wanted(name=TINY, base="x")),
    ],
)
def test_bodies_are_read_as_ollama_reads_them(body: bytes, wanted: Wanted) -> None:
    assert read_create(body) == wanted


BASE: dict[str, Any] = {"from": "x"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"modelfile": "FROM x", "path": "/x"}, "neither 'from' or 'files' was specified"),
        ({**BASE, "model": ""}, "invalid model name"),
        ({**BASE, "model": "a b"}, "invalid model name"),
        ({**BASE, "model": " tiny"}, "invalid model name"),
        ({**BASE, "model": "../../etc/x"}, "invalid model name"),
        ({"from": "./a.gguf"}, "invalid model name"),
        ({"from": ":local"}, "invalid model name"),
        ({"from": "x:local:cloud"}, 'use either :local or :cloud, not both: "x:local:cloud"'),
        ({"files": {"/etc/a.gguf": DIGEST}}, "file path must be relative"),
        ({"files": {"../a.gguf": DIGEST}}, "file path must be relative"),
        ({"files": {"a/./b.gguf": DIGEST}}, "file path must be relative"),
        ({"files": {"a//b.gguf": DIGEST}}, "file path must be relative"),
        ({"files": {"": DIGEST}}, "file path must be relative"),
        ({**BASE, "draft_files": {"../d.gguf": DIGEST}}, "file path must be relative"),
        ({**BASE, "adapters": {"/l.gguf": DIGEST}}, "file path must be relative"),
        ({"files": {"a.gguf": ""}}, "invalid digest format"),
        ({"files": {"a.gguf": None}}, "invalid digest format"),
        ({"files": {"a.gguf": "sha256:../../x"}}, "invalid digest format"),
        ({**BASE, "adapters": {"a.gguf": "md5:00"}}, "invalid digest format"),
        ({**BASE, "draft_quantize": "Q4_0"}, "--draft-quantize requires a DRAFT model"),
        (
            {**BASE, "draft_files": {"d.gguf": DIGEST}},
            "a draft model for speculative decoding is not supported by this engine: leave DRAFT out",
        ),
        ({**BASE, "remote_host": "ftp://x y"}, "bad remote"),
        ({**BASE, "template": "{{ .Prompt"}, "template error: template: :1: unclosed action"),
        ({**BASE, "license": 7}, "license must be a string or a list of strings"),
        ({**BASE, "license": ["MIT", 7]}, "license must be a string or a list of strings"),
        ({**BASE, "parameters": {"num_ctx": "4096"}}, 'option "num_ctx" must be of type integer'),
        ({**BASE, "parameters": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({**BASE, "parameters": {"stop": "END"}}, 'option "stop" must be of type array'),
        (
            {**BASE, "messages": [{"role": "tool", "content": "x"}]},
            'message role must be one of "system", "user", or "assistant"',
        ),
        (
            {**BASE, "messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
            'a message that a model is made with holds text only: the one of "user" holds more',
        ),
        ({**BASE, "info": {"model_family": 1}}, 'info field "model_family" must be a string'),
        ({**BASE, "info": {"context_length": "8k"}}, 'info field "context_length" must be a number'),
        ({**BASE, "info": {"context_length": True}}, 'info field "context_length" must be a number'),
        ({**BASE, "info": {"embedding_length": -1}}, 'info field "embedding_length" must be a non-negative integer'),
        ({**BASE, "info": {"embedding_length": 1.5}}, 'info field "embedding_length" must be a non-negative integer'),
        ({**BASE, "info": {"capabilities": "tools"}}, 'info field "capabilities" must be a list of strings'),
        (
            {"files": ["a.gguf"]},
            "json: cannot unmarshal array into Go struct field CreateRequest.files of type map[string]string",
        ),
        (
            {"files": {"a.gguf": 7}},
            "json: cannot unmarshal number into Go struct field CreateRequest.files of type string",
        ),
        ({"from": 7}, "json: cannot unmarshal number into Go struct field CreateRequest.from of type string"),
    ],
)
def test_what_is_wrong_with_a_body_is_said_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        read(**fields)
    assert (raised.value.message, raised.value.status) == (message, 400)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b'{"model":"tiny"', "unexpected EOF"),
        (
            b'{"model":"tiny","from":"x","info":{"context_length":1e999}}',
            "json: cannot unmarshal 1e999 into a Go value",
        ),
    ],
)
def test_bodies_that_are_none(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        read_create(body)
    assert raised.value.message == message


def test_a_value_without_end_of_depth() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    with pytest.raises(BadRequest) as raised:
        read_create(b'{"model":"tiny","from":"x","parameters":{"x":' + deep + b"}}")
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "fields", [{"from": "x:cloud"}, {"from": "x:20b-cloud"}, {"from": "x", "remote_host": "https://ollama.com:443"}]
)
def test_models_of_the_cloud_are_answered_as_with_the_cloud_switched_off(fields: dict[str, Any]) -> None:
    with pytest.raises(Forbidden) as raised:
        read(**fields)
    assert (raised.value.message, raised.value.status) == (CLOUD, 403)


def test_faults_come_in_the_contracts_order() -> None:
    fields: dict[str, Any] = {"model": "a b", "files": {"/x": ""}, "draft_quantize": "q"}
    messages = []
    for mended in ({}, {"files": {"x": ""}}, {"files": {"x": DIGEST}}, {"draft_quantize": ""}, {"model": "a"}):
        fields |= mended
        try:
            read_create(json.dumps(fields).encode())
        except ArrieroError as error:
            messages.append(error.message)
    assert messages == [
        "file path must be relative",
        "invalid digest format",
        "--draft-quantize requires a DRAFT model",
        "invalid model name",
    ]


def test_which_files_are_safetensors() -> None:
    assert is_safetensors("model-00001-of-00002.safetensors")
    assert not is_safetensors("model.gguf")
