"""The capstone's chooser: alter a brief, and see what is left and why."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets

from slmlab.errors import UsageError
from slmlab.measurement import Measurement
from slmlab.selection import Brief, Decision, decide
from slmlab.selection.briefs import altered
from slmlab.show import capstone
from slmlab.show.widgets.panel import (
    MOST_TOKENS,
    Panel,
    View,
    button,
    dropdown,
    named,
    number,
    picture,
    sentence,
    sentences,
    table,
)
from slmlab.tiers import DEFAULT_MODEL


def chooser(
    briefs: Mapping[str, Brief],
    measurements: Sequence[Measurement] = (),
    measured_model: str = DEFAULT_MODEL,
) -> Panel:
    """Return a widget that decides a brief, and decides it again after changes.

    `measurements` are the learner's own, as `selection.decide` wants them. Raises `UsageError`
    where there is no brief.
    """
    if not briefs:
        raise UsageError("There is no brief to decide; give at least one, by its name.")
    start = dropdown("Brief", briefs, next(iter(briefs)), "The brief to start from")
    fields = _fields(briefs[start.value])
    again = button("Choose again", "Decide with the values above", button_style="primary")
    panel = Panel("Chooser", [start, *fields.values(), again])

    def decided() -> View:
        values = {name: field.value for name, field in fields.items()}
        brief = _altered(briefs[start.value], values)
        return decision_view(decide(brief, measurements, measured_model))

    def begin(_change: dict) -> None:
        for name, value in _shown(briefs[start.value]).items():
            fields[name].value = value
        panel.draw(decided)

    start.observe(begin, "value")
    again.on_click(lambda _: panel.draw(decided))
    panel.draw(decided)
    return panel


def decision_view(decision: Decision, most: int = 5) -> View:
    """Return the first choices of a decision, what left the others out, and its reasons."""
    met, left_out = len(decision.choices), len(decision.excluded)
    view = sentence(f"{met} of {met + left_out} candidates meet the brief {decision.brief.name}.")
    if decision.best:
        view += table(capstone.ranking(decision, most), "The first choices")
        view += sentences(decision.best.reasons)
    broken = ", ".join(f"{name} {count}" for name, count in decision.broken().items())
    if broken:
        words = f"Shares of the candidates that break each requirement; in numbers: {broken}."
        view += picture(capstone.broken({decision.brief.name: decision}), words)
    if not decision.would_change:
        return view + sentence("No change of one requirement would give another answer.")
    return view + sentence("What would change the answer:") + sentences(decision.would_change)


def _fields(brief: Brief) -> dict[str, ipywidgets.Widget]:
    """Return a control for each requirement that can be altered, by the brief's name of it."""
    start = _shown(brief)
    limits = {
        "memory_bytes": ("Memory, GB", 0.05, 1000.0, "What the device can spare"),
        "bandwidth": ("Bandwidth, GB/s", 0.5, 10_000.0, "How fast the device reads memory"),
        "context": ("Context, tokens", 256, MOST_TOKENS, "One conversation, prompt and answer"),
        "tokens_per_second": ("Tokens per second", 0.1, 1000.0, "What each user gets at least"),
        "quality_floor": ("Points, at least", 0.0, 100.0, "In the brief's benchmark; 0: any"),
        "users": ("Users at once", 1, 1000, "Conversations at the same time"),
    }
    switches = {
        "open_licence": ("Open licence only", "No conditions on what it is used for"),
        "offline": ("Offline", "Nothing comes over a network in use"),
    }
    numbers = {
        name: number(label, start[name], least, most, tooltip)
        for name, (label, least, most, tooltip) in limits.items()
    }
    return numbers | {
        name: ipywidgets.Checkbox(start[name], indent=False, **named(label, tooltip))
        for name, (label, tooltip) in switches.items()
    }


def _shown(brief: Brief) -> dict[str, Any]:
    """Return a brief's values as the controls show them."""
    return {
        "memory_bytes": float(f"{brief.device.memory_bytes / 1e9:.4g}"),
        "bandwidth": float(f"{brief.device.bandwidth / 1e9:.4g}"),
        "context": brief.context,
        "tokens_per_second": float(f"{brief.tokens_per_second:.4g}"),
        "quality_floor": float(brief.quality_floor),
        "users": brief.users,
        "open_licence": brief.open_licence,
        "offline": brief.offline,
    }


def _altered(brief: Brief, values: Mapping[str, Any]) -> Brief:
    """Return the brief with those values that differ from its own."""
    before = _shown(brief)
    changes = {name: value for name, value in values.items() if value != before[name]}
    for name in {"memory_bytes", "bandwidth"} & set(changes):
        changes[name] *= 1e9
    if "bandwidth" in changes:
        changes["fingerprint"] = ""  # no longer the machine that it was
    return altered(brief, **changes)
