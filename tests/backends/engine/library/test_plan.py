import hashlib
from typing import Any

import msgspec
import pytest

from arriero.backends.engine.gguf import GgufHeader
from arriero.backends.engine.library.create_body import Info, Wanted
from arriero.backends.engine.library.plan import (
    Fresh,
    Ground,
    Part,
    check_quantization,
    check_sizes,
    plan_config,
    plan_layers,
    write_messages,
    write_parameters,
)
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.blobs import MAX_READ_BYTES
from arriero.backends.engine.store.manifest import Config, Layer
from arriero.backends.engine.stored import MAX_LICENSE_BYTES
from arriero.dialects.ollama.names import Name
from arriero.errors import ArrieroError, BadRequest, NotImplementedHere


def layer(kind: str, data: str, origin: str = "") -> Layer:
    digest = f"sha256:{hashlib.sha256(data.encode()).hexdigest()}"
    return Layer(media_type=kind, digest=digest, size=len(data), origin=origin)


def wanted(**fields: Any) -> Wanted:
    return Wanted(name=Name("new"), base="base", **fields)


def header(count: int = 1_500_000, /, **metadata: Any) -> GgufHeader:
    return GgufHeader(
        version=3,
        metadata={"general.architecture": "llama", "general.file_type": 1, **metadata},
        tensors=(),
        parameter_count=count,
        length=100,
        size_bytes=200,
        digest="0" * 64,
        infill=False,
        tokens_at=None,
    )


MODEL = layer(media.MODEL, "weights", "base:latest")
TEMPLATE = layer(media.TEMPLATE, "{{ .Prompt }}", "base:latest")
SYSTEM = layer(media.SYSTEM, "be kind", "base:latest")
LICENSE = layer(media.LICENSE, "MIT", "base:latest")
PARAMS = layer(media.PARAMS, '{"num_ctx":4096,"stop":["a"]}\n', "base:latest")
UNKNOWN = layer(media.MEDIA + "future", "?", "base:latest")
BASE = Ground(
    (MODEL, TEMPLATE, UNKNOWN, SYSTEM, LICENSE, PARAMS),
    ((media.MODEL, header()),),
    Config(renderer="r", parser="p", requires="0.1", capabilities=("tools",), model_family="other", file_type="Q2_K"),
    {"num_ctx": 4096, "stop": ["a"]},
)


@pytest.mark.parametrize(
    ("ground", "request_", "parts"),
    [
        (BASE, wanted(), BASE.layers),
        # What is there already stays as it is, also with where it came from.
        (BASE, wanted(template="{{ .Prompt }}", system="be kind", licenses=("MIT",)), BASE.layers),
        (BASE, wanted(parameters={"num_ctx": 4096}), BASE.layers),
        (
            BASE,
            wanted(template="T", system="S", licenses=("Apache-2.0", "MIT"), messages=(("user", "hi"),)),
            (
                MODEL,
                Fresh(media.TEMPLATE, b"T"),
                UNKNOWN,
                Fresh(media.SYSTEM, b"S"),
                LICENSE,
                Fresh(media.LICENSE, b"Apache-2.0"),
                PARAMS,
                Fresh(media.MESSAGES, b'[{"role":"user","content":"hi"}]\n'),
            ),
        ),
        (
            BASE,
            wanted(parameters={"stop": ["b"], "seed": 7}),
            (*BASE.layers[:-1], Fresh(media.PARAMS, b'{"num_ctx":4096,"seed":7,"stop":["b"]}\n')),
        ),
        (BASE, wanted(parameters={"stop": None, "num_ctx": None}), BASE.layers[:-1]),
        (BASE, wanted(parameters={"num_ctx": None}), (*BASE.layers[:-1], Fresh(media.PARAMS, b'{"stop":["a"]}\n'))),
        # The old name of a template, and two of a kind, of which the later counts.
        (
            Ground((layer(media.PROMPT, "old"), MODEL, layer(media.TEMPLATE, "older"))),
            wanted(template="T"),
            (Fresh(media.TEMPLATE, b"T"), MODEL),
        ),
        (
            Ground((layer(media.SYSTEM, "one"), layer(media.SYSTEM, "two"))),
            wanted(system="two"),
            (layer(media.SYSTEM, "two"),),
        ),
        (
            Ground((MODEL,), parameters={"temperature": 0}),
            wanted(),
            (MODEL, Fresh(media.PARAMS, b'{"temperature":0}\n')),
        ),
        (Ground((MODEL,)), wanted(licenses=("MIT",)), (MODEL, Fresh(media.LICENSE, b"MIT"))),
    ],
)
def test_layers(ground: Ground, request_: Wanted, parts: tuple[Part, ...]) -> None:
    assert plan_layers(ground, request_) == parts


def test_small_layers_are_written_as_ollama_writes_them() -> None:
    assert write_parameters({"stop": ["ü"], "num_ctx": 1}) == '{"num_ctx":1,"stop":["ü"]}\n'.encode()
    assert write_messages((("user", "a"), ("assistant", ""))) == (
        b'[{"role":"user","content":"a"},{"role":"assistant","content":""}]\n'
    )


