"""GGUF files for tests: a random llama, a model with a script, and files with one thing wrong.

All of them are a few hundred kilobytes, built in milliseconds, and run in the real engine. They are written with the
`gguf` package, which shares no code with the reader under test.
"""

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import numpy as np
import numpy.typing as npt

Pooling = Literal["mean", "cls", "last"]

PLAIN_TEMPLATE: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML without tools or thinking: llama.cpp reports `supports_tools: false`, and the text stays as it is."""

QWEN_TEMPLATE: Final = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\nYou may call one or more functions.\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\n\\nFor each call return a json object within <tool_call></tool_call> XML tags:\\n" }}
    {{- "<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>" }}
    {{- "<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if message.reasoning_content %}
            {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
        {%- endif %}
        {%- if message.content %}{{- message.content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
"""As Qwen's: llama.cpp takes `<tool_call>` and `<think>` apart, and reports that it can."""

MERGED_WORDS: Final = (" the", " a", " of", "Hello", " world", " is", " to", " and", " in")
SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tool_call(name: str, **arguments: object) -> str:
    """The text of a tool call, as `QWEN_TEMPLATE` teaches it."""
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


def thinking(text: str) -> str:
    """The text of a thought, as `QWEN_TEMPLATE` teaches it."""
    return f"<think>\n{text}\n</think>\n\n"


