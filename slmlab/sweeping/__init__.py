"""Many measurements from one plan: models, quantisations, engines, texts and repetitions."""

from slmlab.sweeping.plan import Plan, read_plan
from slmlab.sweeping.results import Result, finished, read_result
from slmlab.sweeping.running import Sweep, sweep
from slmlab.sweeping.summary import SweepRow, as_data, disagreements, summary
from slmlab.sweeping.task import Task

__all__ = [
    "Plan",
    "Result",
    "Sweep",
    "SweepRow",
    "Task",
    "as_data",
    "disagreements",
    "finished",
    "read_plan",
    "read_result",
    "summary",
    "sweep",
]
