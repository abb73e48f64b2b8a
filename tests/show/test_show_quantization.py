"""The pictures of lab 03 say what they are given."""

from slmlab import measurement
from slmlab.show import quantization as pictures

POINTS = {"F16": (270e6, 12.0, 0.5), "Q5_1": (112e6, 14.0, 0.5), "Q4_0": (92e6, 13.0, 0.5)}


def texts(picture):
    """Return every text inside a picture: labels of points, legends and rows."""
    axes = picture.axes[0]
    legends = [*picture.legends, *filter(None, [axes.get_legend()])]
    shown = [*axes.texts, *axes.get_yticklabels(), *(t for one in legends for t in one.get_texts())]
    return [text.get_text().strip() for text in shown]


def test_a_block_shows_each_version_of_its_weights():
    picture = pictures.block([0.1, -0.8], {"Q4_0": [0.1, -0.8], "Q8_0": [0.1, -0.8]})
    assert {"before", "Q4_0", "Q8_0"} <= set(texts(picture))


def test_sizes_are_bars_in_megabytes():
    picture = pictures.sizes({"F16": 270_000_000, "Q4_0": 92_000_000}, 70)
    assert [bar.get_width() for bar in picture.axes[0].patches] == [270, 92]
    assert "your guess: 70 MB" in texts(picture)
    assert not any("guess" in text for text in texts(pictures.sizes({"F16": 1})))


def test_shares_inside_a_file_fill_its_bar_and_unknown_types_count():
    picture = pictures.inside({"A": {"Q4_0": 30, "IQ4_NL": 70}, "B": {"F16": 5}}, {"A": 2, "B": 0})
    assert sum(bar.get_width() for bar in picture.axes[0].patches) == 200
    assert {"A", "B", "Q4_0", "IQ4_NL", "fell back: 2"} <= set(texts(picture))


def test_the_front_is_a_line_through_its_files_only():
    picture = pictures.quality_by_size(POINTS, ["F16", "Q4_0"], "model.gguf", 13.5)
    front = next(line for line in picture.axes[0].lines if line.get_label() == "Pareto front")
    assert list(front.get_xdata()) == [92, 270]
    assert list(front.get_ydata()) == [13, 12]
    assert {*POINTS, "your guess: 13.5"} <= set(texts(picture))
    assert "model.gguf" in picture.axes[0].get_title(loc="left")


def test_the_roof_is_bandwidth_divided_by_size():
    picture = pictures.speed_by_size(POINTS, 27e9)
    roof = next(line for line in picture.axes[0].lines if "roof" in line.get_label())
    assert roof.get_xdata()[-1] == 270
    assert roof.get_ydata()[-1] == 100


def test_published_computed_and_measured_stand_side_by_side():
    rows = [
        measurement.published("M", "Q4_0", 2e9, "bytes", "a table"),
        measurement.computed("M", "Q4_0", 2.3e9, "bytes"),
        measurement.computed("N", "Q4_0", 1.5e9, "bytes"),
    ]
    table = pictures.side_by_side(rows, {"M": 4_000_000_000, "N": 3_000_000_000})
    assert list(table.loc[("M", "Q4_0")]) == ["2.000", "2.300", "4.000"]
    assert list(table.loc[("N", "Q4_0")]) == ["", "1.500", ""]
