"""The header reader: what it tells of a sound file, and what it says of each damaged one."""

import resource
import struct
import time
from pathlib import Path

import gguf
import pytest

from arriero.backends.engine.gguf import SHORT_ARRAY, LongArray, Tensor, read_header, repeated_token
from arriero.errors import ModelBroken
from support.gguf import DAMAGED, SPECIAL, large, patched, random_llama, repeated_tokens, truncated

SENTENCES = {
    "empty": "not a GGUF file",
    "text": "not a GGUF file",
    "wrong-magic": "not a GGUF file",
    "unknown-version": "GGUF version 9 is not known",
    "big-endian": "a big-endian GGUF file, which the engine here does not read",
    "absurd-tensor-count": "1152921504606846976 tensors are announced, more than 65536 are not believed",
    "absurd-key-count": "1152921504606846976 metadata keys are announced, more than 16384 are not believed",
    "absurd-key-length": "truncated: key 0 ends at 4611686018427387936 but the file has 243392 bytes",
    "truncated-data": "truncated: tensor blk.0.ffn_down.weight ends at 160960 but the file has 146035 bytes",
    "truncated-header": "truncated: tokenizer.ggml.tokens ends at 2968 but the file has 2433 bytes",
}


def test_a_sound_header(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf")
    header = read_header(path)
    assert header.version == 3
    assert header.architecture == "llama"
    assert header.metadata["general.name"] == "Random Llama"
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.metadata["tokenizer.ggml.tokens"] == LongArray("string", 280)
    assert header.metadata["tokenizer.ggml.token_type"] == LongArray("i32", 280)
    assert header.integer("context_length") == 2048
    assert header.integer("no_such_key") is None
    assert header.count("tokenizer.ggml.tokens") == 280
    assert header.tensors[0] == Tensor("token_embd.weight", "F16", (64, 280), 0)
    assert header.size_bytes == path.stat().st_size
    assert not header.infill


def test_it_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf")
    header = read_header(path, whole_arrays=True)
    theirs = gguf.GGUFReader(path)
    assert header.parameter_count == sum(int(tensor.n_elements) for tensor in theirs.tensors)
    assert [tensor.name for tensor in header.tensors] == [tensor.name for tensor in theirs.tensors]
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    ours = {key: list(value) if isinstance(value, tuple) else value for key, value in header.metadata.items()}
    assert ours == fields


def test_short_arrays_are_decoded_and_long_ones_only_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("some.short", list(range(SHORT_ARRAY)))
    writer.add_array("some.long", [f"word {number}" for number in range(SHORT_ARRAY + 1)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(path).metadata["some.short"] == tuple(range(SHORT_ARRAY))
    assert read_header(path).metadata["some.long"] == LongArray("string", SHORT_ARRAY + 1)
    whole = read_header(path, whole_arrays=True).metadata["some.long"]
    assert isinstance(whole, tuple)
    assert whole[-1] == f"word {SHORT_ARRAY}"


def test_a_model_with_fill_in_the_middle_tokens_is_known(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "a.gguf", special=("<|fim_prefix|>", *SPECIAL))
    assert read_header(path).infill
    # Part of a longer token is not the token.
    path = random_llama(tmp_path / "b.gguf", special=("x<|fim_prefix|>x", *SPECIAL))
    assert not read_header(path).infill


def test_the_digest_is_stable_and_tells_files_apart(tmp_path: Path) -> None:
    first = read_header(random_llama(tmp_path / "a.gguf")).digest
    assert first == read_header(random_llama(tmp_path / "b.gguf")).digest
    assert first != read_header(random_llama(tmp_path / "c.gguf", context_length=4096)).digest
    assert len(first) == 64
    assert set(first) <= set("0123456789abcdef")


@pytest.mark.parametrize("damage", SENTENCES)
def test_a_damaged_file_is_refused_with_a_sentence(damage: str, tmp_path: Path) -> None:
    path = DAMAGED[damage](tmp_path / "a.gguf")
    with pytest.raises(ModelBroken) as raised:
        read_header(path)
    assert raised.value.message == SENTENCES[damage]


def test_no_cut_of_the_file_is_taken_for_whole(tmp_path: Path) -> None:
    whole = random_llama(tmp_path / "a.gguf").read_bytes()
    header = read_header(tmp_path / "a.gguf")
    cuts = [*range(0, header.length, 97), *range(header.length, len(whole), 9973), len(whole) - 64]
    for cut in cuts:
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelBroken):
            read_header(tmp_path / "cut.gguf")


def test_no_changed_byte_of_the_header_breaks_the_reader(tmp_path: Path) -> None:
    whole = random_llama(tmp_path / "a.gguf").read_bytes()
    length = read_header(tmp_path / "a.gguf").length
    path = tmp_path / "changed.gguf"
    for at in range(0, length, 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_header(path)
        except ModelBroken as error:
            assert error.message


def test_an_unaligned_tensor_is_refused(tmp_path: Path) -> None:
    whole = random_llama(tmp_path / "a.gguf").read_bytes()
    name = b"output_norm.weight"
    # After the name: dimensions (u32), one dimension (u64), type (u32), then the offset.
    at = whole.index(name) + len(name) + 4 + 8 + 4
    path = patched(tmp_path / "a.gguf", at, struct.pack("<Q", 35585))
    with pytest.raises(ModelBroken, match=r"tensor output_norm\.weight starts at 35585, no multiple of 32"):
        read_header(path)


def test_a_repeated_token_is_found(tmp_path: Path) -> None:
    path = repeated_tokens(tmp_path / "a.gguf")
    assert repeated_token(path, read_header(path)) == "Ā"
    path = random_llama(tmp_path / "b.gguf")
    assert repeated_token(path, read_header(path)) is None


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.gguf")


def test_truncated_keeps_as_much_as_asked(tmp_path: Path) -> None:
    assert truncated(tmp_path / "a.gguf", keep=0.5).stat().st_size == 121_696


def test_a_large_header_is_read_fast_and_in_little_memory(tmp_path: Path) -> None:
    path = large(tmp_path / "large.gguf")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    header = read_header(path)
    seconds = time.process_time() - started
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert header.parameter_count == 8_030_261_248
    assert header.metadata["tokenizer.ggml.tokens"] == LongArray("string", 128_256)
    # Measured: about 45 ms and 1 MB; the gguf package needs 9 s and 600 MB.
    assert seconds < 1.0
    assert grown_kib < 10 * 1024
