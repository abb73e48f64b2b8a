"""The published BitNet b1.58 2B4T in Transformers: its architecture from its card alone."""

from typing import TYPE_CHECKING

from slmlab.tiers import Architecture

if TYPE_CHECKING:
    from transformers import BitNetConfig, BitNetForCausalLM


def config(architecture: Architecture) -> "BitNetConfig":
    """Return the Transformers configuration of a card's architecture of kind "bitnet".

    What the card does not say is what Transformers takes for this family: squared ReLU, rotary
    base 500,000, no biases. Without a tokenizer there are no special tokens.
    """
    from transformers import BitNetConfig

    a = architecture
    return BitNetConfig(
        vocab_size=a.vocabulary,
        hidden_size=a.hidden,
        intermediate_size=a.feed_forward,
        num_hidden_layers=a.layers,
        num_attention_heads=a.heads,
        num_key_value_heads=a.kv_heads,
        tie_word_embeddings=a.tied_embeddings,
        bos_token_id=None,
        eos_token_id=None,
    )


def random_model(architecture: Architecture, device: str = "cpu") -> "BitNetForCausalLM":
    """Return the model with random weights, in bfloat16.

    On the device "meta" it has every shape and takes no memory. The layers are plain ones: the
    rounding to three values belongs to the published weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device(device):
        return AutoModelForCausalLM.from_config(config(architecture), dtype=torch.bfloat16).eval()
