"""The one border between the disk's errors and ours. Messages name no path: a client may read them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from arriero.errors import ArrieroError, BadRequest, StoreError, StoreReadOnly

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.EEXIST})


class BlobMissing(StoreError):
    """A manifest names a blob that is not there."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"the blob {digest} is missing: send or pull it again")


def read_fault(error: OSError) -> StoreError:
    """What a failed look into the store means."""
    if error.errno == errno.ENOTDIR:
        return StoreError("the model store is not a directory: name another one")
    return StoreError(f"the model store cannot be read: {error.strerror or error}")


def write_fault(error: OSError) -> ArrieroError:
    """What a failed change of the store means."""
    code, text = error.errno, error.strerror or str(error)
    if code in _FULL:
        return StoreError(f"no room left on the device of the model store: {text}; delete models or free some space")
    if code in _FORBIDDEN:
        todo = "give arriero the right to write there, or name another directory"
        return StoreReadOnly(f"the model store cannot be written: {text}; {todo}")
    if code == errno.ENAMETOOLONG:
        return BadRequest("invalid model name")
    if code in _NO_DIRECTORY:
        return StoreError("the model store cannot be written: a file stands where a directory has to be")
    if code == errno.EISDIR:
        return StoreError("the model store cannot be written: a directory stands where a file has to be")
    if code == errno.ENOENT:
        return StoreError("the model store cannot be written: something removed its files meanwhile; try again")
    return StoreError(f"the model store cannot be written: {text}")


@contextmanager
def reading() -> Iterator[None]:
    """Turns an `OSError` into what a reader is told."""
    try:
        yield
    except OSError as error:
        raise read_fault(error) from error


@contextmanager
def writing() -> Iterator[None]:
    """Turns an `OSError` into what a writer is told."""
    try:
        yield
    except OSError as error:
        raise write_fault(error) from error
