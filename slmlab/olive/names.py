"""The names in a widely copied Olive program, and what stands for each in today's Olive.

The program is in microsoft/edgeai-for-beginners, Module03/01.SLMAdvancedLearning.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from slmlab import environments
from slmlab.olive.running import OFFLINE_AND_SILENT

_LOOKUP = Path(__file__).with_name("lookup.py")
_NAMES = {
    # As in `lookup.py`; beside each its successor.
    "olive.model:PyTorchModel": "olive.model:PyTorchModelHandler",
    "olive.model:ONNXModel": "olive.model:ONNXModelHandler",
    "olive.workflows:run_workflow": "olive.workflows:run",
    "pass:OrtTransformersOptimization": "pass:OrtTransformersOptimization",
    "pass:OrtQuantization": "pass:OnnxStaticQuantization",
    "pass:OrtQuantization.weight_type": "pass:OnnxStaticQuantization.precision",
    "olive.engine.config:RunPassConfig.disable_search": (
        "olive.engine.config:EngineConfig.search_strategy"
    ),
    "olive.engine.output:WorkflowOutput.optimized_model": (
        "olive.engine.output:WorkflowOutput.get_best_candidate"
    ),
}


@dataclass(frozen=True)
class OldName:
    """A name that lessons print and its successor, and whether the installed Olive has each."""

    old: str
    old_exists: bool
    today: str
    today_exists: bool


def names_today() -> list[OldName]:
    """Look up the program's names, and their successors, in the installed Olive.

    Raises `EnvironmentFailed` where Olive cannot be installed.
    """
    keys = [*_NAMES, *_NAMES.values()]
    process = environments.ensure("olive").run([_LOOKUP, *keys], env=OFFLINE_AND_SILENT)
    found = dict(zip(keys, json.loads(process.stdout.splitlines()[-1]), strict=True))
    return [
        OldName(_readable(old), found[old], _readable(today), found[today])
        for old, today in _NAMES.items()
    ]


def _readable(key: str) -> str:
    kind, _, name = key.partition(":")
    return f"the pass {name}" if kind == "pass" else f"{kind}.{name}"
