"""The key of this machine, which Ollama keeps beside its store, as a signer of token requests.

It needs the package `cryptography`. Without it, or without a key, requests go unsigned, which is enough for what a
registry gives to everybody. No key is ever made here.
"""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from arriero.backends.engine.registry.auth import Signer

MAX_KEY_BYTES = 65536


class KeySigner:
    """Signs with an ed25519 key. `public` is the key in SSH's wire form, base64."""

    __slots__ = ("_public", "_sign")

    def __init__(self, public: str, sign: Callable[[bytes], bytes]) -> None:
        self._public = public
        self._sign = sign

    def __repr__(self) -> str:
        return "KeySigner()"

    def authorization(self, text: str) -> str:
        return f"{self._public}:{b64encode(self._sign(text.encode())).decode()}"


def read_signer(path: Path) -> Signer | None:
    """The signer of an OpenSSH key file without a passphrase. `None` without the package, without the file, or where
    it holds something else. Blocks.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
    except ImportError:
        return None
    try:
        with path.open("rb") as file:
            key = load_ssh_private_key(file.read(MAX_KEY_BYTES), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, Ed25519PrivateKey):
        return None
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeySigner(public.split()[1].decode(), key.sign)
