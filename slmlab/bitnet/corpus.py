"""The text that the small model learns, cut into tokens; `data/bitnet/README.md` has its source."""

import json
import lzma
from functools import cache
from typing import TYPE_CHECKING

from slmlab.files import data_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

END = "<|end|>"
"""The one special token; it stands in no text, but llama.cpp wants a token that ends one."""


@cache
def training_text() -> str:
    """Return the King James Bible but for its end: one verse a line."""
    return lzma.decompress(data_path("bitnet", "bible.txt.xz").read_bytes()).decode("ascii")


def held_out_text() -> str:
    """Return the last 5 %, which no model here has learnt: from Colossians 2 to Revelation."""
    return data_path("texts", "verses.txt").read_text("ascii")


@cache
def tokenizer() -> "Tokenizer":
    """Return the byte-level BPE tokenizer that was made from the training text."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(data_path("bitnet", "tokenizer.json")))


def make_tokenizer(vocabulary: int) -> "Tokenizer":
    """Make a byte-level BPE tokenizer of that many tokens from the training text.

    It cuts words as GPT-2 does, which is the cutting llama.cpp knows as "gpt-2".
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(training_text().splitlines(keepends=True), trainer)
    return made


def merges() -> list[str]:
    """Return the tokenizer's merges, strongest first, as a GGUF file holds them: "th e"."""
    pairs = json.loads(tokenizer().to_str())["model"]["merges"]
    return [" ".join(pair) for pair in pairs]


def tokens(text: str) -> "Tensor":
    """Return the token ids of a text, shape (count,)."""
    import torch

    return torch.tensor(tokenizer().encode(text).ids)
