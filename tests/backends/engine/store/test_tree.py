"""The manifests directory: what is a model, in which spelling, and what is not taken for one."""

import os
import shutil
import time
from pathlib import Path

import pytest

from arriero.backends.engine.store.manifest import MAX_MANIFEST_BYTES, read_manifest
from arriero.backends.engine.store.tree import Tree
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest, StoreError
from support.store import digest, name

MANIFEST = b'{"config":{"mediaType":"x","digest":"sha256:%s","size":1},"layers":[]}' % (b"a" * 64)
LIBRARY = "manifests/registry.ollama.ai/library"


def lay(root: Path, place: str, data: bytes = MANIFEST) -> Path:
    path = root / "manifests" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(tree: Tree) -> list[str]:
    return [each.name.shortest for each in tree.scan()[0]]


def test_a_manifest_dropped_in_is_a_model(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.scan() == ([], {})
    path = lay(tmp_path, "registry.ollama.ai/library/Tiny/v1")
    os.utime(path, (1_700_000_000.5, 1_700_000_000.5))
    ((found,), broken) = tree.scan()
    assert broken == {}
    assert found.name == Name("Tiny", "v1")
    assert found.manifest == read_manifest(MANIFEST)
    assert found.digest == digest(MANIFEST)[7:]
    assert found.path == path
    assert found.mark == (str(path), len(MANIFEST), 1_700_000_000_500_000_000)
    assert found.modified_at == 1_700_000_000.5
    path.unlink()
    assert tree.scan() == ([], {})


def test_models_come_in_order_of_their_paths(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for place in ("hf.co/me/b/q8", "registry.ollama.ai/library/b/x", "hf.co/me/a/q8", "localhost:5000/n/m/t"):
        lay(tmp_path, place)
    assert names(tree) == ["hf.co/me/a:q8", "hf.co/me/b:q8", "localhost:5000/n/m:t", "b:x"]


def test_a_manifest_is_parsed_once_and_every_change_is_seen(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    path = lay(tmp_path, "h/n/m/t")
    ((first,), _) = tree.scan()
    ((second,), _) = tree.scan()
    assert first is second
    assert tree.find(name("h/n/m:t")) is first
    other = MANIFEST.replace(b"a" * 64, b"b" * 64)
    stat = path.stat()
    for data in (other, MANIFEST):
        # As another program replaces it: same size, same time, another file.
        lay(tmp_path, "h/n/m/new", data)
        os.utime(path.with_name("new"), ns=(stat.st_atime_ns, stat.st_mtime_ns))
        path.with_name("new").replace(path)
        ((found,), _) = tree.scan()
        assert found.digest == digest(data)[7:]


def test_what_a_directory_holds_is_remembered_and_every_change_is_seen(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    lay(tmp_path, "h/n/m/t")
    past = time.time() - 3600
    for folder, _, _ in os.walk(tmp_path / "manifests"):
        os.utime(folder, (past, past))
    assert names(tree) == names(tree) == ["h/n/m:t"]
    for place in ("h/n/m/u", "h/n/o/t", "h/p/m/t", "i/n/m/t"):
        lay(tmp_path, place)
    assert names(tree) == ["h/n/m:t", "h/n/m:u", "h/n/o:t", "h/p/m:t", "i/n/m:t"]
    (tmp_path / "manifests/h/n/m/t").unlink()
    shutil.rmtree(tmp_path / "manifests/h/p")
    assert names(tree) == ["h/n/m:u", "h/n/o:t", "i/n/m:t"]


def test_two_thousand_models_are_looked_over_in_a_moment(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for number in range(2000):
        lay(tmp_path, f"h/n/m{number}/t")
    past = time.time() - 3600
    for folder, _, _ in os.walk(tmp_path / "manifests"):
        os.utime(folder, (past, past))
    assert len(tree.scan()[0]) == 2000
    took: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(tree.scan()[0]) == 2000
        took.append(time.perf_counter() - start)
    # 13 ms on a quiet machine.
    assert min(took) < 0.25


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Tiny:V1", "Tiny:V1"),
        ("tiny:v1", "Tiny:V1"),
        ("TINY:v2", "tiny:v2"),
        ("LIBRARY/tiny:V2", "tiny:v2"),
        ("Registry.Ollama.AI/library/TINY:V1", "Tiny:V1"),
        ("both", "both:latest"),
        ("BOTH", "BOTH:latest"),
        ("Both", "BOTH:latest"),
        ("tiny:v3", None),
        ("other/tiny:v1", None),
    ],
)
def test_letter_case_is_folded_and_the_exact_spelling_comes_first(
    tmp_path: Path, asked: str, found: str | None
) -> None:
    tree = Tree(tmp_path)
    for place in ("Tiny/V1", "tiny/v2", "both/latest", "BOTH/latest"):
        lay(tmp_path, f"registry.ollama.ai/library/{place}")
    stored = tree.find(name(asked))
    assert (stored.name.shortest if stored else None) == found


@pytest.mark.parametrize(
    ("asked", "spelled"),
    [
        ("hf.co/me/TINY:LATEST", Name("Tiny", "latest", "me", "HF.co")),
        ("hf.co/ME/tiny:q8_0", Name("Tiny", "Q8_0", "Me", "HF.co")),
        ("Tiny", Name("Tiny", "latest")),
        ("brand-New:Tag", Name("brand-New", "Tag")),
        ("new/one:q8_0", Name("one", "Q8_0", "new")),
    ],
)
def test_a_new_name_takes_the_spelling_of_each_part_that_is_there(tmp_path: Path, asked: str, spelled: Name) -> None:
    tree = Tree(tmp_path)
    lay(tmp_path, "HF.co/Me/Tiny/Q8_0")
    lay(tmp_path, "HF.co/me/Tiny/latest")
    assert tree.spelled(name(asked)) == spelled


def test_what_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for place, data in {
        "h/n/m/empty": b"",
        "h/n/m/huge": b" " * (MAX_MANIFEST_BYTES + 1),
        "h/n/m/bad~": MANIFEST,
        "h/n.n/m/t": MANIFEST,
        "h/n/m/good": MANIFEST,
        "h/n/m/.DS_Store": b"?",
        "h/n/.hidden/t": MANIFEST,
        "h/n/stray": MANIFEST,
        "h/n/m/folder/deeper": MANIFEST,
    }.items():
        lay(tmp_path, place, data)
    os.mkfifo(tmp_path / "manifests/h/n/m/pipe")
    stored, broken = tree.scan()
    assert [each.name.full for each in stored] == ["h/n/m:good"]
    assert {str(path.relative_to(tmp_path / "manifests")): reason for path, reason in broken.items()} == {
        "h/n/m/empty": "the manifest is damaged: Input data was truncated",
        "h/n/m/huge": "the manifest is larger than 16 MiB",
        "h/n/m/bad~": "its place in the store is no model name",
        "h/n.n/m/t": "its place in the store is no model name",
        "h/n/m/pipe": "it is no plain file",
    }
    with pytest.raises(StoreError) as raised:
        tree.find(name("h/n/m:pipe"))
    assert raised.value.message == "the manifest of h/n/m:pipe cannot be used: it is no plain file"
    assert tree.find(name("h/n/m:folder")) is None
    assert tree.path(name("h/n/M:Pipe")) == tmp_path / "manifests/h/n/m/pipe"


def test_a_name_that_is_not_utf_8_is_no_model(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    good = lay(tmp_path, "h/n/m/t")
    odd = os.fsencode(good.parent) + b"/\xff\xfe"
    Path(os.fsdecode(odd)).write_bytes(MANIFEST)
    stored, broken = tree.scan()
    assert [each.path for each in stored] == [good]
    assert [os.fsencode(path) for path in broken] == [odd]


def test_links_are_followed_inside_only(tmp_path: Path) -> None:
    root = tmp_path / "store"
    tree = Tree(root)
    lay(root, "h/n/m/t")
    outside = lay(tmp_path, "o/u/t/side")
    folder = root / "manifests/h/n/m"
    (folder / "alias").symlink_to("t")
    (folder / "out").symlink_to(outside)
    (folder / "nowhere").symlink_to("/nonexistent")
    (folder / "round").symlink_to("round")
    (root / "manifests/h/n/inside").symlink_to("m")
    (root / "manifests/h/n/away").symlink_to(outside.parent)
    (root / "manifests/loop").symlink_to(".")
    stored, broken = tree.scan()
    assert {each.name.full for each in stored} == {"h/n/m:t", "h/n/m:alias", "h/n/inside:t", "h/n/inside:alias"}
    away = "it lies behind a link that leads out of the store"
    out = "it is a link that leads out of the store, or nowhere"
    reasons = {str(path.relative_to(root / "manifests")): reason for path, reason in broken.items()}
    assert reasons["h/n/m/out"] == out
    assert reasons["h/n/away/side"] == away
    with pytest.raises(StoreError) as raised:
        tree.find(name("h/n/away:side"))
    assert raised.value.message == f"the manifest of h/n/away:side cannot be used: {away}"
    (root / "manifests/h/abroad").symlink_to(tmp_path / "manifests/o/u")
    for place in ("h/n/away:new", "h/abroad/new:t", "h/abroad/t:side"):
        with pytest.raises(StoreError, match="a link leads out of it"):
            tree.put(name(place), MANIFEST, None)
    with pytest.raises(StoreError, match="a link leads out of it"):
        tree.remove(root / "manifests/h/n/away/side")
    assert outside.read_bytes() == MANIFEST
    assert (os.listdir(outside.parent), os.listdir(outside.parents[1])) == (["side"], ["t"])


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    lay(tmp_path / "elsewhere", "h/n/m/t")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifests").symlink_to(tmp_path / "elsewhere" / "manifests")
    tree = Tree(tmp_path / "store")
    tree.put(name("h/n/m:u"), MANIFEST, 5.0)
    assert names(tree) == ["h/n/m:t", "h/n/m:u"]


@pytest.mark.parametrize("evil", [Name(".."), Name("a", namespace="../../.."), Name("a", host="/etc"), Name("a\0b")])
def test_no_name_leads_out(tmp_path: Path, evil: Name) -> None:
    tree = Tree(tmp_path)
    for attempt in (tree.find, tree.path, tree.spelled, lambda each: tree.put(each, MANIFEST, None)):
        with pytest.raises(BadRequest) as raised:
            attempt(evil)
        assert raised.value.message == "invalid model name"


def test_a_manifest_is_put_whole_and_removed_with_its_empty_directories(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    stored = tree.put(name("h/n/m:t"), MANIFEST, 1_700_000_000.0)
    assert stored.path.read_bytes() == MANIFEST
    assert (stored.name.full, stored.modified_at, stored.path.stat().st_mode & 0o777) == ("h/n/m:t", 1.7e9, 0o644)
    assert os.listdir(tmp_path / "manifests") == ["h"]
    tree.put(name("h/n/other:t"), MANIFEST, None)
    tree.remove(stored.path)
    assert sorted(os.listdir(tmp_path / "manifests/h/n")) == ["other"]
    tree.remove(tmp_path / "manifests/h/n/other/t")
    assert os.listdir(tmp_path / "manifests") == []


def test_a_directory_in_the_place_of_a_manifest(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    (tmp_path / "manifests/h/n/m/t").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        tree.put(name("h/n/m:t"), MANIFEST, None)
    assert os.listdir(tmp_path / "manifests") == ["h"]


def test_tidying_takes_empty_directories_and_old_files_on_their_way(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    now = time.time()
    tree.remove_leftovers(now)
    lay(tmp_path, "h/n/m/t")
    for place in ("empty", "h/empty/empty", "h/n/m/folder", "deep/" * 40):
        (tmp_path / "manifests" / place).mkdir(parents=True)
    old, young = (tmp_path / "manifests" / f"arriero-{digit * 16}" for digit in "ab")
    for path, age in ((old, 3700), (young, 3500)):
        path.touch()
        os.utime(path, (now - age, now - age))
    assert names(tree) == ["h/n/m:t"]
    tree.remove_leftovers(now)
    assert sorted(os.listdir(tmp_path / "manifests")) == [young.name, "deep", "h"]
    assert os.listdir(tmp_path / "manifests/h") == ["n"]
    assert os.listdir(tmp_path / "manifests/h/n/m") == ["t"]
