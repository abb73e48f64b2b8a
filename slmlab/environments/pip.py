"""Calling pip: without questions, and with its temporary files where they go with the rest."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from slmlab.environments.guarded import finish, last_words

PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index, which alone has its build for CPUs on Linux."""

FROM_PYTORCH = ("--no-deps", "--retries", "0", "--timeout", "15", "--index-url", PYTORCH_CPU)
"""What makes pip take PyTorch from there, and give up soon where that cannot be reached."""

CUDA = "torch/lib/libtorch_cuda.so"
"""What only PyTorch's build for CUDA has, in a wheel and among the packages."""

_QUIET = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COLOR": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
}


def command(*arguments: str | Path) -> list[str | Path]:
    """Return the command that runs our pip with `arguments`."""
    return [sys.executable, "-m", "pip", *arguments]


def variables(temporary: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables, else ours, of a quiet pip whose temporary files lie in a folder.

    What a killed pip leaves there goes when the folder goes.
    """
    return {**(env or os.environ), **_QUIET, "TMPDIR": str(temporary)}


def run(
    arguments: Sequence[str | Path], beside: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pip to its end; its temporary files lie in a folder in `beside` and go with it."""
    with TemporaryDirectory(dir=beside, prefix=".pip-") as temporary:
        return finish(command(*arguments), variables(Path(temporary), env))


def why(code: int, log: str) -> str:
    """Return in a line why pip failed."""
    return last_words(code, log).removeprefix("ERROR: ")
