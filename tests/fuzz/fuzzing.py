"""Look for inputs that break a reader, guided by what code they reach: `make fuzz SECONDS=3600`.

Each target runs for that many seconds in a process of its own, beside the others, with atheris. An
input that breaks it is kept in `build/fuzz/TARGET/findings`, one for each place in the code, and
the search goes on. Inputs that reached new code are kept beside them, and the next search starts
from them.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from random import Random
from typing import NoReturn

import mutating

TARGETS = {
    "fuzz_catalogues": 200,
    "fuzz_gguf": 2000,
    "fuzz_manifests": 500,
    "fuzz_mirror": 1500,
    "fuzz_stand_in": 600,
}
"""The harnesses, and how many inputs of each `make test` tries."""

_OUT = Path("build/fuzz")
_LIMITS = [
    "-timeout=60",
    "-report_slow_units=60",  # of the clock: on a busy machine an input waits
    "-rss_limit_mb=1500",
    "-max_len=16384",
    "-print_final_stats=1",
]
_FIGURES = {
    "inputs": re.compile(r"number_of_executed_units: (\d+)"),
    "code reached": re.compile(r"DONE +cov: (\d+)"),
    "peak MB": re.compile(r"peak_rss_mb: +(\d+)"),
}


def main() -> int:
    """Fuzz all targets or those named; return 1 where anything was found."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("seconds", type=int)
    told.add_argument("targets", nargs="*", default=list(TARGETS))
    told.add_argument("--here", action="store_true", help="fuzz one target in this process")
    options = told.parse_args()
    if options.here:
        return _fuzz(options.targets[0], options.seconds)
    running = {target: _started(target, options.seconds) for target in options.targets}
    print("| target | minutes of CPU | " + " | ".join(_FIGURES) + " | findings |")
    print("|---|" + "---:|" * (len(_FIGURES) + 2))
    rows = {target: _row(target, process) for target, process in running.items()}
    for target, row in rows.items():
        print(f"| {target} | " + " | ".join(row) + " |")
    return int(any(row[-1] != "0" for row in rows.values()))


def _started(target: str, seconds: int) -> subprocess.Popen:
    home = _OUT / target
    for folder in ("corpus", "findings"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, str(seconds), target, "--here"]
    with (home / "log.txt").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _row(target: str, process: subprocess.Popen) -> list[str]:
    """Wait for the process: its figures. Beside others it has only part of the processor."""
    _, code, used = os.wait4(process.pid, 0)
    log = (_OUT / target / "log.txt").read_text("utf-8", errors="replace")
    found = (figure.search(log) for figure in _FIGURES.values())
    findings = len(list((_OUT / target / "findings").iterdir())) + bool(code)
    minutes = (used.ru_utime + used.ru_stime) / 60
    return [f"{minutes:.1f}", *(match[1] if match else "-" for match in found), str(findings)]


def _fuzz(target: str, seconds: int) -> NoReturn:
    import atheris

    with atheris.instrument_imports(include=["slmlab"]):
        harness = importlib.import_module(target)
    home = _OUT.resolve() / target
    for number, seed in enumerate(harness.SEEDS):
        (home / "corpus" / f"seed-{number}").write_bytes(seed)

    def one_input(data: bytes) -> None:
        try:
            harness.one_input(data)
        except Exception as problem:
            _keep(home / "findings", data, problem)

    def mutator(data: bytes, longest: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, longest)
        return mutating.mutate(data, chance)[:longest]

    limits = [*_LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={home}/findings/"]
    atheris.Setup([target, *limits, str(home / "corpus")], one_input, custom_mutator=mutator)
    atheris.Fuzz()  # which ends this process itself


def _keep(folder: Path, data: bytes, problem: Exception) -> None:
    """Keep an input that broke something, unless another did at the same place."""
    frames = traceback.extract_tb(problem.__traceback__)
    last = [frame for frame in frames if f"{os.sep}slmlab{os.sep}" in frame.filename] or frames
    place = f"{Path(last[-1].filename).stem}-{last[-1].lineno}-{type(problem).__name__}"
    if not (folder / place).exists():
        (folder / place).write_bytes(data)
        traceback.print_exception(problem)


if __name__ == "__main__":
    sys.exit(main())
