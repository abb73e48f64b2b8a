"""How far a learner has come: which questions of which lab are answered."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from slmlab.errors import UsageError
from slmlab.show.widgets.panel import Panel, View, button, dropdown, scrolling, sentence, table

ALL = "all labs"
Asked = Mapping[str, Sequence[str]]
Kept = Mapping[str, Mapping[str, Any]]


def course_progress(asked: Asked, read: Callable[[], Kept]) -> Panel:
    """Return a widget that shows the progress `read` gives, now and whenever it is asked to.

    `asked` names the questions of each lab, such as "tiers.q1".
    """
    lab = dropdown("Lab", [ALL, *asked], ALL, "One lab in detail, or all of them")
    again = button("Read again", "Read the progress again, after you answered something")
    panel = Panel("Your progress", [lab, again])
    again.on_click(lambda _: panel.draw(lambda: progress_view(asked, read(), lab.value)))
    panel.follow([lab], lambda name: progress_view(asked, read(), name))
    return panel


def progress_view(asked: Asked, kept: Kept, lab: str = ALL) -> View:
    """Return how many questions of each lab are answered, or what came of each one of a lab.

    Raises `UsageError` for a lab that is not in `asked`.
    """
    if lab not in (ALL, *asked):
        raise UsageError(f"There is no lab {lab!r}; choose {', '.join(asked)}.")
    correct = sum(_is_correct(kept, question) for lab in asked.values() for question in lab)
    total = sum(map(len, asked.values()))
    said = sentence(f"{correct} of {total} questions are answered correctly.")
    return said + (_all_labs(asked, kept) if lab == ALL else _one_lab(lab, asked[lab], kept))


def _all_labs(asked: Asked, kept: Kept) -> View:
    counts = {
        lab: (
            sum(_is_correct(kept, question) for question in questions),
            sum(question in kept for question in questions),
            len(questions),
        )
        for lab, questions in asked.items()
    }
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left; font-weight: normal">{escape(lab)}</th>'
        f'<td><progress value="{correct}" max="{total}" aria-label="{escape(lab)}"></progress></td>'
        f'<td style="text-align: left">{correct} of {total}</td><td>{tried}</td></tr>'
        for lab, (correct, tried, total) in counts.items()
    )
    heads = "".join(
        f'<th scope="col" style="text-align: left">{name}</th>'
        for name in ("lab", "progress", "correct", "tried")
    )
    html = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    text = "\n".join(
        f"{lab}: {correct} of {total} correct, {tried} tried"
        for lab, (correct, tried, total) in counts.items()
    )
    return View(scrolling(html, "Questions answered in each lab"), text)


def _one_lab(lab: str, questions: Sequence[str], kept: Kept) -> View:
    rows = [
        {
            "question": question,
            "outcome": kept.get(question, {}).get("outcome", "not attempted"),
            "tries": kept.get(question, {}).get("attempts", 0),
        }
        for question in questions
    ]
    return table(pd.DataFrame(rows), f"The questions of {lab}")


def _is_correct(kept: Kept, question: str) -> bool:
    return kept.get(question, {}).get("outcome") == "correct"
