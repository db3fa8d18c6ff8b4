"""A model store in Ollama's layout, which Ollama may have made and may go on using: names, manifests, blobs.

Laws. A manifest never names a blob that is not there: `write` checks under the lock, and blobs go only after the
manifests that named them. A blob goes only with a manifest that named it, and only if every other manifest could be
read and does not name it; or in `tidy`, an hour after anybody touched it. Killed at any point, the store holds whole
models and at most some files that `tidy` clears. Everything blocks: run it in the store's `threads`.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from arriero.backends.engine.lasting import Threads
from arriero.backends.engine.store.blobs import Blobs, Incoming
from arriero.backends.engine.store.faults import BlobMissing, reading, writing
from arriero.backends.engine.store.layout import MANIFESTS, manifest_path
from arriero.backends.engine.store.locking import StoreLock
from arriero.backends.engine.store.manifest import Layer, Manifest, read_manifest
from arriero.backends.engine.store.tree import Stored, Tree
from arriero.dialects.ollama.names import Name
from arriero.errors import ModelNotFound, StoreError, StoreReadOnly

__all__ = ["Store", "Stored"]


class Store:
    """The store under `root`. Nothing is made there before the first write. Safe between threads and processes."""

    def __init__(self, root: Path, *, read_only: bool = False, prune: bool = True) -> None:
        self.root = root
        self.read_only = read_only
        self._prune = prune
        self._blobs = Blobs(root)
        self._tree = Tree(root)
        self._lock = StoreLock(root)
        self.threads = Threads()

    def close(self) -> None:
        """Whoever waits for another process to be done with the store waits no longer, and gets a `StoreError`."""
        self._lock.close()

    # ---- looking -----------------------------------------------------------------------------------------------

    def scan(self) -> tuple[list[Stored], dict[Path, str]]:
        """The models, in order of their paths, and unreadable manifests with the reason. Raises `StoreError`.

        A store that is not there holds no models.
        """
        self._check_root()
        return self._tree.scan()

    def find(self, name: Name) -> Stored | None:
        """The model of that name, letter case aside. Raises `StoreError` if its manifest cannot be read."""
        return self._tree.find(name)

    def blob(self, digest: str) -> Path:
        """Where a blob is, or would be. Raises `BadRequest` for what is no digest."""
        return self._blobs.path(digest)

    def size(self, digest: str) -> int | None:
        """The size of a blob in bytes, `None` if it is not there. Raises `BadRequest`, `StoreError`."""
        return self._blobs.size(digest)

    def read(self, layer: Layer) -> bytes:
        """A small blob, whole. Raises `StoreError` if it is missing, over 16 MiB, or not of the layer's size."""
        return self._blobs.read(layer.digest, layer.size)

    def writable(self) -> None:
        """Raises `StoreReadOnly` or `StoreError` where the store cannot be written; writes nothing."""
        self._check_writable()
        with writing():
            for folder in (self.root, self._blobs.directory, self.root / MANIFESTS):
                _check_folder(folder)

    # ---- changing ----------------------------------------------------------------------------------------------

    def incoming(self) -> Incoming:
        """A new blob on its way. Raises `StoreReadOnly`, `StoreError`."""
        self._check_writable()
        return self._blobs.incoming()

    def put(self, data: bytes) -> tuple[str, bool]:
        """Store a small blob: its digest, and whether it is a new one. Raises `StoreReadOnly`, `StoreError`."""
        with self.incoming() as blob:
            blob.write(data)
            digest = blob.commit()
        return digest, blob.is_new

    def adopt(self, file: Path, digest: str) -> bool:
        """Make a finished file in `blobs/`, whose digest the caller has checked, a blob; whether it is a new one."""
        self._check_writable()
        return self._blobs.adopt(file, digest)

    def keep(self, digests: Iterable[str]) -> None:
        """These are about to be named by a manifest: no deletion by this store takes them within the next hour.

        What has come through `incoming`, `put` and `adopt` is kept already. Raises `BadRequest` for what is no digest.
        """
        self._blobs.expect(digests)

    def write(self, name: Name, manifest: bytes, *, modified_at: float | None = None) -> tuple[Stored, int]:
        """Make these bytes the manifest of a name, and remove the blobs that only its old one named: how many went.

        The name takes the spelling that the store has for it. Raises `BadRequest` for what is no name, `StoreError` for
        a manifest that cannot be read, `BlobMissing` for one that names a blob that is not there, `StoreReadOnly`.
        """
        self._check_writable()
        manifest_path(self.root, name)
        wanted = read_manifest(manifest)
        with self._changing():
            for layer in wanted.blobs:
                if self._blobs.size(layer.digest) is None:
                    raise BlobMissing(layer.digest)
            return self._replace(name, manifest, wanted, modified_at)

    def copy(self, source: Name, destination: Name) -> None:
        """Give a model another name, overwriting what has it. Raises `ModelNotFound`, and what `write` does."""
        self._check_writable()
        manifest_path(self.root, destination)
        if self._tree.path(source) is None:
            raise ModelNotFound(source.shortest)
        with self._changing():
            found = self._tree.find(source)
            if found is None:
                raise ModelNotFound(source.shortest)
            if self._tree.path(destination) == found.path:
                return
            self._replace(destination, found.path.read_bytes(), found.manifest, None)

    def delete(self, name: Name) -> None:
        """Remove a name, readable or not, and the blobs that only it named. Raises `ModelNotFound`, `StoreReadOnly`."""
        self._check_writable()
        if self._tree.path(name) is None:
            raise ModelNotFound(name.shortest)
        with self._changing():
            path = self._tree.path(name)
            if path is None:
                raise ModelNotFound(name.shortest)
            old = self._manifest(name)
            self._tree.remove(path)
            self._sweep(old)

    def tidy(self, now: float) -> None:
        """Clear what cut operations left, as Ollama does at its start; `now` in Unix seconds.

        Blobs are left alone while a manifest cannot be read or a download goes on. Does nothing if `read_only`, or not
        to prune. Raises `StoreError`, `StoreReadOnly`.
        """
        if self.read_only or not self._prune or not os.path.isdir(self.root):
            return
        with self._changing():
            self._blobs.rename_old()
            self._blobs.remove_leftovers(now)
            self._tree.remove_leftovers(now)
            stored, broken = self._tree.scan()
            if not broken:
                named = {layer.digest for each in stored for layer in each.manifest.blobs}
                self._blobs.remove_unnamed(named, now)

    # ---- inside ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with writing():
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            with self._lock.held():
                yield

    def _replace(self, name: Name, data: bytes, manifest: Manifest, modified_at: float | None) -> tuple[Stored, int]:
        """Under the lock."""
        spelled = self._tree.spelled(name)
        old = self._manifest(spelled)
        stored = self._tree.put(spelled, data, modified_at)
        self._blobs.settled(layer.digest for layer in manifest.blobs)
        return stored, self._sweep(old)

    def _manifest(self, name: Name) -> Manifest | None:
        """What a name stands for now; `None` too where nobody can tell."""
        try:
            found = self._tree.find(name)
        except StoreError:
            return None
        return found.manifest if found else None

    def _sweep(self, old: Manifest | None) -> int:
        """Remove the blobs of a manifest that is gone, if nobody else names them: how many went. Under the lock."""
        gone = 0
        if old is None or not self._prune:
            return gone
        # The manifest has gone or changed already, and that is what was asked for: what cannot go now, `tidy` takes.
        with contextlib.suppress(OSError, StoreError):
            stored, broken = self._tree.scan()
            named = {layer.digest for each in stored for layer in each.manifest.blobs}
            for layer in () if broken else old.blobs:
                if layer.digest not in named:
                    gone += self._blobs.remove(layer.digest)
        return gone

    def _check_root(self) -> None:
        with reading():
            try:
                os.scandir(self.root).close()
            except FileNotFoundError:
                pass

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreReadOnly("the model store is read-only: arriero has been told to leave it as it is")


def _check_folder(folder: Path) -> None:
    """Raises `StoreReadOnly` or `OSError` where no file can be made in a folder, or the folder cannot be made."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
