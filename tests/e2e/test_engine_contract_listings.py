"""A store that somebody else made, served as it is: what is listed, shown and loaded of it, and what stays there."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ollama
import pytest

from support.contract import NOTHING, asked, named, said
from support.engine import needs_engine
from support.gguf import PLAIN_TEMPLATE, adapter, projector, random_llama, scripted
from support.program import Program, program
from support.store import digest

pytestmark = needs_engine

SHOW, GENERATE, DELETE = "POST /api/show", "POST /api/generate", "DELETE /api/delete"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CONFIG = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama"],
    "model_type": "1.2B",
    "file_type": "Q4_0",
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": []},
}
STUB = {
    "remote_host": "https://ollama.com:443",
    "remote_model": "far",
    "capabilities": ["completion"],
    "context_length": 100,
    "architecture": "amd64",
    "os": "linux",
}
DAYS = [1_700_000_000.25 + 86_400 * day for day in range(9)]
MINUTE = 60.0


class Foreign:
    """Writes a store as its files are told of in the contract, with nothing of arriero's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def blob(self, data: bytes) -> dict[str, Any]:
        (self.root / "blobs" / digest(data).replace(":", "-")).write_bytes(data)
        return {"digest": digest(data), "size": len(data)}

    def model(self, place: str, *layers: tuple[str, bytes], day: int, config: dict[str, Any] = CONFIG) -> Path:
        """`library/tiny/latest`, of layers that are called by the last word of their types."""
        path = self.root / "manifests/registry.ollama.ai" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, **self.blob(json.dumps(config).encode() + b"\n")},
            "layers": [
                {"mediaType": f"application/vnd.ollama.image.{kind}", **self.blob(data)} for kind, data in layers
            ],
        }
        path.write_text(json.dumps(manifest, indent=1))
        os.utime(path, (DAYS[day], DAYS[day]))
        return path

    def lose(self, data: bytes) -> None:
        (self.root / "blobs" / digest(data).replace(":", "-")).unlink()


LOST = b"a template that is lost"
OLD_NAME = b"a blob of an old store"
EPSILON = b'"llama.attention.layer_norm_rms_epsilon":0.00001,'


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    folder = tmp_path_factory.mktemp("foreign")
    store = Foreign(folder / "models")
    hello = scripted(folder / "hello.gguf", "Hello.", template=PLAIN_TEMPLATE).read_bytes()
    words = {word: scripted(folder / f"{word}.gguf", word).read_bytes() for word in ("one", "two", "three")}
    random = random_llama(folder / "random.gguf").read_bytes()
    store.model(
        "library/Mixed/Latest",
        ("model", hello),
        ("prompt", b"{{ .Prompt }} old"),
        ("system", b"one"),
        ("system", b"two"),
        ("embed", b"obsolete"),
        ("novelty", b"nobody knows this type"),
        ("license", b"first license"),
        ("license", b"second license"),
        ("params", b'{"stop":["<|end|>","a\\"b"],"temperature":0.5,"num_ctx":1048576,"use_mmap":true}'),
        ("messages", b'[{"role":"user","content":"Hi"},{"role":"assistant","content":"Two\\nlines"}]'),
        day=1,
    )
    store.model(
        "library/seer/latest",
        ("model", random),
        ("projector", projector(folder / "eye.gguf").read_bytes()),
        ("adapter", adapter(folder / "adapter.gguf").read_bytes()),
        day=3,
        config=CONFIG | {"renderer": "some", "parser": "other", "requires": "0.9.1", "capabilities": ["thinking"]},
    )
    store.model("library/first/latest", ("model", words["one"]), day=5)
    store.model("me/second/v1", ("model", words["two"]), day=2)
    store.model("library/third/latest", ("model", words["three"]), day=4)
    store.model("library/far/cloud", day=6, config=STUB)
    store.model("library/far/latest", ("model", hello), ("system", b"4"), day=0)
    store.model("library/tensors/latest", ("tensor", b"some"), day=6)
    store.model("library/lost/latest", ("model", hello), ("template", LOST), day=6)
    store.lose(LOST)
    store.model("library/broken/latest", day=6).write_bytes(b"{no manifest")
    (store.root / "manifests/registry.ollama.ai/library/nothing/here").mkdir(parents=True)
    (store.root / "manifests/registry.ollama.ai/README").write_text("no model")
    (store.root / "blobs" / digest(OLD_NAME)).write_bytes(OLD_NAME)
    unnamed = store.root / "blobs" / digest(b"unnamed").replace(":", "-")
    unnamed.write_bytes(b"unnamed")
    os.utime(unnamed, (DAYS[0], DAYS[0]))
    return store


