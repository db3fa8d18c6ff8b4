"""The walk over a file's bytes: windows that do not show, ends that do."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arriero.backends.engine.gguf_bytes import MAX_ELEMENT, MAX_HEADER, WINDOW, Bytes, quoted
from arriero.errors import ModelBroken

Open = Callable[..., Bytes]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens content as a file; `size` is what the walk is told of it, `sparse` how long the file is made."""
    descriptors: list[int] = []

    def open_(content: bytes, *, size: int | None = None, sparse: int | None = None, start: int = 0) -> Bytes:
        path = tmp_path / "file"
        path.write_bytes(content)
        if sparse is not None:
            os.truncate(path, sparse)
        descriptors.append(os.open(path, os.O_RDONLY))
        return Bytes(descriptors[-1], os.stat(path).st_size if size is None else size, start)

    yield open_
    for descriptor in descriptors:
        os.close(descriptor)


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<Q", len(value)) + value for value in values)


def test_numbers_and_bytes_come_in_order(opened: Open) -> None:
    data = opened(b"GGUF" + struct.pack("<IQ3hf", 3, 1 << 60, -1, 0, 1, 0.5))
    assert data.raw(4, "magic") == b"GGUF"
    assert data.number("I", "version") == 3
    assert data.number("Q", "count") == 1 << 60
    assert data.numbers("h", 3, "three") == (-1, 0, 1)
    assert data.numbers("f", 1, "half") == (0.5,)
    assert data.position == 26


def test_what_begins_in_the_middle_is_read_from_there(opened: Open) -> None:
    data = opened(b"xxxx" + texts(b"a", b"b"), start=4)
    assert list(data.strings("words", 2)) == [[b"a", b"b"]]
    assert data.position == 22


@pytest.mark.parametrize(
    "length", [1, 7, 8, 9, WINDOW // 2 - 8, WINDOW - 9, WINDOW - 8, WINDOW - 7, WINDOW, WINDOW + 1]
)
def test_texts_are_the_same_wherever_a_window_ends(opened: Open, length: int) -> None:
    words = [bytes([number]) * length for number in range(5)] + [b"", b"end"]
    content = texts(*words) + b"rest"
    data = opened(content)
    assert [text for some in data.strings("words", 7) for text in some] == words
    assert data.raw(4, "rest") == b"rest"
    assert data.digest().digest() == hashlib.sha256(content).digest()


def test_texts_are_stepped_over_in_whole_ones(opened: Open) -> None:
    content = texts(*(b"word%d" % number for number in range(20_000))) + b"rest"
    data = opened(content)
    passed = b"".join(window[start:end] for window, start, end in data.skip_strings("words", 20_000))
    assert passed == content[:-4]
    assert data.raw(4, "rest") == b"rest"


def test_no_texts_take_no_bytes(opened: Open) -> None:
    data = opened(b"rest")
    assert list(data.strings("words", 0)) == []
    assert data.raw(4, "rest") == b"rest"


def test_what_is_stepped_over_is_in_the_digest(opened: Open) -> None:
    content = os.urandom(3 * WINDOW + 5)
    data = opened(content)
    data.skip(2 * WINDOW + 1, "much")
    assert data.position == 2 * WINDOW + 1
    data.raw(3, "some")
    assert data.digest().digest() == hashlib.sha256(content[: 2 * WINDOW + 4]).digest()


@pytest.mark.parametrize("length", [9, 1 << 40, (1 << 64) - 1])
def test_what_ends_behind_the_file_is_refused(opened: Open, length: int) -> None:
    for refused in (
        lambda data: data.raw(length, "it"),
        lambda data: data.skip(length, "it"),
        lambda data: list(data.strings("it", 1)),
    ):
        data = opened(struct.pack("<Q", length))
        with pytest.raises(ModelBroken) as raised:
            refused(data)
        assert raised.value.message in (
            f"truncated: it ends at {length} but the file has 8 bytes",
            f"truncated: it ends at {8 + length} but the file has 8 bytes",
        )


def test_a_file_that_becomes_shorter_is_refused(opened: Open) -> None:
    data = opened(bytes(WINDOW), size=3 * WINDOW)
    with pytest.raises(ModelBroken) as raised:
        data.skip(2 * WINDOW, "it")
    assert raised.value.message == f"truncated: it is not there, the file has become shorter than {3 * WINDOW} bytes"


def test_a_header_without_end_is_not_read(opened: Open) -> None:
    data = opened(b"", sparse=1 << 40)
    with pytest.raises(ModelBroken) as raised:
        data.skip(MAX_HEADER + 1, "it")
    assert raised.value.message == (
        f"it ends at {MAX_HEADER + 1}: a header of more than {MAX_HEADER} bytes is not believed"
    )


def test_a_text_without_end_is_not_read(opened: Open) -> None:
    data = opened(struct.pack("<Q", MAX_ELEMENT + 1), sparse=1 << 30)
    with pytest.raises(ModelBroken) as raised:
        list(data.strings("it", 1))
    assert raised.value.message == "it holds a text of 1048577 bytes, more than 1048576 are not believed"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("llama.block_count", "llama.block_count"),
        ("two\nlines", r"'two\nlines'"),
        ("\x1b[31mred\x00", r"'\x1b[31mred\x00'"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "'" + "x" * 80 + "…'"),
    ],
)
def test_a_foreign_name_stays_on_its_line(name: str, shown: str) -> None:
    assert quoted(name) == shown
