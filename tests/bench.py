"""Our measurements against llama.cpp's own tools, built from the same source: `make bench`.

Each pair is run in turn, in each round in the other order, and each run is a process of its own.
A ratio is ours divided by native. Times are those that the tools count themselves, so that no
side's start or loading is in them; only a whole command is timed by the clock, from its start to
its end. Memory is the most that a process had resident at once: the pages of the model file count,
and so does our Python. Where ours starts others, it is that of all of them together, looked at up
to 50 times a second; pages that they share count in each.

It needs Linux or macOS, and takes about ten minutes on two idle cores.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import bench_table as tables
import psutil
from bench_table import TYPES

from slmlab import measurement
from slmlab.acquisition import fetch
from slmlab.engines import llama_cpp_tools
from slmlab.files import whole
from slmlab.machine import installed_version, this_machine, usable_threads
from slmlab.quantization import llama_quantize, quantize

TOOLS = ("llama-bench", "llama-perplexity", "llama-quantize")
WORK = Path(__file__).with_name("bench_work.py")
REPORT = Path(__file__).parents[1] / "build" / "bench.md"
PROMPT, DECODE, REPETITIONS, CHUNKS = 512, 128, 2, 4


@dataclass(frozen=True)
class Run:
    """What a process said, the most bytes it had resident at once, and its seconds by the clock."""

    out: str
    log: str
    peak_bytes: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Bench:
    """What all comparisons share: the tools, the model in each type, a text."""

    tools: dict[str, Path]
    models: dict[str, Path]
    text: Path
    threads: int


@dataclass(frozen=True)
class Part:
    """One comparison.

    `native` runs a tool; `work` names the function of bench_work.py that does the same, with its
    arguments. Both get the bench, a type and a new folder. `ratios` compares what the tool's run
    or runs said with what our function returned. `once` is for what no repetition changes.
    `child` is for what our side does in a process that it starts: that script with its arguments.
    """

    native: Callable[[Bench, str, Path], list[Run]]
    work: Callable[[Bench, str, Path], tuple]
    ratios: Callable[[list[Run], Any], dict[str, float]]
    types: Sequence[str] = TYPES
    once: bool = False
    child: Callable[[Bench, str, Path], tuple] | None = None


def run(*command: str | int | Path, together: bool = False) -> Run:
    """Run a process to its end; raise `CalledProcessError` if it fails.

    With `together`, memory is that of all processes that it starts as well. On Linux a child's peak
    begins with its parent's, so this process has to stay a small one.
    """
    with TemporaryFile() as out, TemporaryFile() as log, ThreadPoolExecutor(1) as watcher:
        start = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=log)
        watched = watcher.submit(peak_together, process.pid) if together else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for file in (out, log):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, *said)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(*said, max(peak, watched.result() if watched else 0), seconds)


def peak_together(pid: int) -> int:
    """Watch a process to its end; return the most bytes that it and what it starts had resident."""
    peak = 0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        while parent.is_running():
            peak = max(peak, sum(map(resident, [parent, *parent.children(recursive=True)])))
            time.sleep(0.02)
    return peak


def resident(process: psutil.Process) -> int:
    """Return the bytes that a process has resident now; 0 where it has ended."""
    with suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def script(function: str, *arguments: str | int | Path) -> tuple[Path, str, str]:
    """Return bench_work.py with the arguments for which it runs a function of its own."""
    return WORK, function, json.dumps(arguments, default=str)


def ours(function: str, *arguments: str | int | Path, together: bool = False) -> Run:
    """Run a function of bench_work.py in a process; its result is JSON in `out`."""
    return run(sys.executable, *script(function, *arguments), together=together)


def native_speed(bench: Bench, kind: str, _: Path) -> list[Run]:
    """Run llama-bench."""
    size = ("-p", PROMPT, "-n", DECODE, "-r", REPETITIONS, "-t", bench.threads)
    return [run(bench.tools["llama-bench"], "-m", bench.models[kind], *size, "-o", "json")]


def speed_ratios(native: list[Run], made: dict[str, float]) -> dict[str, float]:
    """Return the ratios of tokens per second."""
    prompt, decode = (test["avg_ts"] for test in json.loads(native[0].out))
    return {"prompt speed": made["prompt"] / prompt, "decode speed": made["decode"] / decode}


def native_perplexity(bench: Bench, kind: str, *more: str | Path) -> Run:
    """Run llama-perplexity on the chunks that ours reads."""
    options = ("-c", 512, "--chunks", CHUNKS, "-t", bench.threads, "--log-timestamps", *more)
    command = (bench.tools["llama-perplexity"], "-m", bench.models[kind], "-f", bench.text)
    return run(*command, *options)


def perplexity_ratios(native: list[Run], made: dict[str, float]) -> dict[str, float]:
    """Return the ratios of the pass's seconds and of its value."""
    said = native[0].log + native[0].out
    return {
        "perplexity, seconds": made["seconds"] / pass_seconds(said),
        "perplexity, value": made["value"] / number_after("PPL =", said),
    }