@pytest.fixture(scope="module")
def running(foreign: Foreign, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backend = {"name": "local", "kind": "engine", "models_dir": str(foreign.root), "demo_model": False, "threads": 1}
    aliases = {"aliases": {"short": ["mixed"]}}
    with program(tmp_path_factory.mktemp("program"), [backend], wait=False, routing=aliases) as running:
        yield running


def shown(running: Program, model: str, **fields: object) -> dict[str, Any]:
    status, (answer,) = said(running, SHOW, {"model": model, **fields})
    assert status == 200
    found: dict[str, Any] = answer
    return found


# ---- /api/tags, /v1/models -----------------------------------------------------------------------------------------


def test_the_newest_stand_first(running: Program) -> None:
    assert named(running) == [
        "first:latest",
        "third:latest",
        "seer:latest",
        "me/second:v1",
        "Mixed:Latest",
        "short:latest",
        "far:latest",
    ]
    status, fields, body = running.ask("HEAD", "/api/tags")
    whole = running.ask("GET", "/api/tags")
    assert (status, fields["content-length"], body) == (200, str(len(whole[2])), b"")


def test_an_entry(running: Program, foreign: Foreign) -> None:
    path = foreign.root / "manifests/registry.ollama.ai/library/Mixed/Latest"
    manifest = json.loads(path.read_bytes())
    (entry,) = [each for each in running.get("/api/tags")["models"] if each["name"] == "Mixed:Latest"]
    assert entry == {
        "name": "Mixed:Latest",
        "model": "Mixed:Latest",
        "modified_at": "2023-11-15T22:13:20.250000+00:00",
        "size": sum(each["size"] for each in (*manifest["layers"], manifest["config"])),
        "digest": digest(path.read_bytes()).removeprefix("sha256:"),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "1.2B",
            "quantization_level": "Q4_0",
            "context_length": 4096,
            "embedding_length": 64,
        },
        "capabilities": ["completion"],
    }
    assert list(entry) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]


def test_the_same_models_over_v1(running: Program) -> None:
    listed = running.get("/v1/models")
    assert {each["id"] for each in listed["data"]} == {"short", *named(running)} - {"short:latest"}
    for id in ("mixed", "MIXED:latest", "short", "me%2Fsecond:v1"):
        told = running.get(f"/v1/models/{id}")
        assert (told["id"], told["object"], told["owned_by"]) == (id.replace("%2F", "/"), "model", "library")
    assert running.get("/v1/models/mixed")["created"] == int(DAYS[1])
    assert running.ask("GET", "/v1/models/broken")[0] >= 404


# ---- /api/show -----------------------------------------------------------------------------------------------------


def test_everything_that_is_shown_of_a_model(running: Program, foreign: Foreign) -> None:
    found = shown(running, "mixed")
    info, tensors = found.pop("model_info"), found.pop("tensors")
    assert found == {
        "license": "first license\nsecond license",
        "modelfile": "\n".join([
            '# Modelfile generated by "ollama show"',
            "# To build a new Modelfile based on this, replace FROM with:",
            "# FROM Mixed:Latest",
            "",
            "FROM Mixed:Latest",
            "TEMPLATE {{ .Prompt }} old",
            "SYSTEM two",
            "PARAMETER stop <|end|>",
            'PARAMETER stop a"b',
            "PARAMETER temperature 0.5",
            "PARAMETER num_ctx 1048576",
            "PARAMETER use_mmap true",
            "LICENSE first license",
            "LICENSE second license",
            "MESSAGE user Hi",
            'MESSAGE assistant "Two\nlines"',
            "",
        ]),
        "parameters": "\n".join([
            'stop                           "<|end|>"',
            'stop                           "a\\"b"',
            "temperature                    0.5",
            "num_ctx                        1048576",
            "use_mmap                       true",
        ]),
        "template": "{{ .Prompt }} old",
        "system": "two",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "1.2B",
            "quantization_level": "Q4_0",
        },
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Two\nlines"}],
        "capabilities": ["completion"],
        "modified_at": "2023-11-15T22:13:20.250000+00:00",
    }  # fmt: skip
    assert tensors[0].keys() == {"name", "type", "shape"}
    assert (info["general.architecture"], info["llama.context_length"], info["llama.embedding_length"]) == (
        "llama",
        4096,
        64,
    )
    assert isinstance(info["general.parameter_count"], int)
    assert list(info) == sorted(info)
    assert not {"general.name", "tokenizer.chat_template"} & info.keys()
    assert (info["tokenizer.ggml.tokens"], info["tokenizer.ggml.merges"]) == (None, None)
    assert str(foreign.root) not in json.dumps(found)
    # As Ollama prints what a file says in 32 bits.
    assert EPSILON in running.ask("POST", "/api/show", {"model": "mixed"})[2]


def test_verbose_shows_the_lists(running: Program) -> None:
    info = shown(running, "mixed", verbose=True)["model_info"]
    assert len(info["tokenizer.ggml.tokens"]) == info["llama.vocab_size"]
    assert {len(info["tokenizer.ggml.token_type"])} == {info["llama.vocab_size"]}


def test_a_request_may_show_another_system_prompt_and_other_options(running: Program) -> None:
    plain, other = shown(running, "mixed"), shown(running, "mixed", system="three", options={"top_k": 3, "stop": ["z"]})
    assert (other["system"], other["parameters"]) == ("three", plain["parameters"])
    lines = set(other["modelfile"].splitlines())
    assert lines - set(plain["modelfile"].splitlines()) == {"SYSTEM three", "PARAMETER top_k 3", "PARAMETER stop z"}
    assert shown(running, "mixed", template="ignored", options=None) == plain


