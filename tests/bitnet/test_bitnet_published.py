"""The card of BitNet b1.58 2B4T describes the model that Transformers builds."""

from dataclasses import replace

import pytest

from slmlab import tiers
from slmlab.bitnet import published

CARD = tiers.card("bitnet-b1.58-2b-4t")

pytestmark = pytest.mark.slow


def test_at_full_size_it_has_the_parameters_of_its_card():
    model = published.random_model(CARD.architecture, "meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == CARD.parameters
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_it_is_the_architecture_of_the_report():
    model = published.random_model(replace(CARD.architecture, layers=1), "meta")
    names = {name for name, _ in model.model.layers[0].named_parameters()}
    assert {"self_attn.attn_sub_norm.weight", "mlp.ffn_sub_norm.weight"} <= names
    assert not [name for name in names if name.endswith("bias")]
    assert model.config.hidden_act == "relu2"
    assert model.config.rope_parameters["rope_theta"] == 500_000


def test_two_layers_of_it_compute():
    import torch

    small = replace(CARD.architecture, layers=2, vocabulary=1000)
    model = published.random_model(small)
    tokens = torch.arange(7)[None]
    with torch.no_grad():
        logits = model(tokens).logits
    assert logits.shape == (1, 7, 1000)
    assert logits.isfinite().all()
    assert sum(p.numel() for p in model.parameters()) == tiers.count_parameters(small)
