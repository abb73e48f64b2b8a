"""The questions of the course, one module a lab, and their checker."""

import importlib

from slmlab.lessons.question import Question


def questions(unit: str) -> list[Question]:
    """Return the questions of one lab, such as `tiers`, in the order they are asked."""
    module = importlib.import_module(f"slmlab.lessons.{unit}")
    return [value for value in vars(module).values() if isinstance(value, Question)]
