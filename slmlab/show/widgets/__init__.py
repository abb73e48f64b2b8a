"""Widgets for a notebook: each lets a learner turn the knobs of something the labs show.

Each is optional, and each has a plain call that returns the same view for values given in code:
`tier_view`, `cost_view`, `form_view`, `side_by_side`, `progress_view` and `decision_view`.
"""

from slmlab.show.widgets.chatting import chat, side_by_side
from slmlab.show.widgets.choosing import chooser, decision_view
from slmlab.show.widgets.costs import calculator, cost_view
from slmlab.show.widgets.progress import course_progress, progress_view
from slmlab.show.widgets.quantization import Form, form_view, quantization_explorer
from slmlab.show.widgets.tiers import tier_explorer, tier_view

__all__ = [
    "Form",
    "calculator",
    "chat",
    "chooser",
    "cost_view",
    "course_progress",
    "decision_view",
    "form_view",
    "progress_view",
    "quantization_explorer",
    "side_by_side",
    "tier_explorer",
    "tier_view",
]
