"""Names of files, and what may not become one."""

from pathlib import Path

import pytest

from arriero.backends.engine.store.layout import (
    blob_digest,
    blob_file,
    check_digest,
    is_partial,
    is_stray,
    is_temporary,
    manifest_path,
    name_of,
)
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize("text", [DIGEST, f"sha256-{HEX}", f"sha256:{HEX.upper()}", f"sha256-{HEX.upper()}"])
def test_a_digest_has_one_form(text: str) -> None:
    assert check_digest(text) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f"sha256_{HEX}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        f"sha256:g{HEX[1:]}",
        f"sha256:../../{HEX[6:]}",
        f"../sha256-{HEX}",
        f"sha256:{HEX[:-1]}\0",
        f"sha256:{HEX[:-1]}٣",
        f"sha256-{HEX}-partial",
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_digest(text)
    assert raised.value.message == "invalid digest format"


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        (f"sha256-{HEX}", DIGEST),
        (f"sha256:{HEX}", DIGEST),
        (f"sha256-{HEX.upper()}", None),
        (f"sha256-{HEX}-partial", None),
        ("sha256-123456", None),
        ("README", None),
    ],
)
def test_a_file_is_named_for_its_digest(file: str, digest: str | None) -> None:
    assert blob_digest(file) == digest
    assert blob_file(DIGEST) == f"sha256-{HEX}"


@pytest.mark.parametrize(
    ("file", "temporary", "partial", "stray"),
    [
        (f"arriero-{HEX[:16]}", True, False, True),
        ("arriero-notes.txt", False, False, False),
        (f"sha256-{HEX}-partial", False, True, True),
        (f"sha256-{HEX}-partial-12", False, True, True),
        (f"sha256-{HEX}-partial-x", False, False, True),
        ("sha256-1234567890", False, False, True),
        (f"sha256-{HEX}", False, False, False),
        (f"sha256:{HEX}", False, False, False),
        ("model.gguf", False, False, False),
    ],
)
def test_files_on_their_way_are_told_apart(file: str, temporary: bool, partial: bool, stray: bool) -> None:
    assert (is_temporary(file), is_partial(file), is_stray(file)) == (temporary, partial, stray)


def test_a_manifest_lies_four_levels_deep() -> None:
    name = Name("Model", "v1", "me", "localhost:5000")
    assert manifest_path(Path("/m"), name) == Path("/m/manifests/localhost:5000/me/Model/v1")
    assert name_of("localhost:5000", "me", "Model", "v1") == name


@pytest.mark.parametrize(
    "name",
    [
        Name(".."),
        Name("a/b"),
        Name("a", tag=".."),
        Name("a", tag=""),
        Name("a", namespace="../.."),
        Name("a", host=".."),
        Name("a", host="/etc"),
        Name("a\0b"),
        Name(" a"),
        Name("a", tag="x\n"),
        Name("modèle"),
        Name("x" * 81),
    ],
)
def test_what_is_no_name_has_no_place(name: Name) -> None:
    with pytest.raises(BadRequest) as raised:
        manifest_path(Path("/m"), name)
    assert raised.value.message == "invalid model name"
    assert name_of(name.host, name.namespace, name.model, name.tag) is None
