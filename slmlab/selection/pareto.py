"""Leave out whatever something else beats in every way."""

from collections.abc import Mapping, Sequence
from typing import Any

Point = Mapping[str, Any]


def pareto_front(points: Sequence[Point], minimise: Sequence[str]) -> list[Point]:
    """Return the points that no other point beats, in the order given.

    One point beats another if it is nowhere larger under the keys in `minimise` and somewhere
    smaller; equal points all stay. For a value that should be large, give its negative.
    """

    def beats(one: Point, other: Point) -> bool:
        pairs = [(one[key], other[key]) for key in minimise]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [point for point in points if not any(beats(other, point) for other in points)]
