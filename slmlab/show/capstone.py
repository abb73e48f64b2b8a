"""Tables and pictures of lab 13: briefs, choices, what leaves candidates out, and the limits."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import show
from slmlab.measurement import Row
from slmlab.measurement.words import quantity
from slmlab.selection import Brief, Choice, Decision
from slmlab.selection.rules import Finding
from slmlab.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_REQUIREMENTS = (
    "memory",
    "speed",
    "first token",
    "quality",
    "context",
    "languages",
    "licence",
    "offline",
)


def briefs(wanted: Mapping[str, Brief]) -> None:
    """Display what each brief asks for, one row a brief."""
    import pandas as pd

    show.table(pd.DataFrame([_brief(name, brief) for name, brief in wanted.items()]))


def _brief(name: str, brief: Brief) -> dict[str, str]:
    limits = {"open": brief.open_licence, "no terms": not brief.accepts_terms}
    return {
        "brief": name,
        "what": brief.title,
        "memory": quantity(brief.device.memory_bytes, "bytes"),
        "GB/s": f"{brief.device.bandwidth / 1e9:.0f}",
        "languages": ", ".join(brief.languages),
        "context": f"{brief.context:,}",
        "tokens/s": f"{brief.tokens_per_second:g}",
        "users": f"{brief.users}",
        "quality": f"{brief.benchmark} {brief.quality_floor:g}",
        "licence": ", ".join(word for word, asked in limits.items() if asked) or "any",
    }


def choices(decision: Decision, most: int = 5) -> None:
    """Display the first choices of a decision, or a line that says nothing is left."""
    if not decision.choices:
        print(f"Nothing meets {decision.brief.name}; {len(decision.excluded)} were left out.")
        return
    show.table(ranking(decision, most))


def ranking(decision: Decision, most: int = 5) -> "DataFrame":
    """Return the first choices of a decision as a table, one row a choice."""
    import pandas as pd

    return pd.DataFrame([_choice(choice) for choice in decision.choices[:most]])


def _choice(choice: Choice) -> dict[str, Any]:
    how = {row.quantity: row.how for row in choice.numbers}
    benchmark = f"{choice.quality.value:g}, published" if choice.quality else "unknown"
    return {
        "rank": choice.rank,
        "choice": str(choice),
        "memory": f"{quantity(choice.peak_memory_bytes, 'bytes')}, {how['peak memory']}",
        "tokens/s": f"{choice.decode_tokens_per_second:.1f}, {how['decode speed']}",
        "first token": f"{choice.seconds_to_first_token:.1f} s, {how['time to first token']}",
        "benchmark": benchmark,
        "score": "unknown" if choice.score is None else f"{choice.score:.1f}",
    }


def answers(decisions: Mapping[str, Decision]) -> None:
    """Display the answer to each brief, and how many candidates met it."""
    import pandas as pd

    rows = [
        {
            "brief": name,
            "first": str(one.best or "nothing"),
            "memory": quantity(one.best.peak_memory_bytes, "bytes") if one.best else "",
            "tokens/s": f"{one.best.decode_tokens_per_second:.1f}" if one.best else "",
            "met it": f"{len(one.choices)} of {len(one.choices) + len(one.excluded)}",
        }
        for name, one in decisions.items()
    ]
    show.table(pd.DataFrame(rows))


def broken(decisions: Mapping[str, Decision]) -> "Figure":
    """Draw which share of the candidates breaks each requirement, a row a brief."""
    counts = {name: one.broken() for name, one in decisions.items()}
    columns = [name for name in _REQUIREMENTS if any(name in row for row in counts.values())]
    totals = {name: len(one.choices) + len(one.excluded) for name, one in decisions.items()}
    shares = [[counts[name].get(key, 0) / totals[name] for key in columns] for name in counts]
    picture, ax = show.axes(
        "Share of candidates that break a requirement (%)", height=1.4 + 0.36 * len(counts)
    )
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for row, line in enumerate(shares):
        for column, share in enumerate(line):
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(
        range(len(counts)), [f"{name}: {len(decisions[name].choices)} left" for name in counts]
    )
    ax.grid(visible=False)
    return picture


def calibration(reached: Mapping[str, float], guess: Any = ...) -> "Figure":
    """Draw measured over estimated speed for each quantisation; `guess` is for one of them."""
    picture, ax = show.axes(
        "Measured against estimated writing speed",
        "measured / estimated",
        height=1.5 + 0.35 * len(reached),
    )
    bars = ax.barh(list(reached), list(reached.values()), color=COLOURS["blue"])
    ax.bar_label(bars, fmt="%.2f", padding=4)
    ax.axvline(1, color=COLOURS["black"], linewidth=1, label="as estimated")
    ax.set_xlim(0, 1.6 * max(1, *reached.values()))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    show.guess(ax, guess, "times")
    ax.legend(loc="lower right")
    return picture


def limits(rows: Sequence[Row], brief: Brief, chosen: str) -> "Figure":
    """Draw each measured form by memory and speed, with the brief's two limits as lines.

    What lies in the grey breaks a limit; `chosen` is the quantisation that was chosen.
    """
    picture, ax = show.axes(
        "What was measured, and the limits of the brief",
        "peak memory (MB)",
        "tokens per second",
    )
    memory, speed = brief.device.memory_bytes / 1e6, brief.tokens_per_second
    for row in rows:
        is_chosen = row.precision == chosen
        x, y = row.peak_memory_bytes / 1e6, row.decode_tokens_per_second
        colour = COLOURS["vermilion" if is_chosen else "blue"]
        ax.plot(x, y, "o", color=colour, markersize=9)
        words = f"{row.precision}{' (chosen)' if is_chosen else ''}"
        ax.annotate(words, (x, y), (7, 5), textcoords="offset points", fontsize=9)
    right = 1.35 * max(row.peak_memory_bytes for row in rows) / 1e6
    is_beyond = memory > right
    dotted = {"color": COLOURS["black"], "linewidth": 1, "linestyle": ":"}
    label = f"at most {memory:,.0f} MB{', far to the right' if is_beyond else ''}"
    ax.axvline(memory, label=label, **dotted)
    ax.axvspan(memory, max(memory, right), color="#bbbbbb", alpha=0.5)
    ax.axhline(speed, color=COLOURS["black"], linewidth=1, label=f"at least {speed:.3g} tokens/s")
    ax.axhspan(0, speed, color="#bbbbbb", alpha=0.5)
    ax.set_xlim(0, right)
    ax.set_ylim(0, 1.25 * max(speed, *(row.decode_tokens_per_second for row in rows)))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.1))
    return picture


def findings(found: Sequence[Finding]) -> None:
    """Display each rule of thumb, whether it holds, and the numbers that say so."""
    import pandas as pd

    rows = [
        {
            "rule": finding.rule,
            "here": finding.verdict,
            "why": finding.why,
            "how": finding.how,
        }
        for finding in found
    ]
    show.table(pd.DataFrame(rows))
