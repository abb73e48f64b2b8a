"""Three-valued weights and 8-bit activations, as BitNet b1.58 trains them.

The formulas are those of Ma et al., "The Era of 1-bit LLMs: All Large Language Models are in
1.58 Bits" (arXiv:2402.17764), section 2; the gradient is the straight-through estimator of
Bengio et al. (arXiv:1308.3432).
"""

import torch
from torch import Tensor, nn

_SMALLEST = 1e-5  # keeps a scale away from zero


def ternary(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to -1, 0 and +1 with one scale: its mean absolute value (absmean).

    Returns the three-valued matrix, of the same shape and dtype, and the scale, a scalar that
    half precision holds exactly so that a model file can too.
    """
    scale = weights.abs().mean().clamp(min=_SMALLEST).half().to(weights.dtype)
    return (weights / scale).round().clamp(-1, 1), scale


def rounded_weights(weights: Tensor) -> Tensor:
    """Return the matrix that a ternary layer really multiplies by: -scale, 0 and +scale."""
    values, scale = ternary(weights)
    return values * scale


def rounded_activations(x: Tensor) -> Tensor:
    """Round each token's vector, the last axis, to the 8-bit steps of its largest value."""
    scale = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=_SMALLEST)
    return (x * scale).round() / scale


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded` forwards; backwards, pass the gradient to `value` as if not rounded."""
    return value + (rounded - value).detach()


class BitLinear(nn.Linear):
    """A linear layer without bias that trains full-precision weights and uses rounded ones.

    With `ternary=False` it is a plain linear layer. Input (..., in), output (..., out).
    """

    def __init__(self, inputs: int, outputs: int, ternary: bool = True) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.ternary = ternary

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the transposed weights, both rounded where the layer is ternary."""
        if not self.ternary:
            return super().forward(x)
        x = straight_through(x, rounded_activations(x))
        weight = straight_through(self.weight, rounded_weights(self.weight))
        return torch.nn.functional.linear(x, weight)
