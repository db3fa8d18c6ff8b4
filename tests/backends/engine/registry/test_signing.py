"""The key of this machine: found or not, and what it signs."""

import base64
import builtins
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.registry.signing import read_signer

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def key_file(path: Path, key: Any) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path


def test_the_public_key_and_a_signature(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signer = read_signer(key_file(tmp_path / "id_ed25519", key))
    assert signer is not None
    public, _, signature = signer.authorization("GET,https://r.test/token,x").partition(":")
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert f"ssh-ed25519 {public}".encode() == line
    key.public_key().verify(base64.b64decode(signature, validate=True), b"GET,https://r.test/token,x")
    assert repr(signer) == "KeySigner()"


def test_no_key_no_signer(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"no key at all")
    (tmp_path / "folder").mkdir()
    cut = key_file(tmp_path / "cut", Ed25519PrivateKey.generate())
    cut.write_bytes(cut.read_bytes()[:200])
    paths = [
        tmp_path / "missing",
        tmp_path / "junk",
        tmp_path / "folder",
        cut,
        key_file(tmp_path / "curve", generate_private_key(SECP256R1())),
    ]
    assert [read_signer(path) for path in paths] == [None] * 5


def test_without_the_package_there_is_no_signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_file(tmp_path / "id_ed25519", Ed25519PrivateKey.generate())
    known = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return known(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert read_signer(path) is None
