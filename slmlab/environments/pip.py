"""Calling pip: without questions, and with its temporary files where they go with the rest."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from slmlab.environments.guarded import IDLE, finish, last_words

PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index, which alone has its build for CPUs on Linux."""

FROM_PYTORCH = ("--no-deps", "--retries", "0", "--timeout", "15", "--index-url", PYTORCH_CPU)
"""What makes pip take PyTorch from there, and give up soon where that cannot be reached."""

CUDA = "torch/lib/libtorch_cuda.so"
"""What only PyTorch's build for CUDA has, in a wheel and among the packages."""

PATIENCE = 300.0
"""Seconds after which an idle pip is ended; left alone, it waits as long as a Retry-After says."""

ELSEWHERE = "connect to a network, or name another package index in PIP_INDEX_URL"
"""What to do where pip gets nothing from the package index."""

_TROUBLES = {
    "DO NOT MATCH THE HASHES|^ERROR: Wheel .* is invalid|end-of-stream marker": "a package that "
    "came is not the one that was promised, or was damaged on the way",
    r"HTTP error (429|5\d\d)|too many 5\d\d error responses": "the package index is too busy",
    "Exceeded 30 redirects": "the package index redirects without end",
    r"^(?!WARNING: Retrying).*([Cc]onnection (broken|interrupted)|Max retries exceeded|"
    r"Read timed out|confirming the ssl certificate)|"
    r"^WARNING: Retrying [\s\S]*\(from versions: none\)": "pip could not reach a package index",
    r"requirement (\S+) .*\(from versions: none\)": r"No matching distribution found for "
    r"\1, or the package index cannot answer now",
}
"""What is wrong with the package index where the log of a pip, old or new, shows a sign of it."""

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
        return finish(command(*arguments), variables(Path(temporary), env), idle=PATIENCE)


def why(code: int, log: str) -> str:
    """Return in a clause why pip failed."""
    return trouble(code, log) or last_words(code, log).removeprefix("ERROR: ")


def trouble(code: int, log: str) -> str | None:
    """Return in a clause what is wrong with the package index, or None where pip names nothing.

    The end of a log does not say it: pip may end with a hint, a hash or a traceback.
    """
    if code == IDLE:
        return f"the package index keeps pip waiting for more than {PATIENCE:.0f} s"
    for sign, meaning in _TROUBLES.items():
        if found := re.search(sign, log, re.MULTILINE):
            return found.expand(meaning)
    return None
