"""What a learner sees: every picture has words, every number says where it is from."""

import base64
import math

import pandas as pd
import pytest
from IPython.utils.capture import capture_output

from slmlab import show
from slmlab.measurement.record import Measurement


@pytest.fixture
def shown(monkeypatch):
    """Collect what would be displayed, as (data, metadata)."""
    collected = []

    def display(data, metadata=None, raw=False):
        assert raw
        collected.append((data, metadata or {}))

    monkeypatch.setattr("IPython.display.display", display)
    return collected


def number(how, **values):
    defaults = {"subject": "Q4_0", "quantity": "size", "value": 91_700_000, "unit": "bytes"}
    if how in ("measured", "recorded"):
        defaults |= {"machine": "a machine", "date": "2026-11-22", "versions": {"slmlab": "0.1"}}
    return Measurement(**{"how": how, **defaults, **values})


def test_a_picture_is_a_png_that_carries_its_words_in_both_forms(shown):
    fig, ax = show.axes("Speed", "size (MB)", "tokens/s")
    ax.plot([1, 2], [2, 1])
    show.figure(fig, 'It falls by "half" & more.')
    [(data, metadata)] = shown
    png = base64.b64decode(data["image/png"])
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
    assert metadata["image/png"]["alt"] == 'It falls by "half" & more.'
    assert 'alt="It falls by &quot;half&quot; &amp; more."' in data["text/html"]
    assert data["image/png"] in data["text/html"]
    assert "It falls" in data["text/plain"]


@pytest.mark.parametrize("alt", ["", "  "])
def test_a_picture_without_words_is_refused(alt):
    fig, _ = show.axes("Speed")
    with pytest.raises(ValueError, match="text alternative"):
        show.figure(fig, alt)


def test_a_picture_has_title_and_labelled_axes():
    _, ax = show.axes("Speed", "size (MB)", "tokens/s")
    assert ax.get_title(loc="left") == "Speed"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("size (MB)", "tokens/s")


def test_a_guess_is_a_dashed_line_and_an_untouched_one_is_left_out():
    _, ax = show.axes("Speed")
    show.guess(ax, ..., "MB")
    assert not ax.lines and ax.get_legend() is None
    show.guess(ax, 1200, "MB")
    assert ax.lines[0].get_linestyle() == "--"
    assert ax.lines[0].get_label() == "your guess: 1,200 MB"
    show.guess(ax, 3, "tokens/s", axis="y")
    assert list(ax.lines[1].get_ydata()) == [3, 3]


@pytest.mark.parametrize(
    ("value", "unit", "spread", "text"),
    [
        (98_362_432, "bytes", None, "98.36 MB"),
        (4_200_000_000, "bytes", 100_000_000, "4.20 ± 0.10 GB"),
        (512, "bytes", None, "512 bytes"),
        (11.6371, "", 0.4321, "11.64 ± 0.43"),
        (753.4, "tokens/s", 120, "753 ± 120 tokens/s"),
        (4.5, "bits", None, "4.500 bits"),
        (134_515_008, "", None, "134,515,008"),
        (1_512_345.6, "", None, "1,512,346"),
        (0.00012345, "nats", None, "0.0001234 nats"),
        (0, "", None, "0"),
        (math.nan, "", None, "nan"),
        (math.inf, "", None, "inf"),
    ],
)
def test_a_number_keeps_the_digits_that_mean_something(value, unit, spread, text):
    assert show.quantity(value, unit, spread) == text


def test_numbers_are_a_table_and_also_data(shown):
    rows = [number("measured", spread=1000.0), number("computed", subject="Q8_0")]
    show.measurements(rows)
    [(data, _)] = shown
    assert [Measurement(**row) for row in data[show.MEASUREMENTS_MIME]] == rows
    for form in ("text/html", "text/plain"):
        assert "91.7000 ± 0.0010 MB" in data[form]
        assert "Measured on a machine; slmlab 0.1; 2026-11-22." in data[form]


def test_a_table_without_numbers_is_only_a_table(shown):
    show.table(pd.DataFrame([{"type": "Q4_0"}]))
    [(data, _)] = shown
    assert set(data) == {"text/html", "text/plain"}
    assert "small" not in data["text/html"]


def test_remarks_stand_between_a_table_and_where_its_numbers_are_from(shown):
    show.table(pd.DataFrame([{"type": "Q4_0"}]), [number("measured")], ["On <two> threads."])
    [(data, _)] = shown
    assert data["text/plain"].splitlines()[2] == "On <two> threads."
    assert data["text/plain"].splitlines()[3].startswith("Measured on")
    assert "On &lt;two&gt; threads." in data["text/html"]


def test_markup_in_a_number_is_only_text(shown):
    show.measurements([number("published", source="<script>")])
    assert "<script>" not in shown[0][0]["text/html"]


def test_only_what_was_measured_here_looks_measured():
    assert show.provenance(number("measured")) == "measured"
    for how, source in (("recorded", ""), ("computed", ""), ("published", "a table")):
        assert "measured" not in show.provenance(number(how, source=source))
    assert show.provenance(number("published", source="a table")) == "published: a table"
    assert "2026-11-22" in show.provenance(number("recorded"))


def test_the_conditions_of_a_number_stand_beside_it():
    row = number("measured", conditions={"chunks": 20, "context": 512})
    assert show.provenance(row) == "measured, chunks 20, context 512"


def test_each_machine_and_date_is_named_once():
    rows = [number("measured"), number("measured"), number("recorded", machine="another")]
    assert len(show.origins(rows)) == 2


def test_an_expected_error_is_shown_as_its_sentence():
    with capture_output() as captured, show.expected_error(ValueError):
        raise ValueError("This is what went wrong.")
    assert captured.stdout == "ValueError: This is what went wrong.\n"


def test_an_error_that_does_not_come_is_not_passed_over():
    with pytest.raises(AssertionError, match="ValueError"), show.expected_error(ValueError):
        pass


def test_another_error_is_not_swallowed():
    with pytest.raises(KeyError), show.expected_error(ValueError):
        raise KeyError("other")
