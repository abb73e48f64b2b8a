"""From measurements to a choice: a brief in, ranked choices with their reasons out."""

from slmlab.selection.briefs import Brief, Device, brief, briefs
from slmlab.selection.choice import Choice
from slmlab.selection.choosing import Decision, Excluded, choose, decide
from slmlab.selection.here import this_device
from slmlab.selection.pareto import pareto_front

__all__ = [
    "Brief",
    "Choice",
    "Decision",
    "Device",
    "Excluded",
    "brief",
    "briefs",
    "choose",
    "decide",
    "pareto_front",
    "this_device",
]
