"""Manifests and configs: bytes in, values out, and back."""

import pytest

from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    MAX_MANIFEST_BYTES,
    MODEL,
    TEMPLATE,
    TENSOR,
    Config,
    Draft,
    Layer,
    Manifest,
    read_config,
    read_manifest,
    write_config,
    write_manifest,
)
from arriero.errors import StoreError

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
WRITTEN = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
    b'"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"%s","size":412},'
    b'"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"%s","size":1321082688,"from":"ns/base"},'
    b'{"mediaType":"application/vnd.ollama.image.tensor","digest":"%s","size":358,"name":"blk.0"}]}\n'
) % (A.encode(), B.encode(), C.encode())
VALUE = Manifest(
    Layer(CONFIG_TYPE, A, 412),
    (Layer(MODEL, B, 1_321_082_688, origin="ns/base"), Layer(TENSOR, C, 358, name="blk.0")),
)


def test_a_manifest_is_written_as_ollama_writes_it_and_read_back() -> None:
    assert write_manifest(VALUE) == WRITTEN
    assert read_manifest(WRITTEN) == VALUE
    assert VALUE.size_bytes == 412 + 1_321_082_688 + 358


def test_a_blob_that_stands_twice_is_one_blob() -> None:
    config, weights, again = Layer(CONFIG_TYPE, A, 4), Layer(MODEL, B, 10), Layer(TEMPLATE, B, 10)
    manifest = Manifest(config, (weights, again, weights))
    assert manifest.blobs == (weights, config)
    assert manifest.size_bytes == 34


@pytest.mark.parametrize(
    ("data", "manifest"),
    [
        (
            b'{"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,"annotations":{"a":"b"},'
            b'"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":4},'
            b'"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"%s","size":7,"urls":[]}]}',
            Manifest(Layer("application/vnd.oci.image.config.v1+json", A, 4), (Layer(MODEL, B, 7),)),
        ),
        (
            b' {"config":{"mediaType":"x","digest":"%s","size":0},"layers":null, "more":"%s"}',
            Manifest(Layer("x", A, 0)),
        ),
    ],
)
def test_a_registrys_manifests_are_read_too(data: bytes, manifest: Manifest) -> None:
    assert read_manifest(data % (A.encode(), B.encode())) == manifest


@pytest.mark.parametrize("digest", [f"sha256-{'a' * 64}", f"sha256:{'A' * 64}"])
def test_digests_get_one_form(digest: str) -> None:
    data = b'{"config":{"mediaType":"x","digest":"%s","size":1},"layers":[]}' % digest.encode()
    assert read_manifest(data).config.digest == A


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the manifest is damaged: Input data was truncated"),
        (WRITTEN[:-10], "the manifest is damaged: Input data was truncated"),
        (b"\xff\xfe", "the manifest is damaged: JSON is malformed: invalid character (byte 0)"),
        (b"[]", "the manifest is damaged: Expected `object`, got `array`"),
        (b"{}", "the manifest is damaged: it is not the manifest of one model, its config is missing"),
        (
            b'{"schemaVersion":2,"manifests":[{"digest":"x","size":1}]}',
            "the manifest is damaged: it is not the manifest of one model, its config is missing",
        ),
        (
            b'{"config":{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}}',
            "the manifest is damaged: invalid digest format",
        ),
        (
            b'{"config":{"mediaType":"x","digest":"x","size":-1}}',
            "the manifest is damaged: Expected `int` >= 0 - at `$.config.size`",
        ),
        (
            b'{"config":{"mediaType":"x","digest":"x","size":1.5}}',
            "the manifest is damaged: Expected `int`, got `float` - at `$.config.size`",
        ),
        (b" " * (MAX_MANIFEST_BYTES + 1), "the manifest is larger than 16 MiB"),
    ],
)
def test_a_damaged_manifest_says_why(data: bytes, message: str) -> None:
    with pytest.raises(StoreError) as raised:
        read_manifest(data)
    assert raised.value.message == message


def test_a_nest_of_lists_is_refused_and_does_no_harm() -> None:
    for data in (b'{"x":' + b"[" * 1_000_000, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        with pytest.raises(StoreError, match="the manifest is damaged"):
            read_manifest(data)
        with pytest.raises(StoreError, match="the model's config is damaged"):
            read_config(data)


def test_a_config_holds_what_is_known() -> None:
    small = Config(
        model_format="gguf", model_family="llama", model_families=("llama",), model_type="8B", file_type="F16"
    )
    assert write_config(small) == (
        b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"8B",'
        b'"file_type":"F16","architecture":"amd64","os":"linux"}\n'
    )
    assert write_config(Config()) == (
        b'{"model_format":"","model_family":"","model_families":null,"model_type":"","file_type":"",'
        b'"architecture":"amd64","os":"linux"}\n'
    )
    whole = Config(
        model_format="gguf",
        model_families=(),
        renderer="r",
        parser="p",
        requires="0.12.0",
        remote_host="https://host.example",
        remote_model="m",
        capabilities=("completion", "tools"),
        context_length=8192,
        embedding_length=64,
        base_name="base",
        draft=Draft(architecture="llama", config={"x": [1]}),
    )
    assert write_config(whole) == (
        b'{"model_format":"gguf","model_family":"","model_families":[],"model_type":"","file_type":"",'
        b'"renderer":"r","parser":"p","requires":"0.12.0","remote_host":"https://host.example","remote_model":"m",'
        b'"capabilities":["completion","tools"],"context_length":8192,"embedding_length":64,"base_name":"base",'
        b'"draft":{"architecture":"llama","config":{"x":[1]}},"architecture":"amd64","os":"linux"}\n'
    )
    for config in (small, whole, Config()):
        assert read_config(write_config(config)) == config


def test_a_pulled_config_may_hold_more_or_less() -> None:
    data = b'{"rootfs":{"type":"layers","diff_ids":[]},"model_family":"gemma3","capabilities":null}'
    assert read_config(data) == Config(model_family="gemma3")
    with pytest.raises(StoreError) as raised:
        read_config(b"<html>")
    assert raised.value.message == "the model's config is damaged: JSON is malformed: invalid character (byte 0)"
