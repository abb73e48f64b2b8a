"""Measure the comparisons of labs 05 and 06 again and keep them: python data/recorded/record.py

Run it on an idle machine; it takes about ten minutes on two cores. Name one of `olive` and `mlx`
to measure only that.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from slmlab import engines, measurement, olive
from slmlab.acquisition import fetch
from slmlab.measurement import Variant
from slmlab.quantization import huggingface_form

PREPARED = (
    ("mlx", "float32"),
    ("mlx", "8-bit"),
    ("mlx", "4-bit"),
    ("llama_cpp", "F16"),
    ("llama_cpp", "Q8_0"),
    ("llama_cpp", "Q4_0"),
)
QUANTITIES = ("prompt speed", "decode speed", "peak memory", "perplexity")


def mlx_variants(source: Path) -> list[Variant]:
    """Return MLX and llama.cpp in their precisions, made from a GGUF file."""
    return [Variant(name, kind, engines.prepare(name, source, kind)) for name, kind in PREPARED]


def olive_variants(source: Path) -> list[Variant]:
    """Return what Olive makes of a GGUF file: the float32 graph and two quantised ones."""
    directory = huggingface_form(source, "float32")
    kinds = ("INT8 dynamic", "INT4 in blocks")
    runs = {kind: olive.run(olive.optimizing(directory, kind)) for kind in kinds}
    graphs = {"float32": runs[kinds[0]].steps[0].folder}
    graphs |= {kind: run.model for kind, run in runs.items()}
    return [Variant("onnx", kind, folder) for kind, folder in graphs.items()]


VARIANTS = {"mlx": mlx_variants, "olive": olive_variants}


def record(name: str) -> None:
    """Write the measurements of one lab beside this file."""
    variants = VARIANTS[name](fetch("smollm2-135m-instruct").path)
    rows = measurement.compare(variants, chunks=1, prompt_tokens=64, decode_tokens=16)
    kept = [
        asdict(replace(number, how="recorded"))
        for number in measurement.as_measurements(rows)
        if number.quantity in QUANTITIES
    ]
    path = Path(__file__).with_name(f"{name}.json")
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or VARIANTS:
        record(wanted)
