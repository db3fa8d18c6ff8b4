# mypy: allow-subclassing-any
# Without torch installed, which only the training needs, nn.Module is Any.
"""The network: a small llama whose weights map one to one onto llama.cpp's `llama` architecture.

The rotary embedding turns neighbouring pairs (2i, 2i+1), which is what llama.cpp expects of this
architecture without any permutation of the query and key weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network. `train_length` and `context_length` are in tokens."""

    vocabulary: int = 1024
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 352
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5
    train_length: int = 2048
    context_length: int = 2048

    @property
    def head_width(self) -> int:
        """Numbers per head; even, because the rotary embedding works on pairs."""
        return self.width // self.heads


class Norm(nn.Module):
    """Root mean square norm with a learned gain."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return x * scale * self.weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of `x` [batch, heads, time, head_width] by angles [time, head_width / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    """Attention and a gated feed-forward net, each behind a norm and added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads = shape.heads
        self.attn_norm = Norm(width, shape.norm_epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = Norm(width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(width, hidden, bias=False)
        self.ffn_up = nn.Linear(width, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Causal self-attention over `x` [batch, time, width]."""
        batch, time, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, time, self.heads, width // self.heads).transpose(1, 2)

        query = rotate(split(self.attn_q(x)), cos, sin)
        key = rotate(split(self.attn_k(x)), cos, sin)
        mixed = functional.scaled_dot_product_attention(query, key, split(self.attn_v(x)), is_causal=True)
        output: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, time, width))
        return output

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attend(self.attn_norm(x), cos, sin)
        y = self.ffn_norm(x)
        down: Tensor = self.ffn_down(functional.silu(self.ffn_gate(y)) * self.ffn_up(y))
        return x + down


class Llama(nn.Module):
    """Token ids [batch, time] to the stream [batch, time, width]; `logits` makes scores of it."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        pairs = torch.arange(0, shape.head_width, 2).float() / shape.head_width
        angles = torch.arange(shape.train_length).float()[:, None] * shape.rope_base**-pairs
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Small normal weights; what is added to the stream shrinks with the number of layers."""
        nn.init.normal_(self.token_embd.weight, std=0.02)
        for name, weight in self.blk.named_parameters():
            if weight.dim() < 2:
                continue
            std = 0.6 / math.sqrt(weight.shape[1])
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                std /= math.sqrt(2 * self.shape.layers)
            nn.init.normal_(weight, std=std)

    def forward(self, ids: Tensor) -> Tensor:
        time = ids.shape[1]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, self.cos[:time], self.sin[:time])
        stream: Tensor = self.output_norm(x)
        return stream

    def logits(self, stream: Tensor) -> Tensor:
        """Scores [..., vocabulary] of the next token; the embeddings in and out are the same."""
        return functional.linear(stream, self.token_embd.weight)

    def size(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.parameters())
