"""The tables agree with those of the `gguf` package, which is llama.cpp's own."""

import struct

import gguf

from arriero.backends.engine.gguf_types import ARRAY, FILE_TYPES, SCALARS, STRING, TENSOR_TYPES


def test_every_value_type_is_known() -> None:
    theirs = {kind.value: kind.name for kind in gguf.GGUFValueType}
    names = {"UINT8": "u8", "INT8": "i8", "UINT16": "u16", "INT16": "i16", "UINT32": "u32", "INT32": "i32"}
    names |= {"FLOAT32": "f32", "BOOL": "bool", "UINT64": "u64", "INT64": "i64", "FLOAT64": "f64"}
    assert theirs.pop(STRING) == "STRING"
    assert theirs.pop(ARRAY) == "ARRAY"
    assert {number: names[name] for number, name in theirs.items()} == {n: name for n, (name, _) in SCALARS.items()}
    widths = {name: int(name[1:]) // 8 for name in names.values() if name != "bool"} | {"bool": 1}
    assert {name: struct.calcsize("<" + code) for name, code in SCALARS.values()} == widths


def test_every_tensor_type_has_its_block() -> None:
    theirs = {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert {number: TENSOR_TYPES[number] for number in theirs if number in TENSOR_TYPES} == theirs


def test_every_file_type_has_its_name() -> None:
    """The names are those of quantization, without what else `MOSTLY_Q4_1_SOME_F16` and the like tell."""
    theirs = {
        kind.value: kind.name.removeprefix("ALL_").removeprefix("MOSTLY_").removesuffix("_MOE")
        for kind in gguf.LlamaFileType
        if kind.name != "GUESSED"
    }
    assert {number: FILE_TYPES.get(number) for number in theirs} == theirs
