import json
from pathlib import Path
from typing import Any, Final

import pytest

from arriero.backends.engine.library.create import create
from arriero.backends.engine.library.create_body import CLOUD
from arriero.backends.engine.models import DEMO_PATH
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.store import manifest as media
from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    Config,
    Layer,
    Manifest,
    write_config,
    write_manifest,
)
from arriero.dialects.ollama.names import Name
from arriero.errors import (
    ArrieroError,
    BadRequest,
    Forbidden,
    ModelBroken,
    ModelNotFound,
    NotImplementedHere,
    RegistryError,
    StoreError,
)
from support.gguf import adapter, projector, random_llama, scripted, truncated
from support.gguf_split import split
from support.store import blobs, digest, layer, leftovers, models, name
from support.workshop import NOW, Workshop

TEMPLATE: Final = "{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}"
PLACE: Final = "registry.ollama.ai/library/tiny/latest"


# ---- of files ------------------------------------------------------------------------------------------------------


async def test_a_model_of_an_uploaded_file(shop: Workshop, weights: str) -> None:
    said = await shop.make(files={"random.gguf": weights}, template=TEMPLATE, parameters={"stop": ["a"], "num_ctx": 64})
    template, params = digest(TEMPLATE.encode()), digest(b'{"num_ctx":64,"stop":["a"]}\n')
    assert said == [
        "parsing GGUF",
        f"using existing layer {weights}",
        f"creating new layer {template}",
        f"creating new layer {params}",
        "writing manifest",
        "success",
    ]
    config = b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"118K",'
    config += b'"file_type":"F16","architecture":"amd64","os":"linux"}\n'
    assert shop.manifest() == Manifest(
        Layer(CONFIG_TYPE, digest(config), len(config)),
        (
            Layer(media.MODEL, weights, shop.store.blob(weights).stat().st_size),
            Layer(media.TEMPLATE, template, len(TEMPLATE)),
            Layer(media.PARAMS, params, 28),
        ),
    )
    stored = shop.store.find(name("tiny"))
    assert stored is not None and stored.modified_at == NOW
    assert leftovers(shop.store.root) == []


async def test_everything_that_can_be_said_of_a_model(shop: Workshop, weights: str) -> None:
    await shop.make(
        files={"random": weights},
        template=TEMPLATE,
        system="be kind",
        license=["MIT", "Apache-2.0"],
        parameters={"temperature": 0.5},
        messages=[{"role": "user", "content": "hi"}],
        renderer="r",
        parser="p",
        requires="0.14.0",
        info={"capabilities": ["tools"], "base_name": "Random"},
        quantize="f16",
    )
    assert shop.texts() == [
        ("template", TEMPLATE),
        ("system", "be kind"),
        ("license", "MIT"),
        ("license", "Apache-2.0"),
        ("params", '{"temperature":0.5}\n'),
        ("messages", '[{"role":"user","content":"hi"}]\n'),
    ]
    assert shop.config() == Config(
        model_format="gguf",
        model_family="llama",
        model_families=("llama",),
        model_type="118K",
        file_type="F16",
        renderer="r",
        parser="p",
        requires="0.14.0",
        capabilities=("tools",),
        base_name="Random",
    )


async def test_a_model_that_sees_with_an_adapter(shop: Workshop, weights: str, tmp_path: Path) -> None:
    eyes, lora = shop.upload(projector(tmp_path / "eyes.gguf")), shop.upload(adapter(tmp_path / "lora.gguf"))
    said = await shop.make(files={"eyes.gguf": eyes, "random.gguf": weights}, adapters={"lora.gguf": lora})
    assert said[:3] == ["parsing GGUF"] * 3
    assert shop.kinds() == ["model", "projector", "adapter"]
    assert shop.config().model_families == ("llama", "clip")
    assert shop.config().model_type == "118K"
    model = await shop.find("tiny")
    assert model is not None
    assert (model.projector, model.adapters) == (shop.store.blob(eyes), (shop.store.blob(lora),))


async def test_a_model_in_parts(shop: Workshop, tmp_path: Path) -> None:
    whole = random_llama(tmp_path / "a.gguf")
    files = {path.name: shop.upload(path) for path in split(whole, tensors=8)}
    said = await shop.make(files=files)
    (merged,) = shop.manifest().layers
    assert said == [
        *["parsing GGUF"] * 3,
        *["merging GGUF parts"] * 2,
        f"using existing layer {merged.digest}",
        "writing manifest",
        "success",
    ]
    assert shop.frames[4] == Frame("merging GGUF parts", "0" * 19, merged.size, merged.size)
    model = await shop.find("tiny")
    assert model is not None and model.card.parameter_size == "118K"
    # The parts are nobody's now, and go as other uploads do that nothing was made of.
    assert sorted(leftovers(shop.store.root)) == sorted(f"blobs/{one.replace(':', '-')}" for one in files.values())


