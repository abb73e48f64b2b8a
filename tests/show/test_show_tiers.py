"""The pictures of lab 01 say what they are given."""

from slmlab.show import tiers as pictures

PARTS = {"embedding": 60, "attention": 10, "feed-forward": 29, "norms": 1, "output": 0}


def _labels(picture):
    """Return the texts of a picture's legends, whether they hang on the axes or on the figure."""
    legends = [*picture.legends, *filter(None, [picture.axes[0].get_legend()])]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def _rows(picture):
    return [text.get_text() for text in picture.axes[0].get_yticklabels()]


def test_the_ladder_has_a_row_a_model_and_a_line_a_cut_off():
    models = [("Tiny", 200_000_000, "micro"), ("Mid", 3_000_000_000, "small")]
    picture = pictures.ladder([*models, ("Big", 20_000_000_000, "medium")], (10e9, 30e9))
    assert _rows(picture) == ["Tiny", "Mid", "Big"]
    assert [line.get_xdata()[0] for line in picture.axes[0].lines] == [10e9, 30e9]


def test_shares_fill_each_bar_to_a_hundred_per_cent():
    picture = pictures.shares({"A": PARTS, "B": PARTS})
    bars = picture.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == 200
    assert bars[0].get_width() == 60


def test_a_guess_is_drawn_and_an_untouched_one_is_not():
    assert "your guess: 40 %" in _labels(pictures.shares({"A": PARTS}, 40))
    assert not any("guess" in label for label in _labels(pictures.shares({"A": PARTS})))
    values = {"computed": 100.0, "measured": 80.0}
    assert _labels(pictures.beside("Speed", values, "tokens/s", 90)) == ["your guess: 90 tokens/s"]
    assert _labels(pictures.beside("Speed", values, "tokens/s")) == []


def test_ten_times_the_bytes_give_a_tenth_of_the_speed():
    picture = pictures.speed_by_size({"S": 1e9, "L": 1e10}, {"here": 2e10}, "here", (1e9, 15.0))
    line = picture.axes[0].lines[0]
    assert list(line.get_xdata()) == [1, 10]
    assert list(line.get_ydata()) == [20, 2]


def test_a_cache_ends_where_the_context_of_its_model_ends():
    picture = pictures.caches({"short": [1e8], "long": [1e8, 2e8]}, [512, 1024])
    assert [len(line.get_xdata()) for line in picture.axes[0].lines] == [1, 2]


def test_what_fits_names_each_machine():
    picture = pictures.fits({"A": (2e9, 1e9)}, {"phone": 4e9, "laptop": 8e9})
    assert {"phone", "laptop", "model file", "KV cache"} <= set(_labels(picture))
