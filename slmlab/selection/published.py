"""What others published of models and of quantisation; whatever has no source is unknown here."""

import tomllib
from functools import cache
from typing import Any

from slmlab.files import data_path
from slmlab.measurement import Measurement
from slmlab.measurement import published as as_published

LARGE = 8_030_261_248
"""Parameters of the model whose loss by quantisation is published."""


def benchmarks() -> dict[str, str]:
    """Return the benchmarks that models are compared by, and what each measures."""
    return {entry["name"]: entry["measures"] for entry in _file()["benchmark"]}


def quality(model: str, benchmark: str) -> Measurement | None:
    """Return what a model reaches in a benchmark, or None where we found no source for it."""
    for entry in _file()["benchmark"]:
        for group in entry["group"] if entry["name"] == benchmark else ():
            if model in group["scores"]:
                score, unit = group["scores"][model], entry["unit"]
                source, protocol = group["source"], group["conditions"]
                return as_published(model, benchmark, score, unit, source, protocol=protocol)
    return None


def loss(quantization: str) -> Measurement | None:
    """Return by what a quantisation multiplies the perplexity of a model with 8 billion weights.

    None where it is not published.
    """
    table = _file()["quantised"]
    if quantization not in table["perplexity"]:
        return None
    ratio = table["perplexity"][quantization] / table["perplexity"]["F16"]
    return as_published(
        f"{table['model']} {quantization}",
        "perplexity against F16",
        ratio,
        "times",
        table["source"],
        on=table["conditions"],
    )


@cache
def _file() -> dict[str, Any]:
    with data_path("published_quality.toml").open("rb") as file:
        return tomllib.load(file)
