"""Olive, which optimises ONNX models: its workflows, run in an environment of its own."""

from slmlab.olive.graphs import largest_difference, new_operators, operators
from slmlab.olive.names import OldName, names_today
from slmlab.olive.running import Run, Step, ready, run
from slmlab.olive.workflows import EXPORT, QUANTIZERS, fusing, optimizing, searching

__all__ = [
    "EXPORT",
    "QUANTIZERS",
    "OldName",
    "Run",
    "Step",
    "fusing",
    "largest_difference",
    "names_today",
    "new_operators",
    "operators",
    "optimizing",
    "ready",
    "run",
    "searching",
]
