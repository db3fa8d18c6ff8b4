"""The library operations of the contract, row by row, on the program whose only backend is the engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.contract import FRAMES, INSTEAD_OF_FRAMES, JSON, NOTHING, asked, created, named, said, uploaded
from support.engine import needs_engine
from support.gguf import PLAIN_TEMPLATE, adapter, random_llama, scripted
from support.program import Program, program
from support.store import check_store, digest

pytestmark = needs_engine

ZEROS = "0" * 64
ABC = digest(b"abc")
COPY, CREATE, DELETE = "POST /api/copy", "POST /api/create", "DELETE /api/delete"
PULL, PUSH, SHOW = "POST /api/pull", "POST /api/push", "POST /api/show"
BOTH = 'use either :local or :cloud, not both: "tiny:cloud:local"'
CLOUD = "ollama cloud is disabled: remote model is unavailable"
NO_NAME = "invalid model name"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    scripted(folder / "hello.gguf", "Hello.", template=PLAIN_TEMPLATE)
    random_llama(folder / "random.gguf")
    adapter(folder / "adapter.gguf")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "models"


@pytest.fixture(scope="module")
def running(store: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """It has one model, `tiny`, and an alias of it."""
    backend = {"name": "local", "kind": "engine", "models_dir": str(store), "demo_model": False, "threads": 1}
    aliases = {"aliases": {"short": ["tiny"]}}
    with program(tmp_path_factory.mktemp("program"), [backend], wait=False, routing=aliases) as running:
        hello = uploaded(running, files / "hello.gguf")
        for file in ("random.gguf", "adapter.gguf"):
            uploaded(running, files / file)
        created(running, "tiny", files={"hello.gguf": hello})
        yield running
    check_store(store)


@pytest.fixture
def only_tiny(running: Program) -> Iterator[Program]:
    """What a test makes goes when it is over."""
    yield running
    for name in named(running):
        if name not in ("tiny:latest", "short:latest"):
            assert said(running, DELETE, {"model": name}) == (200, [])
    assert named(running) == ["tiny:latest", "short:latest"]


# ---- what is refused -----------------------------------------------------------------------------------------------

NOT_READ = [
    (400, "", "missing request body"),
    (400, " \n", "missing request body"),
    (400, '{"model":', "unexpected EOF"),
    (400, "hello", "invalid character 'h' looking for beginning of value"),
]


@pytest.mark.parametrize("request_line", [PULL, PUSH, CREATE, COPY, DELETE, SHOW])
@pytest.mark.parametrize(("status", "body", "error"), NOT_READ, ids=["empty", "blank", "cut", "no JSON"])
def test_a_body_that_cannot_be_read(running: Program, request_line: str, status: int, body: str, error: str) -> None:
    assert said(running, request_line, body.encode()) == (status, [error])


@pytest.mark.parametrize(
    ("request_line", "body", "error"),
    [
        (PULL, {"model": 3}, "PullRequest.model of type string"),
        (PUSH, {"insecure": "yes"}, "PushRequest.insecure of type bool"),
        (CREATE, {"stream": 1}, "CreateRequest.stream of type bool"),
        (CREATE, {"from": []}, "CreateRequest.from of type string"),
        (COPY, {"source": True}, "CopyRequest.source of type string"),
        (DELETE, {"name": {}}, "DeleteRequest.name of type string"),
        (SHOW, {"verbose": "x"}, "ShowRequest.verbose of type bool"),
    ],
)
def test_a_field_of_a_wrong_type(running: Program, request_line: str, body: Any, error: str) -> None:
    status, (text,) = said(running, request_line, body)
    assert (status, text.startswith("json: cannot unmarshal "), text.partition(" field ")[2]) == (400, True, error)


REFUSED: list[tuple[str, Any, int, str]] = [
    # Names: empty, malformed, unknown (section 6.1)
    (PULL, {"model": ""}, 400, NO_NAME),
    (PULL, {"model": " "}, 400, NO_NAME),
    (PULL, {}, 400, NO_NAME),
    (PULL, {"model": "a b"}, 400, NO_NAME),
    (PULL, {"model": "tiny@sha256:" + ZEROS}, 400, NO_NAME),
    (PULL, {"model": "n//m"}, 400, NO_NAME),
    (PULL, {"model": "m:"}, 400, NO_NAME),
    (PULL, {"model": "/m"}, 400, NO_NAME),
    (PULL, {"model": "a.b/m"}, 400, NO_NAME),
    (PULL, {"model": "m" * 81}, 400, NO_NAME),
    (PULL, {"model": "é"}, 400, NO_NAME),
    (PULL, {"model": "tiny:cloud:local"}, 400, BOTH),
    (PULL, {"model": "tiny:cloud"}, 403, CLOUD),
    (PULL, {"model": "tiny:20b-Cloud"}, 403, CLOUD),
    (PUSH, {"model": ""}, 400, "model is required"),
    (PUSH, {}, 400, "model is required"),
    (CREATE, {"model": "", "from": "tiny"}, 400, NO_NAME),
    (CREATE, {"model": "a b", "from": "tiny"}, 400, NO_NAME),
    (CREATE, {"model": " new ", "from": "tiny"}, 400, NO_NAME),
    (CREATE, {"model": "new", "from": "a b"}, 400, NO_NAME),
    (CREATE, {"model": "new", "from": "tiny:cloud:local"}, 400, BOTH),
    (CREATE, {"model": "new", "from": "tiny:cloud"}, 403, CLOUD),
    (CREATE, {"model": "new", "from": "tiny", "remote_host": "https://ollama.com"}, 403, CLOUD),
    (COPY, {"source": "", "destination": "new"}, 400, 'source "" is invalid'),
    (COPY, {}, 400, 'source "" is invalid'),
    (COPY, {"source": "a b", "destination": "new"}, 400, 'source "a b" is invalid'),
    (COPY, {"source": " tiny", "destination": "new"}, 400, 'source " tiny" is invalid'),
    (COPY, {"source": "tiny", "destination": ""}, 400, 'destination "" is invalid'),
    (COPY, {"source": "tiny", "destination": "a b"}, 400, 'destination "a b" is invalid'),
    (COPY, {"source": "tiny", "destination": "new "}, 400, 'destination "new " is invalid'),
    (COPY, {"source": "Nope", "destination": "new"}, 404, 'model "Nope" not found'),
    (DELETE, {"model": ""}, 400, "model is required"),
    (DELETE, {"model": "a b"}, 400, 'name "a b" is invalid'),
    (DELETE, {"model": "tiny:cloud:local"}, 400, BOTH),
    (DELETE, {"model": "Nope"}, 404, "model 'Nope' not found"),
    (DELETE, {"name": "nope:v1"}, 404, "model 'nope:v1' not found"),
    (DELETE, {"model": "tiny:cloud"}, 404, "model 'tiny:cloud' not found"),
    (DELETE, {"model": "tiny:v2"}, 404, "model 'tiny:v2' not found"),
    (DELETE, {"model": "me/tiny"}, 404, "model 'me/tiny' not found"),
    (DELETE, {"model": "localhost:5000/library/tiny"}, 404, "model 'localhost:5000/library/tiny' not found"),
    (DELETE, {"model": "short"}, 400, "'short' is an alias of tiny:latest: delete the model by its own name, "
     "or take the alias out of the configuration"),
    (SHOW, {"model": ""}, 400, "model is required"),
    (SHOW, {"model": "a b"}, 400, NO_NAME),
    (SHOW, {"model": "Nope"}, 404, "model 'Nope:latest' not found"),
    (SHOW, {"name": "me/nope:v1"}, 404, "model 'me/nope:v1' not found"),
    (SHOW, {"model": "registry.ollama.ai/library/nope"}, 404, "model 'nope:latest' not found"),
    (SHOW, {"model": "hf.co/me/nope"}, 404, "model 'hf.co/me/nope:latest' not found"),
    (SHOW, {"model": "tiny:cloud:local"}, 400, BOTH),
    # Digests (section 4, 5.13)
    ("POST /api/blobs/abc", b"abc", 400, "invalid digest format"),
    (f"POST /api/blobs/sha256:{'g' * 64}", b"abc", 400, "invalid digest format"),
    (f"POST /api/blobs/sha256:{'0' * 63}", b"abc", 400, "invalid digest format"),
    (f"POST /api/blobs/md5:{ZEROS}", b"abc", 400, "invalid digest format"),
    (f"POST /api/blobs/sha256:{ZEROS}", b"abc", 400,
     f'digest mismatch, expected "sha256:{ZEROS}", got "{ABC}"'),
]  # fmt: skip


@pytest.mark.parametrize(("request_line", "body", "status", "error"), REFUSED)
def test_what_is_refused(running: Program, request_line: str, body: Any, status: int, error: str) -> None:
    got, form, (line,) = asked(running, request_line, body)
    streams = request_line in (PULL, PUSH, CREATE)
    assert (got, form, line["error"]) == (status, INSTEAD_OF_FRAMES if streams else JSON, error)
    assert named(running) == ["tiny:latest", "short:latest"]


GIVEN = {"model": "new", "files": {"hello.gguf": "HELLO"}}
"""`HELLO`, `RANDOM` and `ADAPTER` stand for the digests of what was sent."""

NOT_CREATED: list[tuple[dict[str, Any], int, str]] = [
    ({"files": {}}, 400, "no files provided to convert"),
    ({"files": None}, 400, "neither 'from' or 'files' was specified"),
    ({"files": None, "modelfile": "FROM tiny", "path": "/x"}, 400, "neither 'from' or 'files' was specified"),
    ({"files": {"/a.gguf": "HELLO"}}, 400, "file path must be relative"),
    ({"files": {"../a.gguf": "HELLO"}}, 400, "file path must be relative"),
    ({"files": {"a/../../b.gguf": "HELLO"}}, 400, "file path must be relative"),
    ({"files": {"a.gguf": ""}}, 400, "invalid digest format"),
    ({"files": {"a.gguf": "sha256:1"}}, 400, "invalid digest format"),
    ({"files": {"a.txt": "ABC"}}, 400, "unknown type"),
    ({"files": {"a.gguf": "ABC"}}, 400, "supplied file was not in GGUF format"),
    ({"draft_quantize": "Q8_0"}, 400, "--draft-quantize requires a DRAFT model"),
    ({"draft_files": {"/d.gguf": "RANDOM"}}, 400, "file path must be relative"),
    ({"template": "{{ if }}"}, 400, "template error: template: :1: missing value for if"),
    ({"info": {"model_family": 3}}, 400, 'info field "model_family" must be a string'),
    ({"info": {"context_length": "x"}}, 400, 'info field "context_length" must be a number'),
    ({"info": {"context_length": -1}}, 400, 'info field "context_length" must be a non-negative integer'),
    ({"quantize": "Q9"}, 500,
     "unsupported quantization type Q9 - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0"),
    ({"adapters": {"a.gguf": "ADAPTER", "b.gguf": "RANDOM"}}, 400, "only one adapter is currently supported"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(("fields", "status", "error"), NOT_CREATED)
def test_what_is_not_created(
    running: Program, files: Path, stream: bool, fields: dict[str, Any], status: int, error: str
) -> None:
    text = json.dumps(GIVEN | fields | {"stream": stream})
    for word, data in (("ABC", b"abc"), *((path.stem.upper(), path.read_bytes()) for path in files.iterdir())):
        text = text.replace(f'"{word}"', f'"{digest(data)}"')
    said(running, f"POST /api/blobs/{ABC}", b"abc")
    got, form, lines = asked(running, CREATE, text.encode())
    if form == FRAMES:
        # Files were looked at already: the status is out, and the error is the last line.
        assert (stream, got, {line["status"] for line in lines[:-1]}) == (True, 200, {"parsing GGUF"})
    else:
        assert (got, form, len(lines)) == (status, INSTEAD_OF_FRAMES, 1)
    assert lines[-1]["error"] == error
    assert named(running) == ["tiny:latest", "short:latest"]


@pytest.mark.parametrize("name", ["nope", "a b"])
def test_a_push_of_what_is_not_there(running: Program, name: str) -> None:
    error = f"open {name if ' ' in name else name + ':latest'}: no such file or directory"
    assert asked(running, PUSH, {"model": name}) == (
        200,
        FRAMES,
        [{"status": "retrieving manifest"}, {"status": "couldn't retrieve manifest"}, {"error": error}],
    )
    assert said(running, PUSH, {"name": name, "stream": False}) == (500, [error])


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        ("GET /api/pull", "POST"),
        ("PUT /api/push", "POST"),
        ("GET /api/create", "POST"),
        ("DELETE /api/copy", "POST"),
        ("POST /api/delete", "DELETE"),
        (f"GET /api/blobs/sha256:{ZEROS}", "HEAD, POST"),
        ("HEAD /api/ps", "GET"),
        ("HEAD /api/show", "POST"),
    ],
)
def test_a_wrong_method(running: Program, request_line: str, allowed: str) -> None:
    method, _, path = request_line.partition(" ")
    status, fields, body = running.ask(method, path)
    assert (status, fields["allow"], fields["content-type"]) == (405, allowed, "text/plain")
    assert body == (b"" if method == "HEAD" else b"405 method not allowed")


# ---- what is done --------------------------------------------------------------------------------------------------


def test_a_blob_is_sent_once(only_tiny: Program, store: Path) -> None:
    data = b"so far nobody has sent this"
    name = digest(data)
    dashed = name.replace(":", "-")
    loud = "sha256:" + name.removeprefix("sha256:").upper()
    for request, body, answer in [
        (f"HEAD /api/blobs/{name}", None, 404),
        (f"HEAD /api/blobs/{dashed}", None, 404),
        ("HEAD /api/blobs/abc", None, 400),
        (f"POST /api/blobs/{name}", b"", 400),  # an empty body is a body, of another digest
        (f"POST /api/blobs/{name}", data, 201),
        (f"POST /api/blobs/{name}", data, 200),
        (f"POST /api/blobs/{name}", b"not looked at", 200),
        (f"POST /api/blobs/{dashed}", data, 200),
        (f"HEAD /api/blobs/{name}", None, 200),
        (f"HEAD /api/blobs/{dashed}", None, 200),
        (f"HEAD /api/blobs/{loud}", None, 200),
    ]:
        method, _, path = request.partition(" ")
        status, fields, got = only_tiny.ask(method, path, body)
        assert (request, status) == (request, answer)
        if answer < 300:
            assert (fields.get("content-type"), fields["content-length"], got) == (NOTHING, "0", b"")
    assert (store / "blobs" / dashed).read_bytes() == data
    # What was sent under a wrong name stays under its true one.
    assert said(only_tiny, f"POST /api/blobs/sha256:{ZEROS}", b"other")[0] == 400
    assert only_tiny.ask("HEAD", f"/api/blobs/{digest(b'other')}")[0] == 200


def test_a_manifest_is_written_as_the_contract_says(only_tiny: Program, files: Path, store: Path) -> None:
    hello = files / "hello.gguf"
    blob, size = digest(hello.read_bytes()), hello.stat().st_size
    fields = {
        "template": "{{ .Prompt }}",
        "system": "Be short.",
        "license": ["one", "two"],
        "parameters": {"stop": ["<end>"], "num_ctx": 512},
        "messages": [{"role": "user", "content": "Hi & bye"}],
    }
    status, form, lines = asked(only_tiny, CREATE, {"model": "whole", "files": {"hello.gguf": blob}, **fields})
    small = {
        "template": b"{{ .Prompt }}",
        "system": b"Be short.",
        "license": b"one",
        "license 2": b"two",
        "params": b'{"num_ctx":512,"stop":["<end>"]}\n',
        "messages": b'[{"role":"user","content":"Hi & bye"}]\n',
    }
    assert (status, form) == (200, FRAMES)
    assert [line["status"] for line in lines] == [
        "parsing GGUF",
        f"using existing layer {blob}",
        *(f"creating new layer {digest(data)}" for data in small.values()),
        "writing manifest",
        "success",
    ]
    manifest = (store / "manifests/registry.ollama.ai/library/whole/latest").read_text()
    config = json.loads(manifest)["config"]
    layers = ",".join(
        f'{{"mediaType":"application/vnd.ollama.image.{kind.split()[0]}","digest":"{name}","size":{length}}}'
        for kind, name, length in [("model", blob, size), *((k, digest(d), len(d)) for k, d in small.items())]
    )
    assert manifest == (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        '"config":{"mediaType":"application/vnd.docker.container.image.v1+json",'
        f'"digest":"{config["digest"]}","size":{config["size"]}}},"layers":[{layers}]}}\n'
    )
    told = (store / "blobs" / config["digest"].replace(":", "-")).read_text()
    assert (told[-1], json.loads(told)) == (
        "\n",
        {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "62K",
            "file_type": "F16",
            "architecture": "amd64",
            "os": "linux",
        },
    )
    modes = {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})


SPELLINGS = ["tiny", "TINY", "Tiny:LATEST", " tiny ", "library/tiny", "Library/TINY:latest", "tiny:local",
             "registry.ollama.ai/library/tiny", "https://registry.ollama.ai/library/tiny:latest",
             "tiny:latest:local", "TINY:Local"]  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_model_has_many_names(running: Program, name: str) -> None:
    status, (shown,) = said(running, SHOW, {"name": name})
    assert (status, "FROM tiny:latest\n" in shown["modelfile"]) == (200, True)
    status, (answer,) = said(running, "POST /api/chat", {"model": name, "stream": False, "messages": [HI]})
    assert (status, answer["model"], answer["message"]["content"]) == (200, name, "Hello.")


HI = {"role": "user", "content": "Hi"}


def test_copies(only_tiny: Program, store: Path) -> None:
    for source, destination, status in [
        ("nope", "nope", 200),  # nothing is to be done
        ("nope", "NOPE:latest", 200),
        ("tiny", "Tiny", 200),
        ("TINY", "Foo/Bar:V1", 200),
        ("tiny", "foo/bar:v1", 200),  # there it is written `Foo/Bar:V1`
        ("foo/BAR:v1", "foo/bar:v2", 200),
        ("registry.ollama.ai/library/tiny:latest", "localhost:5000/me/Tiny:v2", 200),
        ("short", "of-alias", 200),
    ]:
        request = {"source": source, "destination": destination}
        assert (request, *asked(only_tiny, COPY, request)) == (request, status, NOTHING, [])
    root = store / "manifests"
    assert sorted(str(path.relative_to(root)) for path in root.glob("*/*/*/*")) == [
        "localhost:5000/me/tiny/v2",  # each part as it is written elsewhere
        "registry.ollama.ai/Foo/Bar/V1",
        "registry.ollama.ai/Foo/Bar/v2",
        "registry.ollama.ai/library/of-alias/latest",
        "registry.ollama.ai/library/tiny/latest",
    ]
    assert len({path.read_bytes() for path in root.glob("*/*/*/*")}) == 1


@pytest.mark.parametrize("field", ["model", "name"])
def test_names_of_fields(only_tiny: Program, field: str) -> None:
    """The old `name` counts where `model` is empty, and keys are read in any case."""
    other = "name" if field == "model" else "model"
    made = {field: "new", other: "", "From": "tiny", "Stream": False}
    assert asked(only_tiny, CREATE, made) == (200, INSTEAD_OF_FRAMES, [{"status": "success"}])
    assert said(only_tiny, SHOW, {field: "new", other: ""})[0] == 200
    assert asked(only_tiny, DELETE, {field.upper(): "new", other: ""}) == (200, NOTHING, [])
    assert named(only_tiny) == ["tiny:latest", "short:latest"]


def test_an_overwritten_model_loses_what_only_it_had(only_tiny: Program, store: Path) -> None:
    for system in ("first", "second"):
        created(only_tiny, "New", **{"from": "tiny"}, system=system)
    held = {path.name: path.read_bytes() for path in (store / "blobs").iterdir() if path.stat().st_size < 20}
    assert b"second" in held.values() and b"first" not in held.values()
    assert named(only_tiny)[0] == "New:latest"
    created(only_tiny, "nEW", **{"from": "NEW"}, license="mine")
    assert named(only_tiny)[0] == "New:latest"


def test_a_model_of_an_alias_is_one_of_what_it_stands_for(only_tiny: Program) -> None:
    created(only_tiny, "of-alias", **{"from": "SHORT"}, system="Be kind.")
    status, (shown,) = said(only_tiny, SHOW, {"model": "of-alias"})
    assert (status, shown["system"]) == (200, "Be kind.")
