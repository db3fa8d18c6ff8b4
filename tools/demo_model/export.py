"""Write the trained network as a GGUF: `python -m tools.demo_model.export`.

Matrices are stored as q8_0 (blocks of 32 weights with one scale, 8.5 bits per weight) or f16, gains
as f32. The chat template is `template.jinja` beside this file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from . import SHIPPED
from .network import Shape
from .train import END, END_OF_TEXT, SPECIAL

HERE = Path(__file__).parent

FILE_TYPES = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}


def write_general(writer: gguf.GGUFWriter, parameters: int, file_type: str) -> None:
    """What the model is: name, licence, size, and greedy choice of words as its default."""
    writer.add_name("Arriero Demo")
    writer.add_basename("arriero-demo")
    writer.add_size_label(f"{parameters / 1e6:.1f}M")
    writer.add_organization("arriero")
    writer.add_license("apache-2.0")
    writer.add_description("A phrase book about arriero, to try the API with. Not a general model.")
    writer.add_languages(["en"])
    writer.add_tags(["text-generation", "demo"])
    writer.add_file_type(FILE_TYPES[file_type])
    if file_type == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_sampling_temp(0.0)


def write_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """The sizes that llama.cpp builds the network from."""
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)


def write_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], template: str) -> None:
    """Tokens, merges and the chat template. The end of a message ends the answer."""
    numbered = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: entry[1])
    tokens = [token for token, _ in numbered]
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokens.index(END_OF_TEXT))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def write_tensor(writer: gguf.GGUFWriter, name: str, values: npt.NDArray[np.float32], file_type: str) -> None:
    """One tensor: gains as f32, matrices in the file type."""
    if values.ndim == 1:
        writer.add_tensor(name, values)
    elif file_type == "f16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def export(source: Path, target: Path, file_type: str) -> int:
    """Write the model of folder `source` to the file `target`; return its size in bytes."""
    record = json.loads((source / "training.json").read_text())
    shape = Shape(**record["shape"])
    weights = torch.load(source / "weights.pt", map_location="cpu", weights_only=True)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(target, "llama")
    write_general(writer, record["parameters"], file_type)
    write_shape(writer, shape)
    write_tokenizer(writer, tokenizer, (HERE / "template.jinja").read_text().strip())
    for name, values in weights.items():
        write_tensor(writer, name, np.ascontiguousarray(values.float().numpy()), file_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target.stat().st_size


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=HERE / "work")
    parser.add_argument("--target", type=Path, default=SHIPPED)
    parser.add_argument("--type", choices=sorted(FILE_TYPES), default="q8_0")
    options = parser.parse_args()
    size = export(options.source, options.target, options.type)
    print(f"{options.target}: {size:,} bytes")


if __name__ == "__main__":
    main()
