import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
import pytest

from arriero.backends.engine.gguf import GgufHeader, read_header
from arriero.backends.engine.gguf_merging import Part, Placed, kept_keys, merge, placed
from arriero.errors import ModelBroken
from support.engine import needs_engine
from support.gguf import random_llama
from support.gguf_split import split


def parts_of(paths: list[Path]) -> list[Part]:
    return [Part(path, read_header(path)) for path in paths]


def written(path: Path, parts: list[Part]) -> Path:
    """The file that the plan means."""
    merged = merge(parts)
    with path.open("wb") as out:
        out.write(merged.head)
        for piece in merged.pieces:
            with piece.path.open("rb") as source:
                source.seek(piece.start)
                out.write(source.read(piece.length) + bytes(piece.padding))
    assert path.stat().st_size == merged.size_bytes
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return random_llama(tmp_path / "a.gguf")


@pytest.mark.parametrize("tensors", [1, 5, 9, 20])
def test_a_split_model_is_put_together(whole: Path, tmp_path: Path, tensors: int) -> None:
    paths = split(whole, tensors=tensors)
    assert len(paths) == -(-21 // tensors)
    got, want = gguf.GGUFReader(written(tmp_path / "merged", parts_of(paths))), gguf.GGUFReader(whole)
    assert {name: field.contents() for name, field in got.fields.items() if not name.startswith("GGUF.")} == {
        name: field.contents() for name, field in want.fields.items() if not name.startswith("GGUF.")
    }
    assert [(one.name, one.tensor_type) for one in got.tensors] == [(one.name, one.tensor_type) for one in want.tensors]
    assert all(np.array_equal(one.data, other.data) for one, other in zip(got.tensors, want.tensors, strict=True))


def test_our_own_reader_takes_it_for_the_whole_file(whole: Path, tmp_path: Path) -> None:
    merged, header = read_header(written(tmp_path / "merged", parts_of(split(whole, tensors=7)))), read_header(whole)
    assert (merged.metadata, merged.tensors, merged.infill) == (header.metadata, header.tensors, header.infill)


def test_another_alignment_in_the_first_part(whole: Path, tmp_path: Path) -> None:
    first, *rest = parts_of(split(whole, tensors=5))
    aligned = GgufAligned(first).write(tmp_path / "aligned.gguf", 256)
    merged = read_header(written(tmp_path / "merged", [Part(aligned, read_header(aligned)), *rest]))
    assert {tensor.offset % 256 for tensor in merged.tensors} == {0}
    assert merged.metadata["general.alignment"] == 256
    want = {tensor.name: tensor.data for tensor in gguf.GGUFReader(whole).tensors}
    for tensor in gguf.GGUFReader(tmp_path / "merged").tensors:
        assert np.array_equal(tensor.data, want[tensor.name])


class GgufAligned:
    """A part, written again with an alignment of its own."""

    def __init__(self, part: Part) -> None:
        self.reader = gguf.GGUFReader(part.path)

    def write(self, path: Path, alignment: int) -> Path:
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_custom_alignment(alignment)
        for name, field in self.reader.fields.items():
            if not name.startswith("GGUF.") and name != "general.architecture":
                sub_type = field.types[1] if len(field.types) > 1 else None
                writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
        for tensor in self.reader.tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def with_header(part: Part, **changes: Any) -> Part:
    return Part(part.path, msgspec.structs.replace(part.header, **changes))


def test_parts_that_are_no_model(whole: Path) -> None:
    first, second, *rest = parts_of(split(whole, tensors=9))
    tensors = second.header.tensors
    odd = msgspec.structs.replace(tensors[0], type="type 77")
    cases = {
        "tensor blk.0.ffn_gate.weight stands in two parts": [first, second, second],
        "the parts hold 18 tensors, 21 are announced": [first, second],
        "tensor blk.0.ffn_gate.weight is of a type that is not known, so the parts cannot be put together": [
            first,
            with_header(second, tensors=(odd, *tensors[1:])),
            *rest,
        ],
        "llama.block_count is 4711, which cannot be": [
            with_header(first, metadata={**first.header.metadata, "llama.block_count": 4711}),
            second,
            *rest,
        ],
        f"general.alignment is {1 << 40}, more than {1 << 16} is not believed": [
            with_header(first, metadata={**first.header.metadata, "general.alignment": 1 << 40}),
            second,
            *rest,
        ],
        "the tensors overlap": [
            first,
            with_header(second, tensors=(msgspec.structs.replace(tensors[0], shape=(64, 1 << 30)), *tensors[1:])),
            *rest,
        ],
    }
    said = []
    for parts in cases.values():
        with pytest.raises(ModelBroken) as raised:
            merge(parts)
        said.append(raised.value.message)
    assert said == list(cases)


def test_a_first_part_that_has_become_shorter(whole: Path) -> None:
    first = parts_of(split(whole, tensors=9))[0]
    first.path.write_bytes(first.path.read_bytes()[:200])
    with pytest.raises(ModelBroken, match="the file has changed while it was read"):
        kept_keys(first)


@pytest.mark.parametrize(
    ("name", "metadata", "place"),
    [
        ("a.gguf", {}, None),
        ("a.gguf", {"split.count": 1, "split.no": 0}, None),
        ("a-00002-of-00003.gguf", {}, Placed("a", 1, 3)),
        ("sub/a-00002-of-00003.gguf", {}, Placed("sub/a", 1, 3)),
        ("a-00001-of-00001.gguf", {}, None),
        ("a-00000-of-00002.gguf", {}, None),
        ("a-00001-of-00003.gguf", {"split.count": 4, "split.no": 3}, Placed("a", 3, 4)),
        ("first", {"split.count": 2, "split.no": 0}, Placed("", 0, 2)),
    ],
)
def test_the_place_of_a_file(name: str, metadata: dict[str, Any], place: Placed | None) -> None:
    header = GgufHeader(
        version=3,
        metadata=metadata,
        tensors=(),
        parameter_count=0,
        length=24,
        size_bytes=24,
        digest="0" * 64,
        infill=False,
        tokens_at=None,
    )
    assert placed(name, header) == place


@needs_engine
def test_llama_cpp_says_the_same_with_it(whole: Path, tmp_path: Path) -> None:
    merged = written(tmp_path / "merged", parts_of(split(whole, tensors=4)))
    assert spoken(merged) == spoken(whole)


def spoken(model: Path) -> str:
    """Sixteen tokens of the real engine at temperature 0, in a process of its own."""
    code = (
        "import sys, json, xllamacpp as x\n"
        "p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 512; p.n_parallel = 1; p.cpuparams.n_threads = 1\n"
        "p.warmup = False; p.verbosity = 0\n"
        "s = x.Server(p)\n"
        "r = s.handle_completions({'prompt': 'Hello', 'n_predict': 16, 'temperature': 0, 'ignore_eos': True})\n"
        "print(json.dumps(r['choices'][0]['text']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(said, str) and said
    return said
