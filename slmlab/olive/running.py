"""Running `olive` in its environment, once for each workflow, and reading what it wrote."""

import hashlib
import json
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slmlab import environments
from slmlab.environments import Environment
from slmlab.errors import EngineError
from slmlab.files import cache_path, check_room, locked, sha256, weight_bytes, whole_folder
from slmlab.machine import check_memory
from slmlab.olive.workflows import INSIDE, TEXT

OFFLINE_AND_SILENT = {
    "HF_HUB_OFFLINE": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    # Olive 0.13 reads the line above only after its first message is on the way; on a machine
    # for continuous integration it sends none at all.
    "CI": "1",
}
_PEAK, _FILES = 5, 5
"""Memory and disk that a workflow takes, in sizes of the model that it starts from, in float32."""

_EXCEPTION = re.compile(r"([\w.]+\.)?\w*(Error|Exception): ?(?P<reason>.*)")


@dataclass(frozen=True)
class Step:
    """A model that one pass of a workflow made.

    `made_by` is the name of the pass in lower case, as Olive writes it, and `settings` are its
    settings that are not None; of the model that a workflow got, they are empty. `folder` holds
    the model; `seconds` are those of the pass alone. `metrics` is what the workflow's evaluator
    found, such as `{"token-avg": 52.6}`: latencies in milliseconds, sizes in bytes. They are
    empty where there was no evaluator.
    """

    made_by: str
    settings: dict[str, Any]
    folder: Path
    seconds: float
    metrics: dict[str, float]
    on_front: bool


@dataclass(frozen=True)
class Run:
    """A finished workflow: the folder of the model it gave, and every step.

    `seconds` is how long `olive run` took, when it ran; `reused` says that this was earlier.
    A search gives several models and `model` is None.
    """

    model: Path | None
    steps: tuple[Step, ...]
    seconds: float
    reused: bool

    @property
    def evaluated(self) -> tuple[Step, ...]:
        """The models that the workflow's evaluator looked at, in order; first the one it got."""
        return tuple(step for step in self.steps if step.metrics)


def ready(source: Path) -> None:
    """Make Olive's environment if need be, and foresee whether workflows on a model fit here.

    Raises `NotPossibleHere` where there is too little memory or disk, or no way to install Olive.
    """
    _foresee(source)
    environments.ensure("olive")


def run(workflow: dict[str, Any]) -> Run:
    """Run a workflow with `olive run --config`, or return what it gave earlier.

    Olive keeps its steps in the cache, so a pass that two workflows share runs once; a finished
    workflow is kept under its contents and the state of its model's files, and runs again where a
    model that it made is gone. Raises `EnvironmentFailed` where Olive cannot be installed,
    `NotPossibleHere` where memory is too small, and `EngineError` with Olive's reason where it
    fails.
    """
    environment = environments.ensure("olive")
    home = cache_path("olive", environment.path.name)
    folder = home / _key(workflow)
    output = folder / "output"
    with locked(home):
        reused = folder.exists() and not _forget_lost(output / "footprint.json", home / "steps")
        if not reused:
            shutil.rmtree(folder, ignore_errors=True)
            with whole_folder(folder) as aside:
                _run(environment, workflow, home / "steps", aside)
    seconds = json.loads((folder / "seconds.json").read_text("utf-8"))
    model = output if (output / "model_config.json").exists() else None
    source = Path(workflow["input_model"]["model_path"])
    return Run(model, _steps(output / "footprint.json", source), seconds, reused)


def _foresee(source: Path) -> None:
    weights = weight_bytes(source)
    check_memory(_PEAK * weights, "An Olive workflow")
    check_room(_FILES * weights, cache_path("olive"), "An Olive workflow")


def _key(workflow: dict[str, Any]) -> str:
    """Name a workflow by everything it depends on besides Olive."""
    source = Path(workflow["input_model"]["model_path"])
    states = ((file, file.stat()) for file in sorted(source.rglob("*")) if file.is_file())
    files = [[str(file), state.st_size, state.st_mtime_ns] for file, state in states]
    parts = [json.dumps([workflow, files], sort_keys=True), sha256(INSIDE), sha256(TEXT)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _forget_lost(footprint: Path, steps: Path) -> bool:
    """Return whether a model of a footprint is gone, and let Olive forget that it had made it."""
    models = json.loads(footprint.read_text("utf-8"))
    lost = [name for name, model in models.items() if (path := _path(model)) and not path.exists()]
    for name in lost:
        for record in steps.glob(f"*/runs/{name}"):
            shutil.rmtree(record)
    return bool(lost)


def _run(environment: Environment, workflow: dict[str, Any], steps: Path, folder: Path) -> None:
    output = folder / "output"
    where = {
        "cache_dir": str(steps),
        "output_dir": str(output),
        "clean_evaluation_cache": True,  # Olive would reuse what another evaluator had found
    }
    _foresee(Path(workflow["input_model"]["model_path"]))
    output.mkdir(parents=True)
    (folder / "workflow.json").write_text(json.dumps(workflow | where, indent=2), "utf-8")
    passes = ", ".join(workflow["passes"])
    print(f"Olive is running ({passes}); this takes up to a minute or two.", file=sys.stderr)
    # In a folder of its own, for Olive takes "int8" for a path where a file has that name.
    with TemporaryDirectory(dir=folder) as scratch:
        started = time.monotonic()
        process = environment.run(
            ["-m", "olive", "run", "--config", folder / "workflow.json"],
            env=OFFLINE_AND_SILENT | {"TMPDIR": scratch, "HF_HOME": scratch},
            cwd=Path(scratch),
        )
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - started), "utf-8")
    log = process.stdout + process.stderr
    if "Traceback" in log or not (output / "footprint.json").exists():
        raise EngineError(f"Olive could not finish the workflow ({passes}): {_reason(log)}")


def _reason(log: str) -> str:
    """Return why Olive failed; it ends with code 0 all the same, and tells only its log."""
    raised = [match["reason"] for match in map(_EXCEPTION.match, log.splitlines()) if match]
    return next((reason for reason in reversed(raised) if reason), "it gave no model and no reason")


def _steps(footprint: Path, source: Path) -> tuple[Step, ...]:
    models = json.loads(footprint.read_text("utf-8")).values()
    return tuple(_step(model, source) for model in models if model["from_pass"] or model["metrics"])


def _step(model: dict[str, Any], source: Path) -> Step:
    path = _path(model) or source
    settings = model["pass_run_config"] or {}
    found = (model["metrics"] or {}).get("value", {})
    return Step(
        made_by=model["from_pass"] or "",
        settings={name: value for name, value in settings.items() if value is not None},
        folder=path if path.is_dir() else path.parent,
        seconds=model["end_time"] - model["start_time"],
        metrics={name: metric["value"] for name, metric in found.items()},
        on_front=model["is_pareto_frontier"],
    )


def _path(model: dict[str, Any]) -> Path | None:
    """Return where a model of a footprint lies, or None of the one that a workflow got."""
    made = model["model_config_data"]
    return Path(made["config"]["model_path"]) if made else None
