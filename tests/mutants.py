"""Break ten key functions, one at a time, and see that the suite notices each.

    python tests/mutants.py [--fast]

Each mutation is made in a copy of the repository, never in this one; the tests that must notice
run there in a process of their own. `--fast` leaves out the mutations whose tests take long.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS_FAILED = 1  # pytest's exit code; 2 and above mean that it could not run them


@dataclass(frozen=True)
class Mutation:
    """A change of one place in one file, and the tests that must fail because of it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    fast: bool = True


MUTATIONS = (
    Mutation(
        "two quantisation types are swapped",
        "slmlab/quantization/llama_quantize.py",
        'f"LLAMA_FTYPE_MOSTLY_{type}"',
        '"LLAMA_FTYPE_MOSTLY_" + {"Q4_0": "Q2_K", "Q2_K": "Q4_0"}.get(type, type)',
        ("tests/quantization/test_rules.py::test_rules_for_other_shapes",),
        fast=False,
    ),
    Mutation(
        "two fall-backs are swapped",
        "slmlab/quantization/rules.py",
        '"Q4_K": "Q5_0",\n    "Q5_K": "Q5_1",',
        '"Q4_K": "Q5_1",\n    "Q5_K": "Q5_0",',
        ("tests/quantization/test_rules.py::test_a_row_that_blocks_do_not_fill_falls_back",),
    ),
    Mutation(
        "perplexity scores all tokens",
        "slmlab/measurement/quality.py",
        "first = len(chunk) // 2",
        "first = 0",
        ("tests/measurement/test_quality.py::test_only_the_second_half_of_a_chunk_is_scored",),
    ),
    Mutation(
        "a recorded number looks measured",
        "slmlab/measurement/words.py",
        'return row.how + origin.get(row.how, "")',
        'return "measured" + origin.get(row.how, "")',
        ("tests/test_show.py::test_only_what_was_measured_here_looks_measured",),
    ),
    Mutation(
        "every answer passes",
        "slmlab/lessons/question.py",
        "self.judge(answer, *measured)",
        "pass",
        (
            "tests/lessons/test_question.py::test_an_answer_gets_its_verdict_and_message",
            "tests/lessons/test_questions.py::test_each_wrong_answer_gets_its_own_message",
        ),
    ),
    Mutation(
        "every head counts as a KV head",
        "slmlab/tiers.py",
        "a.heads * a.head_size, a.kv_heads * a.head_size",
        "a.heads * a.head_size, a.heads * a.head_size",
        ("tests/test_tiers.py::test_the_architecture_gives_the_published_parameter_count",),
    ),
    Mutation(
        "the hash of a fetched file is ignored",
        "slmlab/acquisition/fetching.py",
        "if actual != expected:",
        "if False:",
        ("tests/acquisition/test_fetching.py",),
        fast=False,
    ),
    Mutation(
        "a tensor may end beyond the file",
        "slmlab/gguf.py",
        "if tensor.offset + tensor.bytes > len(reader.data):",
        "if False:",
        ("tests/test_gguf.py::test_damage_is_named_in_one_sentence",),
    ),
    Mutation(
        "bits per weight are what the label promises",
        "slmlab/gguf.py",
        "bits_per_weight=8 * sum(tensor.bytes for tensor in header.tensors) / parameters",
        "bits_per_weight=4.5",
        ("tests/test_gguf.py::test_inspect_reports_what_the_file_is",),
    ),
    Mutation(
        "a parameter that a lab does not have is ignored",
        "slmlab/notebooks/run.py",
        "if name not in known:",
        "if False:",
        (
            "tests/notebooks/test_run.py::"
            "test_what_a_lab_does_not_know_is_refused_before_anything_runs",
        ),
    ),
)


def copy(folder: Path) -> Path:
    """Copy what the tests need into a folder and return the copy's root."""
    for name in ("slmlab", "tests", "data", "labs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(root: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run some tests of a copy with its own package and cache; return exit code and output."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SLMLAB_CACHE": str(root / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def is_noticed(root: Path, mutation: Mutation) -> bool:
    """Break a copy, run the tests that must notice, and mend it again.

    Raises `ValueError` where the code to break is not there exactly once, or where the tests
    could not be run: then the mutation has to follow the code.
    """
    path = root / mutation.file
    whole = path.read_text("utf-8")
    if whole.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} holds {whole.count(mutation.old)} x {mutation.old!r}")
    path.write_text(whole.replace(mutation.old, mutation.new), "utf-8")
    try:
        code, output = run_tests(root, mutation.tests)
    finally:
        path.write_text(whole, "utf-8")
    if code not in (0, TESTS_FAILED):
        raise ValueError(f"The tests of {mutation.name!r} could not be run:\n{output}")
    return code == TESTS_FAILED


def main(fast: bool) -> int:
    """Try the mutations, print what became of each, and return 1 if one went unnoticed."""
    chosen = [mutation for mutation in MUTATIONS if mutation.fast or not fast]
    with tempfile.TemporaryDirectory(prefix="slmlab-mutants-") as folder:
        root = copy(Path(folder))
        code, output = run_tests(root, [test for mutation in chosen for test in mutation.tests])
        if code:
            print(output, "The tests fail before anything is broken.", sep="\n")
            return 1
        unnoticed = 0
        for mutation in chosen:
            noticed = is_noticed(root, mutation)
            unnoticed += not noticed
            print(f"{'noticed' if noticed else 'MISSED':<8}  {mutation.name}", flush=True)
    print(f"{len(chosen) - unnoticed} passed, {unnoticed} failed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main(fast="--fast" in sys.argv[1:]))
