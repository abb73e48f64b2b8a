"""The model is a Llama, with the tensors that its architecture says."""

import pytest
import torch

from slmlab.bitnet.model import ARCHITECTURE, Model
from slmlab.bitnet.ternary import BitLinear
from slmlab.gguf import TYPES
from slmlab.tiers import count_parameters, tensors


def test_its_parameters_are_the_tensors_of_its_architecture():
    held = {name: tuple(p.shape)[::-1] for name, p in Model(True).state_dict().items()}
    assert held == dict(tensors(ARCHITECTURE))
    assert count_parameters(ARCHITECTURE) == 2_033_408


def test_every_linear_layer_fits_the_ternary_types():
    layers = [layer for layer in Model(True).modules() if isinstance(layer, BitLinear)]
    assert len(layers) == 7 * ARCHITECTURE.layers
    assert all(layer.in_features % TYPES["TQ2_0"][0] == 0 for layer in layers)


@pytest.mark.parametrize("ternary", [True, False])
def test_a_token_sees_only_what_came_before(ternary):
    torch.manual_seed(0)
    model, tokens = Model(ternary), torch.arange(10)[None]
    changed = tokens.clone()
    changed[0, 6] = 99
    with torch.no_grad():
        before, after = model(tokens)[0], model(changed)[0]
    assert torch.equal(before[:6], after[:6])
    assert not torch.equal(before[6:], after[6:])


def test_the_order_of_tokens_matters():
    torch.manual_seed(0)
    model = Model(False)
    with torch.no_grad():
        one, other = model(torch.tensor([[1, 2, 3]])), model(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(one[0, -1], other[0, -1])


def test_both_twins_start_from_the_same_weights():
    models = []
    for ternary in (True, False):
        torch.manual_seed(7)
        models.append(Model(ternary).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
