"""The house style that a machine can check."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    *("torch", "transformers", "llama_cpp", "mlx", "onnxruntime", "numpy", "pandas", "matplotlib"),
    *("huggingface_hub", "nbformat", "ipywidgets", "httpx2"),
)


def run(*command):
    program = shutil.which(command[0], path=sysconfig.get_path("scripts"))
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_nothing_below_looks_up():
    code, said = run("lint-imports", "--no-cache")
    assert code == 0, said


def test_ruff_finds_nothing():
    code, said = run("ruff", "check", "--no-cache", "slmlab", "tests", "labs")
    assert code == 0, said


def test_everything_is_formatted():
    code, said = run("ruff", "format", "--no-cache", "--check", "slmlab", "tests", "labs")
    assert code == 0, said


@pytest.mark.parametrize(
    "start",
    ["import slmlab", "import slmlab.cli", "import slmlab.cli; slmlab.cli.main(['--help'])"],
)
def test_a_command_starts_without_waiting_for_heavy_packages(start):
    found = f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    code = f"import sys\ntry:\n {start}\nfinally:\n {found}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