async def test_files_that_no_model_can_be_made_of(shop: Workshop, weights: str, tmp_path: Path) -> None:
    text = shop.store.put(b"# Read me\n")[0]
    broken = shop.upload(truncated(tmp_path / "broken.gguf"))
    eyes, lora = shop.upload(projector(tmp_path / "eyes.gguf")), shop.upload(adapter(tmp_path / "lora.gguf"))
    absent = f"sha256:{'0' * 64}"
    parsing = "parsing GGUF"
    one: dict[str, Any] = {"files": {"a.gguf": weights}}
    cases: list[tuple[dict[str, Any], type[ArrieroError], int, str, list[str]]] = [
        ({"files": {}}, BadRequest, 400, "no files provided to convert", []),
        ({"files": {"README.md": text}}, BadRequest, 400, "unknown type", []),
        ({"files": {"a.gguf": text}}, BadRequest, 400, "supplied file was not in GGUF format", [parsing]),
        (
            {"files": {"a.gguf": weights, "b.md": text}},
            BadRequest,
            400,
            "supplied file was not in GGUF format",
            [parsing] * 2,
        ),
        (
            {"files": {"a.gguf": absent}},
            BadRequest,
            400,
            f'blob "{absent}" not found: send it with POST /api/blobs/{absent} first',
            [],
        ),
        (
            {"files": {"model.safetensors": text, "a.gguf": weights}},
            NotImplementedHere,
            501,
            "safetensors files cannot be converted here: convert them with convert_hf_to_gguf.py of llama.cpp and "
            "create the model from the GGUF file",
            [],
        ),
        ({"files": {"a.gguf": eyes}}, BadRequest, 400, 'there is no model among the files: "a.gguf"', [parsing]),
        ({**one, "adapters": {}}, BadRequest, 400, "no files provided to convert", [parsing]),
        ({**one, "adapters": {"x.bin": text}}, BadRequest, 400, "unknown type", [parsing]),
        (
            {**one, "adapters": {"a.gguf": lora, "b.gguf": lora}},
            BadRequest,
            400,
            "only one adapter is currently supported",
            [parsing],
        ),
        (
            {**one, "adapters": {"a.gguf": weights}},
            BadRequest,
            400,
            '"a.gguf" is no adapter: its general.type is not adapter',
            [parsing] * 2,
        ),
        (
            {**one, "quantize": "Q9"},
            BadRequest,
            500,
            "unsupported quantization type Q9 - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0",
            [parsing],
        ),
        (
            {**one, "quantize": "Q8_0"},
            NotImplementedHere,
            501,
            "this engine cannot quantize F16 to Q8_0: quantize the GGUF file with llama.cpp's llama-quantize and "
            "create the model from the result, or pull a model that is quantized",
            [parsing],
        ),
    ]
    for fields, kind, status, message, said in cases:
        error, frames = await shop.fails(**fields)
        assert (type(error), error.status, error.message, frames) == (kind, status, message, said)
    error, frames = await shop.fails(files={"a.gguf": broken})
    assert isinstance(error, ModelBroken) and frames == [parsing]
    assert error.message.startswith('"a.gguf" cannot be used: truncated: tensor ')
    assert models(shop.store.root) == {}


async def test_an_adapter_for_another_architecture(shop: Workshop, tmp_path: Path) -> None:
    data = (
        random_llama(tmp_path / "a.gguf")
        .read_bytes()
        .replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0gpt-2", 1)
    )
    files = {"a.gguf": shop.store.put(data)[0]}
    error, _ = await shop.fails(files=files, adapters={"lora.gguf": shop.upload(adapter(tmp_path / "lora.gguf"))})
    assert error.message == 'the adapter "lora.gguf" is for the architecture "llama", the model has "gpt-2"'


# ---- of a model ----------------------------------------------------------------------------------------------------


async def test_a_model_of_another_one(shop: Workshop, weights: str) -> None:
    await shop.make("base:q", files={"a": weights}, system="old", license="MIT", parameters={"num_ctx": 64, "seed": 1})
    said = await shop.make(
        **{"from": "BASE:Q"}, system="new", license=["MIT", "BSD"], parameters={"seed": 2, "stop": ["x"]}
    )
    assert said == [
        f"using existing layer {weights}",
        f"creating new layer {digest(b'new')}",
        f"using existing layer {digest(b'MIT')}",
        f"creating new layer {digest(b'BSD')}",
        "creating new layer " + digest(b'{"num_ctx":64,"seed":2,"stop":["x"]}\n'),
        "writing manifest",
        "success",
    ]
    assert shop.texts() == [
        ("system", "new"),
        ("license", "MIT"),
        ("license", "BSD"),
        ("params", '{"num_ctx":64,"seed":2,"stop":["x"]}\n'),
    ]
    assert [layer.origin for layer in shop.manifest().layers] == ["base:q", "", "base:q", "", ""]
    assert shop.config() == shop.config("base:q")


