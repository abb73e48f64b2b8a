"""A small Llama whose linear layers hold three values, or, as its twin, any value.

The modules are named so that a parameter has the name of its tensor in a GGUF file, and rotary
embeddings turn neighbouring pairs, as llama.cpp's architecture "llama" does: nothing has to be
renamed or reordered on the way out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slmlab.bitnet.ternary import BitLinear
from slmlab.tiers import Architecture

ARCHITECTURE = Architecture(
    kind="llama",
    layers=3,
    hidden=256,
    heads=4,
    kv_heads=2,
    head_size=64,
    feed_forward=512,
    vocabulary=1024,
    tied_embeddings=True,
)
"""Two million parameters; every row is a whole number of the 256-weight blocks of TQ2_0."""

CONTEXT = 256
ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-5


class Model(nn.Module):
    """Predicts the next token: RMSNorm, rotary grouped-query attention, SwiGLU, no biases.

    The embedding is tied to the output and, like the norms, never rounded.
    """

    def __init__(self, ternary: bool, architecture: Architecture = ARCHITECTURE) -> None:
        super().__init__()
        self.ternary = ternary
        self.architecture = architecture
        self.token_embd = nn.Embedding(architecture.vocabulary, architecture.hidden)
        self.blk = nn.ModuleList(Block(architecture, ternary) for _ in range(architecture.layers))
        self.output_norm = _norm(architecture)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits after each token: (batch, length) to (batch, length, vocabulary)."""
        x = self.token_embd(tokens)
        turns = _turns(tokens.shape[1], self.architecture.head_size)
        for block in self.blk:
            x = block(x, turns)
        return functional.linear(self.output_norm(x), self.token_embd.weight)


class Block(nn.Module):
    """Attention and feed-forward of one layer, each added to what came in."""

    def __init__(self, a: Architecture, ternary: bool) -> None:
        super().__init__()
        self.head_size = a.head_size
        self.attn_norm = _norm(a)
        self.attn_q = BitLinear(a.hidden, a.heads * a.head_size, ternary)
        self.attn_k = BitLinear(a.hidden, a.kv_heads * a.head_size, ternary)
        self.attn_v = BitLinear(a.hidden, a.kv_heads * a.head_size, ternary)
        self.attn_output = BitLinear(a.heads * a.head_size, a.hidden, ternary)
        self.ffn_norm = _norm(a)
        self.ffn_gate = BitLinear(a.hidden, a.feed_forward, ternary)
        self.ffn_up = BitLinear(a.hidden, a.feed_forward, ternary)
        self.ffn_down = BitLinear(a.feed_forward, a.hidden, ternary)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """Return the layer's output, of the shape of `x`: (batch, length, hidden)."""
        x = x + self._attention(self.attn_norm(x), turns)
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def _attention(self, x: Tensor, turns: Tensor) -> Tensor:
        q, k = (_turned(self._heads(part(x)), turns) for part in (self.attn_q, self.attn_k))
        v = self._heads(self.attn_v(x))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.attn_output(seen.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, length, heads x head size) to (batch, heads, length, head size)."""
        return x.unflatten(2, (-1, self.head_size)).transpose(1, 2)


def _norm(a: Architecture) -> nn.RMSNorm:
    return nn.RMSNorm(a.hidden, eps=NORM_EPSILON)


def _turns(length: int, head_size: int) -> Tensor:
    """Cosine and sine of each position's angles, shape (2, length, head size / 2)."""
    speeds = ROPE_BASE ** (-torch.arange(0, head_size, 2) / head_size)
    angles = torch.outer(torch.arange(length), speeds)
    return torch.stack((angles.cos(), angles.sin()))


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate each pair of neighbouring values by its position's angle (RoPE)."""
    cos, sin = turns
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