def native_divergence(bench: Bench, kind: str, folder: Path) -> list[Run]:
    """Run llama-perplexity on the base, which writes its logits, and on the other model."""
    kept = ("--kl-divergence-base", folder / "logits")
    return [
        native_perplexity(bench, "F16", *kept),
        native_perplexity(bench, kind, *kept, "--kl-divergence"),
    ]


def native_quantising(bench: Bench, kind: str, folder: Path) -> list[Run]:
    """Run llama-quantize on the F16 file."""
    target = folder / "native.gguf"
    tool = bench.tools["llama-quantize"]
    return [run(tool, bench.models["F16"], target, kind, bench.threads, together=True)]


def quantising_script(bench: Bench, kind: str, folder: Path) -> tuple[str | int | Path, ...]:
    """Return the script in which our side quantises, with its arguments."""
    target = folder / "profiled.gguf"
    return llama_quantize.__file__, bench.models["F16"], target, kind, bench.threads, "the bench"


PARTS = {
    "speed": Part(
        native_speed,
        lambda bench, kind, _: ("speed", bench.models[kind], PROMPT, DECODE, REPETITIONS),
        speed_ratios,
    ),
    "perplexity": Part(
        lambda bench, kind, _: [native_perplexity(bench, kind)],
        lambda bench, kind, _: ("perplexity", bench.models[kind], bench.text, CHUNKS),
        perplexity_ratios,
    ),
    "KL divergence": Part(
        native_divergence,
        lambda bench, kind, _: (
            *("divergence", bench.models[kind], bench.models["F16"]),
            *(bench.text, CHUNKS),
        ),
        lambda native, mean: {
            "KL divergence, value": mean / number_after(r"Mean\s+KLD:", native[1].out),
        },
        TYPES[1:],
        once=True,
    ),
    "quantising": Part(
        native_quantising,
        lambda bench, kind, folder: ("quantise", bench.models["F16"], kind, folder),
        lambda native, seconds: {
            "quantising, seconds": 1e3 * seconds / number_after("quantize time =", native[0].out),
        },
        TYPES[1:],
        child=quantising_script,
    ),
    "header reading": Part(
        lambda bench, kind, _: [ours("gguf_py_header", bench.models[kind])],
        lambda bench, kind, _: ("header", bench.models[kind]),
        lambda native, seconds: {
            "header reading, times faster": json.loads(native[0].out) / seconds,
        },
    ),
}


def compare(name: str, bench: Bench, kind: str, ours_first: bool) -> dict[str, float]:
    """Run a pair of one part in the order asked for, and return its ratios, memory included."""
    part = PARTS[name]
    with TemporaryDirectory() as folder:
        sides = {
            "native": lambda: part.native(bench, kind, Path(folder)),
            "ours": lambda: ours(*part.work(bench, kind, Path(folder)), together=bool(part.child)),
        }
        order = ("ours", "native") if ours_first else ("native", "ours")
        done = {side: sides[side]() for side in order}
    native, made = done["native"], done["ours"]
    ratios = part.ratios(native, json.loads(made.out))
    if part.child:
        ratios[f"{name}, whole command"] = made.seconds / sum(run.seconds for run in native)
    native_peak = max(run.peak_bytes for run in native)
    return ratios | {f"{name}, peak memory": made.peak_bytes / native_peak}


def number_after(words: str, said: str) -> float:
    """Return the number that follows some words in what a tool said."""
    return float(re.search(rf"{words}\s*([\d.]+)", said)[1])


def pass_seconds(log: str) -> float:
    """Return the seconds of llama-perplexity's pass, from the text to the value.

    Its log has minutes, seconds, milliseconds and microseconds, not always at the start of a line.
    """

    def at(words: str) -> float:
        stamp = re.search(rf"(\d+)\.(\d+)\.(\d+)\.(\d+) \w {words}", log)
        minutes, seconds, milli, micro = map(int, stamp.groups())
        return 60 * minutes + seconds + milli / 1e3 + micro / 1e6

    return at("Final estimate") - at("perplexity: tokenizing the input")