def test_eyes_adapters_and_what_the_config_says(running: Program) -> None:
    found = shown(running, "SEER")
    assert found["projector_info"]["general.architecture"] == "clip"
    assert set(found["capabilities"]) == {"completion", "thinking", "vision"}
    assert (found["requires"], found["details"]["families"]) == ("0.9.1", ["llama"])
    assert [line for line in found["modelfile"].splitlines() if line[:1] not in ("#", "")] == [
        "FROM seer:latest",
        "RENDERER some",
        "PARSER other",
        "REQUIRES 0.9.1",
    ]
    assert "tokenizer.chat_template" not in found["model_info"] and "for m" in found["template"]


def test_an_alias_shows_what_it_stands_for(running: Program) -> None:
    assert shown(running, "SHORT")["system"] == "two"


def test_copilot_finds_the_model_again_under_what_it_shows(running: Program) -> None:
    agent = {"User-Agent": "GitHubCopilotChat/0.30"}
    _, (found,) = said(running, SHOW, {"model": "MIXED"}, **agent)
    assert found["model_info"]["general.basename"] == "MIXED"


# ---- what cannot be used -------------------------------------------------------------------------------------------

UNUSABLE = [
    ("broken", r"the manifest is damaged: .*"),
    ("lost", rf"the blob {digest(LOST)} is missing: pull or create the model again"),
    ("tensors", "this model requires MLX support, but the MLX runtime is not available"),
    ("far:cloud", "it is a stub of a cloud model, and the cloud is not reached from here"),
]


@pytest.mark.parametrize(("model", "reason"), UNUSABLE)
def test_what_cannot_be_used_is_not_listed_and_says_why(running: Program, model: str, reason: str) -> None:
    name = model if ":" in model else f"{model}:latest"
    assert name not in named(running)
    for request, body in ((SHOW, {"model": model}), (GENERATE, {"model": model, "prompt": "x", "stream": False})):
        status, (error,) = said(running, request, body)
        assert status == 500
        assert re.fullmatch(f"{name} on local cannot be used: {reason}", error)


def test_while_a_manifest_cannot_be_read_nothing_is_tidied_away(running: Program, foreign: Foreign) -> None:
    there = {path.name for path in (foreign.root / "blobs").iterdir()}
    assert {digest(data).replace(":", "-") for data in (b"unnamed", OLD_NAME)} <= there
    assert digest(OLD_NAME) not in there  # only the old spelling goes
    assert (foreign.root / "manifests/registry.ollama.ai/README").read_text() == "no model"


# ---- /api/ps -------------------------------------------------------------------------------------------------------


def test_what_is_loaded_stands_by_its_remaining_time(running: Program) -> None:
    for model, keep_alive in (("FIRST", "10m"), ("me/second:v1", -1), ("third", 30)):
        status, form, (answer,) = asked(running, GENERATE, {"model": model, "keep_alive": keep_alive})
        assert (status, form, answer["done_reason"]) == (200, "application/json; charset=utf-8", "load")
    listed = {each["name"]: each for each in running.get("/api/tags")["models"]}
    loaded = running.get("/api/ps")["models"]
    assert [model["name"] for model in loaded] == ["me/second:v1", "first:latest", "third:latest"]
    now = datetime.now().astimezone()
    for model, (least, most) in zip(loaded, [(290 * 365 * 1440, 293 * 366 * 1440), (9, 10), (0, 0.5)], strict=True):
        assert list(model) == [
            "name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"
        ]  # fmt: skip
        entry = listed[model["name"]]
        assert (model["model"], model["digest"]) == (entry["name"], entry["digest"])
        assert len(model["details"]) == 6 and model["details"].items() <= entry["details"].items()
        assert (model["size"] > 0, model["size_vram"], model["context_length"]) == (True, 0, 4096)
        left = datetime.fromisoformat(model["expires_at"]) - now
        assert timedelta(minutes=least) <= left <= timedelta(minutes=most)
    with closing(ollama.Client(running.url, timeout=20)) as client:
        for name in ("first", "ME/Second:v1", "third:latest"):
            assert client.generate(name, keep_alive="0s").done_reason == "unload"
        assert list(client.ps().models) == []


# ---- last: what goes -----------------------------------------------------------------------------------------------


def test_deleting_what_cannot_be_used(running: Program, foreign: Foreign) -> None:
    """And no other model that is called alike."""
    before = named(running)
    for model in ("far:CLOUD", "broken", "lost", "tensors"):
        assert asked(running, DELETE, {"model": model}) == (200, NOTHING, [])
        assert said(running, DELETE, {"model": model}) == (404, [f"model '{model}' not found"])
    assert named(running) == before
    root = foreign.root / "manifests/registry.ollama.ai"
    assert sorted(path.name for path in root.iterdir()) == ["README", "library", "me"]
    assert not (root / "library/lost").exists()
