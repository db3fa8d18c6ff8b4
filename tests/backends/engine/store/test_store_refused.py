"""Stores that cannot be written: told apart, in sentences, with nothing left behind and no path given away."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.backends.engine.store.store import Store
from arriero.errors import StoreError, StoreReadOnly
from support.store import blobs, check_store, digest, leftovers, model, name

TOLD = "the model store is read-only: arriero has been told to leave it as it is"
FILE = "the model store cannot be written: a file stands where a directory has to be"
CHILD = """
import os, sys
from pathlib import Path
from arriero.backends.engine.store.store import Store
from arriero.errors import StoreError
from support.store import name
os.chdir(sys.argv[1])
{before}
store = Store(Path("models"))
def say(title, change):
    try:
        change()
    except StoreError as error:
        print(title, type(error).__name__, error.message, sep=": ")
    else:
        print(title, "done", sep=": ")
{after}
"""
NOBODY = """
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
FORBIDDEN = (
    "StoreReadOnly: the model store cannot be written: Permission denied; "
    "give arriero the right to write there, or name another directory"
)
NO_ROOM = "no room left on the device of the model store: File too large; delete models or free some space"


def child(folder: Path, before: str, after: str, *arguments: str) -> list[str]:
    """What a process says of the store `models` in a folder."""
    places = (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    code = CHILD.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def changes(store: Store, data: bytes) -> list[Callable[[], object]]:
    return [
        store.writable,
        store.incoming,
        lambda: store.put(b"x"),
        lambda: store.adopt(store.root / "x", digest(b"x")),
        lambda: store.write(name("b"), data),
        lambda: store.copy(name("a"), name("b")),
        lambda: store.delete(name("a")),
    ]


def test_a_store_that_is_to_stay_as_it_is(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    data = model(writer, b"weights")
    writer.write(name("a"), data)
    writer.put(b"unnamed")
    store = Store(tmp_path, read_only=True)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    for change in changes(store, data):
        with pytest.raises(StoreReadOnly) as raised:
            change()
        assert (raised.value.status, raised.value.message) == (403, TOLD)
    store.tidy(time.time() + 7200)
    assert [each.name.shortest for each in store.scan()[0]] == ["a:latest"]
    assert store.size(digest(b"weights")) == 7
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_file_in_the_place_of_the_store(tmp_path: Path) -> None:
    data = model(Store(tmp_path / "other"), b"x")
    root = tmp_path / "models"
    root.write_text("a file")
    store = Store(root)
    for change in changes(store, data)[:3]:
        with pytest.raises(StoreError) as raised:
            change()
        assert raised.value.message == FILE
    with pytest.raises(StoreError) as raised:
        store.scan()
    assert raised.value.message == "the model store is not a directory: name another one"
    assert store.size(digest(b"x")) is None
    with pytest.raises(StoreError):
        store.write(name("b"), data)
    store.tidy(0.0)
    assert root.read_text() == "a file"


@pytest.mark.parametrize("part", ["blobs", "manifests"])
def test_a_file_in_the_place_of_a_directory(tmp_path: Path, part: str) -> None:
    store = Store(tmp_path)
    (tmp_path / part).write_text("a file")
    with pytest.raises(StoreError) as raised:
        store.writable()
    assert raised.value.message == FILE
    with pytest.raises(StoreError) as raised:
        store.write(name("a"), model(store, b"x"))
    assert raised.value.message == FILE
    assert (tmp_path / part).read_text() == "a file"
    assert store.scan() == ([], {})
    assert not [left for left in leftovers(tmp_path) if "arriero-" in left]


def test_blobs_that_went_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = model(store, b"weights")
    stored, _ = store.write(name("a"), data)
    for path in (tmp_path / "blobs").iterdir():
        path.unlink()
    (tmp_path / "blobs").rmdir()
    assert store.scan() == ([stored], {})
    with pytest.raises(StoreError, match="is missing: pull or create the model again"):
        store.read(stored.manifest.config)
    with pytest.raises(StoreError, match="is missing: send or pull it again"):
        store.write(name("b"), data)
    store.tidy(time.time())
    store.put(b"weights")
    store.delete(name("a"))
    assert blobs(tmp_path) == [digest(b"weights")]


def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    store.write(name("a"), model(store, b"weights"))
    tmp_path.chmod(0o755)
    folders = [Path(folder) for folder, _, _ in os.walk(tmp_path / "models")]
    for folder in folders:
        folder.chmod(0o555)
    try:
        said = child(
            tmp_path,
            NOBODY,
            """
(model,), _ = store.scan()
say("read", lambda: store.read(model.manifest.layers[0]))
say("writable", store.writable)
say("put", lambda: store.put(b"x"))
say("write", lambda: store.write(name("b"), model.path.read_bytes()))
say("copy", lambda: store.copy(name("a"), name("b")))
say("delete", lambda: store.delete(name("a")))
""",
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert said == [
        "read: done",
        *(f"{title}: {FORBIDDEN}" for title in ("writable", "put", "write", "copy", "delete")),
    ]
    check_store(tmp_path / "models")
    assert leftovers(tmp_path / "models") == []


def test_what_may_not_even_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    stored, _ = store.write(name("a"), model(store, b"weights"))
    tmp_path.chmod(0o755)
    stored.path.chmod(0)
    store.write(name("other/b"), model(store, b"weights"))[0].path.parents[1].chmod(0)
    store.blob(digest(b"weights")).chmod(0)
    said = child(
        tmp_path,
        NOBODY,
        """
say("scan", lambda: print(*store.scan()[1].values()))
say("find", lambda: store.find(name("a")))
say("size", lambda: print(store.size(sys.argv[2])))
""",
        digest(b"weights"),
    )
    (tmp_path / "models/manifests/registry.ollama.ai/other").chmod(0o755)
    assert said == [
        "it cannot be read: Permission denied it cannot be read: Permission denied",
        "scan: done",
        "find: StoreError: the manifest of a:latest cannot be used: it cannot be read: Permission denied",
        "7",
        "size: done",
    ]


def test_a_full_disk(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a disk: the same failure, after some bytes have been written.
    said = child(
        tmp_path,
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))",
        """
from support.store import model
data = model(store, b"weights")
store.write(name("a"), data)
def stream():
    with store.incoming() as blob:
        for _ in range(1000):
            blob.write(bytes(70_000))
say("put", lambda: store.put(bytes(3 << 20)))
say("stream", stream)
say("write", lambda: store.write(name("b"), data + b" " * 200_000))
say("small", lambda: store.write(name("c"), data))
""",
    )
    assert said == [
        f"put: StoreError: {NO_ROOM}",
        f"stream: StoreError: {NO_ROOM}",
        f"write: StoreError: {NO_ROOM}",
        "small: done",
    ]
    check_store(tmp_path / "models")
    assert leftovers(tmp_path / "models") == []
