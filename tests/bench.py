"""Our measurements against llama.cpp's own tools, built from the same source: `make bench`.

Each pair is run in turn, in each round in the other order; a row shows the median of the rounds'
ratios and their range. Ratios of speeds are ours / native (1 is parity, more is faster); ratios of
seconds are ours / native too (less is faster).
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from slmlab import measurement
from slmlab.acquisition import fetch
from slmlab.engines import llama_cpp_tools
from slmlab.machine import this_machine, usable_threads
from slmlab.quantization import quantize

TYPES = ("F16", "Q8_0", "Q5_1", "Q4_0")
TOOLS = ("llama-bench", "llama-perplexity")
PROMPT, DECODE, REPETITIONS, CHUNKS = 512, 128, 3, 4
LIMITS = {
    "prompt speed": (0.95, 9.0),
    "decode speed": (0.95, 9.0),
    "perplexity seconds": (0.0, 1.25),
    "perplexity value": (0.999, 1.001),
    "KL divergence value": (0.99, 1.01),
}


def native_speed(tool: Path, model: Path) -> tuple[float, float]:
    """Return llama-bench's prompt and decode speed in tokens per second."""
    command = [tool, "-m", model, "-p", PROMPT, "-n", DECODE, "-r", REPETITIONS]
    command += ["-t", usable_threads(), "-o", "json"]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True)
    prompt, decode = json.loads(done.stdout)
    return prompt["avg_ts"], decode["avg_ts"]


def native_perplexity(tool: Path, model: Path, text: Path, *more: str | Path) -> tuple[str, float]:
    """Return llama-perplexity's output and its wall seconds."""
    command = [tool, "-m", model, "-f", text, "-c", "512", "--chunks", CHUNKS]
    command += ["-t", usable_threads(), *more]
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return (done.stdout + done.stderr).decode(errors="replace"), time.perf_counter() - start


def timed(work: Callable) -> tuple[object, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def both(native: Callable, ours: Callable, ours_first: bool) -> tuple:
    """Return what the native tool and what ours gave, run in the order asked for."""
    if ours_first:
        result = ours()
        return native(), result
    return native(), ours()


def compare_speed(tools: dict[str, Path], model: Path, ours_first: bool) -> dict[str, float]:
    """Return the ratios of one round of speed."""
    (prompt, decode), ours = both(
        lambda: native_speed(tools["llama-bench"], model),
        lambda: measurement.speed(model, PROMPT, DECODE, REPETITIONS),
        ours_first,
    )
    return {
        "prompt speed": ours.prompt_tokens_per_second / prompt,
        "decode speed": ours.decode_tokens_per_second / decode,
    }


def compare_perplexity(
    tools: dict[str, Path], model: Path, text: Path, ours_first: bool
) -> dict[str, float]:
    """Return the ratios of one round of perplexity: the whole run, loading included."""
    (output, native_seconds), (ours, seconds) = both(
        lambda: native_perplexity(tools["llama-perplexity"], model, text),
        lambda: timed(lambda: measurement.perplexity(model, text.read_text("utf-8"), CHUNKS)),
        ours_first,
    )
    native = float(re.search(r"PPL = ([\d.]+)", output)[1])
    return {
        "perplexity seconds": seconds / native_seconds,
        "perplexity value": ours.value / native,
    }


def compare_divergence(tools: dict[str, Path], model: Path, base: Path, text: Path) -> float:
    """Return the ratio of the mean KL divergences."""
    with tempfile.TemporaryDirectory() as folder:
        logits = Path(folder) / "base"
        tool = tools["llama-perplexity"]
        native_perplexity(tool, base, text, "--kl-divergence-base", logits)
        more = ("--kl-divergence-base", logits, "--kl-divergence")
        output, _ = native_perplexity(tool, model, text, *more)
    native = float(re.search(r"Mean\s+KLD:\s+([\d.]+)", output)[1])
    return measurement.kl_divergence(model, base, text.read_text("utf-8"), CHUNKS).mean / native


def main() -> int:
    """Run every comparison and print one table; 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    tools = llama_cpp_tools.build(TOOLS)
    files = {made.type: made.path for made in quantize(fetch("smollm2-135m-instruct").path, TYPES)}
    ratios: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "prose.txt"
        text.write_text(measurement.text("prose"), "utf-8")
        for number in range(1, rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr)
            for kind, model in files.items():
                ours_first = number % 2 == 0
                row = compare_speed(tools, model, ours_first)
                row |= compare_perplexity(tools, model, text, ours_first)
                for name, ratio in row.items():
                    ratios.setdefault((kind, name), []).append(ratio)
        for kind in TYPES[1:]:
            ratio = compare_divergence(tools, files[kind], files["F16"], text)
            ratios[kind, "KL divergence value"] = [ratio]
    return print_table(ratios)


def print_table(ratios: dict[tuple[str, str], list[float]]) -> int:
    """Print the ratios as Markdown; return 1 if one leaves its limits."""
    print(f"Ours / native on {this_machine()}, {usable_threads()} threads, median (range).\n")
    print("| type | quantity | ratio | range | limit | kept |\n|---|---|---|---|---|---|")
    failed = 0
    for (kind, name), values in sorted(ratios.items(), key=lambda item: item[0][1]):
        low, high = LIMITS[name]
        middle = statistics.median(values)
        kept = low <= middle <= high
        failed |= not kept
        spread = f"{min(values):.4f} to {max(values):.4f}"
        limit = f"at least {low}" if high == 9.0 else f"{low} to {high}"
        print(
            f"| {kind} | {name} | {middle:.4f} | {spread} | {limit} | {'yes' if kept else 'NO'} |"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
