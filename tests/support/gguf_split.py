"""One GGUF file in several, as llama.cpp's own tool makes them; written with the `gguf` package."""

from pathlib import Path

import gguf


def split(path: Path, *, tensors: int) -> list[Path]:
    """The parts of a file, `tensors` in each, beside it: `x-00001-of-00003.gguf` and so on. The file itself stays."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents(), split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(path.parent.glob(f"{path.stem}-*-of-*.gguf"))
