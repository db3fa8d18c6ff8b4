"""What the disk says, and what people are told of it."""

import errno
import os

import pytest

from arriero.backends.engine.store.faults import reading, writing
from arriero.errors import ArrieroError, BadRequest, ModelNotFound, StoreError, StoreReadOnly

NO_ROOM = "no room left on the device of the model store: {}; delete models or free some space"
FORBIDDEN = "the model store cannot be written: {}; give arriero the right to write there, or name another directory"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, StoreError, NO_ROOM),
        (errno.EDQUOT, StoreError, NO_ROOM),
        (errno.EFBIG, StoreError, NO_ROOM),
        (errno.EROFS, StoreReadOnly, FORBIDDEN),
        (errno.EACCES, StoreReadOnly, FORBIDDEN),
        (errno.EPERM, StoreReadOnly, FORBIDDEN),
        (errno.ENAMETOOLONG, BadRequest, "invalid model name"),
        (errno.ENOTDIR, StoreError, "the model store cannot be written: a file stands where a directory has to be"),
        (errno.EEXIST, StoreError, "the model store cannot be written: a file stands where a directory has to be"),
        (errno.EISDIR, StoreError, "the model store cannot be written: a directory stands where a file has to be"),
        (
            errno.ENOENT,
            StoreError,
            "the model store cannot be written: something removed its files meanwhile; try again",
        ),
        (errno.EIO, StoreError, "the model store cannot be written: {}"),
    ],
)
def test_a_failed_change(code: int, kind: type[ArrieroError], message: str) -> None:
    text = os.strerror(code)
    with pytest.raises(ArrieroError) as raised, writing():
        raise OSError(code, text, "/secret/path")
    assert type(raised.value) is kind
    assert raised.value.message == message.format(text)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOTDIR, "the model store is not a directory: name another one"),
        (errno.EACCES, "the model store cannot be read: Permission denied"),
        (errno.EIO, "the model store cannot be read: Input/output error"),
    ],
)
def test_a_failed_look(code: int, message: str) -> None:
    with pytest.raises(StoreError) as raised, reading():
        raise OSError(code, os.strerror(code), "/secret/path")
    assert type(raised.value) is StoreError
    assert raised.value.message == message


def test_what_is_no_error_of_the_disk_passes() -> None:
    with pytest.raises(ModelNotFound), writing(), reading():
        raise ModelNotFound("x")
