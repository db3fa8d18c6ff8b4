"""Files that were made to harm: none takes a second, or more than a bounded piece of memory, or the process with it."""

import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from arriero.backends.engine import gguf
from arriero.backends.engine.card import check_model, header_info
from arriero.backends.engine.gguf import LongArray, read_header, repeated_token
from arriero.errors import ModelBroken
from support.damaged import DAMAGES, damaged, sound

SECONDS = 1.0
MIB = 1 << 20
U8, U32, STRING, ARRAY, U64 = 0, 4, 8, 9, 10


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def head(*, keys: int = 0, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


def array(name: bytes, kind: int, count: int) -> bytes:
    return text(name) + struct.pack("<IIQ", ARRAY, kind, count)


def of_keys(count: int, value: Callable[[int], bytes]) -> bytes:
    return head(keys=count) + b"".join(text(b"k%d" % number) + value(number) for number in range(count))


def of_tensors(count: int) -> bytes:
    entry = struct.pack("<I4QIQ", 4, 1, 1, 1, 1, 0, 0)
    return head(tensors=count) + b"".join(text(b"t%d" % number) + entry for number in range(count)) + bytes(64)


TOKENS = b"tokenizer.ggml.tokens"
WIDE = text("🦙".encode() + bytes(MIB - 4))
"""One letter of it makes Python keep all of it in four bytes each."""
HOSTILE: Mapping[str, tuple[bytes, int]] = {
    "texts-of-nothing": (head(keys=1) + array(TOKENS, STRING, 1 << 30), 16 << 30),
    "texts-up-to-the-limit": (head(keys=1) + array(TOKENS, STRING, gguf.MAX_STRINGS), 17 * MIB),
    "texts-in-many-arrays": (of_keys(1 << 14, lambda n: struct.pack("<IIQ", ARRAY, STRING, 160) + bytes(1280)), 0),
    "bytes-in-many-arrays": (of_keys(1 << 14, lambda n: struct.pack("<IIQ", ARRAY, U8, 64) + bytes(64)), 0),
    "numbers-without-end": (head(keys=1) + array(b"much", U64, 1 << 30), 16 << 30),
    "numbers-up-to-the-limit": (head(keys=1) + array(b"much", U8, 63 * MIB), 64 * MIB),
    "numbers-that-are-kept": (head(keys=1) + array(b"much", U64, gguf.MAX_KEPT), 17 * MIB),
    "long-texts-in-an-array": (
        head(keys=1) + array(b"long", STRING, 50) + text(b"\xf0\x9f\xa6\x99a" + bytes(MIB - 5)) * 50,
        0,
    ),
    "one-long-text": (head(keys=1) + text(b"long") + struct.pack("<IQ", STRING, 60 * MIB), 64 * MIB),
    "many-long-texts": (of_keys(60, lambda n: struct.pack("<I", STRING) + text(bytes(MIB))), 0),
    "many-keys": (of_keys(1 << 14, lambda n: struct.pack("<II", U32, n)), 0),
    "many-tensors": (of_tensors(1 << 16), 0),
    "one-key-many-times": (head(keys=1 << 14) + (text(b"k") + struct.pack("<II", U32, 1)) * (1 << 14), 0),
}
"""Name -> the beginning of the file, and its length in bytes with what is not written of it; 0 where all is."""


SAID: Mapping[str, str] = {
    "texts-of-nothing": "tokenizer.ggml.tokens makes it more than 2097152 texts in arrays, which are not believed",
    "texts-in-many-arrays": "k13107 makes it more than 2097152 texts in arrays, which are not believed",
    "numbers-without-end": "much ends at 8589934644: a header of more than 67108864 bytes is not believed",
    "many-long-texts": "k7 makes it more than 8388608 bytes of text, which are not believed",
    "one-key-many-times": "metadata key k stands twice",
}
"""What is not simply read."""

MEASURED = """
import sys, time
from pathlib import Path
from arriero.backends.engine.gguf import read_header
from arriero.errors import ModelBroken

def peak_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

Path("/proc/self/clear_refs").write_text("5")  # the highest counts from here
before, begun = peak_kib(), time.process_time()
try:
    read_header(Path(sys.argv[1]), whole_arrays=sys.argv[2] == "whole")
    said = "read"
except ModelBroken as error:
    said = error.message
print(time.process_time() - begun, peak_kib() - before, said)
"""


def written(name: str, path: Path) -> Path:
    content, length = HOSTILE[name]
    path.write_bytes(content)
    if length:
        os.truncate(path, length)
    return path


def measured(path: Path, how: str) -> tuple[float, float, str]:
    """Seconds of CPU, growth of memory at its highest in MiB, and what came of it; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), how], check=True, capture_output=True, text=True, timeout=30
    )
    seconds, kib, said = done.stdout.strip().split(" ", 2)
    return float(seconds), int(kib) / 1024, said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_through_in_no_time_and_little_memory(name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path / "hostile.gguf")
    seconds, mib, said = measured(path, "short")
    assert said == SAID.get(name, "read")
    assert seconds < SECONDS
    assert mib < 50
    seconds, mib, said = measured(path, "whole")
    assert said == SAID.get(name, "read")
    assert seconds < 2 * SECONDS
    assert mib < 150


def test_what_is_too_much_to_keep_is_stepped_over(tmp_path: Path) -> None:
    path = written("long-texts-in-an-array", tmp_path / "long.gguf")
    assert read_header(path).metadata["long"] == LongArray("string", 50)
    path = written("one-long-text", tmp_path / "long.gguf")
    assert read_header(path).metadata["long"] == LongArray("char", 60 * MIB)
    path = written("numbers-up-to-the-limit", tmp_path / "long.gguf")
    assert read_header(path, whole_arrays=True).metadata["much"] == LongArray("u8", 63 * MIB)


def test_a_pipe_or_a_directory_in_a_models_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path / "pipe.gguf", tmp_path):
        with pytest.raises(ModelBroken, match=r"^not a file$"):
            read_header(path)


def test_a_vocabulary_that_is_gone_meanwhile_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(sound().whole())
    header = read_header(path)
    assert header.tokens_at is not None
    os.truncate(path, header.tokens_at + 100)
    with pytest.raises(ModelBroken, match=r"^truncated: "):
        repeated_token(path, header)


def test_a_file_that_shrinks_and_grows_under_the_reader_is_no_crash(tmp_path: Path) -> None:
    """What is mapped would end the process with SIGBUS here."""
    path = tmp_path / "a.gguf"
    content, length = HOSTILE["texts-up-to-the-limit"]
    path.write_bytes(content)
    ended = threading.Event()

    def shake() -> None:
        while not ended.is_set():
            os.truncate(path, len(content))
            os.truncate(path, length)

    thread = threading.Thread(target=shake)
    thread.start()
    found = set()
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                read_header(path)
                found.add("read")
            except ModelBroken as error:
                found.add(error.message.split(":")[0])
    finally:
        ended.set()
        thread.join()
    assert "truncated" in found


# ---- one thing wrong -----------------------------------------------------------------------------------------------


def checked(path: Path) -> str | None:
    """The sentence of the check before loading; `None` for what a process may try."""
    try:
        check_model(read_header(path))
    except ModelBroken as error:
        return error.message
    return None


def test_the_check_refuses_what_it_can(tmp_path: Path) -> None:
    passed = [name for name in DAMAGES if checked(damaged(tmp_path / "a.gguf", name)) is None]
    assert passed == PASSED


PASSED = [
    "tensor-count-one-less",
    "key-not-utf8",
    "name-not-utf8",
    "architecture-unknown",
    "blocks-five",
    "blocks-missing",
    "width-wrong",
    "heads-none",
    "heads-three",
    "heads-most",
    "rope-odd",
    "tokens-missing",
    "tokenizer-unknown",
    "token-twice",
    "token-empty",
    "token-not-utf8",
    "end-token-out-of-range",
    "end-token-negative",
    "merges-missing",
    "merge-without-space",
    "merge-empty",
    "tensor-type-unknown",
    "tensor-type-wider",
    "tensor-shape-wrong",
    "tensor-shape-none",
    "tensors-overlapping",
    "tensor-missing",
    "tensor-name-long",
    "weights-nan",
    "weights-infinite",
    "template-broken",
    "template-raising",
    "template-deep",
    "template-not-utf8",
]
"""Only llama.cpp can tell, or it does not mind."""


def test_the_sound_file_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(sound().whole())
    assert checked(path) is None


def test_no_byte_of_the_header_can_do_harm(tmp_path: Path) -> None:
    """Every answer is a sentence, every header can be shown as JSON, and none takes long."""
    whole = sound().whole()
    length = len(sound().header())
    dice = random.Random(20_261_120)
    path = tmp_path / "a.gguf"
    outcomes = {"read": 0, "refused": 0}
    begun = time.monotonic()
    while time.monotonic() - begun < 5 and sum(outcomes.values()) < 4_000:
        changed = bytearray(whole)
        for _ in range(dice.choice((1, 1, 1, 2, 8))):
            changed[dice.randrange(length)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        path.write_bytes(changed)
        before = time.process_time()
        said = checked(path)
        assert time.process_time() - before < SECONDS
        if said is not None:
            assert said.isprintable() and len(said) < 400, changed
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        header = read_header(path, whole_arrays=True)
        repeated_token(path, header)
        msgspec.json.encode(header_info(header, verbose=True))
    assert outcomes["read"] > 20
    assert outcomes["refused"] > 20