async def test_a_name_that_is_taken_gets_the_new_model(shop: Workshop, weights: str, tmp_path: Path) -> None:
    other = shop.upload(scripted(tmp_path / "s.gguf", "some words to say"))
    await shop.make("Tiny", files={"a": weights}, system="old")
    await shop.make("tINY", files={"a": other})
    assert list(models(shop.store.root)) == ["registry.ollama.ai/library/Tiny/latest"]
    assert sorted(blobs(shop.store.root)) == sorted(models(shop.store.root)["registry.ollama.ai/library/Tiny/latest"])
    assert other in blobs(shop.store.root) and weights not in blobs(shop.store.root)


async def test_a_model_made_of_itself(shop: Workshop, weights: str) -> None:
    await shop.make(files={"a": weights}, system="old")
    await shop.make(**{"from": "tiny"}, system="new")
    assert shop.texts() == [("system", "new")]
    assert [layer.origin for layer in shop.manifest().layers] == ["", ""]
    assert leftovers(shop.store.root) == []


async def test_a_model_of_the_demo_model(shop: Workshop) -> None:
    said = await shop.make(**{"from": "arriero-demo"}, system="be brief")
    data = DEMO_PATH.read_bytes()
    assert said == [
        "copying model",
        "copying model",
        f"using existing layer {digest(data)}",
        f"creating new layer {digest(b'be brief')}",
        "creating new layer " + digest(b'{"temperature":0}\n'),
        "writing manifest",
        "success",
    ]
    assert shop.texts() == [("system", "be brief"), ("params", '{"temperature":0}\n')]
    assert shop.store.blob(digest(data)).read_bytes() == data


async def test_a_model_of_a_file_beside_the_store(shop: Workshop) -> None:
    shop.store.root.mkdir()
    split(random_llama(shop.store.root / "loose.gguf"), tensors=8)
    (shop.store.root / "loose.gguf").unlink()
    body = json.dumps({"model": "tiny", "from": "loose"}).encode()
    await create(body, shop.store, report=shop.frames.append, find=shop.find, fetch=shop.fetch, now=lambda: NOW)
    assert [frame.status for frame in shop.frames][:2] == ["merging GGUF parts"] * 2
    assert shop.config().model_type == "118K"


async def test_names_of_models_beside_the_store_are_not_given_again(shop: Workshop, weights: str) -> None:
    random_llama(shop.store.root / "Loose.gguf")
    files = {"a": weights}
    for model, message in {
        "arriero-demo": 'the name "arriero-demo:latest" is that of the model that comes with arriero: '
        "choose another one",
        "loose": 'the name "loose:latest" is that of the file Loose.gguf beside the store: choose another one',
    }.items():
        with pytest.raises(BadRequest) as raised:
            await shop.make(model, files=files)
        assert raised.value.message == message
    assert shop.frames == [] and models(shop.store.root) == {}


async def test_a_model_that_has_to_be_fetched_first(shop: Workshop, weights: str) -> None:
    def pull(name: Name, report: Report) -> None:
        report(Frame("pulling manifest"))
        config = write_config(Config(model_format="gguf", renderer="r"))
        layers = (Layer(media.MODEL, weights, shop.store.blob(weights).stat().st_size),)
        shop.store.write(name, write_manifest(Manifest(layer(shop.store, config, CONFIG_TYPE), layers)))
        report(Frame("success"))

    shop.on_fetch = pull
    said = await shop.make(**{"from": "far:1b:local"})
    assert said == ["pulling manifest", "success", f"using existing layer {weights}", "writing manifest", "success"]
    assert list(models(shop.store.root)) == ["registry.ollama.ai/library/far/1b", PLACE]
    assert shop.config().renderer == "r"


async def test_bases_that_nothing_can_be_made_of(shop: Workshop, weights: str) -> None:
    error, frames = await shop.fails(**{"from": "far"})
    assert (type(error), error.message, frames) == (RegistryError, "pull model manifest: file does not exist", [])
    shop.on_fetch = lambda name, report: None
    error, _ = await shop.fails(**{"from": "far"})
    assert (type(error), error.message) == (ModelNotFound, "model 'far:latest' not found")
    stub = write_config(Config(remote_host="https://ollama.com:443", remote_model="x"))
    shop.store.write(name("stub"), write_manifest(Manifest(layer(shop.store, stub, CONFIG_TYPE))))
    error, _ = await shop.fails(**{"from": "stub"})
    assert (type(error), error.message) == (Forbidden, CLOUD)
    await shop.make("base", files={"a": weights}, parameters={"seed": 1})
    params = shop.manifest("base").layers[-1]
    shop.store.blob(params.digest).write_bytes(b"[" * params.size)
    with pytest.raises(StoreError, match="the parameters of the model that it is made from are damaged"):
        await shop.make(**{"from": "base"})


async def test_a_model_without_gguf_is_made_of_its_layers(shop: Workshop) -> None:
    tensor = layer(shop.store, b"tensor", media.TENSOR)
    config = write_config(Config(model_format="safetensors", model_family="qwen"))
    shop.store.write(name("mlx"), write_manifest(Manifest(layer(shop.store, config, CONFIG_TYPE), (tensor,))))
    await shop.make(**{"from": "mlx"}, system="S")
    assert shop.kinds() == ["tensor", "system"]
    assert shop.config() == Config(model_format="safetensors", model_family="qwen")