@pytest.mark.parametrize(
    ("ground", "request_", "config"),
    [
        (
            Ground((MODEL,), ((media.MODEL, header()),)),
            wanted(),
            Config(
                model_format="gguf",
                model_family="llama",
                model_families=("llama",),
                model_type="1.50M",
                file_type="F16",
            ),
        ),
        # The file knows better than the base; what cannot be read from a file comes from the base.
        (
            BASE,
            wanted(),
            Config(
                model_format="gguf",
                model_family="llama",
                model_families=("llama",),
                model_type="1.50M",
                file_type="F16",
                renderer="r",
                parser="p",
                requires="0.1",
                capabilities=("tools",),
            ),
        ),
        (
            Ground(
                (MODEL,),
                (
                    (media.MODEL, header(**{"general.file_type": 4711})),
                    (media.ADAPTER, header()),
                    (media.PROJECTOR, header(**{"general.architecture": "clip"})),
                ),
            ),
            wanted(
                renderer="R",
                info=Info(
                    model_family="mine",
                    base_name="B",
                    parameter_size="9B",
                    context_length=0,
                    embedding_length=64,
                    capabilities=("vision", "vision"),
                ),
            ),
            Config(
                model_format="gguf",
                model_family="mine",
                model_families=("llama", "clip"),
                model_type="9B",
                file_type="unknown",
                renderer="R",
                base_name="B",
                context_length=0,
                embedding_length=64,
                capabilities=("vision",),
            ),
        ),
        # No GGUF file: all that is known is what the base says.
        (
            Ground((), (), Config(model_format="safetensors", model_family="qwen", context_length=8, parser="p")),
            wanted(parser="P", info=Info(quantization_level="Q8_0", capabilities=("tools",))),
            Config(
                model_format="safetensors",
                model_family="qwen",
                context_length=8,
                parser="P",
                file_type="Q8_0",
                capabilities=("tools",),
            ),
        ),
    ],
)
def test_configs(ground: Ground, request_: Wanted, config: Config) -> None:
    assert plan_config(ground, request_) == config


def test_a_file_that_does_not_say_its_type() -> None:
    silent = msgspec.structs.replace(header(), metadata={"general.architecture": "llama"})
    assert plan_config(Ground((), ((media.MODEL, silent),)), wanted()).file_type == "unknown"


def refusal(file_type: int, level: str) -> ArrieroError | None:
    ground = Ground((MODEL,), ((media.MODEL, header(**{"general.file_type": file_type})),))
    try:
        check_quantization(ground, wanted(quantize=level))
    except ArrieroError as error:
        return error
    return None


UNSUPPORTED = "unsupported quantization type Q5_X - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0"


@pytest.mark.parametrize(("file_type", "message"), [(1, UNSUPPORTED), (7, UNSUPPORTED)])
def test_a_type_that_nobody_knows_is_told_first(file_type: int, message: str) -> None:
    error = refusal(file_type, "Q5_X")
    assert isinstance(error, BadRequest)
    assert (error.message, error.status) == (message, 500)


def test_only_plain_weights_are_quantized() -> None:
    error = refusal(7, "Q4_K_M")
    assert isinstance(error, BadRequest)
    assert error.message == "quantization is only supported for F16, BF16 and F32 models"


@pytest.mark.parametrize(("file_type", "name"), [(0, "F32"), (1, "F16"), (32, "BF16")])
def test_quantizing_is_refused_with_a_way_out(file_type: int, name: str) -> None:
    error = refusal(file_type, "Q8_0")
    assert isinstance(error, NotImplementedHere)
    assert error.message == (
        f"this engine cannot quantize {name} to Q8_0: quantize the GGUF file with llama.cpp's llama-quantize and "
        "create the model from the result, or pull a model that is quantized"
    )


@pytest.mark.parametrize(("file_type", "level"), [(0, "F32"), (1, "F16"), (7, "")])
def test_nothing_is_to_do_for_the_type_that_is_there(file_type: int, level: str) -> None:
    assert refusal(file_type, level) is None


def test_texts_that_could_not_be_read_again_are_refused() -> None:
    check_sizes((MODEL, Fresh(media.SYSTEM, b"s" * MAX_READ_BYTES), Fresh(media.LICENSE, b"l" * MAX_LICENSE_BYTES)))
    with pytest.raises(BadRequest) as raised:
        check_sizes((MODEL, Fresh(media.SYSTEM, b"s" * (MAX_READ_BYTES + 1))))
    assert raised.value.message == f"system has {MAX_READ_BYTES + 1} bytes, and {MAX_READ_BYTES} are possible"
    with pytest.raises(BadRequest) as raised:
        check_sizes((LICENSE, Fresh(media.LICENSE, b"l" * MAX_LICENSE_BYTES)))
    assert (
        raised.value.message == f"the licenses have {MAX_LICENSE_BYTES + 3} bytes, and {MAX_LICENSE_BYTES} are possible"
    )
