"""How large a quantised file will be, computed before there is one; and what others publish."""

import tomllib
from dataclasses import dataclass

from slmlab.files import data_path
from slmlab.gguf import tensor_bytes
from slmlab.quantization.rules import tensor_types
from slmlab.tiers import ModelCard, tensors

_ALIGNMENT = 32
# Bytes of tokenizer in the header per vocabulary entry. A byte-pair tokenizer stores each token,
# its kind and the merge that makes it (36 in SmolLM2's file, 39 in Qwen3's); a SentencePiece one
# stores a token, its kind and a score, and no merges.
_TOKENIZER_BYTES = 38
_SENTENCEPIECE_BYTES = 24
_SENTENCEPIECE = ("gemma2", "gemma3")


def file_bytes(card: ModelCard, quant: str) -> int:
    """Return the size in bytes of the model's GGUF file after `quant`.

    Exact but for the tokenizer, which is estimated from the size of the vocabulary: within 1 %
    of the real file. Raises `UsageError` for an unknown quantisation.
    """
    shapes = dict(tensors(card.architecture))
    types = tensor_types(shapes.items(), quant)
    data = sum(_aligned(tensor_bytes(types[name], shape)) for name, shape in shapes.items())
    # Per tensor: its name, its dimensions, its type and its offset (ggml/src/gguf.cpp).
    header = sum(8 + len(name) + 4 + 8 * len(shape) + 4 + 8 for name, shape in shapes.items())
    is_sentencepiece = card.architecture.kind in _SENTENCEPIECE
    per_token = _SENTENCEPIECE_BYTES if is_sentencepiece else _TOKENIZER_BYTES
    return data + _aligned(header + card.architecture.vocabulary * per_token)


@dataclass(frozen=True)
class PublishedSizes:
    """One row of a published table of file sizes, in GB by quantisation.

    `cards` names the models that the row can mean: where the table names a family alone, several.
    """

    title: str
    cards: tuple[str, ...]
    gigabytes: dict[str, float]
    source: str


def published_sizes() -> list[PublishedSizes]:
    """Return the rows of `data/published_sizes.toml`."""
    with data_path("published_sizes.toml").open("rb") as file:
        table = tomllib.load(file)
    return [
        PublishedSizes(row["title"], tuple(row["cards"]), row["gigabytes"], table["source"])
        for row in table["row"]
    ]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
