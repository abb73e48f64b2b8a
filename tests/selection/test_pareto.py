"""The Pareto front: what stays, what goes, checked against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from slmlab.selection import pareto_front

SMALL = {"name": "small", "bytes": 90, "perplexity": 14.3}
GOOD = {"name": "good", "bytes": 145, "perplexity": 11.7}
WASTEFUL = {"name": "wasteful", "bytes": 105, "perplexity": 14.3}
WORST = {"name": "worst", "bytes": 150, "perplexity": 15.0}


def test_a_point_that_another_beats_is_left_out():
    front = pareto_front([WORST, GOOD, WASTEFUL, SMALL], ["bytes", "perplexity"])
    assert front == [GOOD, SMALL]


def test_only_the_named_keys_count():
    assert pareto_front([WORST, GOOD, SMALL], ["bytes"]) == [SMALL]
    assert pareto_front([WORST, GOOD, SMALL], ["perplexity"]) == [GOOD]


def test_equal_points_all_stay():
    assert pareto_front([GOOD, dict(GOOD)], ["bytes", "perplexity"]) == [GOOD, GOOD]


def test_nothing_comes_from_nothing():
    assert pareto_front([], ["bytes"]) == []


points = st.lists(st.fixed_dictionaries({key: st.integers(0, 5) for key in "abc"}), max_size=12)


@given(points)
def test_whoever_is_left_out_is_beaten_by_someone_on_the_front(points):
    front = pareto_front(points, "abc")
    assert all(
        any(all(winner[key] <= point[key] for key in "abc") for winner in front) for point in points
    )


@given(points)
def test_nobody_on_the_front_beats_another(points):
    front = pareto_front(points, "abc")
    for one in front:
        for other in front:
            assert one == other or any(one[key] > other[key] for key in "abc")
