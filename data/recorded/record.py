"""Measure the comparison of lab 06 again and keep it: python data/recorded/record.py

Run it on an idle machine; it takes about ten minutes on two cores.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

from slmlab import engines, measurement
from slmlab.acquisition import fetch
from slmlab.measurement import Variant

VARIANTS = (
    ("mlx", "float32"),
    ("mlx", "8-bit"),
    ("mlx", "4-bit"),
    ("llama_cpp", "F16"),
    ("llama_cpp", "Q8_0"),
    ("llama_cpp", "Q4_0"),
)
QUANTITIES = ("prompt speed", "decode speed", "peak memory", "perplexity")


def main() -> None:
    """Write `mlx.json` beside this file."""
    source = fetch("smollm2-135m-instruct").path
    variants = [Variant(name, kind, engines.prepare(name, source, kind)) for name, kind in VARIANTS]
    rows = measurement.compare(variants, chunks=1, prompt_tokens=64, decode_tokens=16)
    kept = [
        asdict(replace(number, how="recorded"))
        for number in measurement.as_measurements(rows)
        if number.quantity in QUANTITIES
    ]
    Path(__file__).with_name("mlx.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
