"""Running Python where another set of packages is installed."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slmlab.environments.guarded import finish, last_words
from slmlab.errors import EngineError

_OURS = re.compile(
    r"PYTHON|VIRTUAL_ENV|__PYVENV|MPLBACKEND$"
    r"|PIP_(TARGET|PREFIX|ROOT|USER|PYTHON|DRY_RUN|CONSTRAINT|REQUIREMENT|EDITABLE)$"
)
"""How variables begin that would let our own packages, or another place to install, leak in."""

_EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")


@dataclass(frozen=True)
class Environment:
    """A Python environment of its own: its name and its folder."""

    name: str
    path: Path

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def variables(self) -> dict[str, str]:
        """Return our environment variables, without those that would let anything leak in."""
        kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
        path = os.pathsep.join([str(self.python.parent), kept.get("PATH", os.defpath)])
        ours_stay_out = {"PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}
        return kept | {"PATH": path, "PYTHONUTF8": "1"} | ours_stay_out

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python with `arguments`, such as `["-m", "olive", "--help"]`.

        `env` is added to `variables()`; `timeout` is in seconds. Output comes back as text.
        What it started and left running is ended with it, also where we are interrupted or
        killed; how something could escape is told in `guarded`. Raises `EngineError` with the
        reason if it fails or takes too long.
        """
        command = [str(self.python), *map(str, arguments)]
        try:
            done = finish(command, self.variables() | dict(env or {}), cwd, timeout)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"A program in the {self.name} environment took longer than {timeout:.0f} s "
                f"and was stopped; ask for less work."
            ) from None
        if done.returncode:
            reason = _reason(done.returncode, done.stderr or done.stdout)
            raise EngineError(f"A program in the {self.name} environment failed: {reason}")
        return done


def _reason(code: int, log: str) -> str:
    """Return the line that tells why a program failed: its last exception, or its last words."""
    lines = [line.strip() for line in log.splitlines()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return raised[-1] if raised and code < 128 else last_words(code, log)
