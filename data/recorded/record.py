"""Measure what labs 05, 06 and 09 recorded again and keep it: python data/recorded/record.py

Run it on an idle machine; it takes about fifteen minutes on two cores. Name one of `olive`, `mlx`
and `vllm` to measure only that.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from slmlab import engines, measurement, olive
from slmlab.acquisition import fetch
from slmlab.deployment import Server, load, serve, vllm
from slmlab.measurement import Measurement, Variant
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


def comparison(variants: Sequence[Variant]) -> list[Measurement]:
    """Return the measurements of an engine's variants."""
    rows = measurement.compare(variants, chunks=1, prompt_tokens=64, decode_tokens=16)
    return [one for one in measurement.as_measurements(rows) if one.quantity in QUANTITIES]


def vllm_load(source: Path) -> list[Measurement]:
    """Return what 16 requests get from llama.cpp and vLLM, and when a long text is answered."""
    prompts = [f"Explain in a few sentences what {number} can be used for." for number in range(16)]
    text = measurement.text("prose")[20_000:22_000]
    rows = _one_by_one(engines.prepare("llama_cpp", source, "F16"), prompts)
    with serve("vllm", source, context=1024) as server:
        rows += _loads(server, prompts, (1, 2, 4, 8, 16))
        replies = load.run(server, [f"{text} {number}?" for number in range(2)], 1, max_tokens=2)
    for kind, reply in zip(("new", "known"), replies, strict=True):
        conditions = {"at_once": 1, "prompt_tokens": reply.prompt_tokens}
        name, value = f"first token, text {kind}", reply.seconds_to_first_token
        rows.append(replace(rows[-1], quantity=name, value=value, conditions=conditions))
    return rows


def _one_by_one(model: Path, prompts: Sequence[str]) -> list[Measurement]:
    """Return what llama.cpp writes for the same requests one after another, without a server."""
    with engines.load(model) as engine:
        engine.generate(prompts[0], 4)
        start = time.perf_counter()
        written = [engine.generate([{"role": "user", "content": one}], 32) for one in prompts]
        rate = sum(one.new_tokens for one in written) / (time.perf_counter() - start)
    about = {"at_once": 1, "tokens": 32}
    return [measurement.measured("llama_cpp", "throughput", rate, "tokens/s", **about)]


def _loads(server: Server, prompts: Sequence[str], at_once: Sequence[int]) -> list[Measurement]:
    load.run(server, prompts[:1], 1, max_tokens=4)
    found = {n: load.summary(load.run(server, prompts, n, max_tokens=32)) for n in at_once}
    return vllm.as_measurements(server, found, 32)


MEASURE = {
    "mlx": lambda source: comparison(mlx_variants(source)),
    "olive": lambda source: comparison(olive_variants(source)),
    "vllm": vllm_load,
}


def record(name: str) -> None:
    """Write the measurements of one lab beside this file."""
    found = MEASURE[name](fetch("smollm2-135m-instruct").path)
    kept = [asdict(replace(number, how="recorded")) for number in found]
    path = Path(__file__).with_name(f"{name}.json")
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MEASURE:
        record(wanted)
