"""Where models come from and go: several engines, an Ollama server beside one, a filter, loose files, variables."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.contract import INSTEAD_OF_FRAMES, asked, created, named, registry_beside, said, uploaded, words
from support.engine import needs_engine
from support.gguf import PLAIN_TEMPLATE, scripted
from support.hosts import Host
from support.program import Program, command, environment, free_port, program, until
from support.store import blobs, check_store, digest, models

pytestmark = needs_engine

COPY, CREATE, DELETE = "POST /api/copy", "POST /api/create", "DELETE /api/delete"
PULL, PUSH, SHOW, CHAT = "POST /api/pull", "POST /api/push", "POST /api/show", "POST /api/chat"
LIBRARY = "registry.ollama.ai/library"
SUCCESS = {"status": "success"}


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted(tmp_path_factory.mktemp("files") / "hello.gguf", "Hello.", template=PLAIN_TEMPLATE)


@pytest.fixture(scope="module")
def bye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted(tmp_path_factory.mktemp("files") / "bye.gguf", "Good bye.", template=PLAIN_TEMPLATE)


def engine(folder: Path, name: str, **settings: object) -> dict[str, Any]:
    """An engine with a store of its own."""
    return {"name": name, "kind": "engine", "models_dir": str(folder / name), "demo_model": False, "threads": 1,
            **settings}  # fmt: skip


def says(running: Program, model: str) -> str:
    body = {"model": model, "stream": False, "messages": [{"role": "user", "content": "Hi"}]}
    status, (answer,) = said(running, CHAT, body)
    assert status == 200, answer
    text: str = answer["message"]["content"]
    return text


def in_store(root: Path) -> list[str]:
    return [place.removeprefix(f"{LIBRARY}/") for place in models(root)]


def to(backend: str) -> dict[str, str]:
    return {"X-Arriero-Backend": backend}


# ---- two engines with two stores -----------------------------------------------------------------------------------


def test_two_engines(tmp_path: Path, hello: Path, bye: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with (
        registry_beside() as registry,
        program(tmp_path / "program", [engine(tmp_path, "one"), engine(tmp_path, "two")], wait=False) as running,
    ):
        registry.hold("me/tiny:v1", hello, config=b'{"model_format":"gguf","model_family":"llama"}\n')
        name = f"{registry.host}/me/tiny:v1"
        tiny = {"model": name, "insecure": True}
        # A pull goes to the first, or to those who are named.
        assert said(running, PULL, tiny | {"stream": False}) == (200, [SUCCESS])
        assert (len(models(one)), models(two)) == (1, {})
        status, lines = said(running, PULL, tiny, **to("*"))
        assert (status, words(lines)[-1], len(models(two))) == (200, "success", 1)
        assert said(running, PULL, tiny, **to("three")) == (
            404,
            ["no backend named 'three' manages models; these do: one, two"],
        )
        # A model is made where its files are, and where the model is that it is made of.
        blob = digest(bye.read_bytes())
        assert running.ask("POST", f"/api/blobs/{blob}", bye.read_bytes(), to("two"))[0] == 201
        assert [running.ask("HEAD", f"/api/blobs/{blob}", None, to(each))[0] for each in ("one", "two")] == [404, 200]
        created(running, "bye", files={"bye.gguf": blob})
        created(running, "again", **{"from": "BYE"}, system="Be sad.")
        assert (in_store(one)[1:], in_store(two)[1:]) == ([], ["again/latest", "bye/latest"])
        assert (says(running, "again"), says(running, name)) == ("Good bye.", "Hello.")
        # Copies and deletions reach everybody who has the model.
        assert said(running, COPY, {"source": name, "destination": "both"}) == (200, [])
        assert said(running, COPY, {"source": "bye", "destination": "late"}) == (200, [])
        assert (in_store(one)[1:], in_store(two)[1:]) == (
            ["both/latest"],
            ["again/latest", "both/latest", "bye/latest", "late/latest"],
        )
        assert said(running, DELETE, {"model": "both"}, **to("two")) == (200, [])
        assert "both:latest" in named(running)
        assert said(running, DELETE, {"model": "both"}) == (200, [])
        assert said(running, DELETE, {"model": "both"}) == (404, ["model 'both' not found"])
        for each in named(running):
            assert said(running, DELETE, {"model": each}) == (200, [])
        assert (blobs(one), blobs(two), named(running)) == ([], [], [])
    check_store(one)
    check_store(two)


# ---- an Ollama server and an engine --------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["other", "local"])
def test_an_ollama_server_beside_an_engine(tmp_path: Path, hello: Path, home: str) -> None:
    store = tmp_path / "local"
    with ExitStack() as stack:
        host = Host("other", tmp_path / "host", ["tiny:latest", "theirs:latest"])
        stack.callback(host.kill)
        host.start()
        backends = [{"name": "other", "kind": "ollama", "url": host.url}, engine(tmp_path, "local")]
        if home == "local":
            backends.reverse()
        running = stack.enter_context(program(tmp_path / "program", backends, wait=False))
        until(lambda: sorted(named(running)) == ["theirs:latest", "tiny:latest"])
        blob = digest(hello.read_bytes())
        assert running.ask("POST", f"/api/blobs/{blob}", hello.read_bytes(), to("local"))[0] == 201
        made = {"model": "tiny", "files": {"hello.gguf": blob}, "stream": False}
        assert said(running, CREATE, made, **to("local")) == (200, [SUCCESS])
        # Both have `tiny` now: it is copied and deleted on both.
        assert said(running, COPY, {"source": "TINY", "destination": "both"}) == (200, [])
        assert ("both:latest" in named(running), in_store(store)) == (True, ["both/latest", "tiny/latest"])
        assert said(running, DELETE, {"model": "both"}) == (200, [])
        assert ("both:latest" in named(running), in_store(store)) == (False, ["tiny/latest"])
        # A model is made where its base is, wherever the home is.
        assert said(running, DELETE, {"model": "tiny"}, **to("other")) == (200, [])
        created(running, "mine", **{"from": "tiny"}, system="Be short.")
        assert in_store(store) == ["mine/latest", "tiny/latest"]
        # What is pulled comes to the home.
        pull = {"model": "127.0.0.1:1/me/new", "insecure": True, "stream": False}
        status, fields, _ = running.ask("POST", "/api/pull", pull)
        assert (status, fields["x-arriero-backend"]) == (200 if home == "other" else 500, home)
    check_store(store)


# ---- the filter ----------------------------------------------------------------------------------------------------


def test_what_the_filter_hides_stays_hidden(tmp_path: Path, hello: Path) -> None:
    place = tmp_path / "program"
    place.mkdir()
    (place / "rules.txt").write_text("shown*\n")
    library = tmp_path / "local/manifests" / LIBRARY
    with program(
        place,
        [engine(tmp_path, "local")],
        wait=False,
        models={"filter_file": "rules.txt"},
        routing={"aliases": {"shown-alias": ["hidden"]}},
    ) as running:
        blob = uploaded(running, hello)
        created(running, "shown", files={"hello.gguf": blob})
        shutil.copytree(library / "shown", library / "hidden")
        assert named(running) == ["shown:latest"]
        for request, body in [
            (SHOW, {"model": "hidden"}),
            (CHAT, {"model": "hidden", "messages": []}),
            (PULL, {"model": "hidden"}),
            (PUSH, {"model": "hidden"}),
            (DELETE, {"model": "hidden"}),
            (COPY, {"source": "hidden", "destination": "shown-too"}),
            (COPY, {"source": "shown", "destination": "hidden"}),
            (CREATE, {"model": "hidden", "from": "shown"}),
            (CREATE, {"model": "shown-too", "from": "hidden"}),
        ]:
            assert (request, *said(running, request, body)) == (
                request,
                403,
                ["Model 'hidden' is not allowed by the filter"],
            )
        assert [model["id"] for model in running.get("/v1/models")["data"]] == ["shown:latest"]
    assert sorted(path.name for path in library.iterdir()) == ["hidden", "shown"]


# ---- loose files, the demo model -----------------------------------------------------------------------------------


def test_a_file_beside_the_store(tmp_path: Path, hello: Path, bye: Path) -> None:
    """It is a model like others, but for its place: what is stored goes before it, and it is not deleted."""
    store = tmp_path / "local"
    store.mkdir()
    shutil.copy(bye, store / "Loose.gguf")
    with program(tmp_path / "program", [engine(tmp_path, "local", demo_model=True)], wait=False) as running:
        assert sorted(named(running)) == ["arriero-demo:latest", "loose:latest"]
        taken = '"loose" is the file Loose.gguf in the models directory'
        kept = '"loose:latest" is the file Loose.gguf in the models directory'
        demo = "comes with arriero (demo_model: false hides it)"
        created(running, "stored", files={"hello.gguf": uploaded(running, hello)})
        for request, body, error in [
            (DELETE, {"model": "loose"}, f"{kept}: it is not deleted from here"),
            (PUSH, {"model": "loose"}, f"{kept}: a copy of it can be pushed: ollama cp"),
            (COPY, {"source": "stored", "destination": "loose"}, f"{taken}: choose another name"),
            (COPY, {"source": "stored", "destination": "arriero-demo"},
             f'"arriero-demo" {demo}: choose another name'),
            (DELETE, {"model": "arriero-demo"}, f'"arriero-demo:latest" {demo}: it is not deleted from here'),
        ]:  # fmt: skip
            assert said(running, request, body) == (400, [error])
        status, (error,) = said(running, CREATE, {"model": "loose", "from": "stored"})
        assert (status, "Loose.gguf" in error) == (400, True)
        # Copied, it is a model of the store.
        assert said(running, COPY, {"source": "LOOSE", "destination": "tight"}) == (200, [])
        created(running, "more", **{"from": "loose"}, system="Be sad.")
        assert (says(running, "tight"), says(running, "more")) == ("Good bye.", "Good bye.")
        # One that came into the store by itself is known as soon as somebody asks for it; and of the file's own name
        # it goes before the file, until it is gone.
        shutil.copytree(store / "manifests" / LIBRARY / "stored", store / "manifests" / LIBRARY / "dropped")
        assert says(running, "dropped") == "Hello."
        assert said(running, DELETE, {"model": "dropped"}) == (200, [])
        shutil.copytree(store / "manifests" / LIBRARY / "stored", store / "manifests" / LIBRARY / "loose")
        assert sorted(named(running)) == [
            "arriero-demo:latest", "loose:latest", "more:latest", "stored:latest", "tight:latest"
        ]  # fmt: skip
        assert says(running, "loose") == "Hello."
        assert said(running, DELETE, {"model": "loose"}) == (200, [])
        assert (says(running, "loose"), (store / "Loose.gguf").exists()) == ("Good bye.", True)
    check_store(store)


# ---- what nobody needs ---------------------------------------------------------------------------------------------

OLD = 1_700_000_000


@pytest.mark.parametrize("settings", [{}, {"prune": False}, {"read_only": True}], ids=["tidied", "kept", "only read"])
def test_what_nobody_needs_goes_at_the_start(tmp_path: Path, hello: Path, settings: dict[str, Any]) -> None:
    store = tmp_path / "local"
    with program(tmp_path / "maker", [engine(tmp_path, "local")], wait=False) as running:
        created(running, "tiny", files={"hello.gguf": uploaded(running, hello)})
    kept = sorted((store / "blobs").iterdir())
    old, new = store / "blobs" / digest(b"old").replace(":", "-"), store / "blobs" / digest(b"new").replace(":", "-")
    part, stray, notes = (store / "blobs" / name for name in (f"{old.name}-partial", "sha256-12ab", "notes.txt"))
    for path in (old, new, part, stray, notes):
        path.write_bytes(path.name[:3].encode())
        if path is not new:
            os.utime(path, (OLD, OLD))
    empty = store / "manifests/hf.co/nobody/nothing"
    empty.mkdir(parents=True)
    before = sorted((store / "blobs").iterdir())
    with program(tmp_path / "program", [engine(tmp_path, "local", **settings)], wait=False) as running:
        assert named(running) == ["tiny:latest"]
        if settings:
            assert says(running, "tiny") == "Hello."
            assert (sorted((store / "blobs").iterdir()), empty.exists()) == (before, True)
        else:
            until(lambda: sorted((store / "blobs").iterdir()) == sorted([*kept, new, notes]))
            until(lambda: not (store / "manifests/hf.co").exists())
            assert says(running, "tiny") == "Hello."


# ---- Ollama's own variables ----------------------------------------------------------------------------------------


@pytest.fixture
def by_variables(tmp_path: Path) -> Iterator[Program]:
    """`arriero serve` where nothing but Ollama's variables says how."""
    folder, port = tmp_path / "place", free_port()
    folder.mkdir()
    told = {
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(tmp_path / "store"),
        "OLLAMA_KEEP_ALIVE": "7m",
        "OLLAMA_CONTEXT_LENGTH": "600",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_NOPRUNE": "1",
        "ARRIERO_DEMO_MODEL": "false",
    }
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command("serve"), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
            env=environment(folder, told), start_new_session=True,
        )  # fmt: skip
    running = Program(process, port, folder)
    try:
        running.wait_listening()
        yield running
    finally:
        running.end()


def test_ollamas_variables(by_variables: Program, tmp_path: Path, hello: Path, bye: Path) -> None:
    running, store = by_variables, tmp_path / "store"
    assert (named(running), store.exists()) == ([], False)
    for name, file in (("one", hello), ("two", bye)):
        created(running, name, files={file.name: uploaded(running, file)}, system=f"I am {name}.")
    for name in ("one", "two"):
        assert says(running, name)
        (loaded,) = running.get("/api/ps")["models"]
        assert (loaded["name"], loaded["context_length"]) == (f"{name}:latest", 600)
    left = datetime.fromisoformat(loaded["expires_at"]) - datetime.now().astimezone()
    assert timedelta(minutes=6, seconds=30) < left <= timedelta(minutes=7)
    before = blobs(store)
    assert said(running, DELETE, {"model": "one"}) == (200, [])
    assert asked(running, CREATE, {"model": "two", "from": "two", "system": "I am new.", "stream": False}) == (
        200,
        INSTEAD_OF_FRAMES,
        [SUCCESS],
    )
    assert set(before) < set(blobs(store))
    manifest = json.loads((store / "manifests" / LIBRARY / "two/latest").read_bytes())
    assert digest(b"I am new.") in [layer["digest"] for layer in manifest["layers"]]
