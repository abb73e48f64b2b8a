"""Olive runs once for each workflow, silently, and its failures are told."""

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from slmlab import environments, files, machine, olive
from slmlab.errors import EngineError, NoRoom, NotPossibleHere

TRACEBACK = """
Traceback (most recent call last):
  File "engine.py", line 439, in _run_search
ValueError: `logits` not found in model output.
[INFO] Save footprint
"""


class FakeOlive:
    """An environment that writes what Olive would, or only a log."""

    def __init__(self, path, log="", footprint=True):
        self.path, self.log, self.footprint = path, log, footprint
        self.calls = []

    def run(self, arguments, *, env=None, timeout=None, cwd=None):
        workflow = json.loads(arguments[-1].read_text())
        self.calls.append(SimpleNamespace(arguments=arguments, env=env, cwd=cwd, workflow=workflow))
        assert not any(cwd.iterdir())
        if self.footprint:
            self._write(workflow)
        return subprocess.CompletedProcess(arguments, 0, stdout="", stderr=self.log)

    def _write(self, workflow):
        folder = self.path.parent / "models"
        folder.mkdir(parents=True, exist_ok=True)
        made = {"config": {"model_path": str(folder)}}
        metrics = {"value": {"size-bytes": {"value": 7, "priority": -1}}}
        models = {
            "a": _model(None, None, metrics),
            "b": _model("modelbuilder", made, None),
            "c": _model("rename", made, metrics),
        }
        output = Path(workflow["output_dir"])
        (output / "footprint.json").write_text(json.dumps(models))
        (output / "model_config.json").write_text("{}")


def _model(made_by, config, metrics):
    return {
        "from_pass": made_by,
        "model_config_data": config,
        "pass_run_config": {"bits": 4, "axis": None} if made_by else None,
        "metrics": metrics,
        "is_pareto_frontier": made_by == "rename",
        "start_time": 10.0,
        "end_time": 12.5,
    }


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Give a function that puts a fake Olive in place and returns it."""
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))

    def put(**how):
        environment = FakeOlive(tmp_path / "environments" / "olive-abc", **how)
        monkeypatch.setattr(environments, "ensure", lambda name: environment)
        return environment

    return put


def workflow(tmp_path, quantizer="INT8 dynamic"):
    return olive.optimizing(tmp_path / "a-model", quantizer)


def test_it_is_the_olive_command_that_runs(fake, tmp_path):
    environment = fake()
    olive.run(workflow(tmp_path))
    assert environment.calls[0].arguments[:4] == ["-m", "olive", "run", "--config"]


def test_nothing_is_sent_and_nothing_downloaded(fake, tmp_path):
    environment = fake()
    olive.run(workflow(tmp_path))
    sent = environment.calls[0].env
    assert sent["OLIVE_DISABLE_TELEMETRY"] == sent["CI"] == sent["HF_HUB_OFFLINE"] == "1"


def test_a_workflow_runs_once(fake, tmp_path):
    environment = fake()
    first, again = olive.run(workflow(tmp_path)), olive.run(workflow(tmp_path))
    assert (first.reused, again.reused) == (False, True)
    assert again.seconds == first.seconds
    olive.run(workflow(tmp_path, "INT8 static"))
    assert len(environment.calls) == 2


def test_it_runs_again_where_its_model_has_changed(fake, tmp_path):
    environment = fake()
    weights = tmp_path / "a-model" / "model.safetensors"
    weights.parent.mkdir()
    for contents in ("old", "new weights", "new weights"):
        if not weights.exists() or weights.read_text() != contents:
            weights.write_text(contents)
        last = olive.run(workflow(tmp_path))
    assert last.reused
    assert len(environment.calls) == 2
    os.utime(weights, (1, 1))
    assert not olive.run(workflow(tmp_path)).reused


def test_it_runs_again_where_a_model_that_it_made_is_gone(fake, tmp_path):
    environment = fake()
    olive.run(workflow(tmp_path))
    steps = Path(environment.calls[0].workflow["cache_dir"])
    record = steps / "default_workflow" / "runs" / "b" / "run.json"
    record.parent.mkdir(parents=True)
    record.touch()
    assert olive.run(workflow(tmp_path)).reused
    (tmp_path / "environments" / "models").rmdir()
    assert not olive.run(workflow(tmp_path)).reused
    assert not record.exists(), "Olive would not make again what it remembers"


def test_what_a_killed_workflow_left_goes_with_the_next_one_whichever_it_is(fake, tmp_path):
    environment = fake()
    left = tmp_path / "olive" / environment.path.name / f".another.{'0f' * 16}.part"
    (left / "output").mkdir(parents=True)
    olive.run(workflow(tmp_path))
    assert not left.exists()


def test_steps_are_read_from_what_olive_wrote(fake, tmp_path):
    fake()
    made = olive.run(workflow(tmp_path))
    assert [step.made_by for step in made.steps] == ["", "modelbuilder", "rename"]
    assert [step.made_by for step in made.evaluated] == ["", "rename"]
    assert made.steps[1].settings == {"bits": 4}
    assert made.steps[1].seconds == 2.5
    assert made.steps[2].metrics == {"size-bytes": 7}
    assert made.steps[2].on_front


def test_a_failure_that_olive_only_logs_is_raised(fake, tmp_path):
    fake(log=TRACEBACK)
    with pytest.raises(EngineError, match=r"export, quantise\): `logits` not found in model"):
        olive.run(workflow(tmp_path))


def test_a_run_without_a_result_is_a_failure(fake, tmp_path):
    fake(footprint=False)
    with pytest.raises(EngineError, match="no model and no reason"):
        olive.run(workflow(tmp_path))


@pytest.mark.parametrize("weights", ["model.safetensors", "model.onnx.data"])
def test_a_disk_that_is_too_full_is_seen_before_olive_runs(fake, tmp_path, monkeypatch, weights):
    environment = fake()
    (tmp_path / "a-model").mkdir()
    (tmp_path / "a-model" / weights).write_bytes(bytes(1000))
    monkeypatch.setattr(files, "free_bytes", lambda _: 4999)
    with pytest.raises(NoRoom, match="An Olive workflow needs"):
        olive.run(workflow(tmp_path))
    assert not environment.calls


def test_too_little_memory_is_foreseen(fake, tmp_path, monkeypatch):
    environment = fake()
    (tmp_path / "a-model").mkdir()
    (tmp_path / "a-model" / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 4999)
    with pytest.raises(NotPossibleHere, match=r"An Olive workflow needs about .* of memory"):
        olive.run(workflow(tmp_path))
    with pytest.raises(NotPossibleHere, match="of memory"):
        olive.ready(tmp_path / "a-model")
    assert not environment.calls


def test_a_failed_run_is_not_kept(fake, tmp_path):
    fake(log=TRACEBACK)
    with pytest.raises(EngineError):
        olive.run(workflow(tmp_path))
    fake()
    assert not olive.run(workflow(tmp_path)).reused
