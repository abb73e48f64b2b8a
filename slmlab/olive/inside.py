"""What Olive imports in its own environment; nothing here is imported by slmlab."""

from pathlib import Path

import torch
from olive.data.registry import Registry

IGNORED = -100  # a label that Olive's perplexity leaves out


@Registry.register_dataset()
def chunks_of_text(model_path: str, text: str, first: int, chunks: int, length: int, **_):
    """Return (inputs, labels) of `chunks` chunks of a text, `length` tokens each.

    As in slmlab's own protocol, only the second half of a chunk has labels that count.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokens = tokenizer(Path(text).read_text("utf-8"))["input_ids"]
    config = AutoConfig.from_pretrained(model_path)
    return [
        _sample(torch.tensor(tokens[start : start + length]), config)
        for start in range(first * length, (first + chunks) * length, length)
    ]


def _sample(tokens, config):
    """Return one chunk as the graph wants it: with an empty cache of keys and values."""
    labels = tokens.clone()
    labels[: len(tokens) // 2 + 1] = IGNORED
    empty = torch.zeros(config.num_key_value_heads, 0, config.head_dim)
    cache = {
        f"past_key_values.{layer}.{part}": empty
        for layer in range(config.num_hidden_layers)
        for part in ("key", "value")
    }
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), **cache}, labels


class WithoutCache(torch.nn.Module):
    """A language model that reads tokens, gives logits, and keeps nothing for the next call."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, tokens, vocabulary)."""
        return self.model(input_ids=input_ids, use_cache=False).logits


def load_two_layers(model_path: str) -> torch.nn.Module:
    """Load the embedding, the first two layers and the output layer of a model."""
    from transformers import AutoModelForCausalLM

    return WithoutCache(
        AutoModelForCausalLM.from_pretrained(
            model_path, num_hidden_layers=2, dtype="float32", attn_implementation="eager"
        )
    ).eval()


def sixteen_tokens(_model) -> dict[str, torch.Tensor]:
    """Return the inputs that the export follows through the model."""
    return {"input_ids": torch.ones(1, 16, dtype=torch.long)}