def random_llama(
    path: Path,
    *,
    pooling: Pooling | None = None,
    context_length: int = 2048,
    block_count: int | None = None,
    template: str | None = PLAIN_TEMPLATE,
    repeated_token: bool = False,
    special: Sequence[str] = SPECIAL,
    part: tuple[int, int] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> Path:
    """A llama with random weights, 64 wide and two layers deep: 243 KB, about 10,000 tokens a second of no meaning.

    `pooling` makes it an embedding model; no `template` one that only continues texts. `block_count` other than its two
    layers, and `repeated_token`, make it a file that llama.cpp aborts on. `part` has it say that it is that part, from
    0, of so many. The last three of `special` are end of text, start of turn, end of turn. `numbers` are further keys.
    """
    width, layers, heads, inner = 64, 2, 4, 128
    tokens = [_BYTE_LETTERS[byte] for byte in range(256)]
    merges: list[str] = []
    for word in MERGED_WORDS:
        letters = [_BYTE_LETTERS[byte] for byte in word.encode()]
        while len(letters) > 1:
            joined = letters[0] + letters[1]
            if joined not in tokens:
                tokens.append(joined)
                merges.append(f"{letters[0]} {letters[1]}")
            letters = [joined, *letters[2:]]
    normal = len(tokens)
    tokens += special
    kinds = [gguf.TokenType.NORMAL] * normal + [gguf.TokenType.CONTROL] * len(special)
    if repeated_token:
        tokens[1] = tokens[0]

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Random Llama")
    writer.add_license("apache-2.0")
    _write_shape(
        writer,
        context_length=context_length,
        width=width,
        layers=layers if block_count is None else block_count,
        inner=inner,
        heads=heads,
    )
    _write_vocabulary(writer, tokens, kinds, merges, template)
    if part is not None:
        writer.add_uint16("split.no", part[0])
        writer.add_uint16("split.count", part[1])
    for key, number in (numbers or {}).items():
        writer.add_uint32(key, number)
    if pooling is not None:
        writer.add_pooling_type(gguf.PoolingType[pooling.upper()])

    dice = np.random.default_rng(7)

    def random(name: str, *shape: int, scale: float = 0.08) -> None:
        writer.add_tensor(name, (dice.standard_normal(shape) * scale).astype(np.float16))

    random("token_embd.weight", len(tokens), width, scale=0.5)
    writer.add_tensor("output_norm.weight", _ones(width))
    random("output.weight", len(tokens), width, scale=0.5)
    for layer in range(layers):
        prefix = f"blk.{layer}."
        writer.add_tensor(f"{prefix}attn_norm.weight", _ones(width))
        writer.add_tensor(f"{prefix}ffn_norm.weight", _ones(width))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            random(f"{prefix}{name}.weight", width, width)
        random(f"{prefix}ffn_gate.weight", inner, width)
        random(f"{prefix}ffn_up.weight", inner, width)
        random(f"{prefix}ffn_down.weight", width, inner)
    return _finish(writer, path)


def scripted(
    path: Path,
    script: str | Sequence[str],
    *,
    template: str = QWEN_TEMPLATE,
    context_length: int = 4096,
    endless: bool = False,
) -> Path:
    """A model that always says `script` and stops, at every temperature, through the real engine. An `endless` one says
    it again and again until its context is full.

    A list of texts is one token each, as far as tokens may be: a text of one byte, or one that was there before, is
    joined with its successor. A single text is cut at its words. The trick: embeddings are one-hot, the layers are
    zero, and the output matrix is the table of which token follows which. Any other token leads to the script's start.
    """
    pieces = _distinct(re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", script) if isinstance(script, str) else list(script))
    tokens = [_BYTE_LETTERS[byte] for byte in range(256)] + list(SPECIAL) + [_BYTE_LETTERS[32] + "t"]
    first = len(tokens)
    tokens += ["".join(_BYTE_LETTERS[byte] for byte in piece.encode()) for piece in pieces]
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    for index in range(256, 256 + len(SPECIAL)):
        kinds[index] = gguf.TokenType.CONTROL

    width = -(-(len(pieces) + 1) // 64) * 64
    state: npt.NDArray[np.float16] = np.zeros((len(tokens), width), np.float16)
    follows: npt.NDArray[np.float16] = np.zeros((len(tokens), width), np.float16)
    state[:, 0] = 1
    for index in range(len(pieces)):
        state[first + index] = 0
        state[first + index, index + 1] = 1
        follows[first + index, index] = 10
    follows[first if endless else tokens.index("<|im_end|>"), len(pieces)] = 10

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Scripted")
    _write_shape(writer, context_length=context_length, width=width, layers=1, inner=64, heads=width // 64)
    # llama.cpp wants at least one merge.
    _write_vocabulary(writer, tokens, kinds, [f"{_BYTE_LETTERS[32]} t"], template)
    writer.add_tensor("token_embd.weight", state)
    writer.add_tensor("output_norm.weight", _ones(width))
    writer.add_tensor("output.weight", follows)
    writer.add_tensor("blk.0.attn_norm.weight", _ones(width))
    writer.add_tensor("blk.0.ffn_norm.weight", _ones(width))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((width, width), np.float16))
    for name, shape in (("ffn_gate", (64, width)), ("ffn_up", (64, width)), ("ffn_down", (width, 64))):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float16))
    return _finish(writer, path)


def projector(path: Path, *, width: int = 64) -> Path:
    """Eyes for `random_llama`, of random weights: two layers for pictures of 28 by 28, which become four tokens."""
    inner, patches = 32, 4
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(28)
    writer.add_vision_patch_size(14)
    writer.add_vision_embedding_length(inner)
    writer.add_vision_feed_forward_length(2 * inner)
    writer.add_vision_block_count(2)
    writer.add_vision_head_count(2)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_projection_dim(width)
    writer.add_bool("clip.use_gelu", True)
    dice = np.random.default_rng(3)

    def random(name: str, *shape: int) -> None:
        writer.add_tensor(name, (dice.standard_normal(shape) * 0.2).astype(np.float32))

    def layer(name: str, rows: int, columns: int) -> None:
        random(f"{name}.weight", rows, columns)
        random(f"{name}.bias", rows)

    random("v.patch_embd.weight", inner, 3, 14, 14)
    random("v.class_embd", inner)
    random("v.position_embd.weight", patches + 1, inner)
    for norm in ("v.pre_ln", *(f"v.blk.{block}.{name}" for block in range(2) for name in ("ln1", "ln2"))):
        random(f"{norm}.weight", inner)
        random(f"{norm}.bias", inner)
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            layer(f"v.blk.{block}.{name}", inner, inner)
        layer(f"v.blk.{block}.ffn_up", 2 * inner, inner)
        layer(f"v.blk.{block}.ffn_down", inner, 2 * inner)
    layer("mm.0", width, inner)
    layer("mm.2", width, width)
    return _finish(writer, path)


def adapter(path: Path, *, seed: int = 5) -> Path:
    """A LoRA adapter for `random_llama`, strong enough to change what it says."""
    width, rank = 64, 4
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    dice = np.random.default_rng(seed)
    for block in range(2):
        for name in ("attn_q", "attn_output"):
            for part, shape in (("a", (rank, width)), ("b", (width, rank))):
                values = (dice.standard_normal(shape) * 0.5).astype(np.float32)
                writer.add_tensor(f"blk.{block}.{name}.weight.lora_{part}", values)
    return _finish(writer, path)


def large(path: Path, *, tokens: int = 128_256, merges: int = 280_147) -> Path:
    """The header of an 8B model over 4.5 GB of nothing: a sparse file that takes 9 MB of disk. Never to be loaded."""
    width, layers, inner = 4096, 32, 14336
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Large")
    _write_shape(
        writer,
        context_length=131_072,
        width=width,
        layers=layers,
        inner=inner,
        heads=32,
        kv_heads=8,
        file_type=gguf.LlamaFileType.MOSTLY_Q4_0,
    )
    names = [f"tok{number}" for number in range(tokens)]
    kinds = [gguf.TokenType.NORMAL] * tokens
    _write_vocabulary(writer, names, kinds, [f"a{number} b{number}" for number in range(merges)], PLAIN_TEMPLATE)

    def quantized(name: str, rows: int, columns: int) -> None:
        row_bytes = columns // 32 * 18
        kind = gguf.GGMLQuantizationType.Q4_0
        # The size is given in bytes of one row, as for weights that are quantized already.
        writer.add_tensor_info(name, (rows, row_bytes), np.dtype(np.uint8), rows * row_bytes, raw_dtype=kind)

    def plain(name: str) -> None:
        writer.add_tensor_info(name, (width,), np.dtype(np.float32), width * 4)

    quantized("token_embd.weight", tokens, width)
    quantized("output.weight", tokens, width)
    plain("output_norm.weight")
    for layer in range(layers):
        prefix = f"blk.{layer}."
        plain(f"{prefix}attn_norm.weight")
        plain(f"{prefix}ffn_norm.weight")
        for name, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", width // 4, width),
            ("attn_v", width // 4, width),
            ("attn_output", width, width),
            ("ffn_gate", inner, width),
            ("ffn_up", inner, width),
            ("ffn_down", width, inner),
        ):
            quantized(f"{prefix}{name}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    data_bytes = sum(tensor.nbytes for table in writer.tensors for tensor in table.values())
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + data_bytes + 65536)
    return path


# ---- files with one thing wrong ------------------------------------------------------------------------------------


def truncated(path: Path, *, keep: float = 0.6) -> Path:
    """A file of which the download stopped."""
    data = random_llama(path).read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def patched(path: Path, offset: int, data: bytes) -> Path:
    """A sound file with `data` written over the bytes at `offset`. Magic is at 0, version 4, tensors 8, keys 16."""
    random_llama(path)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


DAMAGED: Final[Mapping[str, Callable[[Path], Path]]] = {
    "empty": lambda path: _written(path, b""),
    "text": lambda path: _written(path, b"<html><body>404 Not Found</body></html>"),
    "wrong-magic": lambda path: patched(path, 0, b"GGML"),
    "unknown-version": lambda path: patched(path, 4, struct.pack("<I", 9)),
    "big-endian": lambda path: patched(path, 4, struct.pack(">I", 3)),
    "absurd-tensor-count": lambda path: patched(path, 8, struct.pack("<Q", 1 << 60)),
    "absurd-key-count": lambda path: patched(path, 16, struct.pack("<Q", 1 << 60)),
    "absurd-key-length": lambda path: patched(path, 24, struct.pack("<Q", 1 << 62)),
    "truncated-data": lambda path: truncated(path),
    "truncated-header": lambda path: truncated(path, keep=0.01),
    "block-count": lambda path: random_llama(path, block_count=1_000_000),
}
"""Refused by the reader, without a child process: name -> builder."""

REFUSED_BY_ENGINE: Final[Mapping[str, Callable[[Path], Path]]] = {
    "bad-template": lambda path: scripted(path, "never said", template="{% if %}"),
    "missing-layers": lambda path: random_llama(path, block_count=5),
}
"""Sound to the reader, refused by llama.cpp."""


def repeated_tokens(path: Path) -> Path:
    """llama.cpp aborts its whole process on this one."""
    return random_llama(path, repeated_token=True)


# ---- parts ---------------------------------------------------------------------------------------------------------


def _byte_letters() -> dict[int, str]:
    """GPT-2's table of a printable letter for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    for number, byte in enumerate(byte for byte in range(256) if byte not in letters):
        letters[byte] = chr(256 + number)
    return letters


_BYTE_LETTERS: Final = _byte_letters()


def _distinct(pieces: list[str]) -> list[str]:
    """Join until no piece is one byte long or stands twice. Raises `ValueError` if the end cannot be mended."""
    result: list[str] = []
    held = ""
    for piece in pieces:
        held += piece
        if len(held.encode()) > 1 and held not in (*result, " t", *SPECIAL):
            result.append(held)
            held = ""
    while held and result:
        held = result.pop() + held
        if held not in result:
            result.append(held)
            held = ""
    if held or not result:
        raise ValueError("the script is too short: it needs two bytes at least")
    return result


def _write_shape(
    writer: gguf.GGUFWriter,
    *,
    context_length: int,
    width: int,
    layers: int,
    inner: int,
    heads: int,
    kv_heads: int | None = None,
    file_type: gguf.LlamaFileType = gguf.LlamaFileType.MOSTLY_F16,
) -> None:
    writer.add_size_label("0.1M")
    writer.add_context_length(context_length)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads or heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(file_type)


def _write_vocabulary(
    writer: gguf.GGUFWriter, tokens: list[str], kinds: list[Any], merges: list[str], template: str | None
) -> None:
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    if "<|im_end|>" in tokens:
        writer.add_bos_token_id(tokens.index("<|endoftext|>"))
        writer.add_eos_token_id(tokens.index("<|im_end|>"))
        writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)


def _ones(width: int) -> npt.NDArray[np.float32]:
    return np.ones(width, np.float32)


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