def conditions(bench: Bench, rounds: int) -> str:
    """Return where, when and with what was measured, and whether both sides are compiled alike."""
    tool, model = bench.tools["llama-perplexity"], bench.models["Q4_0"]
    native = run(tool, "-m", model, "-p", "too short to score")
    library = json.loads(ours("features").out).strip()
    alike = "the same" if library in native.log + native.out else "OTHER"
    packages = [f"{name} {installed_version(name)}" for name in ("llama-cpp-python", "gguf")]
    about = (
        f"*Recorded* on {date.today()} on {this_machine()}, {bench.threads} threads, "
        f"{', '.join(packages)}, Python {this_machine().python}; median and range of the rounds "
        f"({rounds}), in alternating order. The tools are compiled for {alike} processor features "
        f"as the library, OpenMP among them."
    )
    return textwrap.fill(about, 100, break_on_hyphens=False)


def profiled(name: str, bench: Bench, kind: str) -> str:
    """Return the functions in which our side of a part spends its time, by cProfile.

    Where our side only waits for a child, it is the child that is profiled.
    """
    part = PARTS[name]
    with TemporaryDirectory() as folder:
        place = bench, kind, Path(folder)
        work = part.child(*place) if part.child else script(*part.work(*place))
        done = run(sys.executable, "-m", "cProfile", "-s", "tottime", *work)
    return tables.profile_section(name, kind, done.out)


def explanations(ratios: tables.Ratios, bench: Bench) -> str:
    """Return where the time goes, or the memory, for what misses its aim."""
    missed = tables.missed(ratios)
    slow = {(part_of(row), kind) for row, kind in missed if not row.endswith(("memory", "value"))}
    found = [profiled(name, bench, kind) for name, kind in sorted(slow)]
    if any(row.endswith("memory") for row, _ in missed):
        peak = ours("nothing_loaded").peak_bytes
        found.append(
            f"## Where the memory goes\n\nBefore a model is loaded, Python with numpy, "
            f"llama-cpp-python and slmlab takes {peak / 1e6:.0f} MB. Quantising is three processes "
            f"of ours, one that asks, its guard and one in which llama.cpp works, against one."
        )
    return "\n\n".join(found)


def part_of(row: str) -> str:
    """Return the part that a row of the table belongs to."""
    return next((name for name in PARTS if row.startswith(name)), "speed")


def prepared(text: Path) -> Bench:
    """Return the tools, built where they are not there yet, and the model in each type."""
    text.write_text(measurement.text("prose"), "utf-8")
    made = quantize(fetch("smollm2-135m-instruct").path, TYPES)
    models = {file.type: file.path for file in made}
    return Bench(llama_cpp_tools.build(TOOLS), models, text, usable_threads())


def rounds_of(names: Sequence[str], bench: Bench, rounds: int) -> tables.Ratios:
    """Return the ratios of all rounds of some parts."""
    ratios: tables.Ratios = {}
    for number in range(1, rounds + 1):
        for name in names:
            if number > 1 and PARTS[name].once:
                continue
            print(f"round {number} of {rounds}: {name}", file=sys.stderr)
            for kind in PARTS[name].types:
                tables.add(ratios, kind, compare(name, bench, kind, ours_first=number % 2 == 0))
    return ratios


def main() -> int:
    """Run the comparisons asked for and report them; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="4 without it")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "import"], help="these parts alone")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("without a round nothing is measured; --rounds takes 1 or more")
    names = asked.only or [*PARTS, "import"]
    with TemporaryDirectory() as folder:
        bench = prepared(Path(folder) / "prose.txt")
        ratios = rounds_of([name for name in names if name in PARTS], bench, asked.rounds)
        starts = [
            json.loads(ours("importing").out) for _ in range(asked.rounds) if "import" in names
        ]
        about = conditions(bench, asked.rounds)
        report = tables.report(about, ratios, starts, explanations(ratios, bench))
    with whole(REPORT) as aside:
        aside.write_text(report, "utf-8")
    print(json.dumps(tables.figures(about, ratios, starts), indent=1) if asked.json else report)
    return int(bool(tables.missed(ratios)) or not tables.import_met(starts))


if __name__ == "__main__":
    sys.exit(main())
