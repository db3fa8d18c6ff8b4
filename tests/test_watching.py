"""Files that change in all the ways that files do, on the real file system."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arriero.watching import LOOK_MS, folders, stamp, watch
from support.engine import eventually


class Seen:
    """How often a change was told."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@asynccontextmanager
async def watching(*paths: Path) -> AsyncIterator[Seen]:
    seen, stop = Seen(), asyncio.Event()
    task = asyncio.create_task(watch(paths, stamp(paths), seen, stop))
    await asyncio.sleep(0.3)  # until the kernel watches: what changes before is seen some seconds later
    try:
        yield seen
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


def rewrite(path: Path) -> None:
    path.write_text("other")


def replace(path: Path) -> None:
    """As editors do."""
    new = path.with_name("new")
    new.write_text("other")
    new.replace(path)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [rewrite, replace, remove])
async def test_a_change_is_told_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = tmp_path / "arriero.yaml"
    file.write_text("one")
    async with watching(file, tmp_path / ".env") as seen:
        change(file)
        await eventually(lambda: seen.count > 0)
        await asyncio.sleep(0.3)
        assert seen.count == 1


async def test_a_file_that_comes_is_told(tmp_path: Path) -> None:
    async with watching(tmp_path / "arriero.yaml", tmp_path / "none" / "config.yaml") as seen:
        (tmp_path / "arriero.yaml").write_text("one")
        await eventually(lambda: seen.count == 1)


async def test_other_files_of_the_folder_are_nobody_s_business(tmp_path: Path) -> None:
    file = tmp_path / "arriero.yaml"
    file.write_text("one")
    async with watching(file) as seen:
        for number in range(5):
            (tmp_path / f"log{number}").write_text("x")
            await asyncio.sleep(0.1)
        assert seen.count == 0
        file.write_text("two and more")
        await eventually(lambda: seen.count == 1)


async def test_a_folder_behind_a_link_is_swapped_again_and_again(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap."""
    for number in range(4):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "arriero.yaml").write_text(f"number: {number}")
    (tmp_path / "..data").symlink_to("..0")
    file = tmp_path / "arriero.yaml"
    file.symlink_to("..data/arriero.yaml")
    async with watching(file) as seen:
        for number in range(1, 4):
            (tmp_path / "..tmp").symlink_to(f"..{number}")
            os.replace(tmp_path / "..tmp", tmp_path / "..data")
            await eventually(lambda number=number: seen.count == number)  # type: ignore[misc]
            assert file.read_text() == f"number: {number}"
            await asyncio.sleep(0.3)


async def test_where_a_link_leads_now_is_watched(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(name)
    link = tmp_path / "links" / "arriero.yaml"
    link.symlink_to(tmp_path / "one" / "config.yaml")
    async with watching(link) as seen:
        (tmp_path / "links" / "new").symlink_to(tmp_path / "two" / "config.yaml")
        os.replace(tmp_path / "links" / "new", link)
        await eventually(lambda: seen.count == 1)
        await asyncio.sleep(0.3)
        (tmp_path / "two" / "config.yaml").write_text("written in its place")
        async with asyncio.timeout(LOOK_MS / 1000 - 1):  # told by the file system, not seen by chance
            await eventually(lambda: seen.count == 2)


async def test_changes_one_after_the_other_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "arriero.yaml"
    file.write_text("one")
    async with watching(file) as seen:
        for number in range(1, 4):
            file.write_text("x" * (number + 10))
            await eventually(lambda number=number: seen.count == number)  # type: ignore[misc]


async def test_a_change_before_the_watch_began_is_told(tmp_path: Path) -> None:
    file = tmp_path / "arriero.yaml"
    file.write_text("one")
    seen, stop, before = Seen(), asyncio.Event(), stamp([file])
    file.write_text("another")
    task = asyncio.create_task(watch([file], before, seen, stop))
    await eventually(lambda: seen.count == 1)
    stop.set()
    async with asyncio.timeout(5):
        await task


async def test_it_ends_soon_where_there_is_no_folder_to_watch(tmp_path: Path) -> None:
    async with watching(tmp_path / "none" / "arriero.yaml") as seen:
        await asyncio.sleep(0.1)
    assert seen.count == 0


def test_the_folders_along_all_links(tmp_path: Path) -> None:
    real, releases, etc = tmp_path / "real", tmp_path / "releases", tmp_path / "etc"
    for folder in (real, releases / "1", etc):
        folder.mkdir(parents=True)
    (real / "config.yaml").write_text("")
    (releases / "1" / "config.yaml").symlink_to(real / "config.yaml")
    (releases / "current").symlink_to("1")
    (etc / "arriero.yaml").symlink_to("../releases/current/config.yaml")
    assert folders([etc / "arriero.yaml"]) == {etc, releases / "current", releases, releases / "1", real}
    assert folders([tmp_path / "none" / "x"]) == frozenset()


def test_a_path_that_no_file_can_have_stands_for_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "a\x00b", tmp_path / ("x" * 5000)):
        assert (stamp([path]), folders([path])) == ((None,), frozenset({tmp_path}))


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert folders([tmp_path / "a"]) == {tmp_path}
    assert stamp([tmp_path / "a"]) == (None,)
