"""The page about the engine's models is true: what it types works against one program and a real registry."""

import re
import shutil
from pathlib import Path

import pytest

from arriero.config.environment import every_name
from support.docker_registry import running_docker_registry
from support.engine import needs_engine
from support.gguf import scripted
from support.pages import Reader, page

PAGE = "models.md"


@needs_engine
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_who_follows_the_page(tmp_path: Path) -> None:
    with running_docker_registry(tmp_path / "registry") as registry:
        reader = Reader(tmp_path, "11434", {"registry.example.com:5000": registry.host}, {})
        scripted(reader.folder / "tiny.gguf", "Hello there, traveller.")
        try:
            assert reader.follow(page(PAGE)) >= 14
        finally:
            reader.close()


def test_every_variable_is_known() -> None:
    named = set(re.findall(r"\b(?:OLLAMA|ARRIERO)_[A-Z_]+\b", page(PAGE)))
    assert len(named) >= 8
    assert named - {*every_name(), "OLLAMA_HOST"} == set()


def test_every_anchor_is_a_heading() -> None:
    for target, anchor in re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", page(PAGE)):
        headings = re.findall(r"^#+ (.*)$", page(target), re.MULTILINE)
        known = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in known, (target, anchor)
