"""Weights are rounded as BitNet b1.58 says, and gradients pass as if they were not."""

import pytest
import torch

from slmlab.bitnet.ternary import (
    BitLinear,
    rounded_activations,
    rounded_weights,
    straight_through,
    ternary,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_scale_is_the_mean_absolute_value():
    weights = torch.tensor([[0.5, -1.5], [0.25, 3.75]])
    values, scale = ternary(weights)
    assert scale == 1.5
    assert values.tolist() == [[0, -1], [0, 1]]


def test_the_border_lies_at_half_the_scale():
    values, scale = ternary(torch.tensor([0.49, 0.51, -0.51, 2.49]))
    assert scale == 1.0
    assert values.tolist() == [0, 1, -1, 1]


def test_half_precision_holds_the_scale_exactly():
    for seed in range(20):
        _, scale = ternary(random(64, 64, seed=seed) / 37)
        assert scale.half().float() == scale


def test_a_matrix_of_zeros_stays_zero():
    assert rounded_weights(torch.zeros(4, 4)).tolist() == torch.zeros(4, 4).tolist()
    assert rounded_activations(torch.zeros(4, 4)).tolist() == torch.zeros(4, 4).tolist()


def test_rounding_twice_changes_the_scale_but_no_value():
    once = rounded_weights(random(32, 32))
    assert torch.equal(ternary(once)[0], ternary(random(32, 32))[0])


def test_each_token_has_255_steps_of_its_own():
    x = random(5, 1000) * torch.tensor([1e-3, 1, 1, 1, 1e3])[:, None]
    rounded = rounded_activations(x)
    for token, out in zip(x, rounded, strict=True):
        step = token.abs().max() / 127
        assert (out / step).round().sub(out / step).abs().max() < 1e-3
        assert (out - token).abs().max() <= step / 2 * 1.001
        assert out.abs().max() == pytest.approx(token.abs().max().item(), rel=1e-5)


def test_straight_through_rounds_forwards_and_copies_the_gradient_backwards():
    value = torch.tensor([0.2, 0.7], requires_grad=True)
    used = straight_through(value, value.round())
    assert used.tolist() == [0, 1]
    (used * torch.tensor([3.0, 5.0])).sum().backward()
    assert value.grad.tolist() == [3, 5]


def test_without_it_rounding_has_no_gradient():
    value = torch.tensor([0.2, 0.7], requires_grad=True)
    value.round().sum().backward()
    assert value.grad.tolist() == [0, 0]


def test_a_ternary_layer_multiplies_rounded_by_rounded():
    layer, x = BitLinear(16, 8), random(3, 16)
    expected = rounded_activations(x) @ rounded_weights(layer.weight).T
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_a_ternary_layer_trains_its_latent_weights():
    layer = BitLinear(16, 8)
    layer(random(3, 16)).square().sum().backward()
    assert layer.weight.grad.abs().min() > 0


def test_the_twin_is_a_plain_linear_layer():
    layer, x = BitLinear(16, 8, ternary=False), random(3, 16)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight))
